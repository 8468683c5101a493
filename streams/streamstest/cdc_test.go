package streamstest_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/serde"
	"github.com/tidemill/tidemill/streams/state"
	"github.com/tidemill/tidemill/streams/streamstest"
)

// shop is a topic of change events of customers(id, city, notes).
type shop struct {
	t        *testing.T
	d        *streamstest.Driver
	key, row *connect.Schema
	envelope *connect.Schema
	in       *streamstest.Input[connect.Value, connect.Value]
}

func newShop(t *testing.T) *shop {
	t.Helper()
	text := connect.Of(connect.KindString).AsOptional()
	s := &shop{t: t}
	s.key = connect.SchemaDef{Kind: connect.KindStruct, Fields: []connect.Field{{Name: "id", Schema: connect.Of(connect.KindInt64)}}}.MustBuild()
	s.row = connect.SchemaDef{Kind: connect.KindStruct, Fields: []connect.Field{
		{Name: "id", Schema: connect.Of(connect.KindInt64).AsOptional()}, {Name: "city", Schema: text}, {Name: "notes", Schema: text},
	}}.MustBuild()
	source := connect.SchemaDef{Kind: connect.KindStruct, Optional: true, Fields: []connect.Field{{Name: "lsn", Schema: connect.Of(connect.KindInt64)}}}.MustBuild()
	var err error
	if s.envelope, err = connect.EnvelopeSchema("shop.customers.Envelope", s.row, source); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *shop) cdc(before bool) streams.CDC {
	return streams.CDC{Topic: "customers", Key: serde.Row(s.key), Envelope: serde.Row(s.envelope), Row: s.row, TrustBefore: before}
}

func (s *shop) run(b *streams.Builder) {
	s.d = build(s.t, b)
	s.in = streamstest.In[connect.Value, connect.Value](s.d, "customers", serde.Row(s.key), serde.Row(s.envelope))
}

func (s *shop) id(id int64) connect.Value {
	return connect.StructValue(s.key.StructOf([]connect.Value{connect.Int64(id)}))
}

// at returns a row; "" is null.
func (s *shop) at(id int64, city, notes string) connect.Value {
	v := func(x string) connect.Value {
		if x == "" {
			return connect.Value{}
		}
		return connect.String(x)
	}
	row := s.envelope.Fields()[0].Schema
	return connect.StructValue(row.StructOf([]connect.Value{connect.Int64(id), v(city), v(notes)}))
}

// change pipes an event.
func (s *shop) change(op string, id int64, before, after connect.Value) {
	s.t.Helper()
	e := s.envelope.NewStruct()
	e.Set(0, before)
	e.Set(1, after)
	e.Set(4, connect.String(op))
	s.in.Pipe(s.id(id), connect.StructValue(e))
}

// byCity counts customers by city and writes the rows of the table as text.
func byCity(t *streams.Table[connect.Value, connect.Value]) *streams.Table[string, int64] {
	t.ToStream().To("rows", serde.Row(connect.SchemaDef{Kind: connect.KindStruct, Fields: []connect.Field{{Name: "id", Schema: connect.Of(connect.KindInt64)}}}.MustBuild()), rowText{})
	return streams.GroupTable(t, func(_, row connect.Value) (string, int64) {
		return row.Struct().Get("city").Str(), 1
	}, serde.Text{}, serde.Int64{}).Count(streams.With{Store: "by-city"})
}

// rowText writes a row as its JSON.
type rowText struct{}

func (rowText) Append(dst []byte, v connect.Value) ([]byte, error) {
	return append(dst, v.String()...), nil
}
func (rowText) Decode(b []byte) (connect.Value, error) { return connect.String(string(b)), nil }

var null connect.Value

// TestCDCTable follows a table through snapshot, insert, update, move, delete with
// the record without value behind it, an event that comes twice, an unsent column
// and a truncate.
func TestCDCTable(t *testing.T) { followTable(t, streams.With{Store: "customers"}) }

// TestCDCTableWithHistory does the same where the rows before are kept.
func TestCDCTableWithHistory(t *testing.T) {
	followTable(t, streams.With{Store: "customers", History: time.Hour})
}

func followTable(t *testing.T, with streams.With) {
	s := newShop(t)
	b := streams.NewBuilder()
	customers := s.cdc(false).Table(b, with)
	counts := byCity(customers)
	s.run(b)
	check := func(step, want string) {
		t.Helper()
		if got := fmt.Sprint(streamstest.Table(s.d, counts)); got != want {
			t.Errorf("after %s: %s, want %s", step, got, want)
		}
	}
	s.change(connect.OpRead, 1, null, s.at(1, "basel", "long"))
	s.change(connect.OpRead, 2, null, s.at(2, "basel", ""))
	check("the snapshot", "map[basel:2]")
	s.change(connect.OpCreate, 3, null, s.at(3, "bern", ""))
	check("an insert", "map[basel:2 bern:1]")
	s.change(connect.OpUpdate, 1, null, s.at(1, "bern", "__debezium_unavailable_value"))
	check("an update without before", "map[basel:1 bern:2]")
	s.change(connect.OpUpdate, 1, null, s.at(1, "bern", "__debezium_unavailable_value"))
	check("the update once more", "map[basel:1 bern:2]")
	if got := s.notes(customers, 1); got != "long" {
		t.Errorf("the column that was not sent became %q", got)
	}
	s.change(connect.OpDelete, 2, s.at(2, "", ""), null)
	check("a delete with only the key before", "map[bern:2]")
	s.in.Delete(s.id(2))
	check("the record without value", "map[bern:2]")
	s.change(connect.OpMessage, 9, null, null)
	check("a message", "map[bern:2]")
	s.change(connect.OpTruncate, 0, null, null)
	check("a truncate", "map[]")
	s.change(connect.OpCreate, 4, null, s.at(4, "chur", ""))
	check("an insert after it", "map[chur:1]")
	s.in.Delete(s.id(4))
	check("a record without value alone", "map[]")
}

func (s *shop) notes(table *streams.Table[connect.Value, connect.Value], id int64) string {
	s.t.Helper()
	row, found, err := table.View(s.d.Rows("customers")).Lookup(context.Background(), s.id(id))
	if err != nil || !found {
		s.t.Fatalf("row %d: found %v, %v", id, found, err)
	}
	return row.Value.Struct().Get("notes").Str()
}

// TestCDCTableTrustsBefore takes old rows from the events and keeps no store.
func TestCDCTableTrustsBefore(t *testing.T) {
	s := newShop(t)
	b := streams.NewBuilder()
	customers := s.cdc(true).Table(b)
	counts := byCity(customers)
	s.run(b)
	if customers.StoreName() != "" {
		t.Errorf("the rows are kept in %s", customers.StoreName())
	}
	s.change(connect.OpCreate, 1, null, s.at(1, "basel", ""))
	s.change(connect.OpUpdate, 1, s.at(1, "basel", ""), s.at(1, "bern", ""))
	s.change(connect.OpCreate, 2, null, s.at(2, "bern", ""))
	s.change(connect.OpDelete, 2, s.at(2, "bern", ""), null)
	s.in.Delete(s.id(2))
	if got := fmt.Sprint(streamstest.Table(s.d, counts)); got != "map[bern:1]" {
		t.Errorf("counted %s", got)
	}
}

// TestCDCTakesFromNoGroup has rows go that never came: as in Kafka Streams, nothing is taken
// from a group that is not there, also where one comes to be by the same event.
func TestCDCTakesFromNoGroup(t *testing.T) {
	s := newShop(t)
	b := streams.NewBuilder()
	counts := byCity(s.cdc(true).Table(b))
	s.run(b)
	s.change(connect.OpDelete, 9, s.at(9, "chur", ""), null)
	s.change(connect.OpUpdate, 1, s.at(1, "basel", ""), s.at(1, "bern", ""))
	s.change(connect.OpUpdate, 2, s.at(2, "zug", ""), s.at(2, "zug", "x"))
	if got := fmt.Sprint(streamstest.Table(s.d, counts)); got != "map[bern:1 zug:1]" {
		t.Errorf("counted %s", got)
	}
}

// TestCDCProjects reads events whose rows have other columns than the table.
func TestCDCProjects(t *testing.T) {
	s := newShop(t)
	c := s.cdc(false)
	text := connect.Of(connect.KindString).AsOptional()
	c.Row = connect.SchemaDef{Kind: connect.KindStruct, Fields: []connect.Field{{Name: "phone", Schema: text}, {Name: "city", Schema: text}}}.MustBuild()
	b := streams.NewBuilder()
	byCity(c.Table(b))
	s.run(b)
	s.change(connect.OpCreate, 1, null, s.at(1, "basel", "x"))
	rs := streamstest.Out[connect.Value, connect.Value](s.d, "rows", serde.Row(s.key), rowText{}).Read()
	if len(rs) != 1 || rs[0].Value.Str() != `{"phone":null,"city":"basel"}` {
		t.Errorf("got %v", rs)
	}
}

func TestCDCStream(t *testing.T) {
	s := newShop(t)
	b := streams.NewBuilder()
	events := s.cdc(false).Stream(b)
	streams.MapValues(events, func(_ connect.Value, c streams.Change[connect.Value]) connect.Value {
		city := func(v connect.Value, has bool) string {
			if !has {
				return "-"
			}
			return v.Struct().Get("city").Str()
		}
		return connect.String(city(c.Old, c.HasOld) + ">" + city(c.New, c.HasNew))
	}).To("out", serde.Row(s.key), serde.Row(connect.Of(connect.KindString)))
	s.run(b)
	s.change(connect.OpCreate, 1, null, s.at(1, "basel", ""))
	s.change(connect.OpUpdate, 1, s.at(1, "basel", ""), s.at(1, "bern", ""))
	s.change(connect.OpDelete, 1, s.at(1, "bern", ""), null)
	s.in.Delete(s.id(1))
	got := ""
	for _, r := range streamstest.Out[connect.Value, connect.Value](s.d, "out", serde.Row(s.key), serde.Row(connect.Of(connect.KindString))).Read() {
		got += r.Value.Str() + " "
	}
	if got != "->basel basel>bern bern>- " {
		t.Errorf("got %q", got)
	}
}

// dedupe forwards the first record of each key and drops the others.
type dedupe struct {
	c    *streams.Context[string, int64]
	seen state.Store
}

func newDedupe(c *streams.Context[string, int64]) (func(*streams.Record[string, int64]) error, error) {
	seen, err := c.Store("seen")
	return (&dedupe{c: c, seen: seen}).take, err
}

func (d *dedupe) take(r *streams.Record[string, int64]) error {
	_, found, err := d.seen.Get(nil, []byte(r.Key))
	if err != nil || found {
		d.c.Drop()
		return err
	}
	if err := d.seen.Put([]byte(r.Key), []byte("x")); err != nil {
		return err
	}
	return d.c.Forward(r)
}

func TestProcessor(t *testing.T) {
	b := streams.NewBuilder()
	in := streams.From(b, "in", text{}, num{})
	streams.Process(in, newDedupe, streams.With{Stores: []state.Spec{{Name: "seen"}}}).To("out", text{}, num{})
	d := build(t, b)
	input := streamstest.In(d, "in", text{}, num{})
	for _, k := range []string{"a", "b", "a", "c", "b"} {
		input.Pipe(k, 1)
	}
	expect(t, streamstest.Out(d, "out", text{}, num{}), "a=1 b=1 c=1")
	if n := d.Metrics().Dropped.Load(); n != 2 {
		t.Errorf("%d dropped", n)
	}
	if got := len(streamstest.Out(d, "test-seen-changelog", text{}, text{}).Read()); got != 3 {
		t.Errorf("%d records in the changelog", got)
	}
}
