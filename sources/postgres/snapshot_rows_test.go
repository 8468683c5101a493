package postgres

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/connect/connecttest"
)

// readsRows makes a reader of rows over a connection of its own, and the plan of a
// table.
func readsRows(tb testing.TB, d *testDB, table string) (*rowReader, *plan, *emitter) {
	tb.Helper()
	ctx := context.Background()
	set, err := newSettings(d.config())
	if err != nil {
		tb.Fatal(err)
	}
	side, err := set.open(ctx, "test")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { side.close(ctx) })
	types := newTypeTable(set.modes, func(oid uint32) (*typeInfo, error) { return side.loadType(ctx, oid) })
	rel, facts, err := side.describe(ctx, uint32(number([]byte(d.get("SELECT $1::regclass::oid::text", table)))))
	if err != nil {
		tb.Fatal(err)
	}
	p, err := newCompiler(set, types, Version).compile(rel, facts)
	if err != nil {
		tb.Fatal(err)
	}
	em := &emitter{set: set, log: slog.New(slog.NewTextHandler(io.Discard, nil)), metrics: noMetrics{}, source: sourceSchema(), warned: map[string]bool{}}
	em.newBatch()
	return newRowReader(side), p, em
}

// rowsOf returns the rows of a query as text.
func rowsOf(r *rowReader, q rowQuery, em *emitter) (list []string, err error) {
	err = r.read(context.Background(), q, func(t tuple) error {
		v, err := em.row(q.plan, t, nil)
		list = append(list, v.String())
		return err
	})
	return list, err
}

// TestRowReader reads in both formats, statements of one's own, tables without
// columns and rows larger than the buffer, and goes on after a refusal.
func TestRowReader(t *testing.T) {
	d := newTestDB(t)
	d.exec(`CREATE TABLE a (id int PRIMARY KEY, "odd ""name" text, v text, n numeric(6,2), b boolean, c char(4))`)
	d.exec(`INSERT INTO a VALUES (1, E'tab\t nl\n cr\r bs\\ N\\N bel\b ff\f vt\x0b', '\N', 1.50, true, 'x'), (2, NULL, '', NULL, false, NULL), (3, '\.', repeat('long ', 200000), 0, NULL, '')`)
	d.exec(`CREATE TABLE bare (); INSERT INTO bare DEFAULT VALUES; INSERT INTO bare DEFAULT VALUES`)
	r, p, em := readsRows(t, d, "a")
	want := []string{
		`{"id":1,"odd \"name":"tab\t nl\n cr\r bs\\ N\\N bel\u0008 ff\u000c vt\u000b","v":"\\N","n":1.50,"b":true,"c":"x   "}`,
		`{"id":2,"odd \"name":null,"v":"","n":null,"b":false,"c":null}`,
		`{"id":3,"odd \"name":"\\.","v":"` + strings.Repeat("long ", 200000) + `","n":0.00,"b":null,"c":"    "}`,
	}
	expect := func(what string, got []string, err error, want ...string) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if fmt.Sprint(len(got), got) != fmt.Sprint(len(want), want) {
			t.Errorf("%s:\n%.1000s\nwant\n%.1000s", what, fmt.Sprint(len(got), got), fmt.Sprint(len(want), want))
		}
	}
	for _, what := range []string{"as it is understood", "as text"} {
		got, err := rowsOf(r, rowQuery{plan: p, rest: `FROM ONLY a ORDER BY id`}, em)
		expect(what, got, err, want...)
		for i := range p.columns {
			p.columns[i].binary = nil
		}
	}
	got, err := rowsOf(r, rowQuery{plan: p, rest: `FROM a WHERE id > 1 ORDER BY id LIMIT 1`}, em)
	expect("with conditions", got, err, want[1])
	got, err = rowsOf(r, rowQuery{plan: p, own: `SELECT 'no such column' AS x, upper(v) v, id::bigint AS id FROM a WHERE id = 2 -- the end`}, em)
	expect("a statement", got, err, `{"id":2,"odd \"name":null,"v":"","n":null,"b":null,"c":null}`)
	if _, err := rowsOf(r, rowQuery{plan: p, rest: `FROM a WHERE 1 / (id - 2) > 0`}, em); sqlState(err) != "22012" {
		t.Errorf("a division by zero is %v", err)
	}
	got, err = rowsOf(r, rowQuery{plan: p, rest: `FROM a WHERE id > 7`}, em)
	expect("no rows after a refusal", got, err)
	r2, p2, em2 := readsRows(t, d, "bare")
	got, err = rowsOf(r2, rowQuery{plan: p2, rest: "FROM ONLY bare"}, em2)
	expect("no columns", got, err, "{}", "{}")
	stop := fmt.Errorf("enough")
	if err := r2.read(context.Background(), rowQuery{plan: p2, rest: "FROM ONLY bare"}, func(tuple) error { return stop }); err != stop {
		t.Errorf("stopped with %v", err)
	}
}

// TestRowReaderEndsWithItsContext cancels while the server has nothing to say.
func TestRowReaderEndsWithItsContext(t *testing.T) {
	d := newTestDB(t)
	d.exec(`CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a VALUES (1)`)
	r, p, _ := readsRows(t, d, "a")
	ctx, cancel := context.WithCancel(context.Background())
	pid := r.db.PID()
	go func() {
		eventually(t, "it sleeps", func() bool {
			return d.get("SELECT count(*) FROM pg_stat_activity WHERE pid = $1 AND wait_event = 'PgSleep'", pid) == "1"
		})
		cancel()
	}()
	err := r.read(ctx, rowQuery{plan: p, rest: "FROM a WHERE pg_sleep(60) IS NULL"}, func(tuple) error { return nil })
	if err != context.Canceled {
		t.Error(err)
	}
}

// FuzzRowReader takes apart what no server sends: errors, never a panic.
func FuzzRowReader(f *testing.F) {
	f.Add(append(append([]byte(nil), copySignature...), 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 1, 'x', 255, 255, 255, 255), false)
	f.Add([]byte("a\\tb\t\\N\n"), true)
	f.Fuzz(func(t *testing.T, message []byte, text bool) {
		r := &rowReader{text: text, header: true, places: []int{1, 0}, row: make(tuple, 2)}
		rows := 0
		if err := r.data(message, func(tuple) error { rows++; return nil }); err == nil && text && rows != 1 {
			t.Errorf("%d rows", rows)
		}
	})
}

// TestSnapshotEqualsStreamInBinary reads every type whose binary form is understood in
// that form: a table with one other column is read as text.
func TestSnapshotEqualsStreamInBinary(t *testing.T) {
	t.Parallel()
	d := newTestDB(t)
	d.exec("CREATE DOMAIN mac_addr AS macaddr")
	d.exec(everyType)
	insert(t, d, 0)
	table := d.get(`SELECT c.oid::regclass::text FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid WHERE c.relkind = 'r' AND relnamespace = 'public'::regnamespace GROUP BY 1 ORDER BY count(*) DESC LIMIT 1`)
	_, p, _ := readsRows(t, d, table)
	var others []string
	for i := range p.columns {
		if p.columns[i].field >= 0 && !p.readsBinary(i) {
			others = append(others, regexp.QuoteMeta(p.table.String()+"."+p.columns[i].name))
		}
	}
	if len(others) > 5 {
		t.Errorf("read as text: %v", others)
	}
	run := d.start(&connecttest.Offsets{}, "column.exclude.list", strings.Join(others, ","))
	snapshot := run.Take(4)
	insert(t, d, 10)
	stream := run.Take(4)
	for i := range snapshot {
		compareRows(t, &snapshot[i], &stream[i])
	}
	t.Logf("%d columns, and as text %v", len(p.columns), others)
}
