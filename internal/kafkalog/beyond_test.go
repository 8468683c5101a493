package kafkalog_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemill/tidemill/internal/devstack"
	"github.com/tidemill/tidemill/internal/kafkalog"
)

// TestOpensBehindWhatWasAborted opens a log whose end is told by no record.
func TestOpensBehindWhatWasAborted(t *testing.T) {
	addrs := devstack.TestKafka(t)
	client := []kgo.Opt{kgo.SeedBrokers(addrs...)}
	config := kafkalog.Config{Client: client, Topic: "ends-aborted", Partitions: 1, Replication: 1}
	first, _ := open(t, config)
	must(t, first.Put(deadline(t), entry("a", "1")))
	end := devstack.TestAborted(t, addrs, config.Topic)
	_, v := open(t, config)
	want(t, v, map[string]string{"a": "1"})
	end()
	must(t, first.ReadToEnd(deadline(t)))
}

// TestReadsToAnEndThatWasCompactedAway opens a log of which the last records, before those
// of an open transaction, are gone.
func TestReadsToAnEndThatWasCompactedAway(t *testing.T) {
	cluster, client := broker(t)
	config := kafkalog.Config{Client: client, Topic: "state", Partitions: 1, Replication: 1, Settings: map[string]string{"delete.retention.ms": "0"}}
	first, seen := open(t, config)
	must(t, first.Put(deadline(t), entry("a", "1")))
	must(t, first.Put(deadline(t), entry("b", "2")))
	must(t, first.Delete(deadline(t), []byte("b")))
	must(t, first.ReadToEnd(deadline(t)))
	tx, err := kgo.NewClient(append(client, kgo.TransactionalID("open"), kgo.DefaultProduceTopic("state"))...)
	must(t, err)
	defer tx.Close()
	must(t, tx.BeginTransaction())
	must(t, tx.ProduceSync(deadline(t), &kgo.Record{Key: []byte("c"), Value: []byte("3")}).FirstErr())
	for beyond(t, client, "state", 1) != 3 {
		cluster.Compact()
	}
	_, v := open(t, config)
	want(t, v, map[string]string{"a": "1"})
	must(t, tx.EndTransaction(deadline(t), kgo.TryCommit))
	must(t, first.ReadToEnd(deadline(t)))
	want(t, seen, map[string]string{"a": "1", "c": "3"})
}

// TestBeyond asks what is at every offset of a topic, and of a topic that is not there.
func TestBeyond(t *testing.T) {
	addrs := devstack.TestKafka(t)
	client := []kgo.Opt{kgo.SeedBrokers(addrs...)}
	config := kafkalog.Config{Client: client, Topic: "beyond", Partitions: 1, Replication: 1, TransactionalID: "beyond"}
	l, _ := open(t, config)
	must(t, l.Put(deadline(t), entry("a", "1"), entry("b", "2")))
	end := devstack.TestAborted(t, addrs, config.Topic)
	for at, next := range []int64{0, 1, 4, 4, 4} { // A mark, and then what was aborted.
		if got := beyond(t, client, config.Topic, int64(at)); got != next {
			t.Errorf("beyond %d there is %d, not %d", at, got, next)
		}
	}
	end()
	must(t, l.ReadToEnd(deadline(t)))
	for _, at := range []int64{2, 6} {
		if got := beyond(t, client, config.Topic, at); got != 7 {
			t.Errorf("beyond %d there is %d at last", at, got)
		}
	}
	if got := beyond(t, client, "beyond-nothing", 0); got != -1 {
		t.Errorf("a topic that is not there goes on at %d", got)
	}
}

// beyond returns where a partition goes on behind an offset, -1 when it is not there.
func beyond(t *testing.T, opts []kgo.Opt, topic string, at int64) int64 {
	t.Helper()
	client, err := kgo.NewClient(opts...)
	must(t, err)
	defer client.Close()
	next, err := kafkalog.Beyond(deadline(t), client, map[string]map[int32]int64{topic: {0: at}})
	must(t, err)
	if len(next[topic]) == 0 {
		return -1
	}
	return next[topic][0]
}

// many makes topics of four partitions: one of records that have no room in one answer
// beside others, one that ends in what was aborted, one that is empty.
func many(t *testing.T, name string) (client *kgo.Client, addrs []string, large, aborted, empty string) {
	t.Helper()
	addrs = devstack.TestKafka(t)
	large, aborted, empty = name+"-large", name+"-aborted", name+"-empty"
	opts := []kgo.Opt{kgo.SeedBrokers(addrs...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(kgo.NoCompression())}
	client, err := kgo.NewClient(opts...)
	must(t, err)
	t.Cleanup(client.Close)
	resps, err := kadm.NewClient(client).CreateTopics(deadline(t), 4, 1, nil, large, aborted, empty)
	must(t, err)
	must(t, resps.Error())
	for n := range 2 {
		for p := range int32(4) {
			must(t, client.ProduceSync(deadline(t), &kgo.Record{Topic: large, Partition: p, Value: make([]byte, 600<<10)}).FirstErr())
		}
		for p := range int32(2 - n) {
			must(t, client.ProduceSync(deadline(t), &kgo.Record{Topic: aborted, Partition: p, Value: []byte("there")}).FirstErr())
		}
	}
	tx, err := kgo.NewClient(append(opts, kgo.TransactionalID(name))...)
	must(t, err)
	t.Cleanup(tx.Close)
	must(t, tx.BeginTransaction())
	for p := range int32(3) {
		must(t, tx.ProduceSync(deadline(t), &kgo.Record{Topic: aborted, Partition: p, Value: make([]byte, 600<<10)}).FirstErr())
	}
	must(t, tx.EndTransaction(deadline(t), kgo.TryAbort))
	return client, addrs, large, aborted, empty
}

// TestBeyondManyPartitions asks of several topics at once: what is empty, and what only had
// no room in an answer beside others.
func TestBeyondManyPartitions(t *testing.T) {
	client, _, large, aborted, empty := many(t, "beyond-many")
	at := map[string]map[int32]int64{
		large:               {0: 0, 1: 1, 2: 0, 3: 2},
		aborted:             {0: 0, 1: 1, 2: 0, 3: 0},
		empty:               {0: 0, 2: 0, 9: 0},
		"beyond-many-never": {0: 0},
	}
	want := map[string]map[int32]int64{
		large:               {0: 0, 1: 1, 2: 0, 3: 2},
		aborted:             {0: 0, 1: 3, 2: 2, 3: 0},
		empty:               {0: 0, 2: 0},
		"beyond-many-never": {},
	}
	kept := maps.Clone(at[aborted])
	// The mark of an aborted transaction may come a little after its end is acknowledged.
	for ctx := deadline(t); ; {
		got, err := kafkalog.Beyond(ctx, client, at)
		must(t, err)
		if reflect.DeepEqual(got, want) {
			break
		}
		if got[aborted][1] == 3 && got[aborted][2] == 2 {
			t.Fatalf("beyond there is %v, not %v", got, want)
		}
	}
	if !maps.Equal(kept, at[aborted]) {
		t.Errorf("what was asked has become %v", at[aborted])
	}
	got, err := kafkalog.Beyond(deadline(t), client, nil)
	if must(t, err); len(got) != 0 {
		t.Errorf("beyond nothing there is %v", got)
	}
}

// TestReadTo reads several topics up to offsets of which some are no record's.
func TestReadTo(t *testing.T) {
	_, addrs, large, aborted, empty := many(t, "read-to")
	from := map[string]map[int32]int64{large: {0: 0, 1: 1, 2: 0, 3: 2}, aborted: {0: 0, 1: 0, 2: 0, 3: 0}, empty: {0: 0}}
	to := map[string]map[int32]int64{large: {0: 2, 1: 2, 2: 1, 3: 2}, aborted: {0: 4, 1: 3, 2: 2, 3: 0}, empty: {0: 0}}
	ctx, cancel := context.WithCancel(deadline(t))
	defer cancel()
	count := map[string]int{}
	opts := []kgo.Opt{kgo.SeedBrokers(addrs...)}
	for fetches, err := range kafkalog.ReadTo(ctx, opts, from, to) {
		must(t, err)
		for _, r := range fetches.Records() {
			count[fmt.Sprintf("%s/%d/%d", r.Topic, r.Partition, r.Offset)]++
		}
	}
	want := map[string]int{
		large + "/0/0": 1, large + "/0/1": 1, large + "/1/1": 1, large + "/2/0": 1,
		aborted + "/0/0": 1, aborted + "/0/1": 1, aborted + "/1/0": 1,
	}
	if !maps.Equal(count, want) {
		t.Errorf("read %v, not %v", count, want)
	}
	to[empty][0] = 1 // Of which nothing comes.
	for fetches, err := range kafkalog.ReadTo(ctx, opts, from, to) {
		switch {
		case ctx.Err() != nil:
			if err == nil {
				t.Error("nothing tells that reading was ended")
			}
		case err != nil:
			t.Fatal(err)
		case fetches == nil:
			cancel()
		}
	}
}

// Who reads to an end is told when the brokers are away, and may wait until they are back.
func TestReadToTellsThatNobodyAnswers(t *testing.T) {
	cluster, client := broker(t)
	l, _ := open(t, kafkalog.Config{Client: client, Topic: "state", Partitions: 1, Replication: 1})
	must(t, l.Put(deadline(t), entry("a", "1")))
	var back atomic.Bool
	for _, key := range []kmsg.Key{kmsg.Fetch, kmsg.Metadata} {
		cluster.ControlKey(int16(key), func(kmsg.Request) (kmsg.Response, error, bool) {
			cluster.KeepControl()
			if back.Load() {
				return nil, nil, false
			}
			return nil, errors.New("away"), true // It hangs up.
		})
	}
	opts := append(client, kgo.RequestRetries(0))
	told, read := 0, 0
	for fetches, err := range kafkalog.ReadTo(deadline(t), opts, map[string]map[int32]int64{"state": {0: 0}}, map[string]map[int32]int64{"state": {0: 1}}) {
		if _, waits := errors.AsType[*kafkalog.Unanswered](err); waits {
			if told++; told == 2 {
				back.Store(true)
			}
			continue
		}
		must(t, err)
		read += len(fetches.Records())
	}
	if told < 2 || read != 1 {
		t.Errorf("told %d times, and %d records read", told, read)
	}
}
