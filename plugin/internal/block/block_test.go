package block

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/connect/connecttest"
)

// randomRecord is a record of any shape, described or not.
func randomRecord(r *rand.Rand) connect.Record {
	part := func() (*connect.Schema, connect.Value) {
		switch r.IntN(6) {
		case 0:
			return nil, connect.Value{}
		case 1:
			s := connecttest.RandomSchema(r)
			return nil, connecttest.RandomValue(r, s)
		}
		s := connecttest.RandomSchema(r)
		return s, connecttest.RandomValue(r, s)
	}
	rec := connect.Record{Topic: fmt.Sprint("t", r.IntN(3)), Partition: int32(r.IntN(4) - 1), Timestamp: connect.NoTimestamp}
	rec.KeySchema, rec.Key = part()
	rec.ValueSchema, rec.Value = part()
	if r.IntN(2) == 0 {
		rec.Timestamp = r.Int64() - r.Int64()
	}
	for range r.IntN(3) {
		s, v := part()
		rec.Headers = append(rec.Headers, connect.Header{Key: fmt.Sprint("h", r.IntN(5)), Schema: s, Value: v})
	}
	return rec
}

func sameRecord(t *testing.T, got, want *connect.Record) {
	t.Helper()
	if got.Topic != want.Topic || got.Partition != want.Partition || got.Timestamp != want.Timestamp ||
		got.KeySchema != want.KeySchema || got.ValueSchema != want.ValueSchema || !got.Key.Equal(want.Key) || !got.Value.Equal(want.Value) {
		t.Fatalf("got %+v, want %+v", got, want)
	}
	sameHeaders(t, got.Headers, want.Headers)
}

func sameHeaders(t *testing.T, got, want []connect.Header) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d headers, want %d", len(got), len(want))
	}
	for i := range got {
		if got[i].Key != want[i].Key || got[i].Schema != want[i].Schema || !got[i].Value.Equal(want[i].Value) {
			t.Fatalf("header %d is %+v, want %+v", i, got[i], want[i])
		}
	}
}

func TestSourceRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var enc Encoder
	dec := Decoder{Reuse: true}
	next := uint64(7)
	for range 60 {
		records := make([]connect.SourceRecord, r.IntN(20))
		for i := range records {
			p, err := connect.NewSourcePartition(map[string]any{"n": r.IntN(3), "s": "ü"})
			if err != nil {
				t.Fatal(err)
			}
			records[i] = connect.SourceRecord{Record: randomRecord(r), Boundary: connect.Boundary(r.IntN(3)), SourcePartition: p}
			if r.IntN(5) > 0 {
				records[i].SourceOffset = connect.OffsetMap{"lsn": r.IntN(1000), "x": "y"}
			}
			if r.IntN(6) == 0 {
				records[i].SourcePartition = connect.SourcePartition{}
			}
		}
		got, err := dec.Source(enc.Source(next, records), nil)
		if err != nil || len(got) != len(records) {
			t.Fatalf("%d records, %v; want %d", len(got), err, len(records))
		}
		for i := range got {
			sameRecord(t, &got[i].Record, &records[i].Record)
			if got[i].Boundary != records[i].Boundary || got[i].SourcePartition != records[i].SourcePartition {
				t.Fatalf("record %d: %+v, want %+v", i, got[i], records[i])
			}
			if records[i].SourceOffset == nil {
				if got[i].SourceOffset != nil {
					t.Fatalf("record %d has the offset %v", i, got[i].SourceOffset)
				}
				continue
			}
			o := got[i].SourceOffset.(*Offset)
			if string(o.AppendJSON(nil)) != string(records[i].SourceOffset.AppendJSON(nil)) || o.Seq != next+uint64(i) {
				t.Fatalf("offset %s (%d), want %s", o.AppendJSON(nil), o.Seq, records[i].SourceOffset.AppendJSON(nil))
			}
		}
		next += uint64(len(records))
	}
}

func TestSinkRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	var enc Encoder
	var dec Decoder
	for range 60 {
		records := make([]connect.SinkRecord, r.IntN(20))
		for i := range records {
			rec := randomRecord(r)
			records[i] = connect.SinkRecord{
				Record: rec, Offset: int64(r.IntN(3) + i), LogAppendTime: r.IntN(2) == 0,
				OriginalTopic: fmt.Sprint("t", r.IntN(3)), OriginalPartition: int32(r.IntN(3)),
				RawKey: [][]byte{nil, {}, []byte("k")}[r.IntN(3)], RawValue: [][]byte{nil, {}, []byte("v")}[r.IntN(3)],
				RawHeaders: []connect.Header{{Key: "a", Value: connect.Bytes([]byte("b"))}, {Key: "a"}}[:r.IntN(3)],
			}
		}
		got, err := dec.Sink(enc.Sink(records), nil)
		if err != nil || len(got) != len(records) {
			t.Fatalf("%d records, %v; want %d", len(got), err, len(records))
		}
		for i := range got {
			g, w := &got[i], &records[i]
			sameRecord(t, &g.Record, &w.Record)
			sameHeaders(t, g.RawHeaders, w.RawHeaders)
			if g.Offset != w.Offset || g.LogAppendTime != w.LogAppendTime || g.OriginalTopic != w.OriginalTopic || g.OriginalPartition != w.OriginalPartition ||
				string(g.RawKey) != string(w.RawKey) || string(g.RawValue) != string(w.RawValue) || (g.RawKey == nil) != (w.RawKey == nil) || (g.RawValue == nil) != (w.RawValue == nil) {
				t.Fatalf("got %+v, want %+v", g, w)
			}
		}
	}
}

// TestStepRoundTrip sends records to a transform and back what it makes of them.
func TestStepRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	var there, back Encoder
	var arrive, returned Decoder
	for range 60 {
		records := make([]*connect.Record, r.IntN(20))
		for i := range records {
			rec := randomRecord(r)
			records[i] = &rec
		}
		got, err := arrive.Records(there.Records(records), nil)
		if err != nil || len(got) != len(records) {
			t.Fatalf("%d records, %v; want %d", len(got), err, len(records))
		}
		verdicts := make([]Verdict, len(records))
		for i := range got {
			sameRecord(t, &got[i], records[i])
			verdicts[i] = []Verdict{{}, {Yes: true}, {Yes: true, Changed: true, Record: randomRecord(r)}, {Failure: []byte("no")}}[r.IntN(4)]
		}
		heard, err := returned.Verdicts(back.Verdicts(verdicts), nil)
		if err != nil || len(heard) != len(verdicts) {
			t.Fatalf("%d verdicts, %v; want %d", len(heard), err, len(verdicts))
		}
		for i := range heard {
			g, w := &heard[i], &verdicts[i]
			if g.Yes != w.Yes || g.Changed != w.Changed || string(g.Failure) != string(w.Failure) || (g.Failure == nil) != (w.Failure == nil) {
				t.Fatalf("got %+v, want %+v", g, w)
			}
			if w.Changed {
				sameRecord(t, &g.Record, &w.Record)
			}
		}
	}
}

// TestNumbersBeginAnew gives more schemas and names than are numbered.
func TestNumbersBeginAnew(t *testing.T) {
	var enc Encoder
	var dec Decoder
	resets := 0
	for i := range tableLimit + 3000 {
		s, err := connect.SchemaDef{Kind: connect.KindInt64, Name: fmt.Sprint("s", i)}.Build()
		if err != nil {
			t.Fatal(err)
		}
		b := enc.Sink([]connect.SinkRecord{{Record: connect.Record{Topic: fmt.Sprint(i), ValueSchema: s, Value: connect.Int64(int64(i))}}})
		if b[0]&flagReset != 0 {
			resets++
		}
		got, err := dec.Sink(b, nil)
		if err != nil || got[0].Topic != fmt.Sprint(i) || got[0].ValueSchema != s {
			t.Fatalf("record %d: %v, %v", i, got, err)
		}
	}
	if resets != 2 || len(dec.schemas) > tableLimit+1 {
		t.Errorf("%d beginnings, %d schemas are kept", resets, len(dec.schemas))
	}
}

// TestOffsetsOutliveTheBlock reads a second block into the memory of the first.
func TestOffsetsOutliveTheBlock(t *testing.T) {
	var enc Encoder
	dec := Decoder{Reuse: true}
	block := func(n int) []byte {
		return enc.Source(0, []connect.SourceRecord{{SourceOffset: connect.OffsetMap{"n": n}}})
	}
	b := block(1)
	first, err := dec.Source(b, nil)
	if err != nil {
		t.Fatal(err)
	}
	o := first[0].SourceOffset
	clear(b)
	if _, err := dec.Source(block(2), first[:0]); err != nil {
		t.Fatal(err)
	}
	if text := string(o.AppendJSON(nil)); text != `{"n":1}` {
		t.Errorf("the offset has become %s", text)
	}
}

// FuzzDecode reads damaged blocks: they are errors, and cost no more than their size.
func FuzzDecode(f *testing.F) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 20 {
		var enc Encoder
		rec := randomRecord(r)
		f.Add(enc.Source(1, []connect.SourceRecord{{Record: rec, SourceOffset: connect.OffsetMap{"a": 1}}, {Record: rec}}))
		f.Add(new(Encoder).Sink([]connect.SinkRecord{{Record: rec, RawKey: []byte("k")}}))
		f.Add(new(Encoder).Verdicts([]Verdict{{Yes: true, Changed: true, Record: rec}, {Failure: []byte("no")}}))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		source, err := new(Decoder).Source(b, nil)
		if err != nil && !errors.Is(err, errDamaged) {
			t.Error(err)
		}
		sink, err := new(Decoder).Sink(b, nil)
		if err != nil && !errors.Is(err, errDamaged) {
			t.Error(err)
		}
		verdicts, err := new(Decoder).Verdicts(b, nil)
		if err != nil && !errors.Is(err, errDamaged) {
			t.Error(err)
		}
		if len(source)+len(sink)+len(verdicts) > 3*len(b) {
			t.Errorf("%d bytes hold %d records", len(b), len(source)+len(sink)+len(verdicts))
		}
	})
}

// TestDamaged cuts blocks short and turns their bytes over.
func TestDamaged(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for range 20 {
		rec := randomRecord(r)
		b := new(Encoder).Source(1, []connect.SourceRecord{{Record: rec, SourceOffset: connect.OffsetMap{"a": 1}}})
		for i := 0; i < len(b); i += 1 + len(b)/100 {
			if _, err := new(Decoder).Source(b[:i:i], nil); !errors.Is(err, errDamaged) {
				t.Fatalf("the first %d of %d bytes: %v", i, len(b), err)
			}
			bad := append([]byte{}, b...)
			bad[i] ^= byte(1 + r.IntN(255))
			if _, err := new(Decoder).Source(bad, nil); err != nil && !errors.Is(err, errDamaged) {
				t.Fatal(err)
			}
		}
	}
}

// number is an offset that costs little.
type number int

// AppendJSON implements connect.Offset.
func (n number) AppendJSON(dst []byte) []byte {
	return append(strconv.AppendInt(append(dst, `{"lsn":`...), int64(n), 10), 0x7d)
}

func BenchmarkSource(b *testing.B) {
	schema, value := connecttest.ChangeSample()
	sample := connect.Record{Topic: "t", ValueSchema: schema, Value: value, Timestamp: 1}
	records := make([]connect.SourceRecord, 500)
	for i := range records {
		records[i] = connect.SourceRecord{Record: sample, SourceOffset: number(i)}
	}
	var enc Encoder
	dec := Decoder{Reuse: true}
	var got []connect.SourceRecord
	b.ReportAllocs()
	for b.Loop() {
		block := enc.Source(0, records)
		b.SetBytes(int64(len(block)))
		var err error
		if got, err = dec.Source(block, got[:0]); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(records)), "ns/record")
}
