package json

import (
	"math"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/tidemill/tidemill/connect"
)

const hexDigits = "0123456789ABCDEF"

// appendString appends s as a JSON string, escaping what Jackson escapes: quotes,
// backslashes, control characters, and what Java has two characters for. Bytes that
// are no UTF-8 become the replacement character. It is not connect.AppendJSON, whose
// text is for people: that escapes neither \b nor \f by name nor what Java has two
// characters for, and its hexadecimal digits are small, so the bytes would differ.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c >= 0x20 && c != '"' && c != '\\' && c < utf8.RuneSelf:
			i++
			continue
		case c >= utf8.RuneSelf:
			r, size := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && size == 1 {
				dst = append(append(dst, s[start:i]...), "\uFFFD"...)
				start = i + 1
			} else if size == 4 {
				dst = appendPair(append(dst, s[start:i]...), r)
				start = i + 4
			}
			i += size
			continue
		}
		dst = appendEscape(append(dst, s[start:i]...), c)
		i++
		start = i
	}
	return append(append(dst, s[start:]...), '"')
}

// appendPair escapes a character beyond the first 65536 as its two surrogates.
func appendPair(dst []byte, r rune) []byte {
	high, low := utf16.EncodeRune(r)
	for _, c := range [2]rune{high, low} {
		dst = append(dst, '\\', 'u', hexDigits[c>>12&15], hexDigits[c>>8&15], hexDigits[c>>4&15], hexDigits[c&15])
	}
	return dst
}

func appendEscape(dst []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\b':
		return append(dst, '\\', 'b')
	case '\f':
		return append(dst, '\\', 'f')
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	case '\t':
		return append(dst, '\\', 't')
	}
	return append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
}

// appendFloat appends f as Java prints it. NaN and the infinities are strings, as
// Jackson writes them.
func appendFloat(dst []byte, f float64, bits int) []byte {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return append(connect.AppendFloat(append(dst, '"'), f, bits), '"')
	}
	return connect.AppendFloat(dst, f, bits)
}

// appendDecimal appends d as Java's BigDecimal.toString does: plain, unless that
// needs an exponent (the scale is negative) or more than five zeros after the point.
func appendDecimal(dst []byte, d connect.Decimal) []byte {
	if d.Scale >= 0 && d.Scale <= 6 {
		return d.Append(dst)
	}
	digits := d.Int().Append(nil, 10)
	neg := digits[0] == '-'
	if neg {
		digits = digits[1:]
	}
	adjusted := len(digits) - 1 - d.Scale
	if d.Scale >= 0 && adjusted >= -6 {
		return d.Append(dst)
	}
	if neg {
		dst = append(dst, '-')
	}
	dst = append(dst, digits[0])
	if len(digits) > 1 {
		dst = append(append(dst, '.'), digits[1:]...)
	}
	if adjusted == 0 {
		return dst
	}
	dst = append(dst, 'E')
	if adjusted > 0 {
		dst = append(dst, '+')
	}
	return strconv.AppendInt(dst, int64(adjusted), 10)
}
