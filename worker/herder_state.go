package worker

import (
	"context"

	"github.com/tidemill/tidemill/connect"
)

// SetState starts (resumes), pauses or stops a connector. It returns when the wish
// is stored; the tasks follow. While the connector stands still for a remedy, the wish
// holds from its end on.
func (h *Herder) SetState(ctx context.Context, name string, state TargetState) error {
	if err := h.mayChange(ctx); err != nil {
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
	if stopped := h.halts[name]; stopped != nil {
		stopped.back = state
		return nil
	}
	return h.writeState(ctx, name, d, state)
}

// writeState writes a connector's target state. The caller holds the right to write.
func (h *Herder) writeState(ctx context.Context, name string, d desired, state TargetState) error {
	if state == Stopped && len(d.tasks) > 0 {
		if err := h.writeTasks(ctx, name, nil); err != nil {
			return err
		}
	}
	return h.write(ctx, "writing a target state for connector "+name+" to the config topic", targetEntry(name, state))
}

// SetLevel sets the level of a logger in all workers of the group, for as long as they run:
// each of them calls its Options.Level when it hears of it, this one before SetLevel returns.
func (h *Herder) SetLevel(ctx context.Context, logger, level string) error {
	if err := h.mayChange(ctx); err != nil {
		return err
	}
	unlock, err := h.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	return h.write(ctx, "writing a level of logger "+logger+" to the config topic", loggerEntry(logger, level))
}
