package streams

import (
	"testing"
	"time"
)

// keepPutting has words come all the time until what it returns is called.
func (w *world) keepPutting() (stop func()) {
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				w.put(20)
			case <-quit:
				return
			}
		}
	}()
	return func() {
		close(quit)
		<-done
	}
}

// settled waits until the tasks are where they are to be and all of them get on.
func (w *world) settled(what string, ok func() bool) {
	w.t.Helper()
	w.wait(what, ok)
	offsets := func() map[int32]int64 {
		at, err := w.client.GroupOffsets(w.ctx, "wc")
		if err != nil {
			w.t.Fatal(err)
		}
		return at["in"]
	}
	before := offsets()
	w.wait(what+", and work", func() bool {
		now := offsets()
		for p := range int32(4) {
			if now[p] <= before[p] {
				return false
			}
		}
		return true
	})
}

// TestFleetUnderLoad has a second and a third instance join, one of them a process that is
// killed and comes back, and the first one leave, while words keep coming: every count is
// in the output once, in its order, and the rows of all instances together are right.
func TestFleetUnderLoad(t *testing.T) {
	w := newWorld(t)
	topology, counts := keyCount(t, With{Uncached: true})
	stop := w.keepPutting()
	first, dir := w.startAsking(t.TempDir(), killed(topology)), t.TempDir()
	w.settled("the first instance to have all tasks", func() bool { return first.tasks("wc") == 4 })
	child := w.startChild(dir)
	w.settled("the tasks to be shared by two", func() bool { return first.tasks("wc") == 2 })
	third := w.startAsking(t.TempDir(), killed(topology))
	three := func() bool {
		a, b := first.tasks("wc"), third.tasks("wc")
		return a > 0 && b > 0 && a+b < 4
	}
	w.settled("the tasks to be shared by three", three)

	killNow(t, child)
	w.settled("the others to have what was killed", func() bool { return first.tasks("wc") == 2 && third.tasks("wc") == 2 })
	child = w.startChild(dir)
	w.settled("the tasks to be shared by three again", three)
	first.end()
	w.settled("the others to have what was left", func() bool { return third.tasks("wc") == 2 })
	stop()
	w.waitOutput()
	w.checkExact()
	w.waitContents(third, "wc", counts)
	third.end()
	killNow(t, child)
}
