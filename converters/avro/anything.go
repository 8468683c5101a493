package avro

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/tidemill/tidemill/connect"
)

// anythingName is the record by which Confluent's converter writes values without a
// schema: one optional field for each kind of value.
const anythingName = namespace + ".Anything"

// The fields of that record, in order.
const (
	anyBoolean = iota
	anyBytes
	anyDouble
	anyFloat
	anyInt
	anyLong
	anyString
	anyArray
	anyMap
	anyFields
)

// maxAnyDepth bounds how deep values without a schema may stand in one another.
const maxAnyDepth = 100

// anything returns the schema of that record.
func anything() *node {
	any := &node{typ: tRecord, name: anythingName}
	null := &node{typ: tNull}
	add := func(name string, n *node) {
		any.fields = append(any.fields, nodeField{name: name, node: &node{typ: tUnion, types: []*node{null, n}}, def: []byte("null")})
	}
	for _, t := range []avroType{tBoolean, tBytes, tDouble, tFloat, tInt, tLong, tString} {
		add(t.String(), &node{typ: t})
	}
	add("array", &node{typ: tArray, elem: any})
	entry := &node{typ: tRecord, name: entryName, fields: []nodeField{{name: "key", node: any}, {name: "value", node: any}}}
	add("map", &node{typ: tArray, elem: entry})
	return any
}

// isAnything tells whether n is that record, which reads as a value without a
// schema.
func isAnything(n *node) bool {
	return n.typ == tRecord && n.name == anythingName && schemaText(n) == schemaText(anything())
}

// appendAnything appends a value without a schema: the index of null for each field
// but the one of its kind.
func appendAnything(dst []byte, v connect.Value, depth int) ([]byte, error) {
	if depth > maxAnyDepth {
		return dst, fmt.Errorf("values stand in one another more than %d deep", maxAnyDepth)
	}
	field := anyFields
	switch v.Kind() {
	case connect.KindBool:
		field = anyBoolean
	case connect.KindBytes:
		field = anyBytes
	case connect.KindFloat64:
		field = anyDouble
	case connect.KindFloat32:
		field = anyFloat
	case connect.KindInt8, connect.KindInt16, connect.KindInt32:
		field = anyInt
	case connect.KindInt64:
		field = anyLong
	case connect.KindString:
		field = anyString
	case connect.KindArray:
		field = anyArray
	case connect.KindMap:
		field = anyMap
	case connect.KindStruct:
		return dst, errors.New("a struct stands in a value without a schema")
	}
	var err error
	for i := range anyFields {
		if i != field {
			dst = append(dst, 0)
		} else if dst, err = appendOne(append(dst, 2), v, depth); err != nil {
			return dst, err
		}
	}
	return dst, nil
}

func appendOne(dst []byte, v connect.Value, depth int) ([]byte, error) {
	var err error
	switch v.Kind() {
	case connect.KindBool:
		if v.Bool() {
			return append(dst, 1), nil
		}
		return append(dst, 0), nil
	case connect.KindBytes, connect.KindString:
		return append(appendLong(dst, int64(v.Len())), v.Bytes()...), nil
	case connect.KindFloat64:
		return binary.LittleEndian.AppendUint64(dst, math.Float64bits(v.Float())), nil
	case connect.KindFloat32:
		return binary.LittleEndian.AppendUint32(dst, math.Float32bits(float32(v.Float()))), nil
	case connect.KindArray:
		if v.Len() > 0 {
			dst = appendLong(dst, int64(v.Len()))
		}
		for _, e := range v.Array() {
			if dst, err = appendAnything(dst, e, depth+1); err != nil {
				return dst, err
			}
		}
		return append(dst, 0), nil
	case connect.KindMap:
		if v.Len() > 0 {
			dst = appendLong(dst, int64(v.Len()))
		}
		for _, e := range v.Map() {
			if dst, err = appendAnything(dst, e.Key, depth+1); err != nil {
				return dst, err
			}
			if dst, err = appendAnything(dst, e.Value, depth+1); err != nil {
				return dst, err
			}
		}
		return append(dst, 0), nil
	}
	return appendLong(dst, v.Int()), nil
}
