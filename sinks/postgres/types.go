package postgres

import (
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/tidemill/tidemill/connect"
)

// encoder appends a value, which is of its schema's kind and not null, in the text
// form that PostgreSQL reads as the column's type.
type encoder func(dst []byte, v connect.Value) []byte

// The prefixes of the semantic names.
const (
	dbzData = "io.debezium.data."
	dbzTime = "io.debezium.time."
)

// columnType returns the type of a column made for values of s. has tells whether
// the database knows a type by that name, for those of extensions.
func columnType(s *connect.Schema, has func(name string) bool) string {
	if t := semanticType(s, has); t != "" {
		return t
	}
	switch s.Kind() {
	case connect.KindInt8, connect.KindInt16:
		return "smallint"
	case connect.KindInt32:
		return "integer"
	case connect.KindInt64:
		return "bigint"
	case connect.KindFloat32:
		return "real"
	case connect.KindFloat64:
		return "double precision"
	case connect.KindBool:
		return "boolean"
	case connect.KindString:
		return "text"
	case connect.KindBytes:
		return "bytea"
	case connect.KindArray:
		if elem := innermost(s); elem.Kind() != connect.KindMap && (elem.Kind() != connect.KindStruct || elem.Name() == nameVariableDecimal) {
			return columnType(elem, has) + "[]"
		}
	}
	return "jsonb"
}

// innermost returns the element schema of an array, through nested arrays.
func innermost(s *connect.Schema) *connect.Schema {
	for s.Kind() == connect.KindArray && s.Name() == "" {
		s = s.Elem()
	}
	return s
}

const nameVariableDecimal = dbzData + "VariableScaleDecimal"

// semanticType returns the column type for a semantic name, "" when the kind
// decides.
func semanticType(s *connect.Schema, has func(string) bool) string {
	if t := timeType(s.Name()); t != "" {
		return t
	}
	extension := func(name, instead string) string {
		if has(name) {
			return name
		}
		return instead
	}
	switch s.Name() {
	case connect.LogicalDecimal:
		return decimalType(s)
	case nameVariableDecimal:
		return "numeric"
	case dbzData + "Json":
		return "json"
	case dbzData + "Xml":
		return "xml"
	case dbzData + "Uuid":
		return "uuid"
	case dbzData + "Tsvector":
		return "tsvector"
	case dbzData + "Ltree":
		return extension("ltree", "text")
	case dbzData + "Bits":
		if n, ok := bitLength(s); ok {
			return "bit(" + strconv.Itoa(n) + ")"
		}
		return "bit varying"
	case dbzData + "DoubleVector":
		return extension("vector", "double precision[]")
	case dbzData + "FloatVector":
		return extension("halfvec", "real[]")
	case dbzData + "SparseDoubleVector", dbzData + "SparseVector":
		return extension("sparsevec", "jsonb")
	case dbzData + "geometry.Point":
		return "point"
	case dbzData + "geometry.Circle":
		return "circle"
	case dbzData + "geometry.Line":
		return "line"
	case dbzData + "geometry.Geometry":
		return extension("geometry", "bytea")
	case dbzData + "geometry.Geography":
		return extension("geography", "bytea")
	}
	return ""
}

func decimalType(s *connect.Schema) string {
	scale, ok := s.DecimalScale()
	precision, _ := s.Param(connect.ParamPrecision)
	if p, err := strconv.Atoi(precision); ok && err == nil && p > 0 && p <= 1000 && scale >= 0 && scale <= p {
		return "numeric(" + precision + "," + strconv.Itoa(scale) + ")"
	}
	return "numeric"
}

// bitLength returns the length of a Bits schema, and false for those without limit.
func bitLength(s *connect.Schema) (int, bool) {
	text, _ := s.Param("length")
	n, err := strconv.Atoi(text)
	return n, err == nil && n > 0 && n <= 83886080
}

// encoderFor returns how values of s are written into a column.
func encoderFor(s *connect.Schema, c *column) encoder {
	if c.isArray() && s.Kind() == connect.KindArray {
		return encodeArray(s, c)
	}
	if s.Kind() == connect.KindString && c.isNumeric() {
		return encodeSpecialNumber
	}
	if e := encodeTime(s, c); e != nil {
		return e
	}
	if e := encodeSemantic(s, c); e != nil {
		return e
	}
	if c.base == "hstore" {
		return encodeHstore(s)
	}
	switch s.Kind() {
	case connect.KindString:
		return func(dst []byte, v connect.Value) []byte { return append(dst, v.Str()...) }
	case connect.KindBool:
		return encodeBool(c)
	case connect.KindBytes:
		return encodeBytes(c)
	case connect.KindFloat32, connect.KindFloat64:
		return encodeFloat(s.Kind())
	case connect.KindArray, connect.KindMap, connect.KindStruct:
		return func(dst []byte, v connect.Value) []byte { return connect.AppendJSON(dst, s, v) }
	}
	return encodeInt
}

func encodeInt(dst []byte, v connect.Value) []byte { return strconv.AppendInt(dst, v.Int(), 10) }

// encodeFloat writes the shortest digits that give the number back; PostgreSQL
// reads Go's NaN, +Inf and -Inf as well.
func encodeFloat(k connect.Kind) encoder {
	bits := 64
	if k == connect.KindFloat32 {
		bits = 32
	}
	return func(dst []byte, v connect.Value) []byte { return strconv.AppendFloat(dst, v.Float(), 'g', -1, bits) }
}

// encodeBool writes booleans; bit and number columns take them as 1 and 0.
func encodeBool(c *column) encoder {
	yes, no := "t", "f"
	if c.isNumeric() || c.isBits() {
		yes, no = "1", "0"
	}
	return func(dst []byte, v connect.Value) []byte {
		if v.Bool() {
			return append(dst, yes...)
		}
		return append(dst, no...)
	}
}

func encodeBytes(c *column) encoder {
	if c.base == "text" || c.base == "varchar" || c.base == "bpchar" || c.base == "json" || c.base == "jsonb" || c.base == "xml" {
		return func(dst []byte, v connect.Value) []byte { return append(dst, v.Bytes()...) }
	}
	return appendHex
}

// appendHex writes bytes in bytea's hex form.
func appendHex(dst []byte, v connect.Value) []byte {
	return hex.AppendEncode(append(dst, '\\', 'x'), v.Bytes())
}

// encodeSpecialNumber writes text into a number column. Debezium's words for what
// is no number (decimal.handling.mode=string) become PostgreSQL's.
func encodeSpecialNumber(dst []byte, v connect.Value) []byte {
	switch text := v.Str(); text {
	case "POSITIVE_INFINITY":
		return append(dst, "Infinity"...)
	case "NEGATIVE_INFINITY":
		return append(dst, "-Infinity"...)
	default:
		return append(dst, text...)
	}
}

// encodeSemantic returns the encoder for a semantic name, nil when the kind decides.
func encodeSemantic(s *connect.Schema, c *column) encoder {
	switch name := s.Name(); name {
	case connect.LogicalDecimal:
		scale, _ := s.DecimalScale()
		return func(dst []byte, v connect.Value) []byte {
			return connect.Decimal{Unscaled: v.Bytes(), Scale: scale}.Append(dst)
		}
	case nameVariableDecimal:
		return encodeVariableDecimal(s)
	case dbzData + "Bits":
		return encodeBits(s, c)
	case dbzData + "DoubleVector", dbzData + "FloatVector":
		return encodeVector(s)
	case dbzData + "SparseDoubleVector", dbzData + "SparseVector":
		if c.base == "sparsevec" {
			return encodeSparseVector(s)
		}
	case dbzData + "geometry.Point", dbzData + "geometry.Circle", dbzData + "geometry.Line":
		if s.Kind() == connect.KindStruct {
			return encodeShape(s, c)
		}
	case dbzData + "geometry.Geometry", dbzData + "geometry.Geography":
		if i := fieldOf(s, "wkb", connect.KindBytes); i >= 0 {
			return encodeGeometry(i, c)
		}
	}
	return nil
}

// fieldOf returns the place of a field of the given kind in a struct, or -1.
func fieldOf(s *connect.Schema, name string, k connect.Kind) int {
	if s.Kind() != connect.KindStruct {
		return -1
	}
	if i := s.Index(name); i >= 0 && s.Fields()[i].Schema.Kind() == k {
		return i
	}
	return -1
}

func encodeVariableDecimal(s *connect.Schema) encoder {
	scale, value := fieldOf(s, "scale", connect.KindInt32), fieldOf(s, "value", connect.KindBytes)
	if scale < 0 || value < 0 {
		return nil
	}
	return func(dst []byte, v connect.Value) []byte {
		at, unscaled := v.Struct().At(scale), v.Struct().At(value)
		if at.IsNull() || unscaled.IsNull() {
			return dst
		}
		return connect.Decimal{Unscaled: unscaled.Bytes(), Scale: int(at.Int())}.Append(dst)
	}
}

// encodeBits writes little-endian bits, of which only those up to the highest set
// one are there, with the highest first and filled up to the column's length.
func encodeBits(s *connect.Schema, c *column) encoder {
	length := 0
	if n, ok := bitLength(s); ok && c.base != "varbit" {
		length = n
	}
	if c.base == "bit" && c.typmod > 0 {
		length = int(c.typmod)
	}
	if !c.isBits() {
		return nil
	}
	return func(dst []byte, v connect.Value) []byte {
		b := v.Bytes()
		n := len(b) * 8
		for n > length && b[(n-1)/8]>>((n-1)%8)&1 == 0 {
			n--
		}
		for i := max(n, length) - 1; i >= 0; i-- {
			bit := byte('0')
			if i/8 < len(b) {
				bit += b[i/8] >> (i % 8) & 1
			}
			dst = append(dst, bit)
		}
		return dst
	}
}

// encodeVector writes pgvector's [1,2,3], which JSON writes just so.
func encodeVector(s *connect.Schema) encoder {
	if s.Kind() != connect.KindArray || s.Elem().Kind() != connect.KindFloat32 && s.Elem().Kind() != connect.KindFloat64 {
		return nil
	}
	number := encodeFloat(s.Elem().Kind())
	return func(dst []byte, v connect.Value) []byte {
		dst = append(dst, '[')
		for i, e := range v.Array() {
			if i > 0 {
				dst = append(dst, ',')
			}
			if !e.IsNull() {
				dst = number(dst, e)
			}
		}
		return append(dst, ']')
	}
}

// encodeSparseVector writes pgvector's {1:0.5,3:2}/5.
func encodeSparseVector(s *connect.Schema) encoder {
	dimensions, vector := fieldOf(s, "dimensions", connect.KindInt16), fieldOf(s, "vector", connect.KindMap)
	if dimensions < 0 || vector < 0 {
		return nil
	}
	return func(dst []byte, v connect.Value) []byte {
		n, elems := v.Struct().At(dimensions), v.Struct().At(vector)
		if n.IsNull() || elems.IsNull() {
			return dst
		}
		dst = append(dst, '{')
		for i, e := range elems.Map() {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = connect.AppendJSON(append(connect.AppendJSON(dst, nil, e.Key), ':'), nil, e.Value)
		}
		return strconv.AppendInt(append(dst, '}', '/'), n.Int(), 10)
	}
}

// encodeShape writes points as (x,y), circles as <(x,y),r> and lines as {a,b,c}.
func encodeShape(s *connect.Schema, c *column) encoder {
	if c.base != "point" && c.base != "circle" && c.base != "line" {
		return nil
	}
	numbers := func(dst []byte, st *connect.Struct, names ...string) []byte {
		for i, name := range names {
			if i > 0 {
				dst = append(dst, ',')
			}
			if v := st.Get(name); v.IsFloat() {
				dst = strconv.AppendFloat(dst, v.Float(), 'g', -1, 64)
			}
		}
		return dst
	}
	return func(dst []byte, v connect.Value) []byte {
		st := v.Struct()
		switch {
		case strings.HasSuffix(s.Name(), "Line"):
			return append(numbers(append(dst, '{'), st, "a", "b", "c"), '}')
		case strings.HasSuffix(s.Name(), "Point"):
			return append(numbers(append(dst, '('), st, "x", "y"), ')')
		}
		dst = append(dst, '<', '(')
		if center := st.Get("center"); center.Kind() == connect.KindStruct {
			dst = numbers(dst, center.Struct(), "x", "y")
		}
		return append(numbers(append(dst, ')', ','), st, "radius"), '>')
	}
}

// encodeGeometry writes well-known binary: as hex digits for PostGIS, else as bytes.
func encodeGeometry(wkb int, c *column) encoder {
	return func(dst []byte, v connect.Value) []byte {
		b := v.Struct().At(wkb)
		switch {
		case b.IsNull():
			return dst
		case c.base == "geometry" || c.base == "geography":
			return hex.AppendEncode(dst, b.Bytes())
		}
		return appendHex(dst, b)
	}
}

// encodeArray writes {"a",NULL}. Every element is quoted, so that none is read as
// something else.
func encodeArray(s *connect.Schema, c *column) encoder {
	elem := s.Elem()
	nested := elem.Kind() == connect.KindArray && elem.Name() == ""
	one := encoderFor(elem, c.element())
	if nested {
		one = encodeArray(elem, c)
	}
	return func(dst []byte, v connect.Value) []byte {
		dst = append(dst, '{')
		for i, e := range v.Array() {
			if i > 0 {
				dst = append(dst, ',')
			}
			switch {
			case e.IsNull():
				dst = append(dst, "NULL"...)
			case nested:
				dst = one(dst, e)
			default:
				dst = append(dst, '"')
				at := len(dst)
				dst = one(dst, e)
				dst = append(escapeElement(dst, at), '"')
			}
		}
		return append(dst, '}')
	}
}

// escapeElement puts a backslash before the quotes and backslashes in dst from at on.
func escapeElement(dst []byte, at int) []byte {
	n := 0
	for _, b := range dst[at:] {
		if b == '"' || b == '\\' {
			n++
		}
	}
	if n == 0 {
		return dst
	}
	from := len(dst) - 1
	dst = append(dst, make([]byte, n)...)
	for to := len(dst) - 1; from >= at; from-- {
		b := dst[from]
		dst[to] = b
		to--
		if b == '"' || b == '\\' {
			dst[to] = '\\'
			to--
		}
	}
	return dst
}
