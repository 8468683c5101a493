package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/internal/devstack"
)

// The plugins of these tests: a source that counts, a sink that remembers, and a
// converter of plain text.

// text converts strings, and everything else as JSON. Values that begin with "bad"
// cannot be read.
type text struct{}

func (text) Configure(connect.Config, bool) error { return nil }
func (text) Close() error                         { return nil }

func (text) FromConnect(_ context.Context, dst []byte, _ string, s *connect.Schema, v connect.Value) ([]byte, error) {
	switch v.Kind() {
	case connect.KindNull:
		return nil, nil
	case connect.KindString:
		if strings.HasPrefix(v.Str(), "bad") {
			return nil, &connect.Error{Code: "test.convert", Class: connect.ClassRecord, Message: "cannot be written"}
		}
		return append(dst, v.Str()...), nil
	}
	return connect.AppendJSON(dst, s, v), nil
}

func (text) ToConnect(_ context.Context, _ string, data []byte) (*connect.Schema, connect.Value, error) {
	if data == nil {
		return nil, connect.Value{}, nil
	}
	if strings.HasPrefix(string(data), "bad") {
		return nil, connect.Value{}, &connect.Error{Code: "test.convert", Class: connect.ClassRecord, Message: "cannot be read"}
	}
	return connect.Of(connect.KindString), connect.StringBytes(data), nil
}

type textHeaders struct{}

func (textHeaders) Configure(connect.Config) error { return nil }
func (textHeaders) Close() error                   { return nil }

func (textHeaders) FromConnectHeader(dst []byte, _ string, h connect.Header) ([]byte, error) {
	return append(dst, h.Value.Str()...), nil
}

func (textHeaders) ToConnectHeader(_, key string, data []byte) (connect.Header, error) {
	return connect.Header{Key: key, Value: connect.StringBytes(data)}, nil
}

// counting is a source connector whose tasks emit numbers from 1 to "count" (-1: for
// ever) in batches of "batch", each task under a partition of its own.
type counting struct {
	l      *lab
	config connect.Config
	env    connect.ConnectorEnv
}

func (c *counting) Start(ctx context.Context, env connect.ConnectorEnv) error {
	c.config, c.env = env.Config, env
	c.l.mu.Lock()
	c.l.env = env
	c.l.mu.Unlock()
	c.l.note("connector start " + env.Name)
	switch env.Config["connector.trouble"] {
	case "fatal":
		return errors.New("the connector does not like this")
	case "panic":
		panic("connector start")
	case "block":
		<-c.l.release
	}
	return nil
}

func (c *counting) TaskConfigs(_ context.Context, most int) ([]connect.Config, error) {
	n := most
	if text := c.config["tasks"]; text == "grow" {
		c.l.mu.Lock()
		n = 1 + c.l.happen["grown"]
		c.l.mu.Unlock()
	} else if text != "" {
		n, _ = strconv.Atoi(text)
	}
	configs := make([]connect.Config, n)
	for i := range configs {
		configs[i] = maps.Clone(c.config)
		configs[i]["part"] = strconv.Itoa(i)
	}
	return configs, nil
}

func (c *counting) Stop(context.Context) error  { return nil }
func (c *counting) NewTask() connect.SourceTask { return &countingTask{l: c.l} }

func (c *counting) ExactlyOnce(config connect.Config) bool       { return config["exact"] != "no" }
func (c *counting) DefinesBoundaries(config connect.Config) bool { return config["txn.size"] != "" }

func (c *counting) Validate(ctx context.Context, config connect.Config, values connect.ConfigValues) {
	if config["validate.trouble"] == "block" {
		<-ctx.Done()
	}
	if config["validate.trouble"] == "unreachable" {
		values.AddError("count", "the other system is not there → start it")
	}
}

type countingTask struct {
	l                  *lab
	env                connect.SourceTaskEnv
	partition          connect.SourcePartition
	topic              string
	next, count, batch int64
	failAt             int64
	polls              int
}

func (t *countingTask) number(name string, def int64) int64 {
	if n, err := strconv.ParseInt(t.env.Config[name], 10, 64); err == nil {
		return n
	}
	return def
}

func (t *countingTask) Start(ctx context.Context, env connect.SourceTaskEnv) error {
	t.env = env
	if env.Config["trouble"] == "start" {
		t.l.note("task waits in start")
		<-ctx.Done()
		return ctx.Err()
	}
	t.topic, t.count, t.batch, t.failAt = env.Config["topic"], t.number("count", -1), t.number("batch", 10), t.number("fail.at", -1)
	t.partition, _ = connect.NewSourcePartition(map[string]any{"part": env.Config["part"]})
	stored, err := env.StoredOffset(ctx, t.partition)
	if err != nil {
		return err
	}
	t.next = 1
	if stored != nil {
		var o struct{ N int64 }
		if err := json.Unmarshal(stored, &o); err != nil {
			return err
		}
		t.next = o.N + 1
	}
	t.l.note(fmt.Sprintf("task start %s-%d at %d", env.Connector, env.Task, t.next))
	return nil
}

func (t *countingTask) Poll(ctx context.Context) ([]connect.SourceRecord, error) {
	t.polls++
	if t.env.Metrics != nil {
		t.env.Metrics.Add("counting_polls_total", 1)
		t.env.Metrics.Set("counting_next", float64(t.next))
	}
	if t.count >= 0 && t.next > t.count {
		<-ctx.Done()
		return nil, nil
	}
	if trouble := t.env.Config["trouble"]; t.failAt >= 0 && t.next > t.failAt && t.l.once(trouble) {
		switch trouble {
		case "panic":
			panic("poll trouble")
		case "retriable":
			return nil, connect.Retry(errors.New("not now"), time.Millisecond)
		case "retriable.fatal": // What a task that lost its connection answers.
			return nil, &connect.Error{Code: "test.lost", Message: "connection lost"}
		case "block":
			<-t.l.release
		}
	}
	if pace := t.number("pace.ms", 0); pace > 0 {
		if sleep(ctx, time.Duration(pace)*time.Millisecond) != nil {
			return nil, nil
		}
	}
	var records []connect.SourceRecord
	for range t.batch {
		if t.count >= 0 && t.next > t.count {
			break
		}
		r := connect.SourceRecord{
			Record: connect.Record{
				Topic: t.topic, Partition: connect.AnyPartition, Timestamp: connect.NoTimestamp,
				Key: connect.String(fmt.Sprintf("%s-%d", t.env.Config["part"], t.next%7)), Value: connect.String(t.value()),
			},
			SourcePartition: t.partition,
			SourceOffset:    connect.OffsetMap{"n": t.next},
		}
		if every := t.number("mark.every", 0); every > 0 && t.next%every == 0 {
			r.Topic = ""
		}
		if size := t.number("txn.size", 0); size > 0 && t.next%size == 0 {
			r.Boundary = connect.BoundaryCommit
			if n := t.number("abort.every", 0); n > 0 && t.next/size%n == 0 {
				r.Boundary = connect.BoundaryAbort
			}
		}
		records = append(records, r)
		t.next++
	}
	return records, nil
}

func (t *countingTask) value() string {
	if every := t.number("bad.every", 0); every > 0 && t.next%every == 0 {
		return fmt.Sprintf("bad %d", t.next)
	}
	return fmt.Sprintf("%s:%d", t.env.Config["part"], t.next)
}

func (t *countingTask) Stop(context.Context) error {
	t.l.note(fmt.Sprintf("task stop %s-%d", t.env.Connector, t.env.Task))
	return nil
}

// Commit remembers what the task was told is safe, and checks that it is stored.
func (t *countingTask) Commit(ctx context.Context, offsets map[connect.SourcePartition]connect.Offset) error {
	for p, o := range offsets {
		t.l.committed(t.env.Connector, p, string(o.AppendJSON(nil)))
	}
	return nil
}

// keeping is a sink connector whose tasks remember what they are given.
type keeping struct {
	l      *lab
	config connect.Config
}

func (c *keeping) Start(_ context.Context, env connect.ConnectorEnv) error {
	c.config = env.Config
	return nil
}

func (c *keeping) TaskConfigs(_ context.Context, most int) ([]connect.Config, error) {
	configs := make([]connect.Config, most)
	for i := range configs {
		configs[i] = maps.Clone(c.config)
	}
	return configs, nil
}

func (c *keeping) Stop(context.Context) error { return nil }
func (c *keeping) NewTask() connect.SinkTask  { return &keepingTask{l: c.l} }

type keepingTask struct {
	l    *lab
	env  connect.SinkTaskEnv
	puts int
}

func (t *keepingTask) Start(_ context.Context, env connect.SinkTaskEnv) error {
	t.env = env
	return nil
}

func (t *keepingTask) Put(ctx context.Context, records []connect.SinkRecord) error {
	if len(records) == 0 {
		return nil
	}
	t.puts++
	switch trouble := t.env.Config["trouble"]; {
	case trouble == "" || !t.l.once(t.env.Connector+trouble):
	case trouble == "retriable":
		return connect.Retry(errors.New("not now"), 10*time.Millisecond)
	case trouble == "fatal":
		return errors.New("the sink does not like this")
	case trouble == "panic":
		panic("put trouble")
	case trouble == "seek":
		back := map[connect.TopicPartition]int64{}
		for _, r := range records {
			back[connect.TopicPartition{Topic: r.OriginalTopic, Partition: r.OriginalPartition}] = 0
		}
		t.env.Consumer.Seek(back)
	}
	for i := range records {
		r := &records[i]
		if r.Value.Kind() == connect.KindString && strings.HasPrefix(r.Value.Str(), "errant") && !t.l.allowed("errant") {
			t.l.refuse(r)
			if _, err := t.env.Errant.Report(ctx, r, &connect.Error{Code: "test.errant", Class: connect.ClassRecord, Message: "not wanted"}); err != nil {
				return err
			}
			continue
		}
		t.l.keep(t.env.Connector, r)
	}
	return nil
}

func (t *keepingTask) Stop(context.Context) error { return nil }

func (t *keepingTask) Open(_ context.Context, partitions []connect.TopicPartition) error {
	t.l.note(fmt.Sprintf("open %d", len(partitions)))
	return nil
}

func (t *keepingTask) Close(_ context.Context, partitions []connect.TopicPartition) error {
	t.l.note(fmt.Sprintf("close %d", len(partitions)))
	return nil
}

// suffixing is a transform that appends to values, and drops those it is told to.
type suffixing struct{ s connect.Settings }

func (t *suffixing) Configure(s connect.Settings) error { t.s = s; return nil }
func (t *suffixing) Close() error                       { return nil }

func (t *suffixing) Apply(r *connect.Record) (bool, error) {
	if r.Value.Kind() == connect.KindString {
		if drop := t.s.String("drop"); drop != "" && strings.HasSuffix(r.Value.Str(), drop) {
			return false, nil
		}
		r.Value = connect.String(r.Value.Str() + t.s.String("suffix"))
	}
	return true, nil
}

type onTopic struct{ s connect.Settings }

func (p *onTopic) Configure(s connect.Settings) error { p.s = s; return nil }
func (p *onTopic) Test(r *connect.Record) bool        { return r.Topic == p.s.String("topic") }

// lab is a broker, and what the plugins have seen.
type lab struct {
	t       testing.TB
	brokers string
	cluster *kfake.Cluster // Only of a lab with brokers of its own.
	client  *kgo.Client
	admin   *kadm.Client
	release chan struct{} // Closed at the end, by letGo: lets go of plugins that block.
	letGo   func()

	mu     sync.Mutex
	env    connect.ConnectorEnv // Of the source connector started last.
	notes  []string
	safe   map[string][]string // What each connector was told is safe, in order.
	kept   map[string][]string
	last   map[string]connect.SinkRecord // What each connector has kept last.
	happen map[string]int
	// refused are the records that were reported, by their values.
	refused map[string]connect.SinkRecord
}

// newLab starts with the brokers that tests are run against.
func newLab(t testing.TB) *lab {
	t.Helper()
	return labWith(t, devstack.TestKafka(t))
}

// newFakeLab starts with brokers of its own that can be made to misbehave.
func newFakeLab(t testing.TB) *lab {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	must(t, err)
	t.Cleanup(cluster.Close)
	l := labWith(t, cluster.ListenAddrs())
	l.cluster = cluster
	return l
}

// emptyLab has no broker, and has seen nothing.
func emptyLab() *lab {
	return &lab{
		release: make(chan struct{}), safe: map[string][]string{}, kept: map[string][]string{}, happen: map[string]int{},
		last: map[string]connect.SinkRecord{}, refused: map[string]connect.SinkRecord{},
	}
}

func labWith(t testing.TB, brokers []string) *lab {
	t.Helper()
	l := emptyLab()
	l.t, l.brokers = t, strings.Join(brokers, ",")
	l.letGo = sync.OnceFunc(func() { close(l.release) })
	var err error
	// A broker that is busy hears late of a topic that was deleted and made anew.
	l.client, err = kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.MetadataMinAge(20*time.Millisecond), kgo.UnknownTopicRetries(-1))
	must(t, err)
	l.admin = kadm.NewClient(l.client)
	t.Cleanup(func() {
		l.letGo()
		l.client.Close()
	})
	return l
}

func (l *lab) note(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.notes = append(l.notes, text)
}

func (l *lab) noted(prefix string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, text := range l.notes {
		if strings.HasPrefix(text, prefix) {
			n++
		}
	}
	return n
}

// once is true the first time it is asked about something.
func (l *lab) once(what string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.happen[what]++
	return l.happen[what] == 1
}

func (l *lab) committed(connector string, p connect.SourcePartition, offset string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.safe[connector] = append(l.safe[connector], p.JSON()+offset)
}

func (l *lab) lastSafe(connector string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.safe[connector]; len(s) > 0 {
		return s[len(s)-1]
	}
	return ""
}

func (l *lab) keep(connector string, r *connect.SinkRecord) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kept[connector] = append(l.kept[connector], strings.Trim(r.Value.String(), `"`))
	l.last[connector] = *r
}

// refuse remembers a record that was reported.
func (l *lab) refuse(r *connect.SinkRecord) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refused[r.Value.Str()] = *r
}

func (l *lab) keptBy(connector string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.kept[connector])
}

func (l *lab) plugins() connect.Plugins {
	str := func(name string) connect.ConfigKey { return connect.ConfigKey{Name: name, Type: connect.TypeString} }
	var names []connect.ConfigKey
	for _, name := range []string{"topic", "count", "batch", "fail.at", "trouble", "connector.trouble", "validate.trouble", "tasks", "bad.every", "mark.every", "txn.size", "abort.every", "exact", "pace.ms"} {
		names = append(names, str(name))
	}
	secret := connect.ConfigKey{Name: "password", Type: connect.TypePassword}
	return connect.Plugins{
		Sources: []connect.Plugin[connect.SourceConnector]{{
			Class: "org.example.CountingSourceConnector", Version: "1.0", Config: connect.NewConfigDef(append(names, secret)...),
			New: func() connect.SourceConnector { return &counting{l: l} },
		}, {
			Class: "org.example.Listening", Config: connect.NewConfigDef(), New: func() connect.SourceConnector { return &listening{} },
		}},
		Sinks: []connect.Plugin[connect.SinkConnector]{{
			Class: "org.example.KeepingSinkConnector", Version: "1.0", Config: connect.NewConfigDef(str("trouble")),
			New: func() connect.SinkConnector { return &keeping{l: l} },
		}},
		Transforms: []connect.Plugin[connect.Transform]{{
			Class: "org.example.Suffix", Config: connect.NewConfigDef(str("suffix"), str("drop")), New: func() connect.Transform { return &suffixing{} },
		}},
		Predicates: []connect.Plugin[connect.Predicate]{{
			Class: "org.example.OnTopic", Config: connect.NewConfigDef(str("topic")), New: func() connect.Predicate { return &onTopic{} },
		}},
		Converters: []connect.Plugin[connect.Converter]{{
			Class: "org.example.TextConverter", New: func() connect.Converter { return text{} },
		}},
		HeaderConverters: []connect.Plugin[connect.HeaderConverter]{{
			Class: "org.apache.kafka.connect.storage.SimpleHeaderConverter", New: func() connect.HeaderConverter { return textHeaders{} },
		}},
	}
}

// props are the settings of a distributed worker, unlike defaults only where a single
// broker and a hurry make it so.
func (l *lab) props() connect.Config {
	return connect.Config{
		"bootstrap.servers": l.brokers, "group.id": "workers",
		"key.converter": "org.example.TextConverter", "value.converter": "TextConverter",
		"config.storage.topic": "connect-configs", "config.storage.replication.factor": "1",
		"offset.storage.topic": "connect-offsets", "offset.storage.replication.factor": "1", "offset.storage.partitions": "3",
		"status.storage.topic": "connect-status", "status.storage.replication.factor": "1",
		"offset.flush.interval.ms": "50", "task.shutdown.graceful.timeout.ms": "2000", "errors.restart.delay.ms": "20",
		"validate.timeout.ms": "300", "session.timeout.ms": "60000", "heartbeat.interval.ms": "100",
	}
}

// rig is a worker that runs.
type rig struct {
	*Herder
	l    *lab
	w    *Worker
	stop func()
	// replaced says that another worker of the same id takes over.
	replaced atomic.Bool
}

// start starts a worker with the lab's settings and the given ones over them (an
// empty value removes one), and waits until it is ready.
func (l *lab) start(over connect.Config, change ...func(*Options)) *rig {
	l.t.Helper()
	props := l.props()
	for k, v := range over {
		if props[k] = v; v == "" {
			delete(props, k)
		}
	}
	settings, err := ConfigDef().Parse(props)
	must(l.t, err)
	o := Options{Config: settings, Raw: props, Plugins: l.plugins(), Version: "test", Log: slog.New(slog.NewTextHandler(testWriter{l.t}, nil))}
	for _, f := range change {
		f(&o)
	}
	w, err := New(o)
	must(l.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	var once sync.Once
	r := &rig{Herder: w.Herder(), l: l, w: w}
	r.stop = func() {
		once.Do(func() {
			cancel()
			select {
			case err := <-done:
				if err != nil && !(r.replaced.Load() && connect.AsError(err).Code == "worker.replaced") {
					l.t.Errorf("the worker ended with: %v", err)
				}
			case <-time.After(20 * time.Second):
				l.t.Error("the worker does not stop")
			}
		})
	}
	l.t.Cleanup(r.stop)
	wait(l.t, "the worker is ready", func() bool { return r.Health(l.t.Context()).Status == "healthy" })
	return r
}

// testWriter sends logs to the test, while it lasts.
type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	if testing.Verbose() {
		fmt.Print(string(p))
	}
	return len(p), nil
}

func (r *rig) create(name string, config connect.Config) {
	r.l.t.Helper()
	_, err := r.Create(r.l.t.Context(), CreateRequest{Name: name, Config: config})
	must(r.l.t, err)
}

// state returns the states of a connector and its tasks, such as "RUNNING RUNNING".
func (r *rig) state(name string) string {
	s, err := r.Status(name)
	if err != nil {
		return err.Error()
	}
	text := s.Connector.State
	for _, t := range s.Tasks {
		text += " " + t.State
	}
	return text
}

func (r *rig) waitState(name, want string) {
	r.l.t.Helper()
	deadline := time.Now().Add(patience)
	for r.state(name) != want {
		if time.Now().After(deadline) {
			s, _ := r.Status(name)
			r.l.t.Fatalf("%s is %q, want %q: %+v", name, r.state(name), want, s)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func counter(topic string, more ...string) connect.Config {
	return with(connect.Config{"connector.class": "org.example.CountingSourceConnector", "topic": topic}, more...)
}

func keeper(topics string, more ...string) connect.Config {
	return with(connect.Config{"connector.class": "KeepingSink", "topics": topics}, more...)
}

func with(c connect.Config, more ...string) connect.Config {
	c = maps.Clone(c)
	for i := 0; i < len(more); i += 2 {
		c[more[i]] = more[i+1]
	}
	return c
}

// values reads a topic from its start to its end.
func (l *lab) values(topic string, opts ...kgo.Opt) []string {
	l.t.Helper()
	var got []string
	for _, r := range l.records(topic, opts...) {
		got = append(got, string(r.Value))
	}
	return got
}

func (l *lab) records(topic string, opts ...kgo.Opt) []*kgo.Record {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), 20*time.Second)
	defer cancel()
	ends, err := l.admin.ListCommittedOffsets(ctx, topic)
	must(l.t, err)
	want := map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Err == nil && o.Offset > 0 {
			want[o.Partition] = o.Offset
		}
	})
	if len(want) == 0 {
		return nil
	}
	client, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(l.brokers), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(),
	}, opts...)...)
	must(l.t, err)
	defer client.Close()
	var got []*kgo.Record
	for len(want) > 0 && ctx.Err() == nil {
		client.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
			if !r.Attrs.IsControl() {
				got = append(got, r)
			}
			if r.Offset+1 >= want[r.Partition] {
				delete(want, r.Partition)
			}
		})
	}
	must(l.t, ctx.Err())
	return got
}

// produce writes values to a topic, which is created with the given partitions.
func (l *lab) produce(topic string, partitions int32, values ...string) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), patience)
	defer cancel()
	_, _ = l.admin.CreateTopic(ctx, partitions, 1, nil, topic)
	var records []*kgo.Record
	for i, v := range values {
		records = append(records, &kgo.Record{Topic: topic, Key: []byte(fmt.Sprint(i)), Value: []byte(v), Headers: []kgo.RecordHeader{{Key: "h", Value: []byte("v")}}})
	}
	must(l.t, l.client.ProduceSync(ctx, records...).FirstErr())
}

// patience is how long a test waits for what must come; machines that run tests may be
// slow.
const patience = 3 * time.Minute

func wait(t testing.TB, what string, f func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !f() {
		if time.Now().After(deadline) {
			t.Fatalf("it never came to this: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
