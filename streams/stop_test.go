package streams

import (
	"context"
	"sync"
	"testing"
	"time"
)

// TestStoppedWhileCommitting stops an application in the middle of a commit, at each of
// its steps: another one goes on where it ended, and counts nothing twice.
func TestStoppedWhileCommitting(t *testing.T) {
	for name, eos := range guarantees {
		for _, step := range []string{"before flush", "written", "offsets committed", "committed"} {
			t.Run(name+", "+step, func(t *testing.T) {
				w := newWorld(t)
				topology, _ := keyCount(t, With{Uncached: true})
				app := App{ID: "wc", Topology: topology, ExactlyOnce: eos, CommitInterval: 20 * time.Millisecond}
				w.put(100)
				ctx, reached := context.WithCancel(w.ctx)
				var stop context.CancelFunc
				var ready sync.Mutex
				ready.Lock()
				first := w.start(t.TempDir(), app, func(e *Engine) {
					e.crash = func(at string) error {
						if at == step {
							ready.Lock()
							defer ready.Unlock()
							stop()
							reached()
						}
						return nil
					}
				})
				stop = first.stop
				ready.Unlock()
				<-ctx.Done()
				first.end()
				second := w.start(t.TempDir(), app)
				w.put(100)
				w.waitOutput()
				if eos {
					w.checkExact()
				}
				second.end()
			})
		}
	}
}
