package worker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemill/tidemill/connect"
)

// more are the plugins of these tests besides those of the harness.
func (l *lab) more(o *Options) {
	str := func(name string) connect.ConfigKey { return connect.ConfigKey{Name: name, Type: connect.TypeString} }
	o.Plugins.Sinks = append(o.Plugins.Sinks, connect.Plugin[connect.SinkConnector]{
		Class: "org.example.HoldingSinkConnector", Config: connect.NewConfigDef(str("trouble"), str("hold"), str("refuse"), str("away"), str("stall")),
		New: func() connect.SinkConnector { return &holdingSink{keeping{l: l}} },
	})
	o.Plugins.Sources = append(o.Plugins.Sources, connect.Plugin[connect.SourceConnector]{
		Class: "org.example.TellingSourceConnector", Config: connect.NewConfigDef(str("topic"), str("count"), str("trouble"), str("size"), str("fail.at"), str("batch")),
		New: func() connect.SourceConnector { return &telling{counting{l: l}} },
	})
	o.Plugins.Transforms = append(o.Plugins.Transforms, connect.Plugin[connect.Transform]{
		Class: "org.example.Bursting", Config: connect.NewConfigDef(), New: func() connect.Transform { return bursting{} },
	})
	o.Plugins.Predicates = append(o.Plugins.Predicates, connect.Plugin[connect.Predicate]{
		Class: "org.example.Blowing", Config: connect.NewConfigDef(), New: func() connect.Predicate { return blowing{} },
	})
	o.Plugins.Converters = append(o.Plugins.Converters, connect.Plugin[connect.Converter]{
		Class: "org.example.CrackingConverter", New: func() connect.Converter { return cracking{} },
	})
}

// burst panics where a value says so.
func burst(v connect.Value, where string) {
	if v.Kind() == connect.KindString && strings.Contains(v.Str(), "boom") {
		panic(where + " panics")
	}
}

type bursting struct{}

func (bursting) Configure(connect.Settings) error { return nil }
func (bursting) Close() error                     { return nil }
func (bursting) Apply(r *connect.Record) (bool, error) {
	burst(r.Value, "transform")
	return true, nil
}

type blowing struct{}

func (blowing) Configure(connect.Settings) error { return nil }
func (blowing) Test(r *connect.Record) bool {
	burst(r.Value, "predicate")
	return true
}

type cracking struct{ text }

func (c cracking) FromConnect(ctx context.Context, dst []byte, topic string, s *connect.Schema, v connect.Value) ([]byte, error) {
	burst(v, "converter")
	return c.text.FromConnect(ctx, dst, topic, s, v)
}

func (c cracking) ToConnect(ctx context.Context, topic string, data []byte) (*connect.Schema, connect.Value, error) {
	burst(connect.StringBytes(data), "converter")
	return c.text.ToConnect(ctx, topic, data)
}

// telling is a source whose tasks want to hear of each record, and may have large ones.
type telling struct{ counting }

func (c *telling) NewTask() connect.SourceTask { return &tellingTask{countingTask{l: c.l}} }

type tellingTask struct{ countingTask }

func (t *tellingTask) Poll(ctx context.Context) ([]connect.SourceRecord, error) {
	records, err := t.countingTask.Poll(ctx)
	for i := range records {
		if size := t.number("size", 0); size > 0 {
			records[i].Value = connect.String(records[i].Value.Str() + strings.Repeat(".", int(size)))
		}
	}
	t.l.mu.Lock()
	t.l.happen["polled "+t.env.Connector] += len(records)
	t.l.mu.Unlock()
	return records, err
}

func (t *tellingTask) CommitRecord(*connect.SourceRecord, connect.TopicPartition, int64) {
	if t.env.Config["trouble"] == "CommitRecord" && t.l.once("CommitRecord") {
		panic("CommitRecord panics")
	}
}

func (t *tellingTask) Commit(ctx context.Context, offsets map[connect.SourcePartition]connect.Offset) error {
	if t.env.Config["trouble"] == "Commit" && t.l.once("Commit") {
		panic("Commit panics")
	}
	return t.countingTask.Commit(ctx, offsets)
}

// holdingSink is a sink that answers for what it has written, as its settings have it.
type holdingSink struct{ keeping }

func (c *holdingSink) NewTask() connect.SinkTask {
	return &holdingTask{keepingTask{l: c.l}}
}

type holdingTask struct{ keepingTask }

func (t *holdingTask) Put(ctx context.Context, records []connect.SinkRecord) error {
	for i := range records {
		if refuse := t.env.Config["refuse"]; refuse != "" && strings.HasPrefix(records[i].Value.Str(), refuse) && !t.l.allowed(refuse) {
			return &connect.Error{Code: "test.refused", Message: "it does not take " + records[i].Value.Str()}
		}
	}
	for i := range records {
		if stall := t.env.Config["stall"]; t.env.Replays && stall != "" && records[i].Value.Str() == stall && !t.l.allowed("stall") {
			t.l.note("stalled " + stall)
			<-ctx.Done()
			return ctx.Err()
		}
	}
	if t.env.Replays && t.env.Config["away"] != "" && !t.l.allowed("target") {
		return connect.Retry(errors.New("the target is away"), 10*time.Millisecond)
	}
	if len(records) > 0 && t.env.Config["trouble"] == "block" && t.l.once("block "+t.env.Connector) {
		t.l.note("put blocks")
		<-t.l.release
	}
	return t.keepingTask.Put(ctx, records)
}

func (t *holdingTask) Open(ctx context.Context, partitions []connect.TopicPartition) error {
	if t.env.Config["trouble"] == "Open" && t.l.once("Open") {
		panic("Open panics")
	}
	return t.keepingTask.Open(ctx, partitions)
}

func (t *holdingTask) PreCommit(_ context.Context, offsets map[connect.TopicPartition]int64) (map[connect.TopicPartition]int64, error) {
	if t.env.Config["trouble"] == "PreCommit" && t.l.once("PreCommit") {
		panic("PreCommit panics")
	}
	if t.env.Config["hold"] != "" && !t.l.allowed("hold") {
		return nil, nil
	}
	return maps.Clone(offsets), nil
}

// allow and allowed let tests change what plugins do.
func (l *lab) allow(what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.happen["allow "+what] = 1
}

func (l *lab) allowed(what string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.happen["allow "+what] > 0
}

// TestPanicsStayInTheirTask has each kind of plugin code panic: the task fails and says
// where, what runs beside it goes on, and a restart goes on where the task was.
func TestPanicsStayInTheirTask(t *testing.T) {
	l := newLab(t)
	w := l.start(nil, l.more)
	w.create("beside", counter("beside", "pace.ms", "5", "batch", "1"))
	l.produce("in", 1, "one", "boom", "three")
	transform := []string{"transforms", "t", "transforms.t.type", "Bursting"}
	predicate := []string{"transforms", "t", "transforms.t.type", "Suffix", "transforms.t.suffix", "", "transforms.t.predicate", "p", "predicates", "p", "predicates.p.type", "Blowing"}
	holder := func(more ...string) connect.Config {
		return keeper("in", append([]string{"connector.class", "HoldingSink"}, more...)...)
	}
	teller := func(trouble string) connect.Config {
		return counter(trouble, "connector.class", "TellingSource", "count", "20", "trouble", trouble)
	}
	for name, tt := range map[string]struct {
		config connect.Config
		want   string
	}{
		"transform":    {keeper("in", transform...), "Tolerance exceeded in error handler, stage TRANSFORMATION with class org.example.Bursting: task.panic: TRANSFORMATION: transform panics"},
		"predicate":    {keeper("in", predicate...), "stage TRANSFORMATION with class org.example.Suffix: task.panic: TRANSFORMATION: predicate panics"},
		"converter":    {keeper("in", "value.converter", "CrackingConverter"), "stage VALUE_CONVERTER with class org.example.CrackingConverter: task.panic: VALUE_CONVERTER: converter panics"},
		"open":         {holder("trouble", "Open"), "task.panic: open: Open panics"},
		"preCommit":    {holder("trouble", "PreCommit"), "PreCommit panics"},
		"commit":       {teller("Commit"), "task.panic: commit: Commit panics"},
		"commitRecord": {teller("CommitRecord"), "task.panic: CommitRecord: CommitRecord panics"},
	} {
		w.create(name, tt.config)
		w.waitState(name, "RUNNING FAILED")
		s, err := w.Status(name)
		must(t, err)
		if !strings.Contains(firstLine(s.Tasks[0].Trace), tt.want) || !strings.Contains(s.Tasks[0].Trace, "_test.go") {
			t.Errorf("%s: the trace is\n%s\nand should begin with %s and say where", name, s.Tasks[0].Trace, tt.want)
		}
	}
	w.waitState("beside", "RUNNING RUNNING")
	before := len(l.values("beside"))
	wait(t, "what runs beside goes on", func() bool { return len(l.values("beside")) > before })
	for _, name := range []string{"open", "preCommit", "commit", "commitRecord"} {
		must(t, w.RestartTask(t.Context(), TaskID{name, 0}))
		w.waitState(name, "RUNNING RUNNING")
	}
}

// TestPanicsOfOneRecordAreTolerated leaves out the record over which code panics, and puts
// it into the dead letter queue, as it does with other errors.
func TestPanicsOfOneRecordAreTolerated(t *testing.T) {
	l := newLab(t)
	w := l.start(nil, l.more)
	l.produce("in", 1, "one", "boom", "three")
	tolerant := []string{"errors.tolerance", "all", "errors.deadletterqueue.topic.replication.factor", "1", "errors.deadletterqueue.context.headers.enable", "true"}
	w.create("transform", keeper("in", append(tolerant, "errors.deadletterqueue.topic.name", "dead-t", "transforms", "t", "transforms.t.type", "Bursting")...))
	w.create("converter", keeper("in", append(tolerant, "errors.deadletterqueue.topic.name", "dead-c", "value.converter", "CrackingConverter")...))
	for name, stage := range map[string]string{"transform": "TRANSFORMATION", "converter": "VALUE_CONVERTER"} {
		wait(t, "the others are kept", func() bool { return same(l.keptBy(name), []string{"one", "three"}) })
		wait(t, "all are committed", func() bool { return l.groupOffset("connect-"+name, "in", 0) == 3 })
		letters := l.records("dead-" + name[:1])
		if len(letters) != 1 || string(letters[0].Value) != "boom" {
			t.Fatalf("%s: the letters are %v", name, letters)
		}
		got := headers(letters[0])
		if got["__connect.errors.stage"] != stage || got["__connect.errors.exception.class.name"] != "task.panic" || !strings.Contains(got["__connect.errors.exception.stacktrace"], "panics") {
			t.Errorf("%s: the headers are %v", name, got)
		}
	}
	w.create("source", counter("out", "connector.class", "TellingSource", "count", "20", "value.converter", "CrackingConverter", "transforms", "s", "transforms.s.type", "Suffix", "transforms.s.suffix", "boom", "errors.tolerance", "all"))
	wait(t, "all is safe", func() bool { return l.lastSafe("source") == `{"part":"0"}{"n":20}` })
	w.waitState("source", "RUNNING RUNNING")
	if got := l.values("out"); len(got) != 0 {
		t.Errorf("%d were written", len(got))
	}
}

// TestStatusTellsWhatFollowsAFailure looks at what is said beside the trace.
func TestStatusTellsWhatFollowsAFailure(t *testing.T) {
	l := newLab(t)
	w := l.start(nil)
	failure := func(name string) Failure {
		t.Helper()
		w.waitState(name, "RUNNING FAILED")
		s, err := w.Status(name)
		must(t, err)
		if s.Tasks[0].Failure == nil {
			t.Fatalf("nothing is said of the failure of %s: %+v", name, s)
		}
		return *s.Tasks[0].Failure
	}
	w.create("fine", counter("fine", "count", "10"))
	w.create("lasting", counter("once", "fail.at", "3", "batch", "1", "trouble", "retriable.fatal"))
	if f := failure("lasting"); f.Code != "test.lost" || f.Class != "fatal" || f.NextTry != nil || f.Attempts != 1 || f.Message != "connection lost" {
		t.Errorf("of what lasts it is said: %+v", f)
	}
	w.create("record", counter("once", "bad.every", "2", "batch", "1"))
	if f := failure("record"); f.Stage != "VALUE_CONVERTER" || f.Class != "record" || f.NextTry != nil || f.Mend == "" || f.Place == "" {
		t.Errorf("of a record it is said: %+v", f)
	}
	if got, want := w.Failed(), []string{"lasting-0", "record-0"}; !equal(got, want) {
		t.Errorf("failed are %v, want %v", got, want)
	}
	must(t, w.RestartTask(t.Context(), TaskID{"lasting", 0}))
	w.waitState("lasting", "RUNNING RUNNING")
	if s, err := w.Status("lasting"); err != nil || s.Tasks[0].Failure != nil {
		t.Errorf("after a restart by hand %+v, %v", s, err)
	}
}

func equal(a, b []string) bool { return strings.Join(a, ",") == strings.Join(b, ",") }

// TestWaitsBetweenRestartsAreShown has a task fail for a reason that may pass, with a policy
// of each kind.
func TestWaitsBetweenRestartsAreShown(t *testing.T) {
	l := newFakeLab(t)
	w := l.start(connect.Config{"errors.restart.delay.ms": "3600000", "errors.restart.delay.max.ms": "7200000"})
	_, err := l.admin.CreateTopic(t.Context(), 1, 1, nil, "refused")
	must(t, err)
	l.refuseProduce("refused")
	w.create("waits", counter("refused", "count", "5"))
	w.create("never", counter("refused", "count", "5", "errors.restart.policy", "never"))
	w.create("twice", counter("refused", "count", "5", "errors.restart.max", "2", "errors.restart.delay.ms", "10"))
	get := func(name string) *Failure {
		s, err := w.TaskStatus(TaskID{name, 0})
		if err != nil || s.State != stateFailed {
			return nil
		}
		return s.Failure
	}
	wait(t, "all three fail", func() bool { return get("waits") != nil && get("never") != nil && get("twice") != nil })
	f := get("waits")
	if f.Class != "retriable" || f.NextTry == nil || f.Attempts != 1 {
		t.Fatalf("%+v", f)
	}
	if in := f.NextTry.Sub(f.At); in < 40*time.Minute || in > 80*time.Minute {
		t.Errorf("the next try is in %s", in)
	}
	if f := get("never"); f.NextTry != nil || f.Class != "retriable" {
		t.Errorf("without restarts: %+v", f)
	}
	wait(t, "the third attempt is the last", func() bool {
		f := get("twice")
		return f != nil && f.Attempts == 3 && f.NextTry == nil
	})
}

// refuseProduce has the brokers refuse what is produced to a topic, with an error that may pass.
func (l *lab) refuseProduce(topic string) {
	topics, err := l.admin.ListTopics(l.t.Context(), topic)
	must(l.t, err)
	l.cluster.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		l.cluster.KeepControl()
		r := req.(*kmsg.ProduceRequest)
		if r.Topics[0].TopicID != topics[topic].ID {
			return nil, nil, false
		}
		return refused(r, kerr.InvalidTxnState.Code), nil, true
	})
}

// TestAbandonedTaskHasNoWordAnyMore blocks a sink's task until it is abandoned: its
// successor takes its place in the group and goes on, the state says that something still
// runs, and what the old one says when it comes back counts for nothing.
func TestAbandonedTaskHasNoWordAnyMore(t *testing.T) {
	l := newLab(t)
	l.produce("in", 1, numbers(1, 50)...)
	w := l.start(connect.Config{"task.shutdown.graceful.timeout.ms": "100"}, l.more)
	w.create("s", keeper("in", "connector.class", "HoldingSink", "trouble", "block"))
	wait(t, "the task blocks", func() bool { return l.noted("put blocks") == 1 })
	must(t, w.RestartTask(t.Context(), TaskID{"s", 0}))
	w.waitState("s", "RUNNING RUNNING")
	wait(t, "the successor does the work", func() bool { return same(l.keptBy("s"), numbers(1, 50)) })
	abandoned := func() [2]int {
		s, err := w.Status("s")
		must(t, err)
		return [2]int{s.Connector.Abandoned, s.Tasks[0].Abandoned}
	}
	if got := abandoned(); got != [2]int{1, 1} {
		t.Errorf("%v are said to be abandoned", got)
	}
	wait(t, "all is committed", func() bool { return l.groupOffset("connect-s", "in", 0) == 50 })
	l.letGo()
	wait(t, "the old one ends", func() bool { return abandoned() == [2]int{} })
	l.produce("in", 1, numbers(51, 60)...)
	wait(t, "the successor goes on", func() bool { return l.groupOffset("connect-s", "in", 0) == 60 })
	w.waitState("s", "RUNNING RUNNING")
}

// gauge reads one figure of a task.
func gauge(t *testing.T, registry *prometheus.Registry, name, connector string) float64 {
	t.Helper()
	families, err := registry.Gather()
	must(t, err)
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, p := range m.GetLabel() {
				if p.GetName() == "connector" && p.GetValue() == connector {
					return m.GetGauge().GetValue()
				}
			}
		}
	}
	return -1
}

// TestMemoryOfAConnectorIsBounded has brokers and a target that take nothing for a while,
// and looks at what is held meanwhile: no more than was allowed, and all of it arrives.
func TestMemoryOfAConnectorIsBounded(t *testing.T) {
	l := newFakeLab(t)
	registry := prometheus.NewRegistry()
	w := l.start(nil, l.more, func(o *Options) { o.Metrics = registry })
	_, err := l.admin.CreateTopic(t.Context(), 1, 1, nil, "big")
	must(t, err)
	hold := make(chan struct{})
	topics, err := l.admin.ListTopics(t.Context(), "big")
	must(t, err)
	l.cluster.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		if req.(*kmsg.ProduceRequest).Topics[0].TopicID != topics["big"].ID {
			l.cluster.KeepControl()
			return nil, nil, false
		}
		l.cluster.SleepControl(func() { <-hold })
		return nil, nil, false
	})
	const size, count = 20_000, 600 // 12 MB, of which 1 MiB may be on its way.
	w.create("c", counter("big", "connector.class", "TellingSource", "count", fmt.Sprint(count), "size", fmt.Sprint(size), "memory.max.bytes", "1048576", "batch", "10"))
	wait(t, "the memory is used up", func() bool { return gauge(t, registry, "tidemill_task_memory_bytes", "c") > 1<<20 })
	if most := gauge(t, registry, "tidemill_task_memory_max_bytes", "c"); most != 1<<20 {
		t.Errorf("%v bytes are allowed", most)
	}
	for range 20 {
		if held := gauge(t, registry, "tidemill_task_memory_bytes", "c"); held > 1<<20+20*size {
			t.Fatalf("%v bytes are held", held)
		}
		l.mu.Lock()
		polled := l.happen["polled c"]
		l.mu.Unlock()
		if polled > (1<<20)/size+40 {
			t.Fatalf("%d records were polled", polled)
		}
	}
	close(hold)
	wait(t, "all is safe", func() bool { return l.lastSafe("c") == fmt.Sprintf(`{"part":"0"}{"n":%d}`, count) })
	// The sink blocks in its first put; what was fetched beside it is bounded.
	w.create("s", keeper("big", "connector.class", "HoldingSink", "trouble", "block", "memory.max.bytes", "1048576"))
	wait(t, "the sink blocks", func() bool { return l.noted("put blocks") == 1 })
	for range 20 {
		if held := gauge(t, registry, "tidemill_task_memory_bytes", "s"); held > 2<<20 {
			t.Fatalf("%v bytes are held", held)
		}
	}
	l.letGo()
	wait(t, "all is kept", func() bool { return len(l.keptBy("s")) == count })
}

func TestMemoryIsShared(t *testing.T) {
	worker, err := ConfigDef().Parse(connect.Config{})
	must(t, err)
	for _, tt := range []struct {
		config connect.Config
		among  int
		want   int64
	}{
		{nil, 1, 128 << 20}, {nil, 4, 32 << 20}, {nil, 0, 128 << 20}, {nil, 100_000, memoryLeast},
		{connect.Config{"memory.max.bytes": "8388608"}, 2, 4 << 20},
	} {
		if got := memoryShare(worker, tt.config, tt.among); got != tt.want {
			t.Errorf("%v among %d: %d, want %d", tt.config, tt.among, got, tt.want)
		}
	}
}
