package postgres

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/connect/connecttest"
)

// inPieces are settings with which the tables of these tests are divided, read by
// several connections and handed over in small batches.
var inPieces = []string{"snapshot.max.threads", "3", "snapshot.max.threads.multiplier", "20", "max.batch.size", "97", "max.queue.size", "300"}

// wide makes a table that lies on many pages with few rows.
const wide = ` WITH (fillfactor = 10)`

// rowsByTopic counts what came and checks the marks of a whole snapshot.
func rowsByTopic(t *testing.T, records []connect.SourceRecord) map[string][]string {
	t.Helper()
	rows := map[string][]string{}
	last := map[string]string{}
	for i := range records {
		r := &records[i]
		word, want := source(r, "snapshot").Str(), "true"
		_, seen := last[r.Topic]
		behind := !slices.ContainsFunc(records[i+1:], func(later connect.SourceRecord) bool { return later.Topic == r.Topic })
		switch {
		case i == len(records)-1:
			want = "last"
		case behind:
			want = "last_in_data_collection"
		case i == 0:
			want = "first"
		case !seen:
			want = "first_in_data_collection"
		}
		if word != want {
			t.Errorf("record %d, of %s, is marked %s, want %s", i, r.Topic, word, want)
		}
		last[r.Topic] = word
		name := strings.TrimPrefix(r.Topic, "shop.public.")
		rows[name] = append(rows[name], r.Value.Struct().Get("after").String())
		p := r.SourceOffset.(*position)
		if done := p.snapshot == snapshotDone; done != (i == len(records)-1) || op(r) != "r" {
			t.Errorf("record %d: %s %s", i, op(r), p.AppendJSON(nil))
		}
	}
	return rows
}

// distinct tells how many different rows there are.
func distinct(rows []string) int {
	rows = slices.Clone(rows)
	slices.Sort(rows)
	return len(slices.Compact(rows))
}

// TestSnapshotInPieces reads tables of every kind over several connections: each row
// comes once, and the marks are right.
func TestSnapshotInPieces(t *testing.T) {
	t.Parallel()
	d := newTestDB(t)
	d.exec(`CREATE TABLE big (id int PRIMARY KEY, v text)` + wide)
	d.exec(`CREATE TABLE keyless (n int, v text)` + wide)
	d.exec(`CREATE TABLE "Odd ""name" ("a b" int, "C" int, gen int GENERATED ALWAYS AS ("C" * 2) STORED, v text, PRIMARY KEY ("C", "a b"))` + wide)
	d.exec(`CREATE TABLE empty (id int PRIMARY KEY); CREATE TABLE one (id int PRIMARY KEY); CREATE TABLE bare ()`)
	d.exec(`CREATE TABLE parts (id int, v text, PRIMARY KEY (id)) PARTITION BY RANGE (id)`)
	d.exec(`CREATE TABLE parts1 PARTITION OF parts FOR VALUES FROM (0) TO (3000)` + wide)
	d.exec(`CREATE TABLE parts2 (v text, dropped int, id int NOT NULL)` + wide + `; ALTER TABLE parts2 DROP dropped; ALTER TABLE parts ATTACH PARTITION parts2 FOR VALUES FROM (3000) TO (9000)`)
	d.exec(`CREATE TABLE parent (id int PRIMARY KEY, v text)` + wide + `; CREATE TABLE child (more int) INHERITS (parent)`)
	for _, table := range []string{"big (id, v)", "keyless (n, v)", `"Odd ""name" ("C", v, "a b")`, "parts (id, v)", "parent (id, v)", "child (id, v)"} {
		extra := ""
		if strings.HasPrefix(table, `"Odd`) {
			extra = ", g % 7"
		}
		d.exec(`INSERT INTO ` + table + ` SELECT g, 'value ' || g` + extra + ` FROM generate_series(1, 6000) g`)
	}
	d.exec(`DELETE FROM big WHERE id % 3 = 0; UPDATE big SET v = 'changed' WHERE id % 5 = 0; INSERT INTO one VALUES (1)`)
	d.exec(`INSERT INTO bare SELECT FROM generate_series(1, 3); UPDATE keyless SET v = repeat('long', 10000) WHERE n = 77; ALTER TABLE keyless ALTER v SET STORAGE EXTERNAL`)
	d.exec(`ANALYZE`)
	run := d.start(&connecttest.Offsets{}, append([]string{"table.exclude.list", "public.parts1,public.parts2"}, inPieces...)...)
	rows := rowsByTopic(t, run.Take(4000+6000+6000+1+3+6000+6000+6000))
	for table, want := range map[string]int{"big": 4000, "keyless": 6000, "Odd__name": 6000, "parts": 6000, "one": 1, "parent": 6000, "child": 6000} {
		if got := distinct(rows[table]); got != want || len(rows[table]) != want {
			t.Errorf("%s: %d rows, %d different ones, want %d", table, len(rows[table]), got, want)
		}
	}
	if len(rows["bare"]) != 3 {
		t.Errorf("the table without columns gave %v", rows["bare"])
	}
	if got := rows["Odd__name"][0]; strings.Contains(got, "gen") || !strings.Contains(got, `"a b":`) {
		t.Errorf("a row is %s", got)
	}
	d.streaming()
	checkProgress(t, run)
	d.exec(`INSERT INTO one VALUES (2)`)
	if got := brief(&run.Take(1)[0]); got != `one c {"id":2} null {"id":2}` {
		t.Error(got)
	}
	if n := run.Metrics.Counter("snapshot_rows_total"); n != 34004 {
		t.Errorf("%d rows were counted", n)
	}
}

// checkProgress looks at what the task shows of TestSnapshotInPieces when it is over.
func checkProgress(t *testing.T, run *connecttest.SourceRun) {
	t.Helper()
	var v progressView
	if err := json.Unmarshal(run.Shown("snapshot"), &v); err != nil {
		t.Fatal(err)
	}
	if v.Status != "complete" || v.Kind != "consistent" || v.Percent != 100 || v.RemainingMs != 0 || v.Rows != 34004 || v.Bytes < 500_000 || v.TablesDone != 9 || v.TablesTotal != 9 || len(v.Tables) != 9 {
		t.Errorf("%+v", v)
	}
	if v.ChunksDone != v.ChunksTotal || v.ChunksTotal < 20 {
		t.Errorf("%d chunks of %d", v.ChunksDone, v.ChunksTotal)
	}
	for _, table := range v.Tables {
		if table.Table == "public.parts" && (table.Rows != 6000 || table.ChunksTotal < 4 || table.ChunksDone != table.ChunksTotal || table.Percent != 100 || table.State != "complete" || table.RowsEstimated != 6000) {
			t.Errorf("%+v", table)
		}
	}
}

// TestHandOverInPieces takes a snapshot in pieces while sessions insert, update and
// delete: the events fold into the table.
func TestHandOverInPieces(t *testing.T) {
	t.Parallel()
	d := newTestDB(t)
	d.exec(`CREATE TABLE a (id int PRIMARY KEY, n int, pad text)` + wide + `; INSERT INTO a SELECT g, 0, repeat('p', 150) FROM generate_series(1, 8000) g`)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var writers sync.WaitGroup
	for w := range 6 {
		conn := d.session()
		random := rand.New(rand.NewPCG(uint64(w), 3))
		writers.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				id, sql := 1+random.IntN(8000), `UPDATE a SET n = n + 1, pad = repeat('x', n % 50) WHERE id = $1`
				switch random.IntN(4) {
				case 0:
					sql = `DELETE FROM a WHERE id = $1`
				case 1:
					sql = `INSERT INTO a VALUES ($1, 1, 'new') ON CONFLICT (id) DO UPDATE SET n = a.n + 10`
				}
				if _, err := conn.Exec(context.Background(), sql, id); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	l := &ledger{tb: t, rows: map[int64]int64{}}
	run := d.start(&connecttest.Offsets{}, inPieces...)
	read := 0
	take := func() {
		for _, r := range run.Take(1) {
			if r.Topic != "" && op(&r) == "r" {
				if read++; l.rows[after(&r, "id").Int()] != 0 {
					t.Errorf("row %v came twice", r.Key)
				}
			}
			l.take(&r)
		}
	}
	for l.changes < 9000 {
		take()
	}
	stop()
	writers.Wait()
	d.exec(`INSERT INTO a VALUES (-1, 77, 'end')`)
	for deadline := time.Now().Add(patience); l.rows[-1] != 77; take() {
		if time.Now().After(deadline) {
			t.Fatal("the end did not come")
		}
	}
	compareTable(t, d, l)
	if read < 4000 {
		t.Errorf("only %d rows came from the snapshot", read)
	}
}

// TestSnapshotOfOneHugeRow reads a row that is larger than all buffers.
func TestSnapshotOfOneHugeRow(t *testing.T) {
	t.Parallel()
	d := newTestDB(t)
	d.exec(`CREATE TABLE a (id int PRIMARY KEY, v text, b bytea); INSERT INTO a VALUES (1, 'small', NULL), (3, 'small', NULL)`)
	d.exec(`INSERT INTO a SELECT 2, repeat('0123456789', 2000000), decode(repeat('ab', 9000000), 'hex')`)
	records := d.start(&connecttest.Offsets{}, "max.queue.size.in.bytes", "1000000").Take(3)
	for _, r := range records {
		v, b := after(&r, "v"), after(&r, "b")
		if id := after(&r, "id").Int(); id == 2 && (v.Len() != 20000000 || b.Len() != 9000000 || b.Bytes()[8999999] != 0xab) || id != 2 && v.Str() != "small" {
			t.Errorf("row %d has %d and %d bytes", id, v.Len(), b.Len())
		}
	}
}
