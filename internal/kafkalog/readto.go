package kafkalog

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// quiet is how long nothing may come before the brokers are asked whether anything will.
const quiet = time.Second

// ReadTo gives the committed records of partitions from some offsets on, up to others
// whatever lies before these, as they are fetched; and nothing at all, which is nil, when
// none has come for a while. With no offsets to read to it goes on. It ends with the first
// error of reading; an [Unanswered] is none: who goes on ranging waits for the brokers.
func ReadTo(ctx context.Context, opts []kgo.Opt, from, to map[string]map[int32]int64) iter.Seq2[kgo.Fetches, error] {
	return func(yield func(kgo.Fetches, error) bool) {
		s := &span{to: to, at: map[string]map[int32]int64{}}
		start := map[string]map[int32]kgo.Offset{}
		for topic, ps := range from {
			start[topic], s.at[topic] = map[int32]kgo.Offset{}, map[int32]int64{}
			for p, at := range ps {
				end, has := to[topic][p]
				s.bounded = s.bounded || has
				if has && at >= end {
					continue
				}
				start[topic][p] = kgo.NewOffset().At(at)
				if has {
					s.at[topic][p] = at
					s.left++
				}
			}
		}
		if s.bounded && s.left == 0 {
			return
		}
		all := append(slices.Clip(opts), kgo.ConsumePartitions(start), kgo.KeepControlRecords(), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
		if s.bounded {
			all = append(all, kgo.FetchMaxWait(quiet)) // Whatever is asked waits as long.
		}
		client, err := kgo.NewClient(all...)
		if err != nil {
			yield(nil, fmt.Errorf("opening a reader: %w", err))
			return
		}
		defer client.Close()
		for !s.bounded || s.left > 0 {
			fetches, err := s.poll(ctx, client)
			_, waits := errors.AsType[*Unanswered](err)
			if !yield(fetches, err) || err != nil && !waits {
				return
			}
		}
	}
}

// Unanswered says that nothing has come for a while, and that the brokers do not say
// whether anything will.
type Unanswered struct{ Cause error }

// Error says what was asked, and what became of it.
func (u *Unanswered) Error() string { return "the brokers do not answer: " + u.Cause.Error() }

// Unwrap returns what became of the question.
func (u *Unanswered) Unwrap() error { return u.Cause }

// span follows how far partitions have still to be read.
type span struct {
	to, at  map[string]map[int32]int64 // Where they end, and where those are that are not there yet.
	left    int
	bounded bool
}

// poll waits for what comes, not for ever when what is read has an end.
func (s *span) poll(ctx context.Context, client *kgo.Client) (kgo.Fetches, error) {
	soon, cancel := ctx, func() {}
	if s.bounded {
		soon, cancel = context.WithTimeout(ctx, quiet)
	}
	fetches := client.PollFetches(soon)
	cancel()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	for _, e := range fetches.Errors() {
		if !s.bounded || !errors.Is(e.Err, context.DeadlineExceeded) {
			return nil, fmt.Errorf("reading topic %s, partition %d: %w", e.Topic, e.Partition, e.Err)
		}
	}
	if fetches.NumRecords() == 0 {
		next, err := Beyond(ctx, client, s.at)
		if err != nil && ctx.Err() == nil {
			return nil, &Unanswered{err}
		}
		for topic, ps := range next {
			for p, at := range ps {
				s.reach(topic, p, at)
			}
		}
		return nil, nil
	}
	for _, f := range fetches {
		for _, t := range f.Topics {
			for i := range t.Partitions {
				s.take(t.Topic, &t.Partitions[i])
			}
		}
	}
	return fetches, nil
}

// take leaves out what is no record or lies behind the end.
func (s *span) take(topic string, fetched *kgo.FetchPartition) {
	n := len(fetched.Records)
	if n == 0 {
		return
	}
	next := fetched.Records[n-1].Offset + 1
	end, has := s.to[topic][fetched.Partition]
	fetched.Records = slices.DeleteFunc(fetched.Records, func(r *kgo.Record) bool { return r.Attrs.IsControl() || has && r.Offset >= end })
	s.reach(topic, fetched.Partition, next)
}

// reach notes how far a partition is read.
func (s *span) reach(topic string, p int32, at int64) {
	if _, reading := s.at[topic][p]; !reading {
		return
	}
	if s.at[topic][p] = at; at >= s.to[topic][p] {
		delete(s.at[topic], p)
		s.left--
	}
}
