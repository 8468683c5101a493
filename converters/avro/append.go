package avro

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"

	"github.com/tidemill/tidemill/connect"
)

// appendLong appends n as Avro writes int and long: zigzag, seven bits to a byte,
// least significant first.
func appendLong(dst []byte, n int64) []byte {
	u := uint64(n)<<1 ^ uint64(n>>63)
	for u >= 0x80 {
		dst = append(dst, byte(u)|0x80)
		u >>= 7
	}
	return append(dst, byte(u))
}

// append appends v in Avro's binary encoding.
func (e *encoder) append(dst []byte, v connect.Value) ([]byte, error) {
	if v.Kind() != e.kind {
		switch {
		case e.op == opAnything:
			return appendAnything(dst, v, 0)
		case !v.IsNull():
			return dst, fmt.Errorf("it holds %v, not %v", v.Kind(), e.kind)
		case !e.def.IsNull():
			v = e.def
		case e.union && e.null != noNull:
			return append(dst, e.null), nil
		default:
			return dst, errAbsent
		}
	}
	if e.union && e.op != opUnion {
		dst = append(dst, e.some)
	}
	switch e.op {
	case opInt:
		return appendLong(dst, v.Int()), nil
	case opString:
		return append(appendLong(dst, int64(v.Len())), v.Bytes()...), nil
	case opBool:
		if v.Bool() {
			return append(dst, 1), nil
		}
		return append(dst, 0), nil
	case opFloat:
		return binary.LittleEndian.AppendUint32(dst, math.Float32bits(float32(v.Float()))), nil
	case opDouble:
		return binary.LittleEndian.AppendUint64(dst, math.Float64bits(v.Float())), nil
	case opStruct:
		return e.appendStruct(dst, v.Struct())
	}
	return e.appendRare(dst, v)
}

var errAbsent = fmt.Errorf("it is absent, but neither optional nor has it a default")

func (e *encoder) appendRare(dst []byte, v connect.Value) ([]byte, error) {
	switch e.op {
	case opArray:
		return e.appendArray(dst, v.Array())
	case opMap, opEntries:
		return e.appendMap(dst, v.Map())
	case opFixed, opPadded:
		return e.appendFixed(dst, v.Bytes())
	case opEnum:
		i, ok := e.symbols[v.Str()]
		if !ok {
			return dst, fmt.Errorf("%q is none of the enum's symbols", v.Str())
		}
		return appendLong(dst, i), nil
	}
	return e.appendUnion(dst, v.Struct())
}

// owns tells whether st is a struct of the encoder's schema.
func (d *detail) owns(st *connect.Struct) bool {
	s := st.Schema()
	return s == d.schema || s == d.required || s.AsRequired() == d.required
}

func (e *encoder) appendStruct(dst []byte, st *connect.Struct) ([]byte, error) {
	if !e.owns(st) {
		return dst, fmt.Errorf("it is a %s, not a %s", st.Schema(), e.schema)
	}
	if st.Frozen() {
		return e.appendFrozen(dst, st)
	}
	return e.appendFields(dst, st)
}

// appendFrozen writes a struct that many records share once, and copies that for the
// others. The pointer held here keeps its memory from being used for another struct.
func (e *encoder) appendFrozen(dst []byte, st *connect.Struct) ([]byte, error) {
	if last := e.frozen.Load(); last != nil && last.st == st {
		return append(dst, last.text...), nil
	}
	from := len(dst)
	dst, err := e.appendFields(dst, st)
	if err == nil {
		e.frozen.Store(&frozen{st: st, text: bytes.Clone(dst[from:])})
	}
	return dst, err
}

func (e *encoder) appendFields(dst []byte, st *connect.Struct) ([]byte, error) {
	values := st.Values()
	var err error
	for i := range e.fields {
		f := &e.fields[i]
		if f.index < 0 {
			dst = append(dst, f.raw...)
			continue
		}
		// What most fields are, absent, a number or a text, needs no call.
		v := &values[f.index]
		switch {
		case v.Kind() != f.kind:
			if v.IsNull() && f.union && f.null != noNull && f.def.IsNull() {
				dst = append(dst, f.null)
				continue
			}
		case f.op <= opString:
			if f.union {
				dst = append(dst, f.some)
			}
			if f.op == opInt {
				dst = appendLong(dst, v.Int())
				continue
			}
			text := v.Bytes()
			dst = append(appendLong(dst, int64(len(text))), text...)
			continue
		}
		if dst, err = f.append(dst, *v); err != nil {
			return dst, fmt.Errorf("field %s: %w", f.name, err)
		}
	}
	return dst, nil
}

// appendUnion appends the one field of st that is there.
func (e *encoder) appendUnion(dst []byte, st *connect.Struct) ([]byte, error) {
	if !e.owns(st) {
		return dst, fmt.Errorf("it is a %s, not a %s", st.Schema(), e.schema)
	}
	for i := range e.fields {
		if v := st.At(e.fields[i].index); !v.IsNull() {
			return e.fields[i].append(dst, v)
		}
	}
	if e.null == noNull {
		return dst, errAbsent
	}
	return append(dst, e.null), nil
}

func (e *encoder) appendArray(dst []byte, elems []connect.Value) ([]byte, error) {
	if len(elems) > 0 {
		dst = appendLong(dst, int64(len(elems)))
	}
	for i, v := range elems {
		var err error
		if dst, err = e.elem.append(dst, v); err != nil {
			return dst, fmt.Errorf("element %d: %w", i, err)
		}
	}
	return append(dst, 0), nil
}

func (e *encoder) appendMap(dst []byte, entries []connect.MapEntry) ([]byte, error) {
	if len(entries) > 0 {
		dst = appendLong(dst, int64(len(entries)))
	}
	for i, entry := range entries {
		var err error
		switch {
		case e.op == opEntries:
			if dst, err = e.key.append(dst, entry.Key); err != nil {
				return dst, fmt.Errorf("key %d: %w", i, err)
			}
		case entry.Key.Kind() != connect.KindString:
			return dst, fmt.Errorf("key %d holds %v, not string", i, entry.Key.Kind())
		default:
			dst = append(appendLong(dst, int64(entry.Key.Len())), entry.Key.Str()...)
		}
		if dst, err = e.elem.append(dst, entry.Value); err != nil {
			return dst, fmt.Errorf("value %d: %w", i, err)
		}
	}
	return append(dst, 0), nil
}

func (e *encoder) appendFixed(dst, b []byte) ([]byte, error) {
	if e.op == opPadded && len(b) < e.size {
		sign := byte(0)
		if len(b) > 0 && b[0]&0x80 != 0 {
			sign = 0xff
		}
		for range e.size - len(b) {
			dst = append(dst, sign)
		}
		return append(dst, b...), nil
	}
	if len(b) != e.size {
		return dst, fmt.Errorf("it has %d bytes, and the fixed has %d", len(b), e.size)
	}
	return append(dst, b...), nil
}
