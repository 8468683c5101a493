package postgres

import (
	"context"
	"time"

	"github.com/tidemill/tidemill/connect"
)

// kindResumable is the word of snapshot.kind for an initial snapshot that is read
// beside the log.
const kindResumable = "resumable"

// beginResumable makes the stream that reads the log from now on, and the tables
// beside it. Nothing holds the server's log or its old rows back while that lasts, and
// a restart goes on where it was. With a slot that is there already the log is read
// from where the slot stands: what it holds of before is changed rows that are read as
// well, which does no harm, since they come in the order of their versions.
func (w *work) beginResumable(ctx context.Context, rep *replication, job snapshotJob) error {
	side := job.check.db
	if ready, err := w.makeReady(ctx, &job); err != nil || !ready {
		return err
	}
	var from uint64
	if job.slot != nil {
		from = job.slot.safe
	} else {
		slot, err := w.createSlot(ctx, side, rep, false)
		if err != nil {
			return err
		}
		from = slot.begin
	}
	ask := snapshotRequest{ID: "initial", Initial: true}
	pos := position{lsn: from, end: from, micros: time.Now().UnixMicro(), lineage: w.line}
	pos.backlog = pos.backlog.with(func(b *backlog) {
		for _, t := range job.check.tables {
			if !w.set.filter.inSnapshot(t.name) {
				continue
			}
			b.Count++
			b.Tables = append(b.Tables, tableBacklog{Number: b.Count, Schema: t.name.schema, Name: t.name.name, Request: ask.ID, Initial: true, Estimate: max(0, t.estimate)})
		}
	})
	w.log.Info("The tables are read beside the log, as snapshot.kind=resumable asks for.", "tables", len(pos.backlog.Tables), "from", lsnText(from))
	if err := w.newStream(pos, job.srv); err != nil {
		return err
	}
	w.stream.pending = true // Worth storing at once: from here on a restart goes on.
	w.stream.beside.notes.started(&ask, pos.backlog.Tables)
	return nil
}

// resumableFaults returns the settings that do not go together with
// snapshot.kind=resumable, or with notifications.
func (set *settings) resumableFaults() (faults connect.Errors) {
	if set.signals.notify["sink"] && set.signals.notifyTopic == "" {
		faults = append(faults, connect.ConfigError("notification.sink.topic.name", "notification.enabled.channels names sink, so a topic must be named"))
	}
	if set.snapshotKind != kindResumable {
		return faults
	}
	if len(set.selects) > 0 {
		faults = append(faults, connect.ConfigError("snapshot.select.statement.overrides", "it needs snapshot.kind=consistent: rows that are read beside the log are found by their keys, which a statement of one's own may hide"))
	}
	if !set.when.stream {
		faults = append(faults, connect.ConfigError("snapshot.kind", "resumable needs the log to be read: choose consistent, or another snapshot.mode"))
	}
	return faults
}
