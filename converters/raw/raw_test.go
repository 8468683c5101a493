package raw

import (
	"context"
	"encoding/hex"
	"math"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/connect"
)

func converter(t *testing.T, class string, config connect.Config) connect.Converter {
	t.Helper()
	p, err := connect.FindPlugin(Plugins(), class)
	if err != nil {
		t.Fatal(err)
	}
	c := p.New()
	if err := c.Configure(config, false); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestFixedBytes compares with the bytes Kafka's serializers write.
func TestFixedBytes(t *testing.T) {
	for _, c := range []struct {
		class, hex string
		value      connect.Value
	}{
		{"org.apache.kafka.connect.converters.ShortConverter", "fffe", connect.IntOf(connect.KindInt16, -2)},
		{"org.apache.kafka.connect.converters.IntegerConverter", "00000100", connect.Int32(256)},
		{"org.apache.kafka.connect.converters.LongConverter", "8000000000000000", connect.Int64(math.MinInt64)},
		{"org.apache.kafka.connect.converters.FloatConverter", "3fc00000", connect.Float32(1.5)},
		{"org.apache.kafka.connect.converters.DoubleConverter", "bff8000000000000", connect.Float64(-1.5)},
		{"org.apache.kafka.connect.converters.BooleanConverter", "01", connect.Bool(true)},
		{"org.apache.kafka.connect.converters.ByteArrayConverter", "00ff", connect.Bytes([]byte{0, 255})},
		{"StringConverter", "c3a4", connect.String("ä")},
		{"tidemill.Long", "0000000000000007", connect.Int64(7)},
	} {
		conv := converter(t, c.class, nil)
		got, err := conv.FromConnect(context.Background(), []byte("x"), "t", nil, c.value)
		if err != nil || hex.EncodeToString(got) != "78"+c.hex {
			t.Errorf("%s: %x %v", c.class, got, err)
			continue
		}
		s, v, err := conv.ToConnect(context.Background(), "t", got[1:])
		if err != nil || !v.Equal(c.value) || s == nil || !s.Optional() || s.Check(v) != nil {
			t.Errorf("%s: back %v %v %v", c.class, s, v, err)
		}
		if s, v, err := conv.ToConnect(context.Background(), "t", nil); s != nil || !v.IsNull() || err != nil {
			t.Errorf("%s: null came back as %v %v %v", c.class, s, v, err)
		}
		if b, err := conv.FromConnect(context.Background(), []byte("x"), "t", nil, connect.Value{}); b != nil || err != nil {
			t.Errorf("%s: null became %q %v", c.class, b, err)
		}
	}
}

func TestFixedFaults(t *testing.T) {
	ctx := context.Background()
	for class, data := range map[string]string{"ShortConverter": "123", "LongConverter": "", "BooleanConverter": "\x02", "StringConverter": "\xff"} {
		_, _, err := converter(t, class, nil).ToConnect(ctx, "orders", []byte(data))
		if e := connect.AsError(err); e == nil || e.Class != connect.ClassRecord || e.Place != "orders" {
			t.Errorf("%s: %v", class, err)
		}
	}
	for class, v := range map[string]connect.Value{
		"ShortConverter": connect.Int32(40000), "IntegerConverter": connect.String("1"),
		"ByteArrayConverter": connect.String("x"), "BooleanConverter": connect.Int32(1),
	} {
		if b, err := converter(t, class, nil).FromConnect(ctx, []byte{}, "t", nil, v); err == nil {
			t.Errorf("%s wrote %x for %v", class, b, v)
		}
	}
}

func TestEncodings(t *testing.T) {
	ctx := context.Background()
	latin := converter(t, "StringConverter", connect.Config{"converter.encoding": "ISO-8859-1"})
	b, err := latin.FromConnect(ctx, []byte{}, "t", nil, connect.String("ä"))
	if err != nil || string(b) != "\xe4" {
		t.Errorf("%x %v", b, err)
	}
	if _, v, err := latin.ToConnect(ctx, "t", b); err != nil || v.Str() != "ä" {
		t.Errorf("%v %v", v, err)
	}
	if _, err := latin.FromConnect(ctx, []byte{}, "t", nil, connect.String("€")); err == nil {
		t.Error("a euro sign became ISO-8859-1")
	}
	err = (&Text{}).Configure(connect.Config{"converter.encodin": "UTF-8"}, true)
	if err == nil || !strings.Contains(err.Error(), "did you mean converter.encoding?") {
		t.Error(err)
	}
	if err := (&Text{}).Configure(connect.Config{"schemas.enable": "false"}, true); err != nil {
		t.Error("a setting left over from another converter is refused:", err)
	}
}

func row() (*connect.Schema, connect.Value) {
	s := connect.SchemaDef{Kind: connect.KindStruct, Fields: []connect.Field{
		{Name: "id", Schema: connect.Of(connect.KindInt64)},
		{Name: "name", Schema: connect.Of(connect.KindString).AsOptional()},
		{Name: "gone", Schema: connect.Of(connect.KindString).AsOptional()},
		{Name: "price", Schema: connect.DecimalSchema(0, 2)},
		{Name: "day", Schema: logical(connect.KindInt32, connect.LogicalDate)},
		{Name: "tags", Schema: connect.SchemaDef{Kind: connect.KindArray, Elem: connect.Of(connect.KindString)}.MustBuild()},
	}}.MustBuild()
	v := s.StructOf([]connect.Value{
		connect.Int64(1), connect.String(`a"b`), {}, connect.Bytes([]byte{0x04, 0xd2}), connect.Int32(18262),
		connect.Array([]connect.Value{connect.String("x"), connect.String("y")}),
	})
	return s, connect.StructValue(v)
}

func TestPrintedForms(t *testing.T) {
	s, v := row()
	got, err := converter(t, "StringConverter", nil).FromConnect(context.Background(), []byte{}, "t", s, v)
	if want := `Struct{id=1,name=a"b,price=12.34,day=2020-01-01,tags=[x, y]}`; err != nil || string(got) != want {
		t.Errorf("%s %v", got, err)
	}
	got, err = SimpleHeaders{}.FromConnectHeader([]byte{}, "t", connect.Header{Schema: s, Value: v})
	if want := `{"id":1,"name":"a\"b","gone":null,"price":12.34,"day":"2020-01-01","tags":["x","y"]}`; err != nil || string(got) != want {
		t.Errorf("%s %v", got, err)
	}
	for f, want := range map[float64]string{0: "0.0", 1: "1.0", 1e7: "1.0E7", 123456.5: "123456.5", 1e-3: "0.001", 1.5e-4: "1.5E-4", 1e300: "1.0E300", math.Inf(-1): "-Infinity"} {
		if got := string(connect.AppendFloat(nil, f, 64)); got != want {
			t.Errorf("%v is printed %s, not %s", f, got, want)
		}
	}
}

// TestGuesses holds what Kafka Connect's Values.parseString makes of these texts,
// save where that would lose digits.
func TestGuesses(t *testing.T) {
	for text, want := range map[string]string{
		"":                         `string ""`,
		"null":                     "no schema null",
		"true":                     "boolean true",
		"true}":                    `string "true}"`,
		"1":                        "int8 1",
		"-300":                     "int16 -300",
		"100000":                   "int32 100000",
		"3000000000":               "int64 3000000000",
		"99999999999999999999":     "bytes " + connect.LogicalDecimal + " 99999999999999999999",
		"1.0":                      "int8 1",
		"1e2":                      "int8 100",
		"3.14":                     "float32 3.14",
		"3.14159265358979":         "float64 3.14159265358979",
		"0.12345678901234567890":   "bytes " + connect.LogicalDecimal + " 0.1234567890123456789",
		"1e999999999":              `string "1e999999999"`,
		"0x10":                     `string "0x10"`,
		"Infinity":                 `string "Infinity"`,
		"hello":                    `string "hello"`,
		" hello ":                  `string " hello "`,
		"2019-08-23":               "int32 " + connect.LogicalDate + " 18131",
		"14:34:54.346Z":            "int32 " + connect.LogicalTime + " 52494346",
		"2019-08-23T14:34:54.346Z": "int64 " + connect.LogicalTimestamp + " 1566570894346",
		"2019-13-23":               `string "2019-13-23"`,
		"[1, 2, 300]":              "array [1,2,300]",
		"[1, 2.5]":                 "array [1.0,2.5]",
		`["a", null]`:              `array ["a",null]`,
		"[]":                       "no schema []",
		`[1, "a"]`:                 `no schema [1,"a"]`,
		"[1, a]":                   `string "[1, a]"`,
		"[1, 2] x":                 `string "[1, 2] x"`,
		`{"a": 1, "b": 70000}`:     `map {"a":1,"b":70000}`,
		`{1: 14:34:54.346Z}`:       `map [[1,52494346]]`,
		`{"a\"b": "\\"}`:           `map {"a\"b":"\\"}`,
		`{null: 1}`:                `string "{null: 1}"`,
	} {
		h, err := SimpleHeaders{}.ToConnectHeader("t", "k", []byte(text))
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		got := h.Schema.String() + " " + string(connect.AppendJSON(nil, h.Schema, h.Value))
		if got != want {
			t.Errorf("%q was read as %s, not %s", text, got, want)
		}
		if h.Schema != nil {
			if err := h.Schema.Check(h.Value); err != nil {
				t.Errorf("%q: %v", text, err)
			}
		}
	}
}

func TestHeaderPluginsConvert(t *testing.T) {
	for _, p := range HeaderPlugins() {
		c := p.New()
		if err := c.Configure(nil); err != nil {
			t.Fatal(err)
		}
		if b, err := c.FromConnectHeader([]byte("x"), "t", connect.Header{}); b != nil || err != nil {
			t.Errorf("%s: null became %q %v", p.Class, b, err)
		}
		if h, err := c.ToConnectHeader("t", "k", nil); h.Key != "k" || !h.Value.IsNull() || err != nil {
			t.Errorf("%s: %v %v", p.Class, h, err)
		}
	}
}

// FuzzGuess looks for text that is read as something that does not fit its schema,
// or that is read otherwise once written again.
func FuzzGuess(f *testing.F) {
	for _, text := range []string{"1", "[1,2.5]", `{"a":[1,{"b":null}]}`, "2019-08-23", `["\\"]`, "-1e-5"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		h, err := SimpleHeaders{}.ToConnectHeader("t", "k", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if h.Schema != nil {
			if err := h.Schema.Check(h.Value); err != nil {
				t.Fatalf("%q: %v", text, err)
			}
		}
		b, err := SimpleHeaders{}.FromConnectHeader([]byte{}, "t", h)
		if err != nil || b == nil && !h.Value.IsNull() {
			t.Fatalf("%q: %v", text, err)
		}
		if again, _ := (SimpleHeaders{}).ToConnectHeader("t", "k", b); h.Schema != nil && h.Schema.Kind() < connect.KindBool && !again.Value.Equal(h.Value) {
			t.Fatalf("%q became %s and then %v", text, b, again.Value)
		}
	})
}
