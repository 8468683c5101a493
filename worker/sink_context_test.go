package worker

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
)

// steering is a sink whose tasks use what their context offers: they pause the partition of
// a topic, take it up again when the lab allows it, and ask for commits.
type steering struct{ keeping }

func (c *steering) NewTask() connect.SinkTask { return &steeringTask{keepingTask: keepingTask{l: c.l}} }

type steeringTask struct {
	keepingTask
	paused bool
}

func (t *steeringTask) Put(ctx context.Context, records []connect.SinkRecord) error {
	aside := connect.TopicPartition{Topic: "aside"}
	if t.paused && t.l.allowed("resume") {
		t.paused = false
		t.env.Consumer.Resume(aside)
	}
	for i := range records {
		if records[i].Value.Str() == "pause" && t.l.once("pause") {
			t.paused = true
			t.env.Consumer.Pause(aside)
		}
		if records[i].Value.Str() == "commit" {
			t.env.Consumer.RequestCommit()
		}
	}
	t.l.mu.Lock()
	t.l.happen["largest"] = max(t.l.happen["largest"], len(records))
	t.l.happen["assigned"] = len(t.env.Consumer.Assignment())
	t.l.mu.Unlock()
	return t.keepingTask.Put(ctx, records)
}

func (l *lab) steer(o *Options) {
	o.Plugins.Sinks = append(o.Plugins.Sinks, connect.Plugin[connect.SinkConnector]{
		Class: "org.example.SteeringSinkConnector", Config: connect.NewConfigDef(), New: func() connect.SinkConnector { return &steering{keeping{l: l}} },
	})
}

func (l *lab) count(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.happen[what]
}

// TestSinkPausesPartitions has a task pause one partition and take it up again: meanwhile it
// is given the other's records alone, and nothing is lost.
func TestSinkPausesPartitions(t *testing.T) {
	l := newLab(t)
	l.produce("in", 1, "pause")
	_, err := l.admin.CreateTopic(t.Context(), 1, 1, nil, "aside")
	must(t, err)
	w := l.start(nil, l.steer)
	w.create("s", keeper("in,aside", "connector.class", "SteeringSink", "consumer.override.fetch.max.wait.ms", "100"))
	wait(t, "the task has paused the partition", func() bool { return l.count("pause") == 1 && l.count("assigned") == 2 })
	// What may have been fetched by then is put before the first record of the other batch.
	l.produce("in", 1, "two")
	wait(t, "the next is kept", func() bool { return slices.Contains(l.keptBy("s"), "two") })
	l.produce("aside", 1, numbers(1, 10)...)
	l.produce("in", 1, numbers(11, 30)...)
	wait(t, "the others are kept", func() bool { return len(l.keptBy("s")) == 22 })
	if at := l.groupOffset("connect-s", "aside", 0); at > 0 {
		t.Errorf("%d of a paused partition are committed", at)
	}
	l.allow("resume")
	wait(t, "all are kept", func() bool {
		return same(l.keptBy("s"), append([]string{"pause", "two"}, append(numbers(1, 10), numbers(11, 30)...)...))
	})
}

// TestSinkAsksForCommits has a clock that never comes.
func TestSinkAsksForCommits(t *testing.T) {
	l := newLab(t)
	l.produce("in", 1, "one", "commit")
	w := l.start(connect.Config{"offset.flush.interval.ms": "3600000"}, l.steer)
	w.create("s", keeper("in", "connector.class", "SteeringSink"))
	wait(t, "what was put is committed", func() bool { return l.groupOffset("connect-s", "in", 0) == 2 })
}

// TestSinkCommitsWhatItsTaskAnswersFor holds back, and goes on from there after a restart.
func TestSinkCommitsWhatItsTaskAnswersFor(t *testing.T) {
	l := newLab(t)
	l.produce("in", 1, numbers(1, 20)...)
	w := l.start(nil, l.more)
	w.create("s", keeper("in", "connector.class", "HoldingSink", "hold", "yes"))
	wait(t, "all is kept", func() bool { return len(l.keptBy("s")) == 20 })
	must(t, w.RestartTask(t.Context(), TaskID{"s", 0}))
	wait(t, "all is kept again, since nobody has answered for it", func() bool { return len(l.keptBy("s")) == 40 })
	if at := l.groupOffset("connect-s", "in", 0); at > 0 {
		t.Errorf("%d are committed", at)
	}
	l.allow("hold")
	wait(t, "all is committed", func() bool { return l.groupOffset("connect-s", "in", 0) == 20 })
	must(t, w.RestartTask(t.Context(), TaskID{"s", 0}))
	l.produce("in", 1, "last")
	wait(t, "the last is kept", func() bool { return len(l.keptBy("s")) == 41 })
}

// TestSinkOverridesItsConsumer reads as another group, in smaller batches, and from the end.
func TestSinkOverridesItsConsumer(t *testing.T) {
	l := newLab(t)
	l.produce("in", 1, numbers(1, 50)...)
	w := l.start(nil, l.steer)
	w.create("s", keeper("in", "connector.class", "SteeringSink", "consumer.override.group.id", "others", "consumer.override.max.poll.records", "7"))
	wait(t, "all is committed for the group", func() bool { return l.groupOffset("others", "in", 0) == 50 })
	if n := l.count("largest"); n > 7 || n == 0 {
		t.Errorf("%d records were put at once", n)
	}
	offsets, err := w.Offsets(t.Context(), "s")
	must(t, err)
	if len(offsets) != 1 || string(offsets[0].Offset) != `{"kafka_offset":50}` {
		t.Errorf("the offsets are %s", offsets)
	}
	w.create("late", keeper("in", "consumer.override.auto.offset.reset", "latest"))
	w.waitState("late", "RUNNING RUNNING")
	i := 100
	wait(t, "what comes later is kept", func() bool {
		i++
		l.produce("in", 1, fmt.Sprint("later ", i))
		return len(l.keptBy("late")) > 0
	})
	if got := l.keptBy("late")[0]; !strings.HasPrefix(got, "later") {
		t.Errorf("it was given %s", got)
	}
}

// TestOverridesAreRefused under the policy that holds when none is set, also where the
// configuration did not come through the REST interface.
func TestOverridesAreRefused(t *testing.T) {
	l := newLab(t)
	w := l.start(nil)
	for setting, ok := range map[string]bool{
		"producer.override.linger.ms": true, "producer.override.sasl.jaas.config": true, "producer.override.bootstrap.servers": false,
		"producer.override.ssl.keystore.location": false, "producer.override.interceptor.classes": false, "admin.override.sasl.oauthbearer.token.endpoint.url": false,
	} {
		value := map[bool]string{true: "1", false: "x"}[setting == "producer.override.linger.ms"]
		if strings.HasSuffix(setting, "jaas.config") {
			value = `org.apache.kafka.common.security.plain.PlainLoginModule required username="a" password="b";`
		}
		v, err := w.Validate(t.Context(), "", counter("numbers", "name", "c", setting, value))
		must(t, err)
		got := faultsOf(v)
		refused := len(got) == 1 && strings.HasPrefix(got[0], setting+": The 'Allowlist' policy does not allow '")
		if ok != (len(got) == 0) || ok == refused {
			t.Errorf("%s: %v", setting, got)
		}
	}
	w.stop()
	put := func(key, value string) {
		must(t, l.client.ProduceSync(t.Context(), &kgo.Record{Topic: "connect-configs", Key: []byte(key), Value: []byte(value)}).FirstErr())
	}
	config := `{"connector.class":"KeepingSink","name":"s","topics":"in","consumer.override.bootstrap.servers":"127.0.0.1:1"}`
	put("connector-s", `{"properties":`+config+`}`)
	w = l.start(nil)
	w.waitState("s", "RUNNING FAILED")
	s, err := w.Status("s")
	must(t, err)
	f := s.Tasks[0].Failure
	if f == nil || f.Code != "config.override" || f.Place != "consumer.override.bootstrap.servers" || !strings.Contains(f.Mend, "connector.client.config.override.allowlist") {
		t.Errorf("%+v: %s", f, s.Tasks[0].Trace)
	}
	if _, err := w.Offsets(t.Context(), "s"); connect.AsError(err).Code != "config.override" {
		t.Errorf("its offsets are asked for where it should not reach: %v", err)
	}
	w.stop()
	w = l.start(connect.Config{"connector.client.config.override.policy": "All"})
	w.waitState("s", "RUNNING RUNNING") // There is nobody at that address, which the client goes on to try.
}

// TestTopicsAreCreatedByTheirGroups looks at the topics that a source has made.
func TestTopicsAreCreatedByTheirGroups(t *testing.T) {
	l := newLab(t)
	w := l.start(nil)
	rules := []string{
		"count", "10", "topic.creation.groups", "logs, wide", "topic.creation.default.partitions", "2", "topic.creation.default.replication.factor", "1",
		"topic.creation.logs.include", "log-.*", "topic.creation.logs.exclude", "log-not", "topic.creation.logs.cleanup.policy", "compact", "topic.creation.logs.min.insync.replicas", "1",
		"topic.creation.logs.replication.factor", "1", "topic.creation.logs.partitions", "1",
		"topic.creation.wide.include", ".*-not|wide", "topic.creation.wide.partitions", "5", "topic.creation.wide.replication.factor", "-1",
	}
	partitions := map[string]int{"plain": 2, "log-a": 1, "log-not": 5, "wide": 5}
	for topic := range partitions {
		w.create(topic, counter(topic, rules...))
	}
	for topic, want := range partitions {
		wait(t, "all is safe", func() bool { return l.lastSafe(topic) == `{"part":"0"}{"n":10}` })
		topics, err := l.admin.ListTopics(t.Context(), topic)
		must(t, err)
		if got := len(topics[topic].Partitions); got != want {
			t.Errorf("%s has %d partitions, want %d", topic, got, want)
		}
		if used, err := w.Topics(topic); err != nil || !slices.Equal(used, []string{topic}) {
			t.Errorf("%s is said to use %v, %v", topic, used, err)
		}
	}
	configs, err := l.admin.DescribeTopicConfigs(t.Context(), "log-a", "plain")
	must(t, err)
	policies := map[string]string{}
	for _, c := range configs {
		for _, one := range c.Configs {
			if one.Key == "cleanup.policy" {
				policies[c.Name] = one.MaybeValue()
			}
		}
	}
	if policies["log-a"] != "compact" || policies["plain"] == "compact" {
		t.Errorf("the policies are %v", policies)
	}
	// A replication factor that cannot be had fails the task, and says of which topic.
	w.create("much", counter("much", "topic.creation.default.replication.factor", "9", "topic.creation.default.partitions", "1"))
	wait(t, "the task fails", func() bool {
		s, err := w.TaskStatus(TaskID{"much", 0})
		return err == nil && s.Failure != nil && s.Failure.Code == "topic.create" && s.Failure.Place == "topic much"
	})
}

// TestUsedTopicsAreForgotten resets them, and turns their tracking off.
func TestUsedTopicsAreForgotten(t *testing.T) {
	l := newLab(t)
	l.produce("a", 1, "x")
	l.produce("b", 1, "x")
	w := l.start(nil)
	w.create("s", keeper("a,b"))
	wait(t, "both are used", func() bool {
		used, err := w.Topics("s")
		return err == nil && slices.Equal(used, []string{"a", "b"})
	})
	must(t, w.ResetTopics(t.Context(), "s"))
	if used, err := w.Topics("s"); err != nil || len(used) != 0 {
		t.Errorf("after a reset: %v, %v", used, err)
	}
	l.produce("a", 1, "y")
	wait(t, "what is still used is known again", func() bool {
		used, err := w.Topics("s")
		return err == nil && slices.Equal(used, []string{"a"})
	})
	w.stop()
	w = l.start(connect.Config{"topic.tracking.enable": "false"})
	_, err := w.Topics("s")
	failing(t, err, "request.forbidden", "Topic tracking is disabled.")
	failing(t, w.ResetTopics(t.Context(), "s"), "request.forbidden", "Topic tracking is disabled.")
	w.stop()
	w = l.start(connect.Config{"topic.tracking.allow.reset": "false"})
	failing(t, w.ResetTopics(t.Context(), "s"), "request.forbidden", "Topic tracking reset is disabled.")
}
