package worker

import (
	"testing"

	"github.com/tidemill/tidemill/connect"
)

// done returns how often a connector was told that what it has read is safe.
func (l *lab) done(connector string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.safe[connector])
}

// TestOthersGoOnWhileOneIsChanged changes one connector in every way there is, and holds it
// in the middle of the change. What the others do is counted, not timed: each goes on to
// read, write and commit before the change is let go on, and none is ever stopped or started.
func TestOthersGoOnWhileOneIsChanged(t *testing.T) {
	for name, over := range map[string]connect.Config{"at least once": nil, "exactly once": exact} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			w := l.start(over)
			others := []string{"x", "y", "z"}
			for _, name := range others {
				w.create(name, counter(name+"-numbers", "batch", "1", "pace.ms", "2", "tasks.max", "2"))
				w.waitState(name, "RUNNING RUNNING RUNNING")
			}
			goOn := func(what string) {
				t.Helper()
				for _, name := range others {
					before := l.done(name)
					wait(t, name+" goes on, "+what, func() bool { return l.done(name) >= before+5 })
				}
			}
			ctx := t.Context()
			config := counter("numbers", "batch", "1", "pace.ms", "2")
			w.create("c", config)
			held := 0
			for range 4 {
				w.waitState("c", "RUNNING RUNNING")
				goOn("after c was made")
				_, _, err := w.PutConfig(ctx, "c", with(config, "trouble", "start"))
				must(t, err)
				held++
				wait(t, "the new task of c is held in its start", func() bool { return l.noted("task waits in start") == held })
				goOn("while a task of c starts")
				_, _, err = w.PutConfig(ctx, "c", config)
				must(t, err)
				w.waitState("c", "RUNNING RUNNING")
				must(t, w.SetState(ctx, "c", Paused))
				w.waitState("c", "PAUSED PAUSED")
				goOn("while c is paused")
				must(t, w.SetState(ctx, "c", Stopped))
				w.waitState("c", "STOPPED")
				goOn("while c is stopped")
				must(t, w.SetState(ctx, "c", Started))
				w.waitState("c", "RUNNING RUNNING")
				must(t, w.RestartTask(ctx, TaskID{"c", 0}))
				must(t, w.request(ctx, w.unit("c"), restartRequest{connector: true}))
				goOn("after c was restarted")
				w.remove("c")
				goOn("after c was deleted")
				w.create("c", config)
			}
			w.waitState("c", "RUNNING RUNNING")
			began := l.noted("connector start c")
			_, _, err := w.PutConfig(ctx, "c", with(config, "connector.trouble", "block"))
			must(t, err)
			wait(t, "the connector c is held in its start", func() bool { return l.noted("connector start c") == began+1 })
			goOn("while the connector c starts")
			l.letGo()
			w.waitState("c", "RUNNING RUNNING")
			for _, name := range others {
				if starts, tasks, stops := l.noted("connector start "+name), l.noted("task start "+name+"-"), l.noted("task stop "+name+"-"); starts != 1 || tasks != 2 || stops != 0 {
					t.Errorf("%s was started %d times, its tasks %d times, and they were stopped %d times", name, starts, tasks, stops)
				}
				if got, last := len(l.values(name+"-numbers")), l.done(name); got < last {
					t.Errorf("%s: %d records, and %d times it was said that some are safe", name, got, last)
				}
			}
		})
	}
}
