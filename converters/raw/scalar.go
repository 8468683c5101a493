package raw

import (
	"encoding/base64"
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
		return connect.AppendFloat(dst, v.Float(), 32)
	case connect.KindFloat64:
		return connect.AppendFloat(dst, v.Float(), 64)
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
