package topics

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Followed is what a follower of a partition has been given at once.
type Followed struct {
	Topic     string
	Partition int32
	// Records are the committed records, none when there were only marks of
	// transactions.
	Records []*Record
	// Next is the offset to go on from, and End how far committed records reached when
	// they were fetched: both are the same once everything has come.
	Next, End int64
}

// followWait is how long brokers wait for records before they answer that there are none.
const followWait = 500 * time.Millisecond

// Follow hands what partitions have from the given offsets on to visit, until ctx is
// done or something is wrong. Offsets that are gone are an error of ErrGone. heard is
// called, by other goroutines, whenever a broker has answered, also when it had nothing.
func (c *Client) Follow(ctx context.Context, from map[string]map[int32]int64, visit func(Followed) error, heard func()) error {
	start := map[string]map[int32]kgo.Offset{}
	for topic, ps := range from {
		start[topic] = map[int32]kgo.Offset{}
		for p, at := range ps {
			start[topic][p] = kgo.NewOffset().At(at)
		}
	}
	cl, err := kgo.NewClient(append(slices.Clone(c.opts), kgo.ConsumePartitions(start), kgo.KeepControlRecords(), kgo.FetchMaxWait(followWait),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumeResetOffset(kgo.NoResetOffset()), kgo.WithHooks(hearing(heard)))...)
	if err != nil {
		return fmt.Errorf("opening a follower: %w", err)
	}
	defer cl.Close()
	for {
		fetches := cl.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			return err
		}
		fetches.EachPartition(func(p kgo.FetchTopicPartition) {
			switch {
			case err != nil:
			case p.Err != nil:
				err = followError(p)
			case len(p.Records) > 0:
				err = visit(followed(p))
			}
		})
		if err != nil {
			return err
		}
	}
}

// hearing is called when brokers answer.
type hearing func()

// OnBrokerE2E implements kgo.HookBrokerE2E.
func (h hearing) OnBrokerE2E(_ kgo.BrokerMetadata, key int16, e2e kgo.BrokerE2E) {
	if key == kmsg.Fetch.Int16() && e2e.Err() == nil {
		h()
	}
}

// ErrGone says that records that were to be read are not in the topic any more.
var ErrGone = errors.New("the records are gone from the topic")

func followError(p kgo.FetchTopicPartition) error {
	var lost *kgo.ErrDataLoss
	cause := p.Err
	if errors.As(p.Err, &lost) || isOutOfRange(p.Err) {
		cause = errors.Join(ErrGone, p.Err)
	}
	return fmt.Errorf("following topic %s, partition %d: %w", p.Topic, p.Partition, cause)
}

func followed(p kgo.FetchTopicPartition) Followed {
	last := p.Records[len(p.Records)-1].Offset + 1
	return Followed{
		Topic: p.Topic, Partition: p.Partition, Next: last, End: max(p.LastStableOffset, last),
		Records: slices.DeleteFunc(p.Records, func(r *Record) bool { return r.Attrs.IsControl() }),
	}
}

func isOutOfRange(err error) bool { return errors.Is(err, kerr.OffsetOutOfRange) }
