package worker

import (
	"time"
)

// put makes a value known and has it written.
func (s *statusStore) put(key string, value []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.putLocked(key, value)
}

// expectConnector gives a connector that has no state yet one. It may be running by
// now: what it said of itself stays.
func (s *statusStore) expectConnector(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.connectors[name]; !known {
		s.putLocked(statusConnectorPrefix+name, s.record(stateUnassigned, "", ""))
	}
}

// putLocked is put with mu held by the caller.
func (s *statusStore) putLocked(key string, value []byte) {
	s.set(key, value)
	s.own[key] = true
	if _, queued := s.pending[key]; !queued {
		s.order = append(s.order, key)
	}
	s.pending[key] = value
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// record returns the value for a state. The trace is empty for none.
func (s *statusStore) record(state, trace, version string) []byte {
	r := stateRecord{State: state, WorkerID: s.workerID, Generation: 1, Version: version}
	if trace != "" {
		r.Trace = &trace
	}
	return appendJSON(nil, r)
}

func (s *statusStore) putConnector(name, state, trace, version string) {
	s.put(statusConnectorPrefix+name, s.record(state, trace, version))
}

func (s *statusStore) putTask(id TaskID, state, trace, version string) {
	s.put(statusTaskPrefix+id.String(), s.record(state, trace, version))
}

func (s *statusStore) dropTask(id TaskID) { s.put(statusTaskPrefix+id.String(), nil) }

// dropConnector forgets a connector, its tasks and its topics.
func (s *statusStore) dropConnector(name string) {
	s.put(statusConnectorPrefix+name, nil)
	for _, id := range s.taskIDs(name) {
		s.dropTask(id)
	}
	s.dropTopics(name)
}

// useTopic records that a task uses a topic.
func (s *statusStore) useTopic(id TaskID, topic string) {
	s.mu.Lock()
	_, known := s.topics[id.Connector][topic]
	s.mu.Unlock()
	if known {
		return
	}
	var v topicUse
	v.Topic.Name, v.Topic.Connector, v.Topic.Task = topic, id.Connector, id.Task
	v.Topic.Discovered = time.Now().UnixMilli()
	s.put(statusTopicPrefix+topic+topicConnector+id.Connector, appendJSON(nil, v))
}

func (s *statusStore) dropTopics(name string) {
	for _, topic := range s.topicsOf(name) {
		s.put(statusTopicPrefix+topic+topicConnector+name, nil)
	}
}

// forgetRun marks as unassigned what a former process of this worker left as running:
// nothing runs until it has been started anew.
func (s *statusStore) forgetRun(name string) {
	if r, ok := s.connector(name); ok && r.WorkerID == s.workerID {
		s.putConnector(name, stateUnassigned, "", r.Version)
	}
	for _, id := range s.taskIDs(name) {
		if r, ok := s.task(id); ok && r.WorkerID == s.workerID {
			s.putTask(id, stateUnassigned, "", r.Version)
		}
	}
}
