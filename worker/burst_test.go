package worker

import (
	"strings"
	"testing"
	"time"

	"github.com/tidemill/tidemill/connect"
)

// TestOffsetsAreStoredAfterABurst has a clock that never comes: what a burst ends with
// is stored all the same, so that a crash does not repeat it.
func TestOffsetsAreStoredAfterABurst(t *testing.T) {
	for name, over := range map[string]connect.Config{"plain": {}, "exact": exact} {
		l := newLab(t)
		w := l.start(with(over, "offset.flush.interval.ms", "3600000"))
		w.create(name, counter(name, "count", "100"))
		wait(t, "all is safe", func() bool { return l.lastSafe(name) == `{"part":"0"}{"n":100}` })
		w.stop() // On one broker the next would take its place.
	}
}

// TestSmallBufferIsWaitedFor has records of which two fill the buffer: the last of
// those that were waited for makes room as well.
func TestSmallBufferIsWaitedFor(t *testing.T) {
	l := newLab(t)
	w := l.start(connect.Config{"producer.buffer.bytes": "65536"})
	w.create("c", counter("numbers", "count", "300", "batch", "100", "transforms", "s", "transforms.s.type", "Suffix", "transforms.s.suffix", strings.Repeat("x", 40_000)))
	wait(t, "all is safe", func() bool { return l.lastSafe("c") == `{"part":"0"}{"n":300}` })
}

// TestOffsetsStayWhileATaskStops asks for the offsets to be forgotten while a task of
// a connector that was told to stop still runs: what it stores as its last act would
// overwrite the change.
func TestOffsetsStayWhileATaskStops(t *testing.T) {
	l := newLab(t)
	w := l.start(nil)
	w.create("c", counter("numbers", "fail.at", "20", "trouble", "block"))
	wait(t, "the task blocks", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.happen["block"] > 0
	})
	must(t, w.SetState(t.Context(), "c", Stopped))
	u := w.unit("c")
	wait(t, "the task is being stopped", func() bool { return len(u.running()) == 0 })
	for began := time.Now(); time.Since(began) < 300*time.Millisecond; {
		if _, err := w.ResetOffsets(t.Context(), "c"); err == nil || connect.AsError(err).Code != "request.invalid" {
			t.Fatalf("while the task is being stopped, a reset says %v", err)
		}
	}
	w.waitState("c", "STOPPED")
	_, err := w.ResetOffsets(t.Context(), "c")
	failing(t, err, "connector.zombies", "Failed to modify offsets for connector c")
}
