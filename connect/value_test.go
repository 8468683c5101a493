package connect_test

import (
	"math"
	"math/big"
	"runtime"
	"testing"

	"github.com/tidemill/tidemill/connect"
)

func TestValueRoundTrips(t *testing.T) {
	st := connect.SchemaDef{Kind: connect.KindStruct, Fields: []connect.Field{{Name: "a", Schema: connect.Of(connect.KindInt32)}}}.MustBuild()
	row := st.StructOf([]connect.Value{connect.Int32(7)})
	for _, c := range []struct {
		v    connect.Value
		kind connect.Kind
		text string
	}{
		{connect.Value{}, connect.KindNull, "null"},
		{connect.IntOf(connect.KindInt8, -8), connect.KindInt8, "-8"},
		{connect.IntOf(connect.KindInt16, 40000), connect.KindInt16, "-25536"},
		{connect.Int32(math.MinInt32), connect.KindInt32, "-2147483648"},
		{connect.Int64(math.MaxInt64), connect.KindInt64, "9223372036854775807"},
		{connect.Float32(1.5), connect.KindFloat32, "1.5"},
		{connect.Float32(0.1), connect.KindFloat32, "0.1"},
		{connect.Float64(math.Inf(-1)), connect.KindFloat64, `"-Infinity"`},
		{connect.Float64(3), connect.KindFloat64, "3.0"},
		{connect.Bool(true), connect.KindBool, "true"},
		{connect.String(""), connect.KindString, `""`},
		{connect.String("a\"\n\x01é\xff"), connect.KindString, `"a\"\n\u0001é\ufffd"`},
		{connect.Bytes(nil), connect.KindBytes, `""`},
		{connect.Bytes([]byte{1, 2, 3}), connect.KindBytes, `"AQID"`},
		{connect.Array([]connect.Value{connect.Int32(1), {}}), connect.KindArray, "[1,null]"},
		{connect.Array(nil), connect.KindArray, "[]"},
		{connect.Map([]connect.MapEntry{{Key: connect.String("k"), Value: connect.Bool(false)}}), connect.KindMap, `{"k":false}`},
		{connect.Map([]connect.MapEntry{{Key: connect.Int32(1), Value: connect.Bool(false)}}), connect.KindMap, `[[1,false]]`},
		{connect.StructValue(row), connect.KindStruct, `{"a":7}`},
		{connect.StructValue(nil), connect.KindNull, "null"},
	} {
		if c.v.Kind() != c.kind || c.v.String() != c.text {
			t.Errorf("%v: kind %v, text %s; want %v, %s", c.v, c.v.Kind(), c.v, c.kind, c.text)
		}
		if !c.v.Equal(c.v) {
			t.Errorf("%v does not equal itself", c.v)
		}
	}
}

func TestValueAllocatesNothing(t *testing.T) {
	s, b := "some text that is long enough", []byte("bytes")
	var sink int
	n := testing.AllocsPerRun(100, func() {
		sink += connect.String(s).Len() + len(connect.Bytes(b).Bytes()) + int(connect.Int64(1<<40).Int())
		sink += len(connect.String(s).Str())
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestWrongReadPanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a string was read as a struct")
		}
	}()
	connect.String("x").Struct()
}

func TestSchemasAreInterned(t *testing.T) {
	def := connect.SchemaDef{
		Kind: connect.KindStruct, Name: "n", Version: 2, Doc: "d",
		Params: []connect.Param{{Key: "b", Value: "2"}, {Key: "a", Value: "1"}},
		Fields: []connect.Field{{Name: "x", Schema: connect.Of(connect.KindString)}},
	}
	a, b := def.MustBuild(), def.MustBuild()
	if a != b {
		t.Error("equal schemas are two pointers")
	}
	if a.AsOptional() == a || a.AsOptional() != b.AsOptional() || a.AsOptional().AsRequired() != a {
		t.Error("optional variants are not interned")
	}
	def.Params = []connect.Param{{Key: "a", Value: "1"}, {Key: "b", Value: "2"}}
	if def.MustBuild() != a {
		t.Error("the order of parameters makes a difference")
	}
	def.Fields[0].Name = "y"
	if def.MustBuild() == a {
		t.Error("another field name makes no difference")
	}
}

func TestForgottenSchemasAreCollected(t *testing.T) {
	first := connect.SchemaDef{Kind: connect.KindString, Name: "here for a moment"}.MustBuild()
	name := first.Name()
	first = nil
	for range 3 {
		runtime.GC()
	}
	again := connect.SchemaDef{Kind: connect.KindString, Name: name}.MustBuild()
	if again != (connect.SchemaDef{Kind: connect.KindString, Name: name}).MustBuild() {
		t.Error("a schema built anew is not interned")
	}
}

func TestSchemaFaults(t *testing.T) {
	str := connect.Of(connect.KindString)
	for name, d := range map[string]connect.SchemaDef{
		"no kind":         {},
		"array of what":   {Kind: connect.KindArray},
		"map of what":     {Kind: connect.KindMap, Elem: str},
		"twice":           {Kind: connect.KindStruct, Fields: []connect.Field{{Name: "a", Schema: str}, {Name: "a", Schema: str}}},
		"nameless":        {Kind: connect.KindStruct, Fields: []connect.Field{{Schema: str}}},
		"schemaless":      {Kind: connect.KindStruct, Fields: []connect.Field{{Name: "a"}}},
		"default misfits": {Kind: connect.KindInt32, Default: connect.Int64(1)},
		"stray fields":    {Kind: connect.KindInt32, Fields: []connect.Field{{Name: "a", Schema: str}}},
	} {
		if s, err := d.Build(); err == nil {
			t.Errorf("%s: built %v", name, s)
		}
	}
}

func TestCheckNamesThePlace(t *testing.T) {
	inner := connect.SchemaDef{Kind: connect.KindStruct, Fields: []connect.Field{{Name: "zip", Schema: connect.Of(connect.KindString)}}}.MustBuild()
	outer := connect.SchemaDef{Kind: connect.KindStruct, Fields: []connect.Field{{Name: "address", Schema: inner}}}.MustBuild()
	bad := outer.StructOf([]connect.Value{connect.StructValue(inner.StructOf([]connect.Value{connect.Int32(1)}))})
	err := outer.Check(connect.StructValue(bad))
	if err == nil || err.Error() != "connect: address.zip of schema string holds int32, not string" {
		t.Errorf("%v", err)
	}
	if err := outer.NewStruct().Put("address", connect.Value{}); err == nil {
		t.Error("null was put in a required field")
	}
}

func TestDecimals(t *testing.T) {
	for _, c := range []struct {
		in    string
		scale int
		out   string
	}{
		{"0", 0, "0"}, {"-0.005", 3, "-0.005"}, {"1.10", 2, "1.10"}, {"-1.28", 2, "-1.28"}, {"127", 0, "127"}, {"128", 0, "128"},
		{"-128", 0, "-128"}, {"-129", 0, "-129"}, {"+5", 0, "5"}, {".5", 1, "0.5"}, {"999999999999999999", 0, "999999999999999999"},
		{"-9223372036854775808", 0, "-9223372036854775808"}, {"-9223372036854775809", 0, "-9223372036854775809"},
		{"123456789012345678901234567890.123456789", 9, "123456789012345678901234567890.123456789"},
		{"-170141183460469231731687303715884105728", 0, "-170141183460469231731687303715884105728"},
	} {
		d, err := connect.ParseDecimal(nil, c.in)
		if err != nil || d.Scale != c.scale || string(d.Append(nil)) != c.out {
			t.Errorf("%s: %v, scale %d, %s", c.in, err, d.Scale, d.Append(nil))
		}
		minimal := (d.Int().BitLen())/8 + 1
		if n := new(big.Int).Neg(d.Int()); d.Int().Sign() < 0 {
			minimal = n.Sub(n, big.NewInt(1)).BitLen()/8 + 1
		}
		if len(d.Unscaled) != minimal {
			t.Errorf("%s: %d bytes, %d would do", c.in, len(d.Unscaled), minimal)
		}
	}
	for _, bad := range []string{"", "-", "1e5", "1.2.3", "NaN", "12345678901234567890x"} {
		if d, err := connect.ParseDecimal(nil, bad); err == nil {
			t.Errorf("%q was read as %s", bad, d.Append(nil))
		}
	}
}

func FuzzParseDecimal(f *testing.F) {
	f.Add("-12.340")
	f.Fuzz(func(t *testing.T, text string) {
		d, err := connect.ParseDecimal(nil, text)
		if err != nil {
			return
		}
		again, err := connect.ParseDecimal(nil, string(d.Append(nil)))
		if err != nil || again.Int().Cmp(d.Int()) != 0 || again.Scale != d.Scale {
			t.Errorf("%q became %s", text, d.Append(nil))
		}
	})
}
