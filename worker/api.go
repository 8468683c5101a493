package worker

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/tidemill/tidemill/connect"
)

// ServerInfo is the answer of GET /.
type ServerInfo struct {
	Version        string `json:"version"`
	Commit         string `json:"commit"`
	KafkaClusterID string `json:"kafka_cluster_id"`
}

// Health is the answer of GET /health. Status is "healthy", "starting" or
// "unhealthy", and speaks of the worker itself.
type Health struct {
	Status  string `json:"status"`
	Message string `json:"message"`
}

// TaskID names one task of a connector.
type TaskID struct {
	Connector string `json:"connector"`
	Task      int    `json:"task"`
}

// String writes connector-task, as logs and topics do.
func (id TaskID) String() string { return fmt.Sprintf("%s-%d", id.Connector, id.Task) }

// ConnectorInfo is a connector's configuration, as its owner wrote it (references
// to secrets are not resolved), and its tasks. Type is "source", "sink" or
// "unknown".
type ConnectorInfo struct {
	Name   string         `json:"name"`
	Config connect.Config `json:"config"`
	Tasks  []TaskID       `json:"tasks"`
	Type   string         `json:"type"`
}

// CreateRequest asks for a new connector. An empty InitialState is Started.
type CreateRequest struct {
	Name         string
	Config       connect.Config
	InitialState TargetState
}

// TargetState is what a connector is meant to be doing.
type TargetState string

// The target states, as the config topic writes them. Paused keeps the tasks and
// what they hold; Stopped has no tasks, and is the state in which offsets may be
// changed.
const (
	Started TargetState = "STARTED"
	Paused  TargetState = "PAUSED"
	Stopped TargetState = "STOPPED"
)

// ParseTargetState reads the initial_state of a create request: RUNNING, PAUSED or
// STOPPED in any case; empty is Started.
func ParseTargetState(text string) (TargetState, error) {
	switch strings.ToUpper(strings.TrimSpace(text)) {
	case "", "RUNNING", string(Started):
		return Started, nil
	case string(Paused):
		return Paused, nil
	case string(Stopped):
		return Stopped, nil
	}
	return "", &connect.Error{
		Code: "request.invalid", Class: connect.ClassConfig, Place: "initial_state",
		Message: fmt.Sprintf("%q is no state a connector can be created in", text), Mend: "write RUNNING, PAUSED or STOPPED",
	}
}

// ConnectorStatus is the answer of GET /connectors/{name}/status. Tasks are sorted
// by number.
type ConnectorStatus struct {
	Name      string         `json:"name"`
	Connector ConnectorState `json:"connector"`
	Tasks     []TaskStatus   `json:"tasks"`
	Type      string         `json:"type"`
}

// ConnectorState is the state of a connector itself: UNASSIGNED, RUNNING, PAUSED,
// STOPPED, FAILED or RESTARTING. The first line of Trace is the error, with its
// code and mend.
type ConnectorState struct {
	State    string `json:"state"`
	WorkerID string `json:"worker_id"`
	Trace    string `json:"trace,omitempty"`
	Version  string `json:"version,omitempty"`
	// Failure is the last one, also of what runs again. Abandoned counts tasks that did not
	// stop in time and still run. Neither is Kafka Connect's.
	Failure   *Failure `json:"failure,omitempty"`
	Abandoned int      `json:"abandoned,omitempty"`
}

// TaskStatus is the state of one task: as [ConnectorState], but never STOPPED.
type TaskStatus struct {
	ID       int    `json:"id"`
	State    string `json:"state"`
	WorkerID string `json:"worker_id"`
	Trace    string `json:"trace,omitempty"`
	Version  string `json:"version,omitempty"`
	// Failure and Abandoned are as those of [ConnectorState]; the latter counts former runs
	// of this task.
	Failure   *Failure `json:"failure,omitempty"`
	Abandoned int      `json:"abandoned,omitempty"`
}

// TaskInfo is a task's configuration as it is stored: references to secrets are not
// resolved.
type TaskInfo struct {
	ID     TaskID         `json:"id"`
	Config connect.Config `json:"config"`
}

// RestartOptions say what Restart restarts: with neither, the connector alone.
type RestartOptions struct {
	IncludeTasks bool
	OnlyFailed   bool
}

// OffsetEntry is one offset of a connector. Both parts are flat JSON objects; an
// offset that is absent or null resets the partition. Those of sinks are
// {"kafka_topic":"t","kafka_partition":0} and {"kafka_offset":42}.
type OffsetEntry struct {
	Partition json.RawMessage `json:"partition"`
	Offset    json.RawMessage `json:"offset"`
}

// PluginInfo is one line of GET /connector-plugins. Type is "source", "sink",
// "converter", "header_converter", "transformation" or "predicate".
type PluginInfo struct {
	Class   string `json:"class"`
	Type    string `json:"type"`
	Version string `json:"version,omitempty"`
}

// Validation is what is to be said of a configuration, setting by setting. Groups
// are the groups of the settings in order.
type Validation struct {
	Name       string // The connector's class.
	ErrorCount int
	Groups     []string
	Configs    []ValidatedConfig
}

// ValidatedConfig is what is to be said of one setting. Key is nil for a setting
// nobody declares. Settings of converters, transforms and overrides carry their
// prefix in Key.Name and Value.Name.
type ValidatedConfig struct {
	Key   *connect.ConfigKey
	Value connect.ConfigValue
}
