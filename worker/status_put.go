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
	return s.signed(stateRecord{State: state, Version: version}, trace)
}

// signed returns the value for what this worker says.
func (s *statusStore) signed(r stateRecord, trace string) []byte {
	r.WorkerID, r.Generation = s.workerID, int(s.generation.Load())
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

// tellConnector and tellTask put a state with what else is to be said.
func (s *statusStore) tellConnector(name string, r stateRecord, trace string) {
	s.put(statusConnectorPrefix+name, s.signed(r, trace))
}

func (s *statusStore) tellTask(id TaskID, r stateRecord, trace string) {
	s.put(statusTaskPrefix+id.String(), s.signed(r, trace))
}

// putStrays puts how many abandoned tasks still run, of one task and of its connector,
// where this worker has said how they are.
func (s *statusStore) putStrays(id TaskID, ofTask, ofConnector int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r, ok := s.tasks.of(id); ok && r.WorkerID == s.workerID && r.Abandoned != ofTask {
		r.Abandoned = ofTask
		s.putLocked(statusTaskPrefix+id.String(), appendJSON(nil, r))
	}
	if r, ok := s.connectors[id.Connector]; ok && r.WorkerID == s.workerID && r.Abandoned != ofConnector {
		r.Abandoned = ofConnector
		s.putLocked(statusConnectorPrefix+id.Connector, appendJSON(nil, r))
	}
}

func (s *statusStore) dropTask(id TaskID) { s.put(statusTaskPrefix+id.String(), nil) }

// dropConnector forgets what this worker, or one that is gone, says of a connector itself.
func (s *statusStore) dropConnector(name string, gone func(worker string) bool) {
	if r, ok := s.connector(name); ok && (r.WorkerID == s.workerID || gone(r.WorkerID)) {
		s.put(statusConnectorPrefix+name, nil)
	}
}

// dropTasks does so for a connector's tasks from the given number on.
func (s *statusStore) dropTasks(name string, from int, gone func(worker string) bool) {
	for _, id := range s.taskIDs(name) {
		if r, ok := s.task(id); ok && id.Task >= from && (r.WorkerID == s.workerID || gone(r.WorkerID)) {
			s.dropTask(id)
		}
	}
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

// released is the value for what this worker runs no more. It keeps the generation in which
// it ran here: who was given it since has said so in a later one, and has the last word even
// if that was before this worker, which may have been suspended, came to say this.
func released(r stateRecord) []byte {
	r.State, r.Trace, r.Failure, r.Abandoned = stateUnassigned, nil, nil, 0
	return appendJSON(nil, r)
}

// release marks a task that this worker says it runs as unassigned.
func (s *statusStore) release(id TaskID) {
	if r, ok := s.task(id); ok && r.WorkerID == s.workerID && r.State != stateUnassigned {
		s.put(statusTaskPrefix+id.String(), released(r))
	}
}

// releaseOwner does so for a connector itself, and releaseConnector for it and its tasks.
func (s *statusStore) releaseOwner(name string) {
	if r, ok := s.connector(name); ok && r.WorkerID == s.workerID && r.State != stateUnassigned {
		s.put(statusConnectorPrefix+name, released(r))
	}
}

func (s *statusStore) releaseConnector(name string) {
	s.releaseOwner(name)
	for _, id := range s.taskIDs(name) {
		s.release(id)
	}
}

// mayPut tells whether what this worker says of a task's failure counts: another that was
// given it since has more to say.
func (s *statusStore) mayPut(id TaskID) bool {
	r, ok := s.task(id)
	return !ok || r.WorkerID == s.workerID || r.Generation < int(s.generation.Load())
}

// elsewhere tells whether another worker that may be there says it runs one of a
// connector's tasks.
func (s *statusStore) elsewhere(name string, gone func(worker string) bool) bool {
	for _, id := range s.taskIDs(name) {
		if r, ok := s.task(id); ok && r.WorkerID != s.workerID && !gone(r.WorkerID) {
			return true
		}
	}
	return false
}
