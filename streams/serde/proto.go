package serde

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Proto is the Serde of Protobuf messages of a generated type, a pointer such as
// *timestamppb.Timestamp. Equal messages give equal bytes within one build of a program, so
// that it serves for keys that the program itself reads again.
//
//	plain := serde.Proto[*shop.Order]{}
//	framed := serde.Proto[*shop.Order]{SchemaID: 7}
//
// The schema's place in a registry is not looked up and nothing is registered there: who
// owns the .proto file does that, and says with SchemaID what came of it, as with the
// setting use.schema.id of Confluent's serializers. Records are read whatever id they have,
// as the type has its own schema; fields that it does not know are kept and written again.
type Proto[M proto.Message] struct {
	// SchemaID is the id of the type's file in a schema registry. Then records are in
	// Confluent's wire format: a zero byte, the id, the place of the message in its file, and
	// the message. At 0 they are the message alone.
	SchemaID int32
}

// Append implements Serde.
func (p Proto[M]) Append(dst []byte, m M) ([]byte, error) {
	if any(m) == nil || !m.ProtoReflect().IsValid() {
		return nil, errors.New("there is no message: it is nil")
	}
	if p.SchemaID != 0 {
		dst = binary.BigEndian.AppendUint32(append(dst, 0), uint32(p.SchemaID))
		dst = appendPlace(dst, m.ProtoReflect().Descriptor())
	}
	return proto.MarshalOptions{Deterministic: true}.MarshalAppend(dst, m)
}

// Decode implements Serde.
func (p Proto[M]) Decode(b []byte) (m M, err error) {
	if any(m) == nil {
		return m, errors.New("serde.Proto was made for an interface: it has to be a generated type")
	}
	fresh := m.ProtoReflect().New()
	if p.SchemaID != 0 {
		if b, err = unframed(b, fresh.Descriptor()); err != nil {
			return m, err
		}
	}
	if err := proto.Unmarshal(b, fresh.Interface()); err != nil {
		return m, fmt.Errorf("the bytes are no %s: %w", fresh.Descriptor().FullName(), err)
	}
	m, _ = fresh.Interface().(M) // It is what New of an M makes.
	return m, nil
}

// frameSize is the length of the zero byte and the schema's id.
const frameSize = 5

// placeOf is where a message stands in its file: its number among the messages of the file
// or, further in, of the message around it.
func placeOf(into []int, d protoreflect.Descriptor) []int {
	for ; d.Parent() != nil; d = d.Parent() {
		into = append(into, d.Index())
	}
	slices.Reverse(into)
	return into
}

// deepest is how deep messages usually stand in each other at most.
const deepest = 8

// appendPlace writes the place of a message as Confluent's "Wire format" has it: how many
// numbers, and each of them, as zigzag varints. The first message of a file, [0], is a
// single 0.
func appendPlace(dst []byte, d protoreflect.Descriptor) []byte {
	var room [deepest]int
	place := placeOf(room[:0], d)
	if len(place) == 1 && place[0] == 0 {
		return append(dst, 0)
	}
	dst = binary.AppendVarint(dst, int64(len(place)))
	for _, n := range place {
		dst = binary.AppendVarint(dst, int64(n))
	}
	return dst
}

var errFrame = errors.New("the record does not start with a zero byte, the id of a schema and the place of a message, as records of a schema registry do")

// unframed returns what follows the place of a message, which has to be that of d.
func unframed(b []byte, d protoreflect.Descriptor) ([]byte, error) {
	if len(b) < frameSize || b[0] != 0 {
		return nil, errFrame
	}
	id, b := binary.BigEndian.Uint32(b[1:]), b[frameSize:]
	count, n := binary.Varint(b)
	if n <= 0 || count < 0 || count > int64(len(b)) {
		return nil, errFrame
	}
	b = b[n:]
	var room [deepest]int
	place := append(room[:0], 0)
	if count > 0 {
		place = place[:0]
	}
	for range count {
		at, n := binary.Varint(b)
		if n <= 0 {
			return nil, errFrame
		}
		place, b = append(place, int(at)), b[n:]
	}
	var own [deepest]int
	if want := placeOf(own[:0], d); !slices.Equal(place, want) {
		return nil, fmt.Errorf("the record is message %v of schema id %d, and %s is message %v of its file", place, id, d.FullName(), want)
	}
	return b, nil
}
