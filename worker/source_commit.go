package worker

import (
	"context"
	"maps"
	"time"

	"github.com/tidemill/tidemill/connect"
)

// quiet is how long nothing must be on its way before offsets are stored ahead of the
// clock. What follows a burst is then known at once, such as that a snapshot is
// complete, while a steady stream costs no more than the clock asks for.
const quiet = 100 * time.Millisecond

// commitLoop stores offsets by the clock, when many records are finished and when no
// more are on their way, and a last time after drained is closed.
func (t *sourceTask) commitLoop(life context.Context, drained <-chan struct{}) error {
	ticker := time.NewTicker(t.rt.settings.Duration("offset.flush.interval.ms"))
	defer ticker.Stop()
	still := time.NewTimer(quiet)
	defer still.Stop()
	for {
		last := false
		select {
		case <-life.Done():
			return nil
		case <-ticker.C:
		case <-t.commitNow:
		case <-t.arrivedAll:
			still.Reset(quiet)
			continue
		case <-still.C:
		case <-drained:
			last = true
		}
		if err := t.commit(life, last); err != nil {
			// The offsets stay to be stored with the next attempt.
			t.metrics.commitFailures.Add(1)
			t.log.Warn("storing offsets failed, trying again", "error", err)
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
	t.scratch = t.submitted.committable(t.scratch[:0])
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
		err := t.rt.offsets.write(ctx, t.id.Connector, t.reached)
		cancel()
		if err != nil {
			return err
		}
	}
	t.metrics.commits.Add(1)
	t.metrics.commitTime.since(began)
	stored := maps.Clone(t.reached)
	clear(t.reached)
	if c, ok := t.plugin.(connect.Committer); ok {
		if err := c.Commit(life, stored); err != nil {
			t.log.Warn("the source could not be told what is stored; the next commit tells it more", "error", err)
		}
	}
	return nil
}
