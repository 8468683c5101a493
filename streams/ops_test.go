package streams

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams/clock"
	"github.com/tidemill/tidemill/streams/fault"
	"github.com/tidemill/tidemill/streams/serde"
	"github.com/tidemill/tidemill/streams/state"
	"github.com/tidemill/tidemill/streams/topics"
)

// all reads what is committed in a topic.
func (w *world) all(topic string) (rs []*kgo.Record) {
	w.t.Helper()
	n, err := w.client.Partitions(w.ctx, topic)
	if err != nil {
		w.t.Fatal(err)
	}
	if n == 0 {
		return nil
	}
	err = w.client.Read(w.ctx, topic, topics.ToEnd, func(r *kgo.Record) (bool, error) {
		rs = append(rs, r)
		return true, nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return rs
}

// distinct is all, without those whose key and input were there before.
func (w *world) distinct(topic string) (rs []*kgo.Record) {
	w.t.Helper()
	seen := map[string]bool{}
	for _, r := range w.all(topic) {
		id := string(r.Key)
		for _, h := range r.Headers {
			if h.Key == fault.HeaderOffset || h.Key == fault.HeaderPartition {
				id += "/" + string(h.Value)
			}
		}
		if !seen[id] {
			seen[id] = true
			rs = append(rs, r)
		}
	}
	return rs
}

func (w *world) drop(names ...string) {
	w.t.Helper()
	if err := w.client.Delete(w.ctx, names...); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) built(b *Builder) *Topology {
	w.t.Helper()
	topology, err := b.Build()
	if err != nil {
		w.t.Fatal(err)
	}
	return topology
}

// TestPartitionBy writes records where their stream wants them, in a topic of others
// and in a repartition topic that has more partitions than the input.
func TestPartitionBy(t *testing.T) {
	w := newWorld(t)
	w.drop("pb-spread-repartition", "pb-seen-changelog")
	b := NewBuilder()
	size := func(r Record[string, string], partitions int) int { return len(r.Value) % partitions }
	in := From(b, "in", serde.Text{}, serde.Text{})
	in.PartitionBy(func(r Record[string, string], partitions int) int { return size(r, partitions+1) - 1 }).
		To("out", serde.Text{}, serde.Text{})
	in.PartitionBy(size).Repartition(serde.Text{}, serde.Text{}, With{Name: "spread", Partitions: 7}).
		ToTable(serde.Text{}, serde.Text{}, With{Store: "seen"})
	for i := range 40 {
		r := &kgo.Record{Topic: "in", Key: []byte(fmt.Sprint("k", i)), Value: make([]byte, i)}
		if err := w.client.Produce(w.ctx, r); err != nil {
			t.Fatal(err)
		}
	}
	e := w.start("", App{ID: "pb", Topology: w.built(b)})
	w.wait("all records", func() bool { return len(w.all("out")) == 40 && len(w.all("pb-seen-changelog")) == 40 })
	for _, r := range w.all("out") {
		want := int32(len(r.Value)%5 - 1)
		if want < 0 {
			want = partitionOf(r.Key, 4)
		}
		if r.Partition != want {
			t.Errorf("a record of %d bytes is in partition %d, want %d", len(r.Value), r.Partition, want)
		}
	}
	for _, r := range w.all("pb-seen-changelog") {
		if r.Partition != int32(len(r.Value)%7) {
			t.Errorf("a record of %d bytes was processed in partition %d", len(r.Value), r.Partition)
		}
	}
	e.end()
}

func TestPartitionByOutside(t *testing.T) {
	w := newWorld(t)
	b := NewBuilder()
	From(b, "in", serde.Text{}, serde.Text{}).PartitionBy(func(Record[string, string], int) int { return 4 }).To("out", serde.Text{}, serde.Text{})
	w.put(1)
	e := w.start("", App{ID: "po", Topology: w.built(b)})
	w.wait("the failure", func() bool { s, _ := e.State("po"); return s == Failed })
	_, err := e.State("po")
	if ce, ok := errors.AsType[*connect.Error](err); !ok || ce.Code != "streams.partition" {
		t.Errorf("failed with %v", err)
	}
	e.end()
}

// ticking counts punctuations in a store and forwards the count.
func ticking(c *Context[string, int64]) (func(*Record[string, string]) error, error) {
	store, err := c.Store("ticks")
	if err != nil {
		return nil, err
	}
	var row []byte
	_, err = c.Schedule(5*time.Millisecond, clock.WallClock, func(ms int64) error {
		n, found, err := int64(1), false, error(nil)
		if row, found, err = store.Get(row[:0], []byte("n")); err != nil {
			return err
		}
		if found {
			n += int64(binary.BigEndian.Uint64(row))
		}
		if err := store.Put([]byte("n"), binary.BigEndian.AppendUint64(nil, uint64(n))); err != nil {
			return err
		}
		return c.Forward(&Record[string, int64]{Key: fmt.Sprint(c.Partition()), Value: n, Time: ms})
	})
	return func(*Record[string, string]) error { return nil }, err
}

// TestWallClockWithoutRecords lets wall-clock punctuations count in a store, with no
// record in the topic, over a restart: each count is there once, and none is missing.
func TestWallClockWithoutRecords(t *testing.T) {
	for name, eos := range guarantees {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.drop("tick-ticks-changelog")
			b := NewBuilder()
			Process(From(b, "in", serde.Text{}, serde.Text{}), ticking, With{Stores: []state.Spec{{Name: "ticks"}}}).
				To("out", serde.Text{}, serde.Int64{})
			app, dir := App{ID: "tick", Topology: w.built(b), ExactlyOnce: eos, CommitInterval: 10 * time.Millisecond}, t.TempDir()
			for range 2 {
				before := len(w.all("out"))
				e := w.start(dir, app)
				w.wait("punctuations", func() bool { return len(w.all("out")) > before+40 })
				e.end()
			}
			counts := map[string][]int64{}
			for _, r := range w.all("out") {
				counts[string(r.Key)] = append(counts[string(r.Key)], int64(binary.BigEndian.Uint64(r.Value)))
			}
			if len(counts) != 4 {
				t.Errorf("%d tasks counted, want 4", len(counts))
			}
			for key, ns := range counts {
				slices.Sort(ns)
				for i, n := range ns {
					if n != int64(i+1) {
						t.Fatalf("task %s counted %v", key, ns)
					}
				}
			}
		})
	}
}

// TestDeadLetters passes over what cannot be read, what an operator refuses and what
// the broker refuses, with both guarantees; the application goes on, and nothing but
// the records at fault is missing.
func TestDeadLetters(t *testing.T) {
	for name, eos := range guarantees {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.drop("narrow", "dead")
			if err := w.client.Create(w.ctx, topics.Spec{Name: "narrow", Partitions: 1, Config: map[string]string{"max.message.bytes": "2000"}}); err != nil {
				t.Fatal(err)
			}
			b := NewBuilder()
			in := From(b, "in", serde.Int64{}, serde.Bytes{})
			in.ForEach(func(r Record[int64, []byte]) error {
				if r.Key%10 == 0 {
					return errors.New("a round number")
				}
				return nil
			}, With{Name: "picky"})
			in.To("narrow", serde.Int64{}, serde.Bytes{})
			var met [3]atomic.Int64
			app := App{ID: "a", Topology: w.built(b), ExactlyOnce: eos, DeadLetters: "dead", CommitInterval: 10 * time.Millisecond, OnFault: func(f *fault.Fault) fault.Verdict {
				met[slices.Index([]fault.Stage{fault.Reading, fault.Processing, fault.Writing}, f.Stage)].Add(1)
				return fault.Continue
			}}
			key := func(i int) []byte { return binary.BigEndian.AppendUint64(nil, uint64(i)) }
			noise := make([]byte, 10_000) // Compression does not help.
			for i := range noise {
				noise[i] = byte(w.rnd.IntN(256))
			}
			const n = 100
			for i := range n {
				r := &kgo.Record{Topic: "in", Key: key(i), Value: []byte("small")}
				switch {
				case i%25 == 1:
					r.Key = []byte("bad")
				case i%25 == 2:
					r.Value = noise
				}
				if err := w.client.Produce(w.ctx, r); err != nil {
					t.Fatal(err)
				}
			}
			e := w.start("", app)
			// 10 round numbers, 4 that cannot be read and 4 that are too large. At least
			// once, some may be there twice.
			w.wait("dead letters", func() bool { return len(w.distinct("dead")) >= 18 })
			w.wait("the others", func() bool { return len(w.distinct("narrow")) >= n-8 })
			e.end()
			kinds := map[string]int{}
			for _, r := range w.distinct("dead") {
				kinds[fmt.Sprint(len(r.Key), len(r.Value) > 5, len(r.Headers))]++
			}
			// What the broker refuses has no place in the input to be told.
			if got := fmt.Sprint(kinds); got != "map[3 false 6:4 8 false 6:10 8 true 3:4]" {
				t.Errorf("the dead letters are %s", got)
			}
			if got := len(w.distinct("narrow")); got != n-8 {
				t.Errorf("%d records came through, want %d", got, n-8)
			}
			if eos && (len(w.all("narrow")) != n-8 || len(w.all("dead")) != 18) {
				t.Errorf("%d records and %d dead letters, some of them twice", len(w.all("narrow")), len(w.all("dead")))
			}
			if met[0].Load() < 4 || met[1].Load() < 10 || met[2].Load() < 4 {
				t.Errorf("met %d, %d and %d faults", met[0].Load(), met[1].Load(), met[2].Load())
			}
		})
	}
}

// TestRetryStartsAnew asks for another try, twice, and then takes the record: exactly
// once nothing is there twice.
func TestRetryStartsAnew(t *testing.T) {
	w := newWorld(t)
	b := NewBuilder()
	var tries atomic.Int64
	in := From(b, "in", serde.Text{}, serde.Text{})
	in.To("out", serde.Text{}, serde.Text{})
	in.ForEach(func(r Record[string, string]) error {
		if tries.Add(1) < 3 {
			return errors.New("not now")
		}
		return nil
	})
	w.put(20)
	e := w.start("", App{ID: "again", Topology: w.built(b), ExactlyOnce: true, OnFault: func(*fault.Fault) fault.Verdict { return fault.Retry }})
	w.wait("the records", func() bool { return len(w.all("out")) >= 20 })
	m, err := e.Metrics("again")
	if err != nil {
		t.Fatal(err)
	}
	if n := m.Restarts.Load(); n != 2 {
		t.Errorf("%d restarts, want 2", n)
	}
	e.end()
	if n := len(w.all("out")); n != 20 {
		t.Errorf("%d records, want 20", n)
	}
}
