package streamstest_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/internal/devstack"
	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/query"
	"github.com/tidemill/tidemill/streams/topics"
	"github.com/tidemill/tidemill/streams/txn/txntest"
)

// brokered runs a bank over a broker, with tables in three partitions each.
type brokered struct {
	*bank
	ctx     context.Context
	brokers []string
	client  *topics.Client
	cl      *kgo.Client
	rnd     *rand.Rand
}

func newBrokered(t *testing.T, b *bank, outputs ...string) *brokered {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	t.Cleanup(cancel)
	w := &brokered{bank: b, ctx: ctx, brokers: devstack.TestKafka(t), rnd: rand.New(rand.NewPCG(5, 12))}
	var err error
	if w.client, err = topics.Open(w.brokers); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.client.Close)
	if w.cl, err = kgo.NewClient(kgo.SeedBrokers(w.brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.cl.Close)
	for _, table := range []string{"debits", "credits", "orders", "customers"} {
		outputs = append(outputs, b.db.Topic(table))
	}
	for _, topic := range append(outputs, b.db.Source().Topic) {
		n := 3
		if topic == b.db.Source().Topic {
			n = 1
		}
		if err := w.client.Create(ctx, topics.Spec{Name: topic, Partitions: n}); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// write mixes the records of some transactions, at their times.
func (w *brokered) write(n int, times timed, next func(*rand.Rand, bool) []txntest.Record) {
	w.t.Helper()
	var records []txntest.Record
	for range n {
		records = append(records, next(w.rnd, w.db.LSN() == 1000)...)
	}
	for _, r := range txntest.Mix(w.rnd, records) {
		rec := &kgo.Record{Topic: r.Topic, Partition: r.Partition, Key: r.Key, Value: r.Value}
		if ms := times[string(r.Value)]; ms > 0 {
			rec.Timestamp = time.UnixMilli(ms)
		}
		w.cl.Produce(w.ctx, rec, nil)
	}
	if err := w.cl.Flush(w.ctx); err != nil {
		w.t.Fatal(err)
	}
}

// runs has two engines, one after the other, derive everything. look reads the rows of a
// store and tells what they are true for.
func (w *brokered) runs(app, store string, write func(), look func(context.Context, *query.Rows) (uint64, error)) {
	w.t.Helper()
	topology, err := w.b.Build()
	if err != nil {
		w.t.Fatal(err)
	}
	for range 2 {
		e, err := streams.OpenEngine(streams.Config{
			Brokers: w.brokers, Dir: w.t.TempDir(), // Everything is restored.
			Logger: slog.New(slog.NewTextHandler(w.t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
		})
		if err == nil {
			err = e.Add(streams.App{ID: app, Topology: topology, ExactlyOnce: true, CommitInterval: 5 * time.Millisecond, Transactions: w.db.Source()})
		}
		if err != nil {
			w.t.Fatal(err)
		}
		running, stop := context.WithCancel(w.ctx)
		done := make(chan error, 1)
		go func() { done <- e.Run(running) }()
		for range 4 {
			write()
			rows, err := e.Rows(w.ctx, app, store)
			if err == nil {
				_, err = look(w.ctx, rows)
			}
			if err != nil {
				w.t.Fatal(err)
			}
		}
		for lsn := uint64(0); lsn < w.db.LSN(); {
			rows, err := e.Rows(w.ctx, app, store)
			if err == nil {
				lsn, err = look(w.ctx, rows)
			}
			if err != nil {
				w.t.Fatal(err)
			}
		}
		stop()
		if err := <-done; err != nil {
			w.t.Fatal(err)
		}
	}
}

// sent reads all that was sent to a topic, by the position it is true for.
func (w *brokered) sent(topic string, show func(*kgo.Record) string) map[uint64][]string {
	w.t.Helper()
	all := map[uint64][]string{}
	err := w.client.Read(w.ctx, topic, topics.ToEnd, func(r *kgo.Record) (bool, error) {
		at := lsnIn(r.Headers)
		all[at] = append(all[at], show(r))
		return true, nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return all
}

// TestTransactionsJoinStreamsPartitions joins streams over a broker, in several partitions,
// by a process that goes on with what another has left.
func TestTransactionsJoinStreamsPartitions(t *testing.T) {
	j := newJoined(t, "postings", 3, rand.New(rand.NewPCG(2, 21)), "outer")
	j.now = time.Now().UnixMilli()
	w := newBrokered(t, j.bank, "met")
	w.runs("postings", "counts", func() { w.write(10, j.times, j.post) }, j.moment)
	err := j.compare(w.sent("met", func(r *kgo.Record) string {
		return fmt.Sprintf("%d=%s@%d", int64(binary.BigEndian.Uint64(r.Key)), r.Value, r.Timestamp.UnixMilli())
	}))
	if err != nil {
		t.Fatalf("%+v: %v", j.model.window(), err)
	}
}

// TestTransactionsGlobalPartitions does so with a global table in several partitions.
func TestTransactionsGlobalPartitions(t *testing.T) {
	p := newPriced(t, "priced", 3)
	w := newBrokered(t, p.bank, "inner", "left")
	w.runs("priced", "customers", func() { w.write(10, nil, p.change) }, func(_ context.Context, rows *query.Rows) (lsn uint64, err error) {
		m, err := rows.Moment()
		if err != nil {
			return 0, err
		}
		if lsn, err = m.LSN(); err == nil {
			err = m.Close()
		}
		return lsn, err
	})
	for name := range p.results {
		if err := p.compare(name, w.sent(name, func(r *kgo.Record) string { return string(r.Value) })); err != nil {
			t.Fatal(err)
		}
	}
}
