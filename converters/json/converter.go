package json

import (
	"bytes"
	"context"
	"strings"

	"github.com/tidemill/tidemill/connect"
)

// maxCachedSchemaBytes bounds the text of the schemas kept for reading.
const maxCachedSchemaBytes = 16 << 20

// Converter is the JSON converter for keys, values and, through [HeaderPlugins],
// headers.
type Converter struct {
	schemas bool
	limit   int // Of schemas in each cache.
	out     *compiler
	in      *compiler // Of the reading side, which another goroutine may use.

	// The schemas met when reading, by their text.
	known      map[string]*plan
	knownBytes int
	// The start of the last record, up to its payload, and its plan. Most records of a
	// topic start the same.
	lastStart []byte
	lastPlan  *plan
	slab      slab
}

func configDef() *connect.ConfigDef {
	return connect.NewConfigDef(
		connect.ConfigKey{
			Name: "schemas.enable", Type: connect.TypeBoolean, Default: "true", Importance: connect.High, Group: "Schemas",
			Doc: "Whether each record carries its schema. Without it, field types are guessed when records are read.",
		},
		connect.ConfigKey{
			Name: "schemas.cache.size", Type: connect.TypeInt, Default: "1000", Importance: connect.High, Group: "Schemas",
			Check: connect.Between(0, 1<<30), Doc: "The number of schemas that are kept compiled.",
		},
		connect.ConfigKey{
			Name: "decimal.format", Default: "BASE64", Importance: connect.Low, Group: "Serialization",
			Check: connect.OneOf("BASE64", "NUMERIC"),
			Doc:   "How decimals are written: BASE64 of their unscaled value, or NUMERIC. Both are read.",
		},
		connect.ConfigKey{
			Name: "replace.null.with.default", Type: connect.TypeBoolean, Default: "true", Importance: connect.Low, Group: "Schemas",
			Doc: "Whether an absent value is replaced by its schema's default.",
		},
		connect.ConfigKey{
			Name: "converter.type", Optional: true, Importance: connect.Low, Check: connect.OneOf("key", "value", "header"),
			Doc: "What the converter is used for; the worker knows, so this need not be set.",
		},
	).OpenTo(foreign)
}

// foreign accepts settings of other converters. People change a converter's class
// and leave its settings where they are, and Kafka Connect lets them.
func foreign(name string) bool {
	switch name {
	case "schemas.cache.config", "converter.encoding", "auto.register.schemas", "use.latest.version",
		"enhanced.avro.schema.support", "scrub.invalid.names", "connect.meta.data":
		return true
	}
	return strings.HasPrefix(name, "schema.registry.") || strings.HasPrefix(name, "basic.auth.") || strings.HasPrefix(name, "bearer.auth.")
}

// Configure implements [connect.Converter].
func (c *Converter) Configure(config connect.Config, _ bool) error {
	s, err := configDef().Parse(config)
	if err != nil {
		return err
	}
	c.schemas = s.Bool("schemas.enable")
	c.limit = max(1, s.Int("schemas.cache.size"))
	o := options{
		numeric: strings.EqualFold(s.String("decimal.format"), "NUMERIC"),
		replace: s.Bool("replace.null.with.default"),
	}
	c.out, c.in = newCompiler(o, c.limit), newCompiler(o, c.limit)
	c.known = map[string]*plan{}
	return nil
}

// FromConnect implements [connect.Converter]. A null value of a schema becomes
// JSON's null; a null without a schema is Kafka's null.
func (c *Converter) FromConnect(_ context.Context, dst []byte, topic string, s *connect.Schema, v connect.Value) ([]byte, error) {
	if s == nil && v.IsNull() {
		return nil, nil
	}
	p, err := c.out.plan(s)
	if err == nil && c.schemas {
		dst = append(dst, p.envelope...)
	}
	if err == nil {
		dst, err = p.append(dst, v)
	}
	if err != nil {
		return nil, &connect.Error{
			Code: "json.mismatch", Class: connect.ClassRecord, Place: topic, Cause: err,
			Message: "the value does not fit its schema and cannot be written as JSON",
		}
	}
	if c.schemas {
		dst = append(dst, '}')
	}
	return dst, nil
}

// ToConnect implements [connect.Converter].
func (c *Converter) ToConnect(_ context.Context, topic string, data []byte) (*connect.Schema, connect.Value, error) {
	if data == nil {
		return nil, connect.Value{}, nil
	}
	var s *connect.Schema
	var v connect.Value
	var err error
	if c.schemas {
		s, v, err = c.readEnvelope(data)
	} else {
		v, err = c.readBare(data)
	}
	if err != nil {
		return nil, connect.Value{}, invalid(topic, err)
	}
	return s, v, nil
}

func invalid(topic string, err error) error {
	e := &connect.Error{
		Code: "json.invalid", Class: connect.ClassRecord, Place: topic, Cause: err,
		Message: "the record is no JSON of the expected form", Mend: "use the converter this topic is written with",
	}
	if err == errEnvelope {
		e.Mend = "set schemas.enable=false for this converter if the topic holds plain JSON"
	}
	return e
}

// readBare reads a record without its schema. No bytes at all are null, as Kafka
// Connect has it.
func (c *Converter) readBare(data []byte) (connect.Value, error) {
	d := decoder{scanner: scanner{data: data}, slab: &c.slab}
	d.space()
	if d.at == len(data) {
		return connect.Value{}, nil
	}
	v, err := d.schemaless(0)
	if err != nil {
		return v, err
	}
	return v, d.end()
}

// readEnvelope reads {"schema":…,"payload":…}.
func (c *Converter) readEnvelope(data []byte) (*connect.Schema, connect.Value, error) {
	d := decoder{scanner: scanner{data: data}, slab: &c.slab, options: c.in.options}
	if c.lastPlan != nil && bytes.HasPrefix(data, c.lastStart) {
		d.at = len(c.lastStart)
		if v, err := d.value(c.lastPlan, 0); err == nil && d.take('}') && d.end() == nil {
			return c.lastPlan.schema, v, nil
		}
	}
	schema, payload, err := splitEnvelope(data)
	if err != nil {
		return nil, connect.Value{}, err
	}
	p, err := c.planOf(data[schema.from:schema.to])
	if err != nil {
		return nil, connect.Value{}, err
	}
	d.data, d.at = data[:payload.to], payload.from
	v, err := d.value(p, 0)
	if err == nil && schema.to < payload.from {
		c.lastStart, c.lastPlan = append(c.lastStart[:0], data[:payload.from]...), p
	}
	return p.schema, v, err
}

// planOf returns the plan for a schema's JSON.
func (c *Converter) planOf(text []byte) (*plan, error) {
	if p, ok := c.known[string(text)]; ok {
		return p, nil
	}
	s, err := parseSchema(c.in, text)
	if err != nil {
		return nil, err
	}
	p, err := c.in.plan(s)
	if err == nil {
		c.remember(string(text), p)
	}
	return p, err
}

// remember keeps p under its text, having forgotten all when that is too much.
func (c *Converter) remember(text string, p *plan) {
	if len(text) > maxCachedSchemaBytes {
		return
	}
	if len(c.known) >= c.limit || c.knownBytes+len(text) > maxCachedSchemaBytes {
		clear(c.known)
		c.knownBytes = 0
	}
	c.known[text] = p
	c.knownBytes += len(text)
}

// Close implements [connect.Converter].
func (c *Converter) Close() error { return nil }
