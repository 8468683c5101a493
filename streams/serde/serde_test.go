package serde_test

import (
	"bytes"
	"context"
	"math"
	"testing"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams/serde"
)

func roundTrip[T any](t *testing.T, s serde.Serde[T], v T, want string) T {
	t.Helper()
	b, err := s.Append([]byte("x"), v)
	if err != nil {
		t.Fatal(err)
	}
	if want != "" && string(b) != "x"+want {
		t.Errorf("%v is written as %q, want %q", v, b[1:], want)
	}
	got, err := s.Decode(b[1:])
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestPlain(t *testing.T) {
	if v := roundTrip(t, serde.Text{}, "é", "é"); v != "é" {
		t.Errorf("text %q", v)
	}
	if v := roundTrip(t, serde.Int64{}, -2, "\xff\xff\xff\xff\xff\xff\xff\xfe"); v != -2 {
		t.Errorf("int %d", v)
	}
	if v := roundTrip(t, serde.Float64{}, 1.5, "\x3f\xf8\x00\x00\x00\x00\x00\x00"); v != 1.5 {
		t.Errorf("float %v", v)
	}
	if v := roundTrip(t, serde.Bytes{}, []byte{0, 1}, "\x00\x01"); !bytes.Equal(v, []byte{0, 1}) {
		t.Errorf("bytes %v", v)
	}
	if _, err := (serde.Int64{}).Decode([]byte("short")); err == nil {
		t.Error("5 bytes were read as an integer")
	}
	if _, err := (serde.Float64{}).Decode(nil); err == nil {
		t.Error("no bytes were read as a number")
	}
}

// rich has a field of every kind.
func rich() *connect.Schema {
	opt := func(k connect.Kind) *connect.Schema { return connect.Of(k).AsOptional() }
	inner := connect.SchemaDef{Kind: connect.KindStruct, Optional: true, Fields: []connect.Field{{Name: "s", Schema: opt(connect.KindString)}}}.MustBuild()
	return connect.SchemaDef{Kind: connect.KindStruct, Fields: []connect.Field{
		{Name: "i8", Schema: opt(connect.KindInt8)}, {Name: "i64", Schema: opt(connect.KindInt64)},
		{Name: "f32", Schema: opt(connect.KindFloat32)}, {Name: "f64", Schema: opt(connect.KindFloat64)},
		{Name: "b", Schema: opt(connect.KindBool)}, {Name: "s", Schema: opt(connect.KindString)},
		{Name: "raw", Schema: opt(connect.KindBytes)}, {Name: "in", Schema: inner},
		{Name: "list", Schema: connect.SchemaDef{Kind: connect.KindArray, Optional: true, Elem: opt(connect.KindInt32)}.MustBuild()},
		{Name: "map", Schema: connect.SchemaDef{Kind: connect.KindMap, Optional: true, Key: connect.Of(connect.KindString), Elem: opt(connect.KindFloat64)}.MustBuild()},
	}}.MustBuild()
}

func TestRow(t *testing.T) {
	schema := rich()
	inner := schema.Fields()[7].Schema
	full := connect.StructValue(schema.StructOf([]connect.Value{
		connect.IntOf(connect.KindInt8, -3), connect.Int64(math.MinInt64), connect.Float32(0.5), connect.Float64(math.Inf(-1)),
		connect.Bool(true), connect.String("ü\x00"), connect.Bytes([]byte{}),
		connect.StructValue(inner.StructOf([]connect.Value{connect.String("deep")})),
		connect.Array([]connect.Value{connect.Int32(1), {}}),
		connect.Map([]connect.MapEntry{{Key: connect.String("k"), Value: connect.Float64(2)}, {Key: connect.String("l")}}),
	}))
	for name, v := range map[string]connect.Value{
		"full": full, "all absent": connect.StructValue(schema.NewStruct()), "null": {},
	} {
		if got := roundTrip(t, serde.Row(schema), v, ""); !got.Equal(v) {
			t.Errorf("%s: %v came back as %v", name, v, got)
		}
	}
	if v := roundTrip(t, serde.Row(connect.Of(connect.KindInt64)), connect.Int64(7), ""); !v.Equal(connect.Int64(7)) {
		t.Errorf("a bare integer came back as %v", v)
	}
	if _, err := serde.Row(connect.Of(connect.KindInt64)).Append(nil, connect.String("x")); err == nil {
		t.Error("a string was written as an integer")
	}
}

// TestRowIsItsOwn checks that a decoded row does not change with the bytes it was
// read from.
func TestRowIsItsOwn(t *testing.T) {
	s := serde.Row(connect.Of(connect.KindString))
	b, _ := s.Append(nil, connect.String("keep"))
	v, err := s.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	clear(b)
	if v.Str() != "keep" {
		t.Errorf("the row became %q", v.Str())
	}
}

func FuzzRow(f *testing.F) {
	schema := rich()
	s := serde.Row(schema)
	b, err := s.Append(nil, connect.StructValue(schema.NewStruct()))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte{1, 0, 0, 1, 2, 3})
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := s.Decode(b)
		if err != nil {
			return
		}
		again, err := s.Append(nil, v)
		if err != nil {
			t.Fatalf("%v was read but cannot be written: %v", v, err)
		}
		if w, err := s.Decode(again); err != nil || !w.Equal(v) {
			t.Fatalf("%v came back as %v, %v", v, w, err)
		}
	})
}

// upper is a converter that shows which topic it was asked for.
type upper struct{}

func (upper) Configure(connect.Config, bool) error { return nil }
func (upper) Close() error                         { return nil }
func (upper) FromConnect(_ context.Context, dst []byte, topic string, _ *connect.Schema, v connect.Value) ([]byte, error) {
	return append(append(dst, topic+":"...), v.Str()...), nil
}
func (upper) ToConnect(_ context.Context, _ string, data []byte) (*connect.Schema, connect.Value, error) {
	return connect.Of(connect.KindString), connect.StringBytes(data), nil
}

func TestConverterIsBoundToATopic(t *testing.T) {
	s := serde.Bind(serde.Of(upper{}, connect.Of(connect.KindString)), "orders", false)
	if v := roundTrip(t, s, connect.String("v"), "orders:v"); v.Str() != "orders:v" {
		t.Errorf("came back as %v", v)
	}
}

func BenchmarkRow(b *testing.B) {
	schema := rich()
	v := connect.StructValue(schema.NewStruct())
	v.Struct().Set(1, connect.Int64(12345))
	v.Struct().Set(5, connect.String("a city somewhere"))
	s := serde.Row(schema)
	var buf []byte
	for b.Loop() {
		buf, _ = s.Append(buf[:0], v)
		if _, err := s.Decode(buf); err != nil {
			b.Fatal(err)
		}
	}
}
