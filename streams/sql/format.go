package sql

import (
	"context"
	be "encoding/binary"
	"fmt"
	"math"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams/serde"
	"github.com/tidemill/tidemill/streams/sql/functions"
)

// Format makes a converter of one of SQL's formats, configured, for keys or for
// values. It is called for every task that reads or writes a topic.
type Format func(key bool) (connect.Converter, error)

// The format that needs no converter: one plain value as Kafka's own serializers
// write it. And the one that says there are no keys.
const (
	formatKafka = "KAFKA"
	formatNone  = "NONE"
)

// codec reads and writes the keys or the values of a topic: some columns as a
// struct of their row schema. It is a serde.Serde and a serde.Binder; what Bind
// returns serves one goroutine.
type codec struct {
	name    string
	format  Format // nil for KAFKA
	key     bool
	topic   string
	columns []column
	schema  *connect.Schema // of the columns, as rows have them
	written *connect.Schema // what the topic is written with
	single  bool            // the only column stands alone, without a struct
	skip    int             // values of a row before the columns, when writing
	windows *windowing      // of keys: the windows they are of

	conv connect.Converter
	from *connect.Schema // the schema met last when reading
	took fieldMapping
	only mapper
}

// newCodec returns the codec of some of a source's columns. Those of its key or of
// its value must be given all together to write, but any of them to read.
func newCodec(formats map[string]Format, s *source, key bool, columns []column) (*codec, error) {
	c := &codec{key: key, topic: s.topic, columns: columns}
	name := s.format
	if key {
		name = s.keyFormat
	}
	c.name = name
	if name != formatKafka && name != formatNone {
		if c.format = formats[name]; c.format == nil {
			return nil, fmt.Errorf("the format %s is not available", name)
		}
	}
	if key {
		c.single = s.keys() == 1 && !s.keyStruct
	} else {
		c.single = len(s.columns)-s.keys() == 1 && s.bare
	}
	c.single = c.single || name == formatKafka
	if key {
		c.windows = s.windowing
	}
	var err error
	if c.schema, err = rowSchema("", withBounds(columns, c.windows != nil)); err != nil {
		return nil, err
	}
	c.written, err = c.writtenSchema()
	return c, err
}

func (c *codec) writtenSchema() (*connect.Schema, error) {
	if c.single && len(c.columns) == 1 {
		return c.columns[0].typ.Schema()
	}
	return rowSchema(valueSchemaName, c.columns)
}

// Bind implements serde.Binder.
func (c *codec) Bind(topic string, _ bool) serde.Serde[connect.Value] {
	bound := *c
	bound.topic = topic
	return &bound
}

// open makes the converter when it is first needed.
func (c *codec) open() (err error) {
	if c.conv == nil {
		c.conv, err = c.format(c.key)
	}
	return err
}

// Append implements serde.Serde.
func (c *codec) Append(dst []byte, v connect.Value) ([]byte, error) {
	values := v.Struct().Values()[c.skip:]
	dst, err := c.append(dst, values[:len(c.columns)])
	if err == nil && c.windows != nil {
		dst = c.windows.append(dst, values[len(c.columns):])
	}
	return dst, err
}

// append writes the values of the columns.
func (c *codec) append(dst []byte, values []connect.Value) ([]byte, error) {
	if c.format == nil {
		if len(values) != 1 {
			return dst, nil
		}
		return appendPlain(dst, values[0])
	}
	if err := c.open(); err != nil {
		return dst, err
	}
	out := connect.Value{}
	if c.single {
		out = values[0]
	} else {
		out = connect.StructValue(c.written.StructOf(values))
	}
	if dst == nil {
		dst = []byte{}
	}
	return c.conv.FromConnect(context.Background(), dst, c.topic, c.written, out)
}

// Decode implements serde.Serde.
func (c *codec) Decode(b []byte) (connect.Value, error) {
	values := make([]connect.Value, len(c.schema.Fields()))
	if c.windows != nil {
		var err error
		if b, err = c.windows.split(values[len(c.columns):], b); err != nil {
			return null, err
		}
	}
	if err := c.read(values[:len(c.columns)], b); err != nil {
		return null, err
	}
	return connect.StructValue(c.schema.StructOf(values)), nil
}

// read fills in the columns from the bytes of a record.
func (c *codec) read(values []connect.Value, b []byte) error {
	if len(c.columns) == 0 {
		return nil
	}
	b = append([]byte{}, b...)
	if c.format == nil {
		var err error
		values[0], err = readPlain(c.columns[0].typ, b)
		return err
	}
	if err := c.open(); err != nil {
		return err
	}
	s, v, err := c.conv.ToConnect(context.Background(), c.topic, b)
	if err != nil {
		return err
	}
	return c.fill(values, s, v)
}

// fill brings a decoded value into the columns.
func (c *codec) fill(values []connect.Value, s *connect.Schema, v connect.Value) (err error) {
	if v.IsNull() {
		return nil
	}
	if s == nil {
		return c.fillDynamic(values, v)
	}
	if s != c.from {
		if err := c.learn(s); err != nil {
			return err
		}
	}
	if c.took != nil {
		return c.took.fill(values, v.Struct())
	}
	values[0] = v
	if c.only != nil {
		values[0], err = c.only(v)
	}
	return err
}

// learn works out how values of a schema become columns.
func (c *codec) learn(s *connect.Schema) (err error) {
	c.from, c.took, c.only = nil, nil, nil
	if s.Kind() == connect.KindStruct && !(c.single && c.columns[0].typ.Kind == functions.Struct) {
		c.took, err = fieldMappers(s, c.columns)
	} else {
		if len(c.columns) != 1 {
			return fmt.Errorf("the topic holds %s where %d columns are declared", s, len(c.columns))
		}
		c.only, err = mapperFor(s, c.columns[0].typ)
	}
	if err == nil {
		c.from = s
	}
	return err
}

// fillDynamic brings a value without schema into the columns.
func (c *codec) fillDynamic(values []connect.Value, v connect.Value) (err error) {
	if c.single || v.Kind() != connect.KindMap && v.Kind() != connect.KindStruct {
		if len(c.columns) != 1 {
			return errMisfit
		}
		values[0], err = dynamic(c.columns[0].typ)(v)
		return err
	}
	for i, col := range c.columns {
		if values[i], err = dynamic(col.typ)(member(v, col.name)); err != nil {
			return fmt.Errorf("column %s: %w", col.name, err)
		}
	}
	return nil
}

// appendPlain writes a value as Kafka's serializers do.
func appendPlain(dst []byte, v connect.Value) ([]byte, error) {
	switch v.Kind() {
	case connect.KindInt32:
		return be.BigEndian.AppendUint32(dst, uint32(v.Int())), nil
	case connect.KindInt64:
		return be.BigEndian.AppendUint64(dst, uint64(v.Int())), nil
	case connect.KindFloat64:
		return be.BigEndian.AppendUint64(dst, math.Float64bits(v.Float())), nil
	case connect.KindString, connect.KindBytes:
		return append(dst, v.Bytes()...), nil
	case connect.KindNull:
		return nil, nil
	}
	return dst, fmt.Errorf("the KAFKA format cannot hold %s", v.Kind())
}

// readPlain reads what Kafka's serializers wrote.
func readPlain(t functions.Type, b []byte) (connect.Value, error) {
	switch {
	case t.Kind == functions.String:
		return connect.StringBytes(b), nil
	case t.Kind == functions.Bytes:
		return connect.Bytes(b), nil
	case t.Kind == functions.Int && len(b) == 4:
		return connect.Int32(int32(be.BigEndian.Uint32(b))), nil
	case t.Kind == functions.Bigint && len(b) == 8:
		return connect.Int64(int64(be.BigEndian.Uint64(b))), nil
	case t.Kind == functions.Double && len(b) == 8:
		return connect.Float64(math.Float64frombits(be.BigEndian.Uint64(b))), nil
	}
	return null, fmt.Errorf("%d bytes are no %s in the KAFKA format", len(b), t)
}

// plainType tells whether the KAFKA format can hold a type.
func plainType(t functions.Type) bool {
	switch t.Kind {
	case functions.Int, functions.Bigint, functions.Double, functions.String, functions.Bytes:
		return true
	}
	return false
}
