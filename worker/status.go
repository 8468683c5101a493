package worker

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tidemill/tidemill/internal/kafkalog"
)

// The states of connectors and tasks.
const (
	stateUnassigned = "UNASSIGNED"
	stateRunning    = "RUNNING"
	statePaused     = "PAUSED"
	stateStopped    = "STOPPED"
	stateFailed     = "FAILED"
	stateRestarting = "RESTARTING"
)

// stateRecord is the value of the status topic's connector and task records.
type stateRecord struct {
	State      string  `json:"state"`
	Trace      *string `json:"trace"`
	WorkerID   string  `json:"worker_id"`
	Generation int     `json:"generation"`
	Version    string  `json:"version,omitempty"`
}

func (r stateRecord) trace() string {
	if r.Trace == nil {
		return ""
	}
	return *r.Trace
}

// topicUse is the value of the status topic's records of used topics.
type topicUse struct {
	Topic struct {
		Name       string `json:"name"`
		Connector  string `json:"connector"`
		Task       int    `json:"task"`
		Discovered int64  `json:"discoverTimestamp"`
	} `json:"topic"`
}

// statusStore keeps the states of connectors and tasks, and the topics they use.
//
//	status-connector-<name>                   {"state","trace","worker_id","generation"}
//	status-task-<name>-<n>                    the same
//	status-topic-<topic>:connector-<name>     {"topic":{"name","connector","task","discoverTimestamp"}}
//
// What this worker puts is known here at once; the topic is written behind it, the
// newest state of each key, so that a slow broker holds nobody up.
type statusStore struct {
	journal  journal
	log      *slog.Logger
	workerID string

	mu         sync.Mutex // Guards what follows; never held while the journal is called.
	connectors map[string]stateRecord
	tasks      map[TaskID]stateRecord
	topics     map[string]map[string]topicUse // By connector and topic.
	// own are the keys this worker has put: what the topic says of them is older.
	own     map[string]bool
	pending map[string][]byte
	order   []string      // The keys of pending, oldest first.
	writing bool          // Some that are no longer pending are on their way.
	written chan struct{} // Closed, and replaced, when pending was written out.
	wake    chan struct{}
}

const (
	statusConnectorPrefix = "status-connector-"
	statusTaskPrefix      = "status-task-"
	statusTopicPrefix     = "status-topic-"
	topicConnector        = ":connector-"
)

func newStatusStore(workerID string, log *slog.Logger) *statusStore {
	return &statusStore{
		workerID: workerID, log: log,
		connectors: map[string]stateRecord{}, tasks: map[TaskID]stateRecord{}, topics: map[string]map[string]topicUse{},
		own: map[string]bool{}, pending: map[string][]byte{}, written: make(chan struct{}), wake: make(chan struct{}, 1),
	}
}

// apply takes a record of the topic.
func (s *statusStore) apply(r kafkalog.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := string(r.Key)
	if s.own[key] && !s.foreign(r.Value) {
		return
	}
	delete(s.own, key)
	s.set(key, r.Value)
}

// foreign tells whether a value was written by another worker.
func (s *statusStore) foreign(value []byte) bool {
	var v stateRecord
	return value != nil && json.Unmarshal(value, &v) == nil && v.WorkerID != "" && v.WorkerID != s.workerID
}

// set stores what a key's value says. The caller holds mu.
func (s *statusStore) set(key string, value []byte) {
	if rest, ok := strings.CutPrefix(key, statusTopicPrefix); ok {
		s.setTopic(rest, value)
		return
	}
	var v stateRecord
	if value != nil && json.Unmarshal(value, &v) != nil {
		return
	}
	if name, ok := strings.CutPrefix(key, statusConnectorPrefix); ok {
		if delete(s.connectors, name); value != nil {
			s.connectors[name] = v
		}
		return
	}
	rest, ok := strings.CutPrefix(key, statusTaskPrefix)
	dash := strings.LastIndexByte(rest, '-')
	if !ok || dash < 0 {
		return
	}
	n, err := strconv.Atoi(rest[dash+1:])
	if err != nil {
		return
	}
	id := TaskID{Connector: rest[:dash], Task: n}
	if delete(s.tasks, id); value != nil {
		s.tasks[id] = v
	}
}

func (s *statusStore) setTopic(rest string, value []byte) {
	topic, name, ok := strings.Cut(rest, topicConnector)
	if !ok {
		return
	}
	if value == nil {
		delete(s.topics[name], topic)
		return
	}
	var v topicUse
	if json.Unmarshal(value, &v) != nil {
		return
	}
	if s.topics[name] == nil {
		s.topics[name] = map[string]topicUse{}
	}
	s.topics[name][topic] = v
}

// put makes a value known and has it written.
func (s *statusStore) put(key string, value []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
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

func (s *statusStore) topicsOf(name string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.topics[name]))
}

func (s *statusStore) taskIDs(name string) []TaskID {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ids []TaskID
	for id := range s.tasks {
		if id.Connector == name {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b TaskID) int { return a.Task - b.Task })
	return ids
}

func (s *statusStore) connector(name string) (stateRecord, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.connectors[name]
	return r, ok
}

func (s *statusStore) task(id TaskID) (stateRecord, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.tasks[id]
	return r, ok
}

// known returns the names of all connectors with a state or topic, also of those
// that are there no more.
func (s *statusStore) known() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	names := map[string]bool{}
	for name := range s.connectors {
		names[name] = true
	}
	for id := range s.tasks {
		names[id.Connector] = true
	}
	for name := range s.topics {
		names[name] = true
	}
	return slices.Sorted(maps.Keys(names))
}

// Run writes what was put until ctx is done. A write that fails is tried again: the
// topic must not end up with an older state than the newest.
func (s *statusStore) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
		}
		for s.writeOut(ctx) != nil {
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(time.Second):
			}
		}
	}
}

// writeOut writes what is pending now.
func (s *statusStore) writeOut(ctx context.Context) error {
	s.mu.Lock()
	entries := make([]kafkalog.Entry, len(s.order))
	for i, key := range s.order {
		entries[i] = kafkalog.Entry{Key: []byte(key), Value: s.pending[key]}
	}
	clear(s.pending)
	s.order = s.order[:0]
	s.writing = true
	s.mu.Unlock()
	err := s.journal.Put(ctx, entries...)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writing = false
	if err != nil {
		s.log.Warn("writing states", "error", err)
		s.requeue(entries)
		return err
	}
	if len(s.order) == 0 {
		close(s.written)
		s.written = make(chan struct{})
	}
	return nil
}

// requeue puts back entries that were not written, unless newer ones have come. The
// caller holds mu.
func (s *statusStore) requeue(entries []kafkalog.Entry) {
	newer := s.order
	s.order = nil
	for _, e := range entries {
		if _, ok := s.pending[string(e.Key)]; !ok {
			s.pending[string(e.Key)] = e.Value
			s.order = append(s.order, string(e.Key))
		}
	}
	s.order = append(s.order, newer...)
}

// flush waits until everything put before is written.
func (s *statusStore) flush(ctx context.Context) {
	for {
		s.mu.Lock()
		done, written := len(s.order) == 0 && !s.writing, s.written
		s.mu.Unlock()
		if done {
			return
		}
		select {
		case <-written:
		case <-ctx.Done():
			return
		}
	}
}
