package serde_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/converters/avro"
	"github.com/tidemill/tidemill/converters/json"
	"github.com/tidemill/tidemill/internal/devstack"
	"github.com/tidemill/tidemill/streams/serde"
)

// everything has a field of every sort that a struct may have.
type everything struct {
	Bool    bool                `connect:"bool"`
	Int8    int8                `connect:"int8"`
	Int16   int16               `connect:"int16"`
	Int32   int32               `connect:"int32"`
	Int64   int64               `connect:"int64"`
	Int     int                 `connect:"int"`
	Uint8   uint8               `connect:"uint8"`
	Uint16  uint16              `connect:"uint16"`
	Uint32  uint32              `connect:"uint32"`
	Float32 float32             `connect:"float32"`
	Float64 float64             `connect:"float64"`
	Text    string              `connect:"text"`
	Bytes   []byte              `connect:"bytes"`
	At      time.Time           `connect:"at"`
	Line    line                `connect:"line"`
	Lines   []line              `connect:"lines"`
	ByName  map[string]line     `connect:"by_name"`
	Nested  [][]string          `connect:"nested"`
	Maybe   map[string]*float64 `connect:"maybe"`
	PBool   *bool               `connect:"p_bool"`
	PInt    *int32              `connect:"p_int"`
	PText   *string             `connect:"p_text"`
	PAt     *time.Time          `connect:"p_at"`
	PLine   *line               `connect:"p_line"`
	PLines  *[]line             `connect:"p_lines"`
}

func randomLine(t *rapid.T) line {
	return line{Article: text(t), Count: rapid.Int32().Draw(t, "count")}
}

// text is a string that has UTF-8, as all formats want it.
func text(t *rapid.T) string {
	return strings.ToValidUTF8(rapid.String().Filter(utf8.ValidString).Draw(t, "text"), "")
}

// moment is a time of whole milliseconds, in UTC.
func moment(t *rapid.T) time.Time {
	return time.UnixMilli(rapid.Int64Range(-1<<45, 1<<45).Draw(t, "at")).UTC()
}

func many[T any](t *rapid.T, one func(*rapid.T) T) []T {
	list := make([]T, rapid.IntRange(0, 3).Draw(t, "many"))
	for i := range list {
		list[i] = one(t)
	}
	return list
}

func named[T any](t *rapid.T, one func(*rapid.T) T) map[string]T {
	all := map[string]T{}
	for range rapid.IntRange(0, 3).Draw(t, "named") {
		all[text(t)] = one(t)
	}
	return all
}

func maybe[T any](one func(*rapid.T) T) func(*rapid.T) *T {
	return func(t *rapid.T) *T {
		if rapid.Bool().Draw(t, "absent") {
			return nil
		}
		v := one(t)
		return &v
	}
}

func number(t *rapid.T) float64 { return rapid.Float64().Draw(t, "float64") }

func randomEverything(t *rapid.T) everything {
	lines := func(t *rapid.T) []line { return many(t, randomLine) }
	return everything{
		Bool: rapid.Bool().Draw(t, "bool"), Int8: rapid.Int8().Draw(t, "int8"), Int16: rapid.Int16().Draw(t, "int16"), Int32: rapid.Int32().Draw(t, "int32"),
		Int64: rapid.Int64().Draw(t, "int64"), Int: rapid.Int().Draw(t, "int"), Uint8: rapid.Uint8().Draw(t, "uint8"), Uint16: rapid.Uint16().Draw(t, "uint16"),
		Uint32: rapid.Uint32().Draw(t, "uint32"), Float32: rapid.Float32().Draw(t, "float32"), Float64: number(t), Text: text(t),
		Bytes: append([]byte{}, rapid.SliceOfN(rapid.Byte(), 0, 9).Draw(t, "bytes")...), At: moment(t), Line: randomLine(t), Lines: lines(t),
		ByName: named(t, randomLine), Nested: many(t, func(t *rapid.T) []string { return many(t, text) }), Maybe: named(t, maybe(number)),
		PBool: maybe(func(t *rapid.T) bool { return rapid.Bool().Draw(t, "p_bool") })(t), PInt: maybe(func(t *rapid.T) int32 { return rapid.Int32().Draw(t, "p_int") })(t),
		PText: maybe(text)(t), PAt: maybe(moment)(t), PLine: maybe(randomLine)(t), PLines: maybe(lines)(t),
	}
}

// converterOf makes a converter that is configured, as each process has one of its own.
func converterOf(t *testing.T, c connect.Converter, config connect.Config) connect.Converter {
	t.Helper()
	if err := c.Configure(config, false); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// converters make one after the other for each format that has its schema with it.
func converters(t *testing.T) map[string]func() connect.Converter {
	t.Helper()
	registry := devstack.TestRegistry(t)
	avroWith := func(more connect.Config) func() connect.Converter {
		config := connect.Config{"schema.registry.url": registry}
		for k, v := range more {
			config[k] = v
		}
		return func() connect.Converter { return converterOf(t, &avro.Converter{}, config) }
	}
	return map[string]func() connect.Converter{
		"Avro": avroWith(nil), "Avro, named by records": avroWith(connect.Config{"value.subject.name.strategy": "TopicRecordNameStrategy"}),
		"JSON with schemas": func() connect.Converter {
			return converterOf(t, &json.Converter{}, connect.Config{"schemas.enable": "true"})
		},
	}
}

// TestStructsOfAllFormats writes random structs through the real converters, and has them
// read by another process: another converter, which has to ask the registry.
func TestStructsOfAllFormats(t *testing.T) {
	for name, converter := range converters(t) {
		t.Run(name, func(t *testing.T) {
			writer, reader := structOf[everything](t, converter()), structOf[everything](t, converter())
			topic := "all-" + strings.ReplaceAll(name, " ", "-")
			in, out := serde.Bind(writer, topic, false), serde.Bind(reader, topic, false)
			var before, wanted everything // The last one: what is read next leaves it alone.
			rapid.Check(t, func(t *rapid.T) {
				want := randomEverything(t)
				b, err := in.Append([]byte("before"), want)
				if err != nil || !strings.HasPrefix(string(b), "before") {
					t.Fatalf("%q, %v", b, err)
				}
				again, err := in.Append(nil, want)
				if err != nil || string(again) != string(b[len("before"):]) {
					t.Fatalf("written again: %q, %v", again, err)
				}
				got, err := out.Decode(again)
				clear(again)
				if err != nil || !reflect.DeepEqual(got, want) {
					t.Fatalf("%+v\ncame back as\n%+v, %v", want, got, err)
				}
				if !reflect.DeepEqual(before, wanted) {
					t.Fatalf("%+v\nbecame\n%+v when the next was read", wanted, before)
				}
				before, wanted = got, want
			})
		})
	}
}

// TestStructsOfManyValues goes beyond what there is room for at first, and back.
func TestStructsOfManyValues(t *testing.T) {
	type numbers struct {
		Rows [][]int64 `connect:"rows"`
		Last *float64  `connect:"last"`
	}
	for name, converter := range converters(t) {
		t.Run(name, func(t *testing.T) {
			s := serde.Bind(structOf[numbers](t, converter()), "many-"+strings.ReplaceAll(name, " ", "-"), false)
			random := rand.New(rand.NewPCG(1, 2))
			var before, wanted numbers
			for range 300 {
				want := numbers{Rows: make([][]int64, random.IntN(3)*random.IntN(100))}
				for i := range want.Rows {
					want.Rows[i] = make([]int64, random.IntN(70))
					for j := range want.Rows[i] {
						want.Rows[i][j] = random.Int64N(100)
					}
				}
				if random.IntN(2) == 0 {
					last := random.Float64()
					want.Last = &last
				}
				b, err := s.Append(nil, want)
				if err != nil {
					t.Fatal(err)
				}
				got, err := s.Decode(b)
				clear(b)
				if err != nil || !reflect.DeepEqual(got, want) {
					t.Fatalf("%+v\ncame back as\n%+v, %v", want, got, err)
				}
				if !reflect.DeepEqual(before, wanted) {
					t.Fatalf("%+v\nbecame\n%+v when the next was read", wanted, before)
				}
				before, wanted = got, want
			}
		})
	}
}

func structOf[T any](t *testing.T, c connect.Converter) serde.Serde[T] {
	t.Helper()
	s, err := serde.Struct[T](c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestStructsMeetOtherSchemas reads what was written with fewer, more and narrower fields,
// and wants an error where a value has no place.
func TestStructsMeetOtherSchemas(t *testing.T) {
	type was struct {
		New   string `connect:"new"`
		ID    int32  `connect:"id"`
		Small int64  `connect:"small"`
	}
	type now struct {
		ID    int64   `connect:"id"`
		Small uint16  `connect:"small"`
		Note  *string `connect:"note"`
	}
	for name, converter := range converters(t) {
		t.Run(name, func(t *testing.T) {
			old, young := serde.Bind(structOf[was](t, converter()), "schemas", false), serde.Bind(structOf[now](t, converter()), "schemas", false)
			for _, c := range []struct {
				in   was
				want string
			}{{was{"x", 7, 8}, "{7 8 <nil>} <nil>"}, {was{"x", 7, -1}, "field small: -1 does not fit into uint16"}, {was{"x", 7, 70_000}, "field small: 70000 does not fit into uint16"}} {
				b, err := old.Append(nil, c.in)
				if err != nil {
					t.Fatal(err)
				}
				got, err := young.Decode(b)
				if said := fmt.Sprintf("%v %v", got, err); !strings.HasSuffix(said, c.want) || (err != nil) == strings.HasSuffix(c.want, "<nil>") {
					t.Errorf("%+v gave %s, want %s", c.in, said, c.want)
				}
			}
			for _, damaged := range []string{"", "\x00", "\x00\x00\x00\x00\x7f", "{}", "{\"schema\":null,\"payload\":7}"} {
				if v, err := young.Decode([]byte(damaged)); err == nil {
					t.Errorf("%q was read as %+v", damaged, v)
				}
			}
		})
	}
}

// TestRegistryRefusesWhatBreaksReaders writes a struct to a topic whose registry holds
// another one that its readers could not bring together with it.
func TestRegistryRefusesWhatBreaksReaders(t *testing.T) {
	type first struct {
		ID int64 `connect:"id"`
	}
	type second struct {
		ID string `connect:"id"`
	}
	registry := devstack.TestRegistry(t)
	converter := func() connect.Converter {
		return converterOf(t, &avro.Converter{}, connect.Config{"schema.registry.url": registry})
	}
	if _, err := serde.Bind(structOf[first](t, converter()), "ids", false).Append(nil, first{1}); err != nil {
		t.Fatal(err)
	}
	if b, err := serde.Bind(structOf[second](t, converter()), "ids", false).Append(nil, second{"a"}); err == nil {
		t.Errorf("an incompatible schema was taken: %q", b)
	}
}
