package sql

import (
	"errors"
	"fmt"
	"math/big"
	"strings"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams/sql/functions"
)

// mapper brings a decoded value into the form SQL computes with: the carrier of its
// type, structs in the schema of their type. A nil mapper leaves values as they are.
type mapper func(v connect.Value) (connect.Value, error)

// mapperFor returns how values of a schema become values of type t. A nil schema
// is that of formats without one: then every value is looked at for itself.
func mapperFor(s *connect.Schema, t functions.Type) (mapper, error) {
	if s == nil {
		return dynamic(t), nil
	}
	switch t.Kind {
	case functions.Int, functions.Bigint, functions.Date, functions.Time, functions.Timestamp:
		return intMapper(s, t)
	case functions.Double:
		return doubleMapper(s, t)
	case functions.Decimal:
		return decimalMapper(s, t)
	case functions.Array:
		return arrayMapper(s, t)
	case functions.Map:
		return mapMapper(s, t)
	case functions.Struct:
		return structMapper(s, t)
	}
	if want := carrier(t); s.Kind() != want {
		return nil, misfit(s, t)
	}
	return nil, nil
}

func misfit(s *connect.Schema, t functions.Type) error {
	return fmt.Errorf("the topic holds %s where %s is declared", s, t)
}

// carrier returns the kind of value that carries a type.
func carrier(t functions.Type) connect.Kind {
	switch t.Kind {
	case functions.Boolean:
		return connect.KindBool
	case functions.Bytes, functions.Decimal:
		return connect.KindBytes
	case functions.Int, functions.Date, functions.Time:
		return connect.KindInt32
	case functions.Bigint, functions.Timestamp:
		return connect.KindInt64
	case functions.Double:
		return connect.KindFloat64
	}
	return connect.KindString
}

func isInt(k connect.Kind) bool { return k >= connect.KindInt8 && k <= connect.KindInt64 }

// guarded lets nulls through.
func guarded(m mapper) mapper {
	return func(v connect.Value) (connect.Value, error) {
		if v.IsNull() {
			return v, nil
		}
		return m(v)
	}
}

func intMapper(s *connect.Schema, t functions.Type) (mapper, error) {
	want := carrier(t)
	if !isInt(s.Kind()) || s.Kind() > want {
		return nil, misfit(s, t)
	}
	if s.Kind() == want {
		return nil, nil
	}
	return guarded(func(v connect.Value) (connect.Value, error) { return connect.IntOf(want, v.Int()), nil }), nil
}

func doubleMapper(s *connect.Schema, t functions.Type) (mapper, error) {
	switch {
	case s.Kind() == connect.KindFloat64:
		return nil, nil
	case s.Kind() == connect.KindFloat32:
		return guarded(func(v connect.Value) (connect.Value, error) { return connect.Float64(v.Float()), nil }), nil
	case isInt(s.Kind()):
		return guarded(func(v connect.Value) (connect.Value, error) { return connect.Float64(float64(v.Int())), nil }), nil
	}
	return nil, misfit(s, t)
}

func decimalMapper(s *connect.Schema, t functions.Type) (mapper, error) {
	if scale, ok := s.DecimalScale(); ok {
		if scale == t.Scale {
			return nil, nil
		}
		conv, err := functions.Cast(functions.DecimalOf(64, scale), t)
		return guarded(mapper(conv)), err
	}
	if isInt(s.Kind()) || s.Kind() == connect.KindFloat64 || s.Kind() == connect.KindString {
		return dynamic(t), nil
	}
	return nil, misfit(s, t)
}

func arrayMapper(s *connect.Schema, t functions.Type) (mapper, error) {
	if s.Kind() != connect.KindArray {
		return nil, misfit(s, t)
	}
	m, err := mapperFor(s.Elem(), *t.Elem)
	if err != nil || m == nil {
		return nil, err
	}
	return guarded(func(v connect.Value) (connect.Value, error) { return mapArray(v, m) }), nil
}

func mapArray(v connect.Value, m mapper) (connect.Value, error) {
	out := make([]connect.Value, v.Len())
	for i, e := range v.Array() {
		var err error
		if out[i], err = m(e); err != nil {
			return null, err
		}
	}
	return connect.Array(out), nil
}

func mapMapper(s *connect.Schema, t functions.Type) (mapper, error) {
	if s.Kind() != connect.KindMap {
		return nil, misfit(s, t)
	}
	k, err := mapperFor(s.Key(), *t.Key)
	if err != nil {
		return nil, err
	}
	e, err := mapperFor(s.Elem(), *t.Elem)
	if err != nil || k == nil && e == nil {
		return nil, err
	}
	return guarded(func(v connect.Value) (connect.Value, error) { return mapMap(v, k, e) }), nil
}

func mapMap(v connect.Value, k, e mapper) (connect.Value, error) {
	out := make([]connect.MapEntry, v.Len())
	for i, m := range v.Map() {
		out[i] = m
		var err error
		if k != nil {
			if out[i].Key, err = k(m.Key); err != nil {
				return null, err
			}
		}
		if e != nil {
			if out[i].Value, err = e(m.Value); err != nil {
				return null, err
			}
		}
	}
	return connect.Map(out), nil
}

// structMapper matches fields by name, without regard to case unless one matches
// exactly. A field the topic lacks is null.
func structMapper(s *connect.Schema, t functions.Type) (mapper, error) {
	if s.Kind() != connect.KindStruct {
		return nil, misfit(s, t)
	}
	columns := make([]column, len(t.Fields))
	for i, f := range t.Fields {
		columns[i] = column{name: f.Name, typ: f.Type}
	}
	fields, err := fieldMappers(s, columns)
	if err != nil {
		return nil, err
	}
	to, err := t.Schema()
	if err != nil {
		return nil, err
	}
	return guarded(func(v connect.Value) (connect.Value, error) {
		out := make([]connect.Value, len(fields))
		if err := fields.fill(out, v.Struct()); err != nil {
			return null, err
		}
		return connect.StructValue(to.StructOf(out)), nil
	}), nil
}

// fieldMapper takes one field out of a struct; at is -1 when there is none.
type fieldMapper struct {
	at   int
	name string
	m    mapper
}

type fieldMapping []fieldMapper

func fieldMappers(s *connect.Schema, columns []column) (fieldMapping, error) {
	out := make(fieldMapping, len(columns))
	for i, c := range columns {
		out[i] = fieldMapper{at: fieldIndex(s, c.name), name: c.name}
		if out[i].at < 0 {
			continue
		}
		m, err := mapperFor(s.Fields()[out[i].at].Schema, c.typ)
		if err != nil {
			return nil, fmt.Errorf("column %s: %w", c.name, err)
		}
		out[i].m = m
	}
	return out, nil
}

// fieldIndex finds the field of a column.
func fieldIndex(s *connect.Schema, name string) int {
	if i := s.Index(name); i >= 0 {
		return i
	}
	for i, f := range s.Fields() {
		if strings.EqualFold(f.Name, name) {
			return i
		}
	}
	return -1
}

// fill puts the fields of st into out.
func (f fieldMapping) fill(out []connect.Value, st *connect.Struct) error {
	for i := range f {
		if f[i].at < 0 {
			continue
		}
		v := st.At(f[i].at)
		if v.IsNull() {
			v = st.Schema().Fields()[f[i].at].Schema.Default()
		}
		if f[i].m != nil {
			var err error
			if v, err = f[i].m(v); err != nil {
				return fmt.Errorf("column %s: %w", f[i].name, err)
			}
		}
		out[i] = v
	}
	return nil
}

var errMisfit = errors.New("the value does not fit its declared type")

// dynamic returns a mapper that looks at each value, for formats without schemas.
// Numbers come as whatever number they look like; decimals and times as ksqlDB's
// JSON writes them.
func dynamic(t functions.Type) mapper {
	switch t.Kind {
	case functions.Array:
		m := dynamic(*t.Elem)
		return guarded(func(v connect.Value) (connect.Value, error) {
			if v.Kind() != connect.KindArray {
				return null, errMisfit
			}
			return mapArray(v, m)
		})
	case functions.Map:
		k, e := dynamic(*t.Key), dynamic(*t.Elem)
		return guarded(func(v connect.Value) (connect.Value, error) {
			if v.Kind() != connect.KindMap {
				return null, errMisfit
			}
			return mapMap(v, k, e)
		})
	case functions.Struct:
		return dynamicStruct(t)
	}
	return guarded(func(v connect.Value) (connect.Value, error) { return dynamicScalar(t, v) })
}

func dynamicScalar(t functions.Type, v connect.Value) (connect.Value, error) {
	from := functions.Type{Kind: functions.String}
	switch {
	case v.IsInt():
		from.Kind = functions.Bigint
	case v.IsFloat():
		from.Kind = functions.Double
	case v.Kind() == connect.KindBool:
		from.Kind = functions.Boolean
	case v.Kind() == connect.KindBytes:
		from.Kind = functions.Bytes
	case v.Kind() != connect.KindString:
		return dynamicText(t, v)
	}
	switch t.Kind {
	case functions.Date, functions.Time, functions.Timestamp:
		if v.IsInt() {
			return connect.IntOf(carrier(t), v.Int()), nil
		}
	case functions.Bytes:
		if v.Kind() == connect.KindString {
			return fromBase64(v.Str())
		}
	case functions.Int, functions.Bigint:
		if v.IsFloat() && v.Float() != float64(int64(v.Float())) {
			return null, errMisfit
		}
		if v.IsInt() && t.Kind == functions.Int && v.Int() != int64(int32(v.Int())) {
			return null, errMisfit
		}
	case functions.Double:
		if v.Kind() == connect.KindFloat32 {
			return connect.Float64(v.Float()), nil
		}
	}
	conv, err := functions.Cast(from, t)
	if err != nil || conv == nil {
		return v, err
	}
	return conv(v)
}

// dynamicText gives JSON objects and arrays as their text where a string is
// declared, as ksqlDB does.
func dynamicText(t functions.Type, v connect.Value) (connect.Value, error) {
	if t.Kind != functions.String {
		return null, errMisfit
	}
	return connect.StringBytes(connect.AppendJSON(nil, nil, v)), nil
}

func dynamicStruct(t functions.Type) mapper {
	to, err := t.Schema()
	fields := make([]mapper, len(t.Fields))
	for i, f := range t.Fields {
		fields[i] = dynamic(f.Type)
	}
	return guarded(func(v connect.Value) (connect.Value, error) {
		if err != nil {
			return null, err
		}
		out := make([]connect.Value, len(fields))
		for i, f := range t.Fields {
			var err error
			if out[i], err = fields[i](member(v, f.Name)); err != nil {
				return null, fmt.Errorf("field %s: %w", f.Name, err)
			}
		}
		return connect.StructValue(to.StructOf(out)), nil
	})
}

// member finds a member of a JSON object, which is a map or a struct.
func member(v connect.Value, name string) connect.Value {
	switch v.Kind() {
	case connect.KindStruct:
		if i := fieldIndex(v.Struct().Schema(), name); i >= 0 {
			return v.Struct().At(i)
		}
	case connect.KindMap:
		found := null
		for _, e := range v.Map() {
			if e.Key.Kind() != connect.KindString {
				continue
			}
			if e.Key.Str() == name {
				return e.Value
			}
			if found.IsNull() && strings.EqualFold(e.Key.Str(), name) {
				found = e.Value
			}
		}
		return found
	}
	return null
}

// decimalInt reads the unscaled integer of a decimal value.
func decimalInt(v connect.Value) *big.Int { return connect.Decimal{Unscaled: v.Bytes()}.Int() }
