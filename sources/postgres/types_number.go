package postgres

import (
	"encoding/binary"
	"math"
	"strconv"
	"unsafe"

	"github.com/tidemill/tidemill/connect"
)

// numberTypes are booleans, integers, floats, numeric and money.
func numberTypes() []typeEntry {
	plain := func(name string, k connect.Kind, text, binary decodeFunc, print printFunc) typeEntry {
		cd := codec{schema: connect.Of(k), decode: text, binary: binary, print: print}
		return typeEntry{name: name, compile: func(*modes, int32) codec { return cd }}
	}
	return []typeEntry{
		plain("bool", connect.KindBool, decodeBool, binaryBool, printBool),
		plain("int2", connect.KindInt16, intDecoder(connect.KindInt16), binaryInt2, printInt),
		plain("int4", connect.KindInt32, intDecoder(connect.KindInt32), binaryInt4, printInt),
		plain("int8", connect.KindInt64, intDecoder(connect.KindInt64), binaryInt8, printInt),
		plain("oid", connect.KindInt64, intDecoder(connect.KindInt64), binaryUint4, printUint),
		plain("xid", connect.KindInt64, intDecoder(connect.KindInt64), binaryUint4, printUint),
		plain("cid", connect.KindInt64, intDecoder(connect.KindInt64), binaryUint4, printUint),
		plain("xid8", connect.KindInt64, intDecoder(connect.KindInt64), binaryUint8, printUint),
		plain("float4", connect.KindFloat32, decodeFloat4, binaryFloat4, printFloat),
		plain("float8", connect.KindFloat64, decodeFloat8, binaryFloat8, printFloat),
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

func binaryBool(_ *arena, b []byte) (connect.Value, error) {
	if len(b) != 1 || b[0] > 1 {
		return connect.Value{}, badBinary("boolean", b)
	}
	return connect.Bool(b[0] == 1), nil
}

func binaryInt2(_ *arena, b []byte) (connect.Value, error) {
	if len(b) != 2 {
		return connect.Value{}, badBinary("smallint", b)
	}
	return connect.IntOf(connect.KindInt16, int64(int16(binary.BigEndian.Uint16(b)))), nil
}

func binaryInt4(_ *arena, b []byte) (connect.Value, error) {
	if len(b) != 4 {
		return connect.Value{}, badBinary("integer", b)
	}
	return connect.Int32(int32(binary.BigEndian.Uint32(b))), nil
}

func binaryUint4(_ *arena, b []byte) (connect.Value, error) {
	if len(b) != 4 {
		return connect.Value{}, badBinary("oid", b)
	}
	return connect.Int64(int64(binary.BigEndian.Uint32(b))), nil
}

func binaryInt8(_ *arena, b []byte) (connect.Value, error) {
	if len(b) != 8 {
		return connect.Value{}, badBinary("bigint", b)
	}
	return connect.Int64(int64(binary.BigEndian.Uint64(b))), nil
}

// binaryUint8 reads 64 bits without a sign, the upper half of which no schema holds.
func binaryUint8(_ *arena, b []byte) (connect.Value, error) {
	if len(b) != 8 || b[0]&0x80 != 0 {
		return connect.Value{}, badBinary("xid8 below 2^63", b)
	}
	return connect.Int64(int64(binary.BigEndian.Uint64(b))), nil
}

func binaryFloat4(_ *arena, b []byte) (connect.Value, error) {
	if len(b) != 4 {
		return connect.Value{}, badBinary("real", b)
	}
	f := math.Float32frombits(binary.BigEndian.Uint32(b))
	if f != f {
		return connect.Float32(float32(math.NaN())), nil // There is one NaN in text.
	}
	return connect.Float32(f), nil
}

func binaryFloat8(_ *arena, b []byte) (connect.Value, error) {
	if len(b) != 8 {
		return connect.Value{}, badBinary("double precision", b)
	}
	return connect.Float64(float8(b)), nil
}

// float8 reads a double. There is one NaN in text, and so there is here.
func float8(b []byte) float64 {
	f := math.Float64frombits(binary.BigEndian.Uint64(b))
	if f != f {
		return math.NaN()
	}
	return f
}
