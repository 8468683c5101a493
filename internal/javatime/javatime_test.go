package javatime

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func compile(t *testing.T, d Dialect, pattern string) *Pattern {
	t.Helper()
	p, err := Compile(d, pattern)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestAppendFormat writes one time by both dialects. The texts are Java's; a dash
// stands for a pattern that the dialect refuses.
func TestAppendFormat(t *testing.T) {
	at := time.Date(2024, 2, 9, 15, 4, 5, 67089000, time.UTC)
	for _, c := range []struct{ pattern, simple, formatter string }{
		{"yyyy-MM-dd'T'HH:mm:ss.SSS'Z'", "2024-02-09T15:04:05.067Z", "2024-02-09T15:04:05.067Z"},
		{"yyyyMMddHHmmssSSS", "20240209150405067", "20240209150405067"},
		{"EEE, d MMM yyyy hh:mm:ss.SSS a z", "Fri, 9 Feb 2024 03:04:05.067 PM UTC", "Fri, 9 Feb 2024 03:04:05.067 PM UTC"},
		{"EEEE MMMM yy H'o''clock' m s S", "Friday February 24 15o'clock 4 5 67", "Friday February 24 15o'clock 4 5 0"},
		{"yyyy.DDD XXX", "2024.040 Z", "2024.040 Z"},
		{"G u k K Z", "AD 5 15 3 +0000", "AD 2024 15 3 +0000"},
		{"y yyy yyyyy", "2024 2024 02024", "2024 2024 02024"},
		{"uu uuuu", "05 0005", "24 2024"},
		{"L LLL LLLL MMMMM EEEEE", "2 Feb February February Friday", "2 Feb February F F"},
		{"SS SSSS SSSSSS", "67 0067 000067", "06 0670 067089"},
		{"MMMMMM", "February", "-"}, {"ddd", "009", "-"}, {"HHH", "015", "-"}, {"aa", "PM", "-"}, {"DDDD", "0040", "-"},
		{"SSSSSSSSSS", "0000000067", "-"},
		{"e ee eee eeee eeeee", "-", "6 06 Fri Friday F"},
		{"n nnnnnnnnnn", "-", "67089000 0067089000"},
		{"Q QQ q", "-", "1 01 1"}, {"QQQ", "-", "-"},
		{"ZZZZ ZZZZZ", "+0000 +0000", "GMT Z"},
		{"X XX XXX", "Z Z Z", "Z Z Z"}, {"XXXX XXXXX", "-", "Z Z"},
		{"x xx xxx", "-", "+00 +0000 +00:00"},
		{"VV v", "-", "UTC UTC"}, {"V", "-", "-"}, {"vv", "-", "-"},
		{"[yyyy]", "[2024]", "2024"}, {"yyyy#", "2024#", "-"}, {"{}", "{}", "-"},
		{"''yyyy é ''", "'2024 é '", "'2024 é '"}, {"", "", ""},
		{"yyyy'T", "-", "-"}, {"'open", "-", "-"}, {"ww", "-", "-"}, {"Y", "-", "-"}, {"yyyy-bb", "-", "-"}, {"l", "-", "-"},
	} {
		for d, want := range []string{c.simple, c.formatter} {
			p, err := Compile(Dialect(d), c.pattern)
			got := "-"
			if err == nil {
				got = string(p.AppendFormat(nil, at))
			}
			if got != want {
				t.Errorf("dialect %d: %q gives %q (%v); Java gives %q", d, c.pattern, got, err, want)
			}
		}
	}
}

// TestAppendFormatZones writes a time of other zones and years.
func TestAppendFormatZones(t *testing.T) {
	india := time.Date(2024, 2, 9, 15, 4, 5, 0, time.FixedZone("Asia/Kolkata", 19800))
	one := time.Date(2024, 2, 9, 15, 4, 5, 0, time.FixedZone("", 3600))
	early, late := time.Date(-4, 2, 9, 0, 4, 5, 0, time.UTC), time.Date(12345, 2, 9, 0, 4, 5, 0, time.UTC)
	for _, c := range []struct {
		at                         time.Time
		pattern, simple, formatter string
	}{
		{india, "Z ZZZZ ZZZZZ X XX XXX", "", "+0530 GMT+05:30 +05:30 +0530 +0530 +05:30"},
		{india, "Z ZZZZ ZZZZZ X XX XXX", "+0530 +0530 +0530 +05 +0530 +05:30", ""},
		{india, "x xx xxx xxxx xxxxx XXXX XXXXX VV", "", "+0530 +0530 +05:30 +0530 +05:30 +0530 +05:30 Asia/Kolkata"},
		{one, "X x VV", "", "+01 +01 +01:00"},
		{early, "y yy yyyy G", "5 05 0005 BC", "5 05 0005 BC"}, {early, "u uu uuuu", "", "-4 04 -0004"},
		{late, "y yy yyyy", "12345 45 12345", "12345 45 +12345"}, {late, "u uuuu", "", "12345 +12345"},
	} {
		for d, want := range []string{c.simple, c.formatter} {
			if want == "" {
				continue
			}
			if got := string(compile(t, Dialect(d), c.pattern).AppendFormat(nil, c.at)); got != want {
				t.Errorf("dialect %d: %q gives %q; Java gives %q", d, c.pattern, got, want)
			}
		}
	}
}

// TestParse reads texts by both dialects; a dash stands for a text that does not fit,
// and an empty string for what is not asked.
func TestParse(t *testing.T) {
	for _, c := range []struct{ pattern, text, simple, formatter string }{
		{"yyyy-MM-dd'T'HH:mm:ss.SSS'Z'", "2024-02-09T15:04:05.067Z", "2024-02-09T15:04:05.067", "2024-02-09T15:04:05.067"},
		{"yyyy-MM-dd'T'HH:mm:ss.SSSX", "2021-03-04T05:06:07.089Z", "2021-03-04T05:06:07.089", "2021-03-04T05:06:07.089"},
		{"yyyyMMddHHmmssSSS", "20240209150405067", "2024-02-09T15:04:05.067", "2024-02-09T15:04:05.067"},
		{"EEE, d MMM yyyy hh:mm:ss.SSS a z", "Fri, 9 Feb 2024 03:04:05.067 PM UTC", "2024-02-09T15:04:05.067", "2024-02-09T15:04:05.067"},
		{"yyyy-MM-dd HH:mm:ssX", "2024-02-09 15:04:05+02:00", "2024-02-09T13:04:05", "2024-02-09T13:04:05"},
		{"yyyy-MM-dd HH:mm:ssX", "2024-02", "-", "-"}, {"yyyy-MM-dd HH:mm:ssX", "x", "-", "-"},
		{"yyyy-MM-dd HH:mm:ssX", "2024-02-09 15:04:05", "-", "-"}, {"yyyy-MM-dd HH:mm:ssX", "2024-02-0915:04:05Z", "-", "-"},
		{"yyMMddHHmm", "2103040506", "2021-03-04T05:06:00", "2021-03-04T05:06:00"},
		{"d MMMM yyyy, K a", "4 March 2021, 5 PM", "2021-03-04T17:00:00", "2021-03-04T17:00:00"},
		{"EEEE dd/MM/uuuu", "Thursday 04/03/2021", "", "2021-03-04T00:00:00"},
		{"yyyy DDD", "2020 060", "2020-02-29T00:00:00", "2020-02-29T00:00:00"}, {"yyyy DDD", "2021 366", "2022-01-01T00:00:00", "-"},
		{"yyyy-MM-dd HH:mm VV", "2021-07-01 12:00 Europe/Zurich", "", "2021-07-01T10:00:00"},
		{"yyyy-MM-dd", "2021-02-29", "2021-03-01T00:00:00", "-"}, {"HH:mm", "25:00", "1970-01-02T01:00:00", "-"},
		{"yyyy-MM-dd", "2021-03-04x", "2021-03-04T00:00:00", "-"}, {"yyyy-MM-dd", "21-03-04", "0021-03-04T00:00:00", "-"},
		{"yyyy-MM-dd", " 2021- 2-3", "2021-02-03T00:00:00", "-"}, {"yyyyMMdd", "2021123", "2021-12-03T00:00:00", "-"},
		{"u-M-d", "-12-3-4", "", "-0012-03-04T00:00:00"}, {"uuuu-MM-dd", "12021-02-03", "", "-"},
		{"uuuu-MM-dd", "+12021-02-03", "", "12021-02-03T00:00:00"}, {"yyyy-MM-dd", "-2021-02-03", "-", "-"},
		{"G yyyy", "bc 0005", "-0004-01-01T00:00:00", "-0004-01-01T00:00:00"}, {"G", "XX", "-", "-"},
		{"y", "30", "2030-01-01T00:00:00", "0030-01-01T00:00:00"}, {"yy", "99", "1999-01-01T00:00:00", "2099-01-01T00:00:00"},
		{"HH:mm a", "15:00 AM", "1970-01-01T15:00:00", "-"}, {"HH:mm a", "15:00 pm", "1970-01-01T15:00:00", "1970-01-01T15:00:00"},
		{"hh:mm", "13:30", "1970-01-01T13:30:00", "-"}, {"hh:mm a", "12:30 am", "1970-01-01T00:30:00", "1970-01-01T00:30:00"},
		{"hh:mm a", "12:30 xm", "-", "-"}, {"K a", "12 PM", "1970-01-02T00:00:00", "-"},
		{"kk:mm", "24:30", "1970-01-01T00:30:00", "1970-01-01T00:30:00"}, {"HH:mm", "012:00", "1970-01-01T12:00:00", "-"},
		{"MMM d", "February 3", "1970-02-03T00:00:00", "-"}, {"MMMM d", "feb 3", "1970-02-03T00:00:00", "-"},
		{"MMM d", "FEB 3", "1970-02-03T00:00:00", "1970-02-03T00:00:00"}, {"MMMMM d", "J 3", "-", "-"},
		{"dMMMyyyy", "19Feb2021", "2021-02-19T00:00:00", "2021-02-19T00:00:00"},
		{"S", "123456", "1970-01-01T00:02:03.456", "-"}, {"S", "5", "1970-01-01T00:00:00.005", "1970-01-01T00:00:00.5"},
		{"ssSSS", "05123", "1970-01-01T00:00:05.123", "1970-01-01T00:00:05.123"},
		{"n", "1000000000", "", "-"}, {"e", "3", "", "1970-01-01T00:00:00"}, {"E", "Thu", "1970-01-01T00:00:00", "1970-01-01T00:00:00"},
		{"EEE", "Foo", "-", "-"}, {"HH:mm:ss", "04:05:60", "1970-01-01T04:06:00", "-"}, {"MM", "13", "1971-01-01T00:00:00", "-"},
		{"yyyy z", "2021 GMT+02:30", "2020-12-31T21:30:00", "2020-12-31T21:30:00"}, {"yyyy z", "2021 GMT", "2021-01-01T00:00:00", "2021-01-01T00:00:00"},
		{"yyyy X", "2021 +0530", "2020-12-31T18:30:00", "2020-12-31T18:30:00"}, {"yyyy X", "2021 -02", "2021-01-01T02:00:00", "2021-01-01T02:00:00"},
		{"yyyy X", "2021 +99", "-", "-"}, {"yyyy X", "2021 +", "-", "-"}, {"yyyy z", "2021 Nowhere", "-", "-"},
	} {
		for d, want := range []string{c.simple, c.formatter} {
			if want == "" {
				continue
			}
			at, err := compile(t, Dialect(d), c.pattern).Parse(c.text, time.UTC)
			got := at.UTC().Format("2006-01-02T15:04:05.999")
			if err != nil {
				got = "-"
			}
			if got != want {
				t.Errorf("dialect %d: %q by %q is %s (%v), not %s", d, c.text, c.pattern, got, err, want)
			}
		}
	}
}

// TestRoundTrip writes what was read, in the zone that the text names.
func TestRoundTrip(t *testing.T) {
	for pattern, text := range map[string]string{
		"yyyy-MM-dd'T'HH:mm:ss.SSSX":      "2021-03-04T05:06:07.089Z",
		"yyMMddHHmm":                      "2103040506",
		"d MMMM yyyy, K a":                "4 March 2021, 5 PM",
		"yyyy DDD":                        "2020 060",
		"EEEE dd/MM/uuuu":                 "Thursday 04/03/2021",
		"yyyy-MM-dd HH:mm VV":             "2021-07-01 12:00 Europe/Zurich",
		"yyyy-MM-dd HH:mm:ss.SSSSSS xxx":  "2021-07-01 12:00:01.000002 -03:30",
		"uuuu-MM-dd":                      "-0044-03-15",
		"yyyyMMdd":                        "20210304",
		"EEE, d MMM yy h:mm a ZZZZ":       "Sat, 29 Feb 20 8:05 AM GMT-05:00",
		"yyyy-MM-dd'T'HH:mm:ss.SSSSSSSSS": "2021-03-04T05:06:07.123456789",
	} {
		p := compile(t, DateTimeFormatter, pattern)
		at, err := p.Parse(text, time.UTC)
		if got := string(p.AppendFormat(nil, at)); err != nil || got != text {
			t.Errorf("%q by %q is written %q (%v)", text, pattern, got, err)
		}
	}
}

// TestTwoDigitYears keeps the years of SimpleDateFormat around the present.
func TestTwoDigitYears(t *testing.T) {
	p := compile(t, SimpleDateFormat, "yy")
	now := time.Now().Year()
	for y := now - 79; y < now+20; y++ {
		at, err := p.Parse(string(appendPadded(nil, y%100, 2)), time.UTC)
		if err != nil || at.Year() != y {
			t.Errorf("%02d is read as %d (%v), not %d", y%100, at.Year(), err, y)
		}
	}
}

// TestZone reads the local time of a zone, also of a day that starts an hour late.
func TestZone(t *testing.T) {
	zurich, err := LoadZone("Europe/Zurich")
	if err != nil {
		t.Fatal(err)
	}
	at, err := compile(t, DateTimeFormatter, "yyyy-MM-dd HH:mm").Parse("2020-02-29 13:05", zurich)
	if err != nil || at.UTC().Hour() != 12 {
		t.Errorf("in Zurich: %v, %v", at, err)
	}
	cairo, err := LoadZone("Africa/Cairo")
	if err != nil {
		t.Fatal(err)
	}
	if at, err := compile(t, DateTimeFormatter, "yyyy-MM-dd").Parse("2024-04-26", cairo); err != nil {
		t.Errorf("the day without a midnight: %v, %v", at, err)
	}
	for name, seconds := range map[string]int{"UTC": 0, "GMT": 0, "Z": 0, "+01:00": 3600, "-0830": -30600, "GMT+2": 7200, "UTC-07": -25200} {
		zone, err := LoadZone(name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if _, got := time.Unix(0, 0).In(zone).Zone(); got != seconds {
			t.Errorf("%s is %d seconds east, not %d", name, got, seconds)
		}
	}
	for _, name := range []string{"", "Local", "Nowhere/Else", "../etc", "+", "+24", "+01:00x"} {
		if _, err := LoadZone(name); err == nil {
			t.Errorf("the zone %q was found", name)
		}
	}
}

// TestErrors tells where a text or a pattern went wrong.
func TestErrors(t *testing.T) {
	_, err := Compile(SimpleDateFormat, "yyyyww")
	if err == nil || !strings.Contains(err.Error(), `"ww" in the date pattern "yyyyww" is not supported`) {
		t.Errorf("a letter: %v", err)
	}
	_, err = compile(t, DateTimeFormatter, "yyyy-MM").Parse("2020/01", time.UTC)
	if err == nil || !strings.Contains(err.Error(), `at "/01"`) {
		t.Errorf("a text: %v", err)
	}
}

// TestAllocations keeps formatting free of garbage.
func TestAllocations(t *testing.T) {
	p := compile(t, DateTimeFormatter, "yyyy-MM-dd'T'HH:mm:ss.SSSXXX")
	at, buf := time.Date(2024, 2, 9, 15, 4, 5, 67e6, time.UTC), make([]byte, 0, 64)
	if n := testing.AllocsPerRun(100, func() { buf = p.AppendFormat(buf[:0], at) }); n > 0 {
		t.Errorf("a time costs %v allocations", n)
	}
}

// FuzzPattern looks for patterns and texts that panic, and for texts that are not
// written as they were read.
func FuzzPattern(f *testing.F) {
	f.Add("yyyy-MM-dd'T'HH:mm", "2024-01-02T03:04")
	f.Add("yyyy-MM-dd'T'HH:mm:ss.SSSXXX", "2021-03-04T05:06:07.089+01:00")
	f.Add("EEE, d MMM yy h:mm a VV", "Sat, 29 Feb 20 8:05 AM America/New_York")
	f.Fuzz(func(t *testing.T, pattern, text string) {
		for _, d := range []Dialect{SimpleDateFormat, DateTimeFormatter} {
			p, err := Compile(d, pattern)
			if err != nil {
				continue
			}
			at, err := p.Parse(text, time.UTC)
			if err != nil {
				continue
			}
			once := p.AppendFormat(nil, at)
			if again := p.AppendFormat(nil, at); !slices.Equal(once, again) {
				t.Errorf("%q gives %q, then %q", pattern, once, again)
			}
		}
	})
}

// TestSays tells what patterns name.
func TestSays(t *testing.T) {
	for pattern, want := range map[string][4]bool{
		"yyyy-MM-dd": {true, true, false, false}, "uuuu DDD": {true, true, false, false}, "MMM d": {true, false, false, false},
		"HH:mm:ss.SSS": {false, false, true, false}, "h a": {false, false, true, false}, "EEE G": {true, false, false, false},
		"yyyy-MM-dd HH:mm XXX": {true, true, true, true}, "VV": {false, false, false, true}, "'HH'": {},
	} {
		p := compile(t, DateTimeFormatter, pattern)
		some, whole := p.Date()
		if got := [4]bool{some, whole, p.Clock(), p.Zone()}; got != want {
			t.Errorf("%q names %v, not %v", pattern, got, want)
		}
	}
}
