package functions

import (
	"fmt"
	"math/big"
	"strconv"
	"strings"

	"github.com/tidemill/tidemill/connect"
)

// Convert changes one value into another type. Null stays null: it is not called
// for it.
type Convert func(v connect.Value) (connect.Value, error)

// Cast returns what CAST(x AS to) does to values of the type from, nil when they
// already are what they should be.
func Cast(from, to Type) (Convert, error) {
	if from.Equal(to) || from.Kind == Null {
		return nil, nil
	}
	var c Convert
	switch {
	case to.Kind == String:
		c = toText(from)
	case from.Kind == String:
		c = fromText(to)
	case from.Numeric() && to.Numeric():
		c = castNumber(from, to)
	case from.Kind == Array && to.Kind == Array:
		return castArray(from, to)
	case from.Kind == Map && to.Kind == Map:
		return castMap(from, to)
	case from.Kind == Struct && to.Kind == Struct:
		return castStruct(from, to)
	default:
		c = castTime(from.Kind, to.Kind)
	}
	if c == nil {
		return nil, fmt.Errorf("%s cannot be cast to %s", from, to)
	}
	return c, nil
}

func castNumber(from, to Type) Convert {
	switch {
	case from.Kind == Decimal && to.Kind == Decimal:
		return func(v connect.Value) (connect.Value, error) {
			return checked(rescale(unscaled(v), from.Scale, to.Scale), to)
		}
	case from.Kind == Decimal:
		return fromDecimal(from, to)
	case to.Kind == Decimal && from.Kind == Double:
		return func(v connect.Value) (connect.Value, error) { return floatDecimal(v.Float(), to) }
	case to.Kind == Decimal:
		return func(v connect.Value) (connect.Value, error) {
			return checked(rescale(big.NewInt(v.Int()), 0, to.Scale), to)
		}
	case to.Kind == Double:
		return func(v connect.Value) (connect.Value, error) { return connect.Float64(float64(v.Int())), nil }
	case from.Kind == Double && to.Kind == Int:
		return func(v connect.Value) (connect.Value, error) { return connect.Int32(clamp32(v.Float())), nil }
	case from.Kind == Double:
		return func(v connect.Value) (connect.Value, error) { return connect.Int64(clamp64(v.Float())), nil }
	case to.Kind == Int:
		return func(v connect.Value) (connect.Value, error) { return connect.Int32(int32(v.Int())), nil }
	}
	return func(v connect.Value) (connect.Value, error) { return connect.Int64(v.Int()), nil }
}

func fromDecimal(from, to Type) Convert {
	return func(v connect.Value) (connect.Value, error) {
		if to.Kind == Double {
			return connect.Float64(decimalFloat(v, from.Scale)), nil
		}
		n := unscaled(v)
		n.Quo(n, pow10(from.Scale))
		if to.Kind == Int {
			return connect.Int32(int32(n.Int64())), nil
		}
		return connect.Int64(n.Int64()), nil
	}
}

// clamp32 and clamp64 cut a double to an integer as Java does: NaN is 0, and what
// is too large is the largest.
func clamp32(f float64) int32 {
	switch {
	case f != f:
		return 0
	case f >= 1<<31:
		return 1<<31 - 1
	case f < -1<<31:
		return -1 << 31
	}
	return int32(f)
}

func clamp64(f float64) int64 {
	switch {
	case f != f:
		return 0
	case f >= 1<<63:
		return 1<<63 - 1
	case f < -1<<63:
		return -1 << 63
	}
	return int64(f)
}

// fromText returns how text is read as a value of type to; nil when it cannot be.
func fromText(to Type) Convert {
	switch to.Kind {
	case Boolean:
		return func(v connect.Value) (connect.Value, error) { return parseBool(v.Str()) }
	case Int, Bigint:
		return func(v connect.Value) (connect.Value, error) { return parseInt(v.Str(), to.Kind) }
	case Double:
		return func(v connect.Value) (connect.Value, error) {
			f, err := strconv.ParseFloat(strings.TrimSpace(v.Str()), 64)
			if err != nil && f == 0 {
				return connect.Value{}, errNotNumber(v.Str())
			}
			return connect.Float64(f), nil
		}
	case Decimal:
		return func(v connect.Value) (connect.Value, error) { return textDecimal(strings.TrimSpace(v.Str()), to) }
	case Date, Time, Timestamp:
		return func(v connect.Value) (connect.Value, error) { return parseTemporal(v.Str(), to.Kind) }
	}
	return nil
}

func parseBool(s string) (connect.Value, error) {
	switch s = strings.ToLower(strings.TrimSpace(s)); {
	case s != "" && (strings.HasPrefix("true", s) || strings.HasPrefix("yes", s)):
		return connect.Bool(true), nil
	case s != "" && (strings.HasPrefix("false", s) || strings.HasPrefix("no", s)):
		return connect.Bool(false), nil
	}
	return connect.Value{}, fmt.Errorf("'%s' is not a boolean", s)
}

func parseInt(s string, k Kind) (connect.Value, error) {
	bits := 64
	if k == Int {
		bits = 32
	}
	n, err := strconv.ParseInt(strings.TrimSpace(s), 10, bits)
	if err != nil {
		return connect.Value{}, errNotNumber(s)
	}
	if k == Int {
		return connect.Int32(int32(n)), nil
	}
	return connect.Int64(n), nil
}

// CastError names the place in an array, map or struct that could not be cast.
func convertElem(c Convert, v connect.Value) (connect.Value, error) {
	if c == nil || v.IsNull() {
		return v, nil
	}
	return c(v)
}

func castArray(from, to Type) (Convert, error) {
	c, err := Cast(*from.Elem, *to.Elem)
	if err != nil || c == nil {
		return nil, err
	}
	return func(v connect.Value) (connect.Value, error) {
		out := make([]connect.Value, v.Len())
		for i, e := range v.Array() {
			var err error
			if out[i], err = convertElem(c, e); err != nil {
				return connect.Value{}, err
			}
		}
		return connect.Array(out), nil
	}, nil
}

func castMap(from, to Type) (Convert, error) {
	k, err := Cast(*from.Key, *to.Key)
	if err != nil {
		return nil, err
	}
	e, err := Cast(*from.Elem, *to.Elem)
	if err != nil {
		return nil, err
	}
	return func(v connect.Value) (connect.Value, error) {
		out := make([]connect.MapEntry, v.Len())
		for i, m := range v.Map() {
			var err error
			if out[i].Key, err = convertElem(k, m.Key); err != nil {
				return connect.Value{}, err
			}
			if out[i].Value, err = convertElem(e, m.Value); err != nil {
				return connect.Value{}, err
			}
		}
		return connect.Map(out), nil
	}, nil
}

// castStruct matches fields by name; a field the target has and the origin lacks
// is null.
func castStruct(from, to Type) (Convert, error) {
	schema, err := to.Schema()
	if err != nil {
		return nil, err
	}
	at := make([]int, len(to.Fields))
	conv := make([]Convert, len(to.Fields))
	for i, f := range to.Fields {
		at[i] = -1
		for j, o := range from.Fields {
			if o.Name != f.Name {
				continue
			}
			at[i] = j
			if conv[i], err = Cast(o.Type, f.Type); err != nil {
				return nil, fmt.Errorf("field %s: %w", f.Name, err)
			}
		}
	}
	return func(v connect.Value) (connect.Value, error) {
		out := schema.NewStruct()
		for i, j := range at {
			if j < 0 {
				continue
			}
			e, err := convertElem(conv[i], v.Struct().At(j))
			if err != nil {
				return connect.Value{}, err
			}
			out.Set(i, e)
		}
		return connect.StructValue(out), nil
	}, nil
}

// castTime converts between the types of time; nil when there is no way.
func castTime(from, to Kind) Convert {
	const day = 86_400_000
	switch {
	case from == Timestamp && to == Date:
		return func(v connect.Value) (connect.Value, error) { return connect.Int32(int32(floorDiv(v.Int(), day))), nil }
	case from == Timestamp && to == Time:
		return func(v connect.Value) (connect.Value, error) {
			return connect.Int32(int32(v.Int() - floorDiv(v.Int(), day)*day)), nil
		}
	case from == Date && to == Timestamp:
		return func(v connect.Value) (connect.Value, error) { return connect.Int64(v.Int() * day), nil }
	}
	return nil
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}
