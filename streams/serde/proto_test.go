package serde_test

import (
	"bytes"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	"pgregory.net/rapid"

	"github.com/tidemill/tidemill/streams/serde"
)

// TestProtoPlaces compares the frames with those of Confluent's serializers: 0 for the
// first message of a file, or the number of steps and each of these.
func TestProtoPlaces(t *testing.T) {
	frame := "\x00\x00\x00\x01\x02" // Of schema id 258.
	first, err := serde.Proto[*timestamppb.Timestamp]{SchemaID: 258}.Append([]byte("x"), &timestamppb.Timestamp{Seconds: 5})
	if err != nil || string(first) != "x"+frame+"\x00\x08\x05" {
		t.Errorf("the first message: %q, %v", first, err)
	}
	// Int64Value is the third message of wrappers.proto.
	third, err := serde.Proto[*wrapperspb.Int64Value]{SchemaID: 258}.Append(nil, wrapperspb.Int64(5))
	if err != nil || string(third) != frame+"\x02\x04\x08\x05" {
		t.Errorf("the third message: %q, %v", third, err)
	}
	// ReservedRange is the second message inside of DescriptorProto, the third of its file.
	inner, err := serde.Proto[*descriptorpb.DescriptorProto_ReservedRange]{SchemaID: 258}.Append(nil, &descriptorpb.DescriptorProto_ReservedRange{Start: proto.Int32(5)})
	if err != nil || string(inner) != frame+"\x04\x04\x02\x08\x05" {
		t.Errorf("a message inside of another: %q, %v", inner, err)
	}
	// Whoever writes the long form of the first place is understood too, whatever the id.
	long, err := serde.Proto[*timestamppb.Timestamp]{SchemaID: 258}.Decode([]byte("\x00\x00\x00\x00\x07\x02\x00\x08\x05"))
	if err != nil || long.GetSeconds() != 5 {
		t.Errorf("the long form: %v, %v", long, err)
	}
}

// TestProtoRefuses reads what is not what it should be.
func TestProtoRefuses(t *testing.T) {
	stamp := serde.Proto[*timestamppb.Timestamp]{SchemaID: 1}
	for name, b := range map[string]string{
		"nothing": "", "no frame": "\x08\x05", "a frame cut short": "\x00\x00\x00\x00\x01", "a wrong first byte": "\x01\x00\x00\x00\x01\x00\x08\x05",
		"a place cut short": "\x00\x00\x00\x00\x01\x04\x02", "too long a place": "\x00\x00\x00\x00\x01\xfe\xff\xff\xff\x0f", "less than nothing": "\x00\x00\x00\x00\x01\x01",
		"another message": "\x00\x00\x00\x00\x01\x02\x02\x08\x05", "a damaged message": "\x00\x00\x00\x00\x01\x00\x08",
	} {
		if m, err := stamp.Decode([]byte(b)); err == nil {
			t.Errorf("%s was read as %v", name, m)
		}
	}
	_, err := stamp.Decode([]byte("\x00\x00\x00\x00\x01\x02\x02\x08\x05"))
	if err == nil || !strings.Contains(err.Error(), "message [1] of schema id 1") {
		t.Errorf("the error does not say what the record is: %v", err)
	}
	if b, err := stamp.Append(nil, nil); err == nil {
		t.Errorf("no message was written as %q", b)
	}
}

// TestProtoRoundTrip writes and reads random messages with maps, lists and choices, plain
// and framed. The same message gives the same bytes.
func TestProtoRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := randomStruct(t, 3)
		for _, s := range []serde.Proto[*structpb.Struct]{{}, {SchemaID: 1 + rapid.Int32Range(0, 1<<30).Draw(t, "id")}} {
			b, err := s.Append([]byte("before"), m)
			if err != nil || !bytes.HasPrefix(b, []byte("before")) {
				t.Fatalf("%q, %v", b, err)
			}
			b = b[len("before"):]
			again, err := s.Append(nil, proto.Clone(m).(*structpb.Struct))
			if err != nil || !bytes.Equal(b, again) {
				t.Fatalf("written again: %q, %v", again, err)
			}
			got, err := s.Decode(b)
			clear(b)
			if err != nil || !proto.Equal(got, m) {
				t.Fatalf("%v came back as %v, %v", m, got, err)
			}
		}
	})
}

// TestProtoKeepsUnknownFields reads a message as a type that knows less of it, and writes it
// again.
func TestProtoKeepsUnknownFields(t *testing.T) {
	whole := &timestamppb.Timestamp{Seconds: 5, Nanos: 6}
	b, err := serde.Proto[*timestamppb.Timestamp]{}.Append(nil, whole)
	if err != nil {
		t.Fatal(err)
	}
	less, err := serde.Proto[*wrapperspb.Int64Value]{}.Decode(b) // It has the first field alone.
	if err != nil || less.GetValue() != 5 {
		t.Fatal(less, err)
	}
	if b, err = (serde.Proto[*wrapperspb.Int64Value]{}).Append(nil, less); err != nil {
		t.Fatal(err)
	}
	if got, err := (serde.Proto[*timestamppb.Timestamp]{}).Decode(b); err != nil || !proto.Equal(got, whole) {
		t.Errorf("%v came back as %v, %v", whole, got, err)
	}
}

func randomStruct(t *rapid.T, depth int) *structpb.Struct {
	s := &structpb.Struct{Fields: map[string]*structpb.Value{}}
	for range rapid.IntRange(0, 5).Draw(t, "fields") {
		s.Fields[rapid.String().Draw(t, "name")] = randomValue(t, depth-1)
	}
	return s
}

func randomValue(t *rapid.T, depth int) *structpb.Value {
	kinds := 5
	if depth <= 0 {
		kinds = 3
	}
	switch rapid.IntRange(0, kinds).Draw(t, "kind") {
	case 0:
		return structpb.NewNullValue()
	case 1:
		return structpb.NewBoolValue(rapid.Bool().Draw(t, "bool"))
	case 2:
		return structpb.NewNumberValue(rapid.Float64().Draw(t, "number"))
	case 3:
		return structpb.NewStringValue(rapid.String().Draw(t, "text"))
	case 4:
		return structpb.NewStructValue(randomStruct(t, depth))
	}
	list := &structpb.ListValue{}
	for range rapid.IntRange(0, 4).Draw(t, "elements") {
		list.Values = append(list.Values, randomValue(t, depth-1))
	}
	return structpb.NewListValue(list)
}
