package postgres

import (
	"math"
	"strconv"

	"github.com/tidemill/tidemill/connect"
)

// interval is a span of time as PostgreSQL keeps it: its three parts do not mix.
type interval struct {
	months, days, micros int64
}

func intervalCodec(m *modes, _ int32) codec {
	if m.intervalText {
		return codec{schema: semantic(connect.KindString, "io.debezium.time.Interval"), decode: func(a *arena, text []byte) (connect.Value, error) {
			iv, err := parseInterval(text)
			if err != nil {
				return connect.Value{}, err
			}
			return connect.StringBytes(a.keep(iv.appendISO(a.tail(96)))), nil
		}}
	}
	return codec{schema: semantic(connect.KindInt64, "io.debezium.time.MicroDuration"), decode: func(_ *arena, text []byte) (connect.Value, error) {
		iv, err := parseInterval(text)
		if err != nil {
			return connect.Value{}, err
		}
		n, ok := iv.total()
		if !ok {
			return connect.Value{}, errTimeRange
		}
		return connect.Int64(n), nil
	}}
}

// total returns the span in microseconds, a month being 30.4375 days, and whether
// it can be held.
func (iv interval) total() (int64, bool) {
	f := float64(iv.months)*microsPerMonth + float64(iv.days)*microsPerDay + float64(iv.micros)
	if math.Abs(f) > math.MaxInt64*0.999 {
		return 0, false
	}
	return iv.months*microsPerMonth + iv.days*microsPerDay + iv.micros, true
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
// own sign and left out when zero, and the infinities of PostgreSQL 17, which no
// schema here can hold.
func parseInterval(text []byte) (iv interval, err error) {
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
