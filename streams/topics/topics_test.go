package topics_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/tidemill/tidemill/internal/devstack"
	"github.com/tidemill/tidemill/streams/topics"
)

func open(t *testing.T) (*topics.Client, []string, context.Context) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	brokers := devstack.TestKafka(t)
	c, err := topics.Open(brokers)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	// On a broker that tests share, what the test before deleted may take a moment
	// to go.
	no(t, c.Delete(ctx, "t", "orders"))
	return c, brokers, ctx
}

func no(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestTopicsComeAndGo(t *testing.T) {
	c, _, ctx := open(t)
	if n, err := c.Partitions(ctx, "orders"); n != 0 || err != nil {
		t.Errorf("a missing topic has %d partitions, %v", n, err)
	}
	spec := topics.Spec{Name: "orders", Partitions: 3, Config: map[string]string{"cleanup.policy": "compact"}}
	no(t, c.Create(ctx, spec))
	no(t, c.Create(ctx, spec))
	if n, err := c.Partitions(ctx, "orders"); n != 3 || err != nil {
		t.Errorf("the topic has %d partitions, %v", n, err)
	}
	names, err := c.List(ctx)
	if err != nil || !slices.Contains(names, "orders") {
		t.Errorf("listed %v, %v", names, err)
	}
	no(t, c.Delete(ctx, "orders", "never"))
	no(t, c.Delete(ctx))
	if n, err := c.Partitions(ctx, "orders"); n != 0 || err != nil {
		t.Errorf("the deleted topic has %d partitions, %v", n, err)
	}
	no(t, c.DeleteGroup(ctx, "nobody"))
}

// TestRead reads what is there, what is there and comes, and only what comes.
func TestRead(t *testing.T) {
	c, _, ctx := open(t)
	no(t, c.Create(ctx, topics.Spec{Name: "t", Partitions: 2}))
	put := func(from, to int) {
		for i := from; i < to; i++ {
			no(t, c.Produce(ctx, &topics.Record{Topic: "t", Key: fmt.Append(nil, i), Value: fmt.Append(nil, i)}))
		}
	}
	put(0, 10)
	seen := 0
	no(t, c.Read(ctx, "t", topics.ToEnd, func(*topics.Record) (bool, error) { seen++; return true, nil }))
	if seen != 10 {
		t.Errorf("read %d up to the end", seen)
	}
	no(t, c.DeleteBefore(ctx, map[string]map[int32]int64{"t": {0: 1, 1: 1}}))
	seen = 0
	no(t, c.Read(ctx, "t", topics.FromStart, func(r *topics.Record) (bool, error) {
		if seen++; seen == 8 {
			put(10, 12)
		}
		return seen < 10, nil
	}))
	first := make(chan string, 1)
	done := make(chan error, 1)
	go func() {
		done <- c.Read(ctx, "t", topics.FromNow, func(r *topics.Record) (bool, error) {
			first <- string(r.Value)
			return false, nil
		})
	}()
	// Reading begins at some moment after the call; records go on until it has.
	for i := 100; ; i++ {
		put(i, i+1)
		select {
		case v := <-first:
			if v < "100" {
				t.Errorf("from now on came %s", v)
			}
			no(t, <-done)
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// TestReadEndsBehindAnAbortedTransaction: the last offsets of the partition belong
// to no record that is ever seen.
func TestReadEndsBehindAnAbortedTransaction(t *testing.T) {
	c, brokers, ctx := open(t)
	no(t, c.Create(ctx, topics.Spec{Name: "t", Partitions: 1}))
	tx, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.TransactionalID("x"))
	no(t, err)
	defer tx.Close()
	for i, end := range []kgo.TransactionEndTry{kgo.TryCommit, kgo.TryAbort} {
		no(t, tx.BeginTransaction())
		no(t, tx.ProduceSync(ctx, &kgo.Record{Topic: "t", Value: fmt.Append(nil, i)}).FirstErr())
		no(t, tx.EndTransaction(ctx, end))
	}
	got := ""
	no(t, c.Read(ctx, "t", topics.ToEnd, func(r *topics.Record) (bool, error) { got += string(r.Value); return true, nil }))
	if got != "0" {
		t.Errorf("read %q, only the first transaction was committed", got)
	}
}

// TestReadEndsWhereRecordsWereRemoved: what was to be read last was compacted away before
// it was read, and then a transaction began that stays open.
func TestReadEndsWhereRecordsWereRemoved(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	no(t, err)
	t.Cleanup(cluster.Close)
	c, err := topics.Open(cluster.ListenAddrs())
	no(t, err)
	t.Cleanup(c.Close)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	no(t, c.Create(ctx, topics.Spec{Name: "t", Partitions: 1, Config: map[string]string{"cleanup.policy": "compact", "delete.retention.ms": "0"}}))
	for _, r := range []topics.Record{{Key: []byte("a"), Value: []byte("1")}, {Key: []byte("b"), Value: []byte("2")}, {Key: []byte("b")}} {
		r.Topic = "t"
		no(t, c.Produce(ctx, &r))
	}
	tx, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.TransactionalID("x"))
	no(t, err)
	defer tx.Close()
	no(t, tx.BeginTransaction())
	no(t, tx.ProduceSync(ctx, &kgo.Record{Topic: "t", Key: []byte("c"), Value: []byte("3")}).FirstErr())
	got := ""
	for got != "1" && ctx.Err() == nil {
		cluster.Compact()
		got = ""
		no(t, c.ReadSpan(ctx, map[string]map[int32]int64{"t": {0: 0}}, map[string]map[int32]int64{"t": {0: 3}}, func(rs []*topics.Record) (bool, error) {
			for _, r := range rs {
				got += string(r.Value)
			}
			return true, nil
		}))
	}
}

func TestCommitted(t *testing.T) {
	c, brokers, ctx := open(t)
	no(t, c.Create(ctx, topics.Spec{Name: "t", Partitions: 2}))
	no(t, c.Produce(ctx, &topics.Record{Topic: "t", Value: []byte("v")}))
	member, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumerGroup("g"), kgo.ConsumeTopics("t"), kgo.DisableAutoCommit())
	no(t, err)
	r := member.PollFetches(ctx).Records()[0]
	no(t, member.CommitRecords(ctx, r))
	member.Close()
	got, err := c.Committed(ctx, "g", map[string][]int32{"t": {0, 1}})
	no(t, err)
	if got["t"][r.Partition].Offset != 1 || got["t"][1-r.Partition] != (topics.Commit{Offset: -1}) {
		t.Errorf("committed %v", got)
	}
}

// TestCommittedWaitsForTransactions asks for an offset that a transaction is about to
// commit: there is no answer before its end, and no error either.
func TestCommittedWaitsForTransactions(t *testing.T) {
	c, brokers, ctx := open(t)
	no(t, c.Create(ctx, topics.Spec{Name: "t", Partitions: 1}))
	no(t, c.SetGroupOffsets(ctx, "waiting", map[string]map[int32]int64{"t": {0: 3}}))
	tx, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.TransactionalID("waiting-for"), kgo.MaxVersions(kversion.V3_6_0()))
	no(t, err)
	defer tx.Close()
	id, epoch, err := tx.ProducerID(ctx)
	no(t, err)
	add := kmsg.NewAddOffsetsToTxnRequest()
	add.TransactionalID, add.ProducerID, add.ProducerEpoch, add.Group = "waiting-for", id, epoch, "waiting"
	added, err := add.RequestWith(ctx, tx)
	no(t, errors.Join(err, kerr.ErrorForCode(added.ErrorCode)))
	commit := kmsg.NewTxnOffsetCommitRequest()
	commit.TransactionalID, commit.ProducerID, commit.ProducerEpoch, commit.Group = "waiting-for", id, epoch, "waiting"
	commit.Topics = []kmsg.TxnOffsetCommitRequestTopic{{Topic: "t", Partitions: []kmsg.TxnOffsetCommitRequestTopicPartition{{Offset: 7, LeaderEpoch: -1}}}}
	committed, err := commit.RequestWith(ctx, tx)
	no(t, errors.Join(err, kerr.ErrorForCode(committed.Topics[0].Partitions[0].ErrorCode)))

	asked := map[string][]int32{"t": {0}}
	short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	if got, err := c.Committed(short, "waiting", asked); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("before the end of the transaction: %v, %v", got, err)
	}
	end := kmsg.NewEndTxnRequest()
	end.TransactionalID, end.ProducerID, end.ProducerEpoch, end.Commit = "waiting-for", id, epoch, true
	ended, err := end.RequestWith(ctx, tx)
	no(t, errors.Join(err, kerr.ErrorForCode(ended.ErrorCode)))
	if got, err := c.Committed(ctx, "waiting", asked); err != nil || got["t"][0].Offset != 7 {
		t.Errorf("after it: %v, %v", got, err)
	}
}
