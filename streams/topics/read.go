package topics

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

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
	s := &spanReader{left: map[string]map[int32]int64{}, next: map[string]map[int32]int64{}}
	bounded := false
	start := map[string]map[int32]kgo.Offset{}
	for topic, ps := range from {
		start[topic], s.left[topic], s.next[topic] = map[int32]kgo.Offset{}, map[int32]int64{}, maps.Clone(ps)
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
		fetches := poll(ctx, cl, bounded)
		if err := ctx.Err(); err != nil {
			return err
		}
		if bounded && fetches.NumRecords() == 0 && errors.Is(fetches.Err(), context.DeadlineExceeded) {
			s.pass(ctx, cl)
			continue
		}
		if more, err := s.take(fetches, visit); !more || err != nil {
			return err
		}
	}
	return nil
}

// quiet is how long nothing may come before the brokers are asked whether anything will.
const quiet = time.Second

// poll waits for records, not for ever when what is read has an end.
func poll(ctx context.Context, cl *kgo.Client, bounded bool) kgo.Fetches {
	if bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, quiet)
		defer cancel()
	}
	return cl.PollFetches(ctx)
}

// spanReader follows how far each partition has still to be read.
type spanReader struct {
	left map[string]map[int32]int64
	next map[string]map[int32]int64 // Behind the last record that came.
	open int
}

// pass takes out the partitions in which nothing comes before their ends. What is wrong
// with those of which that cannot be known is told by the next fetch.
func (s *spanReader) pass(ctx context.Context, cl *kgo.Client) {
	for topic, ends := range s.left {
		at := map[int32]int64{}
		for p := range ends {
			at[p] = s.next[topic][p]
		}
		next, err := kafkalog.Beyond(ctx, cl, topic, at)
		for p, end := range ends {
			if err == nil && next[p] >= end {
				s.done(topic, p)
			}
		}
	}
}

func (s *spanReader) done(topic string, p int32) {
	delete(s.left[topic], p)
	s.open--
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
		next := p.Records[len(p.Records)-1].Offset + 1
		if s.next[p.Topic][p.Partition] = next; bounded && next >= end {
			s.done(p.Topic, p.Partition)
		}
	})
	return more, err
}
