package avro

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/connect/connecttest"
)

// reading compiles a schema's text for reading.
func reading(tb testing.TB, m mapping, text string) (*connect.Schema, *decoder) {
	tb.Helper()
	n, err := (&parser{}).parse(text)
	if err != nil {
		tb.Fatalf("%s: %v", text, err)
	}
	s, err := m.toConnect(n)
	if err != nil {
		tb.Fatalf("%s: %v", text, err)
	}
	d, err := m.newDecoder(s, n)
	if err != nil {
		tb.Fatalf("%s: %v", text, err)
	}
	return s, d
}

// TestForeignSchemas reads schemas that Connect did not make.
func TestForeignSchemas(t *testing.T) {
	enhanced := usual
	enhanced.enhanced = true
	color := `{"type":"enum","name":"a.Color","symbols":["RED","GREEN"]}`
	for _, c := range []struct {
		m                   mapping
		text, data, want, s string
	}{
		{usual, `"int"`, "\x09", `-5`, "int32"},
		{usual, `{"type":"long"}`, "\x80\x01", `64`, "int64"},
		{usual, `{"type":{"type":"string"}}`, "\x04hi", `"hi"`, "string"},
		{usual, color, "\x02", `"GREEN"`, "string a.Color"},
		{usual, `{"type":"fixed","name":"a.F","size":2}`, "\x00\x01", `"AAE="`, "bytes a.F"},
		{usual, `{"type":"fixed","name":"a.D","size":2,"logicalType":"decimal","precision":4,"scale":2}`, "\xff\x85", `-1.23`, "bytes " + connect.LogicalDecimal},
		{usual, `["null","string"]`, "\x00", `null`, "string?"},
		{usual, `["string","null"]`, "\x00\x02a", `"a"`, "string?"},
		{usual, `["string"]`, "\x00\x02a", `"a"`, "string"},
		{usual, `["int","string"]`, "\x02\x02a", `{"int":null,"string":"a"}`, "struct " + unionName},
		{usual, `["null","int",` + color + `]`, "\x04\x00", `{"int":null,"Color":"RED"}`, "struct " + unionName + "?"},
		{enhanced, `["null","int",` + color + `]`, "\x04\x00", `{"int":null,"a.Color":"RED"}`, "struct " + unionName + "?"},
		{enhanced, `["null","int",` + color + `]`, "\x00", `null`, "struct " + unionName + "?"},
		{usual, `{"type":"array","items":"int"}`, "\x03\x04\x02\x04\x02\x06\x00", `[1,2,3]`, "array"},
		{usual, `{"type":"map","values":"int"}`, "\x02\x02k\x02\x01\x06\x02l\x04\x00", `{"k":1,"l":2}`, "map"},
		{usual, `{"type":"int","logicalType":"date"}`, "\x02", `1`, "int32 " + connect.LogicalDate},
		{usual, `{"type":"int","logicalType":"time-millis"}`, "\x02", `1`, "int32 " + connect.LogicalTime},
		{usual, `{"type":"long","logicalType":"timestamp-millis"}`, "\x02", `1`, "int64 " + connect.LogicalTimestamp},
		{usual, `{"type":"long","logicalType":"timestamp-micros"}`, "\x02", `1`, "int64"},
		{usual, `{"type":"string","logicalType":"uuid"}`, "\x02a", `"a"`, "string"},
		{usual, `{"type":"record","name":"R","fields":[]}`, "", `{}`, "struct R"},
		{
			usual, `{"type":"record","name":"R","namespace":"x","fields":[{"name":"a","type":{"type":"enum","name":"E","symbols":["S"]}},{"name":"b","type":["null","E"]},{"name":"c","type":{"type":"array","items":"x.E"}}]}`,
			"\x00\x02\x00\x02\x00\x00", `{"a":"S","b":"S","c":["S"]}`, "struct x.R",
		},
		{usual, schemaText(anything()), "\x00\x00\x00\x00\x00\x00\x00\x00\x02\x02\x00\x00\x00\x00\x00\x00\x02\x02k\x00\x00\x00\x00\x00\x00\x02\x02\x00\x00\x00\x00\x00", `{"k":-1}`, "no schema"},
	} {
		if c.s == "no schema" {
			c.data = string(must(appendAnything(nil, connect.Map([]connect.MapEntry{{Key: connect.String("k"), Value: connect.Int64(-1)}}), 0)))
		}
		s, d := reading(t, c.m, c.text)
		v, err := (&slab{}).read(d, []byte(c.data))
		if got := string(connect.AppendJSON(nil, s, v)); err != nil || got != c.want || s.String() != c.s {
			t.Errorf("%s: %s %s: %v", c.text, s, got, err)
		}
		if s == nil {
			continue
		}
		if err := s.Check(v); err != nil {
			t.Errorf("%s: %v", c.text, err)
		}
		// Without the enhanced support an enum in a union comes back as a string.
		if c.m.enhanced || s.Name() != unionName {
			again(t, c.m, s, v)
		}
	}
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

// again writes what was read, and reads that.
func again(t *testing.T, m mapping, s *connect.Schema, v connect.Value) {
	t.Helper()
	n, err := m.toAvro(s)
	if err != nil {
		t.Errorf("%s: %v", s, err)
		return
	}
	enc, err := m.newEncoder(s, n)
	if err != nil {
		t.Errorf("%s: %v", s, err)
		return
	}
	data, err := enc.append(nil, v)
	if err != nil {
		t.Errorf("%s: %v: %v", s, v, err)
		return
	}
	s2, d := reading(t, m, schemaText(n))
	if back, err := (&slab{}).read(d, data); err != nil || !back.Equal(v) && back.String() != v.String() || m.enhanced && s2 != s {
		t.Errorf("%s: %v came back as %v, %s: %v", s, v, back, s2, err)
	}
}

func TestSchemasThatCannotBeRead(t *testing.T) {
	deep := strings.Repeat(`{"type":"array","items":`, 1000) + `"int"` + strings.Repeat("}", 1000)
	for text, want := range map[string]string{
		``: "not defined", `"x"`: "not defined", `{`: "not defined", `[]`: "no members", `7`: "no type", `{"type":"record","name":"R"}`: "no list of fields",
		`{"type":"enum","name":"E"}`: "no symbols", `{"type":"fixed","name":"F"}`: "no size", `{"type":"array"}`: "type is missing",
		`{"type":"record","fields":[]}`:                                            `"name" is missing`,
		`{"type":"record","name":"R","fields":[{"name":"r","type":"R"}]}`:          "contains itself",
		`{"type":"record","name":"R","fields":[{"name":"r","type":["null","R"]}]}`: "contains itself",
		`"null"`:                               "null stands alone",
		`["int",["null","string"]]`:            "union stands in a union",
		`{"type":"int","connect.type":"int7"}`: "no type of integers",
		`[{"type":"enum","name":"E","symbols":[]},{"type":"enum","name":"E","symbols":[]}]`:                 "defined twice",
		`["int",{"type":"enum","name":"a.E","symbols":["x"]},{"type":"enum","name":"b.E","symbols":["x"]}]`: "occurs twice",
		deep: "deep",
	} {
		n, err := (&parser{}).parse(text)
		if err == nil {
			_, err = usual.toConnect(n)
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80s: %v", text, err)
		}
	}
}

// TestManyReferences has each record stand twice in the next: few times they are
// read, sixty times they would be 2^60 rows on paper.
func TestManyReferences(t *testing.T) {
	nested := func(depth int) string {
		text := `{"type":"record","name":"R0","fields":[{"name":"n","type":"int"}]}`
		for i := range depth {
			text = fmt.Sprintf(`{"type":"record","name":"R%d","fields":[{"name":"a","type":%s},{"name":"b","type":["null","R%d"]}]}`, i+1, text, i)
		}
		return text
	}
	_, d := reading(t, usual, nested(10))
	if v, err := (&slab{}).read(d, make([]byte, 11)); err != nil {
		t.Error(v, err)
	}
	n, err := (&parser{}).parse(nested(60))
	if err != nil {
		t.Fatal(err)
	}
	if s, err := usual.toConnect(n); err == nil {
		t.Errorf("%s was taken", s)
	}
}

// TestHostileRecords are a few bytes that announce much: they must be refused
// before memory is made for it.
func TestHostileRecords(t *testing.T) {
	huge := binary.AppendVarint(nil, 1<<60)
	negative := append(binary.AppendVarint(nil, -1<<60), 0)
	least := []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 0x00} // The least int64 as a block's count.
	empty := `{"type":"record","name":"E","fields":[]}`
	for _, c := range []struct {
		text string
		data []byte
	}{
		{`"string"`, huge},
		{`"bytes"`, huge},
		{`"bytes"`, []byte{0x01}},
		{`{"type":"array","items":"long"}`, huge},
		{`{"type":"array","items":"long"}`, negative},
		{`{"type":"array","items":"long"}`, least},
		{`{"type":"array","items":` + empty + `}`, huge},
		{`{"type":"array","items":` + empty + `}`, append(binary.AppendVarint(nil, 1<<20), 0)},
		{`{"type":"map","values":` + empty + `}`, huge},
		{`{"type":"array","items":{"type":"record","name":"W","fields":[{"name":"a","type":` + empty + `},{"name":"b","type":"E"},{"name":"c","type":"E"}]}}`, append(binary.AppendVarint(nil, 4000), 0)},
		{`"long"`, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01}},
		{`"int"`, binary.AppendVarint(nil, 1<<40)},
		{`"boolean"`, []byte{2}},
		{`["null","int"]`, []byte{4, 0}},
		{`["null","int","string"]`, []byte{6, 0}},
		{`{"type":"enum","name":"E","symbols":["A"]}`, []byte{2}},
		{schemaText(anything()), []byte(strings.Repeat("\x00\x00\x00\x00\x00\x00\x00\x02\x02", 5000))},
	} {
		_, d := reading(t, usual, c.text)
		var v connect.Value
		var err error
		if n := testing.AllocsPerRun(1, func() { v, err = (&slab{}).read(d, c.data) }); n > 300 {
			t.Errorf("%s %x: %v allocations", c.text, c.data, n)
		}
		if err == nil {
			t.Errorf("%s %x was read as %v", c.text, c.data, v)
		}
	}
}

// FuzzRead reads anything with the schema of a change and with random ones.
func FuzzRead(f *testing.F) {
	enc, dec, v, _ := plans(f)
	data, err := enc.append(nil, v)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint64(0), data)
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		s := connecttest.RandomSchema(r)
		n, _ := usual.toAvro(s)
		e, err := usual.newEncoder(s, n)
		if err != nil {
			f.Fatal(err)
		}
		data, _ := e.append(nil, connecttest.RandomValue(r, s))
		f.Add(seed, data)
	}
	f.Fuzz(func(t *testing.T, seed uint64, data []byte) {
		d := dec
		if seed > 0 {
			s := connecttest.RandomSchema(rand.New(rand.NewPCG(seed, 1)))
			n, _ := usual.toAvro(s)
			d, _ = usual.newDecoder(s, n)
		}
		v, err := (&slab{}).read(d, data)
		if err == nil {
			if err := d.schema.Check(v); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// FuzzSchema parses anything, and reads some bytes with what is a schema.
func FuzzSchema(f *testing.F) {
	_, _, _, text := plans(f)
	f.Add(text)
	f.Add(schemaText(anything()))
	f.Add(`["null",{"type":"map","values":["int","E",{"type":"enum","name":"E","symbols":["A"],"default":"A"}]}]`)
	f.Add(`{"type":"record","name":"R","fields":[{"name":"f","type":"bytes","default":"\u00ff","connect.parameters":{"a":"b"}}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		n, err := (&parser{}).parse(text)
		if err != nil {
			return
		}
		s, err := usual.toConnect(n)
		if err != nil {
			return
		}
		d, err := usual.newDecoder(s, n)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if v, err := (&slab{}).read(d, make([]byte, 40)); err == nil && s != nil && s.Check(v) != nil {
			t.Fatalf("%s: %v", text, s.Check(v))
		}
		if out, err := usual.toAvro(s); err == nil {
			if _, err := (&parser{}).parse(schemaText(out)); err != nil {
				t.Fatalf("%s became %s: %v", text, schemaText(out), err)
			}
		}
	})
}
