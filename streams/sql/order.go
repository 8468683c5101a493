package sql

import (
	"encoding/base64"
	be "encoding/binary"
	"errors"
	"math"
	"math/big"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams/sql/functions"
)

// orderedKey writes keys for stores so that the order of the bytes is that of the
// columns, which makes ranges of keys ranges of bytes. It is a streams.Serde of
// structs of the key columns and holds no state.
//
// A null is one byte 0 and comes first; a value follows a byte 1. Integers have
// their sign bit flipped, doubles are turned over when negative, strings end with
// 0 1 and have 0 255 for a byte 0, decimals carry sign and length in front, as
// FoundationDB's tuples do.
type orderedKey struct {
	columns []column
	schema  *connect.Schema
}

// newOrderedKey returns the writer of keys with the given columns.
func newOrderedKey(columns []column) (orderedKey, error) {
	s, err := rowSchema("", columns)
	return orderedKey{columns: columns, schema: s}, err
}

// Append implements streams.Serde.
func (k orderedKey) Append(dst []byte, v connect.Value) ([]byte, error) {
	return k.appendPrefix(dst, v.Struct().Values())
}

// appendPrefix writes the first of the key's columns.
func (k orderedKey) appendPrefix(dst []byte, values []connect.Value) ([]byte, error) {
	for i, v := range values {
		var err error
		if dst, err = appendOrdered(dst, k.columns[i].typ, v); err != nil {
			return nil, err
		}
	}
	return dst, nil
}

// Decode implements streams.Serde.
func (k orderedKey) Decode(b []byte) (connect.Value, error) {
	values := make([]connect.Value, len(k.columns))
	for i, c := range k.columns {
		var err error
		if values[i], b, err = readOrdered(b, c.typ); err != nil {
			return null, err
		}
	}
	if len(b) > 0 {
		return null, errKey
	}
	return connect.StructValue(k.schema.StructOf(values)), nil
}

var errKey = errors.New("the bytes are no key of this table")

func appendOrdered(dst []byte, t functions.Type, v connect.Value) ([]byte, error) {
	if v.IsNull() {
		return append(dst, 0), nil
	}
	dst = append(dst, 1)
	switch t.Kind {
	case functions.Boolean:
		if v.Bool() {
			return append(dst, 1), nil
		}
		return append(dst, 0), nil
	case functions.Int, functions.Bigint, functions.Date, functions.Time, functions.Timestamp:
		return be.BigEndian.AppendUint64(dst, uint64(v.Int())^1<<63), nil
	case functions.Double:
		return be.BigEndian.AppendUint64(dst, orderedFloat(v.Float())), nil
	case functions.Decimal:
		return appendOrderedInt(dst, decimalInt(v)), nil
	case functions.String, functions.Bytes:
		return appendTerminated(dst, v.Bytes()), nil
	case functions.Array:
		var err error
		for _, e := range v.Array() {
			if dst, err = appendOrdered(append(dst, 2), *t.Elem, e); err != nil {
				return nil, err
			}
		}
		return append(dst, 0), nil
	case functions.Struct:
		var err error
		for i, f := range t.Fields {
			if dst, err = appendOrdered(dst, f.Type, v.Struct().At(i)); err != nil {
				return nil, err
			}
		}
		return dst, nil
	}
	return nil, errors.New("a " + t.Kind.String() + " cannot be part of a key")
}

// orderedFloat maps doubles to integers of the same order.
func orderedFloat(f float64) uint64 {
	u := math.Float64bits(f)
	if u>>63 != 0 {
		return ^u
	}
	return u | 1<<63
}

// appendOrderedInt writes sign and length, then the bytes of the number, all turned
// over when it is negative.
func appendOrderedInt(dst []byte, n *big.Int) []byte {
	abs := new(big.Int).Abs(n).Bytes()
	flip := byte(0)
	if n.Sign() < 0 {
		flip = 0xff
	}
	dst = append(dst, byte(1)&^flip, byte(len(abs))^flip)
	for _, c := range abs {
		dst = append(dst, c^flip)
	}
	return dst
}

func appendTerminated(dst, b []byte) []byte {
	for _, c := range b {
		dst = append(dst, c)
		if c == 0 {
			dst = append(dst, 0xff)
		}
	}
	return append(dst, 0, 1)
}

func readOrdered(b []byte, t functions.Type) (v connect.Value, rest []byte, err error) {
	if len(b) == 0 {
		return null, nil, errKey
	}
	present, b := b[0], b[1:]
	if present == 0 {
		return null, b, nil
	}
	switch t.Kind {
	case functions.Boolean:
		if len(b) < 1 {
			return null, nil, errKey
		}
		return connect.Bool(b[0] == 1), b[1:], nil
	case functions.Decimal:
		return readOrderedInt(b)
	case functions.String, functions.Bytes:
		return readTerminated(b, t)
	case functions.Array:
		return readOrderedArray(b, t)
	case functions.Struct:
		return readOrderedStruct(b, t)
	}
	if len(b) < 8 {
		return null, nil, errKey
	}
	u := be.BigEndian.Uint64(b)
	if t.Kind != functions.Double {
		return connect.IntOf(carrier(t), int64(u^1<<63)), b[8:], nil
	}
	if u>>63 != 0 {
		return connect.Float64(math.Float64frombits(u &^ (1 << 63))), b[8:], nil
	}
	return connect.Float64(math.Float64frombits(^u)), b[8:], nil
}

func readOrderedInt(b []byte) (v connect.Value, rest []byte, err error) {
	if len(b) < 2 {
		return null, nil, errKey
	}
	flip := byte(0)
	if b[0] == 0 {
		flip = 0xff
	}
	size := int(b[1] ^ flip)
	if b = b[2:]; len(b) < size {
		return null, nil, errKey
	}
	abs := make([]byte, size)
	for i := range abs {
		abs[i] = b[i] ^ flip
	}
	n := new(big.Int).SetBytes(abs)
	if flip != 0 {
		n.Neg(n)
	}
	return connect.Bytes(connect.AppendUnscaled(nil, n)), b[size:], nil
}

func readTerminated(b []byte, t functions.Type) (v connect.Value, rest []byte, err error) {
	out := []byte{}
	for i := 0; i+1 < len(b); i++ {
		switch {
		case b[i] != 0:
			out = append(out, b[i])
		case b[i+1] == 0xff:
			out = append(out, 0)
			i++
		default:
			if t.Kind == functions.Bytes {
				return connect.Bytes(out), b[i+2:], nil
			}
			return connect.StringBytes(out), b[i+2:], nil
		}
	}
	return null, nil, errKey
}

func readOrderedArray(b []byte, t functions.Type) (v connect.Value, rest []byte, err error) {
	elems := []connect.Value{}
	for len(b) > 0 {
		more := b[0]
		if b = b[1:]; more == 0 {
			return connect.Array(elems), b, nil
		}
		var e connect.Value
		if e, b, err = readOrdered(b, *t.Elem); err != nil {
			return null, nil, err
		}
		elems = append(elems, e)
	}
	return null, nil, errKey
}

func readOrderedStruct(b []byte, t functions.Type) (v connect.Value, rest []byte, err error) {
	schema, err := t.Schema()
	if err != nil {
		return null, nil, err
	}
	values := make([]connect.Value, len(t.Fields))
	for i, f := range t.Fields {
		if values[i], b, err = readOrdered(b, f.Type); err != nil {
			return null, nil, err
		}
	}
	return connect.StructValue(schema.StructOf(values)), b, nil
}

// fromBase64 reads the text of a BYTES value in JSON.
func fromBase64(s string) (connect.Value, error) {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return null, errMisfit
	}
	return connect.Bytes(b), nil
}
