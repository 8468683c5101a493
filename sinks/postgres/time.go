package postgres

import (
	"math"
	"strconv"
	"strings"

	"github.com/tidemill/tidemill/connect"
)

// timeType returns the column type for the semantic name of a date or time, ""
// for other names.
func timeType(name string) string {
	switch name {
	case connect.LogicalDate, dbzTime + "Date", dbzTime + "IsoDate", dbzTime + "StructuredDate":
		return "date"
	case connect.LogicalTime, dbzTime + "Time":
		return "time(3)"
	case dbzTime + "MicroTime", dbzTime + "NanoTime", dbzTime + "IsoTime", dbzTime + "StructuredTime":
		return "time(6)"
	case dbzTime + "ZonedTime", dbzTime + "StructuredZonedTime":
		return "time with time zone"
	case connect.LogicalTimestamp, dbzTime + "Timestamp":
		return "timestamp(3)"
	case dbzTime + "MicroTimestamp", dbzTime + "NanoTimestamp", dbzTime + "IsoTimestamp", dbzTime + "StructuredTimestamp":
		return "timestamp(6)"
	case dbzTime + "ZonedTimestamp", dbzTime + "StructuredZonedTimestamp":
		return "timestamp with time zone"
	case dbzTime + "MicroDuration", dbzTime + "NanoDuration", dbzTime + "Interval", dbzTime + "StructuredDuration":
		return "interval"
	case dbzTime + "Year":
		return "integer"
	}
	return ""
}

// ticks returns how many units of an integer time type make a second.
func ticks(name string) int64 {
	switch name {
	case dbzTime + "MicroTime", dbzTime + "MicroTimestamp", dbzTime + "MicroDuration":
		return 1e6
	case dbzTime + "NanoTime", dbzTime + "NanoTimestamp", dbzTime + "NanoDuration":
		return 1e9
	}
	return 1e3
}

// What stands for infinity: timestamps in microseconds as Debezium writes them and
// those in coarser units rounded down from them, the ends of the type in nanoseconds
// and for dates.
const (
	infinityMicros, minusInfinityMicros = 9223372036825200000, -9223372036832400000
	infinityDays, minusInfinityDays     = math.MaxInt32, math.MinInt32
)

// encodeTime returns the encoder for dates and times, nil for other schemas. A
// number column takes the number as it is.
func encodeTime(s *connect.Schema, c *column) encoder {
	if timeType(s.Name()) == "" || s.Kind() != connect.KindStruct && c.isNumeric() {
		return nil
	}
	switch name := s.Name(); name {
	case connect.LogicalDate, dbzTime + "Date":
		if s.Kind() == connect.KindInt32 {
			return encodeDate
		}
	case connect.LogicalTime, dbzTime + "Time", dbzTime + "MicroTime", dbzTime + "NanoTime":
		if isInt(s) {
			return encodeClock(ticks(name))
		}
	case connect.LogicalTimestamp, dbzTime + "Timestamp", dbzTime + "MicroTimestamp", dbzTime + "NanoTimestamp":
		if isInt(s) {
			return encodeTimestamp(ticks(name))
		}
	case dbzTime + "MicroDuration", dbzTime + "NanoDuration":
		if isInt(s) {
			return encodeDuration(ticks(name))
		}
	case dbzTime + "ZonedTimestamp", dbzTime + "IsoTimestamp", dbzTime + "IsoDate":
		if s.Kind() == connect.KindString {
			return func(dst []byte, v connect.Value) []byte { return appendISO(dst, v.Str()) }
		}
	default:
		if s.Kind() == connect.KindStruct {
			return encodeStructured(s)
		}
	}
	return nil
}

func isInt(s *connect.Schema) bool {
	return s.Kind() == connect.KindInt32 || s.Kind() == connect.KindInt64
}

func encodeDate(dst []byte, v connect.Value) []byte {
	switch d := v.Int(); d {
	case infinityDays:
		return append(dst, "infinity"...)
	case minusInfinityDays:
		return append(dst, "-infinity"...)
	default:
		dst, bc := appendDate(dst, d)
		return append(dst, bc...)
	}
}

// encodeClock writes a time of day; a day's whole length is 24:00:00.
func encodeClock(perSecond int64) encoder {
	return func(dst []byte, v connect.Value) []byte { return appendClock(dst, v.Int(), perSecond) }
}

func encodeTimestamp(perSecond int64) encoder {
	high, low := int64(infinityMicros), int64(minusInfinityMicros)
	if perSecond == 1e3 {
		high, low = floorDiv(high, 1000), floorDiv(low, 1000)
	} else if perSecond == 1e9 {
		high, low = math.MaxInt64, math.MinInt64
	}
	day := perSecond * 86400
	return func(dst []byte, v connect.Value) []byte {
		t := v.Int()
		switch t {
		case high:
			return append(dst, "infinity"...)
		case low:
			return append(dst, "-infinity"...)
		}
		d := floorDiv(t, day)
		dst, bc := appendDate(dst, d)
		// The product wraps for the very first days an int64 holds, and the difference
		// wraps back.
		return append(appendClock(append(dst, ' '), t-d*day, perSecond), bc...)
	}
}

// encodeDuration writes an interval of nothing but time.
func encodeDuration(perSecond int64) encoder {
	return func(dst []byte, v connect.Value) []byte {
		t := v.Int()
		u := uint64(t)
		if t < 0 {
			dst, u = append(dst, '-'), -u
		}
		hour := uint64(perSecond) * 3600
		dst = append(strconv.AppendUint(dst, u/hour, 10), ':')
		u %= hour
		dst = append(append2(dst, int64(u/(uint64(perSecond)*60))), ':')
		return appendSeconds(dst, int64(u%(uint64(perSecond)*60)), perSecond)
	}
}

func appendClock(dst []byte, t, perSecond int64) []byte {
	minute := perSecond * 60
	dst = append(append2(dst, t/(minute*60)), ':')
	dst = append(append2(dst, t/minute%60), ':')
	return appendSeconds(dst, t%minute, perSecond)
}

func appendSeconds(dst []byte, t, perSecond int64) []byte {
	dst = append2(dst, t/perSecond)
	fraction := t % perSecond
	if fraction == 0 {
		return dst
	}
	dst = append(dst, '.')
	for perSecond /= 10; perSecond > 0; perSecond /= 10 {
		dst = append(dst, byte('0'+fraction/perSecond%10))
	}
	return dst
}

// append2 appends a number with at least two digits.
func append2(dst []byte, n int64) []byte {
	if n >= 0 && n < 10 {
		dst = append(dst, '0')
	}
	return strconv.AppendInt(dst, n, 10)
}

func floorDiv(n, d int64) int64 {
	q := n / d
	if n%d < 0 {
		q--
	}
	return q
}

// appendDate appends the day's date in the proleptic Gregorian calendar and returns
// what must stand behind it all: " BC" for years before the first. The algorithm is
// Howard Hinnant's civil_from_days (chrono-Compatible Low-Level Date Algorithms).
func appendDate(dst []byte, days int64) ([]byte, string) {
	z := days + 719468
	era := floorDiv(z, 146097)
	doe := z - era*146097
	yoe := (doe - doe/1460 + doe/36524 - doe/146096) / 365
	doy := doe - (365*yoe + yoe/4 - yoe/100)
	mp := (5*doy + 2) / 153
	day, month, year := doy-(153*mp+2)/5+1, mp+3, yoe+era*400
	if month > 12 {
		month, year = month-12, year+1
	}
	suffix := ""
	if year <= 0 {
		year, suffix = 1-year, " BC"
	}
	for limit := int64(1000); limit > year; limit /= 10 {
		dst = append(dst, '0')
	}
	dst = append(strconv.AppendInt(dst, year, 10), '-')
	dst = append(append2(dst, month), '-')
	return append2(dst, day), suffix
}

// appendISO appends an ISO 8601 date or timestamp. PostgreSQL reads it except for
// the years: a plus is dropped, and a year before 1 becomes one BC.
func appendISO(dst []byte, text string) []byte {
	switch {
	case text == "" || text == "-infinity":
		return append(dst, text...)
	case text[0] == '+':
		return append(dst, text[1:]...)
	case strings.HasPrefix(text, "0000-"):
		text = "-" + text
	case text[0] != '-':
		return append(dst, text...)
	}
	end := 1
	for end < len(text) && text[end] >= '0' && text[end] <= '9' {
		end++
	}
	year, err := strconv.Atoi(text[1:end])
	if err != nil {
		return append(dst, text...)
	}
	for limit := 1000; limit > year+1; limit /= 10 {
		dst = append(dst, '0')
	}
	dst = strconv.AppendInt(dst, int64(year+1), 10)
	return append(append(dst, text[end:]...), " BC"...)
}

// encodeStructured writes the structs of time.precision.mode=structured.
func encodeStructured(s *connect.Schema) encoder {
	num := func(st *connect.Struct, name string) int64 {
		if v := st.Get(name); v.IsInt() {
			return v.Int()
		}
		return 0
	}
	date, clock := s.Index("year") >= 0, s.Index("hour") >= 0
	zoned := s.Index("offsetSeconds") >= 0
	if s.Index("seconds") >= 0 {
		return func(dst []byte, v connect.Value) []byte { return appendUnits(dst, v.Struct(), num) }
	}
	return func(dst []byte, v connect.Value) []byte {
		st := v.Struct()
		if special := st.Get("specialValue"); special.Kind() == connect.KindString {
			return append(dst, special.Str()...)
		}
		suffix := ""
		if date {
			year := num(st, "year")
			if year <= 0 {
				year, suffix = 1-year, " BC"
			}
			for limit := int64(1000); limit > year; limit /= 10 {
				dst = append(dst, '0')
			}
			dst = append(strconv.AppendInt(dst, year, 10), '-')
			dst = append2(append(append2(dst, num(st, "month")), '-'), num(st, "day"))
			dst = append(dst, ' ')
		}
		if clock {
			dst = append(append2(dst, num(st, "hour")), ':')
			dst = append(append2(dst, num(st, "minute")), ':')
			dst = appendSeconds(dst, num(st, "second")*1e9+num(st, "nanos"), 1e9)
		}
		if zoned {
			dst = appendZone(dst, num(st, "offsetSeconds"))
		}
		return append(dst, suffix...)
	}
}

func appendZone(dst []byte, seconds int64) []byte {
	sign := byte('+')
	if seconds < 0 {
		sign, seconds = '-', -seconds
	}
	dst = append(append2(append(dst, sign), seconds/3600), ':')
	dst = append(append2(dst, seconds/60%60), ':')
	return append2(dst, seconds%60)
}

// appendUnits writes an interval unit by unit, so that months stay months.
func appendUnits(dst []byte, st *connect.Struct, num func(*connect.Struct, string) int64) []byte {
	for _, unit := range []string{"years", "months", "days", "hours", "minutes", "seconds"} {
		if n := num(st, unit); n != 0 {
			dst = append(strconv.AppendInt(dst, n, 10), ' ')
			dst = append(append(dst, unit...), ' ')
		}
	}
	micros := num(st, "micros") + num(st, "nanos")/1000
	return append(strconv.AppendInt(dst, micros, 10), " microseconds"...)
}
