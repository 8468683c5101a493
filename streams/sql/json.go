package sql

import (
	"encoding/base64"
	"math"
	"strconv"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams/sql/functions"
)

// appendJSON writes a value of type t as ksqlDB's answers do: doubles with a point,
// decimals as numbers, bytes in base64, dates and times as ISO 8601 text.
func appendJSON(b []byte, t functions.Type, v connect.Value) []byte {
	if v.IsNull() {
		return append(b, "null"...)
	}
	switch t.Kind {
	case functions.Boolean, functions.Int, functions.Bigint, functions.Decimal:
		return functions.AppendText(b, t, v)
	case functions.Double:
		if f := v.Float(); math.IsNaN(f) || math.IsInf(f, 0) {
			return append(functions.AppendText(append(b, '"'), t, v), '"')
		}
		return functions.AppendText(b, t, v)
	case functions.Date, functions.Time, functions.Timestamp:
		return append(functions.AppendText(append(b, '"'), t, v), '"')
	case functions.Bytes:
		return append(base64.StdEncoding.AppendEncode(append(b, '"'), v.Bytes()), '"')
	case functions.Array:
		b = append(b, '[')
		for i, e := range v.Array() {
			b = appendJSON(comma(b, i), *t.Elem, e)
		}
		return append(b, ']')
	case functions.Map:
		b = append(b, '{')
		for i, e := range v.Map() {
			b = connect.AppendJSON(comma(b, i), nil, connect.StringBytes(functions.AppendText(nil, *t.Key, e.Key)))
			b = appendJSON(append(b, ':'), *t.Elem, e.Value)
		}
		return append(b, '}')
	case functions.Struct:
		b = append(b, '{')
		for i, f := range t.Fields {
			b = append(strconv.AppendQuote(comma(b, i), f.Name), ':')
			b = appendJSON(b, f.Type, v.Struct().At(i))
		}
		return append(b, '}')
	}
	return connect.AppendJSON(b, nil, v)
}

// comma separates the i-th element from the one before.
func comma(b []byte, i int) []byte {
	if i > 0 {
		return append(b, ',')
	}
	return b
}
