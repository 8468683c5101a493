package postgres

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/connect/connecttest"
	"github.com/tidemill/tidemill/internal/devstack"
)

// target is a database to write to.
type target struct {
	tb   testing.TB
	url  string
	conn *pgx.Conn
}

func newTarget(tb testing.TB) *target {
	tb.Helper()
	url := devstack.TestPostgres(tb)
	conn, err := pgx.Connect(context.Background(), url)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = conn.Close(context.Background()) })
	return &target{tb: tb, url: url, conn: conn}
}

func (d *target) exec(statements ...string) {
	d.tb.Helper()
	for _, s := range statements {
		if _, err := d.conn.Exec(context.Background(), s); err != nil {
			d.tb.Fatalf("%s: %v", s, err)
		}
	}
}

// lines returns the rows of a query, each as PostgreSQL's text of the whole row.
func (d *target) lines(query string) []string {
	d.tb.Helper()
	rows, err := d.conn.Query(context.Background(), "SELECT q::text FROM ("+query+") q", pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		d.tb.Fatal(err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		d.tb.Fatalf("%s: %v", query, err)
	}
	return lines
}

// holds compares what a query gives with lines divided by spaces.
func (d *target) holds(query, want string) {
	d.tb.Helper()
	if got := strings.Join(d.lines(query), " "); got != want {
		d.tb.Errorf("%s gives\n%s\nwant\n%s", query, got, want)
	}
}

// config is a configuration of the plugin's own class, with more settings in pairs.
func (d *target) config(more ...string) connect.Config {
	c := connect.Config{"connection.url": d.url, "topics": "t"}
	for i := 0; i < len(more); i += 2 {
		c[more[i]] = more[i+1]
	}
	return c
}

func (d *target) sink(config connect.Config, tolerant bool) *connecttest.SinkRun {
	d.tb.Helper()
	return connecttest.StartSink(d.tb, Plugins()[0].New(), config, tolerant)
}

// fields are names and schemas in turn.
func structOf(name string, fields ...any) *connect.Schema {
	d := connect.SchemaDef{Kind: connect.KindStruct, Name: name}
	for i := 0; i < len(fields); i += 2 {
		d.Fields = append(d.Fields, connect.Field{Name: fields[i].(string), Schema: fields[i+1].(*connect.Schema)})
	}
	return d.MustBuild()
}

// The schemas of a little table (id, name, qty).
type shop struct{ key, row, envelope *connect.Schema }

func newShop() shop {
	i32, str := connect.Of(connect.KindInt32), connect.Of(connect.KindString)
	s := shop{key: structOf("shop.Key", "id", i32), row: structOf("shop.Value", "id", i32, "name", str.AsOptional(), "qty", i32)}
	source := structOf("shop.Source", "db", str, "schema", str, "table", str)
	var err error
	if s.envelope, err = connect.EnvelopeSchema("shop.Envelope", s.row, source); err != nil {
		panic(err)
	}
	return s
}

func (s shop) keyOf(id int32) connect.Value {
	return connect.StructValue(s.key.StructOf([]connect.Value{connect.Int32(id)}))
}

// values returns a row; an empty name is null.
func (s shop) values(id int32, name string, qty int32) connect.Value {
	n := connect.Value{}
	if name != "" {
		n = connect.String(name)
	}
	return connect.StructValue(s.row.StructOf([]connect.Value{connect.Int32(id), n, connect.Int32(qty)}))
}

// plain returns a record of the row alone.
func (s shop) plain(id int32, name string, qty int32) connect.Record {
	return connect.Record{KeySchema: s.key, Key: s.keyOf(id), ValueSchema: s.row, Value: s.values(id, name, qty)}
}

// event returns a change event.
func (s shop) event(op string, id int32, name string, qty int32) connect.Record {
	e := s.envelope.NewStruct()
	row := s.values(id, name, qty)
	switch op {
	case "t":
	case "d":
		e.Set(s.envelope.Index("before"), row)
	default:
		e.Set(s.envelope.Index("after"), row)
	}
	e.Set(s.envelope.Index("op"), connect.String(op))
	src := s.envelope.Fields()[s.envelope.Index("source")].Schema
	e.Set(s.envelope.Index("source"), connect.StructValue(src.StructOf([]connect.Value{connect.String("db"), connect.String("sales"), connect.String("Orders")})))
	r := connect.Record{ValueSchema: s.envelope, Value: connect.StructValue(e)}
	if op != "t" {
		r.KeySchema, r.Key = s.key, s.keyOf(id)
	}
	return r
}

func (s shop) tombstone(id int32) connect.Record {
	return connect.Record{KeySchema: s.key, Key: s.keyOf(id)}
}

func TestConformance(t *testing.T) {
	devstack.TestPostgres(t) // Starts the shared server before goroutines are counted.
	s := newShop()
	poison := connecttest.SinkRecords("t", 0, s.event("u", 9, "zero \x00 byte", 5))[0]
	records := map[string][]connect.Record{
		"plain": {s.plain(1, "a", 1), s.plain(2, "b", 1), s.plain(3, "c", 1), s.plain(1, "a", 2), s.tombstone(3), s.plain(4, "", 0)},
		"events": {
			s.event("r", 1, "x", 0), s.event("c", 2, "b", 1), s.event("c", 3, "c", 1), s.event("u", 1, "a", 2),
			s.event("d", 3, "c", 1), s.tombstone(3), s.event("c", 4, "", 0),
		},
	}
	for name, list := range records {
		for _, offsets := range []string{"", "positions"} {
			t.Run(name+offsets, func(t *testing.T) {
				var d *target
				connecttest.Sink(t, connecttest.SinkCase{
					New: Plugins()[0].New,
					Config: func(tb testing.TB) connect.Config {
						d = newTarget(tb)
						config := d.config()
						if offsets != "" {
							config[keyOffsets] = offsets
						}
						return config
					},
					Records: connecttest.SinkRecords("t", 0, list...),
					Read:    func(testing.TB, connect.Config) []string { return d.lines("SELECT * FROM t ORDER BY id") },
					Want:    []string{"(1,a,2)", "(2,b,1)", "(4,,0)"},
					Poison:  &poison,
					Bad:     connect.Config{"connection.url": "postgres://127.0.0.1:1/x"},
				})
			})
		}
	}
}

func TestTableIsMade(t *testing.T) {
	d, s := newTarget(t), newShop()
	run := d.sink(d.config(), false)
	run.Put(connecttest.SinkRecords("shop.public.items", 0, s.event("c", 1, "a", 1))...)
	d.holds(`SELECT column_name, data_type, is_nullable FROM information_schema.columns WHERE table_name = 'shop_public_items' ORDER BY ordinal_position`,
		"(id,integer,NO) (name,text,YES) (qty,integer,YES)")
	if n := run.Metrics.Counter("tables_created_total"); n != 1 {
		t.Errorf("%d tables created", n)
	}
}

func TestNames(t *testing.T) {
	s := newShop()
	for _, c := range []struct{ topic, format, class, table string }{
		{"shop.public.items", "", "", `"public"."shop_public_items"`},
		{"shop.public.items", "copy_${table}", "", `"public"."copy_items"`},
		{"shop.public.items", "sales.${table}", "", `"sales"."items"`},
		{"x", "${source.schema}.${source.db}_${source.table}", "", `"sales"."db_Orders"`},
		{"sales.items", "${topic}", "io.confluent.connect.jdbc.JdbcSinkConnector", `"sales"."items"`},
		{`we"ird; drop table canary; --`, "", "", `"public"."we""ird; drop table canary; --"`},
	} {
		d := newTarget(t)
		d.exec("CREATE SCHEMA sales", "CREATE TABLE canary (id int)")
		config := d.config("connector.class", c.class)
		if c.format != "" {
			config[keyFormat] = c.format
		}
		run := d.sink(config, false)
		run.Put(connecttest.SinkRecords(c.topic, 0, s.event("c", 1, "a", 1))...)
		d.holds("SELECT id FROM "+c.table, "(1)")
		d.holds("SELECT count(*) FROM canary", "(0)")
	}
}

// TestHostileColumns uses names that would do harm if they were not quoted.
func TestHostileColumns(t *testing.T) {
	d := newTarget(t)
	d.exec("CREATE TABLE canary (id int)")
	i32 := connect.Of(connect.KindInt32)
	names := []string{`a"; drop table canary; --`, `$1`, `ü 'x'`, `SELECT`, `.`, `a%sb`, `\`}
	fields := []any{"id", i32}
	values := []connect.Value{connect.Int32(1)}
	for i, n := range names {
		fields = append(fields, n, i32)
		values = append(values, connect.Int32(int32(i)))
	}
	s := structOf("r", fields...)
	run := d.sink(d.config("primary.key.mode", "record_value", "primary.key.fields", "id", "delete.enabled", "false"), false)
	r := connect.Record{ValueSchema: s, Value: connect.StructValue(s.StructOf(values))}
	run.Put(connecttest.SinkRecords("t", 0, r, r)...)
	d.holds("SELECT * FROM t", "(1,0,1,2,3,4,5,6)")
	d.holds("SELECT count(*) FROM canary", "(0)")
	for _, long := range []string{strings.Repeat("x", 64), "a\x00b"} {
		s := structOf("r", "id", i32, long, i32)
		bad := connect.Record{ValueSchema: s, Value: connect.StructValue(s.StructOf([]connect.Value{connect.Int32(1), connect.Int32(1)}))}
		err := run.TryPut(connecttest.SinkRecords("t", 9, bad)...)
		if connect.AsError(err).Code != "pgsink.name" {
			t.Errorf("column %q: %v", long, err)
		}
	}
}

func TestKeyModes(t *testing.T) {
	s := newShop()
	i64 := connect.Of(connect.KindInt64)
	primitive := connect.Record{KeySchema: i64, Key: connect.Int64(7), ValueSchema: structOf("v", "x", i64), Value: connect.StructValue(structOf("v", "x", i64).StructOf([]connect.Value{connect.Int64(8)}))}
	noKey := s.plain(1, "a", 1)
	noKey.KeySchema, noKey.Key = nil, connect.Value{}
	for _, c := range []struct {
		config []string
		record connect.Record
		want   string
		code   string
	}{
		{[]string{"pk.mode", "record_key"}, s.plain(1, "a", 1), "(1,a,1)", ""},
		{[]string{"pk.mode", "record_key", "pk.fields", "key"}, primitive, "(7,8)", ""},
		{[]string{"pk.mode", "record_key"}, primitive, "", "pgsink.key_name"},
		{[]string{"pk.mode", "record_key", "pk.fields", "nope"}, s.plain(1, "a", 1), "", "pgsink.key_field"},
		{[]string{"pk.mode", "record_key"}, noKey, "", "pgsink.no_key"},
		{[]string{"pk.mode", "record_value", "pk.fields", "id,qty", "delete.enabled", "false"}, noKey, "(1,1,a)", ""},
		{[]string{"pk.mode", "none", "insert.mode", "insert", "delete.enabled", "false"}, noKey, "(1,a,1) (1,a,1)", ""},
	} {
		d := newTarget(t)
		run := d.sink(d.config(c.config...), false)
		err := run.TryPut(connecttest.SinkRecords("t", 0, c.record, c.record)...)
		if c.code != "" {
			if e := connect.AsError(err); e == nil || e.Code != c.code || e.Class != connect.ClassRecord || !strings.Contains(e.Place, "t-0@0") {
				t.Errorf("%v: %v; want %s", c.config, err, c.code)
			}
			continue
		}
		if err != nil {
			t.Errorf("%v: %v", c.config, err)
			continue
		}
		d.holds("SELECT * FROM t", c.want)
	}
}

func TestFieldLists(t *testing.T) {
	s := newShop()
	for _, c := range []struct{ key, list, want string }{
		{"field.include.list", "name", "(1,a)"},
		{"fields.whitelist", "t:qty,other:name", "(1,1)"},
		{"field.exclude.list", "t:qty", "(1,a)"},
	} {
		d := newTarget(t)
		run := d.sink(d.config(c.key, c.list), false)
		run.Put(connecttest.SinkRecords("t", 0, s.plain(1, "a", 1))...)
		d.holds("SELECT * FROM t", c.want)
	}
}

func BenchmarkPut(b *testing.B) {
	d, s := newTarget(b), newShop()
	run := d.sink(d.config(), false)
	for _, n := range []int{500, 5000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var records []connect.Record
			for i := range n {
				records = append(records, s.event("u", int32(i), "some text for a row", int32(i)))
			}
			batch := connecttest.SinkRecords("t", 0, records...)
			b.ReportAllocs()
			for b.Loop() {
				run.Put(batch...)
			}
			b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}
