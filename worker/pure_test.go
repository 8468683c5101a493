package worker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/internal/kafkalog"
)

func TestClientSettings(t *testing.T) {
	raw := connect.Config{
		"bootstrap.servers": "PLAINTEXT://a:1, b:2", "sasl.mechanism": "PLAIN", "security.protocol": "SASL_PLAINTEXT", allowClear: "true",
		"sasl.jaas.config":          `org.apache.kafka.common.security.plain.PlainLoginModule required username="worker" password="a\"b";`,
		"producer.compression.type": "lz4", "producer.linger.ms": "7", "consumer.auto.offset.reset": "latest", "key.converter": "x",
	}
	own := connect.Config{"producer.override.linger.ms": "9", "consumer.override.group.id": "g", "name": "n"}
	producer, consumer := clientProps(raw, producerClient, own), clientProps(raw, consumerClient, own)
	if producer["linger.ms"] != "9" || producer["compression.type"] != "lz4" || producer["sasl.mechanism"] != "PLAIN" || producer["key.converter"] != "" {
		t.Errorf("the producer's are %v", producer)
	}
	if consumer["group.id"] != "g" || consumer["auto.offset.reset"] != "latest" || consumer["linger.ms"] != "" {
		t.Errorf("the consumer's are %v", consumer)
	}
	if got := jaas(raw["sasl.jaas.config"]); got["username"] != "worker" || got["password"] != `a"b` {
		t.Errorf("jaas is %v", got)
	}
	opts, err := clientOptions(producer, producerClient)
	must(t, err)
	client, err := kgo.NewClient(opts...)
	must(t, err)
	defer client.Close()
	if got := client.OptValue(kgo.SeedBrokers).([]string); !slices.Equal(got, []string{"a:1", "b:2"}) {
		t.Errorf("seeds are %v", got)
	}
	if got := client.OptValue(kgo.ProducerLinger); got != 9*time.Millisecond {
		t.Errorf("linger is %v", got)
	}
	for setting, value := range map[string]string{
		"acks": "0", "compression.type": "zip", "auto.offset.reset": "newest", "security.protocol": "TLS", "sasl.mechanism": "GSSAPI",
		"sasl.jaas.config": "nothing", "linger.ms": "soon", "ssl.truststore.location": "/nowhere/at/all.jks",
	} {
		props := maps.Clone(producer)
		maps.Copy(props, consumer)
		props[setting] = value
		if setting == "ssl.truststore.location" {
			props["security.protocol"] = "SASL_SSL"
		}
		kind := producerClient
		if setting == "auto.offset.reset" {
			kind = consumerClient
		}
		_, err := clientOptions(props, kind)
		if list, ok := errors.AsType[connect.Errors](err); !ok || len(list) != 1 || list[0].Place != setting {
			t.Errorf("%s=%s: %v", setting, value, err)
		}
	}
}

// TestKeysGoWhereJavaPutsThem has partitions computed by Kafka's own producer
// (murmur2, positive, modulo).
func TestKeysGoWhereJavaPutsThem(t *testing.T) {
	p := newPartitioner().ForTopic("t")
	// Values of Utils.murmur2 in Kafka's own tests: -973932308, -790332482, -985981536.
	for key, hash := range map[string]int32{"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536} {
		want := int(hash & 0x7fffffff % 12)
		if got := p.Partition(&kgo.Record{Key: []byte(key), Partition: connect.AnyPartition}, 12); got != want {
			t.Errorf("%s goes to %d, want %d", key, got, want)
		}
	}
	chosen := &kgo.Record{Key: []byte("21"), Partition: 5}
	if got := p.Partition(chosen, 12); got != 5 || !p.RequiresConsistency(chosen) {
		t.Errorf("a chosen partition became %d", got)
	}
}

func TestTopicRules(t *testing.T) {
	rules, err := newTopicRules(connect.Config{
		"topic.creation.groups": "big, logs", "topic.creation.default.partitions": "1", "topic.creation.default.replication.factor": "2",
		"topic.creation.big.include": "shop\\..*, other", "topic.creation.big.exclude": ".*small", "topic.creation.big.partitions": "12",
		"topic.creation.logs.include": ".*log", "topic.creation.logs.cleanup.policy": "compact",
	})
	must(t, err)
	for topic, want := range map[string]int32{"shop.orders": 12, "shop.small": 1, "other": 12, "another": 1, "shop.log": 12, "a.log": -1} {
		if got := rules.rule(topic).partitions; got != want {
			t.Errorf("%s gets %d partitions, want %d", topic, got, want)
		}
	}
	if got := rules.rule("a.log").settings["cleanup.policy"]; got != "compact" {
		t.Errorf("the logs' policy is %q", got)
	}
	rules, err = newTopicRules(connect.Config{})
	must(t, err)
	if r := rules.rule("x"); r.partitions != -1 || r.replication != -1 {
		t.Errorf("without rules: %+v", r)
	}
}

func TestRestartPolicy(t *testing.T) {
	passing, lasting := connect.Retry(errors.New("x"), 0), errors.New("y")
	worker, err := ConfigDef().Parse(connect.Config{"errors.restart.delay.ms": "100", "errors.restart.delay.max.ms": "1000"})
	must(t, err)
	p := newRestartPolicy(worker, connect.Config{"errors.restart.max": "3"})
	for restart, want := range []time.Duration{100, 200, 400} {
		wait, again := p.next(passing, failures{all: restart, row: restart})
		if want *= time.Millisecond; !again || wait < want*8/10 || wait > want*12/10 {
			t.Errorf("restart %d after %s, %v", restart, wait, again)
		}
	}
	if _, again := p.next(passing, failures{all: 3}); again {
		t.Error("restarted more often than allowed")
	}
	if _, again := p.next(lasting, failures{}); again {
		t.Error("restarted after an error that lasts")
	}
	if wait, _ := p.next(connect.Retry(errors.New("x"), time.Minute), failures{}); wait != time.Minute {
		t.Errorf("waits %s, though a minute was asked for", wait)
	}
	if _, again := newRestartPolicy(worker, connect.Config{"errors.restart.policy": "never"}).next(passing, failures{}); again {
		t.Error("restarted, though never was asked for")
	}
	if wait, _ := newRestartPolicy(worker, nil).next(passing, failures{row: 50}); wait > 1200*time.Millisecond {
		t.Errorf("waits %s", wait)
	}
}

// TestFailuresNowAndThen wait for no longer than the first one: a task that fails again
// soon after it was started waits for longer each time, one that worked meanwhile does not.
func TestFailuresNowAndThen(t *testing.T) {
	var f failures
	fail := func(lasted time.Duration) int {
		f.after(lasted)
		row := f.row
		f.again(time.Second << row)
		return row
	}
	for i, c := range []struct {
		lasted time.Duration
		row    int
	}{{0, 0}, {9 * time.Second, 1}, {19 * time.Second, 2}, {0, 3}, {81 * time.Second, 0}, {11 * time.Second, 0}, {time.Second, 1}} {
		if row := fail(c.lasted); row != c.row || f.all != i+1 {
			t.Errorf("failure %d, after %s: %d in a row and %d in all, want %d", i+1, c.lasted, row, f.all, c.row)
		}
	}
	if f.after(restartClears + 1); f.all != 0 || f.row != 0 {
		t.Errorf("after an hour: %+v", f)
	}
}

func TestGate(t *testing.T) {
	g := newGate(true)
	var states []string
	report := func(state, _ string) { states = append(states, state) }
	opened := make(chan context.Context)
	go func() {
		ctx, _ := g.open(t.Context(), report)
		opened <- ctx
	}()
	g.set(false)
	polling := <-opened
	again, err := g.open(t.Context(), report)
	must(t, err)
	if again != polling || polling.Err() != nil {
		t.Error("an open gate gives the same context")
	}
	g.set(true)
	if polling.Err() == nil {
		t.Error("a pause does not interrupt")
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := g.open(ended, report); err == nil {
		t.Error("a closed gate does not let go at the end")
	}
	if len(states) > 0 && states[0] != statePaused {
		t.Errorf("states are %v", states)
	}
}

func TestRetriesOfAnOperation(t *testing.T) {
	f := &faults{metrics: &taskMetrics{}, retryTimeout: time.Second, delayMax: time.Millisecond}
	calls := 0
	bad := f.retry(t.Context(), site{stageKey, "x"}, connect.Retry(errors.New("1"), 0), func() error {
		if calls++; calls < 3 {
			return connect.Retry(errors.New("again"), 0)
		}
		return nil
	})
	if bad != nil || calls != 3 {
		t.Errorf("%v after %d calls", bad, calls)
	}
	f.retryTimeout = 0
	if bad = f.retry(t.Context(), site{stageKey, "x"}, connect.Retry(errors.New("1"), 0), func() error { t.Error("called"); return nil }); bad == nil {
		t.Error("errors.retry.timeout=0 tries again")
	}
	f.tolerate, f.source = true, true
	if f.skip(t.Context(), bad, nil, "") == nil {
		t.Error("a source left out a record for a reason that passes")
	}
	f.source = false
	must(t, f.skip(t.Context(), bad, nil, ""))
}

func TestTraces(t *testing.T) {
	err := guard("poll", func() error { panic("boom") })
	lines := strings.Split(trace(fmt.Errorf("task: %w", err)), "\n")
	if !strings.HasPrefix(lines[0], "task: task.panic: poll: boom") || !strings.Contains(strings.Join(lines, "\n"), "pure_test.go") {
		t.Errorf("trace is\n%s", strings.Join(lines, "\n"))
	}
	if got := connect.AsError(brokerError("c", "m", fmt.Errorf("x: %w", kerr.TopicAuthorizationFailed))); got.Class != connect.ClassFatal || got.Mend == "" {
		t.Errorf("%+v", got)
	}
	if got := connect.AsError(brokerError("c", "m", errors.New("EOF"))); got.Class != connect.ClassRetriable {
		t.Errorf("%+v", got)
	}
}

func TestArenaNeverMovesWhatItHolds(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var a arena
		var held [][]byte
		for i := range rapid.IntRange(1, 200).Draw(rt, "records") {
			n := rapid.SampledFrom([]int{0, 1, 100, arenaLow, arenaChunk / 2, arenaChunk + 1}).Draw(rt, "size")
			data := a.tail()
			if data == nil {
				rt.Fatal("the tail is nil")
			}
			for range n {
				data = append(data, byte(i))
			}
			held = append(held, a.keep(data))
		}
		if a.keep(nil) != nil {
			rt.Fatal("null became something")
		}
		for i, data := range held {
			for _, c := range data {
				if c != byte(i) {
					rt.Fatalf("record %d was overwritten", i)
				}
			}
		}
	})
}

// TestRestartRequestsThatWaitTogether wants the one that restarts the most to stand for
// all, whichever came first.
func TestRestartRequestsThatWaitTogether(t *testing.T) {
	all, failed := RestartOptions{IncludeTasks: true}, RestartOptions{IncludeTasks: true, OnlyFailed: true}
	for _, c := range [][]RestartOptions{{all, failed}, {failed, all}} {
		h := newHerder(Options{}, &runtime{})
		h.ready = true
		h.state.apply(journalRecord(connectorEntry("c", connect.Config{"name": "c"})))
		for _, o := range c {
			h.apply(journalRecord(restartEntry("c", o)))
		}
		if got := h.restarts["c"]; got != all {
			t.Errorf("%+v wait together as %+v", c, got)
		}
	}
	h := newHerder(Options{}, &runtime{})
	h.ready = true
	h.state.apply(journalRecord(connectorEntry("c", connect.Config{"name": "c"})))
	h.apply(journalRecord(restartEntry("c", failed)))
	if got := h.restarts["c"]; got != failed {
		t.Errorf("one alone waits as %+v", got)
	}
}

func journalRecord(e kafkalog.Entry) kafkalog.Record {
	return kafkalog.Record{Key: e.Key, Value: e.Value}
}
