package functions

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/internal/javatime"
)

// The places of a pattern and of a zone among the arguments of a call.
const (
	patternArg = 1
	zoneArg    = 2
)

// patterned makes a Call that keeps the pattern and the zone it met last: they are
// constants nearly always. fits tells what is wrong with a pattern that the kind of value
// cannot have.
func patterned(d javatime.Dialect, fits func(p *javatime.Pattern) error, f func(p *javatime.Pattern, zone *time.Location, v connect.Value) (connect.Value, error)) func([]Type) (Call, error) {
	return func([]Type) (Call, error) {
		var text, zoneName string
		var p *javatime.Pattern
		zone := time.UTC
		return func(a []connect.Value) (connect.Value, error) {
			if s := a[patternArg].Str(); p == nil || s != text {
				fresh, err := javatime.Compile(d, s)
				if err == nil {
					err = fits(fresh)
				}
				if err != nil {
					return connect.Value{}, err
				}
				p, text = fresh, strings.Clone(s)
			}
			if len(a) > zoneArg {
				if s := a[zoneArg].Str(); s != zoneName {
					fresh, err := javatime.LoadZone(s)
					if err != nil {
						return connect.Value{}, err
					}
					zone, zoneName = fresh, strings.Clone(s)
				}
			}
			return f(p, zone, a[0])
		}, nil
	}
}

var (
	errNoClock = errors.New("the date pattern names a time of day or a zone, and a date has none")
	errNoDate  = errors.New("the date pattern names a date or a zone, and a time of day has none")
	errPart    = errors.New("the date pattern names a part of a date alone: a date is a year, a month and a day")
)

// writes tells whether a pattern can write a value of kind k.
func writes(k Kind) func(p *javatime.Pattern) error {
	return func(p *javatime.Pattern) error {
		date, _ := p.Date()
		switch {
		case (k == Date || k == Int) && (p.Clock() || p.Zone()):
			return errNoClock
		case k == Time && (date || p.Zone()):
			return errNoDate
		}
		return nil
	}
}

// reads tells whether a value of kind k can be read by a pattern.
func reads(k Kind) func(p *javatime.Pattern) error {
	return func(p *javatime.Pattern) error {
		date, whole := p.Date()
		switch {
		case k == Time && date:
			return errNoDate
		case k == Int && !whole:
			return errPart
		}
		return nil
	}
}

// formatting makes the variants that write a moment of kind k.
func formatting(k Kind, zones bool) []Variant {
	bind := patterned(javatime.DateTimeFormatter, writes(k), func(p *javatime.Pattern, zone *time.Location, v connect.Value) (connect.Value, error) {
		t := time.UnixMilli(v.Int()).In(zone)
		if k == Date || k == Int {
			t = time.Unix(v.Int()*86400, 0).UTC()
		}
		return connect.StringBytes(p.AppendFormat(nil, t)), nil
	})
	return zoned(Variant{Params: params(k, String), Returns: of(String), Bind: bind}, zones)
}

// parsing makes the variants that read a moment as a value of kind k. ksqlDB reads a DATE
// with the older of Java's two languages of patterns.
func parsing(k Kind, zones bool) []Variant {
	dialect := javatime.DateTimeFormatter
	if k == Date {
		dialect = javatime.SimpleDateFormat
	}
	bind := patterned(dialect, reads(k), func(p *javatime.Pattern, zone *time.Location, v connect.Value) (connect.Value, error) {
		t, err := p.Parse(v.Str(), zone)
		if err != nil {
			return connect.Value{}, fmt.Errorf("'%s': %w", v.Str(), err)
		}
		switch k {
		case Date:
			if t.Unix()%86400 != 0 {
				return connect.Value{}, fmt.Errorf("'%s': %w", v.Str(), errNoClock)
			}
			return connect.Int32(int32(t.Unix() / 86400)), nil
		case Int:
			return connect.Int32(int32(time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC).Unix() / 86400)), nil
		case Time:
			return connect.Int32(int32(t.UnixMilli() - floorDiv(t.UnixMilli(), 86_400_000)*86_400_000)), nil
		}
		return connect.Int64(t.UnixMilli()), nil
	})
	return zoned(Variant{Params: params(String, String), Returns: of(k), Bind: bind}, zones)
}

// zoned adds the variant with a time zone at its end.
func zoned(v Variant, zones bool) []Variant {
	if !zones {
		return []Variant{v}
	}
	with := v
	with.Params = append(append([]Type{}, v.Params...), of(String))
	return []Variant{v, with}
}

// unitMillis are the lengths of the units of time that always have the same length.
func unitMillis(unit string) (int64, bool) {
	switch strings.TrimSuffix(unit, "S") {
	case "DAY":
		return 86_400_000, true
	case "HOUR":
		return 3_600_000, true
	case "MINUTE":
		return 60_000, true
	case "SECOND":
		return 1000, true
	case "MILLISECOND":
		return 1, true
	case "WEEK":
		return 7 * 86_400_000, true
	}
	return 0, false
}

// adding makes DATEADD and its kin: sign is -1 for those that subtract.
func adding(k Kind, sign int64) []Variant {
	const day = 86_400_000
	return []Variant{{Params: []Type{of(Interval), of(Int), of(k)}, Returns: of(k), Call: func(a []connect.Value) (connect.Value, error) {
		unit, n, v := a[0].Str(), a[1].Int()*sign, a[2].Int()
		millis, fixed := unitMillis(unit)
		if !fixed {
			return addCalendar(unit, k, int(n), v)
		}
		switch k {
		case Date: // The day of the time that comes out, cut towards 1970 as in ksqlDB.
			return connect.Int32(int32((v*day + n*millis) / day)), nil
		case Time:
			t := (v + n*millis) % day
			return connect.Int32(int32((t + day) % day)), nil
		}
		return connect.Int64(v + n*millis), nil
	}}}
}

// addCalendar adds months or years, which have no fixed length.
func addCalendar(unit string, k Kind, n int, v int64) (connect.Value, error) {
	years, months := 0, n
	if strings.HasPrefix(unit, "YEAR") {
		years, months = n, 0
	}
	switch k {
	case Date:
		t := clampedDate(time.Unix(v*86400, 0).UTC(), years, months)
		return connect.Int32(int32(t.Unix() / 86400)), nil
	case Timestamp:
		return connect.Int64(clampedDate(time.UnixMilli(v).UTC(), years, months).UnixMilli()), nil
	}
	return connect.Value{}, fmt.Errorf("%s cannot be added to a TIME", unit)
}

// clampedDate adds years and months and stays in the month when it has fewer days.
func clampedDate(t time.Time, years, months int) time.Time {
	first := time.Date(t.Year()+years, t.Month()+time.Month(months), 1, t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), t.Location())
	last := first.AddDate(0, 1, -1).Day()
	return first.AddDate(0, 0, min(t.Day(), last)-1)
}

func dateFunctions() []Function {
	f := func(name, doc string, variants []Variant, examples ...Example) Function {
		return Function{Name: name, Category: dateTime, Doc: doc, Variants: variants, Examples: examples}
	}
	ts := "CAST('2020-02-29T13:05:09.7' AS TIMESTAMP)"
	return []Function{
		f("FORMAT_TIMESTAMP", "A timestamp as text by a Java date pattern, in UTC or in a time zone.", formatting(Timestamp, true),
			Example{"FORMAT_TIMESTAMP(" + ts + ", 'yyyy-MM-dd''T''HH:mm:ss.SSS')", `"2020-02-29T13:05:09.700"`},
			Example{"FORMAT_TIMESTAMP(" + ts + ", 'EEE, d MMM yy h:mm a XXX', 'America/New_York')", `"Sat, 29 Feb 20 8:05 AM -05:00"`}),
		f("FORMAT_DATE", "A date as text by a Java date pattern.", formatting(Date, false), Example{"FORMAT_DATE(CAST('2020-02-29' AS DATE), 'dd.MM.yyyy')", `"29.02.2020"`}),
		f("FORMAT_TIME", "A time of day as text by a Java date pattern.", formatting(Time, false), Example{"FORMAT_TIME(CAST('13:05' AS TIME), 'hh:mm a')", `"01:05 PM"`}),
		f("PARSE_TIMESTAMP", "The timestamp a text says by a Java date pattern, in UTC or in a time zone.", parsing(Timestamp, true),
			Example{"PARSE_TIMESTAMP('29/2/2020 13h05', 'd/M/yyyy HH''h''mm')", `"2020-02-29T13:05:00.000"`},
			Example{"PARSE_TIMESTAMP('2020-02-29 13:05', 'yyyy-MM-dd HH:mm', 'Europe/Zurich')", `"2020-02-29T12:05:00.000"`}),
		f("PARSE_DATE", "The date a text says by a Java date pattern.", parsing(Date, false), Example{"PARSE_DATE('20200229', 'yyyyMMdd')", `"2020-02-29"`}),
		f("PARSE_TIME", "The time of day a text says by a Java date pattern.", parsing(Time, false), Example{"PARSE_TIME('1:05 PM', 'h:mm a')", `"13:05"`}),
		f("TIMESTAMPTOSTRING", "Milliseconds since the epoch as text by a Java date pattern.", formatting(Bigint, true),
			Example{"TIMESTAMPTOSTRING(1577836800000, 'yyyy-MM-dd')", `"2020-01-01"`}),
		f("STRINGTOTIMESTAMP", "The milliseconds since the epoch that a text says by a Java date pattern.", parsing(Bigint, true),
			Example{"STRINGTOTIMESTAMP('2020-01-01 00:00:00 +0100', 'yyyy-MM-dd HH:mm:ss Z')", "1577833200000"}),
		f("DATETOSTRING", "Days since the epoch as text by a Java date pattern.", formatting(Int, false), Example{"DATETOSTRING(18262, 'yyyy-MM-dd')", `"2020-01-01"`}),
		f("STRINGTODATE", "The days since the epoch that a text says by a Java date pattern.", parsing(Int, false), Example{"STRINGTODATE('2020-01-01', 'yyyy-MM-dd')", "18262"}),
		f("DATEADD", "A date so many units of time later: DAYS, WEEKS, MONTHS, YEARS, or HOURS down to MILLISECONDS, of which whole days count.", adding(Date, 1), Example{"DATEADD(MONTHS, 1, CAST('2020-01-31' AS DATE))", `"2020-02-29"`}),
		f("DATESUB", "A date so many units of time earlier.", adding(Date, -1), Example{"DATESUB(DAYS, 60, CAST('2020-03-01' AS DATE))", `"2020-01-01"`}),
		f("TIMEADD", "A time of day so many units of time later.", adding(Time, 1), Example{"TIMEADD(HOURS, 2, CAST('23:05' AS TIME))", `"01:05"`}),
		f("TIMESUB", "A time of day so many units of time earlier.", adding(Time, -1), Example{"TIMESUB(MINUTES, 10, CAST('00:05' AS TIME))", `"23:55"`}),
		f("TIMESTAMPADD", "A timestamp so many units of time later.", adding(Timestamp, 1), Example{"TIMESTAMPADD(SECONDS, 51, " + ts + ")", `"2020-02-29T13:06:00.700"`}),
		f("TIMESTAMPSUB", "A timestamp so many units of time earlier.", adding(Timestamp, -1), Example{"TIMESTAMPSUB(YEAR, 1, " + ts + ")", `"2019-02-28T13:05:09.700"`}),
		f("CONVERT_TZ", "The timestamp moved by what two time zones are apart at that moment, which turns what the clocks of the first show into what those of the second show.", []Variant{{Params: params(Timestamp, String, String), Returns: of(Timestamp), Call: convertZone}},
			Example{"CONVERT_TZ(" + ts + ", 'UTC', 'Asia/Tokyo')", `"2020-02-29T22:05:09.700"`}),
	}
}

func convertZone(a []connect.Value) (connect.Value, error) {
	from, err := javatime.LoadZone(a[1].Str())
	if err != nil {
		return connect.Value{}, err
	}
	to, err := javatime.LoadZone(a[2].Str())
	if err != nil {
		return connect.Value{}, err
	}
	t := time.UnixMilli(a[0].Int())
	_, was := t.In(from).Zone()
	_, is := t.In(to).Zone()
	return connect.Int64(a[0].Int() + int64(is-was)*1000), nil
}
