package raw

import (
	"bytes"
	"encoding/base64"
	"math"
	"strconv"
	"time"

	"github.com/tidemill/tidemill/connect"
)

// The layouts of dates and times in text: ISO 8601 in UTC, to the millisecond.
const (
	dateLayout      = "2006-01-02"
	timeLayout      = "15:04:05.000Z"
	timestampLayout = "2006-01-02T15:04:05.000Z"
)

func elemOf(s *connect.Schema) *connect.Schema {
	if s == nil {
		return nil
	}
	return s.Elem()
}

func keyOf(s *connect.Schema) *connect.Schema {
	if s == nil {
		return nil
	}
	return s.Key()
}

// appendScalar appends a value that is neither a string nor made of others: numbers
// as Java prints them, decimals in full, bytes as base64, dates and times in ISO
// 8601.
func appendScalar(dst []byte, s *connect.Schema, v connect.Value) []byte {
	switch v.Kind() {
	case connect.KindNull:
		return append(dst, "null"...)
	case connect.KindBool:
		return strconv.AppendBool(dst, v.Bool())
	case connect.KindFloat32:
		return appendFloat(dst, v.Float(), 32)
	case connect.KindFloat64:
		return appendFloat(dst, v.Float(), 64)
	case connect.KindBytes:
		if scale, ok := s.DecimalScale(); ok {
			return connect.Decimal{Unscaled: v.Bytes(), Scale: scale}.Append(dst)
		}
		return base64.StdEncoding.AppendEncode(dst, v.Bytes())
	}
	if s != nil {
		switch s.Name() {
		case connect.LogicalDate:
			return time.Unix(v.Int()*86400, 0).UTC().AppendFormat(dst, dateLayout)
		case connect.LogicalTime:
			return time.UnixMilli(v.Int()).UTC().AppendFormat(dst, timeLayout)
		case connect.LogicalTimestamp:
			return time.UnixMilli(v.Int()).UTC().AppendFormat(dst, timestampLayout)
		}
	}
	return strconv.AppendInt(dst, v.Int(), 10)
}

// appendFloat appends f with the fewest digits that give it back at the given width
// (32 or 64 bits), in the form of Java's Double.toString: plain from 10^-3 to 10^7,
// "1.0E10" beyond.
func appendFloat(dst []byte, f float64, bits int) []byte {
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
	mantissa, exponent, _ := bytes.Cut(strconv.AppendFloat(buf[:0], f, 'e', -1, bits), []byte{'e'})
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
