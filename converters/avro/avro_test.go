package avro

import (
	"math/rand/v2"
	"testing"

	hamba "github.com/hamba/avro/v2"

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
