package pgwire

import (
	"encoding/hex"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/tidemill/tidemill/streams/sql"
	"github.com/tidemill/tidemill/streams/sql/functions"
)

// argument reads the value of a parameter in one of PostgreSQL's two forms.
func (s *session) argument(of oid, format int16, raw []byte) (a sql.Argument, err error) {
	if raw == nil {
		return sql.Argument{Null: true}, nil
	}
	kind, known := kindOf(of)
	if !known && format == pgproto3.TextFormat || kind == functions.String {
		return sql.Argument{Kind: functions.String, Text: string(raw)}, nil
	}
	typ, there := s.types.TypeForOID(of)
	if !known || !there {
		return a, refuse(stateUnsupported, fmt.Sprintf("the type with the number %d is not known here in its binary form", of), "send the value as text")
	}
	v, err := typ.Codec.DecodeValue(s.types, of, format, raw)
	if err == nil {
		a.Kind = kind
		a.Text, err = literalOf(kind, v)
	}
	if err != nil {
		return a, refuse("22P02", "an argument is no "+typ.Name+": "+err.Error(), "")
	}
	return a, nil
}

// kindOf returns the engine's type for a parameter of PostgreSQL's. false says that it has none;
// as text it is then taken as it is.
func kindOf(of oid) (kind functions.Kind, known bool) {
	switch of {
	case oidBool:
		return functions.Boolean, true
	case pgtype.Int2OID, oidInt4:
		return functions.Int, true
	case oidInt8:
		return functions.Bigint, true
	case pgtype.Float4OID, oidFloat8:
		return functions.Double, true
	case oidNumeric:
		return functions.Decimal, true
	case oidBytea:
		return functions.Bytes, true
	case oidDate:
		return functions.Date, true
	case oidTime:
		return functions.Time, true
	case oidTimestamptz, pgtype.TimestampOID:
		return functions.Timestamp, true
	case oidText, pgtype.VarcharOID, pgtype.BPCharOID, pgtype.NameOID, pgtype.UnknownOID, oidJSON:
		return functions.String, true
	}
	return functions.Null, false
}

// literalOf writes a decoded value as a literal of its kind.
func literalOf(kind functions.Kind, v any) (string, error) {
	switch v := v.(type) {
	case bool:
		return strconv.FormatBool(v), nil
	case int16, int32, int64:
		return fmt.Sprint(v), nil
	case float32:
		return literalOf(kind, float64(v))
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return "", fmt.Errorf("%v cannot be written as a number", v)
		}
		return strconv.FormatFloat(v, 'e', -1, 64), nil
	case []byte:
		return hex.EncodeToString(v), nil
	case time.Time:
		if kind == functions.Date {
			return v.Format(time.DateOnly), nil
		}
		return v.UTC().Format("2006-01-02T15:04:05.000"), nil
	case pgtype.Time:
		return time.UnixMicro(v.Microseconds).UTC().Format("15:04:05.000"), nil
	case pgtype.Numeric:
		text, err := v.Value()
		number, ok := text.(string)
		if err != nil || !ok || v.NaN || v.InfinityModifier != pgtype.Finite {
			return "", fmt.Errorf("%v cannot be written as a number", text)
		}
		if strings.ContainsAny(number, "eE") {
			return "", fmt.Errorf("%s is written with an exponent", number)
		}
		return number, nil
	}
	return "", fmt.Errorf("%v cannot be written as a value", v)
}

// binary turns a value's text into PostgreSQL's binary form.
func (s *session) binary(b []byte, of oid, text []byte) ([]byte, error) {
	if of == oidText || of == oidJSON {
		return append(b, text...), nil
	}
	typ, there := s.types.TypeForOID(of)
	if !there {
		return b, refuse(stateUnsupported, fmt.Sprintf("the type with the number %d has no binary form here", of), "ask for text")
	}
	v, err := typ.Codec.DecodeValue(s.types, of, pgproto3.TextFormat, text)
	if err != nil {
		return b, fmt.Errorf("a value cannot be sent as a %s: %w", typ.Name, err)
	}
	return s.types.Encode(of, pgproto3.BinaryFormat, v, b)
}
