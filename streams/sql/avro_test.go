package sql

import (
	"context"
	"net/http/httptest"
	"testing"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/converters/avro"
	"github.com/tidemill/tidemill/internal/devstack"
	"github.com/tidemill/tidemill/registry"
	"github.com/tidemill/tidemill/streams/topics"
)

// registered is a SchemaSource over a real registry.
type registered struct{ client *avro.Client }

func (r registered) Schema(ctx context.Context, topic string, key bool) (*connect.Schema, bool, error) {
	subject := topic + "-value"
	if key {
		subject = topic + "-key"
	}
	s, _, err := r.client.LatestSchema(ctx, subject)
	if connect.AsError(err) != nil && connect.AsError(err).Code == "registry.not_found" {
		return nil, false, nil
	}
	return s, err == nil, err
}

// TestChangesInAvro derives a table from change events in Avro, as the PostgreSQL
// source writes them, and reads the result's own schema back from the registry.
func TestChangesInAvro(t *testing.T) {
	server, err := registry.New(registry.Options{Store: registry.Memory()})
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(server.Handler())
	defer web.Close()
	settings := connect.Config{"schema.registry.url": web.URL}
	client, err := avro.NewRegistry(settings)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	format := func(key bool) (connect.Converter, error) {
		c := &avro.Converter{}
		return c, c.Configure(settings, key)
	}
	p := startProcess(t, devstack.TestKafka(t), t.TempDir(), func(c *Config) {
		c.Formats["AVRO"], c.Schemas = format, registered{client}
	})
	defer p.stop(t)
	if err := p.client.Create(t.Context(), topics.Spec{Name: "shop.public.orders", Partitions: 2}); err != nil {
		t.Fatal(err)
	}
	w := newChangeWriter(t, p, format)
	w.change(1, connect.OpRead, nil, []connect.Value{connect.Int32(1), connect.Int32(7), connect.IntOf(connect.KindInt16, 2), connect.String("a")})
	w.change(2, connect.OpCreate, nil, []connect.Value{connect.Int32(2), connect.Int32(7), connect.IntOf(connect.KindInt16, 3), null})
	p.must(t, `
		CREATE TABLE orders WITH (CDC='shop.public.orders');
		CREATE TABLE by_purchaser AS SELECT purchaser, COUNT(*) AS n, SUM(quantity) AS items FROM orders GROUP BY purchaser EMIT CHANGES;
		CREATE TABLE again WITH (FORMAT='JSON') AS SELECT purchaser, n FROM by_purchaser WHERE n > 0 EMIT CHANGES;`)
	p.eventually(t, "SELECT * FROM by_purchaser;", "[7,2,5]")
	w.change(2, connect.OpUpdate, nil, []connect.Value{connect.Int32(2), connect.Int32(8), connect.IntOf(connect.KindInt16, 4), null})
	w.change(1, connect.OpDelete, []connect.Value{connect.Int32(1), null, null, null}, nil)
	p.eventually(t, "SELECT * FROM by_purchaser;", "[8,1,4]")
	p.eventually(t, "SELECT * FROM again;", "[8,1]")
	s, ok, err := registered{client}.Schema(t.Context(), "BY_PURCHASER", false)
	if err != nil || !ok || s.Name() != valueSchemaName || len(s.Fields()) != 2 || s.Fields()[1].Schema != connect.Of(connect.KindInt32).AsOptional() {
		t.Errorf("the result's schema is %v %v (%v)", s, s.Fields(), err)
	}
	if s, ok, err := (registered{client}).Schema(t.Context(), "BY_PURCHASER", true); err != nil || !ok || s.Kind() != connect.KindInt32 {
		t.Errorf("the schema of the result's keys is %v (%v)", s, err)
	}
	p.must(t, `
		CREATE STREAM events WITH (KAFKA_TOPIC='shop.public.orders', FORMAT='AVRO');
		CREATE STREAM nested AS SELECT id, after, STRUCT(a := STRUCT(b := op), c := before) AS s, ARRAY[STRUCT(x := op), NULL] AS list, MAP('k' := after) AS m FROM events WHERE op = 'c' EMIT CHANGES;
		CREATE STREAM unnested AS SELECT id, s->a->b AS op, after->purchaser AS p, list[1]->x AS x, m['k']->quantity AS q FROM nested EMIT CHANGES;`)
	a := &answer{}
	if _, err := p.Query(t.Context(), Request{Text: "SELECT * FROM unnested EMIT CHANGES LIMIT 1;", Properties: map[string]string{"auto.offset.reset": "earliest"}}, a); err != nil || a.out[1] != `[2,"c",7,"c",3]` {
		t.Errorf("%v %v", a.out, err)
	}
	// A table over the result's topic finds its columns in the registry.
	p.must(t, `CREATE SOURCE TABLE copy (purchaser INT PRIMARY KEY) WITH (KAFKA_TOPIC='BY_PURCHASER', FORMAT='AVRO');`)
	p.eventually(t, "SELECT purchaser, items FROM copy;", "[8,4]")
}

// changeWriter writes change events of a table with the columns id, purchaser,
// quantity and note.
type changeWriter struct {
	t          *testing.T
	p          *process
	key, value connect.Converter
	row, ids   *connect.Schema
	envelope   *connect.Schema
}

func newChangeWriter(t *testing.T, p *process, format Format) *changeWriter {
	t.Helper()
	field := func(name string, k connect.Kind, optional bool) connect.Field {
		s := connect.Of(k)
		if optional {
			s = s.AsOptional()
		}
		return connect.Field{Name: name, Schema: s}
	}
	build := func(name string, fields ...connect.Field) *connect.Schema {
		s, err := connect.SchemaDef{Kind: connect.KindStruct, Name: name, Fields: fields}.Build()
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	w := &changeWriter{t: t, p: p}
	w.row = build("shop.public.orders.Value", field("id", connect.KindInt32, false), field("purchaser", connect.KindInt32, true),
		field("quantity", connect.KindInt16, true), field("note", connect.KindString, true))
	w.ids = build("shop.public.orders.Key", field("id", connect.KindInt32, false))
	var err error
	if w.envelope, err = connect.EnvelopeSchema("shop.public.orders.Envelope", w.row.AsOptional(), build("source", field("lsn", connect.KindInt64, true))); err != nil {
		t.Fatal(err)
	}
	if w.key, err = format(true); err != nil {
		t.Fatal(err)
	}
	if w.value, err = format(false); err != nil {
		t.Fatal(err)
	}
	return w
}

// change writes one event.
func (w *changeWriter) change(id int32, op string, before, after []connect.Value) {
	w.t.Helper()
	event := w.envelope.NewStruct()
	for name, row := range map[string][]connect.Value{"before": before, "after": after} {
		if row != nil {
			event.Set(w.envelope.Index(name), connect.StructValue(w.row.AsOptional().StructOf(row)))
		}
	}
	source := w.envelope.Fields()[w.envelope.Index("source")].Schema.NewStruct()
	event.Set(w.envelope.Index("source"), connect.StructValue(source))
	event.Set(w.envelope.Index("op"), connect.String(op))
	topic := "shop.public.orders"
	key, err := w.key.FromConnect(w.t.Context(), []byte{}, topic, w.ids, connect.StructValue(w.ids.StructOf([]connect.Value{connect.Int32(id)})))
	if err != nil {
		w.t.Fatal(err)
	}
	value, err := w.value.FromConnect(w.t.Context(), []byte{}, topic, w.envelope, connect.StructValue(event))
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.p.client.Produce(w.t.Context(), &topics.Record{Topic: topic, Key: key, Value: value}); err != nil {
		w.t.Fatal(err)
	}
}
