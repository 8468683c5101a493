package javatime

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// moment gathers what a text says of a time.
type moment struct {
	lenient                    bool
	year, month, day, yearDay  int
	hour, minute, second, nano int
	milli                      int
	clock                      field // The letter that gave the hour.
	half                       int   // 0 unknown, 1 before noon, 2 after.
	beforeChrist               bool
	zone                       *time.Location
}

var (
	errText  = errors.New("the text does not fit the date pattern")
	errRange = errors.New("the text fits the date pattern, but there is no such time")
)

// Parse reads a text. What it does not say is as at the start of 1970, in zone; a
// text that names a zone or an offset gives a time in that one.
func (p *Pattern) Parse(text string, zone *time.Location) (time.Time, error) {
	m := moment{lenient: p.dialect == SimpleDateFormat, year: 1970, month: 1, day: 1, zone: zone}
	rest := text
	for i := range p.parts {
		part, after, ok := &p.parts[i], "", false
		switch {
		case part.field == literal:
			after, ok = strings.CutPrefix(rest, part.text)
		case m.lenient:
			after, ok = m.read(part, strings.TrimLeft(rest, " \t"))
		default:
			after, ok = m.read(part, rest)
		}
		if !ok {
			return time.Time{}, fmt.Errorf("%w at %q", errText, rest)
		}
		rest = after
	}
	if rest != "" && !m.lenient {
		return time.Time{}, fmt.Errorf("%w at %q", errText, rest)
	}
	if !m.lenient && !m.exists() {
		return time.Time{}, errRange
	}
	return m.time(), nil
}

// read reads one part and returns what is left.
func (m *moment) read(p *part, s string) (string, bool) {
	switch p.field {
	case era:
		before, after, ok := oneOfTwo(s, "AD", "BC")
		m.beforeChrist = before
		return after, ok
	case half:
		afternoon, after, ok := oneOfTwo(s, "AM", "PM")
		m.half = 1
		if afternoon {
			m.half = 2
		}
		return after, ok
	case monthName:
		i, after, ok := m.name(p, s, 12, func(i int) string { return time.Month(i + 1).String() })
		m.month = i + 1
		return after, ok
	case dayName:
		_, after, ok := m.name(p, s, 7, func(i int) string { return time.Weekday(i).String() })
		return after, ok
	case zoneName, zoneID, offset, shortOffset, gmtOffset:
		zone, after, ok := readZone(s)
		m.zone = zone
		return after, ok
	}
	return m.number(p, s)
}

// oneOfTwo reads one of two texts of two letters and tells whether it was the second.
func oneOfTwo(s, first, second string) (isSecond bool, after string, ok bool) {
	if len(s) < 2 {
		return false, s, false
	}
	isSecond = strings.EqualFold(s[:2], second)
	return isSecond, s[2:], isSecond || strings.EqualFold(s[:2], first)
}

// name reads one of n names. First letters are not unique, so they cannot be read.
func (m *moment) name(p *part, s string, n int, name func(int) string) (int, string, bool) {
	for i := range n {
		full := name(i)
		if (m.lenient || p.count == wholeName) && hasPrefixFold(s, full) {
			return i, s[len(full):], true
		}
		if (m.lenient || p.count < wholeName) && hasPrefixFold(s, full[:3]) {
			return i, s[3:], true
		}
	}
	return 0, s, false
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

// number reads digits; years of DateTimeFormatter may have a sign, and with it more
// digits than letters.
func (m *moment) number(p *part, s string) (string, bool) {
	most, sign := p.most, 1
	if !m.lenient && (p.field == year || p.field == yearOfEra) && p.count != 2 && s != "" && (s[0] == '+' || s[0] == '-') {
		if s[0] == '-' {
			sign = -1
		}
		s, most = s[1:], max(p.most, maxYearDigits)
	}
	n := 0
	for n < len(s) && n < most && s[n] >= '0' && s[n] <= '9' {
		n++
	}
	v, err := strconv.Atoi(s[:n])
	if err != nil || n < p.least {
		return s, false
	}
	return s[n:], m.set(p, sign*v, n)
}

// set stores a number of n digits and tells whether there is such a one.
func (m *moment) set(p *part, v, n int) bool {
	switch p.field {
	case year, yearOfEra:
		m.year = m.fullYear(p, v, n)
		return p.field == year || m.lenient || v > 0
	case month:
		m.month = v
	case day:
		m.day = v
	case yearDay:
		m.yearDay = v
		return m.lenient || v > 0
	case hour24, clock24, hour12, clock12:
		return m.setHour(p.field, v)
	case minute:
		m.minute = v
	case second:
		m.second = v
	case milli:
		m.milli = v
	case nano:
		m.nano = v
	case fraction:
		m.nano = v * power10(9-n)
	}
	return true
}

// fullYear adds the century to a year of two digits.
func (m *moment) fullYear(p *part, v, n int) int {
	switch {
	case n != 2 || p.count > 2 || !m.lenient && p.count == 1:
		return v
	case m.lenient && v+2000 > time.Now().Year()+20:
		return v + 1900
	}
	return v + 2000
}

// setHour stores an hour as one counted from 0.
func (m *moment) setHour(clock field, v int) bool {
	m.clock, m.hour = clock, v
	least, most := 0, 23
	switch clock {
	case clock24:
		least, most = 1, 24
	case hour12:
		most = 11
	case clock12:
		least, most = 1, 12
	}
	if v == most && least == 1 {
		m.hour = 0
	}
	return m.lenient || v >= least && v <= most
}

// exists tells whether there is such a time in the calendar. The clock's jumps in
// its time zone do not count: they move a time, they do not forbid it.
func (m *moment) exists() bool {
	if m.half > 0 && (m.clock == hour24 || m.clock == clock24) && m.hour/12 != m.half-1 {
		return false
	}
	if m.minute > 59 || m.second > 59 || m.nano >= 1e9 {
		return false
	}
	d := m.date(time.UTC)
	if m.yearDay > 0 {
		return d.YearDay() == m.yearDay
	}
	return d.Day() == m.day && int(d.Month()) == m.month
}

// date returns the start of the day.
func (m *moment) date(zone *time.Location) time.Time {
	y, month, day := m.calendar()
	return time.Date(y, month, day, 0, 0, 0, 0, zone)
}

func (m *moment) calendar() (int, time.Month, int) {
	y, month, day := m.year, m.month, m.day
	if m.beforeChrist {
		y = 1 - y
	}
	if m.yearDay > 0 {
		month, day = 1, m.yearDay
	}
	return y, time.Month(month), day
}

func (m *moment) time() time.Time {
	y, month, day := m.calendar()
	hour := m.hour
	if m.half == 2 && (m.clock == hour12 || m.clock == clock12) {
		hour += 12
	}
	return time.Date(y, month, day, hour, m.minute, m.second+m.milli/1000, m.nano+m.milli%1000*1e6, m.zone)
}
