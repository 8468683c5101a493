package worker

import (
	"context"

	"github.com/tidemill/tidemill/connect"
)

// Herder answers what REST asks, and may be called from any number of goroutines.
//
// Its errors are [*connect.Error] with one of the codes "connector.not_found",
// "connector.exists", "request.conflict", "request.invalid", "request.forbidden",
// "config.invalid", "plugin.unknown", "worker.starting" and "worker.timeout"; any
// other is a fault of the worker. Message is what Kafka Connect says in the place.
type Herder struct{}

// starting is the answer until the internal topics have been read.
func starting() error {
	return &connect.Error{Code: "worker.starting", Class: connect.ClassRetriable, Message: "Worker is still starting up."}
}

// Info returns the worker's version and the Kafka cluster it works with.
func (h *Herder) Info() ServerInfo { return ServerInfo{} }

// Health tells how the worker is. It answers within ten seconds.
func (h *Herder) Health(ctx context.Context) Health {
	return Health{Status: "starting", Message: "Worker is still starting up."}
}

// Connectors returns the names of all connectors, sorted.
func (h *Herder) Connectors() []string { return nil }

// Connector returns a connector's configuration and tasks.
func (h *Herder) Connector(name string) (ConnectorInfo, error) { return ConnectorInfo{}, starting() }

// Create checks the configuration and creates a connector.
func (h *Herder) Create(ctx context.Context, r CreateRequest) (ConnectorInfo, error) {
	return ConnectorInfo{}, starting()
}

// PutConfig replaces a connector's configuration, or creates the connector.
func (h *Herder) PutConfig(ctx context.Context, name string, config connect.Config) (info ConnectorInfo, created bool, err error) {
	return ConnectorInfo{}, false, starting()
}

// PatchConfig changes single settings of a connector; a nil value removes one.
func (h *Herder) PatchConfig(ctx context.Context, name string, patch map[string]*string) (ConnectorInfo, error) {
	return ConnectorInfo{}, starting()
}

// Delete removes a connector and stops its tasks.
func (h *Herder) Delete(ctx context.Context, name string) error { return starting() }

// Status returns the states of a connector and its tasks.
func (h *Herder) Status(name string) (ConnectorStatus, error) { return ConnectorStatus{}, starting() }

// TaskStatus returns the state of one task.
func (h *Herder) TaskStatus(id TaskID) (TaskStatus, error) { return TaskStatus{}, starting() }

// TaskConfigs returns the configurations of a connector's tasks.
func (h *Herder) TaskConfigs(name string) ([]TaskInfo, error) { return nil, starting() }

// SetState starts (resumes), pauses or stops a connector. It returns when the wish
// is stored; the tasks follow.
func (h *Herder) SetState(ctx context.Context, name string, state TargetState) error {
	return starting()
}

// Restart restarts a connector, and its tasks if asked to. With neither option it
// returns when the connector has started, and no status; else it returns the status
// with those that will be restarted as RESTARTING.
func (h *Herder) Restart(ctx context.Context, name string, o RestartOptions) (*ConnectorStatus, error) {
	return nil, starting()
}

// RestartTask restarts one task.
func (h *Herder) RestartTask(ctx context.Context, id TaskID) error { return starting() }

// Offsets returns a connector's stored offsets: of a source those in the offsets
// topic, of a sink those its consumer group has committed.
func (h *Herder) Offsets(ctx context.Context, name string) ([]OffsetEntry, error) {
	return nil, starting()
}

// AlterOffsets changes offsets of a stopped connector and returns what to tell the
// user.
func (h *Herder) AlterOffsets(ctx context.Context, name string, entries []OffsetEntry) (message string, err error) {
	return "", starting()
}

// ResetOffsets forgets all offsets of a stopped connector and returns what to tell
// the user.
func (h *Herder) ResetOffsets(ctx context.Context, name string) (message string, err error) {
	return "", starting()
}

// Topics returns the topics the connector has written to or read from since it was
// created or since the last ResetTopics, sorted. It fails with "request.forbidden"
// when topic tracking is off.
func (h *Herder) Topics(name string) ([]string, error) { return nil, starting() }

// ResetTopics forgets the topics a connector has used.
func (h *Herder) ResetTopics(ctx context.Context, name string) error { return starting() }

// Plugins returns all plugins: sinks, sources, transforms, predicates, converters,
// header converters.
func (h *Herder) Plugins() []PluginInfo { return nil }

// PluginConfig returns the settings of a plugin, for connectors followed by those
// of the worker's own that apply to it.
func (h *Herder) PluginConfig(class string) ([]connect.ConfigKey, error) { return nil, starting() }

// Validate says everything there is to say of a connector's configuration. class is
// that of the request's path; it must be the one in config.
func (h *Herder) Validate(ctx context.Context, class string, config connect.Config) (Validation, error) {
	return Validation{}, starting()
}
