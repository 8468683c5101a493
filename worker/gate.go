package worker

import (
	"context"
	"sync"
)

// gate keeps a paused task waiting.
type gate struct {
	mu      sync.Mutex // Guards what follows.
	paused  bool
	changed chan struct{} // Closed, and replaced, at each change.
	// polling ends when the task is paused; parent is the run it was made for.
	parent, polling context.Context
	interrupt       context.CancelFunc
}

func newGate(paused bool) *gate { return &gate{paused: paused, changed: make(chan struct{})} }

func (g *gate) set(paused bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.paused == paused {
		return
	}
	g.paused = paused
	close(g.changed)
	g.changed = make(chan struct{})
	if g.interrupt != nil {
		g.interrupt()
		g.parent, g.polling, g.interrupt = nil, nil, nil
	}
}

// state returns whether the task is paused and what tells of a change. While it is
// not paused, it also returns a context under ctx that ends with the next pause; it
// is the same one until then, so that asking at each poll costs nothing.
func (g *gate) state(ctx context.Context) (polling context.Context, changed <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.paused {
		return nil, g.changed
	}
	if g.parent != ctx {
		if g.interrupt != nil {
			g.interrupt()
		}
		g.parent = ctx
		g.polling, g.interrupt = context.WithCancel(ctx)
	}
	return g.polling, g.changed
}

// open waits while the task is paused, and returns a context that ends when it is
// paused anew. report is told of the states in between. The error is that of ctx.
func (g *gate) open(ctx context.Context, report func(state, trace string)) (context.Context, error) {
	for waited := false; ; waited = true {
		polling, changed := g.state(ctx)
		if polling != nil {
			if waited {
				report(stateRunning, "")
			}
			return polling, ctx.Err()
		}
		if !waited {
			report(statePaused, "")
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-changed:
		}
	}
}
