package worker

import (
	"context"
	"time"

	"github.com/tidemill/tidemill/connect"
)

// halt is a connector that was stopped for something to be done to it, after which it
// goes back to a state.
type halt struct{ back TargetState }

// halt stops a connector and keeps it so until what it returns is called, which puts it
// back to the state it was meant to be in. A state that is asked for meanwhile takes
// that one's place.
func (h *Herder) halt(ctx context.Context, name string) (resume func(context.Context) error, err error) {
	unlock, err := h.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	d, ok := h.desired(name)
	if !ok {
		return nil, notFound(name)
	}
	if h.halts[name] != nil {
		return nil, &connect.Error{Code: "request.conflict", Class: connect.ClassRetriable, Message: "Connector " + name + " stands still because another request is being carried out",
			Mend: "wait until that one is answered"}
	}
	if d.target != Stopped {
		if err := h.writeState(ctx, name, d, Stopped); err != nil {
			return nil, err
		}
	}
	stopped := &halt{back: d.target}
	h.halts[name] = stopped
	return func(ctx context.Context) error { return h.resume(ctx, name, stopped) }, nil
}

// resume puts a connector back.
func (h *Herder) resume(ctx context.Context, name string, stopped *halt) error {
	unlock, err := h.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if h.halts[name] == stopped {
		delete(h.halts, name)
	}
	d, ok := h.desired(name)
	if !ok || stopped.back == d.target {
		return nil // It was deleted meanwhile, or is where it belongs.
	}
	return h.writeState(ctx, name, d, stopped.back)
}

// awaitIdle waits until nothing of a stopped connector runs any more.
func (h *Herder) awaitIdle(ctx context.Context, name string) error {
	limit := time.NewTimer(2*graceful(h.rt.settings) + 5*time.Second)
	defer limit.Stop()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		d, err := h.offsetsMayChange(name)
		if err == nil || d.target == Stopped && connect.AsError(err).Code == "connector.zombies" {
			return err
		}
		select {
		case <-again.C:
		case <-limit.C:
			return err
		case <-ctx.Done():
			return h.timeout()
		}
	}
}
