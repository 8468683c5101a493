package json

import (
	"encoding/base64"
	"fmt"
	"strconv"

	"github.com/tidemill/tidemill/connect"
)

// append appends v as its plan says.
func (p *plan) append(dst []byte, v connect.Value) ([]byte, error) {
	if p.schema == nil {
		return p.appendSchemaless(dst, v)
	}
	if v.IsNull() {
		def, err := p.absent()
		if err != nil || def.IsNull() {
			return append(dst, "null"...), err
		}
		v = def
	}
	if v.Kind() != p.kind {
		return dst, fmt.Errorf("it holds %v, not %v", v.Kind(), p.kind)
	}
	switch p.kind {
	case connect.KindBytes:
		if p.decimal && p.numeric {
			return appendDecimal(dst, connect.Decimal{Unscaled: v.Bytes(), Scale: p.scale}), nil
		}
		return appendBytes(dst, v.Bytes()), nil
	case connect.KindArray:
		return p.elem.appendArray(dst, v.Array())
	case connect.KindMap:
		if p.key.kind == connect.KindString {
			return p.appendObject(dst, v.Map())
		}
		return p.appendPairs(dst, v.Map())
	case connect.KindStruct:
		return p.appendStruct(dst, v.Struct())
	}
	return appendScalar(dst, v), nil
}

// appendScalar appends a value that is not made of others and not bytes.
func appendScalar(dst []byte, v connect.Value) []byte {
	switch v.Kind() {
	case connect.KindNull:
		return append(dst, "null"...)
	case connect.KindBool:
		return strconv.AppendBool(dst, v.Bool())
	case connect.KindFloat32:
		return appendFloat(dst, v.Float(), 32)
	case connect.KindFloat64:
		return appendFloat(dst, v.Float(), 64)
	case connect.KindString:
		return appendString(dst, v.Str())
	}
	return strconv.AppendInt(dst, v.Int(), 10)
}

func appendBytes(dst, b []byte) []byte {
	dst = append(dst, '"')
	dst = base64.StdEncoding.AppendEncode(dst, b)
	return append(dst, '"')
}

// appendArray appends elements whose plan p is.
func (p *plan) appendArray(dst []byte, elems []connect.Value) ([]byte, error) {
	var err error
	dst = append(dst, '[')
	for i, e := range elems {
		if i > 0 {
			dst = append(dst, ',')
		}
		if dst, err = p.append(dst, e); err != nil {
			return dst, fmt.Errorf("element %d: %w", i, err)
		}
	}
	return append(dst, ']'), nil
}

// appendObject appends a map with string keys.
func (p *plan) appendObject(dst []byte, entries []connect.MapEntry) ([]byte, error) {
	var err error
	dst = append(dst, '{')
	for i, e := range entries {
		if i > 0 {
			dst = append(dst, ',')
		}
		switch {
		case e.Key.Kind() == connect.KindString:
			dst = appendString(dst, e.Key.Str())
		case e.Key.IsNull() && p.key.optional:
			dst = append(dst, `"null"`...)
		default:
			return dst, fmt.Errorf("key %d: it holds %v, not string", i, e.Key.Kind())
		}
		if dst, err = p.elem.append(append(dst, ':'), e.Value); err != nil {
			return dst, fmt.Errorf("value %d: %w", i, err)
		}
	}
	return append(dst, '}'), nil
}

// appendPairs appends a map with keys that are no strings.
func (p *plan) appendPairs(dst []byte, entries []connect.MapEntry) ([]byte, error) {
	var err error
	dst = append(dst, '[')
	for i, e := range entries {
		if i > 0 {
			dst = append(dst, ',')
		}
		if dst, err = p.key.append(append(dst, '['), e.Key); err != nil {
			return dst, fmt.Errorf("key %d: %w", i, err)
		}
		if dst, err = p.elem.append(append(dst, ','), e.Value); err != nil {
			return dst, fmt.Errorf("value %d: %w", i, err)
		}
		dst = append(dst, ']')
	}
	return append(dst, ']'), nil
}

func (p *plan) appendStruct(dst []byte, st *connect.Struct) ([]byte, error) {
	if !p.owns(st) {
		return dst, fmt.Errorf("it is a %s, not a %s", st.Schema(), p.schema)
	}
	var err error
	dst = append(dst, '{')
	values := st.Values()
	for i := range p.fields {
		f := &p.fields[i]
		if i > 0 {
			dst = append(dst, ',')
		}
		if dst, err = f.append(append(dst, f.label...), values[i]); err != nil {
			return dst, fmt.Errorf("field %s: %w", f.name, err)
		}
	}
	return append(dst, '}'), nil
}

// appendSchemaless appends a value that has no schema. A struct has its own.
func (p *plan) appendSchemaless(dst []byte, v connect.Value) ([]byte, error) {
	switch v.Kind() {
	case connect.KindBytes:
		return appendBytes(dst, v.Bytes()), nil
	case connect.KindArray:
		return p.appendArray(dst, v.Array())
	case connect.KindMap:
		for _, e := range v.Map() {
			if e.Key.Kind() != connect.KindString {
				return p.appendPairs(dst, v.Map())
			}
		}
		return p.appendObject(dst, v.Map())
	case connect.KindStruct:
		c := compiler{options: p.options}
		return c.compile(v.Struct().Schema()).append(dst, v)
	}
	return appendScalar(dst, v), nil
}
