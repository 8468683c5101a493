package worker

import (
	"context"
	"maps"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/internal/failpoint"
)

// soon is how long after a record is finished its offset is stored at the latest, and
// told to the source when it is stored already. It bounds what is repeated when the
// worker is killed, and is long enough for storing to cost nothing that counts.
const soon = 20 * time.Millisecond

// commitLoop stores offsets soon after records are finished, at once when those are
// many, and a last time after drained is closed.
func (t *sourceTask) commitLoop(life context.Context, drained <-chan struct{}) error {
	wait := min(soon, t.rt.settings.Duration("offset.flush.interval.ms"))
	timer := time.NewTimer(wait)
	defer timer.Stop()
	var due <-chan time.Time // Nil while nothing is finished that is not stored.
	for {
		last := false
		select {
		case <-life.Done():
			return nil
		case <-t.moved:
			if due == nil {
				timer.Reset(wait)
				due = timer.C
			}
			continue
		case <-due:
		case <-t.commitNow:
		case <-drained:
			last = true
		}
		due = nil
		if err := t.commit(life, last); err != nil {
			// The offsets stay to be stored with the next attempt.
			t.metrics.commitFailures.Add(1)
			t.log.Warn("storing offsets failed, trying again", "error", err)
			timer.Reset(t.rt.settings.Duration("offset.flush.interval.ms"))
			due = timer.C
		}
		if last {
			return nil
		}
	}
}

// commit stores how far the acknowledgements reach without a gap, waits until that
// is durable, and only then tells the source that it may let go.
func (t *sourceTask) commit(life context.Context, last bool) error {
	t.mu.Lock()
	t.finished = 0
	t.scratch = t.submitted.committable(t.scratch[:0])
	maps.Copy(t.reached, t.stored)
	clear(t.stored)
	t.mu.Unlock()
	for _, p := range t.scratch {
		t.reached[p.partition] = p.offset
	}
	clear(t.scratch)
	if len(t.reached) == 0 {
		return nil
	}
	began := time.Now()
	// In a transaction the offsets were stored with the records.
	if !t.rt.exactlyOnce {
		ctx, cancel := life, context.CancelFunc(func() {})
		if last {
			ctx, cancel = context.WithTimeout(life, t.rt.settings.Duration("offset.flush.timeout.ms"))
		}
		failpoint.At("worker.offsets.store")
		err := t.rt.offsets.write(ctx, t.id.Connector, t.reached)
		cancel()
		if err != nil {
			return err
		}
		t.traces.committed(began, began)
	}
	failpoint.At("worker.offsets.stored")
	t.metrics.commits.Add(1)
	t.metrics.commitTime.Since(began)
	t.metrics.rate()
	stored := maps.Clone(t.reached)
	clear(t.reached)
	if c, ok := t.plugin.(connect.Committer); ok {
		if err := c.Commit(life, stored); err != nil {
			t.log.Warn("the source could not be told what is stored; the next commit tells it more", "error", err)
		}
	}
	return nil
}
