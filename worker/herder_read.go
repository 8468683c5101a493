package worker

import (
	"context"
	"time"

	"github.com/tidemill/tidemill/connect"
)

// Info returns the worker's version and the Kafka cluster it works with.
func (h *Herder) Info() ServerInfo {
	h.mu.Lock()
	defer h.mu.Unlock()
	return ServerInfo{Version: h.options.Version, Commit: h.options.Commit, KafkaClusterID: h.cluster}
}

// healthLimit is how long the question for health may take.
const healthLimit = 10 * time.Second

// Health tells how the worker is: healthy when it has its place in the group and can read
// the config topic. It answers within ten seconds.
func (h *Herder) Health(ctx context.Context) Health {
	stage := func() string {
		if text := h.stages.String(); text != "" {
			return " " + text
		}
		return ""
	}
	if h.checkReady() != nil || !h.hasPlace() {
		return Health{Status: "starting", Message: "Worker is still starting up." + stage()}
	}
	ctx, cancel := context.WithTimeout(ctx, healthLimit)
	defer cancel()
	if err := h.configs.ReadToEnd(ctx); err != nil {
		return Health{Status: "unhealthy", Message: "Worker was unable to handle this request and may be unable to handle other requests." + stage()}
	}
	return Health{Status: "healthy", Message: "Worker has completed startup and is ready to handle requests."}
}

// hasPlace tells whether the worker was given its part of the work, once at least.
func (h *Herder) hasPlace() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.group.member == nil || h.place.Rounds > 0
}

// Failed returns the connectors and tasks of the group that have failed, as "connector"
// and "connector-0", sorted. It answers at once.
func (h *Herder) Failed() []string {
	there := map[string]bool{}
	for _, name := range h.Connectors() {
		there[name] = true
	}
	return h.rt.statuses.failed(func(connector string) bool { return there[connector] })
}

// Connectors returns the names of all connectors, sorted.
func (h *Herder) Connectors() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.state.names()
}

func notFound(name string) error {
	return &connect.Error{Code: "connector.not_found", Message: "Connector " + name + " not found"}
}

// Connector returns a connector's configuration and tasks.
func (h *Herder) Connector(name string) (ConnectorInfo, error) {
	if err := h.checkReady(); err != nil {
		return ConnectorInfo{}, err
	}
	d, ok := h.desired(name)
	if !ok {
		return ConnectorInfo{}, notFound(name)
	}
	info := ConnectorInfo{Name: name, Config: d.config, Tasks: []TaskID{}, Type: h.kind(d.config)}
	for i := range d.tasks {
		info.Tasks = append(info.Tasks, TaskID{name, i})
	}
	return info, nil
}

// kind returns "source", "sink" or "unknown".
func (h *Herder) kind(config connect.Config) string {
	switch l, err := h.rt.locate(config, false); {
	case err != nil:
		return "unknown"
	case l.source != nil:
		return "source"
	}
	return "sink"
}

// Status returns the states of a connector and its tasks.
func (h *Herder) Status(name string) (ConnectorStatus, error) {
	if err := h.checkReady(); err != nil {
		return ConnectorStatus{}, err
	}
	r, ok := h.rt.statuses.connector(name)
	if !ok {
		return ConnectorStatus{}, &connect.Error{Code: "connector.not_found", Message: "No status found for connector " + name}
	}
	status := ConnectorStatus{
		Name: name, Tasks: []TaskStatus{}, Type: "unknown",
		Connector: ConnectorState{State: r.State, WorkerID: r.WorkerID, Trace: r.trace(), Version: r.Version, Failure: r.Failure, Abandoned: r.Abandoned},
	}
	if d, ok := h.desired(name); ok {
		status.Type = h.kind(d.config)
	}
	for _, id := range h.rt.statuses.taskIDs(name) {
		if t, err := h.TaskStatus(id); err == nil {
			status.Tasks = append(status.Tasks, t)
		}
	}
	return status, nil
}

// TaskStatus returns the state of one task.
func (h *Herder) TaskStatus(id TaskID) (TaskStatus, error) {
	if err := h.checkReady(); err != nil {
		return TaskStatus{}, err
	}
	r, ok := h.rt.statuses.task(id)
	if !ok {
		return TaskStatus{}, &connect.Error{Code: "connector.not_found", Message: "No status found for task " + id.String()}
	}
	return TaskStatus{ID: id.Task, State: r.State, WorkerID: r.WorkerID, Trace: r.trace(), Version: r.Version, Failure: r.Failure, Abandoned: r.Abandoned}, nil
}

// TaskConfigs returns the configurations of a connector's tasks.
func (h *Herder) TaskConfigs(name string) ([]TaskInfo, error) {
	if err := h.checkReady(); err != nil {
		return nil, err
	}
	d, ok := h.desired(name)
	if !ok {
		return nil, notFound(name)
	}
	infos := make([]TaskInfo, len(d.tasks))
	for i, config := range d.tasks {
		infos[i] = TaskInfo{ID: TaskID{name, i}, Config: config}
	}
	return infos, nil
}
