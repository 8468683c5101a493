package avro

import (
	"testing"
	"time"

	hamba "github.com/hamba/avro/v2"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/connect/connecttest"
)

// plans compiles the sample change: ten columns in an envelope with its source.
func plans(tb testing.TB) (enc *encoder, dec *decoder, v connect.Value, text string) {
	tb.Helper()
	s, v := connecttest.ChangeSample()
	n, err := usual.toAvro(s)
	if err != nil {
		tb.Fatal(err)
	}
	if enc, err = usual.newEncoder(s, n); err != nil {
		tb.Fatal(err)
	}
	if dec, err = usual.newDecoder(s, n); err != nil {
		tb.Fatal(err)
	}
	return enc, dec, v, schemaText(n)
}

// ratio tells how many times longer slow takes than fast: the best of many short
// turns of each, one after the other, since the machine has other things to do.
func ratio(slow, fast func()) float64 {
	best := [2]time.Duration{time.Hour, time.Hour}
	for range 20 {
		for i, f := range []func(){slow, fast} {
			const calls = 100
			start := time.Now()
			for range calls {
				f()
			}
			best[i] = min(best[i], time.Since(start))
		}
	}
	return float64(best[0]) / float64(best[1])
}

// generic returns a way to write and to read the sample with hamba/avro's maps, as
// programs do that do not compile their schemas.
func generic(tb testing.TB, enc *encoder, v connect.Value, text string) (encode, decode func()) {
	tb.Helper()
	schema := hamba.MustParse(text)
	data, err := enc.append(nil, v)
	if err != nil {
		tb.Fatal(err)
	}
	var m map[string]any
	if err := hamba.Unmarshal(schema, data, &m); err != nil {
		tb.Fatal(err)
	}
	encode = func() {
		if _, err := hamba.Marshal(schema, m); err != nil {
			tb.Fatal(err)
		}
	}
	decode = func() {
		var m map[string]any
		if err := hamba.Unmarshal(schema, data, &m); err != nil {
			tb.Fatal(err)
		}
	}
	return encode, decode
}

func BenchmarkEncode(b *testing.B) {
	enc, _, v, text := plans(b)
	encode, _ := generic(b, enc, v, text)
	buf := make([]byte, 0, 4096)
	fast := func() {
		out, err := enc.append(buf, v)
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(int64(len(out)))
	}
	times := ratio(encode, fast)
	b.ReportAllocs()
	for b.Loop() {
		fast()
	}
	b.ReportMetric(times, "×hamba-map")
}

func BenchmarkDecode(b *testing.B) {
	enc, dec, v, text := plans(b)
	_, decode := generic(b, enc, v, text)
	data, err := enc.append(nil, v)
	if err != nil {
		b.Fatal(err)
	}
	var sl slab
	fast := func() {
		if _, err := sl.read(dec, data); err != nil {
			b.Fatal(err)
		}
	}
	times := ratio(decode, fast)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		fast()
	}
	b.ReportMetric(times, "×hamba-map")
}

func BenchmarkConverter(b *testing.B) {
	s, v := connecttest.ChangeSample()
	c := open(b, quick(startRegistry(b, nil)))
	buf := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.FromConnect(b.Context(), buf, "shop.public.orders", s, v); err != nil {
			b.Fatal(err)
		}
	}
}

func TestWritingDoesNotAllocate(t *testing.T) {
	s, v := connecttest.ChangeSample()
	c := open(t, quick(startRegistry(t, nil)))
	buf := make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(100, func() {
		if _, err := c.FromConnect(t.Context(), buf, "shop.public.orders", s, v); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations for each record", n)
	}
}
