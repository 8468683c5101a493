package kafkalog_test

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

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
	next, err := kafkalog.Beyond(deadline(t), client, topic, map[int32]int64{0: at})
	must(t, err)
	if len(next) == 0 {
		return -1
	}
	return next[0]
}
