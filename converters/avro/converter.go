package avro

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"

	hamba "github.com/hamba/avro/v2"

	"github.com/tidemill/tidemill/connect"
)

// Converter is the Avro converter for keys and values.
type Converter struct {
	settings
	dial   Dial
	isKey  bool
	client *Client

	// The writers made so far, for FromConnect.
	writers map[written]*writer
	last    *writer
	// The readers made so far by schema id, for ToConnect.
	readers map[int32]*schemaReader
	recent  *schemaReader
	slab    slab
	lent    lent
}

// written is what a writer is made for.
type written struct {
	topic  string
	schema *connect.Schema
}

// writer writes values of one schema to one topic.
type writer struct {
	written
	header [headerSize]byte
	enc    *encoder
}

// schemaReader reads records of one schema id.
type schemaReader struct {
	id     int32
	schema *connect.Schema
	dec    *decoder
}

// headerSize is the length of what stands before a record: a zero byte, and the
// schema's id as a big-endian 32-bit integer, as Confluent's "Wire Format" has it.
const headerSize = 5

// Plugins lists the converter.
func Plugins() []connect.Plugin[connect.Converter] { return PluginsVia(nil) }

// Dial opens a connection to a registry, as [net.Dialer] does.
type Dial func(ctx context.Context, network, address string) (net.Conn, error)

// PluginsVia is [Plugins] with connections that dial opens, for programs that reach
// the registry by a way of their own; nil opens them over TCP.
func PluginsVia(dial Dial) []connect.Plugin[connect.Converter] {
	return []connect.Plugin[connect.Converter]{{
		Class: "io.confluent.connect.avro.AvroConverter", Aliases: []string{"tidemill.Avro"},
		Doc: "Avro, with schemas in a schema registry.", Config: configDef(),
		New: func() connect.Converter { return &Converter{dial: dial} },
	}}
}

// Configure implements [connect.Converter]. The registry is not asked yet.
func (c *Converter) Configure(config connect.Config, isKey bool) error {
	s, err := configDef().Parse(config)
	if err != nil {
		return err
	}
	c.settings, c.isKey = readSettings(s, isKey), isKey
	c.writers, c.readers = map[written]*writer{}, map[int32]*schemaReader{}
	c.client, err = newClient(s, c.dial)
	return err
}

// probed is a subject nobody has: asking for it shows whether the registry answers.
const probed = "tidemill-probe"

// Probe implements [connect.Prober]: it asks the registry once, without trying again.
func (c *Converter) Probe(ctx context.Context) error {
	_, err := c.client.registry.Version(ctx, probed, 0)
	if err == nil || connect.AsError(err).Code == codeNotFound {
		return nil
	}
	e := *connect.AsError(err)
	e.Place = "schema.registry.url"
	return &e
}

// FromConnect implements [connect.Converter]. The first record of a schema waits
// for the registry; without an id nothing is written.
func (c *Converter) FromConnect(ctx context.Context, dst []byte, topic string, s *connect.Schema, v connect.Value) ([]byte, error) {
	if v.IsNull() && (s == nil || s.Optional()) {
		return nil, nil
	}
	w := c.last
	if w == nil || w.schema != s || w.topic != topic {
		var err error
		if w, err = c.writer(ctx, written{topic, s}); err != nil {
			return nil, err
		}
		c.last = w
	}
	if v.IsNull() {
		return nil, mismatch(topic, errAbsent)
	}
	out, err := w.enc.append(append(dst, w.header[:]...), v)
	if err != nil {
		return nil, mismatch(topic, err)
	}
	return out, nil
}

func mismatch(topic string, cause error) error {
	return &connect.Error{
		Code: "avro.mismatch", Class: connect.ClassRecord, Place: topic, Cause: cause,
		Message: "the value does not fit its schema and cannot be written as Avro",
		Mend:    "look at the transforms that changed the record last",
	}
}

// writer returns the writer for a schema and topic.
func (c *Converter) writer(ctx context.Context, key written) (*writer, error) {
	if w := c.writers[key]; w != nil {
		return w, nil
	}
	w, err := c.newWriter(ctx, key)
	if err != nil {
		return nil, err
	}
	if len(c.writers) >= c.cacheSize {
		clear(c.writers)
	}
	c.writers[key] = w
	return w, nil
}

func (c *Converter) newWriter(ctx context.Context, key written) (*writer, error) {
	n, err := c.toAvro(key.schema)
	if err != nil {
		return nil, unwritable(key, err)
	}
	subject, err := c.subject(key.topic, c.isKey, n)
	if err != nil {
		return nil, err
	}
	var id int
	if c.useLatest && !c.autoRegister {
		n, id, err = c.client.latest(ctx, subject)
	} else {
		text := schemaText(n)
		// What is no schema to an independent reader does not get into the registry.
		if _, err := hamba.ParseWithCache(text, "", &hamba.SchemaCache{}); err != nil {
			return nil, unwritable(key, err)
		}
		id, err = c.client.id(ctx, registration{subject, text, c.autoRegister})
	}
	if err != nil {
		return nil, err
	}
	w := &writer{written: key}
	if w.enc, err = c.newEncoder(key.schema, n); err != nil {
		return nil, unwritable(key, err)
	}
	binary.BigEndian.PutUint32(w.header[1:], uint32(id))
	return w, nil
}

// unwritable is the error for a schema that cannot be written as Avro.
func unwritable(key written, cause error) error {
	if e, ok := errors.AsType[*connect.Error](cause); ok {
		return &connect.Error{
			Code: e.Code, Class: e.Class, Place: key.topic, Mend: e.Mend,
			Message: fmt.Sprintf("schema %s cannot be written as Avro: %q: %s", key.schema, e.Place, e.Message),
		}
	}
	return &connect.Error{
		Code: "avro.schema", Class: connect.ClassFatal, Place: key.topic, Cause: cause,
		Message: fmt.Sprintf("schema %s cannot be written as Avro", key.schema),
		Mend:    "change the schema, or with use.latest.version the one in the registry",
	}
}

// ToConnect implements [connect.Converter]. Strings and bytes share data.
func (c *Converter) ToConnect(ctx context.Context, topic string, data []byte) (*connect.Schema, connect.Value, error) {
	return c.toValue(ctx, topic, data, &c.slab)
}

// ToConnectLent is ToConnect for those who copy the value at once: it is valid until the
// next call, and so are the structs and arrays in it. It is not called beside ToConnect.
func (c *Converter) ToConnectLent(ctx context.Context, topic string, data []byte) (*connect.Schema, connect.Value, error) {
	return c.toValue(ctx, topic, data, c.lent.again())
}

func (c *Converter) toValue(ctx context.Context, topic string, data []byte, room *slab) (*connect.Schema, connect.Value, error) {
	if data == nil {
		return nil, connect.Value{}, nil
	}
	if len(data) < headerSize || data[0] != 0 {
		return nil, connect.Value{}, malformed(topic, errors.New("it does not start with a zero byte and the id of its schema"))
	}
	id := int32(binary.BigEndian.Uint32(data[1:]))
	r := c.recent
	if r == nil || r.id != id {
		var err error
		if r, err = c.reader(ctx, id); err != nil {
			return nil, connect.Value{}, placed(topic, err)
		}
		c.recent = r
	}
	v, err := room.read(r.dec, data[headerSize:])
	if err != nil {
		return nil, connect.Value{}, malformed(topic, fmt.Errorf("with schema id %d: %w", id, err))
	}
	return r.schema, v, nil
}

func malformed(topic string, cause error) error {
	return &connect.Error{
		Code: "avro.invalid", Class: connect.ClassRecord, Place: topic, Cause: cause,
		Message: "the record is no Avro of the expected form", Mend: "use the converter this topic is written with",
	}
}

// placed puts the topic before the place of err.
func placed(topic string, err error) error {
	e := *connect.AsError(err)
	if e.Place != "" {
		topic += ", " + e.Place
	}
	e.Place = topic
	return &e
}

// reader returns the reader for a schema id.
func (c *Converter) reader(ctx context.Context, id int32) (*schemaReader, error) {
	if r := c.readers[id]; r != nil {
		return r, nil
	}
	if id < 0 {
		return nil, unknownID(int(id))
	}
	n, err := c.client.schema(ctx, int(id))
	if err != nil {
		return nil, err
	}
	r := &schemaReader{id: id}
	if r.schema, err = c.toConnect(n); err == nil {
		r.dec, err = c.newDecoder(r.schema, n)
	}
	if err != nil {
		return nil, unreadable(fmt.Sprintf("schema id %d", id), err)
	}
	if len(c.readers) >= c.cacheSize {
		clear(c.readers)
	}
	c.readers[id] = r
	return r, nil
}

// Close implements [connect.Converter].
func (c *Converter) Close() error {
	if c.client != nil {
		c.client.Close()
	}
	return nil
}
