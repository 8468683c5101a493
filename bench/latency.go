package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/converters/avro"
)

// The load of the latency measurement: so many transactions a second of one row, for
// so long, of which the first are left out.
const (
	latencyRate   = 1000
	latencyFor    = 10 * time.Second
	latencyWarmUp = 2 * time.Second
)

// benchLatency measures the time from a commit, by the server's clock, until a
// consumer has the record, by the clock of the same machine.
func benchLatency(ctx context.Context, o options) ([]figure, error) {
	d, err := startDatabase(ctx)
	if err != nil {
		return nil, err
	}
	defer d.stop()
	w, err := startWorker(ctx, o.binary)
	if err != nil {
		return nil, err
	}
	defer w.stop()
	const name = "latency"
	if err := w.post(ctx, "/connectors", map[string]any{"name": name, "config": d.connector(name, "snapshot.mode", "no_data")}); err != nil {
		return nil, err
	}
	if err := d.followed(ctx, w, name); err != nil {
		return nil, err
	}
	if err := d.exec(ctx, "INSERT INTO load VALUES (0, 1, 1, 1, true, now(), 'a', 'b')"); err != nil {
		return nil, err
	}
	if err := w.arrived(ctx, name, name+".public.load", 1); err != nil {
		return nil, err
	}
	before := w.process.cpu()
	times, err := w.commitToConsumer(ctx, d, name+".public.load")
	if err != nil {
		return nil, err
	}
	cpu, n := w.process.cpu()-before, len(times)
	slices.Sort(times)
	at := func(share float64) float64 { return float64(times[int(share*float64(n-1))].Microseconds()) / 1000 }
	_, peak := w.process.rss()
	all := []figure{
		{Name: "source.latency.p50", Value: at(0.5), Unit: "ms", CPU: perMillion(cpu, n), RSS: peak},
		figure{Name: "source.latency.p99", Value: at(0.99), Unit: "ms"}.held(false, 20),
		{Name: "source.latency.max", Value: at(1), Unit: "ms"},
	}
	for _, f := range all {
		o.show(f)
	}
	return all, nil
}

// followed waits until somebody reads from a slot.
func (d *database) followed(ctx context.Context, w *workerUnderTest, slot string) error {
	for {
		var active bool
		err := d.conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = $1 AND active)", slot).Scan(&active)
		if active || err != nil {
			return err
		}
		if err := w.process.pause(ctx); err != nil {
			return err
		}
	}
}

// commitToConsumer writes rows at a pace and returns how long each took to arrive.
func (w *workerUnderTest) commitToConsumer(ctx context.Context, d *database, topic string) ([]time.Duration, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	total := int(latencyFor.Seconds() * latencyRate)
	work, ctx := errgroup.WithContext(ctx)
	work.Go(func() error { return d.pace(ctx, total) })
	var times []time.Duration
	work.Go(func() (err error) {
		times, err = w.consume(ctx, topic, total)
		return err
	})
	return times, work.Wait()
}

// pace inserts rows one by one, evenly over time.
func (d *database) pace(ctx context.Context, total int) error {
	conn, err := pgx.Connect(ctx, d.url.String())
	if err != nil {
		return err
	}
	defer conn.Close(context.Background())
	// Otherwise the server itself lets a fifth of a second pass before it sends a commit.
	if _, err := conn.Exec(ctx, "SET synchronous_commit = on"); err != nil {
		return err
	}
	began := time.Now()
	for i := 1; i <= total; i++ {
		if early := time.Until(began.Add(time.Duration(i) * time.Second / latencyRate)); early > 0 {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(early):
			}
		}
		if _, err := conn.Exec(ctx, "INSERT INTO load VALUES ($1, 1, 1, 1, true, now(), 'somebody', 'somebody@example.com', 'a city', repeat('n', 90))", i); err != nil {
			return err
		}
	}
	return nil
}

// consume reads the topic and compares each record's time of commit with the clock.
func (w *workerUnderTest) consume(ctx context.Context, topic string, total int) ([]time.Duration, error) {
	converter := avro.Plugins()[0].New()
	if err := converter.Configure(connect.Config{"schema.registry.url": w.registry.URL()}, false); err != nil {
		return nil, err
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(w.brokers), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	var times []time.Duration
	var first int64
	for seen := 0; seen <= total; {
		fetches := client.PollFetches(ctx)
		now := time.Now().UnixMicro()
		if err := fetches.Err(); err != nil && !errors.Is(err, context.Canceled) {
			return nil, err
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		for _, r := range fetches.Records() {
			seen++
			_, v, err := converter.ToConnect(ctx, topic, r.Value)
			if err != nil {
				return nil, fmt.Errorf("reading a record: %w", err)
			}
			committed := v.Struct().Get("source").Struct().Get("ts_us").Int()
			if first == 0 && seen > 1 {
				first = committed
			}
			if seen > 1 && committed-first > latencyWarmUp.Microseconds() {
				times = append(times, time.Duration(now-committed)*time.Microsecond)
			}
		}
	}
	return times, nil
}
