package worker

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/internal/kafkalog"
)

// Create checks the configuration and creates a connector.
func (h *Herder) Create(ctx context.Context, r CreateRequest) (ConnectorInfo, error) {
	name := strings.TrimSpace(r.Name)
	if err := h.checkReady(); err != nil {
		return ConnectorInfo{}, err
	}
	if r.InitialState == "" {
		r.InitialState = Started
	}
	config, err := named(name, r.Config)
	if err != nil {
		return ConnectorInfo{}, err
	}
	if _, exists := h.desired(name); exists {
		return ConnectorInfo{}, existsError(name)
	}
	if err := h.checkConfig(ctx, config); err != nil {
		return ConnectorInfo{}, err
	}
	unlock, err := h.lock(ctx)
	if err != nil {
		return ConnectorInfo{}, err
	}
	defer unlock()
	if _, exists := h.desired(name); exists {
		return ConnectorInfo{}, existsError(name)
	}
	var entries []kafkalog.Entry
	if r.InitialState != Started {
		// Before the connector itself, so that nobody starts it in between.
		entries = append(entries, targetEntry(name, r.InitialState))
	}
	return h.writeConfig(ctx, name, append(entries, connectorEntry(name, config)))
}

func existsError(name string) error {
	return &connect.Error{Code: "connector.exists", Message: "Connector " + name + " already exists"}
}

// named returns the configuration with its name in it.
func named(name string, config connect.Config) (connect.Config, error) {
	config = maps.Clone(config)
	if config == nil {
		config = connect.Config{}
	}
	if given, ok := config["name"]; ok && given != name {
		return nil, &connect.Error{
			Code: "request.invalid", Class: connect.ClassConfig,
			Message: fmt.Sprintf("Connector name configuration (%s) doesn't match connector name in the URL (%s)", given, name),
		}
	}
	config["name"] = name
	return config, nil
}

// checkConfig fails when the configuration has faults, and lists them all.
func (h *Herder) checkConfig(ctx context.Context, config connect.Config) error {
	v, err := h.Validate(ctx, "", config)
	if err != nil {
		return err
	}
	if v.ErrorCount == 0 {
		return nil
	}
	var texts []string
	for _, c := range v.Configs {
		texts = append(texts, c.Value.Errors...)
	}
	return &connect.Error{
		Code: "config.invalid", Class: connect.ClassConfig,
		Message: fmt.Sprintf("Connector configuration is invalid and contains the following %d error(s):\n%s\nYou can also find the above list of errors at the endpoint `/connector-plugins/{connectorType}/config/validate`",
			v.ErrorCount, strings.Join(texts, "\n")),
	}
}

// writeConfig writes a connector's records and waits, for a while, until the change
// is visible in its state.
func (h *Herder) writeConfig(ctx context.Context, name string, entries []kafkalog.Entry) (ConnectorInfo, error) {
	if err := h.write(ctx, "writing a config for connector "+name+" to the config topic", entries...); err != nil {
		return ConnectorInfo{}, err
	}
	if _, known := h.rt.statuses.connector(name); !known {
		h.rt.statuses.putConnector(name, stateUnassigned, "", "")
	}
	return h.Connector(name)
}

// PutConfig replaces a connector's configuration, or creates the connector.
func (h *Herder) PutConfig(ctx context.Context, name string, config connect.Config) (info ConnectorInfo, created bool, err error) {
	if _, exists := h.desired(name); !exists {
		info, err = h.Create(ctx, CreateRequest{Name: name, Config: config})
		return info, err == nil, err
	}
	if config, err = named(name, config); err != nil {
		return info, false, err
	}
	info, err = h.replace(ctx, name, config)
	return info, false, err
}

// replace checks and writes a configuration for a connector that exists.
func (h *Herder) replace(ctx context.Context, name string, config connect.Config) (ConnectorInfo, error) {
	if err := h.checkReady(); err != nil {
		return ConnectorInfo{}, err
	}
	if err := h.checkConfig(ctx, config); err != nil {
		return ConnectorInfo{}, err
	}
	unlock, err := h.lock(ctx)
	if err != nil {
		return ConnectorInfo{}, err
	}
	defer unlock()
	return h.writeConfig(ctx, name, []kafkalog.Entry{connectorEntry(name, config)})
}

// PatchConfig changes single settings of a connector; a nil value removes one.
func (h *Herder) PatchConfig(ctx context.Context, name string, patch map[string]*string) (ConnectorInfo, error) {
	if err := h.checkReady(); err != nil {
		return ConnectorInfo{}, err
	}
	d, ok := h.desired(name)
	if !ok {
		return ConnectorInfo{}, notFound(name)
	}
	config := maps.Clone(d.config)
	for k, v := range patch {
		if v == nil {
			delete(config, k)
			continue
		}
		config[k] = *v
	}
	config, err := named(name, config)
	if err != nil {
		return ConnectorInfo{}, err
	}
	return h.replace(ctx, name, config)
}

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

// Restart restarts a connector, and its tasks if asked to. With neither option it
// returns when the connector has started, and no status; else it returns the status
// with those that will be restarted as RESTARTING.
func (h *Herder) Restart(ctx context.Context, name string, o RestartOptions) (*ConnectorStatus, error) {
	if err := h.checkReady(); err != nil {
		return nil, err
	}
	u := h.unit(name)
	if _, ok := h.desired(name); !ok || u == nil {
		return nil, &connect.Error{Code: "connector.not_found", Message: "Unknown connector: " + name}
	}
	if o == (RestartOptions{}) {
		err := h.request(ctx, u, restartRequest{connector: true})
		return nil, err
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
		status.Connector.State, status.Connector.Trace = stateRestarting, ""
	}
	for i := range status.Tasks {
		if t := &status.Tasks[i]; o.IncludeTasks && (!o.OnlyFailed || t.State == stateFailed) {
			t.State, t.Trace = stateRestarting, ""
		}
	}
	if err := h.write(ctx, "writing a restart request for connector "+name+" to the config topic", restartEntry(name, o)); err != nil {
		return nil, err
	}
	return &status, nil
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
	u := h.unit(id.Connector)
	if !ok || u == nil {
		return &connect.Error{Code: "connector.not_found", Message: "Unknown connector: " + id.Connector}
	}
	if id.Task < 0 || id.Task >= len(d.tasks) {
		return &connect.Error{Code: "connector.not_found", Message: "Unknown task: " + id.String()}
	}
	return h.request(ctx, u, restartRequest{tasks: []int{id.Task}})
}
