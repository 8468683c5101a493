package postgres

import (
	"encoding/binary"
	"math"

	"github.com/tidemill/tidemill/connect"
)

// sizeOf returns about how many bytes a value takes.
func sizeOf(v connect.Value) (n int) {
	switch v.Kind() {
	case connect.KindString, connect.KindBytes:
		return v.Len()
	case connect.KindArray:
		for _, e := range v.Array() {
			n += 4 + sizeOf(e)
		}
	case connect.KindMap:
		for _, e := range v.Map() {
			n += 8 + sizeOf(e.Key) + sizeOf(e.Value)
		}
	case connect.KindStruct:
		for _, e := range v.Struct().Values() {
			n += 4 + sizeOf(e)
		}
	default:
		n = 8
	}
	return n
}

// appendStored writes a value for the store: its kind, and what there is to say of it.
// Schemas are not written; the reader has them.
func appendStored(dst []byte, v connect.Value) []byte {
	dst = append(dst, byte(v.Kind()))
	switch v.Kind() {
	case connect.KindNull:
	case connect.KindBool:
		n := byte(0)
		if v.Bool() {
			n = 1
		}
		dst = append(dst, n)
	case connect.KindFloat32, connect.KindFloat64:
		dst = binary.BigEndian.AppendUint64(dst, math.Float64bits(v.Float()))
	case connect.KindString:
		dst = appendLengthy(dst, v.Str())
	case connect.KindBytes:
		dst = append(binary.AppendUvarint(dst, uint64(v.Len())), v.Bytes()...)
	case connect.KindArray:
		dst = binary.AppendUvarint(dst, uint64(v.Len()))
		for _, e := range v.Array() {
			dst = appendStored(dst, e)
		}
	case connect.KindMap:
		dst = binary.AppendUvarint(dst, uint64(v.Len()))
		for _, e := range v.Map() {
			dst = appendStored(appendStored(dst, e.Key), e.Value)
		}
	case connect.KindStruct:
		values := v.Struct().Values()
		dst = binary.AppendUvarint(dst, uint64(len(values)))
		for _, e := range values {
			dst = appendStored(dst, e)
		}
	default:
		dst = binary.AppendVarint(dst, v.Int())
	}
	return dst
}

// readStored reads what put has written for a column, if it was of the same type then.
func readStored(a *arena, s *connect.Schema, b []byte) (connect.Value, bool) {
	r := storedReader{a: a, b: b}
	kind, name := r.byte(), r.lengthy()
	if connect.Kind(kind) != s.Kind() || string(name) != s.Name() {
		return connect.Value{}, false
	}
	v := r.value(s)
	return v, !r.bad && len(r.b) == 0
}

// storedReader walks over a stored value. After something that does not fit bad is set.
type storedReader struct {
	a   *arena
	b   []byte
	bad bool
}

func (r *storedReader) take(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return nil
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *storedReader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *storedReader) uvarint() uint64 {
	n, size := binary.Uvarint(r.b)
	if size <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[size:]
	return n
}

func (r *storedReader) lengthy() []byte { return r.take(r.uvarint()) }

// count reads how many elements follow, of which each takes a byte at least.
func (r *storedReader) count() int {
	n := r.uvarint()
	if n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return 0
	}
	return int(n)
}

func (r *storedReader) value(s *connect.Schema) connect.Value {
	kind := connect.Kind(r.byte())
	if kind == connect.KindNull {
		return connect.Value{}
	}
	if s == nil || kind != s.Kind() {
		r.bad = true
		return connect.Value{}
	}
	switch kind {
	case connect.KindBool:
		return connect.Bool(r.byte() == 1)
	case connect.KindFloat32, connect.KindFloat64:
		b := r.take(8)
		if b == nil {
			return connect.Value{}
		}
		f := math.Float64frombits(binary.BigEndian.Uint64(b))
		if kind == connect.KindFloat32 {
			return connect.Float32(float32(f))
		}
		return connect.Float64(f)
	case connect.KindString:
		return r.a.text(r.lengthy())
	case connect.KindBytes:
		return connect.Bytes(r.a.copy(r.lengthy()))
	case connect.KindArray:
		elems := r.a.row(r.count())
		for i := range elems {
			elems[i] = r.value(s.Elem())
		}
		return connect.Array(elems)
	case connect.KindMap:
		entries := make([]connect.MapEntry, r.count())
		for i := range entries {
			entries[i] = connect.MapEntry{Key: r.value(s.Key()), Value: r.value(s.Elem())}
		}
		return connect.Map(entries)
	case connect.KindStruct:
		return r.structure(s)
	}
	n, size := binary.Varint(r.b)
	if size <= 0 {
		r.bad = true
		return connect.Value{}
	}
	r.b = r.b[size:]
	return connect.IntOf(kind, n)
}

func (r *storedReader) structure(s *connect.Schema) connect.Value {
	fields := s.Fields()
	if r.count() != len(fields) {
		r.bad = true
		return connect.Value{}
	}
	values := r.a.row(len(fields))
	for i, f := range fields {
		values[i] = r.value(f.Schema)
	}
	return r.a.structure(s, values)
}
