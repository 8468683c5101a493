package postgres

import (
	"context"
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
	if w.set.snapshotDelay > 0 && !pause(ctx, w.set.snapshotDelay) {
		return nil
	}
	if job.slot != nil && job.slot.lost() {
		// It is of no use to anybody: the server has let go of what it needs.
		if err := side.dropSlot(ctx, w.set.slot); err != nil {
			return err
		}
		job.slot = nil
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
		keep: rep.keep,
		emitter: func() *emitter {
			e := w.newEmitter(start)
			e.stamp.micros = start.micros
			return e
		},
	}
	if err := w.readTables(ctx, s, job); err != nil {
		// A snapshot that lasted may last again: what cut it short is not there for good,
		// unless somebody keeps altering tables.
		lasted := time.Since(time.UnixMicro(start.micros)) > w.set.retryWait
		w.worked = w.worked || lasted && connect.AsError(err).Code != codeAltered
		return err
	}
	failpoint.At("source.snapshot.read")
	start.snapshot, start.forced = snapshotDone, false
	return w.newStream(start, job.srv)
}

// readTables measures the tables that the snapshot has and reads them.
func (w *work) readTables(ctx context.Context, s *snapshot, job snapshotJob) (err error) {
	var tables []catalogTable
	for _, t := range job.check.tables {
		if w.set.filter.inSnapshot(t.name) {
			tables = append(tables, t)
		}
	}
	if w.set.snapshotLocks {
		holder, err := s.join(ctx)
		if err != nil {
			return err
		}
		defer holder.close(context.WithoutCancel(ctx))
		if err := s.lock(ctx, holder, tables); err != nil {
			return err
		}
	}
	if s.tables, err = s.measure(ctx, job.check.db, tables, job.srv.version); err != nil {
		return err
	}
	s.progress = &tally{log: w.log, metrics: w.metrics, show: w.env.Show, kind: w.set.snapshotKind, at: s.slot.begin, tables: s.tables}
	s.progress.start()
	failpoint.At("source.snapshot.begin")
	w.log.Info("Taking a snapshot.", "tables", len(s.tables), "at", lsnText(s.slot.begin), "connections", s.connections())
	return s.run(ctx)
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
