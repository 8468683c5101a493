package postgres

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/connect/connecttest"
	"github.com/tidemill/tidemill/internal/devstack"
)

func TestConformance(t *testing.T) {
	databases := sync.Map{}
	connecttest.Source(t, connecttest.SourceCase{
		New: Plugin().New,
		Config: func(tb testing.TB) connect.Config {
			d := newTestDB(tb)
			d.exec(`CREATE TABLE a (id int PRIMARY KEY, v text); CREATE TABLE b (id int, x numeric); ALTER TABLE b REPLICA IDENTITY FULL`)
			d.exec(`INSERT INTO a SELECT g, 'row ' || g FROM generate_series(1, 5) g; INSERT INTO b VALUES (1, 1.5)`)
			databases.Store(d.slot, d)
			return d.config()
		},
		Feed: func(tb testing.TB, config connect.Config) {
			v, _ := databases.Load(config["slot.name"])
			d := v.(*testDB)
			// The snapshot is over when the slot is read from.
			eventually(tb, "the stream begins", func() bool {
				return d.get("SELECT count(*) FROM pg_stat_replication r JOIN pg_replication_slots s ON s.active_pid = r.pid WHERE s.slot_name = '"+d.slot+"' AND r.state = 'streaming'") == "1"
			})
			d.exec(`INSERT INTO a SELECT g, 'more' FROM generate_series(6, 8) g`)
			d.exec(`BEGIN; UPDATE b SET x = 2; UPDATE a SET id = 80 WHERE id = 8; DELETE FROM a WHERE id = 1; COMMIT`)
		},
		Records:   15,
		Bad:       connect.Config{"plugin.name": "decoderbufs"},
		Identity:  func(r *connect.SourceRecord) string { return brief(r) },
		Resumable: func(r *connect.SourceRecord) bool { return r.Value.IsNull() || source(r, "snapshot").Str() == "false" },
	})
}

// changesOf polls until a marker row has come and returns all rows before it.
func changesUntil(tb testing.TB, run *connecttest.SourceRun, table, marker string) []connect.SourceRecord {
	tb.Helper()
	var all []connect.SourceRecord
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		for _, r := range run.Poll(time.Second) {
			if r.Topic == "" {
				continue
			}
			if strings.HasSuffix(r.Topic, "."+table) && !r.Value.IsNull() && op(&r) == "c" && after(&r, "v").Str() == marker {
				return all
			}
			all = append(all, r)
		}
	}
	tb.Fatalf("the marker %s did not come", marker)
	return nil
}

// TestInterleavedTransactionsAndRestartAtEveryCommit has transactions whose records
// lie across each other in the log, a prepared one and a COPY, and restarts behind
// every record: each time exactly the rest comes.
func TestInterleavedTransactionsAndRestartAtEveryCommit(t *testing.T) {
	pg := devstack.NewTestPostgres(t, devstack.PostgresOptions{Settings: map[string]string{"max_prepared_transactions": "5"}})
	d := openTestDB(t, pg.DSN("postgres"))
	d.exec(`CREATE TABLE a (id int PRIMARY KEY, v text)`)
	first := d.start(&connecttest.Offsets{}, "snapshot.mode", "no_data")
	eventually(t, "the slot", func() bool { return d.get("SELECT count(*) FROM pg_replication_slots WHERE active") == "1" })
	interleave(t, d)
	d.exec(`INSERT INTO a VALUES (1000, 'end')`)
	all := changesUntil(t, first, "a", "end")
	first.Stop()
	if len(all) != 32 {
		t.Fatalf("%d records", len(all))
	}
	for i := range all {
		var offsets connecttest.Offsets
		offsets.Put(all[i].SourcePartition, all[i].SourceOffset.AppendJSON(nil))
		run := d.start(&offsets)
		rest := changesUntil(t, run, "a", "end")
		run.Stop()
		if len(rest) != len(all)-i-1 {
			t.Fatalf("restarted at %s: %d records, want %d", all[i].SourceOffset.AppendJSON(nil), len(rest), len(all)-i-1)
		}
		for j := range rest {
			if got, want := brief(&rest[j]), brief(&all[i+1+j]); got != want {
				t.Fatalf("restarted at %s: record %d is %s, want %s", all[i].SourceOffset.AppendJSON(nil), j, got, want)
			}
			if rest[j].Boundary != all[i+1+j].Boundary {
				t.Errorf("record %d has another boundary", j)
			}
		}
	}
}

func interleave(t *testing.T, d *testDB) {
	t.Helper()
	ctx := context.Background()
	one, two := d.session(), d.session()
	on := func(c *pgx.Conn, sql string) {
		t.Helper()
		if _, err := c.Exec(ctx, sql); err != nil {
			t.Fatal(err)
		}
	}
	on(one, `BEGIN`)
	on(one, `INSERT INTO a VALUES (1, 'one')`)
	on(two, `BEGIN`)
	on(two, `INSERT INTO a VALUES (2, 'two')`)
	on(two, `INSERT INTO a VALUES (3, 'two')`)
	on(one, `INSERT INTO a VALUES (4, 'one')`)
	on(two, `COMMIT`)
	on(one, `INSERT INTO a VALUES (5, 'one')`)
	on(one, `COMMIT`)
	on(one, `BEGIN; INSERT INTO a VALUES (6, 'prepared'); INSERT INTO a VALUES (7, 'prepared'); PREPARE TRANSACTION 'p'`)
	on(two, `INSERT INTO a VALUES (8, 'between')`)
	on(one, `COMMIT PREPARED 'p'`)
	on(two, `BEGIN; INSERT INTO a VALUES (9, 'undone'); ROLLBACK`)
	rows := make([][]any, 20)
	for i := range rows {
		rows[i] = []any{100 + i, fmt.Sprint("copied ", i)}
	}
	if _, err := one.CopyFrom(ctx, pgx.Identifier{"a"}, []string{"id", "v"}, pgx.CopyFromRows(rows)); err != nil {
		t.Fatal(err)
	}
	on(two, `BEGIN; INSERT INTO a VALUES (10, 'x'); SAVEPOINT s; INSERT INTO a VALUES (11, 'undone'); ROLLBACK TO s; INSERT INTO a VALUES (12, 'y'); INSERT INTO a VALUES (13, 'y'); INSERT INTO a VALUES (14, 'y'); COMMIT`)
}

// TestHandOverUnderWriters starts while many sessions write: every row comes either
// from the snapshot or from the log, never from both, never from neither.
func TestHandOverUnderWriters(t *testing.T) {
	d := newTestDB(t)
	d.exec(`CREATE TABLE a (id int PRIMARY KEY, v text)`)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var writers sync.WaitGroup
	for w := range 20 {
		conn := d.session()
		writers.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				if _, err := conn.Exec(context.Background(), `INSERT INTO a VALUES ($1, 'w')`, w*100000+i); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	eventually(t, "rows", func() bool { return d.get("SELECT count(*) > 200 FROM a") == "true" })
	run := d.start(&connecttest.Offsets{}, "snapshot.max.threads", "2")
	seen := map[int64]string{}
	streamed := 0
	take := func(r *connect.SourceRecord) {
		if r.Topic == "" {
			return
		}
		id := after(r, "id").Int()
		if was, ok := seen[id]; ok {
			t.Errorf("row %d came twice: %s, %s", id, was, op(r))
		}
		seen[id] = op(r)
		if op(r) == "c" {
			streamed++
		}
	}
	for deadline := time.Now().Add(patience); streamed < 500 && time.Now().Before(deadline); {
		for _, r := range run.Poll(time.Second) {
			take(&r)
		}
	}
	stop()
	writers.Wait()
	d.exec(`INSERT INTO a VALUES (-1, 'end')`)
	rest := changesUntil(t, run, "a", "end")
	for i := range rest {
		take(&rest[i])
	}
	if want := d.get("SELECT count(*) - 1 FROM a"); want != fmt.Sprint(len(seen)) {
		t.Errorf("%d rows came, the table has %s", len(seen), want)
	}
	if streamed < 500 {
		t.Errorf("only %d rows came from the log", streamed)
	}
}

// TestBrokenConnections kills the server's side of the connection, then the server,
// while rows are written: all come once, in order.
func TestBrokenConnections(t *testing.T) {
	pg := devstack.NewTestPostgres(t, devstack.PostgresOptions{})
	d := openTestDB(t, pg.DSN("postgres"))
	d.exec(`CREATE TABLE a (id int PRIMARY KEY, v text)`)
	run := d.start(&connecttest.Offsets{}, "snapshot.mode", "no_data", "max.batch.size", "7")
	eventually(t, "the slot", func() bool { return d.get("SELECT count(*) FROM pg_replication_slots WHERE active") == "1" })
	next := 0
	write := func(n int) {
		t.Helper()
		d.exec(`INSERT INTO a SELECT g, 'v' FROM generate_series($1::int, $2::int) g`, next, next+n-1)
		next += n
	}
	want := int64(0)
	check := func(n int) {
		t.Helper()
		for _, r := range run.Take(n) {
			if id := after(&r, "id").Int(); id != want {
				t.Fatalf("row %d came, want %d", id, want)
			}
			want++
		}
	}
	for range 5 {
		write(50)
		check(20) // In the middle of a transaction.
		d.get(`SELECT count(pg_terminate_backend(active_pid)) FROM pg_replication_slots WHERE active`)
		write(10)
		check(40)
		run.Commit()
	}
	write(30)
	check(13)
	if err := pg.Restart(context.Background()); err != nil {
		t.Fatal(err)
	}
	d.conn = d.session()
	write(30)
	check(next - int(want))
}
