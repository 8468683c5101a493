package serde

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/tidemill/tidemill/connect"
)

func sortEntries(entries []connect.MapEntry) {
	slices.SortFunc(entries, func(a, b connect.MapEntry) int { return strings.Compare(a.Key.Str(), b.Key.Str()) })
}

var errNull = errors.New("it is null, for which the Go type has no place: make it a pointer")

// reader makes the function that puts values of a schema into a type.
func reader(typ reflect.Type, s *connect.Schema) (readFunc, error) {
	if typ.Kind() == reflect.Pointer {
		read, err := reader(typ.Elem(), s)
		return func(dst reflect.Value, v connect.Value) error {
			if v.IsNull() {
				dst.SetZero()
				return nil
			}
			dst.Set(reflect.New(typ.Elem()))
			return read(dst.Elem(), v)
		}, err
	}
	read, err := presentReader(typ, s)
	nullable := typ.Kind() == reflect.Slice || typ.Kind() == reflect.Map
	return func(dst reflect.Value, v connect.Value) error {
		switch {
		case !v.IsNull():
			return read(dst, v)
		case nullable:
			dst.SetZero()
			return nil
		}
		return errNull
	}, err
}

// presentReader is reader for what is not null.
func presentReader(typ reflect.Type, s *connect.Schema) (readFunc, error) {
	kind := s.Kind()
	integer := kind >= connect.KindInt8 && kind <= connect.KindInt64
	_, isInt := intKinds[typ.Kind()]
	switch {
	case typ == timeType && kind == connect.KindInt64 && s.Name() == timestampName:
		return func(dst reflect.Value, v connect.Value) error {
			*dst.Addr().Interface().(*time.Time) = time.UnixMilli(v.Int()).UTC()
			return nil
		}, nil
	case typ == bytesType && kind == connect.KindBytes:
		return func(dst reflect.Value, v connect.Value) error {
			dst.SetBytes(append([]byte{}, v.Bytes()...))
			return nil
		}, nil
	case isInt && integer:
		return readInt, nil
	case typ.Kind() == reflect.Bool && kind == connect.KindBool:
		return func(dst reflect.Value, v connect.Value) error { dst.SetBool(v.Bool()); return nil }, nil
	case typ.Kind() == reflect.String && kind == connect.KindString:
		return func(dst reflect.Value, v connect.Value) error { dst.SetString(v.Str()); return nil }, nil
	case kind == connect.KindFloat32 && typ.Kind() == reflect.Float32, (kind == connect.KindFloat32 || kind == connect.KindFloat64) && typ.Kind() == reflect.Float64:
		return func(dst reflect.Value, v connect.Value) error { dst.SetFloat(v.Float()); return nil }, nil
	case typ.Kind() == reflect.Slice && kind == connect.KindArray, typ.Kind() == reflect.Map && typ.Key().Kind() == reflect.String && kind == connect.KindMap:
		return manyReader(typ, s)
	case typ.Kind() == reflect.Struct && typ != timeType && kind == connect.KindStruct:
		return structFieldsReader(typ, s)
	}
	return nil, fmt.Errorf("%s cannot take a value of schema %s", typ, s)
}

func readInt(dst reflect.Value, v connect.Value) error {
	n := v.Int()
	if dst.CanUint() {
		if n < 0 || dst.OverflowUint(uint64(n)) {
			return fmt.Errorf("%d does not fit into %s", n, dst.Type())
		}
		dst.SetUint(uint64(n))
		return nil
	}
	if dst.OverflowInt(n) {
		return fmt.Errorf("%d does not fit into %s", n, dst.Type())
	}
	dst.SetInt(n)
	return nil
}

func manyReader(typ reflect.Type, s *connect.Schema) (readFunc, error) {
	read, err := reader(typ.Elem(), s.Elem())
	if err != nil {
		return nil, err
	}
	if typ.Kind() == reflect.Slice {
		return func(dst reflect.Value, v connect.Value) error {
			elems := v.Array()
			dst.Set(reflect.MakeSlice(typ, len(elems), len(elems)))
			for i, e := range elems {
				if err := read(dst.Index(i), e); err != nil {
					return fmt.Errorf("element %d: %w", i, err)
				}
			}
			return nil
		}, nil
	}
	if s.Key().Kind() != connect.KindString {
		return nil, fmt.Errorf("%s cannot take a value of schema %s", typ, s)
	}
	return func(dst reflect.Value, v connect.Value) error {
		entries := v.Map()
		dst.Set(reflect.MakeMapWithSize(typ, len(entries)))
		for _, e := range entries {
			elem := reflect.New(typ.Elem()).Elem()
			if err := read(elem, e.Value); err != nil {
				return fmt.Errorf("key %q: %w", e.Key.Str(), err)
			}
			dst.SetMapIndex(reflect.ValueOf(e.Key.Str()).Convert(typ.Key()), elem)
		}
		return nil
	}, nil
}

// structFieldsReader matches the fields of a type with those of a schema by name.
func structFieldsReader(typ reflect.Type, s *connect.Schema) (readFunc, error) {
	type match struct {
		name     string
		to, from int
		read     readFunc
	}
	var matches []match
	for _, f := range fieldsOf(typ) {
		from := s.Index(f.name)
		if from < 0 {
			continue
		}
		read, err := reader(f.typ, s.Fields()[from].Schema)
		if err != nil {
			return nil, fmt.Errorf("field %s: %w", f.name, err)
		}
		matches = append(matches, match{f.name, f.index, from, read})
	}
	return func(dst reflect.Value, v connect.Value) error {
		st := v.Struct()
		for _, m := range matches {
			if err := m.read(dst.Field(m.to), st.At(m.from)); err != nil {
				return fmt.Errorf("field %s: %w", m.name, err)
			}
		}
		return nil
	}, nil
}
