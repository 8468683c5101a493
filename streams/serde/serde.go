package serde

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Serde writes values as bytes and reads them back. The same value always gives
// the same bytes where a Serde is used for keys. A Serde is used by several
// goroutines at once unless it is a [Binder].
type Serde[T any] interface {
	// Append appends the bytes of v to dst and returns the longer slice.
	Append(dst []byte, v T) ([]byte, error)
	// Decode reads what Append wrote. The value does not point into b, which
	// is used again after the call.
	Decode(b []byte) (T, error)
}

// Binder is the optional ability of a Serde to be made for one topic, which
// formats with a schema registry need. Bind is called once for each use in each
// task; what it returns is used by one goroutine at a time.
type Binder[T any] interface {
	// Bind returns the Serde for the keys or the values of a topic.
	Bind(topic string, key bool) Serde[T]
}

// Bind returns s made for one topic, if that is something it can be.
func Bind[T any](s Serde[T], topic string, key bool) Serde[T] {
	if b, ok := s.(Binder[T]); ok {
		return b.Bind(topic, key)
	}
	return s
}

// Text is the Serde of strings: their UTF-8 bytes.
type Text struct{}

// Append implements Serde.
func (Text) Append(dst []byte, v string) ([]byte, error) { return append(dst, v...), nil }

// Decode implements Serde.
func (Text) Decode(b []byte) (string, error) { return string(b), nil }

// Bytes is the Serde of plain bytes.
type Bytes struct{}

// Append implements Serde.
func (Bytes) Append(dst, v []byte) ([]byte, error) { return append(dst, v...), nil }

// Decode implements Serde.
func (Bytes) Decode(b []byte) ([]byte, error) { return append([]byte{}, b...), nil }

// Int64 is the Serde of 64-bit integers: 8 bytes, big-endian, as Kafka's
// LongSerializer writes them.
type Int64 struct{}

// Append implements Serde.
func (Int64) Append(dst []byte, v int64) ([]byte, error) {
	return binary.BigEndian.AppendUint64(dst, uint64(v)), nil
}

// Decode implements Serde.
func (Int64) Decode(b []byte) (int64, error) {
	if len(b) != 8 {
		return 0, fmt.Errorf("a 64-bit integer has 8 bytes, not %d", len(b))
	}
	return int64(binary.BigEndian.Uint64(b)), nil
}

// Float64 is the Serde of double-precision numbers: 8 bytes, big-endian, as
// Kafka's DoubleSerializer writes them.
type Float64 struct{}

// Append implements Serde.
func (Float64) Append(dst []byte, v float64) ([]byte, error) {
	return binary.BigEndian.AppendUint64(dst, math.Float64bits(v)), nil
}

// Decode implements Serde.
func (Float64) Decode(b []byte) (float64, error) {
	if len(b) != 8 {
		return 0, fmt.Errorf("a double has 8 bytes, not %d", len(b))
	}
	return math.Float64frombits(binary.BigEndian.Uint64(b)), nil
}
