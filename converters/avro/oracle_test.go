package avro

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/linkedin/goavro/v2"
	twmb "github.com/twmb/avro"
	"pgregory.net/rapid"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/connect/connecttest"
)

// inOrder puts the entries of maps in the order of their keys, one for each, since
// the oracles read maps into Go's, which have no order. A key that is the name of a
// type is left out: a map of that one key is to them a value of a union.
func inOrder(v connect.Value) connect.Value {
	switch v.Kind() {
	case connect.KindArray:
		elems := slices.Clone(v.Array())
		for i := range elems {
			elems[i] = inOrder(elems[i])
		}
		return connect.Array(elems)
	case connect.KindMap:
		var entries []connect.MapEntry
		for _, e := range v.Map() {
			if e.Key.Kind() == connect.KindString && e.Key.Str() == "null" {
				continue
			}
			entries = append(entries, connect.MapEntry{Key: inOrder(e.Key), Value: inOrder(e.Value)})
		}
		order := func(a, b connect.MapEntry) int { return strings.Compare(a.Key.String(), b.Key.String()) }
		slices.SortStableFunc(entries, order)
		return connect.Map(slices.CompactFunc(entries, func(a, b connect.MapEntry) bool { return order(a, b) == 0 }))
	case connect.KindStruct:
		st := v.Struct().Schema().NewStruct()
		for i, f := range v.Struct().Values() {
			st.Set(i, inOrder(f))
		}
		return connect.StructValue(st)
	}
	return v
}

// oracle is an independent implementation: it reads what it is given, and writes
// again what it has read.
type oracle func(t *rapid.T, schema string, data []byte) []byte

func linkedin(t *rapid.T, schema string, data []byte) []byte {
	// It takes a default that is the word null for null itself.
	schema = strings.ReplaceAll(schema, `"default":"null"`, `"default":"nil"`)
	codec, err := goavro.NewCodec(schema)
	if err != nil {
		t.Fatalf("goavro: %v: %s", err, schema)
	}
	v, rest, err := codec.NativeFromBinary(data)
	if err != nil || len(rest) > 0 {
		t.Fatalf("goavro reads %x with %s: %v, %d bytes left", data, schema, err, len(rest))
	}
	out, err := codec.BinaryFromNative(nil, v)
	if err != nil {
		t.Fatalf("goavro writes %v with %s: %v", v, schema, err)
	}
	return out
}

func franz(t *rapid.T, schema string, data []byte) []byte {
	s, err := twmb.Parse(schema)
	if err != nil {
		t.Fatalf("twmb: %v: %s", err, schema)
	}
	var v any
	rest, err := s.Decode(data, &v)
	if err != nil || len(rest) > 0 {
		t.Fatalf("twmb reads %x with %s: %v, %d bytes left", data, schema, err, len(rest))
	}
	out, err := s.AppendEncode(nil, &v)
	if err != nil {
		t.Fatalf("twmb writes %v with %s: %v", v, schema, err)
	}
	return out
}

// TestOracles has values of random schemas go to independent implementations and
// back: they must read all of what is written here, and here all of what they write
// must be read as the same. Logical types are hidden from them: they turn numbers
// into times of a smaller range.
func TestOracles(t *testing.T) {
	for name, other := range map[string]oracle{"linkedin/goavro": linkedin, "twmb/avro": franz} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 9))
				s := connecttest.RandomSchema(r)
				n, err := usual.toAvro(s)
				if err != nil {
					t.Fatal(err)
				}
				enc, err := usual.newEncoder(s, n)
				if err != nil {
					t.Fatal(err)
				}
				dec, err := usual.newDecoder(s, n)
				if err != nil {
					t.Fatal(err)
				}
				v := inOrder(connecttest.RandomValue(r, s))
				data, err := enc.append(nil, v)
				if err != nil {
					t.Fatal(err)
				}
				text := strings.ReplaceAll(schemaText(n), `"logicalType":`, `"hidden":`)
				back, err := (&slab{}).read(dec, other(t, text, bytes.Clone(data)))
				if err != nil {
					t.Fatal(err)
				}
				if back = inOrder(back); !back.Equal(v) && back.String() != v.String() {
					t.Fatalf("%v\ncame back as\n%v\nwith %s", v, back, text)
				}
			})
		})
	}
}
