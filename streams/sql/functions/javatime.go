package functions

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// A pattern is a date pattern of Java's DateTimeFormatter, the language ksqlDB's
// functions take: letters that stand for parts of a date and time, repeated to say
// how wide they are, and text, quoted where it has letters.
// https://docs.oracle.com/en/java/javase/21/docs/api/java.base/java/time/format/DateTimeFormatter.html
type pattern []patternPart

// patternPart is one run of a letter, or text when letter is 0.
type patternPart struct {
	letter byte
	count  int
	text   string
}

// patternLetters are the letters that are understood.
const patternLetters = "yuMLdHhkKmsSnaEeDQqXxZzVv"

// parsePattern reads a pattern.
func parsePattern(s string) (pattern, error) {
	var out pattern
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == '\'':
			text, n, err := quotedText(s[i:])
			if err != nil {
				return nil, err
			}
			out = append(out, patternPart{text: text})
			i += n
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z':
			if strings.IndexByte(patternLetters, c) < 0 {
				return nil, fmt.Errorf("the letter %q of the date pattern '%s' is not understood", c, s)
			}
			n := 1
			for i+n < len(s) && s[i+n] == c {
				n++
			}
			out = append(out, patternPart{letter: c, count: n})
			i += n
		case c == '[' || c == ']':
			i++ // Optional sections are read as if they had to be there.
		default:
			_, n := utf8.DecodeRuneInString(s[i:])
			out = append(out, patternPart{text: s[i : i+n]})
			i += n
		}
	}
	return out, nil
}

// quotedText reads a quoted part; two quotes are one.
func quotedText(s string) (text string, n int, err error) {
	if strings.HasPrefix(s, "''") {
		return "'", 2, nil
	}
	for n = 1; n < len(s); n++ {
		if s[n] != '\'' {
			text += s[n : n+1]
			continue
		}
		if n+1 < len(s) && s[n+1] == '\'' {
			text += "'"
			n++
			continue
		}
		return text, n + 1, nil
	}
	return "", 0, errors.New("a quote of the date pattern is not closed")
}

// format writes t.
func (p pattern) format(b []byte, t time.Time) []byte {
	for _, part := range p {
		if part.letter == 0 {
			b = append(b, part.text...)
		} else {
			b = part.format(b, t)
		}
	}
	return b
}

// padded writes n with at least width digits.
func padded(b []byte, n, width int) []byte {
	s := strconv.Itoa(n)
	for range width - len(s) {
		b = append(b, '0')
	}
	return append(b, s...)
}

func (p patternPart) format(b []byte, t time.Time) []byte {
	switch p.letter {
	case 'y', 'u':
		if p.count == 2 {
			return padded(b, t.Year()%100, 2)
		}
		return padded(b, t.Year(), p.count)
	case 'M', 'L':
		return named(b, p.count, int(t.Month()), t.Month().String())
	case 'd':
		return padded(b, t.Day(), p.count)
	case 'D':
		return padded(b, t.YearDay(), p.count)
	case 'Q', 'q':
		return padded(b, (int(t.Month())+2)/3, p.count)
	case 'E':
		return named(b, max(3, p.count), 0, t.Weekday().String())
	case 'e':
		return named(b, p.count, int(t.Weekday())+1, t.Weekday().String())
	case 'X', 'x', 'Z', 'z', 'V', 'v':
		return p.formatZone(b, t)
	}
	return p.formatClock(b, t)
}

// named writes a month or weekday: as a number, shortened to three letters, or in
// full.
func named(b []byte, count, n int, name string) []byte {
	switch {
	case count <= 2:
		return padded(b, n, count)
	case count == 3:
		return append(b, name[:3]...)
	case count == 5:
		return append(b, name[:1]...)
	}
	return append(b, name...)
}

func (p patternPart) formatClock(b []byte, t time.Time) []byte {
	switch p.letter {
	case 'H':
		return padded(b, t.Hour(), p.count)
	case 'k':
		return padded(b, (t.Hour()+23)%24+1, p.count)
	case 'h':
		return padded(b, (t.Hour()+11)%12+1, p.count)
	case 'K':
		return padded(b, t.Hour()%12, p.count)
	case 'm':
		return padded(b, t.Minute(), p.count)
	case 's':
		return padded(b, t.Second(), p.count)
	case 'n':
		return padded(b, t.Nanosecond(), p.count)
	case 'S':
		digits := fmt.Sprintf("%09d", t.Nanosecond())
		for len(digits) < p.count {
			digits += "0"
		}
		return append(b, digits[:p.count]...)
	}
	if t.Hour() < 12 {
		return append(b, "AM"...)
	}
	return append(b, "PM"...)
}

func (p patternPart) formatZone(b []byte, t time.Time) []byte {
	switch p.letter {
	case 'V':
		return append(b, t.Location().String()...)
	case 'z', 'v':
		return t.AppendFormat(b, "MST")
	case 'Z':
		if p.count == 5 {
			return t.AppendFormat(b, "Z07:00")
		}
		return t.AppendFormat(b, "-0700")
	}
	layouts := [...]string{"Z07", "Z0700", "Z07:00"}
	layout := layouts[min(p.count, 3)-1]
	if p.letter == 'x' {
		layout = "-" + layout[1:]
	}
	return t.AppendFormat(b, layout)
}

// moment gathers what a text says of a time.
type moment struct {
	year, month, day, yearDay  int
	hour, minute, second, nano int
	half                       int // 0 unknown, 1 before noon, 2 after
	zone                       *time.Location
}

var errPattern = errors.New("the text does not fit the date pattern")

// parse reads text; what it does not say is the start of 1970, in the given zone.
func (p pattern) parse(s string, zone *time.Location) (time.Time, error) {
	m := moment{year: 1970, month: 1, day: 1, zone: zone}
	for i, part := range p {
		if part.letter == 0 {
			rest, ok := strings.CutPrefix(s, part.text)
			if !ok {
				return time.Time{}, errPattern
			}
			s = rest
			continue
		}
		// Digits that follow without a break leave each letter its width alone.
		fixed := i+1 < len(p) && p[i+1].letter != 0
		rest, err := part.parse(s, fixed, &m)
		if err != nil {
			return time.Time{}, err
		}
		s = rest
	}
	if s != "" {
		return time.Time{}, errPattern
	}
	return m.time()
}

func (m *moment) time() (time.Time, error) {
	if m.half > 0 {
		m.hour = m.hour%12 + 12*(m.half-1)
	}
	t := time.Date(m.year, time.Month(m.month), m.day, m.hour, m.minute, m.second, m.nano, m.zone)
	if m.yearDay > 0 {
		return t.AddDate(0, 0, m.yearDay-1), nil
	}
	if t.Day() != m.day || int(t.Month()) != m.month || m.hour > 23 || m.minute > 59 || m.second > 59 {
		return time.Time{}, errPattern
	}
	return t, nil
}

// parse reads one part and returns what is left of s.
func (p patternPart) parse(s string, fixed bool, m *moment) (string, error) {
	switch p.letter {
	case 'M', 'L':
		if p.count >= 3 {
			return p.parseName(s, 12, func(i int) string { return time.Month(i + 1).String() }, func(i int) { m.month = i + 1 })
		}
	case 'E', 'e':
		return p.parseName(s, 7, func(i int) string { return time.Weekday(i).String() }, func(int) {})
	case 'a':
		if len(s) < 2 || !strings.EqualFold(s[:2], "am") && !strings.EqualFold(s[:2], "pm") {
			return "", errPattern
		}
		m.half = 1 + boolInt(strings.EqualFold(s[:2], "pm"))
		return s[2:], nil
	case 'X', 'x', 'Z', 'z', 'V', 'v':
		return parseZone(s, m)
	}
	width := 19
	if fixed || p.letter == 'S' {
		width = p.count
	}
	n := 0
	for n < len(s) && n < width && s[n] >= '0' && s[n] <= '9' {
		n++
	}
	if n == 0 || n < p.count && p.count != 1 {
		return "", errPattern
	}
	v, err := strconv.Atoi(s[:n])
	if err != nil {
		return "", errPattern
	}
	p.set(m, v, n)
	return s[n:], nil
}

// set stores a number of n digits.
func (p patternPart) set(m *moment, v, n int) {
	switch p.letter {
	case 'y', 'u':
		if p.count == 2 && n == 2 {
			v += 2000
		}
		m.year = v
	case 'M', 'L':
		m.month = v
	case 'd':
		m.day = v
	case 'D':
		m.yearDay = v
	case 'H':
		m.hour = v
	case 'k', 'h', 'K':
		m.hour = v % 24
	case 'm':
		m.minute = v
	case 's':
		m.second = v
	case 'n':
		m.nano = v
	case 'S':
		for range 9 - n {
			v *= 10
		}
		m.nano = v
	}
}

func (p patternPart) parseName(s string, n int, name func(int) string, found func(int)) (string, error) {
	for i := range n {
		full := name(i)
		if p.count == 3 {
			full = full[:3]
		}
		if len(s) >= len(full) && strings.EqualFold(s[:len(full)], full) {
			found(i)
			return s[len(full):], nil
		}
	}
	return "", errPattern
}

// parseZone reads an offset (Z, +01, +0100, +01:00) or the name of a zone.
func parseZone(s string, m *moment) (string, error) {
	for _, layout := range [...]string{"Z07:00", "-0700", "-07"} {
		n := len(layout)
		if strings.HasPrefix(s, "Z") {
			n = 1
		}
		if n > len(s) {
			continue
		}
		if t, err := time.Parse(layout, s[:n]); err == nil {
			_, offset := t.Zone()
			m.zone = time.FixedZone("", offset)
			return s[n:], nil
		}
	}
	n := 0
	for n < len(s) && (s[n] == '/' || s[n] == '_' || s[n] == '-' || s[n] == '+' || s[n] >= '0' && s[n] <= '9' || s[n] >= 'A' && s[n] <= 'z') {
		n++
	}
	zone, err := loadZone(s[:n])
	if err != nil || n == 0 {
		return "", errPattern
	}
	m.zone = zone
	return s[n:], nil
}

// loadZone finds a time zone by its name or as an offset.
func loadZone(name string) (*time.Location, error) {
	if z, err := time.LoadLocation(name); err == nil && name != "Local" && name != "" {
		return z, nil
	}
	offset := strings.TrimPrefix(strings.TrimPrefix(name, "GMT"), "UTC")
	for _, layout := range [...]string{"-07:00", "-0700", "-07", "Z07:00"} {
		if t, err := time.Parse(layout, offset); err == nil {
			_, seconds := t.Zone()
			return time.FixedZone(name, seconds), nil
		}
	}
	return nil, fmt.Errorf("there is no time zone '%s'", name)
}
