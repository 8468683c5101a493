package streams

import (
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/streams/query"
	"github.com/tidemill/tidemill/streams/serde"
	"github.com/tidemill/tidemill/streams/state"
)

// discard is a collector that writes everything nowhere.
type discard struct{ offset int64 }

func (d *discard) produce(r *kgo.Record, promise func(*kgo.Record, error)) {
	if promise != nil {
		r.Offset = d.offset
		d.offset++
		promise(r, nil)
	}
}
func (d *discard) failed(*kgo.Record, error) {}

// benchTask runs a topology's only task over records whose keys are spread over
// keys values, committing as an engine with the default cache would.
func benchTask(b *testing.B, topology *Topology, db state.DB, keys int) {
	env := &taskEnv{app: "bench", db: db, out: &discard{}, metrics: &Metrics{}, cacheBytes: 32 << 20, now: time.Now}
	t, err := openTask(env, topology.subs[0], 0)
	if err != nil {
		b.Fatal(err)
	}
	hub := query.NewHub()
	const batch = 1000
	records := make([][]*kgo.Record, 256)
	for i := range records {
		records[i] = make([]*kgo.Record, batch)
		for j := range records[i] {
			// A multiplicative step visits the keys in an order that no cache likes.
			key := (i*batch + j) * 7919 % keys
			records[i][j] = &kgo.Record{Key: fmt.Appendf(nil, "key-%09d", key), Value: []byte("0123456789012345678901234567890123456789"), Timestamp: time.UnixMilli(1)}
		}
	}
	commit := func() {
		if err := t.flush(); err != nil {
			b.Fatal(err)
		}
		batch := db.Batch()
		t.write(batch)
		if err := applyBatch(hub, batch, []*task{t}); err != nil {
			b.Fatal(err)
		}
	}
	done := 0
	for b.Loop() {
		if done%batch == 0 {
			t.queues[0].push(records[done/batch%len(records)], 0)
			if _, err := t.process(batch); err != nil {
				b.Fatal(err)
			}
			if t.dirtyBytes() > 32<<20 {
				commit()
			}
		}
		done++
	}
	commit()
	b.ReportMetric(float64(done)/b.Elapsed().Seconds(), "records/s")
}

func BenchmarkPassthrough(b *testing.B) {
	builder := NewBuilder()
	From(builder, "in", serde.Bytes{}, serde.Bytes{}).Filter(func(k, _ []byte) bool { return len(k) > 0 }).To("out", serde.Bytes{}, serde.Bytes{})
	topology, err := builder.Build()
	if err != nil {
		b.Fatal(err)
	}
	benchTask(b, topology, state.NewMemory(), 1_000_000)
}

func BenchmarkCount(b *testing.B) {
	for _, keys := range []int{1_000, 256_000} {
		for name, open := range map[string]func(dir string) (state.DB, error){
			"memory": func(string) (state.DB, error) { return state.NewMemory(), nil },
			"disk":   func(dir string) (state.DB, error) { return state.OpenDisk(dir, state.DiskOptions{}) },
		} {
			b.Run(fmt.Sprintf("%d keys, %s", keys, name), func(b *testing.B) {
				builder := NewBuilder()
				From(builder, "in", serde.Bytes{}, serde.Bytes{}).GroupByKey(serde.Bytes{}, serde.Bytes{}).Count().ToStream().To("out", serde.Bytes{}, serde.Int64{})
				topology, err := builder.Build()
				if err != nil {
					b.Fatal(err)
				}
				db, err := open(b.TempDir())
				if err != nil {
					b.Fatal(err)
				}
				benchTask(b, topology, db, keys)
				if err := db.Close(); err != nil {
					b.Fatal(err)
				}
			})
		}
	}
}

// BenchmarkEngine runs whole engines against a broker in this process, from the
// first record in the source topic to the last one processed and committed.
func BenchmarkEngine(b *testing.B) {
	for name, eos := range guarantees {
		b.Run("passthrough, "+name, func(b *testing.B) {
			builder := NewBuilder()
			From(builder, "in", serde.Bytes{}, serde.Bytes{}).To("out", serde.Bytes{}, serde.Bytes{})
			benchEngine(b, builder, eos)
		})
		b.Run("count, "+name, func(b *testing.B) {
			builder := NewBuilder()
			From(builder, "in", serde.Bytes{}, serde.Bytes{}).GroupByKey(serde.Bytes{}, serde.Bytes{}).Count().ToStream().To("out", serde.Bytes{}, serde.Int64{})
			benchEngine(b, builder, eos)
		})
	}
}

func benchEngine(b *testing.B, builder *Builder, eos bool) {
	topology, err := builder.Build()
	if err != nil {
		b.Fatal(err)
	}
	w := newWorld(b)
	const batch = 10_000
	for done := 0; done < b.N; done += batch {
		rs := make([]*kgo.Record, min(batch, b.N-done))
		for i := range rs {
			rs[i] = &kgo.Record{Topic: "in", Key: fmt.Appendf(nil, "key-%09d", (done+i)*7919%1_000_000), Value: []byte("0123456789012345678901234567890123456789")}
		}
		if err := w.client.Produce(w.ctx, rs...); err != nil {
			b.Fatal(err)
		}
	}
	b.ResetTimer()
	e := w.start(b.TempDir(), App{ID: "bench", Topology: topology, ExactlyOnce: eos})
	m, err := e.Metrics("bench")
	if err != nil {
		b.Fatal(err)
	}
	w.wait("all records to be processed", func() bool { return m.Processed.Load() >= int64(b.N) })
	e.end()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
}
