package serde

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/tidemill/tidemill/connect"
)

// Row writes values of one schema compactly, for stores and repartition
// topics: no names, no types, one bit for each absent field. Two equal values
// give the same bytes, so that it serves for keys too.
func Row(schema *connect.Schema) Serde[connect.Value] { return rowSerde{schema} }

type rowSerde struct{ schema *connect.Schema }

var errRow = errors.New("the bytes are no row of the schema")

// Append implements Serde.
func (s rowSerde) Append(dst []byte, v connect.Value) ([]byte, error) {
	return appendValue(dst, s.schema, v)
}

// Decode implements Serde.
func (s rowSerde) Decode(b []byte) (connect.Value, error) {
	// Strings and bytes of the row point into one copy.
	v, rest, err := readValue(append([]byte(nil), b...), s.schema)
	if err == nil && len(rest) > 0 {
		err = errRow
	}
	return v, err
}

// appendValue appends one value. A null is one byte 0 where it can occur, else
// the value follows a byte 1; struct fields have a bitmap of the absent ones
// instead of those bytes.
func appendValue(dst []byte, s *connect.Schema, v connect.Value) ([]byte, error) {
	if v.IsNull() {
		return append(dst, 0), nil
	}
	return appendPresent(append(dst, 1), s, v)
}

func appendPresent(dst []byte, s *connect.Schema, v connect.Value) ([]byte, error) {
	if v.Kind() != s.Kind() && !(v.IsInt() && isInt(s.Kind())) {
		return nil, fmt.Errorf("a value of kind %v does not fit schema %s", v.Kind(), s)
	}
	var err error
	switch s.Kind() {
	case connect.KindInt8, connect.KindInt16, connect.KindInt32, connect.KindInt64:
		return binary.AppendVarint(dst, v.Int()), nil
	case connect.KindFloat32, connect.KindFloat64:
		return binary.BigEndian.AppendUint64(dst, math.Float64bits(v.Float())), nil
	case connect.KindBool:
		if v.Bool() {
			return append(dst, 1), nil
		}
		return append(dst, 0), nil
	case connect.KindString, connect.KindBytes:
		return append(binary.AppendUvarint(dst, uint64(v.Len())), v.Bytes()...), nil
	case connect.KindArray:
		dst = binary.AppendUvarint(dst, uint64(v.Len()))
		for _, e := range v.Array() {
			if dst, err = appendValue(dst, s.Elem(), e); err != nil {
				return nil, err
			}
		}
		return dst, nil
	case connect.KindMap:
		dst = binary.AppendUvarint(dst, uint64(v.Len()))
		for _, e := range v.Map() {
			if dst, err = appendValue(dst, s.Key(), e.Key); err == nil {
				dst, err = appendValue(dst, s.Elem(), e.Value)
			}
			if err != nil {
				return nil, err
			}
		}
		return dst, nil
	}
	return appendStruct(dst, s, v.Struct())
}

func isInt(k connect.Kind) bool { return k >= connect.KindInt8 && k <= connect.KindInt64 }

func appendStruct(dst []byte, s *connect.Schema, st *connect.Struct) ([]byte, error) {
	fields := s.Fields()
	if len(st.Values()) != len(fields) {
		return nil, fmt.Errorf("a struct of %d fields does not fit schema %s", len(st.Values()), s)
	}
	bits := len(dst)
	dst = append(dst, make([]byte, (len(fields)+7)/8)...)
	var err error
	for i, f := range fields {
		v := st.At(i)
		if v.IsNull() {
			dst[bits+i/8] |= 1 << (i % 8)
			continue
		}
		if dst, err = appendPresent(dst, f.Schema, v); err != nil {
			return nil, fmt.Errorf("field %s: %w", f.Name, err)
		}
	}
	return dst, nil
}

// readValue reads one value from the front of b.
func readValue(b []byte, s *connect.Schema) (v connect.Value, rest []byte, err error) {
	if len(b) == 0 || b[0] > 1 {
		return v, nil, errRow
	}
	if b[0] == 0 {
		return v, b[1:], nil
	}
	return readPresent(b[1:], s)
}

func readPresent(b []byte, s *connect.Schema) (v connect.Value, rest []byte, err error) {
	switch k := s.Kind(); k {
	case connect.KindInt8, connect.KindInt16, connect.KindInt32, connect.KindInt64:
		i, n := binary.Varint(b)
		if n <= 0 {
			return v, nil, errRow
		}
		return connect.IntOf(k, i), b[n:], nil
	case connect.KindFloat32, connect.KindFloat64:
		if len(b) < 8 {
			return v, nil, errRow
		}
		f := math.Float64frombits(binary.BigEndian.Uint64(b))
		if k == connect.KindFloat32 {
			return connect.Float32(float32(f)), b[8:], nil
		}
		return connect.Float64(f), b[8:], nil
	case connect.KindBool:
		if len(b) == 0 {
			return v, nil, errRow
		}
		return connect.Bool(b[0] != 0), b[1:], nil
	case connect.KindString, connect.KindBytes:
		size, n := binary.Uvarint(b)
		if n <= 0 || size > uint64(len(b)-n) {
			return v, nil, errRow
		}
		body := b[n : n+int(size) : n+int(size)]
		if k == connect.KindString {
			return connect.StringBytes(body), b[n+int(size):], nil
		}
		return connect.Bytes(body), b[n+int(size):], nil
	case connect.KindStruct:
		return readStruct(b, s)
	}
	return readMany(b, s)
}

// readMany reads an array or a map.
func readMany(b []byte, s *connect.Schema) (v connect.Value, rest []byte, err error) {
	count, n := binary.Uvarint(b)
	// Each element takes a byte at least, so a count beyond that is damage.
	if n <= 0 || count > uint64(len(b)-n) {
		return v, nil, errRow
	}
	b = b[n:]
	if s.Kind() == connect.KindArray {
		elems := make([]connect.Value, count)
		for i := range elems {
			if elems[i], b, err = readValue(b, s.Elem()); err != nil {
				return v, nil, err
			}
		}
		return connect.Array(elems), b, nil
	}
	entries := make([]connect.MapEntry, count)
	for i := range entries {
		if entries[i].Key, b, err = readValue(b, s.Key()); err != nil {
			return v, nil, err
		}
		if entries[i].Value, b, err = readValue(b, s.Elem()); err != nil {
			return v, nil, err
		}
	}
	return connect.Map(entries), b, nil
}

func readStruct(b []byte, s *connect.Schema) (v connect.Value, rest []byte, err error) {
	fields := s.Fields()
	size := (len(fields) + 7) / 8
	if len(b) < size {
		return v, nil, errRow
	}
	bits, b := b[:size], b[size:]
	values := make([]connect.Value, len(fields))
	for i, f := range fields {
		if bits[i/8]&(1<<(i%8)) != 0 {
			continue
		}
		if values[i], b, err = readPresent(b, f.Schema); err != nil {
			return v, nil, err
		}
	}
	return connect.StructValue(s.StructOf(values)), b, nil
}
