package javatime

import (
	"strconv"
	"time"
)

// AppendFormat appends t as the pattern says, in t's own time zone.
func (p *Pattern) AppendFormat(dst []byte, t time.Time) []byte {
	for i := range p.parts {
		part := &p.parts[i]
		switch {
		case part.field == literal:
			dst = append(dst, part.text...)
		case part.field == year || part.field == yearOfEra:
			dst = p.appendYear(dst, part, t.Year())
		case part.field.number() && part.field != fraction:
			dst = appendPadded(dst, part.field.of(t), part.count)
		default:
			dst = part.append(dst, t)
		}
	}
	return dst
}

// appendYear appends a year. DateTimeFormatter marks one that is longer than its
// letters with a plus, so that it can be read again.
func (p *Pattern) appendYear(dst []byte, part *part, y int) []byte {
	if part.field == yearOfEra {
		y = ofEra(y)
	}
	if part.count == 2 {
		return appendPadded(dst, max(y, -y)%100, 2)
	}
	start := len(dst)
	dst = appendPadded(dst, y, part.count)
	if p.dialect == DateTimeFormatter && part.count >= 4 && y > 0 && len(dst)-start > part.count {
		dst = append(dst[:start], '+')
		dst = strconv.AppendInt(dst, int64(y), 10)
	}
	return dst
}

// ofEra turns a year that counts through zero into one of its era, and back when it
// is before year 1.
func ofEra(y int) int {
	if y <= 0 {
		return 1 - y
	}
	return y
}

// append appends what is no number.
func (p *part) append(dst []byte, t time.Time) []byte {
	switch p.field {
	case era:
		if t.Year() <= 0 {
			return append(dst, "BC"...)
		}
		return append(dst, "AD"...)
	case monthName:
		return append(dst, p.styled(t.Month().String())...)
	case dayName:
		return append(dst, p.styled(t.Weekday().String())...)
	case half:
		if t.Hour() >= 12 {
			return append(dst, "PM"...)
		}
		return append(dst, "AM"...)
	case fraction:
		return appendPadded(dst, t.Nanosecond()/power10(9-p.count), p.count)
	case zoneName:
		return t.AppendFormat(dst, "MST")
	}
	return p.appendOffset(dst, t)
}

// The letters of a name that ask for the whole of it, and for its first letter.
const (
	wholeName  = 4
	narrowName = 5
)

// styled returns a name as the letters say: short, whole or its first letter.
func (p *part) styled(name string) string {
	switch p.count {
	case wholeName:
		return name
	case narrowName:
		return name[:1]
	}
	return name[:3]
}

func (p *part) appendOffset(dst []byte, t time.Time) []byte {
	layout := p.text
	_, seconds := t.Zone()
	switch p.field {
	case zoneID:
		if name := t.Location().String(); name != "" {
			return append(dst, name...)
		}
		layout = "Z07:00"
	case shortOffset:
		if seconds%3600 != 0 {
			layout += "00"
		}
	case gmtOffset:
		dst, layout = append(dst, "GMT"...), "-07:00"
		if seconds == 0 {
			return dst
		}
	}
	return t.AppendFormat(dst, layout)
}

// of returns the number that a field is of t.
func (f field) of(t time.Time) int {
	switch f {
	case month:
		return int(t.Month())
	case day:
		return t.Day()
	case yearDay:
		return t.YearDay()
	case quarter:
		return (int(t.Month()) + 2) / 3
	case isoWeekday:
		return (int(t.Weekday())+6)%7 + 1
	case weekday:
		return int(t.Weekday()) + 1
	case hour24:
		return t.Hour()
	case clock24:
		return (t.Hour()+23)%24 + 1
	case hour12:
		return t.Hour() % 12
	case clock12:
		return (t.Hour()+11)%12 + 1
	case minute:
		return t.Minute()
	case second:
		return t.Second()
	case milli:
		return t.Nanosecond() / 1e6
	}
	return t.Nanosecond()
}

// appendPadded appends n with at least width digits.
func appendPadded(dst []byte, n, width int) []byte {
	if n < 0 {
		dst, n = append(dst, '-'), -n
	}
	digits := 1
	for rest := n / 10; rest > 0; rest /= 10 {
		digits++
	}
	for range width - digits {
		dst = append(dst, '0')
	}
	return strconv.AppendInt(dst, int64(n), 10)
}

// power10 is 10 to the n.
func power10(n int) int {
	p := 1
	for range n {
		p *= 10
	}
	return p
}
