package functions

import (
	"bytes"
	"cmp"

	"github.com/tidemill/tidemill/connect"
)

// Compare orders two values of type t, neither of them null: negative, zero or
// positive. Arrays, maps and structs are compared element by element; nulls
// inside come first.
func Compare(t Type, a, b connect.Value) int {
	switch t.Kind {
	case Boolean:
		return boolInt(a.Bool()) - boolInt(b.Bool())
	case Int, Bigint, Time, Date, Timestamp:
		return cmp.Compare(a.Int(), b.Int())
	case Double:
		return cmp.Compare(a.Float(), b.Float())
	case Decimal:
		return compareDecimals(a.Bytes(), b.Bytes())
	case Array:
		return compareArrays(*t.Elem, a.Array(), b.Array())
	case Struct:
		for i, f := range t.Fields {
			if c := compareNulls(f.Type, a.Struct().At(i), b.Struct().At(i)); c != 0 {
				return c
			}
		}
		return 0
	case Map:
		return compareMaps(t, a, b)
	}
	return bytes.Compare(a.Bytes(), b.Bytes())
}

// compareDecimals compares unscaled integers of one scale.
func compareDecimals(a, b []byte) int {
	if len(a) <= 8 && len(b) <= 8 {
		return cmp.Compare(small(a), small(b))
	}
	return connect.Decimal{Unscaled: a}.Int().Cmp(connect.Decimal{Unscaled: b}.Int())
}

// small reads an integer of at most eight bytes.
func small(b []byte) int64 {
	if len(b) == 0 {
		return 0
	}
	n := int64(int8(b[0]))
	for _, c := range b[1:] {
		n = n<<8 | int64(c)
	}
	return n
}

func compareNulls(t Type, a, b connect.Value) int {
	if a.IsNull() || b.IsNull() {
		return boolInt(!a.IsNull()) - boolInt(!b.IsNull())
	}
	return Compare(t, a, b)
}

func compareArrays(elem Type, a, b []connect.Value) int {
	for i := range min(len(a), len(b)) {
		if c := compareNulls(elem, a[i], b[i]); c != 0 {
			return c
		}
	}
	return cmp.Compare(len(a), len(b))
}

// compareMaps tells equal maps, whatever the order of their entries, from others;
// others are ordered by their entries as they stand.
func compareMaps(t Type, a, b connect.Value) int {
	if a.Len() != b.Len() {
		return cmp.Compare(a.Len(), b.Len())
	}
	for _, e := range a.Map() {
		v, ok := MapGet(b, e.Key)
		if !ok || compareNulls(*t.Elem, e.Value, v) != 0 {
			return cmp.Or(bytes.Compare([]byte(a.String()), []byte(b.String())), 1)
		}
	}
	return 0
}

// MapGet returns the value of a key in a map.
func MapGet(m, key connect.Value) (connect.Value, bool) {
	for _, e := range m.Map() {
		if e.Key.Equal(key) {
			return e.Value, true
		}
	}
	return connect.Value{}, false
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}
