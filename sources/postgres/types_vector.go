package postgres

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"strconv"

	"github.com/tidemill/tidemill/connect"
)

// vectorTypes are those of pgvector. Its numbers are written with the fewest digits
// that give them back, and a value is what those digits say: the single precision of
// a vector's 0.1 is 0.1 in a schema of double precision.
func vectorTypes() []typeEntry {
	dense := func(name, schema string, k connect.Kind, text, element decodeFunc, width int) typeEntry {
		s := connect.SchemaDef{Kind: connect.KindArray, Name: schema, Version: 1, Elem: connect.Of(k)}.MustBuild()
		cd := codec{
			schema: s,
			decode: func(a *arena, b []byte) (connect.Value, error) { return decodeVector(a, b, text) },
			binary: func(a *arena, b []byte) (connect.Value, error) { return binaryVector(a, b, width, element) },
		}
		return typeEntry{name: name, extension: true, compile: func(*modes, int32) codec { return cd }}
	}
	return []typeEntry{
		dense("vector", "io.debezium.data.DoubleVector", connect.KindFloat64, decodeFloat8, vectorFloat, 4),
		dense("halfvec", "io.debezium.data.FloatVector", connect.KindFloat32, decodeFloat4, vectorHalf, 2),
		{name: "sparsevec", extension: true, compile: func(*modes, int32) codec { return sparseCodec() }},
	}
}

// decodeVector reads [1,2,3].
func decodeVector(a *arena, text []byte, elem decodeFunc) (connect.Value, error) {
	if len(text) < 2 || text[0] != '[' || text[len(text)-1] != ']' {
		return connect.Value{}, badText("vector", text)
	}
	body := text[1 : len(text)-1]
	elems := a.row(bytes.Count(body, []byte{','}) + 1)
	for i := range elems {
		var item []byte
		item, body, _ = bytes.Cut(body, []byte{','})
		v, err := elem(a, item)
		if err != nil {
			return connect.Value{}, err
		}
		elems[i] = v
	}
	return connect.Array(elems), nil
}

// binaryVector reads the number of elements, two bytes that are not used, and the
// elements.
func binaryVector(a *arena, b []byte, width int, elem decodeFunc) (connect.Value, error) {
	if len(b) < 4 || len(b) != 4+width*int(binary.BigEndian.Uint16(b)) {
		return connect.Value{}, badBinary("vector", b)
	}
	elems := a.row(int(binary.BigEndian.Uint16(b)))
	for i := range elems {
		v, err := elem(a, b[4+i*width:4+(i+1)*width])
		if err != nil {
			return connect.Value{}, err
		}
		elems[i] = v
	}
	return connect.Array(elems), nil
}

// widened returns the double that the shortest digits of a single-precision number
// stand for.
func widened(f float32) float64 {
	const exact = 1 << 24 // Up to which whole numbers are written in full.
	if whole := float64(f); whole == math.Trunc(whole) && math.Abs(whole) < exact {
		return whole
	}
	var digits [32]byte
	// What was written by AppendFloat can be read.
	d, _ := strconv.ParseFloat(view(strconv.AppendFloat(digits[:0], float64(f), 'g', -1, 32)), 64)
	return d
}

func vectorFloat(_ *arena, b []byte) (connect.Value, error) {
	return connect.Float64(widened(math.Float32frombits(binary.BigEndian.Uint32(b)))), nil
}

// vectorHalf reads half precision: a sign, five bits of exponent and ten of fraction
// (IEEE 754 binary16), which single precision holds exactly.
func vectorHalf(_ *arena, b []byte) (connect.Value, error) {
	h := uint32(binary.BigEndian.Uint16(b))
	exp, fraction := int(h>>10&0x1f), h&0x3ff
	f := math.Ldexp(float64(fraction|0x400), exp-25)
	switch {
	case exp == 0:
		f = math.Ldexp(float64(fraction), -24)
	case exp == 0x1f && fraction != 0:
		f = math.NaN()
	case exp == 0x1f:
		f = math.Inf(1)
	}
	if h&0x8000 != 0 && f == f {
		f = -f
	}
	return connect.Float32(float32(f)), nil
}

var errSparseRange = errors.New("a sparse vector has more dimensions than its schema holds, which are 32767")

// sparseCodec maps sparse vectors to their dimensions and a map of what is not zero,
// by places that count from 1.
func sparseCodec() codec {
	short := connect.Of(connect.KindInt16)
	s := connect.SchemaDef{
		Kind: connect.KindStruct, Name: "io.debezium.data.SparseDoubleVector", Version: 1, Doc: "Sparse double vector",
		Fields: []connect.Field{
			{Name: "dimensions", Schema: short},
			{Name: "vector", Schema: connect.SchemaDef{Kind: connect.KindMap, Key: short, Elem: connect.Of(connect.KindFloat64)}.MustBuild()},
		},
	}.MustBuild()
	value := func(a *arena, dimensions int64, entries []connect.MapEntry) (connect.Value, error) {
		if dimensions > math.MaxInt16 {
			return connect.Value{}, errSparseRange
		}
		values := a.row(2)
		values[0], values[1] = connect.IntOf(connect.KindInt16, dimensions), connect.Map(entries)
		return a.structure(s, values), nil
	}
	return codec{
		schema: s,
		decode: func(a *arena, text []byte) (connect.Value, error) {
			dimensions, entries, ok := parseSparse(text)
			if !ok {
				return connect.Value{}, badText("sparsevec", text)
			}
			return value(a, dimensions, entries)
		},
		binary: func(a *arena, b []byte) (connect.Value, error) {
			dimensions, entries, ok := readSparse(b)
			if !ok {
				return connect.Value{}, badBinary("sparsevec", b)
			}
			return value(a, dimensions, entries)
		},
	}
}

// parseSparse reads {1:1.5,3:2}/5.
func parseSparse(text []byte) (dimensions int64, entries []connect.MapEntry, ok bool) {
	body, after, found := bytes.Cut(text, []byte("}/"))
	dimensions, ok = parseDigits(after)
	if !found || !ok || len(body) == 0 || body[0] != '{' {
		return 0, nil, false
	}
	entries = []connect.MapEntry{}
	for rest := body[1:]; len(rest) > 0; {
		var pair []byte
		pair, rest, _ = bytes.Cut(rest, []byte{','})
		place, number, _ := bytes.Cut(pair, []byte{':'})
		i, okPlace := parseDigits(place)
		f, err := strconv.ParseFloat(view(number), 64)
		if !okPlace || err != nil {
			return 0, nil, false
		}
		entries = append(entries, connect.MapEntry{Key: connect.IntOf(connect.KindInt16, i), Value: connect.Float64(f)})
	}
	return dimensions, entries, true
}

// readSparse reads the dimensions, the number of entries, four bytes that are not
// used, the places, which count from 0, and the numbers.
func readSparse(b []byte) (dimensions int64, entries []connect.MapEntry, ok bool) {
	if len(b) < 12 {
		return 0, nil, false
	}
	dimensions = int64(int32(binary.BigEndian.Uint32(b)))
	n := int64(int32(binary.BigEndian.Uint32(b[4:])))
	if b = b[12:]; dimensions < 0 || n < 0 || int64(len(b)) != 8*n {
		return 0, nil, false
	}
	entries = make([]connect.MapEntry, n)
	for i := range entries {
		place := int64(int32(binary.BigEndian.Uint32(b[4*i:])))
		number := math.Float32frombits(binary.BigEndian.Uint32(b[4*(int(n)+i):]))
		entries[i] = connect.MapEntry{Key: connect.IntOf(connect.KindInt16, place+1), Value: connect.Float64(widened(number))}
	}
	return dimensions, entries, true
}
