package postgres

import (
	"slices"
	"strings"

	"github.com/tidemill/tidemill/connect"
)

// missing returns the value that stands for one the log does not hold: the
// placeholder itself where text or bytes may stand, and otherwise the nearest the
// schema allows, always the same so that it can be recognised.
func missing(s *connect.Schema, placeholder string) connect.Value {
	switch s.Kind() {
	case connect.KindString:
		if s.Name() == "io.debezium.data.Uuid" {
			return connect.String(nameUUID(placeholder))
		}
		return connect.String(placeholder)
	case connect.KindBytes:
		return connect.Bytes([]byte(placeholder))
	case connect.KindArray:
		return missingArray(s.Elem(), placeholder)
	case connect.KindMap:
		return connect.Map([]connect.MapEntry{{Key: missing(s.Key(), placeholder), Value: missing(s.Elem(), placeholder)}})
	case connect.KindStruct:
		return missingStruct(s, placeholder)
	case connect.KindFloat32:
		return connect.Float32(0)
	case connect.KindFloat64:
		return connect.Float64(0)
	case connect.KindBool:
		return connect.Bool(false)
	}
	return connect.IntOf(s.Kind(), 0)
}

// missingStruct has the placeholder in all fields that must be there, and in all
// fields where none must.
func missingStruct(s *connect.Schema, placeholder string) connect.Value {
	required := slices.ContainsFunc(s.Fields(), func(f connect.Field) bool { return !f.Schema.Optional() })
	values := make([]connect.Value, len(s.Fields()))
	for i, f := range s.Fields() {
		if !required || !f.Schema.Optional() {
			values[i] = missing(f.Schema, placeholder)
		}
	}
	return connect.StructValue(s.StructOf(values))
}

// missingArray is the placeholder as one element, or as the numbers or bits of its
// bytes.
func missingArray(elem *connect.Schema, placeholder string) connect.Value {
	var elems []connect.Value
	for _, c := range []byte(placeholder) {
		switch elem.Kind() {
		case connect.KindInt16, connect.KindInt32, connect.KindInt64:
			elems = append(elems, connect.IntOf(elem.Kind(), int64(c)))
		case connect.KindFloat32:
			elems = append(elems, connect.Float32(float32(c)))
		case connect.KindFloat64:
			elems = append(elems, connect.Float64(float64(c)))
		case connect.KindBool:
			for bit := 7; bit >= 0; bit-- {
				elems = append(elems, connect.Bool(c>>bit&1 != 0))
			}
		default:
			return connect.Array([]connect.Value{missing(elem, placeholder)})
		}
	}
	return connect.Array(elems)
}

// zero returns the value of a schema that stands for a missing one where Debezium's
// shape leaves no room for null.
func zero(s *connect.Schema) connect.Value {
	switch s.Kind() {
	case connect.KindString:
		return zeroText(s)
	case connect.KindBytes:
		if _, ok := s.DecimalScale(); ok {
			return connect.Bytes([]byte{0})
		}
		return connect.Bytes(nil)
	case connect.KindArray:
		return connect.Array(nil)
	case connect.KindMap:
		return connect.Map(nil)
	case connect.KindStruct:
		values := make([]connect.Value, len(s.Fields()))
		for i, f := range s.Fields() {
			if !f.Schema.Optional() {
				values[i] = zero(f.Schema)
			}
		}
		return connect.StructValue(s.StructOf(values))
	case connect.KindFloat32:
		return connect.Float32(0)
	case connect.KindFloat64:
		return connect.Float64(0)
	case connect.KindBool:
		return connect.Bool(false)
	}
	return connect.IntOf(s.Kind(), 0)
}

// zeroText is the zero of a type whose values are text of some form.
func zeroText(s *connect.Schema) connect.Value {
	if allowed, ok := s.Param("allowed"); ok {
		first, _, _ := strings.Cut(allowed, ",")
		return connect.String(first)
	}
	switch s.Name() {
	case "io.debezium.data.Uuid":
		return connect.String("00000000-0000-0000-0000-000000000000")
	case nameJSON:
		return connect.String("{}")
	case "io.debezium.time.ZonedTimestamp", "io.debezium.time.IsoTimestamp":
		return connect.String("1970-01-01T00:00:00Z")
	case "io.debezium.time.ZonedTime", "io.debezium.time.IsoTime":
		return connect.String("00:00:00Z")
	case "io.debezium.time.IsoDate":
		return connect.String("1970-01-01Z")
	case "io.debezium.time.Interval":
		return connect.String("P0Y0M0DT0H0M0S")
	}
	return connect.String("")
}
