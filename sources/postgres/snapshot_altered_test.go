package postgres

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/connect/connecttest"
)

// telling are settings with which notifications come in a topic of their own, and with which
// consumers learn that a table was emptied.
var telling = []string{"notification.enabled.channels", "sink", "notification.sink.topic.name", "told", "skipped.operations", "none"}

// unrolled folds events into the rows that each table has, by the values of their keys,
// and counts how often rows of a table were read by the snapshot itself.
type unrolled struct {
	rows  map[string]map[string]string
	reads map[string]int
	// incremental counts those that were read beside the log.
	incremental map[string]int
	last        bool
	complete    bool // The notification of it has come.

	partition connect.SourcePartition
	offset    []byte // Of the last record.
}

func newUnrolled() *unrolled {
	return &unrolled{rows: map[string]map[string]string{}, reads: map[string]int{}, incremental: map[string]int{}}
}

func (u *unrolled) take(r *connect.SourceRecord) {
	u.partition, u.offset = r.SourcePartition, r.SourceOffset.AppendJSON(nil)
	switch {
	case r.Topic == "told":
		n := r.Value.Struct()
		u.complete = u.complete || n.Get("type").Str() == "COMPLETED" && n.Get("aggregate_type").Str() == aggregateInitial
		return
	case r.Topic == "" || r.Value.IsNull():
		return
	}
	table := r.Topic[strings.LastIndexByte(r.Topic, '.')+1:]
	if u.rows[table] == nil {
		u.rows[table] = map[string]string{}
	}
	switch op(r) {
	case "t":
		clear(u.rows[table])
	case "d":
		delete(u.rows[table], r.Key.Struct().String())
	default:
		u.rows[table][r.Key.Struct().String()] = r.Value.Struct().Get("after").String()
	}
	switch word := source(r, "snapshot").Str(); {
	case op(r) != "r":
	case word == "incremental":
		u.incremental[table]++
	default:
		u.reads[table]++
		u.last = u.last || word == "last"
	}
}

// until takes records until a condition holds.
func (u *unrolled) until(t *testing.T, run *connecttest.SourceRun, what string, holds func() bool) {
	t.Helper()
	eventually(t, what, func() bool {
		for _, r := range run.Poll(100 * time.Millisecond) {
			u.take(&r)
		}
		return holds()
	})
}

// TestSnapshotTableChanges changes a table that the snapshot has yet to read, in ways
// that would hide rows from its view: the others are read once, and this one when the
// log is past the change.
func TestSnapshotTableChanges(t *testing.T) {
	for name, c := range map[string]struct {
		change string
		table  string
		rows   int
		row    string
	}{
		"written anew":    {`ALTER TABLE b ALTER n TYPE bigint`, "b", 100, `{"id":7,"v":"v","n":7}`},
		"emptied":         {`TRUNCATE b; INSERT INTO b VALUES (7, 'new', 1)`, "b", 1, `{"id":7,"v":"new","n":1}`},
		"dropped":         {`DROP TABLE b`, "b", 0, ``},
		"made anew":       {`DROP TABLE b; CREATE TABLE b (id int PRIMARY KEY); INSERT INTO b VALUES (7)`, "b", 1, `{"id":7}`},
		"renamed":         {`ALTER TABLE b RENAME TO c`, "c", 100, `{"id":7,"v":"v","n":7}`},
		"column dropped":  {`ALTER TABLE b DROP v`, "b", 100, `{"id":7,"n":7}`},
		"column replaced": {`ALTER TABLE b DROP n; ALTER TABLE b ADD n text DEFAULT 'new'`, "b", 100, `{"id":7,"v":"v","n":"new"}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newTestDB(t)
			d.exec(`CREATE TABLE a (id int PRIMARY KEY, v text); INSERT INTO a SELECT g, repeat('x', 200) FROM generate_series(1, 4000) g`)
			d.exec(`CREATE TABLE b (id int PRIMARY KEY, v text, n int); INSERT INTO b SELECT g, 'v', g FROM generate_series(1, 100) g; ANALYZE`)
			run := d.start(&connecttest.Offsets{}, slices.Concat(narrow, telling)...)
			u := newUnrolled()
			u.until(t, run, "rows are read", func() bool { return u.reads["a"] > 0 })
			d.exec(c.change)
			u.until(t, run, "all tables are read", func() bool { return u.complete })
			rows := u.rows[c.table]
			if u.reads["a"] != 4000 || !u.last || len(rows) != c.rows {
				t.Errorf("%d rows of the other table were read, the last of them %t, and the topic has %d", u.reads["a"], u.last, len(rows))
			}
			if row := rows[`{"id":7}`]; c.row != row {
				t.Errorf("a row is %s", row)
			}
			if n := run.Metrics.Counter("reconnects_total"); n != 0 || run.Metrics.Counter("snapshot_tables_postponed_total") != 1 {
				t.Errorf("the snapshot began anew %d times, without %d tables", n, run.Metrics.Counter("snapshot_tables_postponed_total"))
			}
			if v := progressOf(t, run); v.Status != "complete" || v.Postponed != 1 || v.Tables[1].State != "postponed" {
				t.Errorf("%+v", v)
			}
		})
	}
}

// TestSnapshotBesideTruncation empties and fills a table all the time while others are
// read, as a staging table is.
func TestSnapshotBesideTruncation(t *testing.T) {
	for name, key := range map[string]string{"keyed": "PRIMARY KEY", "keyless": "NOT NULL"} {
		for _, stopped := range []bool{false, true} {
			t.Run(fmt.Sprint(name, " stopped ", stopped), func(t *testing.T) {
				t.Parallel()
				d := newTestDB(t)
				d.exec(`CREATE TABLE side (id int ` + key + `, v int); ALTER TABLE side REPLICA IDENTITY FULL`)
				var offsets connecttest.Offsets
				pairs := append(slices.Concat(narrow, telling), "message.key.columns", "public.side:id")
				d.exec(`CREATE TABLE a (id int PRIMARY KEY, v text); INSERT INTO a SELECT g, repeat('x', 200) FROM generate_series(1, 4000) g; ANALYZE`)
				run := d.start(&offsets, pairs...)
				u := newUnrolled()
				u.until(t, run, "rows are read", func() bool { return u.reads["a"] > 0 })
				ctx, stop := context.WithCancel(context.Background())
				emptied := make(chan error)
				go func() {
					other := d.session()
					for n := 0; ; n++ {
						if _, err := other.Exec(context.Background(), fmt.Sprintf(`BEGIN; TRUNCATE side; INSERT INTO side SELECT g, %d FROM generate_series(1, %d) g; COMMIT; SELECT pg_sleep(0.1)`, n, n%7+1)); err != nil || ctx.Err() != nil {
							emptied <- err
							return
						}
					}
				}()
				u.until(t, run, "the snapshot is over", func() bool { return u.last })
				if stopped {
					run.Stop()
					offsets.Put(u.partition, u.offset)
					run = d.start(&offsets, pairs...)
				}
				u.until(t, run, "the table that is emptied is read", func() bool { return u.complete })
				stop()
				if err := <-emptied; err != nil {
					t.Fatal(err)
				}
				count, row := d.get(`SELECT count(*) FROM side`), d.get(`SELECT '{"id":1,"v":' || v || '}' FROM side WHERE id = 1`)
				u.until(t, run, "the rows that the table has", func() bool {
					return strconv.Itoa(len(u.rows["side"])) == count && u.rows["side"][`{"id":1}`] == row
				})
				if u.reads["a"] != 4000 || run.Metrics.Counter("reconnects_total") != 0 {
					t.Errorf("%d rows of the other table were read", u.reads["a"])
				}
			})
		}
	}
}

// TestBlockingSnapshotBesideTruncation does the same to a snapshot that a signal asks for.
func TestBlockingSnapshotBesideTruncation(t *testing.T) {
	t.Parallel()
	d := newTestDB(t)
	d.exec(`CREATE TABLE a (id int PRIMARY KEY, v text); INSERT INTO a SELECT g, repeat('x', 200) FROM generate_series(1, 4000) g`)
	d.exec(`CREATE TABLE side (id int PRIMARY KEY, v int); INSERT INTO side SELECT g, 0 FROM generate_series(1, 100) g; ANALYZE`)
	c := newSignalled()
	run := d.startSignalled(c, &connecttest.Offsets{}, append(slices.Concat(narrow, telling), "snapshot.mode", "no_data")...)
	d.streaming()
	c.send("execute-snapshot", `{"type":"blocking","data-collections":["public.*"]}`)
	u := newUnrolled()
	u.until(t, run, "rows are read", func() bool { return u.reads["a"] > 0 })
	d.exec(`TRUNCATE side; INSERT INTO side SELECT g, 1 FROM generate_series(1, 7) g; ALTER TABLE side ALTER v TYPE bigint`)
	u.until(t, run, "the rows that the table has", func() bool {
		return u.complete && !c.reading() && len(u.rows["side"]) == 7 && u.incremental["side"] == 7
	})
	if u.reads["a"] != 4000 || u.reads["side"] != 0 || run.Metrics.Counter("reconnects_total") != 0 {
		t.Errorf("%v rows were read", u.reads)
	}
}

// TestSnapshotRestsForTable changes the shape of a table whenever it is read: that is
// told, and the table is neither given up nor read all the time.
func TestSnapshotRestsForTable(t *testing.T) {
	var shown string
	env := &connect.SourceTaskEnv{Show: func(_ string, text []byte) { shown = string(text) }}
	s := &stream{log: slog.New(slog.DiscardHandler), metrics: noMetrics{}, set: &settings{chunkRows: 10, chunkThreads: 1}, em: &emitter{}}
	s.beside = newBeside(s, env, nil)
	b := s.beside
	b.todo = make(chan *chunk, 10)
	table := tableBacklog{Number: 1, Schema: "public", Name: "side", Request: "initial", Initial: true}
	s.em.pos.backlog = s.em.pos.backlog.with(func(p *backlog) { p.Tables = []tableBacklog{table} })
	sc := b.addScan(&table)
	for n := range 8 {
		b.advance(sc)
		if asked := b.asked; asked != min(n+1, 6) {
			t.Fatalf("it was looked at %d times after %d changes", asked, n)
		}
		b.restart(sc)
	}
	if b.show(time.Now()); b.fault != nil || !strings.Contains(shown, "public.side") || !strings.Contains(shown, codeAltered) {
		t.Errorf("it ends with %v and shows %s", b.fault, shown)
	}
	if rest := time.Until(sc.rests); rest < time.Second || rest > time.Minute {
		t.Errorf("it rests for %s", rest)
	}
}
