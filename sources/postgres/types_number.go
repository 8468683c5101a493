package postgres

import (
	"math"
	"strconv"
	"unsafe"

	"github.com/tidemill/tidemill/connect"
)

// numberTypes are booleans, integers, floats, numeric and money.
func numberTypes() []typeEntry {
	integer := func(k connect.Kind) func(*modes, int32) codec {
		s := connect.Of(k)
		return func(*modes, int32) codec { return codec{schema: s, decode: intDecoder(k)} }
	}
	return []typeEntry{
		{name: "bool", compile: func(*modes, int32) codec { return codec{schema: connect.Of(connect.KindBool), decode: decodeBool} }},
		{name: "int2", compile: integer(connect.KindInt16)},
		{name: "int4", compile: integer(connect.KindInt32)},
		{name: "int8", compile: integer(connect.KindInt64)},
		{name: "oid", compile: integer(connect.KindInt64)},
		{name: "float4", compile: func(*modes, int32) codec { return codec{schema: connect.Of(connect.KindFloat32), decode: decodeFloat4} }},
		{name: "float8", compile: func(*modes, int32) codec { return codec{schema: connect.Of(connect.KindFloat64), decode: decodeFloat8} }},
		{name: "numeric", compile: numericCodec},
		{name: "money", compile: moneyCodec},
	}
}

// view reads b as a string for functions of the standard library that keep nothing
// of it.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

func decodeBool(_ *arena, text []byte) (connect.Value, error) {
	if len(text) == 1 && (text[0] == 't' || text[0] == 'f') {
		return connect.Bool(text[0] == 't'), nil
	}
	return connect.Value{}, badText("boolean", text)
}

func intDecoder(k connect.Kind) decodeFunc {
	return func(_ *arena, text []byte) (connect.Value, error) {
		n, ok := parseInt(text)
		if !ok {
			return connect.Value{}, badText("integer", text)
		}
		return connect.IntOf(k, n), nil
	}
}

// parseInt reads an integer of up to 64 bits.
func parseInt(text []byte) (int64, bool) {
	if len(text) > 18 {
		n, err := strconv.ParseInt(view(text), 10, 64)
		return n, err == nil
	}
	neg := len(text) > 0 && text[0] == '-'
	if neg {
		text = text[1:]
	}
	n, ok := parseDigits(text)
	if neg {
		n = -n
	}
	return n, ok
}

// parseDigits reads up to 18 digits.
func parseDigits(text []byte) (int64, bool) {
	if len(text) == 0 || len(text) > 18 {
		return 0, false
	}
	var n int64
	for _, c := range text {
		c -= '0'
		if c > 9 {
			return 0, false
		}
		n = n*10 + int64(c)
	}
	return n, true
}

func decodeFloat4(_ *arena, text []byte) (connect.Value, error) {
	f, err := strconv.ParseFloat(view(text), 32)
	if err != nil {
		return connect.Value{}, badText("real", text)
	}
	return connect.Float32(float32(f)), nil
}

func decodeFloat8(_ *arena, text []byte) (connect.Value, error) {
	f, err := strconv.ParseFloat(view(text), 64)
	if err != nil {
		return connect.Value{}, badText("double precision", text)
	}
	return connect.Float64(f), nil
}

// numericCodec follows decimal.handling.mode. A type modifier holds the precision
// in its upper half and the scale, which may be negative, in its lower eleven bits.
func numericCodec(m *modes, mod int32) codec {
	switch m.decimals {
	case decimalsDouble:
		return codec{schema: connect.Of(connect.KindFloat64), decode: decodeNumericDouble}
	case decimalsString:
		return codec{schema: connect.Of(connect.KindString), decode: decodeNumericText}
	}
	if mod < 4 {
		s := variableScaleDecimal()
		return codec{schema: s, decode: variableScaleDecoder(s)}
	}
	precision, scale := int(mod-4)>>16&0xffff, int((mod-4)&0x7ff^1024)-1024
	if scale < 0 {
		// A scale below zero has no counterpart outside: the zeros are written out.
		precision, scale = precision-scale, 0
	}
	return codec{schema: connect.DecimalSchema(max(precision, scale), scale), decode: decimalDecoder(scale)}
}

func variableScaleDecimal() *connect.Schema {
	return connect.SchemaDef{
		Kind: connect.KindStruct, Name: "io.debezium.data.VariableScaleDecimal", Version: 1,
		Doc: "Variable scaled decimal",
		Fields: []connect.Field{
			{Name: "scale", Schema: connect.Of(connect.KindInt32)},
			{Name: "value", Schema: connect.Of(connect.KindBytes)},
		},
	}.MustBuild()
}

// errNotFinite is the fault of NaN and infinities where only numbers fit.
func errNotFinite(text []byte) error {
	return badText("numeric with decimal.handling.mode=precise", text)
}

func decimalDecoder(scale int) decodeFunc {
	return func(a *arena, text []byte) (connect.Value, error) {
		d, err := connect.ParseDecimal(a.tail(len(text)), view(text))
		if err != nil {
			return connect.Value{}, errNotFinite(text)
		}
		if d.Scale != scale {
			return connect.Value{}, badText("numeric with "+strconv.Itoa(scale)+" digits after the point", text)
		}
		return connect.Bytes(a.keep(d.Unscaled)), nil
	}
}

func variableScaleDecoder(s *connect.Schema) decodeFunc {
	return func(a *arena, text []byte) (connect.Value, error) {
		for i := range text {
			if text[i] == '.' {
				text = trimZeros(text, i)
				break
			}
		}
		d, err := connect.ParseDecimal(a.tail(len(text)), view(text))
		if err != nil {
			return connect.Value{}, errNotFinite(text)
		}
		values := a.rowAfter(d.Unscaled, 2)
		values[0] = connect.Int32(int32(d.Scale))
		return a.structure(s, values), nil
	}
}

// rowAfter keeps unscaled and returns a row of n values whose second holds it.
func (a *arena) rowAfter(unscaled []byte, n int) []connect.Value {
	values := a.row(n)
	values[1] = connect.Bytes(a.keep(unscaled))
	return values
}

// trimZeros cuts zeros at the end of a fraction, and the point if nothing is left.
func trimZeros(text []byte, point int) []byte {
	end := len(text)
	for end > point+1 && text[end-1] == '0' {
		end--
	}
	if end == point+1 {
		end = point
	}
	return text[:end]
}

func decodeNumericDouble(_ *arena, text []byte) (connect.Value, error) {
	f, err := strconv.ParseFloat(view(text), 64)
	if err != nil && !math.IsInf(f, 0) {
		return connect.Value{}, badText("numeric", text)
	}
	return connect.Float64(f), nil
}

func decodeNumericText(a *arena, text []byte) (connect.Value, error) {
	switch view(text) {
	case "NaN":
		return connect.String("NAN"), nil
	case "Infinity":
		return connect.String("POSITIVE_INFINITY"), nil
	case "-Infinity":
		return connect.String("NEGATIVE_INFINITY"), nil
	}
	return a.text(text), nil
}

// moneyCodec reads the digits of money in whatever locale the server writes it.
func moneyCodec(m *modes, _ int32) codec {
	scale := m.moneyScale
	number := func(text []byte) (int64, bool) {
		var digits [20]byte
		n, neg := 0, false
		for _, c := range text {
			switch {
			case c >= '0' && c <= '9' && n < 19:
				digits[n] = c
				n++
			case c == '-' || c == '(':
				neg = true
			}
		}
		u, err := strconv.ParseUint(view(digits[:n]), 10, 64)
		if neg {
			u = -u
		}
		return int64(u), err == nil
	}
	plain := func(dst []byte, text []byte) ([]byte, bool) {
		n, ok := number(text)
		return connect.Decimal{Unscaled: bigEndian(nil, n), Scale: scale}.Append(dst), ok
	}
	switch m.decimals {
	case decimalsDouble:
		return codec{schema: connect.Of(connect.KindFloat64), decode: func(_ *arena, text []byte) (connect.Value, error) {
			digits, ok := plain(nil, text)
			f, err := strconv.ParseFloat(view(digits), 64)
			if !ok || err != nil {
				return connect.Value{}, badText("money", text)
			}
			return connect.Float64(f), nil
		}}
	case decimalsString:
		return codec{schema: connect.Of(connect.KindString), decode: func(a *arena, text []byte) (connect.Value, error) {
			digits, ok := plain(a.tail(24), text)
			if !ok {
				return connect.Value{}, badText("money", text)
			}
			return connect.StringBytes(a.keep(digits)), nil
		}}
	}
	return codec{schema: connect.DecimalSchema(0, scale), decode: func(a *arena, text []byte) (connect.Value, error) {
		n, ok := number(text)
		if !ok {
			return connect.Value{}, badText("money", text)
		}
		return connect.Bytes(a.keep(bigEndian(a.tail(8), n))), nil
	}}
}

// bigEndian appends n as two's complement in as few bytes as hold it.
func bigEndian(dst []byte, n int64) []byte {
	size := 1
	for size < 8 && n>>(8*size-1) != 0 && n>>(8*size-1) != -1 {
		size++
	}
	for i := size - 1; i >= 0; i-- {
		dst = append(dst, byte(n>>(8*i)))
	}
	return dst
}
