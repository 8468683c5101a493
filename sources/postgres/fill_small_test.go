package postgres

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/connect/connecttest"
	"github.com/tidemill/tidemill/streams/state"
)

// TestFillCompletesSmallValues has the server store short values apart, for reasons that
// the rows do not show: the table asks for it, other columns are large that are not
// captured or were large before, or a number is only written long.
func TestFillCompletesSmallValues(t *testing.T) {
	t.Parallel()
	d := newTestDB(t)
	d.exec(fillBig)
	d.exec(`CREATE TABLE asked (id int PRIMARY KEY, n int, a text, b jsonb) WITH (toast_tuple_target = 128);
		ALTER TABLE asked ALTER a SET STORAGE EXTERNAL, ALTER b SET STORAGE EXTERNAL;
		CREATE TABLE hidden (id int PRIMARY KEY, n int, a text, secret text);
		ALTER TABLE hidden ALTER a SET STORAGE EXTERNAL, ALTER secret SET STORAGE PLAIN;
		CREATE TABLE shrunk (id int PRIMARY KEY, n int, a text, b text[]);
		ALTER TABLE shrunk ALTER a SET STORAGE EXTERNAL, ALTER b SET STORAGE PLAIN;
		CREATE TABLE number (id int PRIMARY KEY, n int, a numeric); ALTER TABLE number ALTER a SET STORAGE EXTERNAL`)
	rows := func(id string) {
		d.exec(`INSERT INTO asked SELECT ` + id + `, 0, 'asked ' || repeat('x', 80), jsonb_build_array(1, 2, 3, 4, 5, 6, 7, 8) FROM (SELECT big(1)) _ (b)`)
		// Something has to make the whole row long for the server to look at its parts.
		d.exec(`UPDATE asked SET a = big(1), b = jsonb_build_object('v', big(2)) WHERE id = ` + id)
		d.exec(`UPDATE asked SET a = 'asked ' || repeat('x', 80) WHERE id = ` + id)
		d.exec(`UPDATE asked SET b = jsonb_build_array(1, 2, 3, 4, 5, 6, 7, 8) WHERE id = ` + id)
		d.exec(`INSERT INTO hidden VALUES (` + id + `, 0, 'hidden ' || repeat('x', 50), big(1))`)
		d.exec(`INSERT INTO shrunk VALUES (` + id + `, 0, repeat('s', 60), ARRAY[big(1)])`)
		d.exec(`UPDATE shrunk SET a = repeat('t', 60) WHERE id = ` + id)
		d.exec(`UPDATE shrunk SET b = NULL WHERE id = ` + id)
		d.exec(`INSERT INTO number VALUES (` + id + `, 0, ('0.' || repeat('0', 9000) || '1')::numeric)`)
	}
	rows("1")
	run := d.start(&connecttest.Offsets{}, "unavailable.value.mode", "fill", "column.exclude.list", "public.hidden.secret", "decimal.handling.mode", "double")
	run.Take(4)
	d.streaming()
	rows("2")
	d.exec(`UPDATE asked SET n = 1; UPDATE hidden SET n = 1; UPDATE shrunk SET n = 1; UPDATE number SET n = 1; INSERT INTO hidden VALUES (3)`)
	unchanged := map[string]bool{}
	for done := false; !done; {
		for _, r := range run.Take(1) {
			row := r.Value.Struct().Get("after").Struct()
			id := row.Get("id").Int()
			if done = id == 3; done || op(&r) != "u" || row.Get("n").Int() != 1 {
				continue
			}
			table := source(&r, "table").Str()
			unchanged[table] = true
			want := d.get(`SELECT a::text FROM `+table+` WHERE id = $1`, id)
			if got := row.Get("a"); got.Kind() == connect.KindString && got.Str() != want {
				t.Errorf("%s %d: a is %s, want %s", table, id, got.Str(), want)
			}
			if want := d.get(`SELECT b::text FROM asked WHERE id = $1`, id); table == "asked" && row.Get("b").Str() != want {
				t.Errorf("%s %d: b is %s, want %s", table, id, row.Get("b").Str(), want)
			}
		}
	}
	if n := run.Metrics.Counter("values_unavailable_total"); n != 0 || len(unchanged) != 4 {
		t.Errorf("%d values were not known; updates of %v came", n, unchanged)
	}
}

// TestFillIsOnTheDisk takes the files as they are while the store is open, as a kill
// leaves them: they reach as far as what was handed over.
func TestFillIsOnTheDisk(t *testing.T) {
	dir, killed := t.TempDir(), t.TempDir()
	f, err := openFill(dir, new(atomic.Uint64))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := f.close(); err != nil {
			t.Error(err)
		}
	}()
	for end := uint64(1); end <= 3; end++ {
		p := &position{end: end, lineage: &lineage{systemID: "1"}}
		if err := f.reached(p); err != nil {
			t.Fatal(err)
		}
		left := filepath.Join(killed, string('0'+rune(end)))
		if err := os.CopyFS(left, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		again, err := openFill(left, new(atomic.Uint64))
		if err != nil {
			t.Fatal(err)
		}
		if covered, err := again.covers(p); !covered || err != nil {
			t.Errorf("what a kill behind %d has left is not complete up to there: %v", end, err)
		}
		if err := again.close(); err != nil {
			t.Error(err)
		}
	}
}

// TestFillDropsWhatIsGone deletes many rows, which leave nothing once that is safe, also
// when the process was another one then.
func TestFillDropsWhatIsGone(t *testing.T) {
	dir, safe := t.TempDir(), new(atomic.Uint64)
	open := func() *fill {
		f, err := openFill(dir, safe)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	count := func(f *fill) (values, notes int) {
		for id, n := range map[state.ID]*int{f.values: &values, f.drops: &notes} {
			it := f.db.Reader(id).Scan(state.Range{})
			for it.Next() {
				*n++
			}
			if err := it.Close(); err != nil {
				t.Fatal(err)
			}
		}
		return values, notes
	}
	const rows = dropAtOnce + 100
	p := &plan{relation: &relation{oid: 7}, key: connect.Of(connect.KindInt64), row: connect.SchemaDef{Kind: connect.KindStruct, Name: "r", Optional: true,
		Fields: []connect.Field{{Name: "a", Schema: connect.Of(connect.KindString)}}}.MustBuild(), columns: []columnPlan{{name: "a", number: 2, apart: apartEver}}}
	f := open()
	for i := range rows {
		row := connect.StructValue(p.row.StructOf([]connect.Value{connect.String("value")}))
		if err := f.put(fillRow{plan: p, key: connect.Int64(int64(i)), row: row}, &position{end: 5, commit: 10, ordinal: int64(i + 1)}); err != nil {
			t.Fatal(err)
		}
		if err := f.gone(p, connect.Int64(int64(i)), &position{end: 10, commit: 20, ordinal: int64(i + 1)}); err != nil {
			t.Fatal(err)
		}
	}
	f.emptied(&plan{relation: &relation{oid: binary.BigEndian.Uint32([]byte{0, 0, 0, 9})}}, &position{end: 20, commit: 30, ordinal: 1})
	if err := f.reached(&position{end: 30}); err != nil {
		t.Fatal(err)
	}
	if values, notes := count(f); values != 2*rows || notes != rows+1 {
		t.Errorf("%d values and %d notes are kept while nothing is safe", values, notes)
	}
	if err := f.close(); err != nil {
		t.Fatal(err)
	}
	safe.Store(25)
	f = open()
	for end := uint64(31); end < 34; end++ {
		if err := f.reached(&position{end: end}); err != nil {
			t.Fatal(err)
		}
	}
	if values, notes := count(f); values != 0 || notes != 1 {
		t.Errorf("%d values and %d notes are left", values, notes)
	}
	if err := f.close(); err != nil {
		t.Fatal(err)
	}
}
