package streamstest_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/cogroup"
	"github.com/tidemill/tidemill/streams/serde"
	"github.com/tidemill/tidemill/streams/streamstest"
	"github.com/tidemill/tidemill/streams/txn/txntest"
	"github.com/tidemill/tidemill/streams/window"
)

// flow is what an event of a table adds to its account, times sign.
func (b *bank) flow(table string, sign int64) *streams.Stream[int64, int64] {
	return streams.Map(b.cdc(table).Stream(b.b), func(r streams.Record[connect.Value, streams.Change[connect.Value]]) streams.Record[int64, int64] {
		row := txntest.RowOf(r.Value.New)
		return streams.Record[int64, int64]{Key: row.Ref, Value: sign * row.Amount, Time: r.Time}
	})
}

// flows adds up what came to and went from each account in each window. Over all accounts
// that is 0 in every state that was committed.
func (b *bank) flows(w window.Windows) *streams.Table[window.Windowed[int64], int64] {
	both := b.flow("debits", -1).Merge(b.flow("credits", 1))
	grouped := both.GroupByKey(serde.Int64{}, serde.Int64{}, streams.With{Name: "flows-by-account", Partitions: 2})
	return window.Aggregate(grouped, w, window.Aggregation[int64, int64, int64]{
		Init:  func() int64 { return 0 },
		Add:   func(_, v, sum int64) int64 { return sum + v },
		Merge: func(_, a, b int64) int64 { return a + b },
	}, serde.Int64{}, streams.With{Name: "flows", Store: "flows"})
}

// timed has the times of records, by their values.
type timed map[string]int64

// transfers returns the records of a transaction of transfers at the given times, of
// which each has its debit before all credits.
func (b *bank) transfersAt(rnd *rand.Rand, times timed, first int64, at ...int64) []txntest.Record {
	tx := b.db.Begin()
	for _, table := range []string{"debits", "credits"} {
		for n := range at {
			tx.Set(table, txntest.Row{ID: first + int64(n), Ref: rnd.Int64N(4), Amount: 10 + int64(n)})
		}
	}
	records := tx.Commit()
	for i, r := range records {
		times[string(r.Value)] = at[max(i-1, 0)%len(at)]
	}
	return records
}

// putAt puts a record in with its time.
func (b *bank) putAt(r txntest.Record, times timed) {
	b.t.Helper()
	if !b.inTransactions && r.Topic == b.db.Source().Topic {
		return
	}
	streamstest.In(b.d, r.Topic, serde.Bytes{}, serde.Bytes{}).Record(streams.Record[[]byte, []byte]{
		Key: r.Key, Value: r.Value, NoKey: r.Key == nil, NoValue: r.Value == nil, Time: times[string(r.Value)],
	})
}

// windowsWorld feeds transactions, of which the times jump, in any order they may arrive
// in. It returns how often the sum of a window over all accounts was not 0.
func (b *bank) windowsWorld(rnd *rand.Rand, table *streams.Table[window.Windowed[int64], int64], restarts bool) (torn, seen int) {
	b.t.Helper()
	times := timed{}
	records := b.db.Snapshot().Set("debits", txntest.Row{ID: 0, Ref: 1, Amount: 5}).Set("credits", txntest.Row{ID: 0, Ref: 2, Amount: 5}).Commit()
	for _, r := range records {
		times[string(r.Value)] = 1000
	}
	now := int64(1000)
	for n := range int64(25) {
		now += rnd.Int64N(120)
		// A later moment first, and then one that is over by it.
		records = append(records, b.transfersAt(rnd, times, 10+n*3, now+rnd.Int64N(300), now, max(now-rnd.Int64N(200), 0))...)
	}
	for _, r := range txntest.Mix(rnd, records) {
		b.putAt(r, times)
		if restarts && rnd.IntN(10) == 0 {
			b.d.Restart(rnd.IntN(2) == 0)
		}
		sums := map[int64]int64{}
		for k, v := range streamstest.Table(b.d, table) {
			sums[k.Start] += v
			seen++
		}
		for _, sum := range sums {
			if sum != 0 {
				torn++
			}
		}
	}
	return torn, seen
}

// TestTransactionsWindows has transactions whose records are late by each other: they
// count as a whole or not at all, and windows are passed on when they have closed, those of
// all accounts at once, once and as they stay.
func TestTransactionsWindows(t *testing.T) {
	for seed := range uint64(6) {
		b := newBank(t)
		flows := b.flows(window.Tumbling(100 * time.Millisecond).Grace(50 * time.Millisecond).Keep(time.Hour))
		window.UntilClosed(flows, window.Bounds{}, streams.With{Name: "closed"}).ToStream().
			To("closed", window.TimeKeys(serde.Int64{}, 100*time.Millisecond), serde.Int64{})
		b.run(true)
		rnd := rand.New(rand.NewPCG(seed, 9))
		if torn, seen := b.windowsWorld(rnd, flows, true); torn > 0 || seen == 0 {
			t.Fatalf("seed %d: %d of %d windows do not add up to 0", seed, torn, seen)
		}
		final, sums := map[window.Windowed[int64]]int64{}, map[int64]int64{}
		for _, r := range streamstest.Out(b.d, "closed", window.TimeKeys(serde.Int64{}, 100*time.Millisecond), serde.Int64{}).Read() {
			if _, twice := final[r.Key]; twice {
				t.Fatalf("seed %d: %v was passed on twice", seed, r.Key)
			}
			final[r.Key] = r.Value
			sums[r.Key.Start] += r.Value
		}
		for start, sum := range sums {
			if sum != 0 {
				t.Errorf("seed %d: the closed windows at %d add up to %d", seed, start, sum)
			}
		}
		for k, v := range streamstest.Table(b.d, flows) {
			if was, closed := final[k]; closed && was != v {
				t.Errorf("seed %d: %v was %d when it had closed, and is %d", seed, k, was, v)
			}
		}
		if len(final) < 10 {
			t.Errorf("seed %d: only %d windows were passed on", seed, len(final))
		}
	}
}

// TestTransactionsOtherWindows is the same for hopping windows and for sessions, of which
// each account has its own: what came and went over all of them is 0.
func TestTransactionsOtherWindows(t *testing.T) {
	kinds := map[string]window.Windows{
		"hopping": window.Hopping(100*time.Millisecond, 20*time.Millisecond).Grace(50 * time.Millisecond).Keep(time.Hour),
		"session": window.Session(50 * time.Millisecond).Grace(30 * time.Millisecond).Keep(time.Hour),
	}
	for name, w := range kinds {
		b := newBank(t)
		flows := b.flows(w)
		b.run(true)
		rnd := rand.New(rand.NewPCG(1, 9))
		if name == "hopping" {
			if torn, seen := b.windowsWorld(rnd, flows, true); torn > 0 || seen == 0 {
				t.Errorf("%s: %d of %d windows do not add up to 0", name, torn, seen)
			}
			continue
		}
		b.windowsWorld(rnd, flows, true)
		sum := int64(0)
		for _, v := range streamstest.Table(b.d, flows) {
			sum += v
		}
		if sum != 0 {
			t.Errorf("%s: all sessions add up to %d", name, sum)
		}
	}
}

// TestRecordsTearWindows is the same by records.
func TestRecordsTearWindows(t *testing.T) {
	b := newBank(t)
	flows := b.flows(window.Tumbling(100 * time.Millisecond).Grace(50 * time.Millisecond).Keep(time.Hour))
	b.run(false)
	if torn, _ := b.windowsWorld(rand.New(rand.NewPCG(1, 9)), flows, false); torn == 0 {
		t.Error("no window was torn: the other tests cannot fail")
	}
}

// TestTransactionsCogroup brings the streams of two tables together in one aggregate.
func TestTransactionsCogroup(t *testing.T) {
	b := newBank(t)
	add := func(_, v, sum int64) int64 { return sum + v }
	group := func(s *streams.Stream[int64, int64], name string) *streams.Grouped[int64, int64] {
		return s.GroupByKey(serde.Int64{}, serde.Int64{}, streams.With{Name: name, Partitions: 2})
	}
	both := cogroup.Together(cogroup.Of(group(b.flow("debits", -1), "out"), add), cogroup.Of(group(b.flow("credits", 1), "in"), add))
	sums := streams.Aggregate(both, cogroup.From[int64](func() int64 { return 0 }), serde.Int64{}, streams.With{Name: "sums", Store: "sums"})
	b.run(true)
	rnd := rand.New(rand.NewPCG(1, 9))
	for _, r := range txntest.Mix(rnd, b.transfers(rnd, 20)) {
		b.put(r)
		total := int64(0)
		for _, v := range streamstest.Table(b.d, sums) {
			total += v
		}
		if total != 0 {
			t.Fatalf("all accounts have %d", total)
		}
	}
}
