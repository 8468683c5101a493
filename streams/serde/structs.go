package serde

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/tidemill/tidemill/connect"
)

// Struct returns the Serde of a Go struct in a converter's format, such as Avro with
// a schema registry. The schema is made from T: its name is the type's, its fields
// are T's exported ones under their own names or those given by a tag.
//
//	type Order struct {
//		ID    int64     `connect:"id"`
//		Note  *string   `connect:"note"`
//		Lines []Line    `connect:"lines"`
//		At    time.Time `connect:"at"`
//		cache string    // not exported, not written
//		Debug string    `connect:"-"`
//	}
//
// Fields are booleans, integers (int counts as 64 bits, unsigned ones up to 32 bits
// as the next larger signed kind), floats, strings, []byte, time.Time (as Connect's
// Timestamp: milliseconds, UTC), structs, slices, maps with string keys, and pointers
// to those, which are optional. When reading, fields are matched by name: those the
// data has not got stay zero, those T has not got are passed over. A null is an error
// where T has no pointer, slice or map for it, as is a number too large for its field.
func Struct[T any](c connect.Converter) (Serde[T], error) {
	typ := reflect.TypeFor[T]()
	if typ.Kind() != reflect.Struct || typ == timeType {
		return nil, fmt.Errorf("serde: %s is no struct", typ)
	}
	schema, write, err := writer(typ, nil)
	if err != nil {
		return nil, fmt.Errorf("serde: %s: %w", typ, err)
	}
	lent, _ := c.(lender)
	base := &structSerde[T]{
		converterTopic: converterTopic{shared: &converterShared{c: c}, schema: schema},
		write:          write, lent: lent, aliases: holdsText(typ, nil),
	}
	return base.Bind("", false), nil
}

// lender is the ability of a converter to read data into memory that the next reading
// uses again, which is most of the work of making values that are copied at once.
type lender interface {
	// ToConnectLent is ToConnect, but the value is valid until the next call only.
	ToConnectLent(ctx context.Context, topic string, data []byte) (*connect.Schema, connect.Value, error)
}

type structSerde[T any] struct {
	converterTopic
	write   writeFunc
	lent    lender // nil when the converter is none
	aliases bool   // whether T shares the bytes it is read from

	// What a value goes through, so that reflection makes no memory for each; guarded by
	// the locks of writing and reading.
	in, out       *T
	inRef, outRef reflect.Value
	room          arena
	schemaIn      *connect.Schema // that read is for
	read          readFunc
}

// Bind implements Binder.
func (s *structSerde[T]) Bind(topic string, _ bool) Serde[T] {
	bound := &structSerde[T]{converterTopic: s.converterTopic, write: s.write, lent: s.lent, aliases: s.aliases, in: new(T), out: new(T)}
	bound.topic = topic
	bound.inRef, bound.outRef = reflect.ValueOf(bound.in).Elem(), reflect.ValueOf(bound.out).Elem()
	return bound
}

// Append implements Serde.
func (s *structSerde[T]) Append(dst []byte, v T) ([]byte, error) {
	if dst == nil {
		dst = []byte{}
	}
	s.shared.writing.Lock()
	defer s.shared.writing.Unlock()
	*s.out = v
	dst, err := s.shared.c.FromConnect(context.Background(), dst, s.topic, s.schema, s.write(&s.room, s.outRef))
	var none T
	*s.out = none // Nothing of it is kept.
	s.room.again()
	return dst, err
}

// Decode implements Serde.
func (s *structSerde[T]) Decode(b []byte) (v T, err error) {
	s.shared.reading.Lock()
	defer s.shared.reading.Unlock()
	in, err := s.value(b)
	if err != nil {
		return v, err
	}
	if in.Kind() != connect.KindStruct {
		return v, fmt.Errorf("the data is %v and no struct", in.Kind())
	}
	if schema := in.Struct().Schema(); s.schemaIn != schema {
		read, err := reader(reflect.TypeFor[T](), schema)
		if err != nil {
			return v, err
		}
		s.schemaIn, s.read = schema, read
	}
	if err := s.read(s.inRef, in); err != nil {
		*s.in = v // What was read so far.
		return v, err
	}
	v, *s.in = *s.in, v
	return v, nil
}

// value reads data into a value that is used at once.
func (s *structSerde[T]) value(b []byte) (v connect.Value, err error) {
	if s.aliases || s.lent == nil {
		b = append([]byte{}, b...)
	}
	if s.lent != nil {
		_, v, err = s.lent.ToConnectLent(context.Background(), s.topic, b)
	} else {
		_, v, err = s.shared.c.ToConnect(context.Background(), s.topic, b)
	}
	return v, err
}

// holdsText tells whether a value of the type shares the bytes of strings it is read from.
// path holds the structs around it.
func holdsText(typ reflect.Type, path []reflect.Type) bool {
	switch typ.Kind() {
	case reflect.String, reflect.Map:
		return true
	case reflect.Pointer, reflect.Slice:
		return holdsText(typ.Elem(), path)
	case reflect.Struct:
		if typ == timeType || slices.Contains(path, typ) {
			return false
		}
		return slices.ContainsFunc(fieldsOf(typ), func(f structField) bool { return holdsText(f.typ, append(path, typ)) })
	}
	return false
}

type (
	writeFunc func(room *arena, v reflect.Value) connect.Value
	readFunc  func(dst reflect.Value, v connect.Value) error
)

var (
	timeType  = reflect.TypeFor[time.Time]()
	bytesType = reflect.TypeFor[[]byte]()
)

// timestampName is the name of Connect's logical type of points in time.
const timestampName = "org.apache.kafka.connect.data.Timestamp"

// momentOf returns the time in v.
func momentOf(v reflect.Value) time.Time {
	at, _ := reflect.TypeAssert[time.Time](v)
	return at
}

// intKinds are the kinds of integers; unsigned ones need the next larger.
var intKinds = map[reflect.Kind]connect.Kind{
	reflect.Int8: connect.KindInt8, reflect.Int16: connect.KindInt16, reflect.Int32: connect.KindInt32,
	reflect.Int64: connect.KindInt64, reflect.Int: connect.KindInt64,
	reflect.Uint8: connect.KindInt16, reflect.Uint16: connect.KindInt32, reflect.Uint32: connect.KindInt64,
}

// scalars are the kinds that stand for themselves.
var scalars = map[reflect.Kind]struct {
	kind  connect.Kind
	write writeFunc
}{
	reflect.Bool:    {connect.KindBool, func(_ *arena, v reflect.Value) connect.Value { return connect.Bool(v.Bool()) }},
	reflect.Float32: {connect.KindFloat32, func(_ *arena, v reflect.Value) connect.Value { return connect.Float32(float32(v.Float())) }},
	reflect.Float64: {connect.KindFloat64, func(_ *arena, v reflect.Value) connect.Value { return connect.Float64(v.Float()) }},
	reflect.String:  {connect.KindString, func(_ *arena, v reflect.Value) connect.Value { return connect.String(v.String()) }},
}

// writer makes the schema of a type and the function that turns its values into
// those of the schema. path holds the structs around it: one that contains itself has
// no schema.
func writer(typ reflect.Type, path []reflect.Type) (*connect.Schema, writeFunc, error) {
	switch {
	case typ == timeType:
		schema := connect.SchemaDef{Kind: connect.KindInt64, Name: timestampName, Version: 1}.MustBuild()
		return schema, func(room *arena, v reflect.Value) connect.Value {
			return connect.Int64(momentOf(v).UnixMilli())
		}, nil
	case typ == bytesType:
		return connect.Of(connect.KindBytes), func(room *arena, v reflect.Value) connect.Value {
			return connect.Bytes(v.Bytes())
		}, nil
	}
	if s, ok := scalars[typ.Kind()]; ok {
		return connect.Of(s.kind), s.write, nil
	}
	if kind, ok := intKinds[typ.Kind()]; ok {
		if typ.Kind() >= reflect.Uint8 && typ.Kind() <= reflect.Uint32 {
			return connect.Of(kind), func(_ *arena, v reflect.Value) connect.Value { return connect.IntOf(kind, int64(v.Uint())) }, nil
		}
		return connect.Of(kind), func(_ *arena, v reflect.Value) connect.Value { return connect.IntOf(kind, v.Int()) }, nil
	}
	switch typ.Kind() {
	case reflect.Pointer:
		schema, write, err := writer(typ.Elem(), path)
		if err != nil {
			return nil, nil, err
		}
		return schema.AsOptional(), func(room *arena, v reflect.Value) connect.Value {
			if v.IsNil() {
				return connect.Value{}
			}
			return write(room, v.Elem())
		}, nil
	case reflect.Slice, reflect.Map:
		return manyWriter(typ, path)
	case reflect.Struct:
		return structWriter(typ, path)
	}
	return nil, nil, fmt.Errorf("%s has no schema", typ)
}

// manyWriter writes slices and maps. An empty one is written where there is none.
func manyWriter(typ reflect.Type, path []reflect.Type) (*connect.Schema, writeFunc, error) {
	elem, write, err := writer(typ.Elem(), path)
	if err != nil {
		return nil, nil, err
	}
	if typ.Kind() == reflect.Slice {
		schema, err := connect.SchemaDef{Kind: connect.KindArray, Elem: elem}.Build()
		return schema, func(room *arena, v reflect.Value) connect.Value {
			elems := room.cut(v.Len())
			for i := range elems {
				elems[i] = write(room, v.Index(i))
			}
			return connect.Array(elems)
		}, err
	}
	if typ.Key().Kind() != reflect.String {
		return nil, nil, fmt.Errorf("%s has keys that are no strings", typ)
	}
	schema, err := connect.SchemaDef{Kind: connect.KindMap, Key: connect.Of(connect.KindString), Elem: elem}.Build()
	return schema, func(room *arena, v reflect.Value) connect.Value {
		entries := make([]connect.MapEntry, 0, v.Len())
		for it := v.MapRange(); it.Next(); {
			entries = append(entries, connect.MapEntry{Key: connect.String(it.Key().String()), Value: write(room, it.Value())})
		}
		sortEntries(entries)
		return connect.Map(entries)
	}, err
}

func structWriter(typ reflect.Type, path []reflect.Type) (*connect.Schema, writeFunc, error) {
	for _, around := range path {
		if around == typ {
			return nil, nil, fmt.Errorf("%s contains itself", typ)
		}
	}
	path = append(path[:len(path):len(path)], typ)
	def := connect.SchemaDef{Kind: connect.KindStruct, Name: typ.Name()}
	var writes []writeFunc
	var index []int
	for _, f := range fieldsOf(typ) {
		schema, write, err := writer(f.typ, path)
		if err != nil {
			return nil, nil, fmt.Errorf("field %s: %w", f.name, err)
		}
		def.Fields = append(def.Fields, connect.Field{Name: f.name, Schema: schema})
		writes, index = append(writes, write), append(index, f.index)
	}
	schema, err := def.Build()
	return schema, func(room *arena, v reflect.Value) connect.Value {
		values := room.cut(len(writes))
		for i, write := range writes {
			values[i] = write(room, v.Field(index[i]))
		}
		return room.row(schema, values)
	}, err
}

// structField is a field that is written.
type structField struct {
	name  string
	index int
	typ   reflect.Type
}

func fieldsOf(typ reflect.Type) (fields []structField) {
	for i := range typ.NumField() {
		f := typ.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("connect"), ",")
		if !f.IsExported() || name == "-" {
			continue
		}
		if name == "" {
			name = f.Name
		}
		fields = append(fields, structField{name, i, f.Type})
	}
	return fields
}
