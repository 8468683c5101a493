package topics

import (
	"context"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"
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
	s := &spanReader{left: map[string]map[int32]int64{}}
	bounded := false
	start := map[string]map[int32]kgo.Offset{}
	for topic, ps := range from {
		start[topic], s.left[topic] = map[int32]kgo.Offset{}, map[int32]int64{}
		for p, at := range ps {
			end, has := to[topic][p]
			bounded = bounded || has
			if has && at >= end {
				continue
			}
			start[topic][p] = kgo.NewOffset().At(at)
			if has {
				s.left[topic][p] = end
				s.open++
			}
		}
	}
	if bounded && s.open == 0 {
		return nil
	}
	cl, err := kgo.NewClient(append(slices.Clone(c.opts), kgo.ConsumePartitions(start), kgo.KeepControlRecords(),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumeResetOffset(kgo.NoResetOffset()))...)
	if err != nil {
		return fmt.Errorf("opening a reader: %w", err)
	}
	defer cl.Close()
	for !bounded || s.open > 0 {
		fetches := cl.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			return err
		}
		if more, err := s.take(fetches, visit); !more || err != nil {
			return err
		}
	}
	return nil
}

// spanReader follows how far each partition has still to be read.
type spanReader struct {
	left map[string]map[int32]int64
	open int
}

func (s *spanReader) take(fetches kgo.Fetches, visit func([]*Record) (bool, error)) (more bool, err error) {
	more = true
	fetches.EachPartition(func(p kgo.FetchTopicPartition) {
		if !more || err != nil {
			return
		}
		if p.Err != nil {
			err = fmt.Errorf("reading topic %s, partition %d: %w", p.Topic, p.Partition, p.Err)
			return
		}
		if len(p.Records) == 0 {
			return
		}
		end, bounded := s.left[p.Topic][p.Partition]
		var batch []*Record
		for _, r := range p.Records {
			if !r.Attrs.IsControl() && (!bounded || r.Offset < end) {
				batch = append(batch, r)
			}
		}
		if len(batch) > 0 {
			more, err = visit(batch)
		}
		if bounded && p.Records[len(p.Records)-1].Offset+1 >= end {
			delete(s.left[p.Topic], p.Partition)
			s.open--
		}
	})
	return more, err
}
