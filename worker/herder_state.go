package worker

import (
	"context"
	"time"

	"github.com/tidemill/tidemill/connect"
)

// Delete removes a connector and stops its tasks. It returns when they have stopped,
// or were abandoned.
func (h *Herder) Delete(ctx context.Context, name string) error {
	if err := h.checkReady(); err != nil {
		return err
	}
	unlock, err := h.lock(ctx)
	if err != nil {
		return err
	}
	if _, ok := h.desired(name); !ok {
		unlock()
		return notFound(name)
	}
	u := h.unit(name)
	err = h.write(ctx, "removing the config for connector "+name+" from the config topic", deleteEntries(name)...)
	unlock()
	if err != nil {
		return err
	}
	if u == nil {
		h.rt.statuses.dropConnector(name)
		return nil
	}
	select {
	case <-u.done:
	case <-time.After(2*graceful(h.rt.settings) + time.Second):
	case <-ctx.Done():
	}
	return nil
}

// SetState starts (resumes), pauses or stops a connector. It returns when the wish
// is stored; the tasks follow.
func (h *Herder) SetState(ctx context.Context, name string, state TargetState) error {
	if err := h.checkReady(); err != nil {
		return err
	}
	unlock, err := h.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	d, ok := h.desired(name)
	if !ok {
		return &connect.Error{Code: "connector.not_found", Message: "Unknown connector " + name}
	}
	if state == Stopped && len(d.tasks) > 0 {
		if err := h.writeTasks(ctx, name, nil); err != nil {
			return err
		}
	}
	return h.write(ctx, "writing a target state for connector "+name+" to the config topic", targetEntry(name, state))
}
