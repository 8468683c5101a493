package main

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// rollingConnectors, of one task each, write while their workers are restarted.
	rollingConnectors = 60
	// rollingRate is how many rows a second each writes: its pauses are known to 20 ms.
	rollingRate = 50
)

// rolled measures for how long tasks do not write while the workers of a fleet are
// restarted one after another, each when the one before is healthy again.
func (s *stack) rolled(ctx context.Context, o options) error {
	what := fmt.Sprintf("%d workers with %d tasks that write, restarted one after another: ", fleetWorkers, rollingConnectors)
	for _, g := range []struct{ name, what, setting string }{
		{"fleet.pause", "", "exactly.once.source.support=disabled"},
		{"fleet.pause.exactly_once", "exactly once, ", "exactly.once.source.support=enabled"},
	} {
		pauses, err := s.rolling(ctx, o.rounds, g.setting)
		if err != nil {
			return err
		}
		f := inMS(g.name, what+g.what+"how long a task does not write, at most", pauses)
		o.report(figure{Name: f.Name, Unit: f.Unit, Value: f.Max, Min: f.Min, Max: f.Max, What: f.What}.held(false, 1000))
		o.report(inMS(g.name+".median", what+g.what+"the same, of half of the tasks", pauses))
	}
	return nil
}

// rolling restarts all workers of a fleet a number of times, and returns the longest pause
// of each task.
func (s *stack) rolling(ctx context.Context, rounds int, setting string) ([]time.Duration, error) {
	all, err := s.fleet(ctx, setting)
	defer func() { ended(all) }()
	if err != nil {
		return nil, err
	}
	var topics []string
	for range rollingConnectors {
		topics = append(topics, s.unique("steady"))
	}
	// The broker's clock tells when a row was written.
	kind := "LogAppendTime"
	if err := s.broker.create(ctx, map[string]*string{"message.timestamp.type": &kind}, topics...); err != nil {
		return nil, err
	}
	for i, topic := range topics {
		if err := all[i%len(all)].created(ctx, topic, steadyConnector(topic)); err != nil {
			return nil, err
		}
	}
	if err := all[0].placed(ctx, len(topics), len(all)); err != nil {
		return nil, err
	}
	if err := s.broker.grown(ctx, topics); err != nil {
		return nil, err
	}
	began := time.Now()
	for range rounds {
		for _, m := range all {
			m.process.stop()
			if err := m.again(ctx); err != nil {
				return nil, err
			}
		}
	}
	if err := all[0].placed(ctx, len(topics), len(all)); err != nil {
		return nil, err
	}
	if err := s.broker.grown(ctx, topics); err != nil {
		return nil, err
	}
	return s.broker.pauses(ctx, topics, began)
}

func steadyConnector(topic string) map[string]string {
	return map[string]string{"connector.class": "tidemill.Datagen", "topic": topic, "quickstart": "orders", "keys": "0", "rate": fmt.Sprint(rollingRate)}
}

// grown waits until each topic, of one partition, has more than it had.
func (b *broker) grown(ctx context.Context, topics []string) error {
	return b.admin(func(admin *kadm.Client) error {
		before, err := admin.ListCommittedOffsets(ctx, topics...)
		for err == nil {
			var now kadm.ListedOffsets
			if now, err = admin.ListCommittedOffsets(ctx, topics...); err != nil {
				return err
			}
			still := false
			now.Each(func(o kadm.ListedOffset) {
				was, _ := before.Lookup(o.Topic, o.Partition)
				still = still || o.Offset <= was.Offset
			})
			if !still {
				return nil
			}
			err = rest(ctx, lookEvery)
		}
		return err
	})
}

// pauses returns, of each topic, the longest time between two rows since then.
func (b *broker) pauses(ctx context.Context, topics []string, since time.Time) (longest []time.Duration, err error) {
	var ends kadm.ListedOffsets
	if err := b.admin(func(admin *kadm.Client) (err error) {
		ends, err = admin.ListCommittedOffsets(ctx, topics...)
		return err
	}); err != nil {
		return nil, err
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(b.addrs), kgo.ConsumeTopics(topics...), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	patience, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	last, most, whole := map[string]time.Time{}, map[string]time.Duration{}, map[string]bool{}
	for len(whole) < len(topics) {
		fetches := client.PollFetches(patience)
		if err := fetches.Err(); err != nil {
			return nil, err
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if end, _ := ends.Lookup(r.Topic, r.Partition); r.Offset+1 >= end.Offset {
				whole[r.Topic] = true
			}
			if r.Attrs.IsControl() {
				return
			}
			if before := last[r.Topic]; !before.IsZero() && r.Timestamp.After(since) {
				most[r.Topic] = max(most[r.Topic], r.Timestamp.Sub(before))
			}
			last[r.Topic] = r.Timestamp
		})
	}
	for _, topic := range topics {
		longest = append(longest, most[topic])
	}
	return longest, nil
}
