package postgres

import (
	"encoding/binary"
	"math"
	"strconv"
)

// Writers of the server's text forms from the binary ones, for what only exists as
// text in a value: bounds of ranges, and types whose value is their text.

func printBool(dst, b []byte) ([]byte, error) {
	if len(b) != 1 {
		return nil, badBinary("boolean", b)
	}
	if b[0] != 0 {
		return append(dst, 't'), nil
	}
	return append(dst, 'f'), nil
}

// printInt writes integers of two, four and eight bytes.
func printInt(dst, b []byte) ([]byte, error) {
	switch len(b) {
	case 2:
		return strconv.AppendInt(dst, int64(int16(binary.BigEndian.Uint16(b))), 10), nil
	case 4:
		return strconv.AppendInt(dst, int64(int32(binary.BigEndian.Uint32(b))), 10), nil
	case 8:
		return strconv.AppendInt(dst, int64(binary.BigEndian.Uint64(b)), 10), nil
	}
	return nil, badBinary("integer", b)
}

// printUint writes integers of four and eight bytes without a sign.
func printUint(dst, b []byte) ([]byte, error) {
	switch len(b) {
	case 4:
		return strconv.AppendUint(dst, uint64(binary.BigEndian.Uint32(b)), 10), nil
	case 8:
		return strconv.AppendUint(dst, binary.BigEndian.Uint64(b), 10), nil
	}
	return nil, badBinary("oid", b)
}

// printFloat writes the shortest digits that give the number back: plain for
// exponents from -4 to 14, or to 5 for four bytes.
func printFloat(dst, b []byte) ([]byte, error) {
	var f float64
	bits, most := 64, 15
	switch len(b) {
	case 4:
		f, bits, most = float64(math.Float32frombits(binary.BigEndian.Uint32(b))), 32, 6
	case 8:
		f = float8(b)
	default:
		return nil, badBinary("floating-point number", b)
	}
	switch {
	case f != f:
		return append(dst, "NaN"...), nil
	case math.IsInf(f, 1):
		return append(dst, "Infinity"...), nil
	case math.IsInf(f, -1):
		return append(dst, "-Infinity"...), nil
	}
	var buf [32]byte
	e := strconv.AppendFloat(buf[:0], f, 'e', -1, bits)
	exp := 0
	for i := len(e) - 1; i >= 0; i-- {
		if e[i] == 'e' {
			exp, _ = strconv.Atoi(view(e[i+1:]))
			break
		}
	}
	if exp >= -4 && exp < most {
		return strconv.AppendFloat(dst, f, 'f', -1, bits), nil
	}
	return append(dst, e...), nil
}

func printDate(dst, b []byte) ([]byte, error) {
	day, err := readDate(b)
	if err != nil {
		return nil, err
	}
	if day == infinityDays || day == minusInfinityDays {
		return append(dst, infinityText(day > 0).Str()...), nil
	}
	dst, bc := appendYear(dst, day)
	return appendEra(dst, bc), nil
}

// appendYear writes a date as the server does, and tells whether it is before Christ.
func appendYear(dst []byte, day int64) ([]byte, bool) {
	year, month, d := civilDate(day)
	bc := year <= 0
	if bc {
		year = 1 - year
	}
	dst = append(appendPadded(dst, year, 4), '-')
	dst = append(appendPadded(dst, month, 2), '-')
	return appendPadded(dst, d, 2), bc
}

func appendEra(dst []byte, bc bool) []byte {
	if bc {
		return append(dst, " BC"...)
	}
	return dst
}

func printTime(dst, b []byte) ([]byte, error) {
	if len(b) != 8 {
		return nil, badBinary("time", b)
	}
	clock := int64(binary.BigEndian.Uint64(b))
	if clock < 0 || clock > microsPerDay {
		return nil, badBinary("time", b)
	}
	return appendClock(dst, clock, -1), nil
}

// printTimestamp writes timestamps with the given zone, which is that of our sessions.
func printTimestamp(zone string) printFunc {
	return func(dst, b []byte) ([]byte, error) {
		if len(b) != 8 {
			return nil, badBinary("timestamp", b)
		}
		t := int64(binary.BigEndian.Uint64(b))
		if t == late || t == early {
			return append(dst, infinityText(t > 0).Str()...), nil
		}
		day := floorDiv(t, microsPerDay)
		dst, bc := appendYear(dst, day+epochDay)
		dst = appendClock(append(dst, ' '), t-day*microsPerDay, -1)
		return appendEra(append(dst, zone...), bc), nil
	}
}

func printUUID(dst, b []byte) ([]byte, error) {
	if len(b) != 16 {
		return nil, badBinary("uuid", b)
	}
	return appendUUID(dst, b), nil
}
