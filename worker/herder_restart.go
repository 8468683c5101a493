package worker

import (
	"context"

	"github.com/tidemill/tidemill/connect"
)

// Restart restarts a connector, and its tasks if asked to. With neither option it
// returns when the connector has started, and no status; else it returns the status
// with those that will be restarted as RESTARTING.
func (h *Herder) Restart(ctx context.Context, name string, o RestartOptions) (*ConnectorStatus, error) {
	if err := h.checkReady(); err != nil {
		return nil, err
	}
	if o == (RestartOptions{}) {
		u, err := h.at(ctx, connectorWork(name))
		if err != nil {
			return nil, err
		}
		if u == nil {
			return nil, unknownName(name)
		}
		return nil, h.request(ctx, u, restartRequest{connector: true})
	}
	if err := h.leading(ctx); err != nil {
		return nil, err
	}
	if _, ok := h.desired(name); !ok {
		return nil, unknownName(name)
	}
	unlock, err := h.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	// What will be restarted is shown before the topic tells the units.
	status, err := h.Status(name)
	if err != nil {
		return nil, err
	}
	if !o.OnlyFailed || status.Connector.State == stateFailed {
		status.Connector.State, status.Connector.Trace, status.Connector.Failure = stateRestarting, "", nil
	}
	for i := range status.Tasks {
		if t := &status.Tasks[i]; o.IncludeTasks && (!o.OnlyFailed || t.State == stateFailed) {
			t.State, t.Trace, t.Failure = stateRestarting, "", nil
		}
	}
	if err := h.write(ctx, "writing a restart request for connector "+name+" to the config topic", restartEntry(name, o)); err != nil {
		return nil, err
	}
	return &status, nil
}

func unknownName(name string) error {
	return &connect.Error{Code: "connector.not_found", Message: "Unknown connector: " + name}
}

// request hands a unit a request and waits for its outcome.
func (h *Herder) request(ctx context.Context, u *unit, r restartRequest) error {
	defer h.stages.enter("restarting the connector")()
	r.done = make(chan error, 1)
	select {
	case u.requests <- r:
	case <-u.done:
		return notFound(u.name)
	case <-ctx.Done():
		return h.timeout()
	}
	select {
	case err := <-r.done:
		if err != nil && connect.AsError(err).Code == "internal" {
			return &connect.Error{Code: "connector.start", Message: "Failed to start connector: " + u.name, Cause: err}
		}
		return err
	case <-ctx.Done():
		return h.timeout()
	}
}

// RestartTask restarts one task.
func (h *Herder) RestartTask(ctx context.Context, id TaskID) error {
	if err := h.checkReady(); err != nil {
		return err
	}
	d, ok := h.desired(id.Connector)
	if !ok {
		return unknownName(id.Connector)
	}
	if id.Task < 0 || id.Task >= len(d.tasks) {
		return &connect.Error{Code: "connector.not_found", Message: "Unknown task: " + id.String()}
	}
	u, err := h.at(ctx, taskWork(id))
	if err != nil {
		return err
	}
	if u == nil {
		return unknownName(id.Connector)
	}
	return h.request(ctx, u, restartRequest{tasks: []int{id.Task}})
}
