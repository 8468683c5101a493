package pgwire

import (
	"encoding/hex"
	"math"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams/sql"
	"github.com/tidemill/tidemill/streams/sql/functions"
)

// oid is a type's number in PostgreSQL's catalogue.
type oid = uint32

const (
	oidBool        oid = 16
	oidBytea       oid = 17
	oidInt8        oid = 20
	oidInt4        oid = 23
	oidText        oid = 25
	oidJSON        oid = 114
	oidFloat8      oid = 701
	oidDate        oid = 1082
	oidTime        oid = 1083
	oidTimestamptz oid = 1184
	oidNumeric     oid = 1700
)

// oidOf returns PostgreSQL's type for one of the engine's, and its size in bytes, -1 where it
// varies. A TIMESTAMP is a moment; arrays, maps and structs come as JSON.
func oidOf(t functions.Type) (of oid, size int16) {
	switch t.Kind {
	case functions.Boolean:
		return oidBool, 1
	case functions.Int:
		return oidInt4, 4
	case functions.Bigint:
		return oidInt8, 8
	case functions.Double:
		return oidFloat8, 8
	case functions.Decimal:
		return oidNumeric, -1
	case functions.Bytes:
		return oidBytea, -1
	case functions.Date:
		return oidDate, 4
	case functions.Time:
		return oidTime, 8
	case functions.Timestamp:
		return oidTimestamptz, 8
	case functions.Array, functions.Map, functions.Struct:
		return oidJSON, -1
	}
	return oidText, -1
}

// describe returns what the client is told of a column.
func describe(c sql.Column) pgproto3.FieldDescription {
	t := c.DataType()
	f := pgproto3.FieldDescription{Name: []byte(c.Name), TypeModifier: -1}
	f.DataTypeOID, f.DataTypeSize = oidOf(t)
	if t.Kind == functions.Decimal {
		f.TypeModifier = int32(t.Precision<<16|t.Scale) + 4
	}
	return f
}

// appendText appends a value that is not null as PostgreSQL writes it.
func appendText(b []byte, c sql.Column, v connect.Value) []byte {
	switch t := c.DataType(); t.Kind {
	case functions.Boolean:
		if v.Bool() {
			return append(b, 't')
		}
		return append(b, 'f')
	case functions.Double:
		return appendDouble(b, v.Float())
	case functions.Bytes:
		return hex.AppendEncode(append(b, `\x`...), v.Bytes())
	case functions.Date:
		return appendDate(b, time.Unix(v.Int()*24*3600, 0).UTC())
	case functions.Time:
		return time.UnixMilli(v.Int()).UTC().AppendFormat(b, "15:04:05.999")
	case functions.Timestamp:
		at := time.UnixMilli(v.Int()).UTC()
		if at.Year() < 1 {
			return append(time.Date(1-at.Year(), at.Month(), at.Day(), at.Hour(), at.Minute(), at.Second(), at.Nanosecond(), time.UTC).AppendFormat(b, "2006-01-02 15:04:05.999+00"), " BC"...)
		}
		return at.AppendFormat(b, "2006-01-02 15:04:05.999+00")
	case functions.Array, functions.Map, functions.Struct:
		return c.AppendJSON(b, v)
	default:
		return functions.AppendText(b, t, v)
	}
}

func appendDate(b []byte, at time.Time) []byte {
	if at.Year() < 1 {
		return append(time.Date(1-at.Year(), at.Month(), at.Day(), 0, 0, 0, 0, time.UTC).AppendFormat(b, "2006-01-02"), " BC"...)
	}
	return at.AppendFormat(b, "2006-01-02")
}

func appendDouble(b []byte, f float64) []byte {
	switch {
	case math.IsInf(f, 1):
		return append(b, "Infinity"...)
	case math.IsInf(f, -1):
		return append(b, "-Infinity"...)
	}
	return strconv.AppendFloat(b, f, 'g', -1, 64)
}
