package streamstest_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/internal/devstack"
	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/query"
	"github.com/tidemill/tidemill/streams/streamstest"
	"github.com/tidemill/tidemill/streams/topics"
	"github.com/tidemill/tidemill/streams/txn/txntest"
	"github.com/tidemill/tidemill/streams/window"
)

// slid is what came to an account or went from it, by which transaction.
type slid struct {
	lsn                   uint64
	account, amount, time int64
}

// slides is a bank whose accounts are added up over sliding windows, with all that was ever
// written to two of its tables.
type slides struct {
	*bank
	size  int64
	table *streams.Table[window.Windowed[int64], int64]
	wrote []slid
	times timed
	now   int64
	id    int64
}

// newSlides begins at a time, in milliseconds.
func newSlides(t *testing.T, partitions int, now int64) *slides {
	s := &slides{bank: newBankOf(t, partitions), size: 60, times: timed{}, now: now}
	// Nothing is late: what becomes of late records depends on which windows there are.
	s.table = s.flows(window.Sliding(60 * time.Millisecond).Grace(400 * time.Millisecond).Keep(time.Hour))
	return s
}

// transaction writes to both tables, at times that go back by some.
func (s *slides) transaction(rnd *rand.Rand) []txntest.Record {
	s.now += rnd.Int64N(70)
	tx, at := s.db.Begin(), []int64{}
	for range 1 + rnd.IntN(4) {
		table, sign := "debits", int64(-1)
		if rnd.IntN(2) == 0 {
			table, sign = "credits", 1
		}
		s.id++
		r := txntest.Row{ID: s.id, Ref: rnd.Int64N(4), Amount: 1 + rnd.Int64N(100)}
		tx.Set(table, r)
		at = append(at, s.now-rnd.Int64N(150))
		s.wrote = append(s.wrote, slid{s.db.LSN(), r.Ref, sign * r.Amount, at[len(at)-1]})
	}
	records := tx.Commit()
	for i, r := range records {
		s.times[string(r.Value)] = at[min(max(i-1, 0), len(at)-1)]
	}
	return records
}

// want works the windows out as of a transaction: one ends at each time of an account, one
// starts after each that has others behind it, and each has all between its ends.
func (s *slides) want(lsn uint64) map[window.Windowed[int64]]int64 {
	rows := map[window.Windowed[int64]]int64{}
	for _, r := range s.wrote {
		for _, k := range []window.Windowed[int64]{{Key: r.account, Start: r.time - s.size, End: r.time}, {Key: r.account, Start: r.time + 1, End: r.time + 1 + s.size}} {
			sum, some := int64(0), false
			for _, x := range s.wrote {
				if x.lsn <= lsn && x.account == k.Key && x.time >= k.Start && x.time <= k.End {
					sum, some = sum+x.amount, true
				}
			}
			if some && r.lsn <= lsn {
				rows[k] = sum
			}
		}
	}
	return rows
}

// compare reads the table as of one moment and returns which.
func (s *slides) compare(ctx context.Context, rows *query.Rows) (lsn uint64, err error) {
	m, err := rows.Moment()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	if lsn, err = m.LSN(); err != nil {
		return 0, err
	}
	view, got := s.table.View(rows), map[window.Windowed[int64]]int64{}
	err = m.Scan(ctx, rows, nil, nil, func(r query.Row) error {
		rec, err := view.Decode(r)
		if err == nil {
			got[rec.Key] = rec.Value
		}
		return err
	})
	if want := s.want(lsn); err == nil && !maps.Equal(got, want) {
		err = fmt.Errorf("as of %d there is\n%v, want\n%v", lsn, got, want)
	}
	return lsn, err
}

// TestTransactionsSlidingWindows adds up two tables over sliding windows, in any order of
// arrival and with restarts, and compares the windows after each record with those that a
// naive model has for the transaction they are of.
func TestTransactionsSlidingWindows(t *testing.T) {
	for seed := range uint64(8) {
		s := newSlides(t, 1, 1000)
		s.run(true)
		rnd := rand.New(rand.NewPCG(seed, 13))
		records := s.db.Snapshot().Commit()
		for range 25 {
			records = append(records, s.transaction(rnd)...)
		}
		lsns := map[uint64]bool{}
		for _, r := range txntest.Mix(rnd, records) {
			s.putAt(r, s.times)
			if rnd.IntN(10) == 0 {
				s.d.Restart(rnd.IntN(2) == 0)
			}
			lsn, err := s.compare(t.Context(), s.d.Rows("flows"))
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			lsns[lsn] = true
		}
		if !lsns[s.db.LSN()] || len(lsns) < 3 {
			t.Errorf("seed %d: of %d it came to %v", seed, s.db.LSN(), slices.Sorted(maps.Keys(lsns)))
		}
	}
}

// TestRecordsTearSlidingWindows is the same by records.
func TestRecordsTearSlidingWindows(t *testing.T) {
	s := newSlides(t, 1, 1000)
	s.run(false)
	rnd := rand.New(rand.NewPCG(1, 13))
	torn := false
	for range 25 {
		before := s.db.LSN()
		for _, r := range s.transaction(rnd) {
			s.putAt(r, s.times)
			got := streamstest.Table(s.d, s.table)
			torn = torn || !maps.Equal(got, s.want(before)) && !maps.Equal(got, s.want(s.db.LSN()))
		}
	}
	if !torn {
		t.Error("no transaction was torn: the other tests cannot fail")
	}
}

// TestTransactionsSlidingPartitions does so over a broker, with two tables in three
// partitions each, and a process that goes on with what another has left.
func TestTransactionsSlidingPartitions(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	s, brokers := newSlides(t, 3, time.Now().UnixMilli()), devstack.TestKafka(t)
	topology, err := s.b.Build()
	if err != nil {
		t.Fatal(err)
	}
	client, err := topics.Open(brokers)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	partitions := map[string]int{s.db.Source().Topic: 1, s.db.Topic("debits"): 3, s.db.Topic("credits"): 3}
	old := append(topology.InternalTopics("sliding"), slices.Collect(maps.Keys(partitions))...)
	if err := errors.Join(client.Delete(ctx, old...), client.DeleteGroup(ctx, "sliding")); err != nil {
		t.Fatal(err)
	}
	for topic, n := range partitions {
		if err := client.Create(ctx, topics.Spec{Name: topic, Partitions: n}); err != nil {
			t.Fatal(err)
		}
	}
	rnd := rand.New(rand.NewPCG(3, 13))
	write := func(records []txntest.Record) {
		t.Helper()
		for _, r := range txntest.Mix(rnd, records) {
			cl.Produce(ctx, &kgo.Record{Topic: r.Topic, Partition: r.Partition, Key: r.Key, Value: r.Value, Timestamp: time.UnixMilli(s.times[string(r.Value)])}, nil)
		}
		if err := cl.Flush(ctx); err != nil {
			t.Fatal(err)
		}
	}
	first := s.db.Snapshot().Commit()
	for _, r := range first {
		s.times[string(r.Value)] = s.now
	}
	write(first)
	for range 2 {
		e, err := streams.OpenEngine(streams.Config{Brokers: brokers, Dir: t.TempDir(), Logger: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))})
		if err == nil {
			err = e.Add(streams.App{ID: "sliding", Topology: topology, ExactlyOnce: true, CommitInterval: 5 * time.Millisecond, Transactions: s.db.Source()})
		}
		if err != nil {
			t.Fatal(err)
		}
		running, stop := context.WithCancel(ctx)
		done := make(chan error, 1)
		go func() { done <- e.Run(running) }()
		for range 4 {
			var records []txntest.Record
			for range 8 {
				records = append(records, s.transaction(rnd)...)
			}
			write(records)
			for lsn := uint64(0); lsn < s.db.LSN(); {
				rows, err := e.Rows(ctx, "sliding", "flows")
				if err == nil {
					lsn, err = s.compare(ctx, rows)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
		}
		stop()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
}
