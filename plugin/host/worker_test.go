package host

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/converters/raw"
	"github.com/tidemill/tidemill/internal/devstack"
	"github.com/tidemill/tidemill/worker"
)

// patience is how long a test waits for what must come.
const patience = 3 * time.Minute

// rig is a worker whose connectors are all external.
type rig struct {
	t       *testing.T
	h       *worker.Herder
	host    *Host
	log     *journal
	brokers []string
	stop    func()
}

// start starts a worker that looks for plugins in dir.
func start(t *testing.T, brokers []string, dir string, over connect.Config) *rig {
	t.Helper()
	r := &rig{t: t, log: new(journal), brokers: brokers}
	props := connect.Config{
		"bootstrap.servers": strings.Join(brokers, ","), "group.id": "workers", "plugin.path": dir,
		"key.converter": "org.apache.kafka.connect.storage.StringConverter", "value.converter": "org.apache.kafka.connect.storage.StringConverter",
		"config.storage.topic": "connect-configs", "config.storage.replication.factor": "1",
		"offset.storage.topic": "connect-offsets", "offset.storage.replication.factor": "1", "offset.storage.partitions": "1",
		"status.storage.topic": "connect-status", "status.storage.replication.factor": "1", "status.storage.partitions": "1",
		"offset.flush.interval.ms": "20", "errors.restart.delay.ms": "20",
	}
	maps.Copy(props, over)
	settings, err := worker.ConfigDef().Parse(props)
	must(t, err)
	r.host = New(Options{Dirs: []string{dir}, Log: r.log.logger()})
	w, err := worker.New(worker.Options{
		Config: settings, Raw: props, External: r.host.Plugins, Log: r.log.logger(), Version: "test",
		Plugins: connect.Plugins{Converters: raw.Plugins(), HeaderConverters: raw.HeaderPlugins()},
	})
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	r.h = w.Herder()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the worker ended with: %v", err)
		}
	})
	t.Cleanup(func() {
		r.stop()
		if t.Failed() {
			t.Log(r.log.String())
		}
	})
	await(t, "the worker is ready", func() bool { return r.h.Health(t.Context()).Status == "healthy" })
	return r
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func await(t testing.TB, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it never came to this: %s", what)
		}
	}
}

func (r *rig) create(name string, config connect.Config) {
	r.t.Helper()
	_, err := r.h.Create(r.t.Context(), worker.CreateRequest{Name: name, Config: config})
	must(r.t, err)
}

// state returns the states of a connector and its tasks.
func (r *rig) state(name string) string {
	s, err := r.h.Status(name)
	if err != nil {
		return err.Error()
	}
	text := s.Connector.State + " " + s.Connector.Version
	for _, task := range s.Tasks {
		text += " " + task.State
	}
	return text
}

// values reads what is committed in a topic.
func (r *rig) values(topic string) (values []string) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	client, err := kgo.NewClient(kgo.SeedBrokers(r.brokers...), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())
	must(r.t, err)
	defer client.Close()
	ends, err := kadm.NewClient(client).ListCommittedOffsets(ctx, topic)
	must(r.t, err)
	left := map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Err == nil && o.Offset > 0 {
			left[o.Partition] = o.Offset
		}
	})
	for len(left) > 0 {
		must(r.t, ctx.Err())
		client.PollFetches(ctx).EachRecord(func(rec *kgo.Record) {
			if !rec.Attrs.IsControl() {
				values = append(values, string(rec.Value))
			}
			if rec.Offset+1 >= left[rec.Partition] {
				delete(left, rec.Partition)
			}
		})
	}
	return values
}

func source(topic string, more ...string) connect.Config {
	c := connect.Config{"connector.class": "test.CounterSource", "topic": topic}
	for i := 0; i < len(more); i += 2 {
		c[more[i]] = more[i+1]
	}
	return c
}

// counted are the values from 1 to n of a version.
func counted(n int, version string) (values []string) {
	for i := range n {
		values = append(values, fmt.Sprintf("%d@%s", i+1, version))
	}
	return values
}

func distinct(values []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(values)))
}

// pid reads the process of a task, 0 before it is known.
func pid(path string) int {
	text, _ := os.ReadFile(path)
	n, _ := strconv.Atoi(string(text))
	return n
}

// TestVersionsSideBySide runs two versions of a class at once, and then a third one that
// is put there while the worker runs.
func TestVersionsSideBySide(t *testing.T) {
	dir := pluginDir(t, "counter-1.0", "counter-2.0")
	r := start(t, devstack.TestKafka(t), dir, nil)
	r.create("old", source("old", "count", "10", "connector.plugin.version", "[1.0,2.0)"))
	r.create("new", source("new", "count", "10"))
	await(t, "new has written", func() bool { return len(r.values("new")) == 10 }) // It takes the newest version there is.
	put(t, dir, "counter-3.0")
	r.create("newest", source("newest", "count", "10", "connector.plugin.version", "3.0"))
	for name, version := range map[string]string{"old": "1.0", "new": "2.0", "newest": "3.0"} {
		await(t, name+" runs", func() bool { return r.state(name) == "RUNNING "+version+" RUNNING" })
		await(t, name+" has written", func() bool { return len(r.values(name)) == 10 })
		if got := r.values(name); !slices.Equal(got, counted(10, version)) {
			t.Errorf("%s: %q", name, got)
		}
	}
	listed := map[string]bool{}
	for _, p := range r.h.Plugins() {
		listed[p.Type+" "+p.Class+" "+p.Version] = true
	}
	for _, version := range []string{"1.0", "2.0", "3.0"} {
		if !listed["source test.CounterSource "+version] || !listed["sink test.LinesSink "+version] {
			t.Errorf("version %s is not listed: %v", version, listed)
		}
	}
	_, err := r.h.Create(t.Context(), worker.CreateRequest{Name: "none", Config: source("none", "connector.plugin.version", "[4,)")})
	if err == nil || !strings.Contains(err.Error(), "1.0, 2.0, 3.0") {
		t.Errorf("a version there is not: %v", err)
	}
}

// TestKilledProcess kills the processes of a task, one after another, while others work.
func TestKilledProcess(t *testing.T) {
	for name, over := range map[string]connect.Config{"at least once": nil, "exactly once": {"exactly.once.source.support": "enabled"}} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			r := start(t, devstack.TestKafka(t), pluginDir(t, "counter-1"), over)
			victim, other := filepath.Join(dir, "victim"), filepath.Join(dir, "other")
			r.create("other", source("other", "pace.ms", "5", "pidfile", other))
			r.create("victim", source("victim", "pace.ms", "1", "pidfile", victim, "boundary", "5", "batch", "7"))
			await(t, "both run", func() bool { return pid(victim) != 0 && pid(other) != 0 })
			bystander := pid(other)
			for range 3 {
				before, killed := len(distinct(r.values("victim"))), pid(victim)
				await(t, "the task writes", func() bool { return len(distinct(r.values("victim"))) > before+30 })
				must(t, syscall.Kill(killed, syscall.SIGKILL))
				await(t, "it is started again", func() bool { return pid(victim) != killed && pid(victim) != 0 })
			}
			before := len(distinct(r.values("victim")))
			await(t, "the last one writes", func() bool { return len(distinct(r.values("victim"))) > before+30 })
			if pid(other) != bystander || syscall.Kill(bystander, 0) != nil {
				t.Error("the process of another connector is not the same any more")
			}
			if !strings.Contains(r.log.String(), "plugin.ended") || !strings.Contains(r.log.String(), "signal: killed") {
				t.Error("the log does not tell how the process ended")
			}
			r.stop()
			got := r.values("victim")
			once := distinct(got)
			want := counted(len(once), "1")
			if slices.Sort(want); !slices.Equal(once, want) {
				t.Errorf("of %d values some are missing", len(once))
			}
			if over != nil && len(got) != len(once) {
				t.Errorf("%d of %d values are there twice", len(got)-len(once), len(got))
			}
			if syscall.Kill(bystander, 0) == nil {
				t.Error("a process is left when the worker has stopped")
			}
		})
	}
}

// TestSinkOfAWorker has a sink written to, killed, and given what it cannot write.
func TestSinkOfAWorker(t *testing.T) {
	dir := t.TempDir()
	brokers := devstack.TestKafka(t)
	r := start(t, brokers, pluginDir(t, "counter-1"), nil)
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.DefaultProduceTopic("in"), kgo.AllowAutoTopicCreation())
	must(t, err)
	defer client.Close()
	path := filepath.Join(dir, "lines")
	produce := func(values ...string) {
		for _, v := range values {
			must(t, client.ProduceSync(t.Context(), &kgo.Record{Key: []byte("k"), Value: []byte(v)}).FirstErr())
		}
	}
	produce("a", "bad", "b")
	r.create("s", connect.Config{
		"connector.class": "test.LinesSink", "topics": "in", "path": path, "errors.tolerance": "all",
		"errors.deadletterqueue.topic.name": "letters", "errors.deadletterqueue.topic.replication.factor": "1", "errors.deadletterqueue.context.headers.enable": "true",
	})
	lines := func() string {
		text, _ := os.ReadFile(path)
		return string(text)
	}
	await(t, "the good ones are there", func() bool { return strings.Contains(lines(), `"b"`) })
	if want := "in:0 \"k\" \"a\"\nin:2 \"k\" \"b\"\n"; lines() != want {
		t.Errorf("written: %q, want %q", lines(), want)
	}
	if got := r.values("letters"); !slices.Equal(got, []string{"bad"}) {
		t.Errorf("letters: %q", got)
	}
	killed := pid(path + ".pid")
	if killed == 0 {
		t.Fatal("the task's process is not known")
	}
	must(t, syscall.Kill(killed, syscall.SIGKILL))
	produce("c")
	await(t, "it goes on", func() bool { return strings.Contains(lines(), `"c"`) })
	if n := strings.Count(lines(), `"a"`); n != 1 {
		t.Errorf("a is written %d times: %q", n, lines())
	}
}

// TestValidationAsksThePlugin shows a plugin's own checks in a worker's answer, and its
// say in offsets.
func TestValidationAsksThePlugin(t *testing.T) {
	r := start(t, devstack.TestKafka(t), pluginDir(t, "counter-1"), nil)
	for _, c := range []struct{ name, value, want string }{
		{"count", "-2", "at least -1"}, {"topic", "forbidden", "not this one"}, {"batch", "x", "Not a number"}, {"topik", "x", "did you mean topic"},
	} {
		config := source("t", "name", "c", c.name, c.value)
		v, err := r.h.Validate(t.Context(), "", config)
		must(t, err)
		var errs []string
		for _, setting := range v.Configs {
			errs = append(errs, setting.Value.Errors...)
		}
		if v.ErrorCount != 1 || !strings.Contains(strings.Join(errs, "\n"), c.want) {
			t.Errorf("%s=%s: %d errors: %q", c.name, c.value, v.ErrorCount, errs)
		}
	}
	keys, err := r.h.PluginConfig("CounterSource", "1")
	must(t, err)
	if i := slices.IndexFunc(keys, func(k connect.ConfigKey) bool { return k.Name == "secret" }); i < 0 || keys[i].Type != connect.TypePassword {
		t.Errorf("the settings lack a secret: %v", keys)
	}
	r.create("c", source("t", "count", "4"))
	await(t, "it has written", func() bool { return len(r.values("t")) == 4 })
	must(t, r.h.SetState(t.Context(), "c", worker.Stopped))
	await(t, "it stands still", func() bool { return r.state("c") == "STOPPED " })
	partition := json.RawMessage(`{"counter":1}`)
	if _, err := r.h.AlterOffsets(t.Context(), "c", []worker.OffsetEntry{{Partition: partition, Offset: json.RawMessage(`{"m":1}`)}}); connect.AsError(err).Code != "test.offset" {
		t.Errorf("a wrong offset: %v", err)
	}
	message, err := r.h.Remedy(t.Context(), "c", "again")
	must(t, err)
	must(t, r.h.SetState(t.Context(), "c", worker.Started))
	await(t, "it writes from the start again", func() bool { return len(r.values("t")) == 8 })
	dropped, err := r.h.Delete(t.Context(), "c", true)
	if must(t, err); message != "from the start" || dropped != "nothing is left, drop true" {
		t.Errorf("told %q and %q", message, dropped)
	}
}
