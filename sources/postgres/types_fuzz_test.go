package postgres

import (
	"encoding/hex"
	"fmt"
	"testing"

	"github.com/tidemill/tidemill/connect"
)

// formSeed is a type with a value in both forms, the binary one in hex digits.
type formSeed struct {
	oid       uint32
	dims      int
	text, raw string
	want      string // As JSON; empty where another test has it.
}

func formSeeds() []formSeed {
	const onePair = "00000003" + "00000017" + "00000004" + "00000001" + "00000019" + "00000001" + "78" + "000006a4" + "ffffffff"
	const point = "0000000000000000" + "3ff0000000000000"
	return []formSeed{
		{oid: 16, text: "t", raw: "01"},
		{oid: 17, text: `\x00`, raw: "00"},
		{oid: 20, text: "1", raw: "0000000000000001"},
		{oid: 600, text: "(0,1)", raw: point},
		{oid: 602, text: "[(0,1)]", raw: "00" + "00000001" + point},
		{oid: 603, text: "(0,1),(0,1)", raw: point + point},
		{oid: 604, text: "((0,1),(0,1))", raw: "00000002" + point + point},
		{oid: 718, text: "<(0,1),0>", raw: point + "0000000000000000"},
		{oid: 628, text: "{0,1,0}", raw: point + "0000000000000000"},
		{oid: 701, text: "1", raw: "3ff0000000000000"},
		{oid: 790, text: "$1.00", raw: "0000000000000064"},
		{oid: 869, text: "1.2.3.4/8", raw: "0208000401020304"},
		{oid: 1082, text: "2000-01-01", raw: "00000000"},
		{oid: 1083, text: "00:00:00", raw: "0000000000000000"},
		{oid: 1114, text: "1999-12-31 23:59:59.999999", raw: "ffffffffffffffff"},
		{oid: 1184, text: "2000-01-01 00:00:00+00", raw: "0000000000000000"},
		{oid: 1186, text: "P1M2DT0.000003S", raw: "0000000000000003" + "00000002" + "00000001"},
		{oid: 1266, text: "00:00:00+01:30", raw: "0000000000000000ffffeae8"},
		{oid: 1560, text: "1010", raw: "00000004a0"},
		{oid: 1562, text: "11", raw: "00000002c0"},
		{oid: 1700, text: "-12345.50", raw: "0003" + "0001" + "4000" + "0002" + "0001" + "0929" + "1388"},
		{oid: 1700, text: "NaN", raw: "00000000c0000000"},
		{oid: 1007, text: "{1,NULL}", raw: "00000001" + "00000001" + "00000017" + "00000002" + "00000001" + "0000000400000001" + "ffffffff"},
		{oid: 1007, dims: 2, text: "[0:0][1:1]={{1}}", raw: "00000002" + "00000000" + "00000017" + "0000000100000000" + "0000000100000001" + "0000000400000001"},
		{oid: 1009, text: `{"a\"",NULL}`, raw: "00000001" + "00000001" + "00000019" + "0000000200000001" + "000000026122" + "ffffffff"},
		{oid: 3802, text: `{}`, raw: "017b7d"},
		{oid: 3614, text: `'a':1A,2 'b'`, raw: "00000002" + "6100" + "0002" + "c001" + "0002" + "6200" + "0000"},
		{oid: 3220, text: "16/B374D848", raw: "00000016b374d848"},
		{oid: 3904, text: "[1,3)", raw: "02" + "0000000400000001" + "0000000400000003"},
		{oid: 3906, text: "(,1]", raw: "0c" + "0000000a" + "00010000000000000001"},
		{oid: 3908, text: `["2000-01-01 00:00:00",)`, raw: "12" + "000000080000000000000000"},
		{oid: 4451, text: "{[1,3),[5,)}", raw: "00000002" + "00000011" + "02" + "0000000400000001" + "0000000400000003" + "00000009" + "12" + "0000000400000005"},
		{oid: 90003, text: `"a"=>"b", "c"=>NULL`, raw: "00000002" + "0000000161" + "0000000162" + "0000000163" + "ffffffff"},
		{oid: 90004, text: "[0.1,-2,3.4028235e+38]", raw: "0003" + "0000" + "3dcccccd" + "c0000000" + "7f7fffff", want: "[0.1,-2.0,3.4028235e+38]"},
		{oid: 90005, text: "[0.099975586,-2,65504,5.9604645e-08]", raw: "0004" + "0000" + "2e66" + "c000" + "7bff" + "0001", want: "[0.099975586,-2.0,65504.0,5.9604645e-08]"},
		{oid: 90006, text: "{1:0.1,3:-2}/5", raw: "00000005" + "00000002" + "00000000" + "00000000" + "00000002" + "3dcccccd" + "c0000000", want: `{"dimensions":5,"vector":[[1,0.1],[3,-2.0]]}`},
		{oid: 90006, text: "{}/7", raw: "00000007" + "00000000" + "00000000", want: `{"dimensions":7,"vector":{}}`},
		// SRID=3187;POINT(174.9479 -36.7208).
		{oid: 90007, text: "0101000020730C00001C7C613255DE6540787AA52C435C42C0", raw: "0101000020730c00001c7c613255de6540787aa52c435c42c0",
			want: `{"wkb":"AQEAACBzDAAAHHxhMlXeZUB4eqUsQ1xCwA==","srid":3187,"extensions":null}`},
		{oid: 90007, text: "000000000140000000000000004010000000000000", raw: "000000000140000000000000004010000000000000", want: `{"wkb":"AAAAAAFAAAAAAAAAAEAQAAAAAAAA","srid":null,"extensions":null}`},
		{oid: 90008, text: "0101000020E610000000000000000000000000000000000000", raw: "0101000020e610000000000000000000000000000000000000",
			want: `{"wkb":"AQEAACDmEAAAAAAAAAAAAAAAAAAAAAAAAA==","srid":4326}`},
		{oid: 90033, text: "{0101000000000000000000F03F0000000000000040:NULL}", raw: "00000001" + "00000001" + "00015f97" + "0000000200000001" + "00000015" + "0101000000000000000000f03f0000000000000040" + "ffffffff",
			want: `[{"wkb":"AQEAAAAAAAAAAADwPwAAAAAAAABA","srid":null,"extensions":null},null]`},
		{oid: 90030, text: "(1,x,)", raw: onePair, want: `{"a":1,"b":"x","n":null}`},
		{oid: 90031, text: `("(1,x,)","{{""(1,x,)"",NULL}}")`, raw: "00000002" + "00015fae" + "00000021" + onePair + "00015fb0" + "00000045" +
			"00000002" + "00000001" + "00015fae" + "0000000100000001" + "0000000200000001" + "00000021" + onePair + "ffffffff",
			want: `{"one":{"a":1,"b":"x","n":null},"many":[[{"a":1,"b":"x","n":null},null]]}`},
	}
}

// TestFormsByHand has values in both forms that no server here can send.
func TestFormsByHand(t *testing.T) {
	table := newTypeTable(testSettings(t).modes, fakeTypes)
	for _, seed := range formSeeds() {
		cd, err := table.compile(seed.oid, -1, seed.dims)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := hex.DecodeString(seed.raw)
		if err != nil {
			t.Fatal(seed.text, err)
		}
		v, err := cd.decode(&arena{}, []byte(seed.text))
		w, errBinary := cd.binary(&arena{}, raw)
		if fmt.Sprint(err != nil) != fmt.Sprint(errBinary != nil) || err == nil && !v.Equal(w) {
			t.Errorf("%d %s: from the text %v (%v), from the binary form %v (%v)", seed.oid, seed.text, v, err, w, errBinary)
		}
		if err := cd.schema.Check(w); err == nil && seed.want != "" {
			if got := string(connect.AppendJSON(nil, cd.schema, w)); got != seed.want {
				t.Errorf("%d %s: %s, want %s", seed.oid, seed.text, got, seed.want)
			}
		}
	}
}

// FuzzForms reads anything as a value of every type, in both forms: a value that fits
// its schema, or an error, and what was read stays as it was.
func FuzzForms(f *testing.F) {
	table := newTypeTable(testSettings(f).modes, fakeTypes)
	seeds := formSeeds()
	codecs := make([]codec, len(seeds))
	for i, seed := range seeds {
		var err error
		if codecs[i], err = table.compile(seed.oid, -1, seed.dims); err != nil {
			f.Fatal(err)
		}
		raw, _ := hex.DecodeString(seed.raw)
		f.Add(uint8(i), []byte(seed.text))
		f.Add(uint8(i), raw)
	}
	f.Fuzz(func(t *testing.T, which uint8, raw []byte) {
		cd := codecs[int(which)%len(codecs)]
		before := string(raw)
		for form, read := range map[string]decodeFunc{"text": cd.decode, "binary": cd.binary} {
			v, err := read(&arena{}, raw)
			if string(raw) != before {
				t.Errorf("%s was written to", form)
			}
			if err == nil {
				if err := cd.schema.Check(v); err != nil {
					t.Errorf("%s: %v", form, err)
				}
			}
		}
	})
}

// TestBinaryFormsTakeNoMemory keeps the reading of the types that rows are made of
// free of allocations but for the arena's own.
func TestBinaryFormsTakeNoMemory(t *testing.T) {
	table := newTypeTable(testSettings(t).modes, fakeTypes)
	for _, seed := range formSeeds() {
		switch seed.oid {
		case 90003, 90004, 90005, 90006: // Maps, and vectors of pgvector.
			continue
		}
		cd, err := table.compile(seed.oid, -1, seed.dims)
		if err != nil {
			t.Fatal(err)
		}
		raw, _ := hex.DecodeString(seed.raw)
		a := &arena{}
		a.tail(1 << 20)
		a.row(8)
		if _, err := cd.binary(a, raw); err != nil {
			continue
		}
		rounds := 100
		if got := testing.AllocsPerRun(1, func() {
			for range rounds {
				_, _ = cd.binary(a, raw)
			}
		}); got > float64(rounds)/2 {
			t.Errorf("%d %s: %v allocations in %d values", seed.oid, seed.text, got, rounds)
		}
	}
}
