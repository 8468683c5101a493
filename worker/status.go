package worker

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

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
	// What follows is not Kafka Connect's, whose workers pass over it.
	Failure   *Failure `json:"failure,omitempty"`
	Abandoned int      `json:"abandoned,omitempty"`
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
	// freed is told when another worker says that it runs something no more; nil for nobody.
	freed func()
	// generation is that of the group in which this worker speaks.
	generation atomic.Int32

	mu         sync.Mutex // Guards what follows; never held while the journal is called.
	connectors map[string]stateRecord
	tasks      byTask[stateRecord]
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
	s := &statusStore{
		workerID: workerID, log: log,
		connectors: map[string]stateRecord{}, tasks: byTask[stateRecord]{}, topics: map[string]map[string]topicUse{},
		own: map[string]bool{}, pending: map[string][]byte{}, written: make(chan struct{}), wake: make(chan struct{}, 1),
	}
	s.generation.Store(1) // That of a worker without a group.
	return s
}

// apply takes a record of the topic.
func (s *statusStore) apply(r kafkalog.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := string(r.Key)
	if s.freed != nil && bytes.Contains(r.Value, []byte(stateUnassigned)) && s.foreign(r.Value) {
		s.freed()
	}
	if s.own[key] && !s.foreign(r.Value) {
		return
	}
	if newer := s.outlived(key, r.Value); newer != nil {
		if s.own[key] {
			s.putLocked(key, newer) // Whoever reads the topic later must find it there.
		}
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

// outlived returns what is known of a task or connector, if a value from another worker
// says that it no longer runs there, while it has run elsewhere since. The caller holds mu.
func (s *statusStore) outlived(key string, value []byte) []byte {
	var v, known stateRecord
	if value == nil || json.Unmarshal(value, &v) != nil || v.State != stateUnassigned {
		return nil
	}
	ok := false
	if name, connector := strings.CutPrefix(key, statusConnectorPrefix); connector {
		known, ok = s.connectors[name]
	} else if id, task := parseTask(strings.CutPrefix(key, statusTaskPrefix)); task {
		known, ok = s.tasks.of(id)
	}
	if !ok || known.WorkerID == v.WorkerID || known.State == stateUnassigned || known.Generation < v.Generation {
		return nil
	}
	return appendJSON(nil, known)
}

// parseTask reads connector-task, which is what ok says the text is.
func parseTask(text string, ok bool) (TaskID, bool) {
	dash := strings.LastIndexByte(text, '-')
	if !ok || dash < 0 {
		return TaskID{}, false
	}
	n, err := strconv.Atoi(text[dash+1:])
	return TaskID{Connector: text[:dash], Task: n}, err == nil
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
	id, ok := parseTask(strings.CutPrefix(key, statusTaskPrefix))
	if !ok {
		return
	}
	if s.tasks.drop(id); value != nil {
		s.tasks.put(id, v)
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

func (s *statusStore) topicsOf(name string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.topics[name]))
}

func (s *statusStore) taskIDs(name string) []TaskID {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tasks.ids(name)
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
	return s.tasks.of(id)
}

// failed returns the connectors and tasks that have failed, sorted, of the connectors that
// are there.
func (s *statusStore) failed(there func(connector string) bool) (names []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, r := range s.connectors {
		if r.State == stateFailed && there(name) {
			names = append(names, name)
		}
	}
	for id, r := range s.tasks.all() {
		if r.State == stateFailed && there(id.Connector) {
			names = append(names, id.String())
		}
	}
	slices.Sort(names)
	return names
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
	for name := range s.tasks {
		names[name] = true
	}
	for name := range s.topics {
		names[name] = true
	}
	return slices.Sorted(maps.Keys(names))
}
