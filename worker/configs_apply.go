package worker

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/internal/kafkalog"
)

// apply takes the next record and returns what it changed, nil for nothing that
// concerns us. Records that cannot be read are passed over, as Kafka Connect does:
// they may come from a later version.
func (s *configState) apply(r kafkalog.Record) *configEvent {
	key := string(r.Key)
	if key == sessionKeyName {
		s.applySessionKey(r.Value)
		return nil
	}
	for prefix, take := range map[string]func(name string, value []byte) *configEvent{
		connectorPrefix: s.applyConnector, taskPrefix: s.applyTask, commitPrefix: s.applyCommit,
		targetPrefix: s.applyTarget, fencingPrefix: s.applyFencing, restartPrefix: s.applyRestart, loggerPrefix: applyLogger,
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

func applyLogger(name string, value []byte) *configEvent {
	var v struct {
		Level string `json:"level"`
	}
	if json.Unmarshal(value, &v) != nil || v.Level == "" {
		return nil
	}
	return &configEvent{logger: name, level: v.Level}
}
