package streams

import (
	"fmt"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/streams/serde"
	"github.com/tidemill/tidemill/streams/topics"
)

// lookedUp joins each record with the row of a table by hand.
func lookedUp(s *Stream[string, string], table *Table[string, string]) *Stream[string, string] {
	table = table.Stored()
	s, _, _ = s.GroupByKey(serde.Text{}, serde.Text{}).Stream()
	return Process(s, func(c *Context[string, string]) (func(*Record[string, string]) error, error) {
		rows, err := table.RowsIn(c)
		return func(r *Record[string, string]) error {
			row, _, found, err := rows.Get(r.Key)
			if err != nil {
				return err
			}
			return c.Forward(&Record[string, string]{Key: r.Key, Value: fmt.Sprint(r.Value, " ", row, " ", found), Time: r.Time})
		}, err
	}, With{CoPartitioned: true}, table.Reading())
}

// TestLookupInOrderOfTime looks up, for a backlog of orders, customers that
// are all older. Every order must find its customer, and come out once, although
// what is fetched but has to wait is held back over many commits and a crash.
func TestLookupInOrderOfTime(t *testing.T) {
	for name, eos := range guarantees {
		t.Run(name, func(t *testing.T) { lookupInOrder(t, eos) })
	}
}

func lookupInOrder(t *testing.T, eos bool) {
	const customers, orders = 6000, 3000
	w := newWorld(t)
	w.create("customers", 4)
	w.create("orders", 4)
	// The first orders are of the last customers.
	key := func(topic string, i int) int {
		if topic == "orders" {
			return customers - 1 - i
		}
		return i
	}
	backlog := func(topic string, n int, start time.Time) {
		rs := make([]*kgo.Record, n)
		for i := range rs {
			rs[i] = &kgo.Record{
				Topic: topic, Key: fmt.Append(nil, key(topic, i)), Value: fmt.Append(nil, topic[:1], i),
				Timestamp: start.Add(time.Duration(i) * time.Millisecond),
			}
		}
		for len(rs) > 0 { // Small batches make many fetches.
			if err := w.client.Produce(w.ctx, rs[:100]...); err != nil {
				t.Fatal(err)
			}
			rs = rs[100:]
		}
	}
	now := time.Now()
	backlog("orders", orders, now.Add(-10*time.Minute))
	backlog("customers", customers, now.Add(-30*time.Minute))

	b := NewBuilder()
	table := TableFrom(b, "customers", serde.Text{}, serde.Text{})
	lookedUp(From(b, "orders", serde.Text{}, serde.Text{}), table).To("out", serde.Text{}, serde.Text{})
	topology, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	app, dir := App{ID: "j", Topology: topology, ExactlyOnce: eos, CommitInterval: time.Millisecond, MaxIdle: 5 * time.Second}, t.TempDir()
	// Many small fetches leave records of one topic waiting for those of the other.
	small := func(e *Engine) { e.cfg.Client = []kgo.Opt{kgo.FetchMaxPartitionBytes(1 << 10)} }
	var commits atomic.Int32
	e := w.start(dir, app, func(e *Engine) {
		small(e)
		e.crash = func(at string) error {
			if at == "offsets committed" && commits.Add(1) >= 1 {
				return errCrash
			}
			return nil
		}
	})
	w.wait("the crash", func() bool { return commits.Load() >= 1 })
	e.end()
	e = w.start(dir, app, small)
	seen := map[string]int{}
	w.wait("all orders to come out", func() bool {
		clear(seen)
		err := w.client.Read(w.ctx, "out", topics.ToEnd, func(r *kgo.Record) (bool, error) {
			seen[string(r.Value)]++
			return true, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return len(seen) >= orders
	})
	for i := range orders {
		want := fmt.Sprintf("o%d c%d true", i, key("orders", i))
		if n := seen[want]; n == 0 || eos && n != 1 {
			t.Fatalf("%q came out %d times", want, n)
		}
	}
	if len(seen) != orders {
		t.Errorf("%d different results, want %d", len(seen), orders)
	}
	e.end()
}

// TestMarksOfTransactionsAreRead merges a topic that ends with the marks of transactions,
// one of which came to nothing, with a topic whose records are later: there is nothing to
// wait for, however long a task may.
func TestMarksOfTransactionsAreRead(t *testing.T) {
	for name, eos := range guarantees {
		t.Run(name, func(t *testing.T) {
			readMarks(t, eos, "early-"+strconv.FormatBool(eos), "late-"+strconv.FormatBool(eos))
		})
	}
}

func readMarks(t *testing.T, eos bool, early, late string) {
	w := newWorld(t)
	w.create(early, 1)
	w.create(late, 1)
	writer, err := kgo.NewClient(kgo.SeedBrokers(w.brokers...), kgo.TransactionalID("writer"))
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	for _, end := range []kgo.TransactionEndTry{kgo.TryCommit, kgo.TryAbort} {
		if err := writer.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := writer.ProduceSync(w.ctx, &kgo.Record{Topic: early, Key: []byte("k"), Value: []byte("early")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if err := writer.EndTransaction(w.ctx, end); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.client.Produce(w.ctx, &kgo.Record{Topic: late, Key: []byte("k"), Value: []byte("late"), Timestamp: time.Now().Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}

	b := NewBuilder()
	From(b, early, serde.Text{}, serde.Text{}).Merge(From(b, late, serde.Text{}, serde.Text{})).To("out", serde.Text{}, serde.Text{})
	topology, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	e := w.start(t.TempDir(), App{ID: "m", Topology: topology, ExactlyOnce: eos, CommitInterval: time.Millisecond, MaxIdle: time.Hour})
	var seen []string
	w.wait("the later record to come out", func() bool {
		seen = nil
		err := w.client.Read(w.ctx, "out", topics.ToEnd, func(r *kgo.Record) (bool, error) {
			seen = append(seen, string(r.Value))
			return true, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return len(seen) >= 2
	})
	if fmt.Sprint(seen) != "[early late]" {
		t.Errorf("%v came out", seen)
	}
	e.end()
}
