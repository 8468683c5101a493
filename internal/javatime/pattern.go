package javatime

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// Dialect is a language of patterns.
type Dialect byte

// The dialects, by the Java classes that understand them.
const (
	SimpleDateFormat Dialect = iota
	DateTimeFormatter
)

// Pattern is a compiled date pattern.
type Pattern struct {
	dialect Dialect
	parts   []part
}

// part is a literal text or one part of a time.
type part struct {
	field field
	// text is a literal, or the layout of an offset in package time's language.
	text string
	// count is how often the letter stands there.
	count int
	// least and most say how many digits of a number are read.
	least, most int
}

// field is what a letter stands for.
type field byte

const (
	literal field = iota
	era
	year      // Zero and negative before year 1.
	yearOfEra // Never below 1.
	month
	day
	yearDay
	quarter
	isoWeekday // 1 is Monday.
	weekday    // 1 is Sunday.
	hour24     // 0 to 23.
	clock24    // 1 to 24.
	hour12     // 0 to 11.
	clock12    // 1 to 12.
	minute
	second
	milli
	nano
	lastNumber // The fields above, but for the first two, are numbers.

	fraction
	monthName
	dayName
	half // Before or after noon.
	zoneName
	zoneID
	offset
	shortOffset // Has minutes only when there are any.
	gmtOffset   // Is GMT and, when there is one, the offset.
)

// number tells whether a field is read digit by digit.
func (f field) number() bool { return f > era && f < lastNumber || f == fraction }

// Compile takes a pattern apart. The error says which letter is not known, is
// repeated too often, or which quote is not closed.
func Compile(d Dialect, pattern string) (*Pattern, error) {
	p := &Pattern{dialect: d}
	for i := 0; i < len(pattern); {
		c := pattern[i]
		switch {
		case c == '\'':
			text, n, err := quoted(pattern[i:])
			if err != nil {
				return nil, fmt.Errorf("%w: %q", err, pattern)
			}
			p.addText(text)
			i += n
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z':
			n := 1
			for i+n < len(pattern) && pattern[i+n] == c {
				n++
			}
			next, ok := d.part(c, n)
			if !ok {
				return nil, fmt.Errorf("%q in the date pattern %q is not supported", pattern[i:i+n], pattern)
			}
			p.parts = append(p.parts, next)
			i += n
		case d == DateTimeFormatter && (c == '[' || c == ']'):
			i++
		case d == DateTimeFormatter && (c == '{' || c == '}' || c == '#'):
			return nil, fmt.Errorf("%q in the date pattern %q is reserved: put it in quotes", c, pattern)
		default:
			_, n := utf8.DecodeRuneInString(pattern[i:])
			p.addText(pattern[i : i+n])
			i += n
		}
	}
	p.setWidths()
	return p, nil
}

// addText adds a literal to the one before it, if there is one.
func (p *Pattern) addText(text string) {
	if n := len(p.parts); n > 0 && p.parts[n-1].field == literal {
		p.parts[n-1].text += text
		return
	}
	p.parts = append(p.parts, part{text: text})
}

// quoted reads a text in quotes and returns its length with them; two quotes are one.
func quoted(rest string) (string, int, error) {
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

// setWidths works out how many digits of each number are read. Directly before
// another number it is just as many as there are letters.
func (p *Pattern) setWidths() {
	for i := range p.parts {
		part := &p.parts[i]
		part.least, part.most = 1, maxDigits
		if p.dialect == DateTimeFormatter {
			part.least, part.most = part.widths()
		}
		if i+1 < len(p.parts) && p.parts[i+1].field.number() {
			part.most = part.count
		}
	}
}

// maxDigits is how many digits surely fit an int.
const maxDigits = 18

// widths returns the digits that DateTimeFormatter wants of a number.
func (p *part) widths() (least, most int) {
	switch {
	case p.field == year || p.field == yearOfEra:
		if p.count < 4 && p.count != 2 {
			return p.count, maxYearDigits
		}
	case p.field == nano:
		return p.count, maxDigits
	case p.field == yearDay:
		return p.count, 3
	case p.count == 1 && p.field != fraction:
		return 1, maxDigits
	}
	return p.count, p.count
}

// maxYearDigits are the digits of Java's last year.
const maxYearDigits = 9

// part returns what count times a letter are in the dialect, or false when they are
// nothing in it.
func (d Dialect) part(letter byte, count int) (part, bool) {
	p := part{count: count}
	var limit int
	if d == SimpleDateFormat {
		p.field, limit = simpleField(letter)
	} else {
		p.field, limit = formatterField(letter)
	}
	if p.field == literal || count > limit || letter == 'V' && count != 2 || letter == 'v' && count != 1 && count != 4 {
		return p, false
	}
	switch {
	case p.field == month && count >= 3:
		p.field = monthName
	case p.field == weekday && count >= 3:
		p.field = dayName
	case p.field == offset:
		d.setLayout(&p, letter)
	}
	if d == SimpleDateFormat && (p.field == monthName || p.field == dayName) {
		p.count = min(p.count, wholeName)
	}
	return p, true
}

// setLayout sets how an offset is written.
func (d Dialect) setLayout(p *part, letter byte) {
	switch {
	case letter == 'Z' && (d == SimpleDateFormat || p.count < 4):
		p.text = "-0700"
	case letter == 'Z' && p.count == 4:
		p.field = gmtOffset
	case p.count == 1:
		p.text = "Z07"
		if d == DateTimeFormatter {
			p.field = shortOffset
		}
	case p.count%2 == 0:
		p.text = "Z0700"
	default:
		p.text = "Z07:00"
	}
	if letter == 'x' {
		p.text = "-" + p.text[1:]
	}
}

// simpleField returns what a letter is to SimpleDateFormat, and how often it may
// stand there.
func simpleField(letter byte) (field, int) {
	switch letter {
	case 'y':
		return yearOfEra, math.MaxInt
	case 'u':
		return isoWeekday, math.MaxInt
	case 'S':
		return milli, math.MaxInt
	case 'X':
		return offset, 3
	}
	return sharedField(letter), math.MaxInt
}

// formatterField returns what a letter is to DateTimeFormatter, and how often it may
// stand there.
func formatterField(letter byte) (field, int) {
	switch letter {
	case 'u':
		return year, maxDigits
	case 'y':
		return yearOfEra, maxDigits
	case 'S':
		return fraction, 9
	case 'n':
		return nano, maxDigits
	case 'Q', 'q':
		return quarter, 2
	case 'e':
		return weekday, 5
	case 'x':
		return offset, 5
	case 'V':
		return zoneID, 2
	case 'v', 'z':
		return zoneName, 4
	case 'M', 'L', 'E', 'X', 'Z':
		return sharedField(letter), 5
	case 'G', 'D':
		return sharedField(letter), 3
	case 'a':
		return half, 1
	}
	return sharedField(letter), 2
}

// sharedField returns what a letter is in both dialects.
func sharedField(letter byte) field {
	switch letter {
	case 'G':
		return era
	case 'M', 'L':
		return month
	case 'd':
		return day
	case 'D':
		return yearDay
	case 'E':
		return dayName
	case 'a':
		return half
	case 'H':
		return hour24
	case 'k':
		return clock24
	case 'K':
		return hour12
	case 'h':
		return clock12
	case 'm':
		return minute
	case 's':
		return second
	case 'z':
		return zoneName
	case 'Z', 'X':
		return offset
	}
	return literal
}

// Date tells whether the pattern names parts of a date, and whether it names a whole one, that a
// day follows from.
func (p *Pattern) Date() (some, whole bool) {
	var years, months, days, yearDays bool
	for _, part := range p.parts {
		switch part.field {
		case year, yearOfEra:
			years = true
		case month, monthName:
			months = true
		case day:
			days = true
		case yearDay:
			yearDays = true
		case era, quarter, isoWeekday, weekday, dayName:
			some = true
		}
	}
	return some || years || months || days || yearDays, years && (yearDays || months && days)
}

// Clock tells whether the pattern names parts of a time of day.
func (p *Pattern) Clock() bool {
	return slices.ContainsFunc(p.parts, func(part part) bool {
		return part.field >= hour24 && part.field < lastNumber || part.field == fraction || part.field == half
	})
}

// Zone tells whether the pattern names a time zone or an offset.
func (p *Pattern) Zone() bool {
	return slices.ContainsFunc(p.parts, func(part part) bool { return part.field >= zoneName })
}
