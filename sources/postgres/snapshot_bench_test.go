package postgres

import (
	"context"
	"encoding/binary"
	"log/slog"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// benchTable is the table of the reference workload: a row has about 200 bytes.
const benchTable = `CREATE TABLE load (
  id bigint PRIMARY KEY, customer int NOT NULL, amount numeric(12,2) NOT NULL, quantity int NOT NULL, paid boolean NOT NULL,
  created timestamp(6) NOT NULL, name varchar(40) NOT NULL, email text NOT NULL, city text, note text)`

const benchFill = `INSERT INTO load SELECT g, g % 5000, (g % 100000) / 100.0, g % 7, g % 3 = 0, timestamp '2026-01-01' + g * interval '1 s',
  'customer ' || g, 'customer' || g || '@example.com', CASE WHEN g % 5 = 0 THEN NULL ELSE 'city ' || g % 100 END, repeat('n', 90)
  FROM generate_series(1, $1) g`

// cpuTime is what this process has used so far.
func cpuTime(tb testing.TB) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkSnapshot reads a table of 300,000 rows into batches and throws them away,
// over two connections. cpu-µs/row is ours, without the server's.
func BenchmarkSnapshot(b *testing.B) {
	const rows = 300_000
	d := newTestDB(b)
	d.exec(benchTable)
	d.exec(benchFill, rows)
	d.exec(`VACUUM ANALYZE load`)
	var used, took time.Duration
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for b.Loop() {
		cpu, began := cpuTime(b), time.Now()
		if n := discardSnapshot(b, d); n != rows {
			b.Fatalf("%d rows came", n)
		}
		used, took = used+cpuTime(b)-cpu, took+time.Since(began)
	}
	runtime.ReadMemStats(&after)
	n := float64(rows * b.N)
	b.ReportMetric(float64(used.Microseconds())/n, "cpu-µs/row")
	b.ReportMetric(n/took.Seconds(), "rows/s")
	b.ReportMetric(float64(after.Mallocs-before.Mallocs)/n, "allocs/row")
	b.ReportMetric(float64(after.TotalAlloc-before.TotalAlloc)/n, "B/row")
}

// discardSnapshot takes a snapshot and returns how many records it had.
func discardSnapshot(b *testing.B, d *testDB) int {
	ctx := context.Background()
	set, err := newSettings(d.config())
	if err != nil {
		b.Fatal(err)
	}
	s, side, pool := benchSnapshot(b, d, set)
	defer side.close(ctx)
	out := make(chan *batch, set.queueBatches)
	s.out = out
	failed := make(chan error, 1)
	go func() {
		defer close(out)
		failed <- s.run(ctx)
	}()
	n := 0
	for batch := range out {
		n += len(batch.records)
		pool.release(batch) // As the worker's next Poll does.
	}
	if err := <-failed; err != nil {
		b.Fatal(err)
	}
	return n
}

// benchSnapshot makes a snapshot of a database without a slot, and the connection that
// exports its view.
func benchSnapshot(b *testing.B, d *testDB, set *settings) (*snapshot, *db, *pool) {
	ctx := context.Background()
	side, err := set.open(ctx, "bench")
	if err != nil {
		b.Fatal(err)
	}
	w, err := newWork(&task{set: set, metrics: noMetrics{}, log: slog.New(slog.DiscardHandler), pool: newPool(set.queueBatches + 2)}, nil)
	if err != nil {
		b.Fatal(err)
	}
	p, err := set.check(ctx, side, "bench")
	if err != nil {
		b.Fatal(err)
	}
	if err := side.exec(ctx, "BEGIN ISOLATION LEVEL REPEATABLE READ"); err != nil {
		b.Fatal(err)
	}
	exported, err := side.row(ctx, "SELECT pg_catalog.pg_export_snapshot()")
	if err != nil {
		b.Fatal(err)
	}
	s := &snapshot{
		set: set, log: w.log, metrics: w.metrics, version: Version, slot: newSlot{begin: 1000, snapshot: string(exported[0])},
		keep:    func(ctx context.Context) error { <-ctx.Done(); return nil },
		emitter: func() *emitter { return w.newEmitter(position{lsn: 1000, end: 1000, snapshot: snapshotRunning}) },
	}
	if s.tables, err = s.measure(ctx, side, p.tables, p.server.version); err != nil {
		b.Fatal(err)
	}
	s.progress = &tally{log: w.log, metrics: w.metrics, tables: s.tables}
	s.progress.start()
	return s, side, w.pool
}

// BenchmarkSnapshotRow measures what a row costs from its bytes to a record in a batch
// of 2048, without the network.
func BenchmarkSnapshotRow(b *testing.B) {
	stream, _, _, _ := benchStream(b)
	p := stream.tables[7].plan
	out := make(chan *batch, 1)
	s := &snapshot{set: stream.set, log: stream.log, metrics: noMetrics{}, out: out, emitter: func() *emitter { return stream.em }}
	t := &snapshotTable{}
	s.progress = &tally{metrics: noMetrics{}, tables: []*snapshotTable{t}}
	r := newTableReader(s, nil)
	r.table, r.plan, r.compiler = t, p, stream.comp
	r.block = sourceBlock(&arena{}, r.em.source, p.source, &r.em.stamp, 1000)
	r.from = &rowReader{row: make(tuple, len(p.columns)), places: p.wanted()}
	row := binary.BigEndian.AppendUint16(nil, uint16(len(r.from.places)))
	for _, v := range [][]byte{
		{0, 0, 0, 0, 0, 18, 214, 135}, {0, 0, 0, 42}, []byte("a short text"), []byte("somewhat longer text that stands for a name and an address"),
		[]byte("0123456789012345678901234567890123456789012345678901234567890123456789"), {0, 3, 0, 1, 0, 0, 0, 2, 0, 1, 9, 41, 26, 44},
		{0, 2, 187, 1, 2, 3, 4, 5}, {0, 2, 187, 1, 2, 3, 4, 5}, {1}, {64, 9, 33, 249, 240, 27, 134, 110},
	} {
		row = append(binary.BigEndian.AppendUint32(row, uint32(len(v))), v...)
	}
	ctx := context.Background()
	b.SetBytes(int64(len(row)))
	b.ReportAllocs()
	r.em.pool = newPool(2)
	each := func(t tuple) error {
		if len(out) == cap(out) {
			r.em.pool.release(<-out)
		}
		return r.add(ctx, t)
	}
	for b.Loop() {
		if err := r.from.data(row, each); err != nil {
			b.Fatal(err)
		}
	}
}
