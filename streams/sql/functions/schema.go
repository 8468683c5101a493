package functions

import (
	"strconv"
	"strings"

	"github.com/tidemill/tidemill/connect"
)

// Schema returns the schema of values of the type, optional at every depth, as
// ksqlDB writes all its fields.
func (t Type) Schema() (*connect.Schema, error) {
	def := connect.SchemaDef{Optional: true}
	switch t.Kind {
	case Decimal:
		return connect.DecimalSchema(t.Precision, t.Scale).AsOptional(), nil
	case Time:
		def.Kind, def.Name, def.Version = connect.KindInt32, connect.LogicalTime, 1
	case Date:
		def.Kind, def.Name, def.Version = connect.KindInt32, connect.LogicalDate, 1
	case Timestamp:
		def.Kind, def.Name, def.Version = connect.KindInt64, connect.LogicalTimestamp, 1
	case Array:
		elem, err := t.Elem.Schema()
		if err != nil {
			return nil, err
		}
		def.Kind, def.Elem = connect.KindArray, elem
	case Map:
		key, err := t.Key.Schema()
		if err != nil {
			return nil, err
		}
		if def.Elem, err = t.Elem.Schema(); err != nil {
			return nil, err
		}
		def.Kind, def.Key = connect.KindMap, key.AsRequired()
	case Struct:
		def.Kind = connect.KindStruct
		for _, f := range t.Fields {
			s, err := f.Type.Schema()
			if err != nil {
				return nil, err
			}
			def.Fields = append(def.Fields, connect.Field{Name: f.Name, Schema: s})
		}
	default:
		def.Kind = t.Kind.carrier()
	}
	return def.Build()
}

// carrier returns the kind of value that carries a plain type.
func (k Kind) carrier() connect.Kind {
	switch k {
	case Boolean:
		return connect.KindBool
	case Int:
		return connect.KindInt32
	case Bigint:
		return connect.KindInt64
	case Double:
		return connect.KindFloat64
	case Bytes:
		return connect.KindBytes
	}
	return connect.KindString
}

// TypeOf returns the SQL type of values of a schema. Field names are upper-cased,
// as ksqlDB does when it infers columns. ok is false when SQL has no such type.
func TypeOf(s *connect.Schema) (t Type, ok bool) {
	switch s.Name() {
	case connect.LogicalDecimal:
		scale, ok := s.DecimalScale()
		return DecimalOf(precisionOf(s, scale), scale), ok
	case connect.LogicalTime, "io.debezium.time.Time":
		return Type{Kind: Time}, s.Kind() == connect.KindInt32
	case connect.LogicalDate, "io.debezium.time.Date":
		return Type{Kind: Date}, s.Kind() == connect.KindInt32
	case connect.LogicalTimestamp, "io.debezium.time.Timestamp":
		return Type{Kind: Timestamp}, s.Kind() == connect.KindInt64
	}
	switch s.Kind() {
	case connect.KindInt8, connect.KindInt16, connect.KindInt32:
		return Type{Kind: Int}, true
	case connect.KindInt64:
		return Type{Kind: Bigint}, true
	case connect.KindFloat32, connect.KindFloat64:
		return Type{Kind: Double}, true
	case connect.KindBool:
		return Type{Kind: Boolean}, true
	case connect.KindString:
		return Type{Kind: String}, true
	case connect.KindBytes:
		return Type{Kind: Bytes}, true
	case connect.KindArray:
		e, ok := TypeOf(s.Elem())
		return ArrayOf(e), ok
	case connect.KindMap:
		k, ok := TypeOf(s.Key())
		e, ok2 := TypeOf(s.Elem())
		return MapOf(k, e), ok && ok2
	case connect.KindStruct:
		return structOf(s)
	}
	return Type{}, false
}

// precisionOf returns the precision a decimal schema states. Connect's decimals
// need not state one; then it is ksqlDB's 64, which holds all that occur.
func precisionOf(s *connect.Schema, scale int) int {
	text, _ := s.Param(connect.ParamPrecision)
	if p, err := strconv.Atoi(text); err == nil && p > 0 {
		return max(p, scale)
	}
	return max(64, scale)
}

func structOf(s *connect.Schema) (Type, bool) {
	out := Type{Kind: Struct}
	for _, f := range s.Fields() {
		t, ok := TypeOf(f.Schema)
		if !ok {
			return Type{}, false
		}
		out.Fields = append(out.Fields, Field{strings.ToUpper(f.Name), t})
	}
	return out, true
}
