package connect

import (
	"bytes"
	"math"
	"strconv"
)

// AppendFloat appends f with the fewest digits that give it back at the given width
// (32 or 64 bits), in the form of Java's Double.toString, which Kafka Connect's
// formats are made of: plain from 10^-3 to 10^7, "1.0E10" beyond; NaN, Infinity and
// -Infinity.
func AppendFloat(dst []byte, f float64, bits int) []byte {
	switch {
	case math.IsNaN(f):
		return append(dst, "NaN"...)
	case math.IsInf(f, 1):
		return append(dst, "Infinity"...)
	case math.IsInf(f, -1):
		return append(dst, "-Infinity"...)
	}
	if abs := math.Abs(f); abs == 0 || abs >= 1e-3 && abs < 1e7 {
		start := len(dst)
		dst = strconv.AppendFloat(dst, f, 'f', -1, bits)
		if bytes.IndexByte(dst[start:], '.') < 0 {
			dst = append(dst, ".0"...)
		}
		return dst
	}
	var buf [32]byte
	text := strconv.AppendFloat(buf[:0], f, 'e', -1, bits)
	mantissa, exponent, _ := bytes.Cut(text, []byte{'e'})
	if len(bytes.TrimPrefix(mantissa, []byte{'-'})) == 1 {
		// Java never thinks of fewer than two digits, and takes the nearest that give
		// f back: 4.9E-324.
		two := strconv.FormatFloat(f, 'e', 1, bits)
		if back, err := strconv.ParseFloat(two, bits); err == nil && back == f {
			mantissa, exponent, _ = bytes.Cut(append(buf[:0], two...), []byte{'e'})
		}
	}
	dst = append(dst, mantissa...)
	if bytes.IndexByte(mantissa, '.') < 0 {
		dst = append(dst, ".0"...)
	}
	dst = append(dst, 'E')
	if exponent[0] == '-' {
		dst = append(dst, '-')
	}
	return append(dst, bytes.TrimLeft(exponent[1:], "0")...)
}
