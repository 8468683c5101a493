package streamstest_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"maps"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/internal/devstack"
	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/query"
	"github.com/tidemill/tidemill/streams/topics"
)

// capturedWorld is a bank in PostgreSQL that is written to all the time, with a worker
// that captures it and an application over what comes.
type capturedWorld struct {
	t      *testing.T
	ctx    context.Context
	place  place
	ledger *ledger
	client *topics.Client
	stop   chan struct{}
	wrote  chan error
	came   uint64 // the position an application came to
}

// TestCaptured captures a bank with the real source, by a worker in a process of its own,
// and derives tables from it in transaction mode. The worker, the application and the
// source's connection are killed, and go on: every row that is ever sent, and every
// moment at which the tables are read, is of a state that was committed.
func TestCaptured(t *testing.T) {
	for _, exactly := range []bool{true, false} {
		t.Run(fmt.Sprintf("exactly once %v", exactly), func(t *testing.T) { newCapturedWorld(t, exactly).run() })
	}
}

// capturedOutputs are the topics in which every value is 0.
var capturedOutputs = []string{"total", "unbooked", "unseen", "paired", "seen"}

func newCapturedWorld(t *testing.T, exactly bool) *capturedWorld {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	w := &capturedWorld{
		t: t, ctx: ctx, stop: make(chan struct{}), wrote: make(chan error, 2),
		place: place{Brokers: devstack.TestKafka(t), Registry: devstack.TestRegistry(t), DSN: devstack.TestPostgres(t), ID: "bank", ExactlyOnce: exactly},
	}
	var err error
	if w.ledger, err = openLedger(ctx, w.place.DSN); err != nil {
		t.Fatal(err)
	}
	if w.client, err = topics.Open(w.place.Brokers); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.client.Close)
	for _, topic := range append([]string{"fees-by-account"}, capturedOutputs...) {
		if err := w.client.Create(ctx, topics.Spec{Name: topic, Partitions: 2}); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func (w *capturedWorld) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// until waits for a condition.
func (w *capturedWorld) until(what string, ok func() bool) {
	w.t.Helper()
	for !ok() {
		if !breathe(w.ctx) {
			w.t.Fatalf("waited in vain for %s; %d transactions were written", what, w.ledger.count.Load())
		}
	}
}

// records counts what is in a topic.
func (w *capturedWorld) records(topic string) (n int64) {
	w.t.Helper()
	spans, err := w.client.Spans(w.ctx, topic)
	w.must(err)
	for _, s := range spans[topic] {
		n += s.End - s.Start
	}
	return n
}

// goesOn waits until something of some later states was sent to each of some topics.
func (w *capturedWorld) goesOn(what string, topics ...string) {
	w.t.Helper()
	for _, topic := range topics {
		before := w.records(topic)
		w.until(topic+" "+what, func() bool { return w.records(topic) > before+8 })
	}
	w.t.Logf("it goes on %s, %d transactions were written", what, w.ledger.count.Load())
}

func (w *capturedWorld) run() {
	workerDir, appDir := w.t.TempDir(), w.t.TempDir()
	for seed := range uint64(2) {
		go func() { w.wrote <- w.ledger.run(w.ctx, seed, w.stop) }()
	}
	work := w.place.launch(w.t, "worker", workerDir)
	w.until("the snapshot", func() bool { return w.records("bank.public.accounts") > 0 })
	work.kill() // In its midst, or after it.
	work = w.place.launch(w.t, "worker", workerDir)
	app := w.place.launch(w.t, "app", appDir)
	w.goesOn("at first", "total", "paired", "seen")
	w.ledger.rough.Store(true)
	app.kill()
	app = w.place.launch(w.t, "app", appDir)
	w.goesOn("after the application was killed", "total", "paired", "seen")
	work.kill()
	work = w.place.launch(w.t, "worker", workerDir)
	w.goesOn("after the worker was killed", "total", "paired", "seen")
	w.must(w.ledger.exec(w.ctx, "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE database = current_database() AND active"))
	w.must(w.ledger.exec(w.ctx, feesTable))
	w.ledger.fees.Store(true)
	w.goesOn("after the source's connection was cut", "total", "paired", "seen")
	app.kill()

	p := w.place
	p.Dir = appDir
	w.look(p, func() bool {
		select {
		case <-w.stop:
		default:
			work.kill()
			work = w.place.launch(w.t, "worker", workerDir)
			w.goesOn("while it is looked at", "total")
			close(w.stop)
			for range 2 {
				w.must(<-w.wrote)
			}
		}
		return true
	})
	p.Dir = w.t.TempDir() // Everything is restored.
	w.look(p, func() bool { return true })
	p.ID, p.Dir = "fees", w.t.TempDir()
	w.look(p, func() bool { return true })
	work.kill()
	w.checkOutputs()
}

// look runs an application in this process and reads its tables, until it has come to
// what the database has after stop has said that nothing more is written.
func (w *capturedWorld) look(p place, stop func() bool) {
	w.t.Helper()
	c, err := p.captured()
	w.must(err)
	e, err := c.engine(slog.New(slog.NewTextHandler(w.t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})))
	w.must(err)
	ctx, cancel := context.WithCancel(w.ctx)
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	last := uint64(0)
	for range 5 {
		_, last = w.moment(c, e, last)
	}
	stop()
	want, err := w.ledger.sums(w.ctx, p.truth())
	w.must(err)
	if maps.DeleteFunc(want, isZero); len(want) == 0 {
		w.t.Fatalf("the database has nothing to compare %s with", p.ID)
	}
	var got map[int64]int64
	w.until("the last transaction", func() bool {
		if s, err := e.State(p.ID); s == streams.Failed {
			w.t.Fatal(err)
		}
		got, last = w.moment(c, e, last)
		// Where another application has come to, is everything.
		return maps.Equal(got, want) || w.came > 0 && last >= w.came
	})
	if !maps.Equal(got, want) {
		w.t.Fatalf("%s is %v as of %d, the database has %v", p.ID, got, last, want)
	}
	cancel()
	w.must(<-done)
	w.came = last
	w.t.Logf("%s is as of %d after %d transactions", p.ID, last, w.ledger.count.Load())
}

// moment reads all tables at once. It returns the sums by account that the database has too.
func (w *capturedWorld) moment(c *captured, e *streams.Engine, last uint64) (told map[int64]int64, lsn uint64) {
	w.t.Helper()
	var m *query.Moment
	defer func() {
		if m != nil {
			w.must(m.Close())
		}
	}()
	read := func(name string, t *streams.Table[int64, int64]) map[int64]int64 {
		rows, err := e.Rows(w.ctx, c.ID, t.StoreName())
		w.must(err)
		if m == nil {
			m, err = rows.Moment()
			w.must(err)
			lsn, err = m.LSN()
			w.must(err)
		}
		got, view := map[int64]int64{}, t.View(rows)
		w.must(m.Scan(w.ctx, rows, nil, nil, func(r query.Row) error {
			rec, err := view.Decode(r)
			got[rec.Key] = rec.Value
			return err
		}))
		return got
	}
	for name, t := range c.sums {
		sum, rows := int64(0), read(name, t)
		for v := range maps.Values(rows) {
			sum += v
		}
		if sum != 0 {
			w.t.Fatalf("%s as of %d adds up to %d: %v", name, lsn, sum, rows)
		}
		if name == c.compared {
			told = rows
			maps.DeleteFunc(told, isZero) // Of accounts that are gone, too.
		}
	}
	for name, t := range c.zero {
		for k, v := range read(name, t) {
			if v != 0 {
				w.t.Fatalf("%s as of %d has %d for %d", name, lsn, v, k)
			}
		}
	}
	if lsn < last {
		w.t.Fatalf("the state is as of %d, and was as of %d before", lsn, last)
	}
	return told, lsn
}

func isZero(_, v int64) bool { return v == 0 }

// checkOutputs reads everything that was ever sent.
func (w *capturedWorld) checkOutputs() {
	w.t.Helper()
	for _, topic := range capturedOutputs {
		last, n := map[int32]uint64{}, 0
		w.must(w.client.Read(w.ctx, topic, topics.ToEnd, func(r *kgo.Record) (bool, error) {
			n++
			lsn := lsnIn(r.Headers)
			if lsn == 0 || lsn < last[r.Partition] {
				return false, fmt.Errorf("%s, partition %d, is as of %d after %d", topic, r.Partition, lsn, last[r.Partition])
			}
			last[r.Partition] = lsn
			if r.Value != nil && binary.BigEndian.Uint64(r.Value) != 0 {
				return false, fmt.Errorf("%s as of %d has %d for %x", topic, lsn, int64(binary.BigEndian.Uint64(r.Value)), r.Key)
			}
			return true, nil
		}))
		if n == 0 {
			w.t.Errorf("nothing was sent to %s", topic)
		}
		w.t.Logf("%s has %d records", topic, n)
	}
}
