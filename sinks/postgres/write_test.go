package postgres

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/connect/connecttest"
)

func TestOrderWithinABatch(t *testing.T) {
	s := newShop()
	for _, c := range []struct {
		name    string
		records []connect.Record
		want    string
	}{
		{"last one wins", []connect.Record{s.event("c", 1, "a", 1), s.event("u", 1, "a", 2), s.event("u", 1, "b", 3)}, "(1,b,3)"},
		{"delete and insert again", []connect.Record{s.event("c", 1, "a", 1), s.event("d", 1, "a", 1), s.tombstone(1), s.event("c", 1, "b", 2)}, "(1,b,2)"},
		{"insert and delete", []connect.Record{s.event("c", 1, "a", 1), s.event("c", 2, "a", 1), s.event("d", 1, "a", 1)}, "(2,a,1)"},
		{"truncate between", []connect.Record{s.event("c", 1, "a", 1), s.event("t", 0, "", 0), s.event("c", 2, "b", 1)}, "(2,b,1)"},
		{"truncate what is not there", []connect.Record{s.event("t", 0, "", 0), s.event("c", 2, "b", 1)}, "(2,b,1)"},
		{"changed key", []connect.Record{s.event("c", 1, "a", 1), s.event("d", 1, "a", 1), s.tombstone(1), s.event("c", 5, "a", 1)}, "(5,a,1)"},
		{"rows and events mixed", []connect.Record{s.event("c", 1, "a", 1), s.plain(1, "b", 2), s.event("u", 1, "c", 3)}, "(1,c,3)"},
		{"a value changes hands", []connect.Record{s.event("c", 1, "only", 1), s.event("d", 1, "only", 1), s.event("c", 2, "only", 1)}, "(2,only,1)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newTarget(t)
			d.exec("CREATE TABLE t (id integer PRIMARY KEY, name text UNIQUE, qty integer)")
			if strings.Contains(c.name, "not there") {
				d.exec("DROP TABLE t")
			}
			run := d.sink(d.config(), false)
			run.Put(connecttest.SinkRecords("t", 0, c.records...)...)
			d.holds("SELECT * FROM t ORDER BY id", c.want)
		})
	}
}

// TestRandomBatches compares the target with a fold of the same changes, however
// they are cut into batches.
func TestRandomBatches(t *testing.T) {
	d, s := newTarget(t), newShop()
	run := d.sink(d.config("batch.size", "7"), false)
	run.Task.(*task).writer.bytes = 20
	rng := rand.New(rand.NewPCG(1, 2))
	want := map[int32]string{}
	offset := int64(0)
	for range 60 {
		var batch []connect.Record
		for range rng.IntN(40) {
			id := int32(rng.IntN(12))
			switch n := rng.IntN(20); {
			case n == 0 && rng.IntN(4) == 0:
				batch = append(batch, s.event("t", 0, "", 0))
				clear(want)
			case n < 5:
				batch = append(batch, s.event("d", id, "x", 0), s.tombstone(id))
				delete(want, id)
			case n < 8:
				batch = append(batch, s.plain(id, "plain", int32(n)))
				want[id] = fmt.Sprintf("(%d,plain,%d)", id, n)
			default:
				qty := int32(rng.IntN(1000))
				batch = append(batch, s.event("u", id, "event", qty))
				want[id] = fmt.Sprintf("(%d,event,%d)", id, qty)
			}
		}
		run.Put(connecttest.SinkRecords("t", offset, batch...)...)
		offset += int64(len(batch))
	}
	var lines []string
	for id := range int32(12) {
		if line, ok := want[id]; ok {
			lines = append(lines, line)
		}
	}
	if got := d.lines("SELECT * FROM t ORDER BY id"); !slices.Equal(got, lines) {
		t.Errorf("the table holds %v; want %v", got, lines)
	}
}

// TestPlaceholders makes sure that what stands for an unchanged large value is never
// written, in any of its forms.
func TestPlaceholders(t *testing.T) {
	str, i32, raw := connect.Of(connect.KindString), connect.Of(connect.KindInt32), connect.Of(connect.KindBytes)
	pairs := connect.SchemaDef{Kind: connect.KindMap, Key: str, Elem: str.AsOptional(), Optional: true}.MustBuild()
	key := structOf("k", "id", i32)
	row := structOf("r", "id", i32, "qty", i32, "a", str, "b", raw, "c", listOf(str), "d", listOf(i32), "e", listOf(raw),
		"f", listOf(named(connect.KindString, dbzData+"Uuid")), "g", pairs, "h", named(connect.KindString, dbzData+"Json"))
	record := func(id, qty int32, rest ...connect.Value) connect.Record {
		values := append([]connect.Value{connect.Int32(id), connect.Int32(qty)}, rest...)
		return connect.Record{KeySchema: key, Key: connect.StructValue(key.StructOf(values[:1])), ValueSchema: row, Value: connect.StructValue(row.StructOf(values))}
	}
	one := func(v connect.Value) connect.Value { return connect.Array([]connect.Value{v}) }
	p := connect.String(placeholderText)
	var codes []connect.Value
	for _, c := range []byte(placeholderText) {
		codes = append(codes, connect.Int32(int32(c)))
	}
	missing := []connect.Value{
		p, connect.Bytes([]byte(placeholderText)), one(p), connect.Array(codes), one(connect.Bytes([]byte(placeholderText))),
		one(connect.String("b68a35a7-17ad-35b3-af2a-ae46edb4545a")), connect.Map([]connect.MapEntry{{Key: p, Value: p}}),
		connect.String(`{"` + placeholderText + `":"` + placeholderText + `"}`),
	}
	real := []connect.Value{
		connect.String("large"), connect.Bytes([]byte{1}), one(connect.String("x")), one(connect.Int32(1)), one(connect.Bytes([]byte{2})),
		one(connect.String("6f1d3c2e-1b1a-4b7e-9c59-0a8d6b6c7d11")), connect.Map([]connect.MapEntry{{Key: connect.String("k"), Value: connect.String("v")}}),
		connect.String(`{"x":1}`),
	}
	const kept = `large,"\\x01",{x},{1},"{""\\\\x02""}",{6f1d3c2e-1b1a-4b7e-9c59-0a8d6b6c7d11},"{""k"": ""v""}","{""x"":1}")`
	d := newTarget(t)
	run := d.sink(d.config(), false)
	run.Put(connecttest.SinkRecords("t", 0, record(1, 1, real...), record(2, 1, real...))...)
	// Alone, after a full change in the same batch, and mixed with a real value.
	half := append(slices.Clone(missing[:4]), real[4:]...)
	run.Put(connecttest.SinkRecords("t", 2, record(1, 2, missing...), record(3, 1, real...), record(3, 2, missing...), record(2, 3, half...))...)
	d.holds("SELECT * FROM t ORDER BY id", "(1,2,"+kept+" (2,3,"+kept+" (3,2,"+kept)
	// Of a row that is not there, what is known is written.
	run.Put(connecttest.SinkRecords("t", 6, record(4, 9, missing...))...)
	d.holds("SELECT id, qty, a FROM t WHERE id = 4", "(4,9,)")
	d.holds("SELECT count(*) FROM t WHERE t::text LIKE '%unavailable%'", "(0)")
}

func TestEvolution(t *testing.T) {
	s := newShop()
	wider := structOf("shop.Value", "id", connect.Of(connect.KindInt32), "name", connect.Of(connect.KindString).AsOptional(), "qty", connect.Of(connect.KindInt32), "price", connect.DecimalSchema(8, 2).AsOptional())
	record := s.plain(2, "b", 1)
	record.ValueSchema = wider
	record.Value = connect.StructValue(wider.StructOf([]connect.Value{connect.Int32(2), connect.String("b"), connect.Int32(1), connect.Bytes([]byte{100})}))
	batch := connecttest.SinkRecords("t", 0, s.plain(1, "a", 1), record, s.plain(3, "c", 1))

	d := newTarget(t)
	d.sink(d.config(), false).Put(batch...)
	d.holds("SELECT * FROM t ORDER BY id", "(1,a,1,) (2,b,1,1.00) (3,c,1,)")

	d = newTarget(t)
	run := d.sink(d.config("schema.evolution", "none"), false)
	refusedWith(t, run.TryPut(batch...), "pgsink.table_missing", `CREATE TABLE IF NOT EXISTS "t" ("id" integer NOT NULL, "name" text, "qty" integer, PRIMARY KEY ("id"))`)
	d.exec(`CREATE TABLE t (id integer, name text, qty integer, shout text GENERATED ALWAYS AS (upper(name)) STORED)`)
	refusedWith(t, run.TryPut(batch...), "pgsink.no_unique", `ALTER TABLE "t" ADD PRIMARY KEY ("id")`)
	d.exec(`ALTER TABLE t ADD PRIMARY KEY (id)`)
	refusedWith(t, run.TryPut(batch...), "pgsink.column_missing", `ALTER TABLE "t" ADD COLUMN IF NOT EXISTS "price" numeric(8,2)`)
	d.holds("SELECT count(*) FROM t", "(0)")
	d.exec(`ALTER TABLE t ADD COLUMN price numeric`)
	run.Put(batch...)
	d.holds("SELECT id, shout, price FROM t ORDER BY id", "(1,A,) (2,B,1.00) (3,C,)")
}

func refusedWith(t *testing.T, err error, code, mend string) {
	t.Helper()
	e := connect.AsError(err)
	if e == nil || e.Code != code || !strings.Contains(e.Mend, mend) {
		t.Errorf("%v; want %s with the mend %s", err, code, mend)
	}
}

// TestDrift changes the table under the task's feet.
func TestDrift(t *testing.T) {
	d, s := newTarget(t), newShop()
	run := d.sink(d.config(), false)
	put := func(id int32) error {
		return run.TryPut(connecttest.SinkRecords("t", int64(id), s.plain(id, "a", id))...)
	}
	for i, statement := range []string{
		"SELECT 1", "ALTER TABLE t DROP COLUMN qty", "DROP TABLE t", "ALTER TABLE t ALTER COLUMN qty TYPE numeric", "ALTER TABLE t ALTER COLUMN qty TYPE text",
	} {
		if err := put(int32(i)); err != nil {
			t.Fatal(err)
		}
		d.exec(statement)
		if err := put(int32(i) + 100); err != nil {
			t.Errorf("after %s: %v", statement, err)
		}
	}
	d.holds("SELECT id, qty FROM t WHERE id > 100 ORDER BY id", "(102,102) (103,103) (104,104)")
	d.exec("ALTER TABLE t DROP CONSTRAINT t_pkey")
	refusedWith(t, put(1), "pgsink.no_unique", "ADD PRIMARY KEY")
}

// TestInsertMode keeps every record, and deletes where it is told to.
func TestInsertMode(t *testing.T) {
	d, s := newTarget(t), newShop()
	d.exec("CREATE TABLE t (id integer, name text, qty integer)")
	run := d.sink(d.config("insert.mode", "insert"), false)
	run.Put(connecttest.SinkRecords("t", 0, s.plain(1, "a", 1), s.plain(1, "a", 2), s.tombstone(1), s.plain(1, "a", 3), s.plain(1, "a", 4))...)
	d.holds("SELECT * FROM t ORDER BY qty", "(1,a,3) (1,a,4)")
}

func TestJDBCDefaults(t *testing.T) {
	d, s := newTarget(t), newShop()
	d.exec("CREATE TABLE t (id integer, name text, qty integer)")
	run := connecttest.StartSink(t, Plugins()[1].New(), d.config(), false)
	run.Put(connecttest.SinkRecords("t", 0, s.plain(1, "a", 1), s.tombstone(1), s.event("t", 0, "", 0), s.plain(1, "a", 1))...)
	d.holds("SELECT * FROM t", "(1,a,1) (1,a,1)")
}
