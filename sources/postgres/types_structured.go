package postgres

import (
	"github.com/tidemill/tidemill/connect"
)

// The codecs of time.precision.mode=structured: dates and times as structs of their
// parts, which lose nothing. All fields are optional; infinities have a word in
// specialValue and no parts.

// structuredSchema builds the schema of a structured type. A field's kind follows
// from its name.
func structuredSchema(name string, fields ...string) *connect.Schema {
	def := connect.SchemaDef{Kind: connect.KindStruct, Name: "io.debezium.time." + name, Version: 1}
	for _, f := range fields {
		k := connect.KindInt32
		switch f {
		case "month", "day", "hour", "minute", "second":
			k = connect.KindInt8
		case "specialValue", "zoneId":
			k = connect.KindString
		case "seconds":
			k = connect.KindInt64
		}
		def.Fields = append(def.Fields, connect.Field{Name: f, Schema: connect.Of(k).AsOptional()})
	}
	return def.MustBuild()
}

// specialWord is an infinity as the structured types name it.
func specialWord(positive bool) connect.Value {
	if positive {
		return connect.String("POSITIVE_INFINITY")
	}
	return connect.String("NEGATIVE_INFINITY")
}

func int8Value(n int64) connect.Value { return connect.IntOf(connect.KindInt8, n) }

// putDate writes year, month and day.
func putDate(values []connect.Value, day int64) {
	y, m, d := civilDate(day)
	values[0], values[1], values[2] = connect.Int32(int32(y)), int8Value(m), int8Value(d)
}

// putClock writes hour, minute, second and nanos.
func putClock(values []connect.Value, clock int64) {
	values[0], values[1] = int8Value(clock/microsPerHour), int8Value(clock/microsPerMinute%60)
	values[2], values[3] = int8Value(clock/microsPerSecond%60), connect.Int32(int32(clock%microsPerSecond*1000))
}

func structuredDate() codec {
	s := structuredSchema("StructuredDate", "year", "month", "day", "specialValue")
	return dateOf(s, func(a *arena, day int64) (connect.Value, error) {
		values := a.row(4)
		if day == infinityDays || day == minusInfinityDays {
			values[3] = specialWord(day > 0)
		} else {
			putDate(values, day)
		}
		return a.structure(s, values), nil
	})
}

func structuredTime(precision int) codec {
	s := structuredSchema("StructuredTime", "hour", "minute", "second", "nanos", "precision")
	return timeOf(s, func(a *arena, clock int64) (connect.Value, error) {
		values := a.row(5)
		putClock(values, clock)
		values[4] = connect.Int32(int32(precision))
		return a.structure(s, values), nil
	})
}

// structuredTimestamp is the codec of timestamps; those with a zone are in UTC, as
// the server keeps them.
func structuredTimestamp(precision int, zoned bool) codec {
	name, fields := "StructuredTimestamp", []string{"year", "month", "day", "hour", "minute", "second", "nanos", "specialValue", "precision"}
	if zoned {
		name = "StructuredZonedTimestamp"
		fields = []string{"year", "month", "day", "hour", "minute", "second", "nanos", "offsetSeconds", "zoneId", "specialValue", "precision"}
	}
	s := structuredSchema(name, fields...)
	n := len(fields)
	return timestampOf(s, func(a *arena, t int64) (connect.Value, error) {
		values := a.row(n)
		values[n-1] = connect.Int32(int32(precision))
		if t == late || t == early {
			values[n-2] = specialWord(t > 0)
			return a.structure(s, values), nil
		}
		day := floorDiv(t, microsPerDay)
		putDate(values, day+epochDay)
		putClock(values[3:], t-day*microsPerDay)
		if zoned {
			values[7] = connect.Int32(0)
		}
		return a.structure(s, values), nil
	})
}

// structuredZonedTime keeps the zone a time was written with.
func structuredZonedTime(precision int) codec {
	s := structuredSchema("StructuredZonedTime", "hour", "minute", "second", "nanos", "offsetSeconds", "precision")
	return zonedTimeOf(s, func(a *arena, clock, east int64) (connect.Value, error) {
		values := a.row(6)
		putClock(values, clock)
		values[4], values[5] = connect.Int32(int32(east/microsPerSecond)), connect.Int32(int32(precision))
		return a.structure(s, values), nil
	})
}

// structuredInterval keeps the parts of an interval apart, each with its own sign.
// The infinities of PostgreSQL 17 have no place in it.
func structuredInterval(mod int32) codec {
	precision := 6
	if digits := mod & 0xffff; mod >= 0 && digits <= 6 {
		precision = int(digits)
	}
	s := structuredSchema("StructuredDuration", "years", "months", "days", "hours", "minutes", "seconds", "nanos", "precision")
	return intervalOf(s, func(a *arena, iv interval) (connect.Value, error) {
		hours := iv.micros / microsPerHour
		if infinite, _ := iv.infinite(); infinite || int64(int32(hours)) != hours {
			return connect.Value{}, errTimeRange
		}
		values := a.row(8)
		for i, n := range [5]int64{iv.months / 12, iv.months % 12, iv.days, hours, iv.micros / microsPerMinute % 60} {
			values[i] = connect.Int32(int32(n))
		}
		values[5] = connect.Int64(iv.micros / microsPerSecond % 60)
		values[6] = connect.Int32(int32(iv.micros % microsPerSecond * 1000))
		values[7] = connect.Int32(int32(precision))
		return a.structure(s, values), nil
	})
}
