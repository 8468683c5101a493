package raw

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"

	"github.com/tidemill/tidemill/connect"
)

// layout is how one kind of value is written in a fixed number of bytes, as
// Kafka's serializer of that name does; size 0 stands for bytes as they are.
type layout struct {
	name, doc string
	kind      connect.Kind
	size      int
}

// layouts lists what [Fixed] can do.
var layouts = [...]layout{
	{"ByteArray", "Bytes as they are.", connect.KindBytes, 0},
	{"Short", "16-bit integers in 2 bytes, big-endian.", connect.KindInt16, 2},
	{"Integer", "32-bit integers in 4 bytes, big-endian.", connect.KindInt32, 4},
	{"Long", "64-bit integers in 8 bytes, big-endian.", connect.KindInt64, 8},
	{"Float", "Single-precision numbers in 4 bytes, big-endian IEEE 754.", connect.KindFloat32, 4},
	{"Double", "Double-precision numbers in 8 bytes, big-endian IEEE 754.", connect.KindFloat64, 8},
	{"Boolean", "Booleans in 1 byte, 0 or 1.", connect.KindBool, 1},
}

// Fixed converts bytes, numbers and booleans to and from the bytes that Kafka's own
// serializers write. [Plugins] makes one for each kind.
type Fixed struct {
	layout
	schema *connect.Schema
}

func newFixed(l layout) *Fixed {
	return &Fixed{layout: l, schema: connect.Of(l.kind).AsOptional()}
}

// Configure implements [connect.Converter].
func (f *Fixed) Configure(config connect.Config, _ bool) error {
	_, err := plainConfig().Parse(config)
	return err
}

// FromConnect implements [connect.Converter]. Integers of another width are taken
// when they fit; a value of another kind is an error of ClassRecord.
func (f *Fixed) FromConnect(_ context.Context, dst []byte, topic string, _ *connect.Schema, v connect.Value) ([]byte, error) {
	switch {
	case v.IsNull():
		return nil, nil
	case f.kind == connect.KindBytes && v.Kind() == f.kind:
		return append(dst, v.Bytes()...), nil
	case f.kind == connect.KindBool && v.Kind() == f.kind:
		if v.Bool() {
			return append(dst, 1), nil
		}
		return append(dst, 0), nil
	case f.kind == connect.KindFloat32 && v.Kind() == f.kind:
		return binary.BigEndian.AppendUint32(dst, math.Float32bits(float32(v.Float()))), nil
	case f.kind == connect.KindFloat64 && v.IsFloat():
		return binary.BigEndian.AppendUint64(dst, math.Float64bits(v.Float())), nil
	case f.isInt() && v.IsInt() && connect.IntOf(f.kind, v.Int()).Int() == v.Int():
		for i := f.size - 1; i >= 0; i-- {
			dst = append(dst, byte(v.Int()>>(8*i)))
		}
		return dst, nil
	}
	return nil, recordError(topic, fmt.Sprintf("a value of kind %v cannot be written as %v", v.Kind(), f.kind), nil)
}

func (f *Fixed) isInt() bool { return f.kind <= connect.KindInt64 }

// ToConnect implements [connect.Converter]. Data of another length is an error of
// ClassRecord.
func (f *Fixed) ToConnect(_ context.Context, topic string, data []byte) (*connect.Schema, connect.Value, error) {
	if data == nil {
		return nil, connect.Value{}, nil
	}
	if f.kind == connect.KindBytes {
		return f.schema, connect.Bytes(data), nil
	}
	if len(data) != f.size {
		return nil, connect.Value{}, recordError(topic, fmt.Sprintf("%d bytes are no %v, which has %d", len(data), f.kind, f.size), nil)
	}
	var n uint64
	for _, b := range data {
		n = n<<8 | uint64(b)
	}
	switch f.kind {
	case connect.KindBool:
		if n > 1 {
			return nil, connect.Value{}, recordError(topic, "the byte of a boolean must be 0 or 1", nil)
		}
		return f.schema, connect.Bool(n == 1), nil
	case connect.KindFloat32:
		return f.schema, connect.Float32(math.Float32frombits(uint32(n))), nil
	case connect.KindFloat64:
		return f.schema, connect.Float64(math.Float64frombits(n)), nil
	}
	return f.schema, connect.IntOf(f.kind, int64(n)), nil
}

// Close implements [connect.Converter].
func (f *Fixed) Close() error { return nil }
