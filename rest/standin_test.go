package rest_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/worker"
)

// standIn keeps connectors in a map. It stands in for a worker where a test is about
// what HTTP makes of the worker's answers, also of those a worker gives seldom.
type standIn struct {
	mu     sync.Mutex
	all    map[string]connect.Config
	states map[string]worker.TargetState
	health worker.Health
	// fails is returned by every call that can fail, when it is set.
	fails error
	// elsewhere is the address of the worker that leads, "" for this one.
	elsewhere string
	// failed is what has failed.
	failed []string
	// validated is the last configuration that was to be validated.
	validated connect.Config
	// attending are the other workers that run tasks.
	attending []string
	details   []worker.TaskDetails // Nil for one of the first task.
	signals   []string             // What was handed over.
}

func newStandIn() *standIn {
	return &standIn{all: map[string]connect.Config{}, states: map[string]worker.TargetState{}, health: worker.Health{Status: "healthy", Message: "Worker has completed startup and is ready to handle requests."}}
}

func coded(code, format string, args ...any) error {
	return &connect.Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// find returns a connector's settings; it is called with mu held.
func (h *standIn) find(name string) (connect.Config, error) {
	if h.fails != nil {
		return nil, h.fails
	}
	c, ok := h.all[name]
	if !ok {
		return nil, coded("connector.not_found", "Connector %s not found", name)
	}
	return c, nil
}

func (h *standIn) Info() worker.ServerInfo {
	return worker.ServerInfo{Version: "4.0.0", Commit: "abc", KafkaClusterID: "cluster-1"}
}

func (h *standIn) PutTaskConfigs(ctx context.Context, name string, _ []byte, by *worker.Signature) error {
	return h.Fence(ctx, name, by)
}

func (h *standIn) Fence(_ context.Context, _ string, by *worker.Signature) error {
	if by == nil || by.Value == "" {
		return coded("request.invalid", "Internal request missing required signature")
	}
	return h.fails
}

func (h *standIn) CatchUp(context.Context) error { return nil }

// Sign signs with a key that all stand-ins share.
func (h *standIn) Sign(data []byte) (*worker.Signature, error) {
	m := hmac.New(sha256.New, []byte("key"))
	m.Write(data)
	return &worker.Signature{Value: hex.EncodeToString(m.Sum(nil)), Algorithm: "HmacSHA256"}, nil
}

func (h *standIn) Verify(data []byte, by *worker.Signature) error {
	if want, _ := h.Sign(data); *by != *want {
		return coded("request.forbidden", "Internal request contained invalid signature.")
	}
	return nil
}

func (h *standIn) Health(context.Context) worker.Health { return h.health }

func (h *standIn) Letters(_ context.Context, name string, q worker.LetterQuery) (string, []worker.Letter, bool, error) {
	if _, err := h.Connector(name); err != nil {
		return "", nil, false, err
	}
	if q.From != nil && *q.From > 7 {
		return "dead", nil, false, nil
	}
	l := worker.Letter{Offset: 7, State: "pending", Origin: &worker.LetterOrigin{Topic: "in", Offset: 3}, Stage: "VALUE_CONVERTER", Error: "json.invalid", Message: "password=hunter2 is no JSON"}
	return "dead", []worker.Letter{l}, true, nil
}

func (h *standIn) StartReplay(ctx context.Context, name string, q worker.LetterQuery) (worker.Replay, error) {
	p, err := h.ReplayOf(ctx, name)
	p.DryRun = q.DryRun
	return p, err
}

func (h *standIn) ReplayOf(_ context.Context, name string) (worker.Replay, error) {
	_, err := h.Connector(name)
	return worker.Replay{Connector: name, Topic: "dead", State: "running"}, err
}

func (h *standIn) StopReplay(ctx context.Context, name string) (worker.Replay, error) {
	return h.ReplayOf(ctx, name)
}

func (h *standIn) Failed() []string { return h.failed }

func (h *standIn) Connectors() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Sorted(maps.Keys(h.all))
}

func (h *standIn) info(name string) worker.ConnectorInfo {
	info := worker.ConnectorInfo{Name: name, Config: h.all[name], Type: "source"}
	if h.states[name] != worker.Stopped {
		info.Tasks = []worker.TaskID{{Connector: name}}
	}
	return info
}

func (h *standIn) Connector(name string) (worker.ConnectorInfo, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, err := h.find(name); err != nil {
		return worker.ConnectorInfo{}, err
	}
	return h.info(name), nil
}

func check(c connect.Config) error {
	if c["connector.class"] == "" {
		return coded("config.invalid", "Connector config contains no connector type")
	}
	if c["connector.class"] != "FileSource" {
		return &connect.Error{Code: "plugin.unknown", Class: connect.ClassConfig, Message: "Failed to find any class that implements Connector and which name matches " + c["connector.class"], Mend: "did you mean FileSource?"}
	}
	return nil
}

func (h *standIn) Create(_ context.Context, r worker.CreateRequest) (worker.ConnectorInfo, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.fails != nil {
		return worker.ConnectorInfo{}, h.fails
	}
	if _, exists := h.all[r.Name]; exists {
		return worker.ConnectorInfo{}, coded("connector.exists", "Connector %s already exists", r.Name)
	}
	if err := check(r.Config); err != nil {
		return worker.ConnectorInfo{}, err
	}
	h.all[r.Name], h.states[r.Name] = r.Config, r.InitialState
	return h.info(r.Name), nil
}

func (h *standIn) PutConfig(ctx context.Context, name string, c connect.Config) (worker.ConnectorInfo, bool, error) {
	if h.elsewhere != "" {
		return worker.ConnectorInfo{}, false, &worker.Elsewhere{URL: h.elsewhere}
	}
	if _, err := h.Connector(name); err != nil {
		info, err := h.Create(ctx, worker.CreateRequest{Name: name, Config: c})
		return info, true, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := check(c); err != nil {
		return worker.ConnectorInfo{}, false, err
	}
	h.all[name] = c
	return h.info(name), false, nil
}

func (h *standIn) PatchConfig(_ context.Context, name string, patch map[string]*string) (worker.ConnectorInfo, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	old, err := h.find(name)
	if err != nil {
		return worker.ConnectorInfo{}, err
	}
	c := maps.Clone(old)
	for key, text := range patch {
		delete(c, key)
		if text != nil {
			c[key] = *text
		}
	}
	h.all[name] = c
	return h.info(name), nil
}

func (h *standIn) Delete(_ context.Context, name string, drop bool) (string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c, err := h.find(name)
	if err != nil {
		return "", err
	}
	slot := c["slot"]
	if drop && slot == "" {
		return "", coded("request.invalid", "Connector %s keeps nothing elsewhere that could be dropped", name)
	}
	delete(h.all, name)
	switch {
	case slot == "":
		return "", nil
	case drop:
		return "The slot " + slot + " was dropped.", nil
	}
	return "The slot \"" + slot + "\" of müller is left.", nil
}

func (h *standIn) Status(name string) (worker.ConnectorStatus, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, err := h.find(name); err != nil {
		return worker.ConnectorStatus{}, coded("connector.not_found", "No status found for connector %s", name)
	}
	state := map[worker.TargetState]string{worker.Paused: "PAUSED", worker.Stopped: "STOPPED"}[h.states[name]]
	if state == "" {
		state = "RUNNING"
	}
	status := worker.ConnectorStatus{Name: name, Connector: worker.ConnectorState{State: state, WorkerID: "w:8083"}, Type: "source"}
	if state != "STOPPED" {
		next := time.Date(2026, 1, 31, 12, 0, 2, 0, time.UTC)
		status.Tasks = []worker.TaskStatus{{State: "FAILED", WorkerID: "w:8083", Trace: "pg.auth: password=hunter2 is wrong", Abandoned: 1, Failure: &worker.Failure{
			Code: "pg.auth", Message: "password=hunter2 is wrong", Mend: "set another", Class: "retriable", At: next.Add(-2 * time.Second), Attempts: 2, NextTry: &next,
		}}}
	}
	return status, nil
}

func (h *standIn) TaskStatus(id worker.TaskID) (worker.TaskStatus, error) {
	status, err := h.Status(id.Connector)
	if err != nil || id.Task >= len(status.Tasks) {
		return worker.TaskStatus{}, coded("connector.not_found", "No status found for task %s", id)
	}
	return status.Tasks[id.Task], nil
}

func (h *standIn) TaskConfigs(name string) ([]worker.TaskInfo, error) {
	info, err := h.Connector(name)
	var all []worker.TaskInfo
	for _, id := range info.Tasks {
		c := maps.Clone(info.Config)
		c["task.class"] = "FileTask"
		all = append(all, worker.TaskInfo{ID: id, Config: c})
	}
	return all, err
}

func (h *standIn) SetState(_ context.Context, name string, state worker.TargetState) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, err := h.find(name); err != nil {
		return err
	}
	h.states[name] = state
	return nil
}

func (h *standIn) SetLevel(context.Context, string, string) error { return h.fails }

func (h *standIn) Restart(_ context.Context, name string, o worker.RestartOptions) (*worker.ConnectorStatus, error) {
	status, err := h.Status(name)
	if err != nil || o == (worker.RestartOptions{}) {
		return nil, err
	}
	status.Connector.State = "RESTARTING"
	return &status, nil
}

func (h *standIn) RestartTask(_ context.Context, id worker.TaskID) error {
	if id.Task != 0 {
		return coded("connector.not_found", "Unknown task: %s", id)
	}
	_, err := h.Status(id.Connector)
	return err
}

func (h *standIn) Offsets(_ context.Context, name string) ([]worker.OffsetEntry, error) {
	if _, err := h.Connector(name); err != nil || h.states[name] == worker.Stopped {
		return nil, err
	}
	return []worker.OffsetEntry{{Partition: json.RawMessage(`{"file":"<a>"}`), Offset: json.RawMessage(`{"pos":5}`)}, {Partition: json.RawMessage(`{}`)}}, nil
}

func (h *standIn) AlterOffsets(_ context.Context, name string, entries []worker.OffsetEntry) (string, error) {
	if _, err := h.Connector(name); err != nil {
		return "", err
	}
	if h.states[name] != worker.Stopped {
		return "", coded("request.invalid", "Connectors must be in the STOPPED state before their offsets can be modified.")
	}
	return fmt.Sprintf("altered %d: %s %s", len(entries), entries[0].Partition, entries[0].Offset), nil
}

func (h *standIn) ResetOffsets(ctx context.Context, name string) (string, error) {
	if _, err := h.Connector(name); err != nil {
		return "", err
	}
	return "The offsets for this connector have been reset successfully", nil
}

func (h *standIn) OffsetHistory(_ context.Context, name string) ([]worker.PastOffsets, error) {
	if _, err := h.Connector(name); err != nil {
		return nil, err
	}
	return []worker.PastOffsets{
		{ID: 7, Time: time.Unix(60, 0).UTC(), Change: "reset", Offsets: []worker.OffsetEntry{{Partition: json.RawMessage(`{"file":"<a>"}`), Offset: json.RawMessage(`{"pos":5}`)}}},
		{ID: 6, Time: time.Unix(0, 0).UTC(), Change: "altered", Offsets: []worker.OffsetEntry{}},
	}, nil
}

func (h *standIn) RewindOffsets(_ context.Context, name string, to int64, dry bool) ([]worker.OffsetChange, string, error) {
	if _, err := h.Connector(name); err != nil {
		return nil, "", err
	}
	if to != 7 {
		return nil, "", coded("offsets.no_entry", "The history of the offsets has no entry %d", to)
	}
	message := "The offsets for this connector have been rewound successfully"
	if dry {
		message = "Nothing was changed: this is what would be"
	}
	return []worker.OffsetChange{{Partition: json.RawMessage(`{"file":"<a>"}`), From: json.RawMessage(`null`), To: json.RawMessage(`{"pos":5}`)}}, message, nil
}

func (h *standIn) Details(name string) ([]worker.TaskDetails, error) {
	if _, err := h.Connector(name); err != nil {
		return nil, err
	}
	if h.details != nil {
		return h.details, nil
	}
	return []worker.TaskDetails{{ID: 0, Documents: map[string]json.RawMessage{"slot": json.RawMessage(`{"lag":1}`)}}}, nil
}

func (h *standIn) Attending(string) []string { return h.attending }

func (h *standIn) Hosts(string) []string { return h.attending }

func (h *standIn) Signal(name string, signal []byte) error {
	if _, err := h.Connector(name); err != nil {
		return err
	}
	if string(signal) != `{"id":"1","type":"log"}` {
		return coded("task.not_running", "The task does not run")
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.signals = append(h.signals, string(signal))
	return nil
}

func (h *standIn) Remedy(_ context.Context, name, remedy string) (string, error) {
	if _, err := h.Connector(name); err != nil {
		return "", err
	}
	if remedy != "resnapshot" {
		return "", coded("remedy.unknown", "There is no remedy %s", remedy)
	}
	return "A new snapshot will be taken", nil
}

func (h *standIn) Topics(name string) ([]string, error) {
	if _, err := h.Connector(name); err != nil {
		return nil, nil
	}
	return []string{"a", "b"}, nil
}

func (h *standIn) Peek(_ context.Context, name, topic string, limit int) ([]worker.Peeked, bool, error) {
	if _, err := h.Connector(name); err != nil {
		return nil, false, err
	}
	if topic == "theirs" {
		return nil, false, &connect.Error{Code: "peek.topic", Class: connect.ClassConfig, Place: topic, Message: "Connector " + name + " neither reads this topic nor has written to it"}
	}
	key, value := "aw==", "dg=="
	return []worker.Peeked{
		{Topic: "a", Offset: int64(limit), Timestamp: 1, Headers: [][2]json.RawMessage{{json.RawMessage(`"h"`), json.RawMessage(`1`)}}, Key: json.RawMessage(`{"id":1}`), Value: json.RawMessage(`null`)},
		{Topic: "a", Partition: 1, Offset: 2, Dropped: true},
		{Topic: "a", Partition: 1, Offset: 3, TooLarge: 4 << 20},
		{Topic: "b", Failure: &worker.Failure{Code: "json.invalid", Message: "password=hunter2 is no JSON", Stage: "VALUE_CONVERTER", Class: "record", At: time.Unix(0, 0).UTC(), Attempts: 1}, RawHeaders: [][2]string{{"h", ""}}, RawKey: &key, RawValue: &value},
	}, false, nil
}

func (h *standIn) ResetTopics(context.Context, string) error {
	return coded("request.forbidden", "Topic tracking reset is disabled.")
}

func (h *standIn) Plugins() []worker.PluginInfo {
	return []worker.PluginInfo{{Class: "a.FileSink", Type: "sink", Version: "1"}, {Class: "FileSource", Type: "source"}, {Class: "a.Json", Type: "converter", Version: "1"}}
}

func keys() []connect.ConfigKey {
	return []connect.ConfigKey{
		{Name: "file", Required: true, Importance: connect.High, Doc: "What <file> to read.", Group: "File", DisplayName: "File"},
		{Name: "batch", Type: connect.TypeInt, Default: "10", Importance: connect.Low, Group: "File", Dependents: []string{"file"}},
		{Name: "pin", Type: connect.TypePassword, Optional: true, Importance: connect.Medium},
	}
}

func (h *standIn) PluginConfig(class, _ string) ([]connect.ConfigKey, error) {
	switch class {
	case "FileSource":
		return keys(), nil
	case "Stamp":
		return []connect.ConfigKey{{Name: "seal", Type: connect.TypePassword}, {Name: "text"}}, nil
	}
	return nil, coded("plugin.unknown", "no")
}

func (h *standIn) Validate(_ context.Context, class string, c connect.Config) (worker.Validation, error) {
	h.mu.Lock()
	h.validated = c
	h.mu.Unlock()
	if err := check(c); err != nil {
		return worker.Validation{}, err
	}
	v := worker.Validation{Name: class, Groups: []string{"File"}}
	def := connect.NewConfigDef(keys()...)
	values := def.Validate(c)
	for _, k := range keys() {
		v.Configs = append(v.Configs, worker.ValidatedConfig{Key: &k, Value: *values[k.Name]})
		if len(values[k.Name].Errors) > 0 {
			v.ErrorCount++
		}
	}
	return v, nil
}
