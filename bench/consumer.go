package main

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// lastRow is the text of the last row of a load that is delivered exactly once: there,
// the ends of the topics tell less, since the marks of transactions are in them too.
const lastRow = "this is the last row"

// arrived waits until the topics hold n records between them, by asking for where they
// end: that costs next to nothing, while a consumer would compete with what is measured.
// It returns when the first of them was there.
func (e *engine) arrived(ctx context.Context, connector string, topics []string, n int64) (first time.Time, err error) {
	err = e.stack.broker.admin(func(admin *kadm.Client) error {
		for {
			offsets, err := admin.ListCommittedOffsets(ctx, topics...)
			if err != nil {
				return err
			}
			var have int64
			offsets.Each(func(o kadm.ListedOffset) {
				if o.Err == nil {
					have += o.Offset
				}
			})
			if have > 0 && first.IsZero() {
				first = time.Now()
			}
			if have >= n {
				return nil
			}
			for range 1 + len(topics)/50 { // Asking for many topics is work for the broker.
				if err := e.process.pause(ctx); err != nil {
					return err
				}
			}
			if err := e.healthy(ctx, connector); err != nil {
				return err
			}
		}
	})
	return first, err
}

// lastArrived waits until the last row can be read from a topic, of which n records are
// there already.
func (e *engine) lastArrived(ctx context.Context, topic string, n int64) error {
	at := map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().At(n - 1)}}
	client, err := kgo.NewClient(kgo.SeedBrokers(e.stack.broker.addrs), kgo.ConsumePartitions(at), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.FetchMaxWait(10*time.Millisecond))
	if err != nil {
		return err
	}
	defer client.Close()
	for {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return err
		}
		for _, r := range fetches.Records() {
			if bytes.Contains(r.Value, []byte(lastRow)) {
				return nil
			}
		}
	}
}

// contents is what topics hold.
type contents struct {
	records           int
	keyBytes, allByte int
}

// sizes returns the mean sizes of a key and a value.
func (c contents) sizes() (key, value int) {
	n := max(1, c.records)
	return c.keyBytes / n, (c.allByte - c.keyBytes) / n
}

// read reads topics from their beginning, committed records alone, and fails if they are
// not exactly n: a figure of a run that lost or repeated something is none.
func (b *broker) read(ctx context.Context, topics []string, n int) (c contents, err error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(b.addrs), kgo.ConsumeTopics(topics...), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.MetadataMinAge(10*time.Millisecond))
	if err != nil {
		return c, err
	}
	defer client.Close()
	patience, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for c.records < n {
		fetches := client.PollFetches(patience)
		if err := patience.Err(); err != nil {
			return c, fmt.Errorf("only %d of %d records can be read: %w", c.records, n, err)
		}
		if err := fetches.Err(); err != nil {
			return c, err
		}
		fetches.EachRecord(func(r *kgo.Record) {
			c.records++
			c.keyBytes += len(r.Key)
			c.allByte += len(r.Key) + len(r.Value)
		})
	}
	if c.records != n {
		return c, fmt.Errorf("there are %d records where %d changes were made", c.records, n)
	}
	return c, nil
}
