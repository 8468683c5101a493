package postgres

import (
	"encoding/binary"
	"errors"
	"math"

	"github.com/tidemill/tidemill/connect"
)

// Microseconds in larger units.
const (
	microsPerSecond = 1_000_000
	microsPerMinute = 60 * microsPerSecond
	microsPerHour   = 60 * microsPerMinute
	microsPerDay    = 24 * microsPerHour
	// microsPerMonth is that of a month of 30.4375 days, a twelfth of 365.25.
	microsPerMonth = 2_629_800 * microsPerSecond
	// epochDay is 2000-01-01, where the server begins to count, in days since 1970.
	epochDay = 10957
)

// What stands for infinity: timestamps in microseconds as Debezium writes them, and
// dates as the ends of their type.
const (
	infinityMicros, minusInfinityMicros = 9223372036825200000, -9223372036832400000
	infinityDays, minusInfinityDays     = math.MaxInt32, math.MinInt32
)

// The infinities of a timestamp as the server keeps it, in microseconds since 2000.
const late, early = math.MaxInt64, math.MinInt64

var errTimeRange = errors.New("the value is beyond what this time.precision.mode can hold")

// timeTypes follow time.precision.mode and interval.handling.mode. Each is read into
// one number from either form, and written from that.
func timeTypes() []typeEntry {
	entry := func(name string, compile func(*modes, int32) codec, print printFunc) typeEntry {
		return typeEntry{name: name, compile: func(m *modes, mod int32) codec {
			cd := compile(m, mod)
			cd.print = print
			return cd
		}}
	}
	return []typeEntry{
		entry("date", dateCodec, printDate),
		entry("time", timeCodec, printTime),
		entry("timestamp", timestampCodec, printTimestamp("")),
		entry("timestamptz", zonedTimestampCodec, printTimestamp("+00")),
		entry("timetz", zonedTimeCodec, nil),
		entry("interval", intervalCodec, nil),
	}
}

// precisionOf returns the digits of a second's fraction that a type modifier allows.
func precisionOf(mod int32) int {
	if mod < 0 || mod > 6 {
		return 6
	}
	return int(mod)
}

// dateOf is the codec of dates, each given to value as a day since 1970.
func dateOf(s *connect.Schema, value func(a *arena, day int64) (connect.Value, error)) codec {
	return codec{
		schema: s,
		decode: func(a *arena, text []byte) (connect.Value, error) {
			day, err := parseDateOnly(text)
			if err != nil {
				return connect.Value{}, err
			}
			return value(a, day)
		},
		binary: func(a *arena, b []byte) (connect.Value, error) {
			day, err := readDate(b)
			if err != nil {
				return connect.Value{}, err
			}
			return value(a, day)
		},
	}
}

// readDate reads the binary form of a date: days since 2000.
func readDate(b []byte) (int64, error) {
	if len(b) != 4 {
		return 0, badBinary("date", b)
	}
	day := int32(binary.BigEndian.Uint32(b))
	if day == infinityDays || day == minusInfinityDays {
		return int64(day), nil
	}
	return int64(day) + epochDay, nil
}

func dateCodec(m *modes, _ int32) codec {
	switch m.times {
	case timesISO:
		return dateOf(semantic(connect.KindString, "io.debezium.time.IsoDate"), func(a *arena, day int64) (connect.Value, error) {
			if day == infinityDays || day == minusInfinityDays {
				return infinityText(day > 0), nil
			}
			return connect.StringBytes(a.keep(append(appendDate(a.tail(24), day), 'Z'))), nil
		})
	case timesStructured:
		return structuredDate()
	}
	s := semantic(connect.KindInt32, "io.debezium.time.Date")
	if m.times == timesConnect {
		s = semantic(connect.KindInt32, connect.LogicalDate)
	}
	return dateOf(s, func(_ *arena, day int64) (connect.Value, error) { return connect.Int32(int32(day)), nil })
}

// infinityText is an infinity as the server writes it.
func infinityText(positive bool) connect.Value {
	if positive {
		return connect.String("infinity")
	}
	return connect.String("-infinity")
}

// timeOf is the codec of times of day, each given to value in microseconds. The end
// of the day, 24:00:00, is one.
func timeOf(s *connect.Schema, value func(a *arena, clock int64) (connect.Value, error)) codec {
	return codec{
		schema: s,
		decode: func(a *arena, text []byte) (connect.Value, error) {
			clock, rest, ok := parseClock(text)
			if !ok || len(rest) > 0 {
				return connect.Value{}, badText("time", text)
			}
			return value(a, clock)
		},
		binary: func(a *arena, b []byte) (connect.Value, error) {
			if len(b) != 8 {
				return connect.Value{}, badBinary("time", b)
			}
			clock := int64(binary.BigEndian.Uint64(b))
			if clock < 0 || clock > microsPerDay {
				return connect.Value{}, badBinary("time", b)
			}
			return value(a, clock)
		},
	}
}

func timeCodec(m *modes, mod int32) codec {
	scaled := func(k connect.Kind, name string, div, mul int64) codec {
		return timeOf(semantic(k, name), func(_ *arena, clock int64) (connect.Value, error) {
			return connect.IntOf(k, clock/div*mul), nil
		})
	}
	switch {
	case m.times == timesISO:
		return timeOf(semantic(connect.KindString, "io.debezium.time.IsoTime"), func(a *arena, clock int64) (connect.Value, error) {
			return connect.StringBytes(a.keep(append(appendClock(a.tail(24), clock, -1), 'Z'))), nil
		})
	case m.times == timesStructured:
		return structuredTime(precisionOf(mod))
	case m.times == timesConnect:
		return scaled(connect.KindInt32, connect.LogicalTime, 1000, 1)
	case m.times == timesNanos:
		return scaled(connect.KindInt64, "io.debezium.time.NanoTime", 1, 1000)
	case m.times == timesAdaptive && precisionOf(mod) <= 3:
		return scaled(connect.KindInt32, "io.debezium.time.Time", 1000, 1)
	}
	return scaled(connect.KindInt64, "io.debezium.time.MicroTime", 1, 1)
}

// timestampOf is the codec of timestamps with or without a zone, each given to value
// as the server keeps it: microseconds since 2000, in UTC.
func timestampOf(s *connect.Schema, value func(a *arena, micros int64) (connect.Value, error)) codec {
	return codec{
		schema: s,
		decode: func(a *arena, text []byte) (connect.Value, error) {
			t, err := parseTimestamp(text)
			if err != nil {
				return connect.Value{}, err
			}
			return value(a, t)
		},
		binary: func(a *arena, b []byte) (connect.Value, error) {
			if len(b) != 8 {
				return connect.Value{}, badBinary("timestamp", b)
			}
			return value(a, int64(binary.BigEndian.Uint64(b)))
		},
	}
}

func timestampCodec(m *modes, mod int32) codec {
	switch {
	case m.times == timesISO:
		return timestampOf(semantic(connect.KindString, "io.debezium.time.IsoTimestamp"), func(a *arena, t int64) (connect.Value, error) {
			return isoTimestamp(a, t, -1), nil
		})
	case m.times == timesStructured:
		return structuredTimestamp(precisionOf(mod), false)
	case m.times == timesConnect:
		return timestampOf(semantic(connect.KindInt64, connect.LogicalTimestamp), epochMillis)
	case m.times == timesNanos:
		return timestampOf(semantic(connect.KindInt64, "io.debezium.time.NanoTimestamp"), epochNanos)
	case m.times != timesMicros && precisionOf(mod) <= 3:
		return timestampOf(semantic(connect.KindInt64, "io.debezium.time.Timestamp"), epochMillis)
	}
	return timestampOf(semantic(connect.KindInt64, "io.debezium.time.MicroTimestamp"), epochMicros)
}

// epochMicros returns microseconds since 1970. The last 29 years that the server can
// hold, from 294247 on, do not fit.
func epochMicros(_ *arena, t int64) (connect.Value, error) {
	switch {
	case t == late:
		return connect.Int64(infinityMicros), nil
	case t == early:
		return connect.Int64(minusInfinityMicros), nil
	case t > math.MaxInt64-postgresEpoch:
		return connect.Value{}, errTimeRange
	}
	return connect.Int64(t + postgresEpoch), nil
}

// epochMillis returns milliseconds since 1970, rounded towards minus infinity.
func epochMillis(_ *arena, t int64) (connect.Value, error) {
	switch t {
	case late:
		return connect.Int64(infinityMicros / 1000), nil
	case early:
		return connect.Int64(minusInfinityMicros / 1000), nil
	}
	return connect.Int64(floorDiv(t, 1000) + postgresEpoch/1000), nil
}

// epochNanos returns nanoseconds since 1970, which reach from 1677 to 2262.
func epochNanos(_ *arena, t int64) (connect.Value, error) {
	switch {
	case t == late:
		return connect.Int64(math.MaxInt64), nil
	case t == early:
		return connect.Int64(math.MinInt64), nil
	case t > math.MaxInt64/1000-postgresEpoch || t < math.MinInt64/1000-postgresEpoch:
		return connect.Value{}, errTimeRange
	}
	return connect.Int64((t + postgresEpoch) * 1000), nil
}

func zonedTimestampCodec(m *modes, mod int32) codec {
	digits := precisionOf(mod)
	if m.times == timesStructured {
		return structuredTimestamp(digits, true)
	}
	if digits == 0 {
		digits = -1
	}
	return timestampOf(semantic(connect.KindString, "io.debezium.time.ZonedTimestamp"), func(a *arena, t int64) (connect.Value, error) {
		return isoTimestamp(a, t, digits), nil
	})
}

// isoTimestamp writes a timestamp as ISO 8601 with the given digits of a second's
// fraction; -1: as few as needed.
func isoTimestamp(a *arena, t int64, digits int) connect.Value {
	if t == late || t == early {
		return infinityText(t > 0)
	}
	day := floorDiv(t, microsPerDay)
	b := append(appendDate(a.tail(48), day+epochDay), 'T')
	b = append(appendClock(b, t-day*microsPerDay, digits), 'Z')
	return connect.StringBytes(a.keep(b))
}

// zonedTimeOf is the codec of times of day with a zone, each given to value as its
// microseconds there and those by which the zone is east of UTC.
func zonedTimeOf(s *connect.Schema, value func(a *arena, clock, east int64) (connect.Value, error)) codec {
	return codec{
		schema: s,
		decode: func(a *arena, text []byte) (connect.Value, error) {
			clock, zone, ok := parseClock(text)
			east, okZone := parseZone(zone)
			if !ok || !okZone {
				return connect.Value{}, badText("time with time zone", text)
			}
			return value(a, clock, east)
		},
		binary: func(a *arena, b []byte) (connect.Value, error) {
			if len(b) != 12 {
				return connect.Value{}, badBinary("time with time zone", b)
			}
			clock, west := int64(binary.BigEndian.Uint64(b)), int64(int32(binary.BigEndian.Uint32(b[8:])))
			if clock < 0 || clock > microsPerDay || west < -86_400 || west > 86_400 {
				return connect.Value{}, badBinary("time with time zone", b)
			}
			return value(a, clock, -west*microsPerSecond)
		},
	}
}

// zonedTimeCodec shifts a time of day to UTC, except in the structured mode. The end
// of the day in UTC, 24:00:00, stays.
func zonedTimeCodec(m *modes, mod int32) codec {
	if m.times == timesStructured {
		return structuredZonedTime(precisionOf(mod))
	}
	return zonedTimeOf(semantic(connect.KindString, "io.debezium.time.ZonedTime"), func(a *arena, clock, east int64) (connect.Value, error) {
		if east != 0 {
			clock = ((clock-east)%microsPerDay + microsPerDay) % microsPerDay
		}
		return connect.StringBytes(a.keep(append(appendClock(a.tail(24), clock, -1), 'Z'))), nil
	})
}

// parseTimestamp reads a timestamp, with or without a zone, as microseconds since
// 2000 in UTC.
func parseTimestamp(text []byte) (int64, error) {
	switch view(text) {
	case "infinity":
		return late, nil
	case "-infinity":
		return early, nil
	}
	body, bc := cutBC(text)
	day, rest, ok := parseDate(body, bc)
	// The server's timestamps end with the year 294276.
	const mostDays = 107_000_000
	if !ok || len(rest) < 9 || rest[0] != ' ' || day > mostDays || day < -mostDays {
		return 0, badText("timestamp", text)
	}
	clock, zone, ok := parseClock(rest[1:])
	east, okZone := parseZone(zone)
	if !ok || !okZone {
		return 0, badText("timestamp", text)
	}
	return (day-epochDay)*microsPerDay + clock - east, nil
}

func parseDateOnly(text []byte) (int64, error) {
	switch view(text) {
	case "infinity":
		return infinityDays, nil
	case "-infinity":
		return minusInfinityDays, nil
	}
	body, bc := cutBC(text)
	day, rest, ok := parseDate(body, bc)
	if !ok || len(rest) > 0 {
		return 0, badText("date", text)
	}
	return day, nil
}
