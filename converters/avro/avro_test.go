package avro

import (
	"bytes"
	"math/rand/v2"
	"testing"

	hamba "github.com/hamba/avro/v2"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/connect/connecttest"
)

// usual are the default settings.
var usual = mapping{metadata: true, flatten: true}

// TestRoundTrip writes values of random schemas and reads them with the schema's
// text, as another process would.
func TestRoundTrip(t *testing.T) {
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 1))
		s := connecttest.RandomSchema(r)
		n, err := usual.toAvro(s)
		if err != nil {
			t.Fatal(seed, err)
		}
		text := schemaText(n)
		if _, err := hamba.ParseWithCache(text, "", &hamba.SchemaCache{}); err != nil {
			t.Fatalf("%d: %s: %v", seed, text, err)
		}
		enc, err := usual.newEncoder(s, n)
		if err != nil {
			t.Fatalf("%d: %s: %v", seed, text, err)
		}
		back, err := (&parser{}).parse(text)
		if err != nil {
			t.Fatalf("%d: %s: %v", seed, text, err)
		}
		read, err := usual.toConnect(back)
		if err != nil || read != s {
			t.Fatalf("%d: %s: %v\n%+v\n%+v", seed, text, err, s.Def(), read.Def())
		}
		dec, err := usual.newDecoder(read, back)
		if err != nil {
			t.Fatalf("%d: %s: %v", seed, text, err)
		}
		var sl slab
		for range 5 {
			v := connecttest.RandomValue(r, s)
			data, err := enc.append(nil, v)
			if err != nil {
				t.Fatalf("%d: %s: %v: %v", seed, text, v, err)
			}
			got, err := sl.read(dec, data)
			if err != nil || !got.Equal(v) && got.String() != v.String() {
				t.Fatalf("%d: %s: %v became %v: %v", seed, text, v, got, err)
			}
		}
	}
}

// TestFrozenStructs writes records that share a struct, and ones with others between
// them: each is written as what it is.
func TestFrozenStructs(t *testing.T) {
	shared := connect.SchemaDef{Kind: connect.KindStruct, Name: "shared", Fields: []connect.Field{{Name: "s", Schema: connect.Of(connect.KindString)}}}.MustBuild()
	outer := connect.SchemaDef{Kind: connect.KindStruct, Name: "outer", Fields: []connect.Field{
		{Name: "n", Schema: connect.Of(connect.KindInt64)}, {Name: "a", Schema: shared}, {Name: "b", Schema: shared.AsOptional()},
	}}.MustBuild()
	n, err := usual.toAvro(outer)
	if err != nil {
		t.Fatal(err)
	}
	e, err := usual.newEncoder(outer, n)
	if err != nil {
		t.Fatal(err)
	}
	one := connect.StructValue(shared.StructOf([]connect.Value{connect.String("one")}).Freeze())
	two := connect.StructValue(shared.StructOf([]connect.Value{connect.String("two")}).Freeze())
	loose := connect.StructValue(shared.StructOf([]connect.Value{connect.String("one")}))
	for _, v := range [][]connect.Value{{one, one}, {one, two}, {two, one}, {loose, one}, {one, {}}, {one, loose}} {
		row := func(a, b connect.Value) connect.Value {
			return connect.StructValue(outer.StructOf([]connect.Value{connect.Int64(1), a, b}))
		}
		melt := func(v connect.Value) connect.Value {
			if v.IsNull() {
				return v
			}
			return connect.StructValue(shared.StructOf(v.Struct().Values()))
		}
		got, err := e.append(nil, row(v[0], v[1]))
		want, wantErr := e.append(nil, row(melt(v[0]), melt(v[1])))
		if err != nil || wantErr != nil || !bytes.Equal(got, want) {
			t.Errorf("%v: %x, %v; want %x, %v", v, got, err, want, wantErr)
		}
	}
}
