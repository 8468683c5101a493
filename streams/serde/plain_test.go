package serde_test

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/converters/json"
	"github.com/tidemill/tidemill/streams/serde"
)

// TestKafkaForms compares with what Kafka's own serializers write.
func TestKafkaForms(t *testing.T) {
	id := [16]byte{0xca, 0x76, 0x1f, 0x5d, 15: 0x0a}
	check := func(name string, got, want any) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %v came back as %v", name, want, got)
		}
	}
	check("int32", roundTrip(t, serde.Int32{}, -2, "\xff\xff\xff\xfe"), int32(-2))
	check("int16", roundTrip(t, serde.Int16{}, 258, "\x01\x02"), int16(258))
	check("float32", roundTrip(t, serde.Float32{}, 1.5, "\x3f\xc0\x00\x00"), float32(1.5))
	check("true", roundTrip(t, serde.Bool{}, true, "\x01"), true)
	check("false", roundTrip(t, serde.Bool{}, false, "\x00"), false)
	check("uuid", roundTrip(t, serde.UUID{}, id, "ca761f5d-0000-0000-0000-00000000000a"), id)
	for name, decode := range map[string]func([]byte) error{
		"int32":   func(b []byte) error { _, err := serde.Int32{}.Decode(b); return err },
		"int16":   func(b []byte) error { _, err := serde.Int16{}.Decode(b); return err },
		"float32": func(b []byte) error { _, err := serde.Float32{}.Decode(b); return err },
		"bool":    func(b []byte) error { _, err := serde.Bool{}.Decode(b); return err },
		"uuid":    func(b []byte) error { _, err := serde.UUID{}.Decode(b); return err },
		"json":    func(b []byte) error { _, err := serde.JSON[int]{}.Decode(b); return err },
	} {
		for _, bad := range []string{"", "\x02", "abc", "ca761f5d-0000-0000-0000-00000000000", "ga761f5d-0000-0000-0000-00000000000a", "ca761f5d00000-0000-0000-00000000000a"} {
			if decode([]byte(bad)) == nil {
				t.Errorf("%q was read as %s", bad, name)
			}
		}
	}
}

type line struct {
	Article string
	Count   int32
}

type order struct {
	ID      int64             `connect:"id"`
	Small   uint16            `connect:"small"`
	Price   float64           `connect:"price"`
	Paid    bool              `connect:"paid"`
	Note    *string           `connect:"note"`
	Raw     []byte            `connect:"raw"`
	Lines   []line            `connect:"lines"`
	First   *line             `connect:"first"`
	Tags    map[string]string `connect:"tags"`
	At      time.Time         `connect:"at"`
	Ignored string            `connect:"-"`
}

// jsonConverter is Connect's JSON format, with the schema beside the data.
func jsonConverter(t *testing.T) connect.Converter {
	t.Helper()
	c := &json.Converter{}
	if err := c.Configure(connect.Config{"schemas.enable": "true"}, false); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestStruct(t *testing.T) {
	s, err := serde.Struct[order](jsonConverter(t))
	if err != nil {
		t.Fatal(err)
	}
	note := "now"
	for _, want := range []order{
		{
			ID: -1, Small: 65535, Price: 1.25, Paid: true, Note: &note, Raw: []byte{0, 255}, Lines: []line{{"tea", 2}, {"ale", -1}},
			First: &line{"tea", 2}, Tags: map[string]string{"b": "2", "a": "1"}, At: time.UnixMilli(1_700_000_000_123).UTC(),
		},
		{Raw: []byte{}, Lines: []line{}, Tags: map[string]string{}, At: time.UnixMilli(0).UTC()},
	} {
		got := roundTrip(t, serde.Bind(s, "orders", false), want, "")
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%+v came back as %+v", want, got)
		}
	}
}

// TestStructReadsOtherSchemas reads what was written with more, fewer and wider fields.
func TestStructReadsOtherSchemas(t *testing.T) {
	type was struct {
		New   string `connect:"new"`
		ID    int32  `connect:"id"`
		Small int64  `connect:"small"`
	}
	old, err := serde.Struct[was](jsonConverter(t))
	if err != nil {
		t.Fatal(err)
	}
	now, err := serde.Struct[order](jsonConverter(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		in   was
		want string
	}{{was{"x", 7, 8}, "id 7, small 8, <nil>"}, {was{"x", 7, 70_000}, "id 0, small 0, field small: 70000 does not fit into uint16"}, {was{"x", 7, -1}, "id 0, small 0, field small: -1 does not fit into uint16"}} {
		b, err := old.Append(nil, c.in)
		if err != nil {
			t.Fatal(err)
		}
		got, err := now.Decode(b)
		if err != nil {
			got = order{}
		}
		if s := fmt.Sprintf("id %d, small %d, %v", got.ID, got.Small, err); s != c.want {
			t.Errorf("%+v gave %s, want %s", c.in, s, c.want)
		}
	}
	if v, err := now.Decode([]byte(`{"schema":{"type":"struct","fields":[{"field":"id","type":"int64","optional":true}]},"payload":{"id":null}}`)); err == nil {
		t.Errorf("a null went into an integer: %+v", v)
	}
	if v, err := now.Decode([]byte(`{"schema":{"type":"struct","fields":[{"field":"id","type":"string"}]},"payload":{"id":"7"}}`)); err == nil {
		t.Errorf("a text went into an integer: %+v", v)
	}
}

type endless struct{ Next *endless }

func TestStructRefuses(t *testing.T) {
	c := jsonConverter(t)
	_, loop := serde.Struct[endless](c)
	_, channel := serde.Struct[struct{ C chan int }](c)
	_, keys := serde.Struct[struct{ M map[int]string }](c)
	_, unsigned := serde.Struct[struct{ U uint64 }](c)
	_, scalar := serde.Struct[int](c)
	_, moment := serde.Struct[time.Time](c)
	for name, err := range map[string]error{"a type in itself": loop, "a channel": channel, "a map by numbers": keys, "64 bits without sign": unsigned, "no struct": scalar, "a time": moment} {
		if err == nil {
			t.Errorf("%s got a schema", name)
		}
	}
}

func BenchmarkStruct(b *testing.B) {
	c := &json.Converter{}
	if err := c.Configure(connect.Config{"schemas.enable": "true"}, false); err != nil {
		b.Fatal(err)
	}
	s, err := serde.Struct[line](c)
	if err != nil {
		b.Fatal(err)
	}
	var buf []byte
	for b.Loop() {
		if buf, err = s.Append(buf[:0], line{"tea", 3}); err != nil {
			b.Fatal(err)
		}
		if _, err := s.Decode(buf); err != nil {
			b.Fatal(err)
		}
	}
}
