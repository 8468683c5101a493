package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// guardSettings are those of the guard of the log.
type guardSettings struct {
	interval time.Duration
	limit    int64  // Bytes of log that the slot may hold; 0: any amount.
	action   string // What follows: warn, fail or drop_slot.
	xmin     time.Duration
}

// guard watches how much log the server keeps for the slot, from the first moment of
// a session to its end, over a connection of its own. It tells what it sees as
// metrics and as the document "slot", warns, and beyond wal.guard.max.bytes does what
// wal.guard.action says. Its own troubles never hinder the reading of the log.
type guard struct {
	*work
	ctx     context.Context // Of the guard itself.
	cancel  context.CancelCauseFunc
	done    chan struct{}
	db      *db
	last    slotReport // What was seen before.
	over    int        // Looks in a row that found too much.
	said    string     // The alarm that was told last, "" for none.
	saidAt  time.Time
	verdict error // Why the session must end; set before done is closed.
}

// errGuard is the cause of a session's end that the guard asks for.
type errGuard struct{ error }

// startGuard begins to watch. The context it returns ends when the guard says that
// the session must.
func (w *work) startGuard(ctx context.Context) (context.Context, *guard) {
	session, cancel := context.WithCancelCause(ctx)
	g := &guard{work: w, ctx: ctx, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(g.done)
		g.verdict = g.run(session)
		if g.verdict != nil {
			cancel(errGuard{g.verdict})
		}
	}()
	return session, g
}

// stop ends the watch and returns why the session ended: err, unless it was the guard
// that ended it. Here the replication connection is closed already, so that a slot
// that is to be dropped is free.
func (g *guard) stop(err error) error {
	g.cancel(nil)
	<-g.done
	ctx := context.WithoutCancel(g.ctx)
	defer g.db.close(ctx)
	g.metrics.Set("connected", 0)
	if g.verdict == nil {
		return err
	}
	if g.set.guard.action == "drop_slot" {
		return g.drop(ctx)
	}
	return g.verdict
}

// run looks at the slot again and again until ctx is done.
func (g *guard) run(ctx context.Context) error {
	every := g.set.guard.interval
	if x := g.set.guard.xmin; x > 0 {
		every = min(every, x)
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		report, err := g.look(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			g.db.close(ctx)
			g.db = nil
			g.metrics.Add("slot_guard_failures_total", 1)
			g.log.Debug("The slot cannot be looked at.", "error", err)
		case report != nil:
			g.publish(report)
			if err := g.judge(report); err != nil {
				return err
			}
			g.last = *report
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// look asks the server. The report is nil while there is no slot.
func (g *guard) look(ctx context.Context) (*slotReport, error) {
	const patience = 10 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if g.db == nil || g.db.IsClosed() {
		var err error
		if g.db, err = g.set.open(ctx, g.app+" (guard)"); err != nil {
			return nil, err
		}
	}
	r, err := g.db.slotReport(ctx, g.set.slot)
	if err != nil || r == nil {
		return nil, err
	}
	if r.Oldest, err = g.db.oldestTransaction(ctx); err != nil {
		return nil, err
	}
	r.Limit, r.Action, r.Connected = g.set.guard.limit, g.set.guard.action, g.streaming()
	r.since(&g.last)
	f := &g.figures
	r.Received, r.LastTransaction = lsnText(f.received.Load()), f.xid.Load()
	r.position = f.received.Load()
	r.behind(f.committed.Load(), g.last.current)
	r.HeldBy = r.cause(g.set.confirm, g.safe.Load())
	if g.set.guard.xmin > 0 {
		f.xmin.Store(r.CatalogXmin)
	}
	return r, nil
}

// streaming tells whether the log is being read.
func (g *guard) streaming() bool {
	s := g.reader.Load()
	return s != nil && s.conn.Load() != nil
}

// publish tells what was seen, as metrics and as a document.
func (g *guard) publish(r *slotReport) {
	set := g.metrics.Set
	set("slot_retained_bytes", float64(r.Retained))
	set("slot_lag_bytes", float64(r.Lag))
	set("slot_wal_status", r.statusNumber())
	if r.SafeSize != nil {
		set("slot_safe_wal_bytes", float64(*r.SafeSize))
	}
	set("slot_active", oneIf(r.Active))
	set("slot_restart_age_ms", float64(r.RestartAge))
	set("slot_confirmed_age_ms", float64(r.ConfirmedAge))
	set("slot_catalog_xmin_age", float64(r.XminAge))
	set("oldest_transaction_ms", float64(r.oldestSeconds()*1000))
	set("source_lag_ms", float64(r.Behind))
	g.publishStream(r)
	if g.env.Show == nil {
		return
	}
	if text, err := json.Marshal(r); err == nil {
		g.env.Show("slot", text)
	}
}

// publishStream tells how the task does, under names that watchers of Debezium know.
func (g *guard) publishStream(r *slotReport) {
	f, set := &g.figures, g.metrics.Set
	set("connected", oneIf(r.Connected))
	if at := f.event.Load(); at > 0 {
		set("milliseconds_since_last_event", float64(time.Now().UnixMilli()-at/1000))
	}
	set("last_transaction_id", float64(f.xid.Load()))
	set("captured_tables", float64(f.tables.Load()))
	set("queue_total_capacity", float64(cap(g.batches)*g.set.batchRecords))
	set("queue_remaining_capacity", float64((cap(g.batches)-len(g.batches))*g.set.batchRecords))
	set("max_queue_size_in_bytes", float64(g.set.batchBytes*(g.set.queueBatches+2)))
	set("current_queue_size_in_bytes", float64(max(0, f.queued.Load())))
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// judge warns of what goes wrong, and returns an error when the session must end. A
// limit that is passed for a moment is no reason to end anything.
func (g *guard) judge(r *slotReport) error {
	const convinced = 3
	over := r.Limit > 0 && r.Retained > r.Limit
	if g.over++; !over {
		g.over = 0
	}
	g.alarm(r.alarm(), r)
	if g.over < convinced || r.Action == "warn" {
		return nil
	}
	e := fatal("pg.wal_guard.limit", "the slot holds back "+megabytes(r.Retained)+" of log, more than wal.guard.max.bytes allows ("+megabytes(r.Limit)+"); "+r.explanation(), nil,
		"remove the cause, or raise wal.guard.max.bytes; the slot is still there and goes on to hold the log: SELECT pg_drop_replication_slot("+quoteLiteral(g.set.slot)+") gives it up")
	e.Place = g.set.slot
	return e
}

// alarm logs what changed for the worse or the better, and again after a while.
func (g *guard) alarm(what string, r *slotReport) {
	const again = 10 * time.Minute
	if what == g.said && (what == "" || time.Since(g.saidAt) < again) {
		return
	}
	if what == "" {
		g.log.Info("The slot holds no more log than it should.", "slot", g.set.slot, "retained", r.Retained)
	} else {
		g.log.Warn("The slot holds back log: "+alarms[what]+" "+r.explanation(), "slot", g.set.slot, "retained", r.Retained, "limit", r.Limit, "wal_status", r.Status)
		g.metrics.Add("slot_guard_alarms_total", 1)
	}
	g.said, g.saidAt = what, time.Now()
}

// drop gives the slot up, as wal.guard.action=drop_slot asks for, and returns the
// error that says what was lost. Invariant 5: the gap is told with its range.
func (g *guard) drop(ctx context.Context) error {
	const patience = 15 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	r := &g.last
	d, err := g.set.open(ctx, g.app+" (guard)")
	if err == nil {
		defer d.close(ctx)
		err = g.dropWhenFree(ctx, d)
	}
	if err != nil {
		e := fatal("pg.wal_guard.limit", "the slot holds back more log than wal.guard.max.bytes allows, and it could not be dropped", err, "SELECT pg_drop_replication_slot("+quoteLiteral(g.set.slot)+")")
		e.Place = g.set.slot
		return e
	}
	e := fatal("pg.wal_guard.dropped", fmt.Sprintf("the slot held back %s of log, more than wal.guard.max.bytes allows (%s), and was dropped, as wal.guard.action=drop_slot says; changes from %s on are lost to this connector; %s",
		megabytes(r.Retained), megabytes(r.Limit), lsnText(g.safe.Load()), r.explanation()), nil, mendSlotGone)
	e.Place = g.set.slot
	g.log.Error("The slot was dropped.", "error", e)
	return e
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/(1<<20)) }
