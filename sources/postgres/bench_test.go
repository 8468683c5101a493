package postgres

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"

	"github.com/tidemill/tidemill/connect"
)

// benchStream is a stream without a connection, over a table of ten columns like
// those of the reference workload (about 220 bytes of text in a row).
func benchStream(tb testing.TB) (*stream, []byte, []byte, []byte) {
	tb.Helper()
	set := testSettings(tb)
	log := slog.New(slog.DiscardHandler)
	p, _ := partition("shop")
	em := &emitter{set: set, log: log, metrics: noMetrics{}, partition: p, source: sourceSchema(), warned: map[string]bool{}}
	em.newBatch()
	s := &stream{
		set: set, log: log, metrics: noMetrics{}, em: em, comp: newCompiler(set, newTypeTable(set.modes, fakeTypes), Version),
		out: make(chan *batch, 1), safe: &atomic.Uint64{}, tables: map[uint32]*planned{},
		spill: newSpillStore("", 0), figures: &figures{},
	}
	var err error
	if s.msgPlan, err = newMessagePlan(set, Version, em.source); err != nil {
		tb.Fatal(err)
	}
	rel := &relation{oid: 7, schema: "public", name: "bench", identity: 'd'}
	facts := &tableFacts{primary: []string{"id"}, columns: map[string]columnFacts{}}
	for i, typ := range []uint32{20, 23, 25, 25, 25, 1700, 1114, 1184, 16, 701} {
		rel.columns = append(rel.columns, relationColumn{name: []string{"id", "n", "a", "b", "c", "price", "at", "tz", "ok", "f"}[i], typ: typ, mod: -1, key: i == 0})
	}
	rel.columns[5].mod = numericMod(10, 2)
	t := &planned{rel: rel, facts: facts}
	s.tables[7] = t
	if err := s.plan(context.Background(), t); err != nil {
		tb.Fatal(err)
	}
	row := []string{"=1234567", "=42", "=a short text", "=somewhat longer text that stands for a name and an address", "=0123456789012345678901234567890123456789012345678901234567890123456789",
		"=12345.67", "=2024-05-06 07:08:09.123456", "=2024-05-06 07:08:09.123456+00", "=t", "=3.14159"}
	insert := new(wireBuilder).u8('I').u32(7).u8('N').tuple(row...).b
	begin := new(wireBuilder).u8('B').u64(1000).u64(1).u32(5).b
	commit := new(wireBuilder).u8('C').u8(0).u64(1000).u64(1010).u64(1).b
	return s, begin, insert, commit
}

// message wraps a message of pgoutput as it comes over the wire.
func wireMessage(m []byte) []byte {
	b := make([]byte, 25, 25+len(m))
	b[0] = 'w'
	binary.BigEndian.PutUint64(b[1:], 900)
	return append(b, m...)
}

// BenchmarkChange measures what one inserted row costs from the bytes of its
// message to a record in a batch of 2048.
func BenchmarkChange(b *testing.B) {
	s, begin, insert, _ := benchStream(b)
	ctx := context.Background()
	if err := s.copyData(ctx, wireMessage(begin)); err != nil {
		b.Fatal(err)
	}
	m := wireMessage(insert)
	b.SetBytes(int64(len(m)))
	b.ReportAllocs()
	for b.Loop() {
		if err := s.copyData(ctx, m); err != nil {
			b.Fatal(err)
		}
		if len(s.em.batch.records) >= 2048 {
			s.cut()
		}
	}
}

// BenchmarkTransactions measures transactions of one row.
func BenchmarkTransactions(b *testing.B) {
	s, _, insert, _ := benchStream(b)
	ctx := context.Background()
	m := wireMessage(insert)
	b.ReportAllocs()
	lsn := uint64(1000)
	for b.Loop() {
		lsn += 100
		begin := new(wireBuilder).u8('B').u64(lsn).u64(1).u32(5).b
		commit := new(wireBuilder).u8('C').u8(0).u64(lsn).u64(lsn + 10).u64(1).b
		for _, message := range [][]byte{wireMessage(begin), m, wireMessage(commit)} {
			if err := s.copyData(ctx, message); err != nil {
				b.Fatal(err)
			}
		}
		if len(s.em.batch.records) >= 2048 {
			s.cut()
		}
	}
}

// TestChangesAllocateInSlabs keeps the row's path free of allocations of its own.
func TestChangesAllocateInSlabs(t *testing.T) {
	s, begin, insert, commit := benchStream(t)
	ctx := context.Background()
	for _, m := range [][]byte{begin, insert, commit} {
		if err := s.copyData(ctx, wireMessage(m)); err != nil {
			t.Fatal(err)
		}
	}
	r := s.em.batch.records[0]
	if err := r.ValueSchema.Check(r.Value); err != nil {
		t.Error(err)
	}
	if got := fmt.Sprintf("%v %s %v", r.Key, r.SourceOffset.AppendJSON(nil), r.Boundary == connect.BoundaryCommit); got != `{"id":1234567} {"lsn":1010,"lsn_commit":1010,"lsn_proc":1010,"txId":5,"ts_usec":946684800000001,"messageType":"COMMIT"} true` {
		t.Error(got)
	}
	if err := s.copyData(ctx, wireMessage(new(wireBuilder).u8('B').u64(2000).u64(1).u32(6).b)); err != nil {
		t.Fatal(err)
	}
	m := wireMessage(insert)
	const rows = 2000
	allocs := testing.AllocsPerRun(5, func() {
		for range rows {
			if err := s.copyData(ctx, m); err != nil {
				t.Fatal(err)
			}
		}
		s.cut()
	})
	if perRow := allocs / rows; perRow > 0.2 {
		t.Errorf("%.2f allocations for each row", perRow)
	}
}

// FuzzStream sends messages with one known relation through the whole way: errors,
// never a panic, and a record that was made fits its schema.
func FuzzStream(f *testing.F) {
	_, begin, insert, commit := benchStream(f)
	update := new(wireBuilder).u8('U').u32(7).u8('O').tuple("=1", "n", "n", "n", "n", "n", "n", "n", "n", "n").u8('N').tuple("=2", "u", "u", "n", "n", "n", "n", "n", "n", "n").b
	f.Add(insert, update)
	f.Add(begin, commit)
	f.Add(new(wireBuilder).u8('D').u32(7).u8('K').tuple("=1", "n", "n", "n", "n", "n", "n", "n", "n", "n").b, new(wireBuilder).u8('T').u32(1).u8(0).u32(7).b)
	f.Fuzz(func(t *testing.T, one, two []byte) {
		s, _, _, _ := benchStream(t)
		ctx := context.Background()
		if err := s.copyData(ctx, wireMessage(begin)); err != nil {
			t.Fatal(err)
		}
		for _, m := range [][]byte{one, two} {
			if len(m) == 0 || m[0] == 'R' || m[0] == 'M' {
				continue // Which ask the catalogue, or need a plan of their own.
			}
			if err := s.copyData(ctx, wireMessage(m)); err != nil {
				return
			}
		}
		for _, r := range s.em.batch.records {
			if r.ValueSchema != nil {
				if err := r.ValueSchema.Check(r.Value); err != nil {
					t.Error(err)
				}
			}
		}
	})
}

// BenchmarkForms measures the reading of both forms of the types that rows are made
// of.
func BenchmarkForms(b *testing.B) {
	types := newTypeTable(testSettings(b).modes, fakeTypes)
	for _, c := range []struct {
		name string
		oid  uint32
		mod  int32
		text string
		raw  []byte
	}{
		{"int8", 20, -1, "1234567", []byte{0, 0, 0, 0, 0, 0x12, 0xd6, 0x87}},
		{"float8", 701, -1, "3.14159", []byte{0x40, 9, 0x21, 0xf9, 0xf0, 0x1b, 0x86, 0x6e}},
		{"numeric(10,2)", 1700, numericMod(10, 2), "12345.67", []byte{0, 3, 0, 1, 0, 0, 0, 2, 0, 1, 9, 0x29, 0x1a, 0x2c}},
		{"numeric", 1700, -1, "12345.67", []byte{0, 3, 0, 1, 0, 0, 0, 2, 0, 1, 9, 0x29, 0x1a, 0x2c}},
		{"timestamp", 1114, -1, "2024-05-06 07:08:09.123456", []byte{0, 2, 0xbb, 0x0f, 0x1e, 0x30, 0x12, 0x40}},
		{"timestamptz", 1184, -1, "2024-05-06 07:08:09.123456+00", []byte{0, 2, 0xbb, 0x0f, 0x1e, 0x30, 0x12, 0x40}},
		{"date", 1082, -1, "2024-05-06", []byte{0, 0, 0x22, 0xc6}},
		{"uuid", 2950, -1, "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", []byte("0123456789abcdef")},
		{"bytea", 17, -1, `\x000102030405060708090a0b0c0d0e0f`, []byte("0123456789abcdef")},
		{"int4[]", 1007, -1, "{1,2,3}", append([]byte{0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 23, 0, 0, 0, 3, 0, 0, 0, 1},
			0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 2, 0, 0, 0, 4, 0, 0, 0, 3)},
	} {
		cd, err := types.compile(c.oid, c.mod, 0)
		if err != nil {
			b.Fatal(err)
		}
		for form, read := range map[string]decodeFunc{"text": cd.decode, "binary": cd.binary} {
			raw := map[string][]byte{"text": []byte(c.text), "binary": c.raw}[form]
			b.Run(c.name+"/"+form, func(b *testing.B) {
				b.ReportAllocs()
				a := &arena{}
				for b.Loop() {
					if _, err := read(a, raw); err != nil {
						b.Fatal(err)
					}
					if a.size > 1<<20 {
						*a = arena{}
					}
				}
			})
		}
	}
}

// BenchmarkStreamedChange measures what one row costs of a transaction that comes in
// progress: kept, and replayed with its commit.
func BenchmarkStreamedChange(b *testing.B) {
	s, _, insert, _ := benchStream(b)
	s.spill = newSpillStore(b.TempDir(), 1<<30)
	s.out = make(chan *batch, 1)
	ctx := context.Background()
	m := wireMessage(append([]byte{'I', 0, 0, 0, 5}, insert[1:]...))
	fresh := make([]byte, len(m))
	b.SetBytes(int64(len(m)))
	b.ReportAllocs()
	lsn, rows := uint64(1000), 0
	send := func(body []byte) {
		if err := s.copyData(ctx, wireMessage(body)); err != nil {
			b.Fatal(err)
		}
	}
	send(new(wireBuilder).u8('S').u32(5).u8(1).b)
	for b.Loop() {
		copy(fresh, m) // Which keeping changes.
		if err := s.copyData(ctx, fresh); err != nil {
			b.Fatal(err)
		}
		if rows++; rows%1000 == 0 {
			send([]byte{'E'})
			lsn += 100
			send(new(wireBuilder).u8('c').u32(5).u8(0).u64(lsn).u64(lsn + 10).u64(1).b)
			s.cut()
			send(new(wireBuilder).u8('S').u32(5).u8(1).b)
		}
	}
}
