package postgres

// The proleptic Gregorian calendar, and the forms of dates and times of day: as the
// server writes them, and as ISO 8601 does.

// floorDiv divides towards minus infinity, so that times before 1970 keep their order.
func floorDiv(n, d int64) int64 {
	q := n / d
	if n%d < 0 {
		q--
	}
	return q
}

func cutBC(text []byte) ([]byte, bool) {
	if n := len(text) - 3; n > 0 && text[n] == ' ' && text[n+1] == 'B' && text[n+2] == 'C' {
		return text[:n], true
	}
	return text, false
}

// parseDate reads YYYY-MM-DD, the year with four or more digits, and returns the
// day since the epoch and what follows.
func parseDate(text []byte, bc bool) (int64, []byte, bool) {
	i := 0
	for i < len(text) && text[i] != '-' {
		i++
	}
	if i < 4 || len(text) < i+6 || text[i+3] != '-' {
		return 0, nil, false
	}
	year, ok := parseDigits(text[:i])
	month, okMonth := twoDigits(text[i+1:])
	day, okDay := twoDigits(text[i+4:])
	if !ok || !okMonth || !okDay || month < 1 || month > 12 || day < 1 || day > 31 || year > 10_000_000 {
		return 0, nil, false
	}
	if bc {
		year = 1 - year // The year 1 BC is the year 0 of ISO 8601.
	}
	return civilDay(year, month, day), text[i+6:], true
}

func twoDigits(text []byte) (int64, bool) {
	if len(text) < 2 {
		return 0, false
	}
	tens, ones := text[0]-'0', text[1]-'0'
	return int64(tens)*10 + int64(ones), tens <= 9 && ones <= 9
}

// parseClock reads HH:MM:SS[.ffffff] and returns microseconds and what follows.
func parseClock(text []byte) (int64, []byte, bool) {
	if len(text) < 8 || text[2] != ':' || text[5] != ':' {
		return 0, nil, false
	}
	h, ok1 := twoDigits(text)
	m, ok2 := twoDigits(text[3:])
	s, ok3 := twoDigits(text[6:])
	if !ok1 || !ok2 || !ok3 {
		return 0, nil, false
	}
	micros := h*microsPerHour + m*microsPerMinute + s*microsPerSecond
	rest := text[8:]
	if len(rest) > 0 && rest[0] == '.' {
		rest = rest[1:]
		for unit := int64(100_000); len(rest) > 0 && rest[0]-'0' <= 9; unit /= 10 {
			micros += int64(rest[0]-'0') * unit
			rest = rest[1:]
		}
	}
	return micros, rest, true
}

// parseZone reads ±HH[:MM[:SS]] to its end and returns microseconds east of UTC.
func parseZone(text []byte) (int64, bool) {
	if len(text) == 0 {
		return 0, true
	}
	sign := int64(1)
	switch text[0] {
	case '-':
		sign = -1
	case '+':
	default:
		return 0, false
	}
	text = text[1:]
	var offset int64
	for _, unit := range []int64{microsPerHour, microsPerMinute, microsPerSecond} {
		n, ok := twoDigits(text)
		if !ok {
			return 0, false
		}
		offset += n * unit
		if text = text[2:]; len(text) == 0 {
			return sign * offset, true
		}
		if text[0] != ':' {
			return 0, false
		}
		text = text[1:]
	}
	return 0, false
}

// civilDay returns the day since 1970-01-01 of a date in the proleptic Gregorian
// calendar: days are counted in eras of 400 years that begin on the first of March.
func civilDay(year, month, day int64) int64 {
	if month <= 2 {
		year--
		month += 12
	}
	era := floorDiv(year, 400)
	yearOfEra := year - era*400
	dayOfYear := (153*(month-3)+2)/5 + day - 1
	return era*146097 + yearOfEra*365 + yearOfEra/4 - yearOfEra/100 + dayOfYear - 719468
}

// civilDate is the inverse of civilDay.
func civilDate(n int64) (year, month, day int64) {
	n += 719468
	era := floorDiv(n, 146097)
	dayOfEra := n - era*146097
	yearOfEra := (dayOfEra - dayOfEra/1460 + dayOfEra/36524 - dayOfEra/146096) / 365
	dayOfYear := dayOfEra - (365*yearOfEra + yearOfEra/4 - yearOfEra/100)
	part := (5*dayOfYear + 2) / 153
	day = dayOfYear - (153*part+2)/5 + 1
	month = part + 3
	year = yearOfEra + era*400
	if month > 12 {
		month -= 12
		year++
	}
	return year, month, day
}

// appendDate writes YYYY-MM-DD as ISO 8601 has it: years above 9999 with a plus,
// the year 1 BC as 0000.
func appendDate(dst []byte, n int64) []byte {
	year, month, day := civilDate(n)
	switch {
	case year < 0:
		dst, year = append(dst, '-'), -year
	case year > 9999:
		dst = append(dst, '+')
	}
	dst = append(appendPadded(dst, year, 4), '-')
	dst = append(appendPadded(dst, month, 2), '-')
	return appendPadded(dst, day, 2)
}

// appendClock writes HH:MM:SS and the given digits of the fraction; -1: as few as
// needed.
func appendClock(dst []byte, micros int64, digits int) []byte {
	dst = append(appendPadded(dst, micros/microsPerHour, 2), ':')
	dst = append(appendPadded(dst, micros/microsPerMinute%60, 2), ':')
	dst = appendPadded(dst, micros/microsPerSecond%60, 2)
	fraction := micros % microsPerSecond
	if digits < 0 {
		if fraction == 0 {
			return dst
		}
		for digits = 6; fraction%10 == 0; digits-- {
			fraction /= 10
		}
	} else {
		for i := digits; i < 6; i++ {
			fraction /= 10
		}
	}
	return appendPadded(append(dst, '.'), fraction, digits)
}

// appendPadded writes n with at least width digits.
func appendPadded(dst []byte, n int64, width int) []byte {
	var buf [20]byte
	i := len(buf)
	for n > 0 || width > 0 {
		i--
		buf[i] = byte('0' + n%10)
		n /= 10
		width--
	}
	return append(dst, buf[i:]...)
}
