package gctuner

import (
	"runtime"
	"testing"
	"time"
)

// TestCollected has a heap that is collected often grow by the same room however little is
// alive, and one that is not, or that is large, by the usual percentage.
func TestCollected(t *testing.T) {
	now, sets := time.Unix(1, 0), 0
	tuned := &tuner{percent: calm, last: now, set: func(int) int { sets++; return 0 }}
	for _, c := range []struct {
		after   time.Duration
		alive   uint64
		percent int
		sets    int
	}{
		{10 * time.Millisecond, 12 << 20, 200, 1},
		{10 * time.Millisecond, 12<<20 + 1<<10, 200, 1}, // Not worth stopping everything.
		{10 * time.Millisecond, 16 << 20, 150, 2},
		{10 * time.Millisecond, 0, 150, 2}, // What was alive before may soon be again.
		{2 * time.Second, 0, calm, 3},
		{10 * time.Millisecond, 1 << 30, calm, 3},
		{10 * time.Millisecond, 0, calm, 3},
	} {
		now = now.Add(c.after)
		tuned.collected(now, c.alive)
		if sets != c.sets || tuned.percent != c.percent {
			t.Errorf("%d bytes alive, %v after the one before: %d %% set %d times, and not %d %% and %d", c.alive, c.after, tuned.percent, sets, c.percent, c.sets)
		}
	}
}

// TestLeast has next to nothing that is alive count as more, and what was alive long ago as
// nothing.
func TestLeast(t *testing.T) {
	now := time.Unix(1, 0)
	tuned := &tuner{percent: calm, last: now, set: func(int) int { return 0 }}
	tuned.collected(now, 1<<30)
	for range recent {
		tuned.collected(now, 1<<10)
	}
	if tuned.percent != 300 {
		t.Errorf("a heap that is nearly empty may grow by %d %% of 8 MB", tuned.percent)
	}
}

// TestStart has the real collector tell the tuner of each of its runs.
func TestStart(t *testing.T) {
	set := make(chan int, 1)
	tuned := &tuner{percent: calm, last: time.Now().Add(time.Hour), set: func(percent int) int { set <- percent; return 0 }}
	tuned.arm()
	runtime.GC()
	if percent := <-set; percent <= calm {
		t.Errorf("the heap of a test may grow by %d %%", percent)
	}
}
