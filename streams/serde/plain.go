package serde

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
)

// Int32 is the Serde of 32-bit integers: 4 bytes, big-endian, as Kafka's
// IntegerSerializer writes them.
type Int32 struct{}

// Append implements Serde.
func (Int32) Append(dst []byte, v int32) ([]byte, error) {
	return binary.BigEndian.AppendUint32(dst, uint32(v)), nil
}

// Decode implements Serde.
func (Int32) Decode(b []byte) (int32, error) {
	if len(b) != 4 {
		return 0, fmt.Errorf("a 32-bit integer has 4 bytes, not %d", len(b))
	}
	return int32(binary.BigEndian.Uint32(b)), nil
}

// Int16 is the Serde of 16-bit integers: 2 bytes, big-endian, as Kafka's
// ShortSerializer writes them.
type Int16 struct{}

// Append implements Serde.
func (Int16) Append(dst []byte, v int16) ([]byte, error) {
	return binary.BigEndian.AppendUint16(dst, uint16(v)), nil
}

// Decode implements Serde.
func (Int16) Decode(b []byte) (int16, error) {
	if len(b) != 2 {
		return 0, fmt.Errorf("a 16-bit integer has 2 bytes, not %d", len(b))
	}
	return int16(binary.BigEndian.Uint16(b)), nil
}

// Float32 is the Serde of single-precision numbers: 4 bytes, big-endian, as Kafka's
// FloatSerializer writes them.
type Float32 struct{}

// Append implements Serde.
func (Float32) Append(dst []byte, v float32) ([]byte, error) {
	return binary.BigEndian.AppendUint32(dst, math.Float32bits(v)), nil
}

// Decode implements Serde.
func (Float32) Decode(b []byte) (float32, error) {
	if len(b) != 4 {
		return 0, fmt.Errorf("a float has 4 bytes, not %d", len(b))
	}
	return math.Float32frombits(binary.BigEndian.Uint32(b)), nil
}

// Bool is the Serde of truth values: one byte, 1 or 0, as Kafka's BooleanSerializer
// writes them.
type Bool struct{}

// Append implements Serde.
func (Bool) Append(dst []byte, v bool) ([]byte, error) {
	if v {
		return append(dst, 1), nil
	}
	return append(dst, 0), nil
}

// Decode implements Serde.
func (Bool) Decode(b []byte) (bool, error) {
	if len(b) != 1 || b[0] > 1 {
		return false, fmt.Errorf("a truth value is one byte, 0 or 1, not %x", b)
	}
	return b[0] == 1, nil
}

// UUID is the Serde of UUIDs: their 36 characters, as Kafka's UUIDSerializer writes
// them.
type UUID struct{}

// Append implements Serde.
func (UUID) Append(dst []byte, v [16]byte) ([]byte, error) {
	for i, part := range [][]byte{v[:4], v[4:6], v[6:8], v[8:10], v[10:]} {
		if i > 0 {
			dst = append(dst, '-')
		}
		dst = hex.AppendEncode(dst, part)
	}
	return dst, nil
}

// Decode implements Serde.
func (UUID) Decode(b []byte) (id [16]byte, err error) {
	bad := fmt.Errorf("%q is no UUID", b)
	if len(b) != 36 || b[8] != '-' || b[13] != '-' || b[18] != '-' || b[23] != '-' {
		return id, bad
	}
	at := 0
	for _, part := range [][]byte{b[:8], b[9:13], b[14:18], b[19:23], b[24:]} {
		n, err := hex.Decode(id[at:], part)
		if err != nil {
			return [16]byte{}, bad
		}
		at += n
	}
	return id, nil
}

// JSON is the Serde of values of T as encoding/json writes and reads them. Equal
// values give equal bytes, also maps, so that it serves for keys too.
type JSON[T any] struct{}

// Append implements Serde.
func (JSON[T]) Append(dst []byte, v T) ([]byte, error) {
	b, err := json.Marshal(v)
	return append(dst, b...), err
}

// Decode implements Serde.
func (JSON[T]) Decode(b []byte) (v T, err error) {
	err = json.Unmarshal(b, &v)
	return v, err
}
