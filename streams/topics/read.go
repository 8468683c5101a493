package topics

import (
	"context"
	"errors"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/internal/kafkalog"
)

// Extent says which records of a topic are read.
type Extent int

// The extents: what is there now; what is there and whatever comes, for ever; only
// what comes from now on.
const (
	ToEnd Extent = iota
	FromStart
	FromNow
)

// Read hands the committed records of a topic to visit, one after another, those
// of a partition in their order, until visit wants no more, ctx is done, or, with
// ToEnd, everything that was there at the call has been visited. visit may keep
// the records.
func (c *Client) Read(ctx context.Context, topic string, extent Extent, visit func(*Record) (more bool, err error)) error {
	spans, err := c.Spans(ctx, topic)
	if err != nil {
		return err
	}
	from, to := map[int32]int64{}, map[int32]int64{}
	for p, s := range spans[topic] {
		from[p], to[p] = s.Start, s.End
		if extent == FromNow {
			from[p] = s.End
		}
	}
	if extent != ToEnd {
		to = nil
	}
	return c.ReadSpan(ctx, map[string]map[int32]int64{topic: from}, map[string]map[int32]int64{topic: to}, func(rs []*Record) (bool, error) {
		for _, r := range rs {
			if more, err := visit(r); !more || err != nil {
				return false, err
			}
		}
		return true, nil
	})
}

// ReadSpan hands committed records from the given offsets on to visit, in batches
// of one partition. It returns when all partitions named in to have been read up
// to there; without any it goes on. Ends that lie behind the marks of transactions
// or removed records are recognised.
func (c *Client) ReadSpan(ctx context.Context, from, to map[string]map[int32]int64, visit func([]*Record) (more bool, err error)) error {
	more := true
	for fetches, err := range kafkalog.ReadTo(ctx, append(slices.Clone(c.opts), kgo.ConsumeResetOffset(kgo.NoResetOffset())), from, to) {
		if _, waits := errors.AsType[*kafkalog.Unanswered](err); waits {
			continue // They come back.
		}
		fetches.EachPartition(func(p kgo.FetchTopicPartition) {
			if more && err == nil && len(p.Records) > 0 {
				more, err = visit(p.Records)
			}
		})
		if !more || err != nil {
			return err
		}
	}
	return nil
}
