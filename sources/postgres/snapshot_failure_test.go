package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/connect/connecttest"
	"github.com/tidemill/tidemill/internal/devstack"
)

// narrow are settings with which a snapshot waits for the test after a few rows.
var narrow = []string{"max.batch.size", "50", "max.queue.size", "50", "max.queue.size.in.bytes", "200000", "snapshot.max.threads", "1", "retriable.restart.connector.wait.ms", "300"}

// halfway makes two tables and a snapshot that is in the middle of the first one.
func halfway(t *testing.T, d *testDB, pairs ...string) *connecttest.SourceRun {
	t.Helper()
	d.exec(`CREATE TABLE a (id int PRIMARY KEY, v text); INSERT INTO a SELECT g, repeat('x', 200) FROM generate_series(1, 40000) g`)
	d.exec(`CREATE TABLE b (id int PRIMARY KEY, v text, n int); INSERT INTO b SELECT g, 'v', g FROM generate_series(1, 100) g; ANALYZE`)
	run := d.start(&connecttest.Offsets{}, append(slices.Clone(narrow), pairs...)...)
	eventually(t, "rows are read", func() bool { return progressOf(t, run).Rows > 0 })
	run.Take(10)
	return run
}

func progressOf(t *testing.T, run *connecttest.SourceRun) (v progressView) {
	t.Helper()
	if text := run.Shown("snapshot"); text != nil {
		if err := json.Unmarshal(text, &v); err != nil {
			t.Fatal(err)
		}
	}
	return v
}

// untilLast takes records until the last of a snapshot and returns the rows of the
// attempt that came to its end.
func untilLast(t *testing.T, run *connecttest.SourceRun) []connect.SourceRecord {
	t.Helper()
	var records []connect.SourceRecord
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		for _, r := range run.Poll(time.Second) {
			if r.Topic == "" || op(&r) != "r" {
				continue
			}
			if source(&r, "snapshot").Str() == "first" {
				records = nil
			}
			if records = append(records, r); source(&r, "snapshot").Str() == "last" {
				return records
			}
		}
	}
	t.Fatalf("the snapshot did not end; %d rows came", len(records))
	return nil
}

// TestSnapshotConnectionCut loses connections while rows come: each row comes once
// all the same, and no slot is left over.
func TestSnapshotConnectionCut(t *testing.T) {
	t.Parallel()
	d := newTestDB(t)
	d.exec(`CREATE TABLE a (id int PRIMARY KEY, v text)` + wide + `; INSERT INTO a SELECT g, repeat('x', 200) FROM generate_series(1, 10000) g; ANALYZE`)
	c, port := newCutter(t, d, 200_000, 400_000)
	run := d.start(&connecttest.Offsets{}, append([]string{"database.port", port, "retriable.restart.connector.wait.ms", "300"}, inPieces...)...)
	if rows := rowsByTopic(t, run.Take(10000))["a"]; distinct(rows) != 10000 {
		t.Errorf("%d rows", distinct(rows))
	}
	if c.cuts.Load() != 2 || run.Metrics.Counter("snapshot_reconnects_total") != 2 || run.Metrics.Counter("reconnects_total") != 0 {
		t.Errorf("%d cuts, %d of them of pieces, %d of sessions", c.cuts.Load(), run.Metrics.Counter("snapshot_reconnects_total"), run.Metrics.Counter("reconnects_total"))
	}
	if n := progressOf(t, run); n.Rows != 10000 || n.Bytes < 10000*200 || n.Bytes > 10000*300 {
		t.Errorf("%+v", n)
	}
	d.streaming()
	if left := d.get("SELECT string_agg(slot_name, ',') FROM pg_replication_slots WHERE database = current_database()"); left != d.slot {
		t.Errorf("the slots are %s", left)
	}
}

// TestSnapshotBackendsTerminated ends the sessions that read rows, again and again.
func TestSnapshotBackendsTerminated(t *testing.T) {
	t.Parallel()
	d := newTestDB(t)
	run := halfway(t, d, "snapshot.max.threads", "2")
	taken := 10
	for range 4 {
		d.exec(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'COPY%' AND pid <> pg_backend_pid()`)
		run.Take(5000)
		taken += 5000
	}
	records := run.Take(40100 - taken)
	if word := source(&records[len(records)-1], "snapshot").Str(); word != "last" {
		t.Errorf("the last row is marked %s", word)
	}
	if run.Metrics.Counter("snapshot_reconnects_total") == 0 || run.Metrics.Counter("reconnects_total") != 0 || run.Metrics.Counter("snapshot_rows_total") != 40100 {
		t.Errorf("%d connections were lost, %d sessions, %d rows were counted", run.Metrics.Counter("snapshot_reconnects_total"), run.Metrics.Counter("reconnects_total"), run.Metrics.Counter("snapshot_rows_total"))
	}
}

// TestSnapshotViewLost ends the session that exported the view while rows are read.
func TestSnapshotViewLost(t *testing.T) {
	t.Parallel()
	d := newTestDB(t)
	run := halfway(t, d)
	d.exec(`INSERT INTO b VALUES (101, 'later', 1)`)
	d.exec(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'walsender' AND datname = current_database()`)
	rows := rowsByTopic(t, untilLast(t, run))
	if len(rows["a"]) != 40000 || len(rows["b"]) != 101 {
		t.Errorf("%d and %d rows", len(rows["a"]), len(rows["b"]))
	}
}

// TestSnapshotLocks holds changes of shape back while the snapshot is taken.
func TestSnapshotLocks(t *testing.T) {
	t.Parallel()
	d := newTestDB(t)
	run := halfway(t, d, "snapshot.locking.mode", "shared")
	if _, err := d.conn.Exec(context.Background(), `SET lock_timeout = '100ms'; ALTER TABLE b ALTER n TYPE bigint`); sqlState(err) != "55P03" {
		t.Errorf("the table was altered: %v", err)
	}
	// Nobody takes rows meanwhile, so few are read.
	if v := progressOf(t, run); v.Rows > 2000 || v.Percent > 10 || v.Status != "running" || v.Tables[0].State != "reading" || v.Tables[1].State != "waiting" {
		t.Errorf("%+v", v)
	}
	d.exec(`INSERT INTO b VALUES (101, 'goes on', 1)`)
	records := run.Take(40090)
	if word := source(&records[len(records)-1], "snapshot").Str(); word != "last" {
		t.Errorf("the last row is marked %s", word)
	}
	eventually(t, "the locks are gone", func() bool {
		_, err := d.conn.Exec(context.Background(), `ALTER TABLE b ALTER n TYPE bigint`)
		return err == nil
	})
	if n := run.Metrics.Counter("reconnects_total"); n != 0 {
		t.Errorf("the snapshot began anew %d times", n)
	}
}

func TestSnapshotLockTimesOut(t *testing.T) {
	t.Parallel()
	d := newTestDB(t)
	d.exec(`CREATE TABLE a (id int PRIMARY KEY)`)
	d.exec(`BEGIN; LOCK TABLE a IN ACCESS EXCLUSIVE MODE`)
	set, err := newSettings(d.config("snapshot.locking.mode", "shared", "snapshot.lock.timeout.ms", "50"))
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	side, err := set.open(ctx, "test")
	if err != nil {
		t.Fatal(err)
	}
	defer side.close(ctx)
	if err := side.exec(ctx, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"); err != nil {
		t.Fatal(err)
	}
	s := &snapshot{set: set}
	if err := s.lock(ctx, side, []catalogTable{{name: tableName{"public", "a"}}}); sqlState(err) != "55P03" || !isRetriable(err) || !strings.Contains(err.Error(), "locking the tables") {
		t.Error(err)
	}
}

// TestSnapshotStoppedAnywhere stops a task at many points of its first snapshot: before
// the first row it leaves nothing on the server, and after that the slot, which has what
// becomes of the rows that were told. The next start tells everything.
func TestSnapshotStoppedAnywhere(t *testing.T) {
	t.Parallel()
	d := newTestDB(t)
	d.exec(`CREATE TABLE a (id int PRIMARY KEY, v text)` + wide + `; INSERT INTO a SELECT g, repeat('x', 200) FROM generate_series(1, 2000) g; CREATE TABLE b (id int PRIMARY KEY); INSERT INTO b VALUES (1); ANALYZE`)
	var offsets connecttest.Offsets
	for _, n := range []int{0, 1, 40, 1000, 1999} {
		run := d.start(&offsets, append(slices.Clone(inPieces), "max.batch.size", "10", "max.queue.size", "10", "max.queue.size.in.bytes", "100000")...)
		if n > 0 {
			run.Take(n)
			run.Commit()
		}
		run.Stop()
		left := map[bool]string{true: "2", false: "0"}[n > 0]
		eventually(t, "the slot and the publication stay if rows were told", func() bool {
			return d.get("SELECT (SELECT count(*) FROM pg_replication_slots WHERE database = current_database()) + (SELECT count(*) FROM pg_publication)") == left
		})
	}
	rows := rowsByTopic(t, d.start(&offsets, inPieces...).Take(2001))
	if distinct(rows["a"]) != 2000 {
		t.Errorf("%d rows", distinct(rows["a"]))
	}
}

// TestSnapshotRepeatedTellsWhatWasBetween changes rows between a snapshot that was cut
// short and the one that repeats it: no row stays that is gone, and none comes to an
// older version.
func TestSnapshotRepeatedTellsWhatWasBetween(t *testing.T) {
	for name, end := range map[string]func(*testDB, *connecttest.SourceRun, func() *connecttest.SourceRun) *connecttest.SourceRun{
		"restart": func(_ *testDB, run *connecttest.SourceRun, again func() *connecttest.SourceRun) *connecttest.SourceRun {
			run.Commit()
			run.Stop()
			return again()
		},
		"view lost": func(d *testDB, run *connecttest.SourceRun, _ func() *connecttest.SourceRun) *connecttest.SourceRun {
			d.exec(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'walsender' AND datname = current_database()`)
			return run
		},
		"always": func(d *testDB, run *connecttest.SourceRun, again func() *connecttest.SourceRun) *connecttest.SourceRun {
			untilLast(t, run)
			run.Commit()
			run.Stop()
			return again()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newTestDB(t)
			d.exec(`CREATE TABLE a (id int PRIMARY KEY, v int)` + wide + `; INSERT INTO a SELECT g, 0 FROM generate_series(1, 3000) g; ANALYZE`)
			pairs := append(slices.Clone(narrow), "snapshot.mode", map[bool]string{true: "always", false: "initial"}[name == "always"])
			var offsets connecttest.Offsets
			run := d.start(&offsets, pairs...)
			rows := map[int64]int64{}
			apply := func(r *connect.SourceRecord) {
				if r.Topic == "" {
					return
				}
				id := r.Key.Struct().Get("id").Int()
				if op(r) == "d" {
					delete(rows, id)
				} else if !r.Value.IsNull() {
					v := after(r, "v").Int()
					if v < rows[id] {
						t.Errorf("row %d went from version %d back to %d", id, rows[id], v)
					}
					rows[id] = v
				}
			}
			for _, r := range run.Take(200) {
				apply(&r)
			}
			d.exec(`DELETE FROM a WHERE id IN (SELECT g FROM generate_series(1, 3000, 3) g); UPDATE a SET v = 1 WHERE id % 2 = 0; DELETE FROM a WHERE id = 2; INSERT INTO a VALUES (2, 7)`)
			run = end(d, run, func() *connecttest.SourceRun { return d.start(&offsets, pairs...) })
			want, last := d.get("SELECT count(*) || ' ' || sum(v) FROM a"), false
			// The loss of a view may be noticed only when all was read; then the log has the rest.
			eventually(t, "the rows that the table has", func() bool {
				for _, r := range run.Poll(100 * time.Millisecond) {
					apply(&r)
					last = last || r.Topic != "" && op(&r) == "r" && source(&r, "snapshot").Str() == "last"
				}
				return last && fmt.Sprint(len(rows), " ", sum(rows)) == want
			})
			if left := d.get("SELECT string_agg(slot_name, ',') FROM pg_replication_slots WHERE database = current_database() AND NOT temporary"); left != d.slot {
				t.Errorf("the slots are %s", left)
			}
		})
	}
}

func sum(rows map[int64]int64) (n int64) {
	for _, v := range rows {
		n += v
	}
	return n
}

// TestSnapshotHasWhatIsPublished reads the columns and rows to which the publication
// is limited, as the log does.
func TestSnapshotHasWhatIsPublished(t *testing.T) {
	t.Parallel()
	d := newTestDB(t)
	d.exec(`CREATE TABLE a (id int PRIMARY KEY, v text, secret text)` + wide + `; INSERT INTO a SELECT g, 'v', 'hidden' FROM generate_series(1, 2000) g`)
	d.exec(`CREATE PUBLICATION dbz_publication FOR TABLE a (id, v) WHERE (id > 500 AND id <> 700)`)
	run := d.start(&connecttest.Offsets{}, inPieces...)
	rows := rowsByTopic(t, run.Take(1499))["a"]
	if distinct(rows) != 1499 || slices.Contains(rows, `{"id":700,"v":"v"}`) || !slices.Contains(rows, `{"id":501,"v":"v"}`) {
		t.Errorf("%d rows, such as %s", distinct(rows), rows[0])
	}
	d.streaming()
	d.exec(`INSERT INTO a VALUES (0, 'v', 'hidden'), (3000, 'v', 'hidden')`)
	expectBrief(t, run.Take(1), `a c {"id":3000} null {"id":3000,"v":"v"}`)
}

// TestSnapshotWithFewRights reads with rights on columns only, and partitions that may
// be read through their root alone.
func TestSnapshotWithFewRights(t *testing.T) {
	t.Parallel()
	d := newTestDB(t)
	role := "few_" + strings.TrimPrefix(d.url.Path, "/")
	d.exec(`CREATE TABLE a (id int PRIMARY KEY, v text, secret text)` + wide + `; INSERT INTO a SELECT g, 'v', 's' FROM generate_series(1, 2000) g`)
	d.exec(`CREATE TABLE p (id int PRIMARY KEY, v text) PARTITION BY RANGE (id); CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10000); INSERT INTO p SELECT g, 'v' FROM generate_series(1, 1000) g; ANALYZE`)
	d.exec(`CREATE ROLE ` + role + ` LOGIN REPLICATION; GRANT SELECT (id, v) ON a TO ` + role + `; GRANT SELECT ON p TO ` + role + `; CREATE PUBLICATION dbz_publication FOR TABLE a, p WITH (publish_via_partition_root = true)`)
	t.Cleanup(func() {
		d.exec(`REASSIGN OWNED BY ` + role + ` TO CURRENT_USER; DROP OWNED BY ` + role + `; DROP ROLE ` + role)
	})
	run := d.start(&connecttest.Offsets{}, append([]string{"database.user", role, "column.exclude.list", "public.a.secret", "table.include.list", "public.a,public.p"}, inPieces...)...)
	rows := rowsByTopic(t, run.Take(3000))
	if distinct(rows["a"]) != 2000 || distinct(rows["p"]) != 1000 {
		t.Errorf("%d and %d rows", distinct(rows["a"]), distinct(rows["p"]))
	}
	run.Stop()
}

// TestSnapshotOnEveryVersion reads a table in pieces on the newer servers.
func TestSnapshotOnEveryVersion(t *testing.T) {
	for _, version := range []int{14, 16, 17, 18} {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			t.Parallel()
			d := openTestDB(t, devstack.TestPostgresVersion(t, version))
			d.exec(`CREATE TABLE a (id int PRIMARY KEY, v text)` + wide + `; INSERT INTO a SELECT g, 'v' FROM generate_series(1, 5000) g; ANALYZE`)
			run := d.start(&connecttest.Offsets{}, inPieces...)
			if rows := rowsByTopic(t, run.Take(5000))["a"]; distinct(rows) != 5000 {
				t.Errorf("%d rows", distinct(rows))
			}
			if v := progressOf(t, run); v.ChunksTotal < 3 {
				t.Errorf("%d chunks", v.ChunksTotal)
			}
		})
	}
}

// TestSnapshotWithFewConnections finds that the server gives it fewer connections than
// it wants.
func TestSnapshotWithFewConnections(t *testing.T) {
	t.Parallel()
	d := newTestDB(t)
	role := "limited_" + strings.TrimPrefix(d.url.Path, "/")
	d.exec(`CREATE TABLE a (id int PRIMARY KEY, v text)` + wide + `; INSERT INTO a SELECT g, repeat('v', 200) FROM generate_series(1, 5000) g; ANALYZE; CREATE PUBLICATION dbz_publication FOR TABLE a`)
	d.exec(`CREATE ROLE ` + role + ` LOGIN REPLICATION CONNECTION LIMIT 3; GRANT SELECT ON a TO ` + role)
	run := d.start(&connecttest.Offsets{}, append([]string{"database.user", role}, inPieces...)...)
	if rows := rowsByTopic(t, run.Take(5000))["a"]; distinct(rows) != 5000 {
		t.Errorf("%d rows", distinct(rows))
	}
	if n := run.Metrics.Counter("reconnects_total"); n != 0 {
		t.Errorf("the snapshot began anew %d times", n)
	}
	run.Stop()
	d.exec(`DROP OWNED BY ` + role + `; DROP ROLE ` + role)
}
