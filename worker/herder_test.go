package worker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemill/tidemill/connect"
)

// failing checks an error's code and the beginning of its message.
func failing(t *testing.T, err error, code, message string) {
	t.Helper()
	e := connect.AsError(err)
	if e == nil || e.Code != code || !strings.HasPrefix(e.Message, message) {
		t.Errorf("got %v, want %s: %s", err, code, message)
	}
}

func TestConnectorsLifeOverREST(t *testing.T) {
	l := newLab(t)
	w := l.start(nil)
	ctx := t.Context()
	config := counter("numbers", "count", "10", "tasks.max", "2", "password", "geheim")
	info, err := w.Create(ctx, CreateRequest{Name: " c ", Config: config})
	must(t, err)
	if info.Name != "c" || info.Type != "source" || info.Config["name"] != "c" || info.Tasks == nil {
		t.Errorf("created %+v", info)
	}
	_, err = w.Create(ctx, CreateRequest{Name: "c", Config: config})
	failing(t, err, "connector.exists", "Connector c already exists")
	_, err = w.Create(ctx, CreateRequest{Name: "d", Config: with(config, "name", "e")})
	failing(t, err, "request.invalid", "Connector name configuration (e) doesn't match connector name in the URL (d)")
	w.waitState("c", "RUNNING RUNNING RUNNING")
	info, err = w.Connector("c")
	must(t, err)
	if !slices.Equal(info.Tasks, []TaskID{{"c", 0}, {"c", 1}}) {
		t.Errorf("tasks are %v", info.Tasks)
	}
	tasks, err := w.TaskConfigs("c")
	must(t, err)
	if tasks[1].Config["task.class"] != "org.example.CountingSourceTask" || tasks[1].Config["part"] != "1" {
		t.Errorf("the second task's configuration is %v", tasks[1].Config)
	}
	three := "3"
	info, err = w.PatchConfig(ctx, "c", map[string]*string{"tasks.max": &three, "password": nil})
	must(t, err)
	if _, stays := info.Config["password"]; stays || info.Config["tasks.max"] != "3" {
		t.Errorf("patched to %v", info.Config)
	}
	w.waitState("c", "RUNNING RUNNING RUNNING RUNNING")
	info, created, err := w.PutConfig(ctx, "c", with(config, "tasks.max", "1"))
	must(t, err)
	w.waitState("c", "RUNNING RUNNING")
	if created || info.Config["password"] != "geheim" {
		t.Errorf("put %v, %v", created, info.Config)
	}
	_, created, err = w.PutConfig(ctx, "d", config)
	must(t, err)
	if !created || !slices.Equal(w.Connectors(), []string{"c", "d"}) {
		t.Errorf("connectors are %v", w.Connectors())
	}
	w.remove("c")
	_, err = w.Delete(ctx, "c", false)
	failing(t, err, "connector.not_found", "Connector c not found")
	_, err = w.Status("c")
	failing(t, err, "connector.not_found", "No status found for connector c")
	_, err = w.Connector("c")
	failing(t, err, "connector.not_found", "Connector c not found")
	failing(t, w.SetState(ctx, "c", Paused), "connector.not_found", "Unknown connector c")
	failing(t, w.RestartTask(ctx, TaskID{"c", 0}), "connector.not_found", "Unknown connector: c")
	failing(t, w.RestartTask(ctx, TaskID{"d", 7}), "connector.not_found", "Unknown task: d-7")
	if topics, err := w.Topics("c"); err != nil || len(topics) != 0 {
		t.Errorf("topics of a deleted connector are %v, %v", topics, err)
	}
}

func TestConverterChangeAloneRestartsTasks(t *testing.T) {
	l := newLab(t)
	w := l.start(nil)
	w.create("c", counter("numbers", "count", "10"))
	w.waitState("c", "RUNNING RUNNING")
	before := l.noted("task start")
	class := "org.example.TextConverter"
	_, err := w.PatchConfig(t.Context(), "c", map[string]*string{"key.converter": &class})
	must(t, err)
	wait(t, "the task starts again", func() bool { return l.noted("task start") == before+1 })
}

func TestInitialStates(t *testing.T) {
	l := newLab(t)
	w := l.start(nil)
	for _, state := range []TargetState{Paused, Stopped} {
		name := strings.ToLower(string(state))
		_, err := w.Create(t.Context(), CreateRequest{Name: name, Config: counter(name, "count", "10"), InitialState: state})
		must(t, err)
		w.waitState(name, string(state))
		if l.noted("connector start "+name) > 0 {
			t.Errorf("a %s connector was started", name)
		}
		must(t, w.SetState(t.Context(), name, Started))
		w.waitState(name, "RUNNING RUNNING")
	}
	if _, err := ParseTargetState("running"); err != nil {
		t.Error(err)
	}
	if _, err := ParseTargetState("asleep"); err == nil {
		t.Error("asleep is no state")
	}
}

func TestFailedConnectors(t *testing.T) {
	l := newLab(t)
	w := l.start(nil)
	w.create("fatal", counter("a", "connector.trouble", "fatal"))
	w.create("panic", counter("b", "connector.trouble", "panic"))
	w.create("many", counter("c", "tasks", "2"))
	for name, first := range map[string]string{
		"fatal": "the connector does not like this",
		"panic": "task.panic: starting the connector: connector start",
		"many":  "connector.too_many_tasks: The connector many has generated 2 tasks, which is greater than 1, the maximum number of tasks it is configured to create. ",
	} {
		w.waitState(name, "FAILED")
		s, err := w.Status(name)
		must(t, err)
		if !strings.HasPrefix(s.Connector.Trace, first) {
			t.Errorf("%s: %s", name, s.Connector.Trace)
		}
	}
	no := "false"
	_, err := w.PatchConfig(t.Context(), "many", map[string]*string{"tasks.max.enforce": &no})
	must(t, err)
	w.waitState("many", "RUNNING RUNNING RUNNING")
	_, err = w.PatchConfig(t.Context(), "fatal", map[string]*string{"connector.trouble": nil})
	must(t, err)
	w.waitState("fatal", "RUNNING RUNNING")
	must(t, w.SetState(t.Context(), "panic", Stopped))
	w.waitState("panic", "STOPPED")
}

func TestRestarts(t *testing.T) {
	l := newLab(t)
	w := l.start(nil)
	w.create("c", counter("numbers", "count", "10", "tasks.max", "2", "fail.at", "3", "batch", "1", "trouble", "retriable.fatal"))
	// The first of the two tasks to get there fails.
	wait(t, "one task fails", func() bool {
		state := w.state("c")
		return strings.Count(state, "FAILED") == 1 && strings.Count(state, "RUNNING") == 2
	})
	ctx := t.Context()
	failing(t, errOf(w.Restart(ctx, "x", RestartOptions{})), "connector.not_found", "Unknown connector: x")
	starts, tasks := l.noted("connector start"), l.noted("task start")
	status, err := w.Restart(ctx, "c", RestartOptions{})
	must(t, err)
	if status != nil || l.noted("connector start") != starts+1 || l.noted("task start") != tasks {
		t.Error("a plain restart restarts the connector alone")
	}
	status, err = w.Restart(ctx, "c", RestartOptions{OnlyFailed: true})
	must(t, err)
	if status == nil || status.Connector.State != "RUNNING" {
		t.Errorf("nothing was to be restarted: %+v", status)
	}
	status, err = w.Restart(ctx, "c", RestartOptions{IncludeTasks: true, OnlyFailed: true})
	must(t, err)
	restarting := 0
	for _, s := range status.Tasks {
		if s.State == "RESTARTING" {
			restarting++
		}
	}
	if restarting != 1 || status.Connector.State != "RUNNING" {
		t.Errorf("one task is to be restarted: %+v", status)
	}
	w.waitState("c", "RUNNING RUNNING RUNNING")
	if n := l.noted("task start"); n != tasks+1 {
		t.Errorf("%d tasks were started, want 1", n-tasks)
	}
	status, err = w.Restart(ctx, "c", RestartOptions{IncludeTasks: true})
	must(t, err)
	if status.Connector.State != "RESTARTING" || status.Tasks[0].State != "RESTARTING" || status.Tasks[1].State != "RESTARTING" {
		t.Errorf("everything is to be restarted: %+v", status)
	}
	wait(t, "all start again", func() bool { return l.noted("task start") == tasks+3 && l.noted("connector start") == starts+2 })
	w.waitState("c", "RUNNING RUNNING RUNNING")
}

func errOf(_ *ConnectorStatus, err error) error { return err }

// TestAbandonedWorkerIsReplaced leaves a worker running, as kill -9 leaves its topics,
// and starts another on them.
func TestAbandonedWorkerIsReplaced(t *testing.T) {
	l := newLab(t)
	w := l.start(nil)
	w.create("c", counter("numbers", "count", "100"))
	w.create("s", keeper("numbers"))
	wait(t, "all is kept", func() bool { return len(l.keptBy("s")) == 100 })
	wait(t, "all is safe", func() bool { return l.lastSafe("c") == `{"part":"0"}{"n":100}` })
	must(t, w.SetState(t.Context(), "s", Paused))
	w.waitState("s", "PAUSED PAUSED")
	w.replaced.Store(true)
	again := l.start(nil)
	again.waitState("c", "RUNNING RUNNING")
	again.waitState("s", "PAUSED PAUSED")
	info, err := again.Connector("c")
	must(t, err)
	want, err := w.Connector("c")
	must(t, err)
	if !maps.Equal(info.Config, want.Config) || !slices.Equal(info.Tasks, want.Tasks) {
		t.Errorf("recovered %+v, want %+v", info, want)
	}
	if n := l.noted("task start c-0 at 101"); n != 1 {
		t.Errorf("the second worker's task did not start behind the first's: %v", l.notes)
	}
}

// TestForeignRecordsAreLeftAlone starts on topics another kind of worker has used.
func TestForeignRecordsAreLeftAlone(t *testing.T) {
	l := newLab(t)
	first := l.start(nil)
	first.stop()
	put := func(topic, key, value string) {
		r := &kgo.Record{Topic: topic, Key: []byte(key), Value: []byte(value)}
		must(t, l.client.ProduceSync(t.Context(), r).FirstErr())
	}
	put("connect-configs", "connector-java", `{"properties":{"connector.class":"com.acme.JavaOnlySource","name":"java","tasks.max":"1"}}`)
	put("connect-configs", "task-java-0", `{"properties":{"task.class":"com.acme.JavaOnlyTask"}}`)
	put("connect-configs", "commit-java", `{"tasks":1}`)
	put("connect-configs", "session-key", `{"key":"c2VjcmV0","algorithm":"HmacSHA256","creation-timestamp":1}`)
	put("connect-configs", "nobody-knows-this", `{"a":1}`)
	put("connect-configs", "connector-c", `{"properties":{"connector.class":"org.example.CountingSourceConnector","name":"c","topic":"numbers","count":"9"}}`)
	put("connect-offsets", `["c",{ "part":"0"}]`, `{"n":5}`)
	put("connect-status", "status-task-gone-0", `{"state":"RUNNING","trace":null,"worker_id":"old:8083","generation":3}`)
	w := l.start(nil)
	w.waitState("c", "RUNNING RUNNING")
	w.waitState("java", "FAILED FAILED")
	s, err := w.Status("java")
	must(t, err)
	if !strings.Contains(s.Connector.Trace, "Failed to find any class that implements Connector and which name matches com.acme.JavaOnlySource") || s.Type != "unknown" {
		t.Errorf("%+v", s)
	}
	wait(t, "the rest is safe", func() bool { return l.lastSafe("c") == `{"part":"0"}{"n":9}` })
	if got := l.values("numbers"); !same(got, numbers(6, 9)) {
		t.Errorf("wrote %v", got)
	}
	w.stop()
	keys := map[string]int{}
	for _, r := range l.records("connect-offsets") {
		keys[string(r.Key)]++
	}
	if len(keys) != 1 {
		t.Errorf("offsets are under the keys %v, want the one that was there", keys)
	}
	for _, r := range l.records("connect-configs") {
		if strings.Contains(string(r.Key), "java") && r.Value == nil {
			t.Errorf("%s was deleted", r.Key)
		}
	}
}

func TestRetriableFailuresRestartByThemselves(t *testing.T) {
	l := newFakeLab(t)
	w := l.start(nil)
	_, err := l.admin.CreateTopic(t.Context(), 1, 1, nil, "numbers")
	must(t, err)
	topics, err := l.admin.ListTopics(t.Context(), "numbers")
	must(t, err)
	var passing atomic.Bool
	l.cluster.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		l.cluster.KeepControl()
		r := req.(*kmsg.ProduceRequest)
		if passing.Load() || r.Topics[0].TopicID != topics["numbers"].ID {
			return nil, nil, false
		}
		return refused(r, kerr.InvalidTxnState.Code), nil, true
	})
	w.create("c", counter("numbers", "count", "10"))
	w.waitState("c", "RUNNING FAILED")
	passing.Store(true)
	wait(t, "all is safe", func() bool { return l.lastSafe("c") == `{"part":"0"}{"n":10}` })
	w.waitState("c", "RUNNING RUNNING")
}

func refused(r *kmsg.ProduceRequest, code int16) kmsg.Response {
	resp := r.ResponseKind().(*kmsg.ProduceResponse)
	for _, topic := range r.Topics {
		rt := kmsg.NewProduceResponseTopic()
		rt.Topic, rt.TopicID = topic.Topic, topic.TopicID
		for _, p := range topic.Partitions {
			rp := kmsg.NewProduceResponseTopicPartition()
			rp.Partition, rp.ErrorCode = p.Partition, code
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}

func TestStartErrorsHaveAMend(t *testing.T) {
	l := newLab(t)
	policy := "delete"
	_, err := l.admin.CreateTopic(t.Context(), 1, 1, map[string]*string{"cleanup.policy": &policy}, "wrong")
	must(t, err)
	start := func(over connect.Config) error {
		props := l.props()
		maps.Copy(props, over)
		settings, err := ConfigDef().Parse(props)
		must(t, err)
		w, err := New(Options{Config: settings, Raw: props, Plugins: l.plugins()})
		if err != nil {
			return err
		}
		if got := w.Herder().Health(t.Context()).Status; got != "starting" {
			t.Errorf("health is %s before the start", got)
		}
		_, err = w.Herder().Connector("x")
		failing(t, err, "worker.starting", "Worker is still starting up.")
		return w.Run(t.Context())
	}
	failing(t, start(connect.Config{"config.storage.topic": "wrong"}), "worker.internal_topic", "the topic has cleanup.policy=delete")
	failing(t, start(connect.Config{"config.storage.topic": "many", "config.storage.replication.factor": "3"}), "worker.internal_topic", "the topic cannot be created with replication factor 3")
	err = start(connect.Config{"group.id": "", "status.storage.topic": "", "security.protocol": "SASL_SSL", "exactly.once.source.support": "maybe"})
	var faults connect.Errors
	if !errors.As(err, &faults) || len(faults) != 4 {
		t.Errorf("want four faults at once, got %v", err)
	}
}

// A worker that has not been given its part of the work yet is starting, so that whoever
// restarts workers one after another by their health stops none too early.
func TestHealthKnowsWhenTheWorkerHasItsPlace(t *testing.T) {
	l := newFakeLab(t)
	var asked, let atomic.Bool
	l.cluster.ControlKey(int16(kmsg.JoinGroup), func(kmsg.Request) (kmsg.Response, error, bool) {
		l.cluster.KeepControl()
		asked.Store(true)
		return nil, fmt.Errorf("not yet"), !let.Load()
	})
	settings, err := ConfigDef().Parse(l.props())
	must(t, err)
	w, err := New(Options{Config: settings, Raw: l.props(), Plugins: l.plugins()})
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	wait(t, "it asks for its place", asked.Load)
	if got := w.Herder().Health(ctx); got.Status != "starting" || !strings.Contains(got.Message, "ensuring membership in the cluster") {
		t.Errorf("without its place it is %+v", got)
	}
	let.Store(true)
	wait(t, "it is healthy", func() bool { return w.Herder().Health(ctx).Status == "healthy" })
	cancel()
	must(t, <-done)
}

func TestHealthKnowsWhenTheBrokersAreAway(t *testing.T) {
	l := newFakeLab(t)
	w := l.start(nil)
	if got := w.Info(); got.Version != "test" || got.KafkaClusterID == "" {
		t.Errorf("info is %+v", got)
	}
	l.cluster.ControlKey(int16(kmsg.ListOffsets), func(kmsg.Request) (kmsg.Response, error, bool) {
		l.cluster.KeepControl()
		return nil, fmt.Errorf("away"), true
	})
	began := time.Now()
	if got := w.Health(t.Context()); got.Status != "unhealthy" {
		t.Errorf("health is %+v", got)
	}
	if took := time.Since(began); took > healthLimit+time.Second {
		t.Errorf("it took %s to say so", took)
	}
}
