package kafkalog_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemill/tidemill/internal/devstack"
	"github.com/tidemill/tidemill/internal/kafkalog"
)

// view is a log as a map, with the records in the order they came.
type view struct {
	mu    sync.Mutex
	state map[string]string
	order []string
}

func (v *view) apply(r kafkalog.Record) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.order = append(v.order, fmt.Sprintf("%s=%s", r.Key, r.Value))
	if r.Value == nil {
		delete(v.state, string(r.Key))
		return
	}
	v.state[string(r.Key)] = string(r.Value)
}

func (v *view) get() map[string]string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return maps.Clone(v.state)
}

// broker is one of the test's own, that can be made to misbehave.
func broker(t *testing.T) (*kfake.Cluster, []kgo.Opt) {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, []kgo.Opt{kgo.SeedBrokers(c.ListenAddrs()...)}
}

// brokers are those that tests are run against.
func brokers(t *testing.T) []kgo.Opt {
	t.Helper()
	return []kgo.Opt{kgo.SeedBrokers(devstack.TestKafka(t)...)}
}

func deadline(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// open opens a log and follows it until the test ends.
func open(t *testing.T, config kafkalog.Config) (*kafkalog.Log, *view) {
	t.Helper()
	v := &view{state: map[string]string{}}
	config.Apply = v.apply
	l, err := kafkalog.Open(deadline(t), config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		l.Close()
	})
	return l, v
}

func want(t *testing.T, v *view, state map[string]string) {
	t.Helper()
	if got := v.get(); !maps.Equal(got, state) {
		t.Fatalf("the log holds %v, want %v", got, state)
	}
}

func TestPutDeleteAndReadBack(t *testing.T) {
	client := brokers(t)
	for _, txn := range []string{"", "writer"} {
		t.Run("transactional id "+txn, func(t *testing.T) {
			config := kafkalog.Config{Client: client, Topic: "state" + txn, Partitions: 3, Replication: 1, TransactionalID: txn}
			l, v := open(t, config)
			ctx := deadline(t)
			must(t, l.Put(ctx, entry("a", "1"), entry("b", "2"), entry("a", "3")))
			must(t, l.Delete(ctx, []byte("b")))
			must(t, l.ReadToEnd(ctx))
			want(t, v, map[string]string{"a": "3"})

			_, again := open(t, config)
			want(t, again, map[string]string{"a": "3"})
		})
	}
}

func TestFollowsOthersInOrder(t *testing.T) {
	client := brokers(t)
	config := kafkalog.Config{Client: client, Topic: "state", Partitions: 1, Replication: 1}
	one, _ := open(t, config)
	two, v := open(t, config)
	ctx := deadline(t)
	var order []string
	for i := range 50 {
		must(t, one.Put(ctx, entry("k", fmt.Sprint(i))))
		order = append(order, fmt.Sprintf("k=%d", i))
	}
	must(t, two.ReadToEnd(ctx))
	v.mu.Lock()
	defer v.mu.Unlock()
	if got := strings.Join(v.order, " "); got != strings.Join(order, " ") {
		t.Fatalf("records came as %s", got)
	}
	if got := two.Position(0); got != 50 {
		t.Fatalf("the position is %d, want 50", got)
	}
}

func TestFormerWriterIsShutOut(t *testing.T) {
	client := brokers(t)
	config := kafkalog.Config{Client: client, Topic: "state", Partitions: 1, Replication: 1, TransactionalID: "leader"}
	old, _ := open(t, config)
	ctx := deadline(t)
	must(t, old.Put(ctx, entry("a", "old")))
	young, v := open(t, config)
	if err := old.Put(ctx, entry("a", "zombie")); !errors.Is(err, kafkalog.ErrFenced) {
		t.Fatalf("the former writer got %v, want ErrFenced", err)
	}
	must(t, young.Put(ctx, entry("b", "new")))
	must(t, young.ReadToEnd(ctx))
	want(t, v, map[string]string{"a": "old", "b": "new"})
	must(t, old.TakeOver(ctx))
	must(t, old.Put(ctx, entry("a", "again")))
	must(t, young.ReadToEnd(ctx))
	want(t, v, map[string]string{"a": "again", "b": "new"})
}

func TestRefusesTopicsThatLoseState(t *testing.T) {
	client := brokers(t)
	cl, err := kgo.NewClient(client...)
	must(t, err)
	defer cl.Close()
	admin := kadm.NewClient(cl)
	ctx := deadline(t)
	for _, policy := range []string{"delete", "compact,delete"} {
		_, err := admin.CreateTopic(ctx, 1, 1, map[string]*string{"cleanup.policy": &policy}, "t-"+strings.ReplaceAll(policy, ",", "-"))
		must(t, err)
	}
	compact := "compact"
	_, err = admin.CreateTopic(ctx, 2, 1, map[string]*string{"cleanup.policy": &compact}, "two")
	must(t, err)
	topics, err := admin.ListTopics(ctx, "t-delete", "t-compact-delete", "two")
	must(t, err)
	for topic := range topics {
		_, err := kafkalog.Open(ctx, kafkalog.Config{
			Client: client, Topic: topic, Partitions: 1, ExactPartitions: true, Replication: 1, Apply: func(kafkalog.Record) {},
		})
		if _, ok := errors.AsType[*kafkalog.TopicError](err); !ok {
			t.Errorf("topic %s: got %v, want a TopicError", topic, err)
		}
	}
}

func TestCreatesWithWhatWasAskedFor(t *testing.T) {
	client := brokers(t)
	l, _ := open(t, kafkalog.Config{Client: client, Topic: "offsets", Partitions: 25, Replication: 1, Settings: map[string]string{"segment.bytes": "1048576", "cleanup.policy": "delete"}})
	must(t, l.ReadToEnd(deadline(t)))
	cl, err := kgo.NewClient(client...)
	must(t, err)
	defer cl.Close()
	admin := kadm.NewClient(cl)
	topics, err := admin.ListTopics(deadline(t), "offsets")
	must(t, err)
	if n := len(topics["offsets"].Partitions); n != 25 {
		t.Errorf("created with %d partitions, want 25", n)
	}
	configs, err := admin.DescribeTopicConfigs(deadline(t), "offsets")
	must(t, err)
	got := map[string]string{}
	for _, c := range configs[0].Configs {
		if c.Value != nil {
			got[c.Key] = *c.Value
		}
	}
	if got["cleanup.policy"] != "compact" || got["segment.bytes"] != "1048576" {
		t.Errorf("created with %v", got)
	}
}

// TestBrokersHearOfATopicOneAfterAnother has the broker that is asked for a new topic's
// settings not know it yet, as one of several may.
func TestBrokersHearOfATopicOneAfterAnother(t *testing.T) {
	cluster, client := broker(t)
	asked := 0
	cluster.ControlKey(int16(kmsg.DescribeConfigs), func(req kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		if asked++; asked > 2 {
			return nil, nil, false
		}
		r := req.(*kmsg.DescribeConfigsRequest).ResponseKind().(*kmsg.DescribeConfigsResponse)
		for _, resource := range req.(*kmsg.DescribeConfigsRequest).Resources {
			rr := kmsg.NewDescribeConfigsResponseResource()
			rr.ResourceType, rr.ResourceName, rr.ErrorCode = resource.ResourceType, resource.ResourceName, kerr.UnknownTopicOrPartition.Code
			r.Resources = append(r.Resources, rr)
		}
		return r, nil, true
	})
	open(t, kafkalog.Config{Client: client, Topic: "state", Partitions: 1, Replication: 1})
	if asked < 3 {
		t.Errorf("its settings were asked for %d times", asked)
	}
}

// TestOpensWhenALeaderIsBeingChosen has the broker that is asked how far a topic reaches not
// lead it yet, as happens while topics are made and brokers come and go.
func TestOpensWhenALeaderIsBeingChosen(t *testing.T) {
	for _, err := range []*kerr.Error{kerr.NotLeaderForPartition, kerr.LeaderNotAvailable, kerr.OffsetNotAvailable} {
		t.Run(err.Message, func(t *testing.T) {
			cluster, client := broker(t)
			fault := cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.ListOffsets}, Err: err, Count: 3})
			open(t, kafkalog.Config{Client: client, Topic: "state", Partitions: 1, Replication: 1})
			if hits := fault.Hits(); hits == 0 {
				t.Error("nobody asked")
			}
		})
	}
}

func TestPutReturnsWhenItsTimeIsOver(t *testing.T) {
	cluster, client := broker(t)
	l, v := open(t, kafkalog.Config{Client: client, Topic: "state", Partitions: 1, Replication: 1})
	must(t, l.Put(deadline(t), entry("a", "1")))
	cluster.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		r := req.(*kmsg.ProduceRequest).ResponseKind().(*kmsg.ProduceResponse)
		for _, topic := range req.(*kmsg.ProduceRequest).Topics {
			rt := kmsg.NewProduceResponseTopic()
			rt.Topic, rt.TopicID = topic.Topic, topic.TopicID
			for _, p := range topic.Partitions {
				rp := kmsg.NewProduceResponseTopicPartition()
				rp.Partition, rp.ErrorCode = p.Partition, kerr.NotEnoughReplicas.Code
				rt.Partitions = append(rt.Partitions, rp)
			}
			r.Topics = append(r.Topics, rt)
		}
		return r, nil, true
	})
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := l.Put(ctx, entry("a", "2")); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v, want the deadline", err)
	}
	want(t, v, map[string]string{"a": "1"})
}

// A write that was given up may still arrive, and who reads to the end then must not miss it.
func TestReadsBehindWhatWasGivenUp(t *testing.T) {
	cluster, client := broker(t)
	l, v := open(t, kafkalog.Config{Client: client, Topic: "state", Partitions: 1, Replication: 1})
	must(t, l.Put(deadline(t), entry("a", "1")))
	release := make(chan struct{})
	cluster.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		cluster.SleepControl(func() { <-release })
		return nil, nil, false
	})
	short := func(do func(context.Context) error) error {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		return do(ctx)
	}
	if err := short(func(ctx context.Context) error { return l.Put(ctx, entry("a", "2")) }); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("writing: got %v, want the deadline", err)
	}
	if err := short(l.ReadToEnd); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("reading while it is not known what becomes of a record: got %v, want the deadline", err)
	}
	close(release)
	must(t, l.ReadToEnd(deadline(t)))
	if got := v.get()["a"]; got != "2" {
		t.Errorf("the end is read with a=%s", got)
	}
}

// TestATransactionEndsOnlyWhenItsTopicIsKnown holds back the brokers' answer about a
// topic: a transaction that ended before the client has it would be taken for empty.
func TestATransactionEndsOnlyWhenItsTopicIsKnown(t *testing.T) {
	cluster, client := broker(t)
	must(t, cluster.CreateTopic("state", 1, nil))
	producer, err := kgo.NewClient(append(client, kgo.TransactionalID("writer"), kgo.DefaultProduceTopic("state"))...)
	must(t, err)
	defer producer.Close()
	answer := make(chan struct{})
	cluster.ControlKey(int16(kmsg.Metadata), func(req kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		if topics := req.(*kmsg.MetadataRequest).Topics; len(topics) > 0 {
			cluster.SleepControl(func() { <-answer })
		}
		return nil, nil, false
	})
	must(t, producer.BeginTransaction())
	acked := make(chan error, 1)
	producer.Produce(t.Context(), &kgo.Record{Value: []byte("v")}, func(_ *kgo.Record, err error) { acked <- err })
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := kafkalog.AwaitKnown(short, producer, "state"); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v for a topic the client cannot know", err)
	}
	close(answer)
	must(t, <-acked)
	must(t, kafkalog.AwaitKnown(deadline(t), producer, "state"))
	must(t, producer.EndTransaction(deadline(t), kgo.TryCommit))
}

func entry(k, v string) kafkalog.Entry { return kafkalog.Entry{Key: []byte(k), Value: []byte(v)} }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
