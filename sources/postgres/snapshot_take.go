package postgres

import (
	"context"
	"time"
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
		// Only when_needed comes here: the slot is of no use to anybody.
		if err := side.dropSlot(ctx, w.set.slot); err != nil {
			return err
		}
		job.slot = nil
	}
	temporary := job.slot != nil || w.set.snapshotMode == "initial_only"
	slot, err := w.createSlot(ctx, side, rep, temporary)
	if err != nil {
		return err
	}
	var tables []catalogTable
	for _, t := range job.check.tables {
		if w.set.filter.inSnapshot(t.name) {
			tables = append(tables, t)
		}
	}
	start := position{lsn: slot.begin, end: slot.begin, snapshot: snapshotRunning, micros: time.Now().UnixMicro(), lineage: w.line}
	w.log.Info("Taking a snapshot.", "tables", len(tables), "at", lsnText(slot.begin))
	s := &snapshot{
		set: w.set, log: w.log, metrics: w.metrics, out: w.batches, app: w.app, slot: slot, version: Version,
		emitter: func() *emitter {
			e := w.newEmitter(start)
			e.stamp.micros = start.micros
			return e
		},
	}
	if err := s.run(ctx, tables); err != nil {
		return err
	}
	w.log.Info("The snapshot is complete.")
	start.snapshot = snapshotDone
	return w.newStream(start, job.srv)
}
