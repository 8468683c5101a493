package devstack

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// TestAborted has a topic end, for who reads committed records, in a transaction that was
// aborted and of which the mark comes behind the beginning of one that is open: no record
// tells a reader that it is at the end. It returns how to abort the open one as well.
func TestAborted(tb TB, brokers []string, topic string) (end func()) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	tb.Cleanup(cancel)
	no := func(err error) {
		tb.Helper()
		if err != nil {
			tb.Fatalf("writing to %s in transactions: %v", topic, err)
		}
	}
	var both [2]*kgo.Client
	for i, id := range []string{topic + "-aborted", topic + "-open"} {
		tx, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.TransactionalID(id), kgo.DefaultProduceTopic(topic))
		no(err)
		tb.Cleanup(tx.Close)
		both[i] = tx
		no(tx.BeginTransaction())
		no(tx.ProduceSync(ctx, &kgo.Record{Key: []byte(id), Value: []byte("not there")}).FirstErr())
	}
	no(both[0].EndTransaction(ctx, kgo.TryAbort))
	return func() {
		tb.Helper()
		no(both[1].EndTransaction(ctx, kgo.TryAbort))
	}
}
