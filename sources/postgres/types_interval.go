package postgres

import (
	"encoding/binary"
	"math"
	"strconv"

	"github.com/tidemill/tidemill/connect"
)

// interval is a span of time as PostgreSQL keeps it: its three parts do not mix.
type interval struct {
	months, days, micros int64
}

// intervalCodec follows interval.handling.mode, and time.precision.mode where that
// is structured.
func intervalCodec(m *modes, mod int32) codec {
	if m.times == timesStructured {
		return structuredInterval(mod)
	}
	if m.intervalText {
		return intervalOf(semantic(connect.KindString, "io.debezium.time.Interval"), func(a *arena, iv interval) (connect.Value, error) {
			if infinite, positive := iv.infinite(); infinite {
				return infinityText(positive), nil
			}
			return connect.StringBytes(a.keep(iv.appendISO(a.tail(96)))), nil
		})
	}
	return intervalOf(semantic(connect.KindInt64, "io.debezium.time.MicroDuration"), func(_ *arena, iv interval) (connect.Value, error) {
		n, ok := iv.total()
		if !ok {
			return connect.Value{}, errTimeRange
		}
		return connect.Int64(n), nil
	})
}

// intervalOf is the codec of intervals.
func intervalOf(s *connect.Schema, value func(*arena, interval) (connect.Value, error)) codec {
	return codec{
		schema: s,
		decode: func(a *arena, text []byte) (connect.Value, error) {
			iv, err := parseInterval(text)
			if err != nil {
				return connect.Value{}, err
			}
			return value(a, iv)
		},
		binary: func(a *arena, b []byte) (connect.Value, error) {
			if len(b) != 16 {
				return connect.Value{}, badBinary("interval", b)
			}
			return value(a, interval{
				micros: int64(binary.BigEndian.Uint64(b)),
				days:   int64(int32(binary.BigEndian.Uint32(b[8:]))),
				months: int64(int32(binary.BigEndian.Uint32(b[12:]))),
			})
		},
	}
}

// The infinities of PostgreSQL 17 have all parts at their ends.
func intervalInfinity(positive bool) interval {
	if positive {
		return interval{math.MaxInt32, math.MaxInt32, math.MaxInt64}
	}
	return interval{math.MinInt32, math.MinInt32, math.MinInt64}
}

func (iv interval) infinite() (infinite, positive bool) {
	return iv == intervalInfinity(true) || iv == intervalInfinity(false), iv.months > 0
}

// total returns the span in microseconds, a month being 30.4375 days, and whether
// it can be held.
func (iv interval) total() (int64, bool) {
	infinite, _ := iv.infinite()
	if infinite || max(iv.months, -iv.months) > math.MaxInt64/microsPerMonth || max(iv.days, -iv.days) > math.MaxInt64/microsPerDay {
		return 0, false
	}
	n, okDays := addChecked(iv.months*microsPerMonth, iv.days*microsPerDay)
	n, okMicros := addChecked(n, iv.micros)
	return n, okDays && okMicros
}

// addChecked adds and tells whether the sum can be held.
func addChecked(a, b int64) (int64, bool) {
	n := a + b
	return n, (n > a) == (b > 0)
}

// appendISO writes all parts, zero or not, each with its own sign.
func (iv interval) appendISO(dst []byte) []byte {
	part := func(n int64, unit byte) { dst = append(strconv.AppendInt(dst, n, 10), unit) }
	dst = append(dst, 'P')
	part(iv.months/12, 'Y')
	part(iv.months%12, 'M')
	part(iv.days, 'D')
	dst = append(dst, 'T')
	part(iv.micros/microsPerHour, 'H')
	part(iv.micros/microsPerMinute%60, 'M')
	seconds := iv.micros % microsPerMinute
	if seconds < 0 {
		dst, seconds = append(dst, '-'), -seconds
	}
	dst = strconv.AppendInt(dst, seconds/microsPerSecond, 10)
	if fraction := seconds % microsPerSecond; fraction > 0 {
		digits := 6
		for ; fraction%10 == 0; digits-- {
			fraction /= 10
		}
		dst = appendPadded(append(dst, '.'), fraction, digits)
	}
	return append(dst, 'S')
}

// parseInterval reads intervalstyle=iso_8601: P1Y2M3DT4H5M6.78S, each part with its
// own sign and left out when zero, and the infinities of PostgreSQL 17.
func parseInterval(text []byte) (iv interval, err error) {
	switch view(text) {
	case "infinity":
		return intervalInfinity(true), nil
	case "-infinity":
		return intervalInfinity(false), nil
	}
	if len(text) < 2 || text[0] != 'P' {
		return iv, badText("interval", text)
	}
	clock := false
	for rest := text[1:]; len(rest) > 0; {
		if rest[0] == 'T' {
			clock, rest = true, rest[1:]
			continue
		}
		i := 0
		for i < len(rest) && (rest[i] == '-' || rest[i] == '.' || rest[i]-'0' <= 9) {
			i++
		}
		if i == 0 || i == len(rest) || !iv.add(rest[:i], rest[i], clock) {
			return iv, badText("interval", text)
		}
		rest = rest[i+1:]
	}
	return iv, nil
}

// add adds one part with its unit.
func (iv *interval) add(number []byte, unit byte, clock bool) bool {
	if clock && unit == 'S' {
		return iv.addSeconds(number)
	}
	n, ok := parseInt(number)
	if !ok {
		return false
	}
	switch {
	case unit == 'Y' && !clock:
		iv.months += n * 12
	case unit == 'M' && !clock:
		iv.months += n
	case unit == 'D' && !clock:
		iv.days += n
	case unit == 'H' && clock:
		iv.micros += n * microsPerHour
	case unit == 'M' && clock:
		iv.micros += n * microsPerMinute
	default:
		return false
	}
	return true
}

func (iv *interval) addSeconds(number []byte) bool {
	neg := number[0] == '-'
	if neg {
		number = number[1:]
	}
	whole, fraction := number, []byte(nil)
	for i, c := range number {
		if c == '.' {
			whole, fraction = number[:i], number[i+1:]
			break
		}
	}
	n, ok := parseDigits(whole)
	n *= microsPerSecond
	unit := int64(microsPerSecond / 10)
	for _, c := range fraction {
		n += int64(c-'0') * unit
		unit /= 10
	}
	if neg {
		n = -n
	}
	iv.micros += n
	return ok
}
