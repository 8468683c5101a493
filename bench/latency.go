package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"
)

// pacing is the load of a latency measurement: transactions of one row at a fixed rate,
// the first fifth of which is left out.
type pacing struct {
	rate int
	last time.Duration
}

func (p pacing) total() int { return max(10, int(p.last.Seconds()*float64(p.rate))) }

// benchLatency measures the time from a commit until a consumer has the record, and
// beside it that of a bare producer's records to the same kind of consumer.
func benchLatency(ctx context.Context, o options) error {
	b, err := newBed(ctx, o)
	if err != nil {
		return err
	}
	defer b.stop()
	p := pacing{o.rate, o.latency}
	bare, err := b.engine.stack.broker.latency(ctx, b.engine.stack.unique("bare"), p)
	if err != nil {
		return err
	}
	times, used, err := b.engine.latency(ctx, b.database, p)
	if err != nil {
		return err
	}
	for _, f := range latencyFigures("source.latency.", producerName+" to a consumer", times, bare) {
		if f.What = p.what(); f.Name == "source.latency.p99_ms" {
			f.CPU = perMillion(used.worker, p.total())
			_, f.RSS = b.engine.memory()
			f = f.within(f.Value, "ms", false, 20)
		}
		o.report(f)
	}
	return nil
}

func (p pacing) what() string {
	return fmt.Sprintf("from commit to a consumer, %s transactions of one row a second", grouped(fmt.Sprint(p.rate)))
}

// latencyFigures are the quantiles of ours beside those of a limit.
func latencyFigures(prefix, limitName string, ours, limits []time.Duration) []figure {
	var all []figure
	for _, q := range []struct {
		name  string
		share float64
	}{{"p50_ms", 0.5}, {"p99_ms", 0.99}, {"max_ms", 1}} {
		f := figure{Name: prefix + q.name, Unit: "ms", Value: quantile(ours, q.share), Limit: limitName, LimitValue: quantile(limits, q.share)}
		f.Ratio = f.Value / f.LimitValue
		all = append(all, f)
	}
	return all
}

// quantile returns, in milliseconds, the time that this share of all stays under.
func quantile(times []time.Duration, share float64) float64 {
	if len(times) == 0 {
		return 0
	}
	times = slices.Clone(times)
	slices.Sort(times)
	return float64(times[int(share*float64(len(times)-1))].Microseconds()) / 1000
}

// latency writes rows at a pace and returns how long each took from its commit, by the
// server's own clock and record of commits, until a consumer had it. Nothing is taken
// from what the records themselves say, except which row they are.
func (e *engine) latency(ctx context.Context, d *database, p pacing, more ...string) (times []time.Duration, used usage, err error) {
	name := e.stack.unique("latency")
	l := load{tables: []string{"load"}}
	if err := d.exec(ctx, "TRUNCATE load"); err != nil {
		return nil, used, err
	}
	if err := e.created(ctx, name, d.connector(name, l.included(), append(more, "snapshot.mode", "no_data")...)); err != nil {
		return nil, used, err
	}
	if err := e.followed(ctx, d, name); err != nil {
		return nil, used, err
	}
	topics := l.topics(name)
	// The first row makes the topic, its schemas and so on; it is not measured.
	if err := d.exec(ctx, "INSERT INTO load VALUES (0, 1, 1, 1, true, now(), 'a', 'b')"); err != nil {
		return nil, used, err
	}
	if _, err := e.arrived(ctx, name, topics, 1); err != nil {
		return nil, used, err
	}
	before := e.usage(ctx, d)
	seen := make(map[int64]time.Time, p.total())
	work, within := errgroup.WithContext(ctx)
	work.Go(func() error { return d.pace(within, p) })
	work.Go(func() error { return e.stack.broker.watch(within, topics[0], p.total(), seen) })
	if err := work.Wait(); err != nil {
		return nil, used, err
	}
	used = e.usage(ctx, d).since(before)
	if times, err = d.sinceCommit(ctx, seen, p.total()/5); err != nil {
		return nil, used, err
	}
	if err := e.deleted(ctx, name); err != nil {
		return nil, used, err
	}
	return times, used, errors.Join(d.dropSlot(ctx, name), e.stack.broker.remove(ctx, topics...))
}

// pace inserts rows one by one, evenly over time.
func (d *database) pace(ctx context.Context, p pacing) error {
	conn, err := pgx.Connect(ctx, d.url.String())
	if err != nil {
		return err
	}
	defer conn.Close(context.Background())
	// Otherwise the server itself lets a fifth of a second pass before it sends a commit.
	if _, err := conn.Exec(ctx, "SET synchronous_commit = on"); err != nil {
		return err
	}
	return p.evenly(ctx, func(i int) error {
		_, err := conn.Exec(ctx, "INSERT INTO load VALUES ($1, 1, 1, 1, true, now(), 'somebody', 'somebody@example.com', 'a city', repeat('n', 90))", i)
		return err
	})
}

// evenly calls do with 1, 2 and so on, evenly over time.
func (p pacing) evenly(ctx context.Context, do func(i int) error) error {
	began := time.Now()
	for i := 1; i <= p.total(); i++ {
		if early := time.Until(began.Add(time.Duration(i) * time.Second / time.Duration(p.rate))); early > 0 {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(early):
			}
		}
		if err := do(i); err != nil {
			return err
		}
	}
	return nil
}

// watch reads a topic until it has seen the rows 1 to n, and notes when.
func (b *broker) watch(ctx context.Context, topic string, n int, seen map[int64]time.Time) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(b.addrs), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.MetadataMinAge(10*time.Millisecond))
	if err != nil {
		return err
	}
	defer client.Close()
	for len(seen) < n {
		fetches := client.PollFetches(ctx)
		now := time.Now()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := fetches.Err(); err != nil {
			return err
		}
		for _, r := range fetches.Records() {
			id, err := keyID(r.Key)
			if err != nil {
				return err
			}
			if id > 0 {
				seen[id] = now
			}
		}
	}
	return nil
}

// keyID returns the id in a key {id}, be it JSON with or without its schema, or Avro
// behind the five bytes that name its schema: https://avro.apache.org/docs/1.12.0/specification/#binary-encoding.
func keyID(key []byte) (int64, error) {
	if len(key) > 5 && key[0] == 0 {
		if id, n := binary.Varint(key[5:]); n > 0 {
			return id, nil
		}
	}
	var k struct {
		ID      *int64
		Payload struct{ ID *int64 }
	}
	if err := json.Unmarshal(key, &k); err != nil {
		return 0, fmt.Errorf("a record's key %q is neither Avro nor JSON: %w", key, err)
	}
	if k.ID == nil {
		k.ID = k.Payload.ID
	}
	if k.ID == nil {
		return 0, fmt.Errorf("a record's key %q has no id", key)
	}
	return *k.ID, nil
}

// sinceCommit returns how long after its commit each row was seen, without those up to
// skip, for which nobody was warm yet.
func (d *database) sinceCommit(ctx context.Context, seen map[int64]time.Time, skip int) ([]time.Duration, error) {
	rows, err := d.conn.Query(ctx, "SELECT id, pg_xact_commit_timestamp(xmin) FROM load WHERE id > $1", skip)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var times []time.Duration
	for rows.Next() {
		var id int64
		var committed time.Time
		if err := rows.Scan(&id, &committed); err != nil {
			return nil, err
		}
		at, ok := seen[id]
		if !ok {
			return nil, fmt.Errorf("row %d was never seen", id)
		}
		times = append(times, at.Sub(committed))
	}
	return times, rows.Err()
}

// latency produces records at a pace, each at once, and returns how long each took to a
// consumer.
func (b *broker) latency(ctx context.Context, topic string, p pacing) ([]time.Duration, error) {
	if err := b.create(ctx, nil, topic); err != nil {
		return nil, err
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(b.addrs), kgo.DefaultProduceTopic(topic), kgo.ProducerLinger(0), kgo.MetadataMinAge(10*time.Millisecond))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	seen, sent := make(map[int64]time.Time, p.total()), make([]time.Time, p.total()+1)
	value := make([]byte, 350)
	work, within := errgroup.WithContext(ctx)
	work.Go(func() error { return b.watch(within, topic, p.total(), seen) })
	work.Go(func() error {
		return p.evenly(within, func(i int) error {
			key := binary.AppendVarint(make([]byte, 5, 16), int64(i))
			sent[i] = time.Now()
			client.Produce(within, &kgo.Record{Key: key, Value: value}, func(_ *kgo.Record, err error) {})
			return nil
		})
	})
	if err := work.Wait(); err != nil {
		return nil, err
	}
	var times []time.Duration
	for i := p.total()/5 + 1; i <= p.total(); i++ {
		times = append(times, seen[int64(i)].Sub(sent[i]))
	}
	return times, b.remove(ctx, topic)
}
