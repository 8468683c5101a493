package gctuner

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"time"
)

const (
	// calm is by how many percent the heap may grow as a rule. Where much is alive, little of
	// the time goes into collecting, and sooner than Go's 100 keeps the resident memory low.
	calm = 60
	// room is how many bytes it may grow by at least where it is collected often.
	room = 24 << 20
	// least is what counts as alive at least, and recent how many collections are looked back
	// on: what is alive goes up and down, and we are told of it late.
	least  = 8 << 20
	recent = 16
	// often is within which time of the one before a collection counts as one of many.
	often = time.Second
)

// Start tunes the collector of this process for as long as it lives. Where the environment
// sets GOGC, that is obeyed and nothing is tuned; a limit by GOMEMLIMIT holds in any case.
func Start() {
	if os.Getenv("GOGC") != "" {
		return
	}
	debug.SetGCPercent(calm)
	t := &tuner{percent: calm, set: debug.SetGCPercent, last: time.Now()}
	t.arm()
}

// tuner is told of each collection.
type tuner struct {
	set     func(percent int) int
	percent int // as it is set
	last    time.Time
	alive   [recent]uint64 // after the collections before
	n       int
}

// sentinel is garbage at once, so that the next collection frees it. It is too large to
// share its memory with other values, which would keep it alive.
type sentinel [64]byte

func (t *tuner) arm() {
	runtime.AddCleanup(new(sentinel), func(t *tuner) {
		t.collected(time.Now(), alive())
		t.arm()
	}, t)
}

// collected adjusts the percentage after a collection that left so many bytes alive.
func (t *tuner) collected(now time.Time, alive uint64) {
	t.alive[t.n%recent] = alive
	t.n++
	percent := calm
	if now.Sub(t.last) < often {
		percent = max(calm, int(100*room/max(slices.Max(t.alive[:]), least)))
	}
	t.last = now
	// To set it stops all goroutines for a moment: not for a little.
	if off := percent - t.percent; off != 0 && (percent == calm || max(off, -off) > t.percent/8) {
		t.percent = percent
		t.set(percent)
	}
}

// alive is how many bytes the last collection found alive.
func alive() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	if sample[0].Value.Kind() != metrics.KindUint64 {
		return room
	}
	return sample[0].Value.Uint64()
}
