package functions

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/tidemill/tidemill/connect"
)

// toText returns how values of type from are written as text; nil when CAST
// refuses it.
func toText(from Type) Convert {
	if from.Kind == Bytes {
		return nil
	}
	return func(v connect.Value) (connect.Value, error) {
		return connect.StringBytes(AppendText(nil, from, v)), nil
	}
}

// AppendText appends v, of type t, as CAST(v AS STRING) writes it.
func AppendText(b []byte, t Type, v connect.Value) []byte {
	if v.IsNull() {
		return append(b, "null"...)
	}
	switch t.Kind {
	case Boolean:
		return strconv.AppendBool(b, v.Bool())
	case Int, Bigint:
		return strconv.AppendInt(b, v.Int(), 10)
	case Double:
		return appendDouble(b, v.Float())
	case Decimal:
		return connect.Decimal{Unscaled: v.Bytes(), Scale: t.Scale}.Append(b)
	case String:
		return append(b, v.Str()...)
	case Date, Time, Timestamp:
		return appendTemporal(b, t.Kind, v.Int())
	case Array:
		return appendArrayText(b, t, v)
	case Map:
		return appendMapText(b, t, v)
	case Struct:
		return appendStructText(b, t, v)
	}
	return connect.AppendJSON(b, nil, v)
}

func appendArrayText(b []byte, t Type, v connect.Value) []byte {
	b = append(b, '[')
	for i, e := range v.Array() {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = AppendText(b, *t.Elem, e)
	}
	return append(b, ']')
}

func appendMapText(b []byte, t Type, v connect.Value) []byte {
	b = append(b, '{')
	for i, e := range v.Map() {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = append(AppendText(b, *t.Key, e.Key), '=')
		b = AppendText(b, *t.Elem, e.Value)
	}
	return append(b, '}')
}

func appendStructText(b []byte, t Type, v connect.Value) []byte {
	b = append(b, "Struct{"...)
	for i, f := range t.Fields {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(b, f.Name...), '=')
		b = AppendText(b, f.Type, v.Struct().At(i))
	}
	return append(b, '}')
}

// appendDouble writes f as Java's Double.toString does: at least one digit after
// the point, and an exponent outside 10^-3…10^7.
func appendDouble(b []byte, f float64) []byte {
	switch abs := math.Abs(f); {
	case math.IsNaN(f):
		return append(b, "NaN"...)
	case math.IsInf(f, 1):
		return append(b, "Infinity"...)
	case math.IsInf(f, -1):
		return append(b, "-Infinity"...)
	case f == 0 || abs >= 1e-3 && abs < 1e7:
		s := strconv.FormatFloat(f, 'f', -1, 64)
		if !strings.Contains(s, ".") {
			s += ".0"
		}
		return append(b, s...)
	}
	mantissa, exponent, _ := strings.Cut(strconv.FormatFloat(f, 'e', -1, 64), "e")
	if !strings.Contains(mantissa, ".") {
		mantissa += ".0"
	}
	n, _ := strconv.Atoi(exponent)
	return strconv.AppendInt(append(append(b, mantissa...), 'E'), int64(n), 10)
}

// appendTemporal writes a date, a time of day or a timestamp in ISO 8601, UTC.
func appendTemporal(b []byte, k Kind, n int64) []byte {
	switch k {
	case Date:
		return time.Unix(n*86400, 0).UTC().AppendFormat(b, time.DateOnly)
	case Time:
		t := time.UnixMilli(n).UTC()
		if n%1000 == 0 {
			if n%60000 == 0 {
				return t.AppendFormat(b, "15:04")
			}
			return t.AppendFormat(b, time.TimeOnly)
		}
		return t.AppendFormat(b, "15:04:05.000")
	}
	return time.UnixMilli(n).UTC().AppendFormat(b, "2006-01-02T15:04:05.000")
}

// temporalLayouts returns the forms of text that are read as times. A fraction of
// a second is understood after every one that has seconds.
func temporalLayouts(k Kind) []string {
	switch k {
	case Date:
		return []string{time.DateOnly, "2006-1-2"}
	case Time:
		return []string{time.TimeOnly, "15:04", "15"}
	}
	return []string{"2006-01-02T15:04:05Z07:00", "2006-01-02T15:04:05-0700", "2006-01-02T15:04:05", "2006-01-02T15:04Z07:00",
		"2006-01-02T15:04", "2006-01-02T15", "2006-01-02T", time.DateOnly, "2006-01", "2006", time.DateTime}
}

// parseTemporal reads a date, a time of day or a timestamp.
func parseTemporal(s string, k Kind) (connect.Value, error) {
	for _, layout := range temporalLayouts(k) {
		t, err := time.Parse(layout, strings.TrimSpace(s))
		if err != nil {
			continue
		}
		switch k {
		case Date:
			return connect.Int32(int32(t.Unix() / 86400)), nil
		case Time:
			return connect.Int32(int32(t.UnixMilli() - time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli())), nil
		}
		return connect.Int64(t.UnixMilli()), nil
	}
	return connect.Value{}, fmt.Errorf("'%s' is not a %s", s, k)
}
