package kafkalog

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// AwaitKnown returns when a producer knows the partitions of the topics it has had
// acknowledgements from, or with the error of ctx. It must be called before a
// transaction ends in which one of these topics was written to for the first time by
// this producer.
//
// The client learns of a new topic in a goroutine of its own, which first hands the
// records that waited for it to their partitions and only then shows the partitions
// to everybody else. When that goroutine is held up in between, records are
// acknowledged while the end of the transaction still sees a topic without
// partitions, takes the transaction for an empty one, aborts it (or, with brokers
// before KIP-890, leaves it open) and reports success: what was committed is gone.
func AwaitKnown(ctx context.Context, producer *kgo.Client, topics ...string) error {
	for _, topic := range topics {
		if known(producer, topic) {
			continue
		}
		// Nobody tells when the partitions are there. It is a matter of microseconds,
		// unless the machine is busy.
		again := time.NewTicker(time.Millisecond)
		defer again.Stop()
		for !known(producer, topic) {
			select {
			case <-again.C:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return nil
}

// known tells whether a client knows the partitions of a topic: all become known at
// once. What is wrong with one of them does not matter here.
func known(client *kgo.Client, topic string) bool {
	leader, _, _ := client.PartitionLeader(topic, 0)
	return leader != -1
}
