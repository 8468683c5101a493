package sql

import (
	"context"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams/serde"
)

// changeCodec reads change events and brings the rows in them into the form of the
// query's rows: a struct of before, after and op. It is a serde.Serde; nobody
// writes with it.
type changeCodec struct {
	*codec        // of the columns of the rows
	schema        *connect.Schema
	from          connect.Envelope
	before, after codec
}

// newChangeCodec returns the reader of change events whose rows have the given
// columns.
func newChangeCodec(c *codec) (*changeCodec, error) {
	row := c.schema.AsOptional()
	schema, err := connect.SchemaDef{Kind: connect.KindStruct, Fields: []connect.Field{
		{Name: "before", Schema: row}, {Name: "after", Schema: row}, {Name: "op", Schema: connect.Of(connect.KindString)},
	}}.Build()
	c.single = false
	return &changeCodec{codec: c, schema: schema, before: *c, after: *c}, err
}

// Bind implements serde.Binder.
func (c *changeCodec) Bind(topic string, key bool) serde.Serde[connect.Value] {
	bound := *c
	own := *c.codec
	own.topic = topic
	bound.codec = &own
	return &bound
}

// Decode implements serde.Serde. What is no change event comes back as an event of
// no known operation, which tables pass over.
func (c *changeCodec) Decode(b []byte) (connect.Value, error) {
	if err := c.open(); err != nil {
		return null, err
	}
	s, v, err := c.conv.ToConnect(context.Background(), c.topic, append([]byte{}, b...))
	if err != nil {
		return null, err
	}
	before, after, op := null, null, connect.String("?")
	if s == nil {
		v = payload(v)
		before, after = member(v, "before"), member(v, "after")
		if o := member(v, "op"); o.Kind() == connect.KindString {
			op = o
		}
	} else {
		if s != c.from.Schema {
			c.from, _ = connect.EnvelopeOf(s)
		}
		if c.from.Schema != nil {
			change := c.from.Change(v)
			before, after, op = change.Before, change.After, connect.String(change.Op)
		}
	}
	out := c.schema.NewStruct()
	out.Set(2, op)
	if err := c.row(out, 0, &c.before, before); err != nil {
		return null, err
	}
	return connect.StructValue(out), c.row(out, 1, &c.after, after)
}

// payload takes a JSON value out of the wrapping that carries its schema.
func payload(v connect.Value) connect.Value {
	if p := member(v, "payload"); !p.IsNull() && !member(v, "schema").IsNull() {
		return p
	}
	return v
}

// row sets one of the rows of an event.
func (c *changeCodec) row(out *connect.Struct, at int, rows *codec, v connect.Value) error {
	if v.IsNull() {
		return nil
	}
	values := make([]connect.Value, len(c.columns))
	var s *connect.Schema
	if v.Kind() == connect.KindStruct {
		s = v.Struct().Schema()
	}
	if err := rows.fill(values, s, v); err != nil {
		return err
	}
	out.Set(at, connect.StructValue(c.codec.schema.StructOf(values)))
	return nil
}
