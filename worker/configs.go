package worker

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/internal/kafkalog"
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
type configState struct {
	connectors map[string]*connectorConfig
	// deferred are the task configurations written since the last commit.
	deferred map[string]map[int]connect.Config
	targets  map[string]TargetState
	fenced   map[string]int
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
)

// apply takes the next record and returns what it changed, nil for nothing that
// concerns us. Records that cannot be read are passed over, as Kafka Connect does:
// they may come from a later version.
func (s *configState) apply(r kafkalog.Record) *configEvent {
	key := string(r.Key)
	for prefix, take := range map[string]func(name string, value []byte) *configEvent{
		connectorPrefix: s.applyConnector, taskPrefix: s.applyTask, commitPrefix: s.applyCommit,
		targetPrefix: s.applyTarget, fencingPrefix: s.applyFencing, restartPrefix: s.applyRestart,
	} {
		// No prefix is the beginning of another.
		if name, ok := strings.CutPrefix(key, prefix); ok {
			return take(name, r.Value)
		}
	}
	return nil
}

// properties is the value of connector and task records.
type properties struct {
	Properties map[string]*string `json:"properties"`
}

func parseProperties(value []byte) (connect.Config, bool) {
	var v properties
	if json.Unmarshal(value, &v) != nil || v.Properties == nil {
		return nil, false
	}
	config := make(connect.Config, len(v.Properties))
	for k, text := range v.Properties {
		if text != nil {
			config[k] = *text
		}
	}
	return config, true
}

func (s *configState) applyConnector(name string, value []byte) *configEvent {
	if value == nil {
		// What stays in the topic of a deleted connector's tasks must not come back to
		// life with a new one of its name.
		delete(s.connectors, name)
		delete(s.deferred, name)
		delete(s.targets, name)
		delete(s.fenced, name)
		return &configEvent{name: name, deleted: true}
	}
	config, ok := parseProperties(value)
	if !ok {
		return nil
	}
	c := connectorConfig{}
	if old := s.connectors[name]; old != nil {
		c = *old
	}
	c.config = config
	s.connectors[name] = &c
	return &configEvent{name: name}
}

func (s *configState) applyTask(rest string, value []byte) *configEvent {
	dash := strings.LastIndexByte(rest, '-')
	if dash < 0 {
		return nil
	}
	n, err := strconv.Atoi(rest[dash+1:])
	config, ok := parseProperties(value)
	if err != nil || !ok {
		return nil
	}
	name := rest[:dash]
	if s.deferred[name] == nil {
		s.deferred[name] = map[int]connect.Config{}
	}
	s.deferred[name][n] = config
	return nil
}

func (s *configState) applyCommit(name string, value []byte) *configEvent {
	var v struct {
		Tasks *int `json:"tasks"`
	}
	old := s.connectors[name]
	if json.Unmarshal(value, &v) != nil || v.Tasks == nil || old == nil {
		delete(s.deferred, name)
		return nil
	}
	c := *old
	s.sequence++
	c.commits = s.sequence
	c.applied = c.config
	c.unfenced = true
	written := s.deferred[name]
	delete(s.deferred, name)
	tasks := make([]connect.Config, *v.Tasks)
	for i := range tasks {
		tasks[i] = written[i]
	}
	c.inconsistent = slices.ContainsFunc(tasks, func(t connect.Config) bool { return t == nil })
	if !c.inconsistent {
		c.tasks = tasks
	}
	s.connectors[name] = &c
	return &configEvent{name: name}
}

func (s *configState) applyTarget(name string, value []byte) *configEvent {
	if value == nil {
		delete(s.targets, name)
		return &configEvent{name: name}
	}
	var v struct {
		State   TargetState `json:"state"`
		StateV2 TargetState `json:"state.v2"`
	}
	if json.Unmarshal(value, &v) != nil {
		return nil
	}
	state := v.StateV2
	if state == "" {
		state = v.State
	}
	switch state {
	case Started, Paused, Stopped:
		s.targets[name] = state
		return &configEvent{name: name}
	}
	return nil
}

func (s *configState) applyFencing(name string, value []byte) *configEvent {
	var v struct {
		Count int `json:"task-count"`
	}
	if json.Unmarshal(value, &v) != nil {
		return nil
	}
	s.fenced[name] = v.Count
	if old := s.connectors[name]; old != nil {
		c := *old
		c.unfenced = false
		s.connectors[name] = &c
	}
	return nil
}

func (s *configState) applyRestart(name string, value []byte) *configEvent {
	var v struct {
		IncludeTasks bool `json:"include-tasks"`
		OnlyFailed   bool `json:"only-failed"`
	}
	if value == nil || json.Unmarshal(value, &v) != nil {
		return nil
	}
	return &configEvent{name: name, restart: &RestartOptions{IncludeTasks: v.IncludeTasks, OnlyFailed: v.OnlyFailed}}
}

// target returns what a connector is meant to do.
func (s *configState) target(name string) TargetState {
	if t, ok := s.targets[name]; ok {
		return t
	}
	return Started
}

// names returns the connectors, sorted.
func (s *configState) names() []string { return slices.Sorted(maps.Keys(s.connectors)) }

// The records that are written.

func connectorEntry(name string, config connect.Config) kafkalog.Entry {
	return propertiesEntry(connectorPrefix+name, config)
}

func taskEntry(id TaskID, config connect.Config) kafkalog.Entry {
	return propertiesEntry(taskPrefix+id.String(), config)
}

func propertiesEntry(key string, config connect.Config) kafkalog.Entry {
	return kafkalog.Entry{Key: []byte(key), Value: appendJSON(nil, map[string]connect.Config{"properties": config})}
}

func commitEntry(name string, tasks int) kafkalog.Entry {
	return kafkalog.Entry{Key: []byte(commitPrefix + name), Value: appendJSON(nil, map[string]int{"tasks": tasks})}
}

func targetEntry(name string, state TargetState) kafkalog.Entry {
	old := state
	if state == Stopped {
		old = Paused // What workers that do not know STOPPED come nearest to.
	}
	v := struct {
		State   TargetState `json:"state"`
		StateV2 TargetState `json:"state.v2"`
	}{old, state}
	return kafkalog.Entry{Key: []byte(targetPrefix + name), Value: appendJSON(nil, v)}
}

func fencingEntry(name string, tasks int) kafkalog.Entry {
	return kafkalog.Entry{Key: []byte(fencingPrefix + name), Value: appendJSON(nil, map[string]int{"task-count": tasks})}
}

func restartEntry(name string, o RestartOptions) kafkalog.Entry {
	v := struct {
		IncludeTasks bool `json:"include-tasks"`
		OnlyFailed   bool `json:"only-failed"`
	}{o.IncludeTasks, o.OnlyFailed}
	return kafkalog.Entry{Key: []byte(restartPrefix + name), Value: appendJSON(nil, v)}
}

func deleteEntries(name string) []kafkalog.Entry {
	return []kafkalog.Entry{{Key: []byte(connectorPrefix + name)}, {Key: []byte(targetPrefix + name)}}
}
