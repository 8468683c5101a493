package connect

import (
	"encoding/base64"
	"math"
	"strconv"
	"unicode/utf8"
)

// AppendJSON appends v as compact JSON without schemas, the plain form people and
// schemaless topics read: structs and maps with string keys as objects, other maps
// as arrays of pairs, bytes as base64, decimals (when s says so) as numbers, NaN and
// infinities as strings. A nil schema is allowed at any depth.
func AppendJSON(dst []byte, s *Schema, v Value) []byte {
	switch v.Kind() {
	case KindNull:
		return append(dst, "null"...)
	case KindBool:
		return strconv.AppendBool(dst, v.Bool())
	case KindInt8, KindInt16, KindInt32, KindInt64:
		return strconv.AppendInt(dst, v.Int(), 10)
	case KindFloat32:
		return appendJSONFloat(dst, v.Float(), 32)
	case KindFloat64:
		return appendJSONFloat(dst, v.Float(), 64)
	case KindString:
		return appendJSONString(dst, v.Str())
	case KindBytes:
		return appendJSONBytes(dst, s, v.Bytes())
	case KindArray:
		return appendJSONArray(dst, elemOf(s), v.Array())
	case KindMap:
		return appendJSONMap(dst, s, v.Map())
	default:
		return appendJSONStruct(dst, v.Struct())
	}
}

func elemOf(s *Schema) *Schema {
	if s == nil {
		return nil
	}
	return s.def.Elem
}

func appendJSONBytes(dst []byte, s *Schema, b []byte) []byte {
	if scale, ok := s.DecimalScale(); ok {
		return Decimal{Unscaled: b, Scale: scale}.Append(dst)
	}
	dst = append(dst, '"')
	dst = base64.StdEncoding.AppendEncode(dst, b)
	return append(dst, '"')
}

func appendJSONArray(dst []byte, elem *Schema, elems []Value) []byte {
	dst = append(dst, '[')
	for i, e := range elems {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = AppendJSON(dst, elem, e)
	}
	return append(dst, ']')
}

func appendJSONMap(dst []byte, s *Schema, entries []MapEntry) []byte {
	var key *Schema
	if s != nil {
		key = s.def.Key
	}
	for _, e := range entries {
		if e.Key.Kind() != KindString {
			return appendJSONPairs(dst, s, entries)
		}
	}
	dst = append(dst, '{')
	for i, e := range entries {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(AppendJSON(dst, key, e.Key), ':')
		dst = AppendJSON(dst, elemOf(s), e.Value)
	}
	return append(dst, '}')
}

func appendJSONPairs(dst []byte, s *Schema, entries []MapEntry) []byte {
	var key *Schema
	if s != nil {
		key = s.def.Key
	}
	dst = append(dst, '[')
	for i, e := range entries {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(AppendJSON(append(dst, '['), key, e.Key), ',')
		dst = append(AppendJSON(dst, elemOf(s), e.Value), ']')
	}
	return append(dst, ']')
}

func appendJSONStruct(dst []byte, st *Struct) []byte {
	dst = append(dst, '{')
	for i := range st.values {
		if i > 0 {
			dst = append(dst, ',')
		}
		f := &st.schema.def.Fields[i]
		dst = append(appendJSONString(dst, f.Name), ':')
		dst = AppendJSON(dst, f.Schema, st.values[i])
	}
	return append(dst, '}')
}

// appendJSONFloat appends f with the fewest digits that give it back at the given
// width (32 or 64 bits). JSON has no NaN and no infinities: they are the strings
// "NaN", "Infinity" and "-Infinity", as Jackson writes them.
func appendJSONFloat(dst []byte, f float64, bits int) []byte {
	switch {
	case math.IsNaN(f):
		return append(dst, `"NaN"`...)
	case math.IsInf(f, 1):
		return append(dst, `"Infinity"`...)
	case math.IsInf(f, -1):
		return append(dst, `"-Infinity"`...)
	}
	format := byte('f')
	if abs := math.Abs(f); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	start := len(dst)
	dst = strconv.AppendFloat(dst, f, format, -1, bits)
	for _, c := range dst[start:] {
		if c == '.' || c == 'e' {
			return dst
		}
	}
	return append(dst, ".0"...)
}

const hexDigits = "0123456789abcdef"

// appendJSONString appends s as a JSON string. Bytes that are no UTF-8 become the
// replacement character.
func appendJSONString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && size == 1 {
				dst = append(append(dst, s[start:i]...), `\ufffd`...)
				start = i + 1
			}
			i += size
			continue
		}
		dst = appendEscape(append(dst, s[start:i]...), c)
		i++
		start = i
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}

func appendEscape(dst []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	case '\t':
		return append(dst, '\\', 't')
	}
	return append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
}
