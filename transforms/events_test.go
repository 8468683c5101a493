package transforms

import (
	"testing"

	"github.com/tidemill/tidemill/connect"
)

// event returns a change event of a little table.
func event(op string) connect.Record {
	str, i32 := connect.Of(connect.KindString), connect.Of(connect.KindInt32)
	row := schemaOf("shop.Value", "id", i32, "name", str.AsOptional())
	source := schemaOf("shop.Source", "table", str, "lsn", connect.Of(connect.KindInt64).AsOptional())
	s, err := connect.EnvelopeSchema("shop.Envelope", row, source)
	if err != nil {
		panic(err)
	}
	e := s.NewStruct()
	if op == "u" || op == "d" {
		e.Set(s.Index("before"), rowOf(row, connect.Int32(1), connect.String("old")))
	}
	if op != "d" && op != "t" {
		e.Set(s.Index("after"), rowOf(row, connect.Int32(1), connect.String("new")))
	}
	e.Set(s.Index("source"), rowOf(source, connect.String("items"), connect.Int64(99)))
	e.Set(s.Index("op"), connect.String(op))
	e.Set(s.Index("ts_ms"), connect.Int64(1234))
	return connect.Record{Topic: "shop.items", KeySchema: i32, Key: connect.Int32(1), ValueSchema: s, Value: connect.StructValue(e)}
}

func TestUnwrap(t *testing.T) {
	const class = "io.debezium.transforms.ExtractNewRecordState"
	const top = "shop.items\nkey int32 1\n"
	const row, rewritten = "{id int32, name string?}(Value)? ", "{id int32, name string?, __deleted string?}(Value)? "
	dead := event("d")
	dead.ValueSchema, dead.Value = nil, connect.Value{}
	runCases(t, []transformCase{
		{class, "", event("u"), top + row + `{"id":1,"name":"new"}`},
		{class, "", event("r"), top + row + `{"id":1,"name":"new"}`},
		{class, "", event("t"), "dropped"},
		{class, "", person(), head + personSchema + ` {"id":7,"name":"Ann","level":null,"city":` + bern + `}`},
		{class, "", event("d"), "dropped"},
		{class, "", dead, top + "- null"},
		{class, "delete.tombstone.handling.mode=drop", event("d"), "dropped"},
		{class, "delete.tombstone.handling.mode=drop", dead, "dropped"},
		{class, "delete.tombstone.handling.mode=rewrite", event("d"), top + rewritten + `{"id":1,"name":"old","__deleted":"true"}`},
		{class, "delete.tombstone.handling.mode=rewrite", event("c"), top + rewritten + `{"id":1,"name":"new","__deleted":"false"}`},
		{class, "delete.tombstone.handling.mode=rewrite", dead, "dropped"},
		{class, "delete.tombstone.handling.mode=rewrite-with-tombstone", dead, top + "- null"},
		{class, "delete.tombstone.handling.mode=delete-to-tombstone", event("d"), top + "- null"},
		{class, "delete.tombstone.handling.mode=delete-to-tombstone", dead, "dropped"},
		{class, "delete.handling.mode=rewrite", event("d"), top + rewritten + `{"id":1,"name":"old","__deleted":"true"}`},
		{class, "delete.handling.mode=rewrite", dead, "dropped"},
		{class, "drop.tombstones=false", dead, top + "- null"},
		{class, "drop.tombstones=false", event("d"), "dropped"},
		{class, "delete.handling.mode=none", event("d"), top + "- null"},
		{class, "add.fields=op,table,source.lsn:lsn,transaction.id,ts_ms;add.headers=op;add.headers.prefix=x-", event("u"),
			top + "{id int32, name string?, __op string, __table string, __lsn int64?, __transaction_id string?, __ts_ms int64?}(Value)? " +
				`{"id":1,"name":"new","__op":"u","__table":"items","__lsn":99,"__transaction_id":null,"__ts_ms":1234}` + "\nx-op: string \"u\""},
		{class, "add.fields=nope", event("c"), top + "{id int32, name string?, __nope string?}(Value)? " + `{"id":1,"name":"new","__nope":null}`},
		{class, "route.by.field=name", event("u"), "new\nkey int32 1\n" + row + `{"id":1,"name":"new"}`},
		{class, "route.by.field=name;delete.tombstone.handling.mode=delete-to-tombstone", event("d"), "old\nkey int32 1\n- null"},
		{class, "route.by.field=id", event("u"), "error holds no topic"},
		{class, "route.by.field=nope", event("u"), "error has no such field"},
		{class, "delete.tombstone.handling.mode=keep", event("u"), "error must be one of"},
	})
}

// outbox returns the change event of an outbox table.
func outbox(op string, payload connect.Value) connect.Record {
	str := connect.Of(connect.KindString)
	row := schemaOf("o.Value", "id", str, "aggregatetype", str, "aggregateid", str, "type", str, "payload", str.AsOptional(), "part", connect.Of(connect.KindInt32))
	s, err := connect.EnvelopeSchema("o.Envelope", row, schemaOf("o.Source", "table", str))
	if err != nil {
		panic(err)
	}
	e := s.NewStruct()
	e.Set(s.Index("after"), rowOf(row, connect.String("e1"), connect.String("Order"), connect.String("42"), connect.String("Placed"), payload, connect.Int32(3)))
	e.Set(s.Index("source"), rowOf(schemaOf("o.Source", "table", str), connect.String("outbox")))
	e.Set(s.Index("op"), connect.String(op))
	e.Set(s.Index("ts_ms"), connect.Int64(1234))
	return connect.Record{Topic: "db.outbox", Partition: connect.AnyPartition, Timestamp: connect.NoTimestamp, KeySchema: str, Key: connect.String("e1"), ValueSchema: s, Value: connect.StructValue(e)}
}

func TestOutbox(t *testing.T) {
	const class = "io.debezium.transforms.outbox.EventRouter"
	text := connect.String(`{"n":1}`)
	const top, id = "outbox.event.Order\nkey string \"42\"\n", "\nid: string \"e1\""
	runCases(t, []transformCase{
		{class, "", outbox("c", text), top + `string? "{\"n\":1}"` + id},
		{class, "", outbox("d", text), "dropped"},
		{class, "", outbox("u", text), "dropped"},
		{class, "table.op.invalid.behavior=error", outbox("u", text), "error Unexpected update"},
		{class, "", tombstone(), "dropped"},
		{class, "", person(), head + personSchema + ` {"id":7,"name":"Ann","level":null,"city":` + bern + `}`},
		{class, "table.fields.additional.placement=type:header:eventType,part:partition", outbox("c", text), top + `string? "{\"n\":1}"` + id + "\neventType: string \"Placed\""},
		{class, "table.fields.additional.placement=type:envelope:kind", outbox("c", text), top + `{payload string?, kind string} {"payload":"{\"n\":1}","kind":"Placed"}` + id},
		{class, "route.tombstone.on.empty.payload=true", outbox("c", connect.Value{}), top + "- null" + id},
		{class, "route.topic.regex=(.)rder;replacement=x;route.topic.replacement=$1", outbox("c", text), "error Unknown configuration"},
		{class, "route.topic.regex=(.)rder;route.topic.replacement=events-$1", outbox("c", text), "events-O\nkey string \"42\"\n" + `string? "{\"n\":1}"` + id},
		{class, "table.field.event.key=nope", outbox("c", text), "error Unable to find the field nope"},
		{class, "table.fields.additional.placement=type", outbox("c", text), "error is not column:header"},
	})
}

func TestOutboxPartitionAndTime(t *testing.T) {
	p, err := connect.FindPlugin(Plugins(), "EventRouter")
	if err != nil {
		t.Fatal(err)
	}
	settings, err := p.Config.Parse(connect.Config{"table.fields.additional.placement": "part:partition"})
	if err != nil {
		t.Fatal(err)
	}
	tr := p.New()
	if err := tr.Configure(settings); err != nil {
		t.Fatal(err)
	}
	r := outbox("c", connect.String("x"))
	if _, err := tr.Apply(&r); err != nil || r.Partition != 3 || r.Timestamp != 1234 {
		t.Errorf("partition %d, time %d, %v", r.Partition, r.Timestamp, err)
	}
}
