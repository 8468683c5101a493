package worker

import (
	"maps"
	"slices"

	"github.com/tidemill/tidemill/connect"
)

// configState is what the config topic says. Its records, in order, are its only
// input; it is pure, and guarded by whoever holds it.
//
//	connector-<name>          {"properties":{…}}     a connector; no value deletes it
//	task-<name>-<n>           {"properties":{…}}     counts only once it is committed
//	commit-<name>             {"tasks":n}            makes the tasks 0…n-1 written since the last commit current
//	target-state-<name>       {"state":…,"state.v2":…}
//	tasks-fencing-<name>      {"task-count":n}       former transactional producers are shut out
//	restart-connector-<name>  {"include-tasks":…,"only-failed":…}
//	logger-cluster-<name>     {"level":…}            a level for all workers, as long as they run
//	session-key               {"key":…,"algorithm":…,"creation-timestamp":…}
type configState struct {
	connectors map[string]*connectorConfig
	// deferred are the task configurations written since the last commit.
	deferred map[string]map[int]connect.Config
	targets  map[string]TargetState
	fenced   map[string]int
	key      *sessionKey // The newest one, nil for none.
	// sequence numbers the commits of all connectors.
	sequence int
}

// connectorConfig is what is known of one connector. It is never changed once a
// reader may have it: apply replaces it.
type connectorConfig struct {
	config connect.Config
	tasks  []connect.Config // As committed.
	// applied is the connector's configuration when the tasks were committed.
	applied connect.Config
	// commits is the number of the last commit, 0 before the first: tasks of another
	// commit are other tasks, also those of a former connector of this name.
	commits int
	// inconsistent says that a commit named tasks that were never written, as when a
	// worker died in between or compaction took them. The tasks must be made anew.
	inconsistent bool
	// unfenced says that tasks were committed since producers were last shut out.
	unfenced bool
}

// configEvent tells what a record changed.
type configEvent struct {
	name    string
	deleted bool
	restart *RestartOptions
	// logger is the one that has got another level, which is no matter of a connector.
	logger, level string
}

func newConfigState() *configState {
	return &configState{
		connectors: map[string]*connectorConfig{}, deferred: map[string]map[int]connect.Config{},
		targets: map[string]TargetState{}, fenced: map[string]int{},
	}
}

// The beginnings of the topic's keys.
const (
	connectorPrefix = "connector-"
	taskPrefix      = "task-"
	commitPrefix    = "commit-"
	targetPrefix    = "target-state-"
	fencingPrefix   = "tasks-fencing-"
	restartPrefix   = "restart-connector-"
	loggerPrefix    = "logger-cluster-"
)

// target returns what a connector is meant to do.
func (s *configState) target(name string) TargetState {
	if t, ok := s.targets[name]; ok {
		return t
	}
	return Started
}

// names returns the connectors, sorted.
func (s *configState) names() []string { return slices.Sorted(maps.Keys(s.connectors)) }
