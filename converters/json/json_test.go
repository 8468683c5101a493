package json

import (
	"context"
	"math"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/connect/connecttest"
)

func converter(t testing.TB, config connect.Config) *Converter {
	t.Helper()
	c := &Converter{}
	if err := c.Configure(config, false); err != nil {
		t.Fatal(err)
	}
	return c
}

var (
	str = connect.Of(connect.KindString)
	i32 = connect.Of(connect.KindInt32)
)

func structOf(name string, fields ...connect.Field) *connect.Schema {
	return connect.SchemaDef{Kind: connect.KindStruct, Name: name, Fields: fields}.MustBuild()
}

// TestForms holds the very bytes Kafka Connect's converter writes for these values.
func TestForms(t *testing.T) {
	numeric, plain := connect.Config{"decimal.format": "NUMERIC"}, connect.Config{"schemas.enable": "false"}
	point := structOf("p", connect.Field{Name: "x", Schema: i32}, connect.Field{Name: "y", Schema: str.AsOptional()})
	dec := connect.DecimalSchema(0, 2)
	def := connect.SchemaDef{Kind: connect.KindInt32, Optional: true, Default: connect.Int32(7)}.MustBuild()
	for _, c := range []struct {
		config connect.Config
		schema *connect.Schema
		value  connect.Value
		want   string
	}{
		{nil, connect.Of(connect.KindBool), connect.Bool(true), `{"schema":{"type":"boolean","optional":false},"payload":true}`},
		{nil, connect.Of(connect.KindFloat32), connect.Float32(12.34), `{"schema":{"type":"float","optional":false},"payload":12.34}`},
		{nil, connect.Of(connect.KindFloat64), connect.Float64(1e10), `{"schema":{"type":"double","optional":false},"payload":1.0E10}`},
		{nil, connect.Of(connect.KindFloat64), connect.Float64(math.NaN()), `{"schema":{"type":"double","optional":false},"payload":"NaN"}`},
		{nil, connect.Of(connect.KindBytes), connect.Bytes([]byte("test-string")), `{"schema":{"type":"bytes","optional":false},"payload":"dGVzdC1zdHJpbmc="}`},
		{nil, str, connect.String("a\"\\/\u00e4\x01\x1f\t\u007f"), `{"schema":{"type":"string","optional":false},"payload":"a\"\\/ä\u0001\u001F\t` + "\u007f" + `"}`},
		{nil, str, connect.String("😀"), `{"schema":{"type":"string","optional":false},"payload":"\uD83D\uDE00"}`},
		{nil, str.AsOptional(), connect.Value{}, `{"schema":{"type":"string","optional":true},"payload":null}`},
		{nil, nil, connect.String("x"), `{"schema":null,"payload":"x"}`},
		{
			nil, connect.SchemaDef{Kind: connect.KindArray, Elem: i32}.MustBuild(), connect.Array([]connect.Value{connect.Int32(1), connect.Int32(2)}),
			`{"schema":{"type":"array","items":{"type":"int32","optional":false},"optional":false},"payload":[1,2]}`,
		},
		{
			nil, connect.SchemaDef{Kind: connect.KindMap, Key: str, Elem: i32}.MustBuild(), connect.Map([]connect.MapEntry{{Key: connect.String("k"), Value: connect.Int32(12)}}),
			`{"schema":{"type":"map","keys":{"type":"string","optional":false},"values":{"type":"int32","optional":false},"optional":false},"payload":{"k":12}}`,
		},
		{
			nil, connect.SchemaDef{Kind: connect.KindMap, Key: i32, Elem: i32}.MustBuild(), connect.Map([]connect.MapEntry{{Key: connect.Int32(1), Value: connect.Int32(12)}}),
			`{"schema":{"type":"map","keys":{"type":"int32","optional":false},"values":{"type":"int32","optional":false},"optional":false},"payload":[[1,12]]}`,
		},
		{
			nil, point, connect.StructValue(point.StructOf([]connect.Value{connect.Int32(1), {}})),
			`{"schema":{"type":"struct","fields":[{"type":"int32","optional":false,"field":"x"},{"type":"string","optional":true,"field":"y"}],"optional":false,"name":"p"},"payload":{"x":1,"y":null}}`,
		},
		{
			nil, dec, connect.Bytes([]byte{0, 156}),
			`{"schema":{"type":"bytes","optional":false,"name":"org.apache.kafka.connect.data.Decimal","version":1,"parameters":{"scale":"2"}},"payload":"AJw="}`,
		},
		{
			numeric, dec, connect.Bytes([]byte{0, 156}),
			`{"schema":{"type":"bytes","optional":false,"name":"org.apache.kafka.connect.data.Decimal","version":1,"parameters":{"scale":"2"}},"payload":1.56}`,
		},
		{
			numeric, connect.DecimalSchema(0, 9).AsOptional(), connect.Bytes([]byte{12}),
			`{"schema":{"type":"bytes","optional":true,"name":"org.apache.kafka.connect.data.Decimal","version":1,"parameters":{"scale":"9"}},"payload":1.2E-8}`,
		},
		{nil, def, connect.Value{}, `{"schema":{"type":"int32","optional":true,"default":7},"payload":7}`},
		{connect.Config{"replace.null.with.default": "false"}, def, connect.Value{}, `{"schema":{"type":"int32","optional":true,"default":7},"payload":null}`},
		{plain, str.AsOptional(), connect.Value{}, `null`},
		{plain, point, connect.StructValue(point.StructOf([]connect.Value{connect.Int32(1), connect.String("")})), `{"x":1,"y":""}`},
		{
			plain, nil, connect.Map([]connect.MapEntry{{Key: connect.String("a"), Value: connect.Array([]connect.Value{{}, connect.Bool(false)})}}), `{"a":[null,false]}`,
		},
		{plain, nil, connect.Map([]connect.MapEntry{{Key: connect.Int32(1), Value: connect.Float64(1)}}), `[[1,1.0]]`},
	} {
		got, err := converter(t, c.config).FromConnect(context.Background(), []byte{}, "t", c.schema, c.value)
		if err != nil || string(got) != c.want {
			t.Errorf("%s %v:\n got %s %v\nwant %s", c.schema, c.value, got, err, c.want)
		}
	}
}

func TestReadingPlainJSON(t *testing.T) {
	c := converter(t, connect.Config{"schemas.enable": "false"})
	for text, want := range map[string]string{
		` {"a": [1, -2.5e1, "x\u00e4\ud83d\ude00\n", null, true], "b": {}} `: `{"a":[1,-25.0,"xä😀\n",null,true],"b":{}}`,
		`9223372036854775807`: `9223372036854775807`,
		`1.0`:                 `1.0`,
		`"\ud83d"`:            `"` + "\uFFFD" + `"`,
		``:                    `null`,
		` `:                   `null`,
		`null`:                `null`,
		`[]`:                  `[]`,
	} {
		s, v, err := c.ToConnect(context.Background(), "t", []byte(text))
		if err != nil || s != nil || v.String() != want {
			t.Errorf("%s was read as %v %v %v", text, s, v, err)
		}
	}
	for _, text := range []string{
		`{`, `{"a"}`, `{"a":1,}`, `[1,]`, `[1 2]`, `01`, `1.`, `+1`, `.5`, `-`, `1e`, `nul`, `"a`, `"\x"`, `"\u12"`, "\"\x01\"", "\"\xff\"",
		`1 2`, `9223372036854775808`, `1e999`, `{a:1}`, `'a'`, strings.Repeat("[", 100000), strings.Repeat(`{"a":`, 100000), strings.Repeat("1", 5000),
	} {
		if _, v, err := c.ToConnect(context.Background(), "t", []byte(text)); err == nil {
			t.Errorf("%.40s was read as %v", text, v)
		}
	}
}

func TestReadingWithSchemas(t *testing.T) {
	c := converter(t, nil)
	for text, want := range map[string]string{
		`{"payload":1,"schema":{"type":"int8"}}`:                                                                         `int8 1`,
		`{"schema":{"type":"int64","optional":true},"payload":null}`:                                                     `int64? null`,
		`{"schema":{"type":"int32","default":5},"payload":null}`:                                                         `int32 5`,
		`{"schema":{"default":5,"type":"int32","version":3,"other":[1]},"payload":3.0}`:                                  `int32 3`,
		`{"schema":{"type":"double"},"payload":"-Infinity"}`:                                                             `float64 "-Infinity"`,
		`{"schema":{"type":"float"},"payload":3}`:                                                                        `float32 3.0`,
		`{"schema":null,"payload":[1]}`:                                                                                  `no schema [1]`,
		`{"schema":{"type":"bytes","name":"` + connect.LogicalDecimal + `","parameters":{"scale":"2"}},"payload":1.5E1}`: `bytes ` + connect.LogicalDecimal + ` 15.00`,
		`{"schema":{"type":"struct","fields":[{"type":"int32","field":"x"},{"type":"string","optional":true,"field":"y"}]},"payload":{"z":{"q":[]},"y":"a","x":1,"x":2}}`: `struct {"x":2,"y":"a"}`,
		`{"schema":{"type":"struct","fields":[{"type":"int32","field":"x","default":9}]},"payload":{}}`:                                                                   `struct {"x":9}`,
	} {
		s, v, err := c.ToConnect(context.Background(), "t", []byte(text))
		if got := s.String() + " " + string(connect.AppendJSON(nil, s, v)); err != nil || got != want {
			t.Errorf("%s was read as %s %v", text, got, err)
		}
	}
	for text, want := range map[string]string{
		`{"a":1}`:         "schemas.enable=false",
		`1`:               "schemas.enable=false",
		`{"schema":null}`: `"payload"`,
		`{"schema":{"type":"int8"},"payload":128}`:                                                                      "does not fit int8",
		`{"schema":{"type":"int8"},"payload":"1"}`:                                                                      "not a number",
		`{"schema":{"type":"int8"},"payload":1.5}`:                                                                      "no integer",
		`{"schema":{"type":"int8"},"payload":null}`:                                                                     "neither optional",
		`{"schema":{"type":"bytes"},"payload":"%"}`:                                                                     "no base64",
		`{"schema":{"type":"int7"},"payload":1}`:                                                                        `unknown schema type "int7"`,
		`{"schema":{"type":"array"},"payload":[]}`:                                                                      "element schema",
		`{"schema":{"type":"struct"},"payload":{}}`:                                                                     `no "fields"`,
		`{"schema":{"type":"map","keys":{"type":"int8"},"values":{"type":"int8"}},"payload":[[1]]}`:                     "comma between key and value",
		`{"schema":{"type":"bytes","name":"` + connect.LogicalDecimal + `","parameters":{"scale":"1"}},"payload":1.55}`: "digits after the point",
	} {
		_, v, err := c.ToConnect(context.Background(), "orders", []byte(text))
		if e := connect.AsError(err); err == nil || !strings.Contains(err.Error(), want) || e.Class != connect.ClassRecord || e.Place != "orders" {
			t.Errorf("%s was read as %v: %v", text, v, err)
		}
	}
}

func TestSchemaCacheIsBounded(t *testing.T) {
	c := converter(t, connect.Config{"schemas.cache.size": "3"})
	for i := range 10 {
		s := connect.SchemaDef{Kind: connect.KindInt32, Version: i + 1}.MustBuild()
		data, err := c.FromConnect(context.Background(), []byte{}, "t", s, connect.Int32(1))
		if err != nil {
			t.Fatal(err)
		}
		if got, _, err := c.ToConnect(context.Background(), "t", data); err != nil || got != s {
			t.Fatal(got, err)
		}
		if len(c.known) > 3 || len(c.out.plans) > 3 || len(c.in.plans) > 3 {
			t.Fatal("the caches hold more than they should")
		}
	}
}

func TestWritingDoesNotAllocate(t *testing.T) {
	c := converter(t, nil)
	s, v := connecttest.ChangeSample()
	buf := make([]byte, 0, 1<<16)
	if n := testing.AllocsPerRun(100, func() {
		if _, err := c.FromConnect(context.Background(), buf, "t", s, v); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations for each record", n)
	}
}

func FuzzRead(f *testing.F) {
	s, v := connecttest.ChangeSample()
	for _, schemas := range []string{"true", "false"} {
		data, err := converter(f, connect.Config{"schemas.enable": schemas}).FromConnect(context.Background(), []byte{}, "t", s, v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte(`{"schema":{"type":"map","keys":{"type":"int8"},"values":{"type":"bytes","default":"AA=="}},"payload":[[1,null]]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, schemas := range []string{"true", "false"} {
			c := converter(t, connect.Config{"schemas.enable": schemas})
			s, v, err := c.ToConnect(context.Background(), "t", data)
			if err != nil {
				continue
			}
			if s != nil {
				if err := s.Check(v); err != nil {
					t.Fatalf("%q: %v", data, err)
				}
			}
			back, err := c.FromConnect(context.Background(), []byte{}, "t", s, v)
			if err != nil {
				t.Fatalf("%q was read, but cannot be written: %v", data, err)
			}
			if _, again, err := c.ToConnect(context.Background(), "t", back); err != nil || again.String() != v.String() {
				t.Fatalf("%q became %q: %v", data, back, err)
			}
		}
	})
}

func BenchmarkWriteEnvelope(b *testing.B) {
	for name, schemas := range map[string]string{"schemas": "true", "plain": "false"} {
		b.Run(name, func(b *testing.B) {
			c := converter(b, connect.Config{"schemas.enable": schemas})
			s, v := connecttest.ChangeSample()
			buf := make([]byte, 0, 1<<16)
			b.ReportAllocs()
			for b.Loop() {
				out, err := c.FromConnect(context.Background(), buf, "t", s, v)
				if err != nil {
					b.Fatal(err)
				}
				b.SetBytes(int64(len(out)))
			}
		})
	}
}

func BenchmarkReadEnvelope(b *testing.B) {
	for name, schemas := range map[string]string{"schemas": "true", "plain": "false"} {
		b.Run(name, func(b *testing.B) {
			c := converter(b, connect.Config{"schemas.enable": schemas})
			s, v := connecttest.ChangeSample()
			data, err := c.FromConnect(context.Background(), []byte{}, "t", s, v)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := c.ToConnect(context.Background(), "t", data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
