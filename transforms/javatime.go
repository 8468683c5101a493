package transforms

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// datePattern is a pattern of java.text.SimpleDateFormat, taken apart. Only the
// English names of months and days are known, and UTC is the zone of what has none.
type datePattern []datePart

// datePart is a literal text, or a letter and how often it stands there.
type datePart struct {
	text   string
	letter byte
	count  int
}

// dateLetters are the letters of SimpleDateFormat that are understood: all but those
// for weeks.
const dateLetters = "GyMLdDEuaHkKhmsSzZX"

func checkDatePattern(text string) error {
	_, err := parseDatePattern(text)
	return err
}

// parseDatePattern takes a pattern apart.
func parseDatePattern(text string) (datePattern, error) {
	var parts datePattern
	for i := 0; i < len(text); {
		c := text[i]
		switch {
		case c == '\'':
			literal, n, err := quotedText(text[i:])
			if err != nil {
				return nil, err
			}
			parts = append(parts, datePart{text: literal})
			i += n
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z':
			n := 1
			for i+n < len(text) && text[i+n] == c {
				n++
			}
			if strings.IndexByte(dateLetters, c) < 0 {
				return nil, fmt.Errorf("the letter %q in the date pattern %q is not supported", c, text)
			}
			parts = append(parts, datePart{letter: c, count: n})
			i += n
		default:
			parts = append(parts, datePart{text: text[i : i+1]})
			i++
		}
	}
	return parts, nil
}

// quotedText reads a text in quotes; two quotes are one.
func quotedText(rest string) (string, int, error) {
	if strings.HasPrefix(rest, "''") {
		return "'", 2, nil
	}
	var out strings.Builder
	for i := 1; i < len(rest); i++ {
		switch {
		case rest[i] != '\'':
			out.WriteByte(rest[i])
		case strings.HasPrefix(rest[i:], "''"):
			out.WriteByte('\'')
			i++
		default:
			return out.String(), i + 1, nil
		}
	}
	return "", 0, errors.New("the date pattern has a quote without its partner")
}

// append appends t by the pattern.
func (p datePattern) append(dst []byte, t time.Time) []byte {
	for _, part := range p {
		if part.letter == 0 {
			dst = append(dst, part.text...)
			continue
		}
		dst = part.append(dst, t)
	}
	return dst
}

func (part datePart) append(dst []byte, t time.Time) []byte {
	switch part.letter {
	case 'G':
		if t.Year() <= 0 {
			return append(dst, "BC"...)
		}
		return append(dst, "AD"...)
	case 'M', 'L':
		if part.count >= 3 {
			return append(dst, part.name(t.Month().String())...)
		}
	case 'E':
		return append(dst, part.name(t.Weekday().String())...)
	case 'a':
		if t.Hour() >= 12 {
			return append(dst, "PM"...)
		}
		return append(dst, "AM"...)
	case 'z':
		return append(dst, "UTC"...)
	case 'Z':
		return t.AppendFormat(dst, "-0700")
	case 'X':
		return t.AppendFormat(dst, [...]string{"Z07", "Z0700", "Z07:00"}[min(part.count, 3)-1])
	case 'y':
		year := t.Year()
		if year <= 0 {
			year = 1 - year
		}
		if part.count == 2 {
			year %= 100
		}
		return appendPadded(dst, year, part.count)
	}
	return appendPadded(dst, part.number(t), part.count)
}

// name is a name, or its first three letters.
func (part datePart) name(full string) string {
	if part.count >= 4 {
		return full
	}
	return full[:3]
}

// number returns what a letter of a number stands for.
func (part datePart) number(t time.Time) int {
	switch part.letter {
	case 'M', 'L':
		return int(t.Month())
	case 'd':
		return t.Day()
	case 'D':
		return t.YearDay()
	case 'u':
		return (int(t.Weekday())+6)%7 + 1
	case 'H':
		return t.Hour()
	case 'k':
		return (t.Hour()+23)%24 + 1
	case 'K':
		return t.Hour() % 12
	case 'h':
		return (t.Hour()+11)%12 + 1
	case 'm':
		return t.Minute()
	case 's':
		return t.Second()
	}
	return t.Nanosecond() / 1e6
}

func appendPadded(dst []byte, n, width int) []byte {
	text := strconv.Itoa(n)
	for range width - len(text) {
		dst = append(dst, '0')
	}
	return append(dst, text...)
}

// dateFields are what parse has read so far.
type dateFields struct {
	year, month, day, yearDay, hour, minute, second, milli int
	hour12, pm, bc                                         bool
	zone                                                   *time.Location
}

// parse reads a text by the pattern. What the pattern does not have is as at the
// epoch; what does not belong is an error.
func (p datePattern) parse(text string) (time.Time, error) {
	f := dateFields{year: 1970, month: 1, day: 1, zone: time.UTC}
	rest := text
	for i, part := range p {
		if part.letter == 0 {
			after, ok := strings.CutPrefix(rest, part.text)
			if !ok {
				return time.Time{}, fmt.Errorf("Unparseable date: %q", text)
			}
			rest = after
			continue
		}
		// A number directly before another has just the digits of its letters.
		tight := i+1 < len(p) && p[i+1].letter != 0 && p[i+1].isNumber()
		n, err := f.read(part, rest, tight)
		if err != nil {
			return time.Time{}, fmt.Errorf("Unparseable date: %q: %w", text, err)
		}
		rest = rest[n:]
	}
	return f.time(), nil
}

func (part datePart) isNumber() bool {
	return strings.IndexByte("GEazZX", part.letter) < 0 && (part.letter != 'M' && part.letter != 'L' || part.count < 3)
}

// read reads one part and returns its length.
func (f *dateFields) read(part datePart, rest string, tight bool) (int, error) {
	switch part.letter {
	case 'G':
		f.bc = strings.HasPrefix(rest, "BC")
		return min(2, len(rest)), nil
	case 'E':
		return readName(rest, func(i int) (string, bool) { return time.Weekday(i).String(), i < 7 }, new(int))
	case 'a':
		f.pm = strings.HasPrefix(strings.ToUpper(rest), "PM")
		return min(2, len(rest)), nil
	case 'z', 'Z', 'X':
		return f.readZone(rest)
	case 'M', 'L':
		if part.count >= 3 {
			n, err := readName(rest, func(i int) (string, bool) { return time.Month(i + 1).String(), i < 12 }, &f.month)
			f.month++
			return n, err
		}
	}
	limit := len(rest)
	if tight {
		limit = min(limit, part.count)
	}
	n := 0
	for n < limit && rest[n] >= '0' && rest[n] <= '9' {
		n++
	}
	value, err := strconv.Atoi(rest[:n])
	if err != nil {
		return 0, fmt.Errorf("a number is missing at %q", rest)
	}
	f.set(part, value, n)
	return n, nil
}

func (f *dateFields) set(part datePart, v, digits int) {
	switch part.letter {
	case 'y':
		if part.count <= 2 && digits == 2 {
			// Two digits are taken to be within 80 years back and 20 ahead of now.
			v += 2000
			if v > time.Now().Year()+20 {
				v -= 100
			}
		}
		f.year = v
	case 'M', 'L':
		f.month = v
	case 'd':
		f.day = v
	case 'D':
		f.yearDay = v
	case 'H':
		f.hour = v
	case 'k':
		f.hour = v % 24
	case 'K', 'h':
		f.hour, f.hour12 = v%12, true
	case 'm':
		f.minute = v
	case 's':
		f.second = v
	case 'S':
		f.milli = v
	}
}

func readName(rest string, name func(int) (string, bool), to *int) (int, error) {
	lower := strings.ToLower(rest)
	for i := 0; ; i++ {
		full, ok := name(i)
		if !ok {
			return 0, fmt.Errorf("a name is missing at %q", rest)
		}
		for _, form := range []string{full, full[:3]} {
			if strings.HasPrefix(lower, strings.ToLower(form)) {
				*to = i
				return len(form), nil
			}
		}
	}
}

// readZone reads Z, UTC, GMT, +hh, +hhmm or +hh:mm.
func (f *dateFields) readZone(rest string) (int, error) {
	for _, name := range []string{"UTC", "GMT", "Z"} {
		if strings.HasPrefix(rest, name) {
			f.zone = time.UTC
			return len(name), nil
		}
	}
	for _, layout := range []string{"-07:00", "-0700", "-07"} {
		if len(rest) >= len(layout) {
			if t, err := time.Parse(layout, rest[:len(layout)]); err == nil {
				f.zone = t.Location()
				return len(layout), nil
			}
		}
	}
	return 0, fmt.Errorf("a time zone is missing at %q", rest)
}

func (f *dateFields) time() time.Time {
	if f.bc {
		f.year = 1 - f.year
	}
	if f.hour12 && f.pm {
		f.hour += 12
	}
	if f.yearDay > 0 {
		f.month, f.day = 1, f.yearDay
	}
	return time.Date(f.year, time.Month(f.month), f.day, f.hour, f.minute, f.second, f.milli*1e6, f.zone).UTC()
}
