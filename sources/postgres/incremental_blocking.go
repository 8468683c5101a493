package postgres

import (
	"context"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
)

// blocking is a snapshot for which the stream stands still. A temporary slot gives a
// view of the tables as of a point of the log; the stream goes on up to that point and
// waits there while the tables are read, so that no row comes twice and none goes back
// to an older version. It stands still from before the slot is made, because the point
// must not be behind it already.
type blocking struct {
	b      *beside
	ask    snapshotRequest
	rep    *replication
	slot   newSlot
	tables []catalogTable
	db     *db
}

// blockingTries is how often a blocking snapshot is tried when something breaks.
const blockingTries = 3

// initialTries is the same for an initial snapshot that is read again.
const initialTries = 10

// blocks returns the blocking snapshot whose turn it is. It waits until no chunk is
// under way, which would be sent behind it.
func (b *beside) blocks() *snapshotRequest {
	p := b.s.em.pos.backlog
	if len(p.Requests) == 0 || !p.Requests[0].Blocking || b.asked > 0 || slices.ContainsFunc(b.scans, func(sc *scan) bool { return len(sc.chunks) > 0 || sc.again != nil }) {
		return nil
	}
	return &p.Requests[0]
}

// startBlocking makes the slot, while the stream stands still.
func (b *beside) startBlocking(ctx context.Context, c *replication, ask snapshotRequest) error {
	h := &blocking{b: b, ask: ask}
	b.s.log.Info("A blocking snapshot begins.", "id", ask.ID)
	err := h.wait(ctx, c, h.prepare)
	if err != nil {
		h.close(ctx)
		return h.failed(ctx, err)
	}
	if len(h.tables) == 0 {
		b.s.log.Warn("A request for a snapshot names no captured table.", "id", ask.ID)
		h.close(ctx)
		b.change(h.without())
		return nil
	}
	b.hold, b.s.holdAt = h, h.slot.begin
	return h.serve(ctx, c)
}

// wait runs work beside the stream, which stands still and only reports to the server.
func (h *blocking) wait(ctx context.Context, c *replication, work func(context.Context) error) error {
	s := h.b.s
	inner, stop := context.WithCancel(ctx)
	defer stop()
	var group errgroup.Group
	done := make(chan struct{})
	group.Go(func() error {
		defer close(done)
		return work(inner)
	})
	ticker := time.NewTicker(min(tick, s.reportEvery()))
	defer ticker.Stop()
	for {
		select {
		case <-done:
			s.lastHeard = time.Now()
			return group.Wait()
		case now := <-ticker.C:
			if err := s.reportIfDue(c, now); err != nil {
				stop()
				// The stream's own fault counts, not what it did to the work.
				_ = group.Wait()
				return &brokenStream{err}
			}
		}
	}
}

// brokenStream says that the stream broke while it stood still.
type brokenStream struct{ err error }

func (e *brokenStream) Error() string { return e.err.Error() }

// prepare finds the tables and makes the slot.
func (h *blocking) prepare(ctx context.Context) (err error) {
	s := h.b.s
	if h.db, err = s.set.open(ctx, s.app); err != nil {
		return err
	}
	captured, err := s.set.capturedNow(ctx, h.db)
	if err != nil {
		return err
	}
	wanted, err := compilePatterns(h.ask.Tables)
	if err != nil {
		return fatal("pg.signal.data", "data-collections cannot be understood", err, "give regular expressions that match whole names, schema.table")
	}
	h.tables = slices.DeleteFunc(captured, func(t catalogTable) bool {
		if h.ask.Initial {
			return !s.set.filter.inSnapshot(t.name)
		}
		return !wanted.match(t.name.String()) && (t.root == tableName{} || !wanted.match(t.root.String()))
	})
	if len(h.tables) == 0 {
		return nil
	}
	if h.rep, err = s.set.openReplication(ctx, s.app); err != nil {
		return err
	}
	h.slot, err = h.rep.createSlot(ctx, temporarySlot(s.set.slot, time.Now()), true, false)
	return err
}

// serve reads the tables once the stream has come to the point of the view.
func (h *blocking) serve(ctx context.Context, c *replication) error {
	s := h.b.s
	if s.em.pos.end >= h.slot.begin {
		return h.read(ctx, c)
	}
	now := time.Now()
	const often = 10 * time.Millisecond
	if next := now.Add(often); s.nextTick.After(next) {
		s.nextTick = next
	}
	if safe := s.confirmable(); safe != 0 && now.Sub(h.b.asks) >= often {
		h.b.asks = now
		return explain(c.status(s.received, safe, true, now), "reporting to the server")
	}
	return nil
}

// read reads the tables and hands their rows over. The stream stands between two
// transactions.
func (h *blocking) read(ctx context.Context, c *replication) error {
	s := h.b.s
	s.holdAt, h.b.hold = 0, nil
	defer h.close(ctx)
	for s.waiting() {
		if err := s.push(ctx, c); err != nil {
			return err
		}
	}
	start, after := s.em.pos, s.em.pos
	after.backlog = h.without()
	if h.ask.Initial {
		start.snapshot, after.snapshot = snapshotRunning, snapshotDone
	}
	err := h.wait(ctx, c, func(ctx context.Context) error { return h.readTables(ctx, start, &after) })
	if err != nil {
		return h.failed(ctx, err)
	}
	s.em.pos = after
	h.b.tries = 0
	s.em.newBatch()
	s.log.Info("The blocking snapshot is complete.", "id", h.ask.ID)
	h.b.due = true
	return nil
}

func (h *blocking) readTables(ctx context.Context, start position, after *position) (err error) {
	s := h.b.s
	set := *s.set
	set.selects = maps.Clone(set.selects)
	for _, condition := range h.ask.Conditions {
		for _, t := range h.tables {
			if ps, err := compilePatterns([]string{condition.Table}); err == nil && ps.match(t.name.String()) {
				set.selects[t.name.String()] = condition.Filter
			}
		}
	}
	template := *s.em
	micros := time.Now().UnixMicro()
	sn := &snapshot{
		set: &set, log: s.log, metrics: s.metrics, out: s.out, app: s.app, slot: h.slot, version: Version, keep: h.rep.keep, after: after,
		notes: newNotifier(&set, s.log), request: h.ask.ID, initial: h.ask.Initial,
		emitter: func() *emitter {
			e := template
			e.set, e.tx, e.warned, e.pos, e.now = &set, nil, map[string]bool{}, start, micros
			e.stamp = stamp{micros: micros}
			e.newBatch()
			return &e
		},
	}
	sn.progress = &tally{log: s.log, metrics: s.metrics, show: h.b.env.Show, kind: "blocking", at: h.slot.begin}
	return sn.read(ctx, h.db, h.tables, h.b.server)
}

// without is the backlog once the request is done.
func (h *blocking) without() *backlog {
	return h.b.s.em.pos.backlog.with(func(p *backlog) { p.Requests = p.Requests[1:] })
}

// failed goes on without the snapshot when it cannot be taken, or has it tried again:
// neither is the stream's end.
func (h *blocking) failed(ctx context.Context, err error) error {
	s := h.b.s
	s.holdAt, h.b.hold = 0, nil
	if broken, ok := err.(*brokenStream); ok {
		return broken.err
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	err = explain(err, "taking a blocking snapshot")
	if h.ask.Initial {
		// The stream is nothing without it. A connection that ends has the session begin anew.
		if h.b.tries++; isRetriable(err) && h.b.tries >= initialTries {
			return giveUp(err)
		}
		return err
	}
	if h.b.tries++; isRetriable(err) && h.b.tries < blockingTries {
		s.log.Warn("A blocking snapshot failed; it is tried again.", "id", h.ask.ID, "error", err)
		h.b.due = true
		return nil
	}
	h.b.tries = 0
	s.log.Error("A blocking snapshot failed and is given up; the stream goes on.", "id", h.ask.ID, "error", err)
	h.b.notes.add("ABORTED", "Initial Snapshot", "request_id", h.ask.ID)
	h.b.change(h.without())
	return nil
}

func (h *blocking) close(ctx context.Context) {
	h.db.close(context.WithoutCancel(ctx))
	h.rep.close(context.WithoutCancel(ctx))
}

// holdBefore is called before a transaction begins whose commit stands at a place:
// it is the one up to which the stream was to go.
func (s *stream) holdBefore(ctx context.Context, commit uint64) error {
	if commit < s.holdAt || commit < s.em.pos.end || s.beside.hold == nil {
		return nil
	}
	return s.beside.hold.read(ctx, s.conn.Load())
}
