package postgres

import (
	"context"
	"slices"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/internal/failpoint"
)

// snapshotJob is what a snapshot needs to know.
type snapshotJob struct {
	check *preflight
	slot  *slotInfo
	srv   server
}

// takeSnapshot reads the tables as of a point of the log and makes the stream that
// begins there. A slot that is there already keeps its place; a temporary one
// beside it exports the view then.
func (w *work) takeSnapshot(ctx context.Context, rep *replication, job snapshotJob) error {
	side := job.check.db
	if ready, err := w.makeReady(ctx, &job); err != nil || !ready {
		return err
	}
	if from, err := w.cutShort(ctx, rep, job); err != nil || from != nil {
		return w.repeatSnapshot(from, job, err)
	}
	temporary := job.slot != nil || !w.set.when.stream
	failpoint.At("source.slot.make")
	slot, err := w.createSlot(ctx, side, rep, temporary)
	if err != nil {
		return err
	}
	failpoint.At("source.slot.made")
	start := position{lsn: slot.begin, end: slot.begin, snapshot: snapshotRunning, forced: w.forced(), micros: time.Now().UnixMicro(), lineage: w.line}
	if w.fill != nil {
		if err := w.fill.forget(&start); err != nil {
			return err
		}
	}
	s := &snapshot{
		set: w.set, log: w.log, metrics: w.metrics, out: w.batches, app: w.app, slot: slot, version: Version,
		keep: rep.keep, notes: newNotifier(w.set, w.log), request: "initial", initial: true,
		emitter: func() *emitter {
			e := w.newEmitter(start)
			e.stamp.micros = start.micros
			return e
		},
	}
	if err := w.readTables(ctx, s, job); err != nil {
		if w.given.Load() {
			w.begun = &start
		}
		// A snapshot that lasted may last again: what cut it short is not there for good,
		// unless somebody keeps altering tables.
		lasted := time.Since(time.UnixMicro(start.micros)) > w.set.retryWait
		w.worked = w.worked || lasted && connect.AsError(err).Code != codeAltered
		return err
	}
	failpoint.At("source.snapshot.read")
	start.snapshot, start.forced = snapshotDone, false
	start.backlog = s.owed(nil)
	return w.newStream(start, job.srv)
}

// makeReady does what comes before any reading of the tables: it waits, as
// snapshot.delay.ms asks, and drops a slot that was lost, which is of no use to anybody,
// since the server has let go of what it needs. It returns false at the end of the task.
func (w *work) makeReady(ctx context.Context, job *snapshotJob) (bool, error) {
	if w.set.snapshotDelay > 0 && !pause(ctx, w.set.snapshotDelay) {
		return false, nil
	}
	if job.slot != nil && job.slot.lost() {
		if err := job.check.db.dropSlot(ctx, w.set.slot); err != nil {
			return false, err
		}
		job.slot = nil
	}
	return true, nil
}

// readTables reads the tables that the snapshot has.
func (w *work) readTables(ctx context.Context, s *snapshot, job snapshotJob) error {
	var tables []catalogTable
	for _, t := range job.check.tables {
		if w.set.filter.inSnapshot(t.name) {
			tables = append(tables, t)
		}
	}
	s.progress = &tally{log: w.log, metrics: w.metrics, show: w.env.Show, kind: w.set.snapshotKind, at: s.slot.begin}
	return s.read(ctx, job.check.db, tables, job.srv)
}

// read locks the tables, when that is asked for, measures them over side and reads them.
func (s *snapshot) read(ctx context.Context, side *db, tables []catalogTable, srv server) (err error) {
	if s.set.snapshotLocks {
		holder, err := s.join(ctx)
		if err != nil {
			return err
		}
		defer holder.close(context.WithoutCancel(ctx))
		if err := s.lock(ctx, holder, tables); err != nil {
			return err
		}
	}
	if s.tables, err = s.measure(ctx, side, tables, srv.version); err != nil {
		return err
	}
	s.progress.tables = s.tables
	s.progress.start()
	s.log.Info("Taking a snapshot.", "tables", len(s.tables), "at", lsnText(s.slot.begin), "connections", s.connections())
	failpoint.At("source.snapshot.begin")
	return s.run(ctx)
}

// cutShort returns the position from which the log has what happened since an earlier
// reading of the tables, of which rows may have been written; nil when there was none,
// or when the slot does not reach back to it.
func (w *work) cutShort(ctx context.Context, rep *replication, job snapshotJob) (*position, error) {
	from := w.begun
	if from == nil {
		from = w.stored
	}
	if from == nil || job.slot == nil || !w.set.when.stream {
		return nil, nil
	}
	b, err := rep.fork(ctx, from.lineage, job.srv)
	if err != nil || compare(from, job.srv, job.slot, b) != nil {
		return nil, err
	}
	return from, nil
}

// repeatSnapshot makes the stream that goes on where an earlier reading of the tables
// began, and stands still to read them all once it has come to the point of a new view.
// Without what lies between, a row that was read then and deleted since would stay in
// its topic for good.
func (w *work) repeatSnapshot(from *position, job snapshotJob, err error) error {
	if err != nil {
		return err
	}
	pos := *from
	pos.snapshot, pos.forced, pos.lineage = snapshotNone, false, w.line
	if !slices.ContainsFunc(pos.backlog.requests(), func(r snapshotRequest) bool { return r.Initial }) {
		pos.backlog = pos.backlog.with(func(b *backlog) {
			b.Requests = append(slices.Clone(b.Requests), snapshotRequest{ID: "initial", Initial: true, Blocking: true, Tables: []string{".*"}})
		})
	}
	w.log.Info("The tables were read before, at least in part: the log is read from there on, and then they are read anew.", "from", lsnText(pos.end))
	if err := w.newStream(pos, job.srv); err != nil {
		return err
	}
	w.stream.pending = true // Worth storing at once: from here on a restart goes on.
	return nil
}

// keep waits until ctx is done. It fails when the connection ends before that, and
// with it the view that its slot has exported.
func (c *replication) keep(ctx context.Context) error {
	err := c.pg.WaitForNotification(ctx)
	if ctx.Err() != nil {
		return nil
	}
	return retriable("pg.snapshot.gone", "the connection that exported the snapshot was lost, so the snapshot begins anew", err)
}
