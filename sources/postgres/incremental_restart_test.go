package postgres

import (
	"context"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/tidemill/tidemill/connect/connecttest"
	"github.com/tidemill/tidemill/internal/devstack"
)

// reading tells whether tables are being read beside the log.
func (c *signalled) reading() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.shown["incremental"] != ""
}

// TestResumableSnapshotThroughKills takes the initial snapshot of two tables beside the
// log, in a storm, while the task is killed and its connections are cut.
func TestResumableSnapshotThroughKills(t *testing.T) {
	t.Parallel()
	d := newTestDB(t)
	const rows = 2500
	stormTable(d, "a", rows)
	stormTable(d, "b", 500)
	d.exec(`CREATE TABLE empty (id int PRIMARY KEY)`)
	stopA, stopB := storm(t, d, "a", 3, rows), storm(t, d, "b", 1, 500)
	defer stopA()
	defer stopB()
	settings := []string{"snapshot.kind", "resumable", "incremental.snapshot.chunk.size", "20", "max.batch.size", "64", "max.queue.size", "128"}
	var offsets connecttest.Offsets
	a, b := newVersions(t, "a"), newVersions(t, "b")
	random := rand.New(rand.NewPCG(5, 6))
	c := newSignalled()
	begun, rounds, reached := false, 0, int64(0)
	for deadline := time.Now().Add(patience); ; rounds++ {
		run := d.startSignalled(c, &offsets, settings...)
		take := func(atMost time.Duration) {
			for until := time.Now().Add(atMost); time.Now().Before(until); {
				for _, r := range run.Take(1) {
					a.take(&r, false)
					b.take(&r, false)
				}
			}
			begun = begun || c.reading()
		}
		take(time.Duration(150+random.IntN(300)) * time.Millisecond)
		if random.IntN(3) == 0 {
			d.get(`SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'tidemill%'`)
			take(200 * time.Millisecond)
		}
		run.Commit()
		now := readUpTo(t, &offsets)
		if now >= 0 && now < reached || now == 0 && reached != 0 {
			t.Errorf("the first table was read up to %d, and now to %d: it did not go on where it was", reached, now)
		}
		reached = now
		// What was taken but not stored comes again: a key may go back to what was stored,
		// but not behind that.
		a.kept, b.kept = a.snapshot(), b.snapshot()
		take(time.Duration(random.IntN(100)) * time.Millisecond)
		if begun && !c.reading() {
			stopA()
			stopB()
			drainUntil(t, d, run, a, b)
			a.compare(d, jsonID)
			drainUntil(t, d, run, b, a)
			b.compare(d, jsonID)
			run.Stop()
			break
		}
		run.Stop()
		a.restore()
		b.restore()
		if time.Now().After(deadline) {
			t.Fatal("the snapshot does not end")
		}
	}
	t.Logf("%d rounds, %v", rounds, a.ops)
}

// readUpTo returns the last key of the first table that the stored offset says was
// read, and -1 when it is done.
func readUpTo(t *testing.T, offsets *connecttest.Offsets) int64 {
	t.Helper()
	for _, text := range offsets.All() {
		p, err := parsePosition(text)
		if err != nil {
			t.Fatal(err)
		}
		if entry := p.backlog.table(1); entry != nil && entry.Last == nil {
			return 0
		} else if entry != nil {
			return number([]byte(entry.Last[0]))
		}
	}
	return -1
}

// waitsForStandby tells whether commits wait for a standby. That sessions know the setting
// is not enough: they wait once the checkpointer has told them to.
func (d *testDB) waitsForStandby() bool {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	probe := d.session()
	go func() {
		_, _ = probe.Exec(ctx, `CREATE TEMP TABLE probe ()`) // It is ended while it waits.
		close(ended)
	}()
	defer func() {
		cancel()
		<-ended
	}()
	for d.get(`SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'`) == "0" {
		select {
		case <-ended:
			return false
		case <-time.After(time.Millisecond):
		}
	}
	return true
}

// TestWindowRace has a transaction whose commit is in the log, and was streamed, long
// before it becomes visible: it waits for a standby that does not come.
func TestWindowRace(t *testing.T) {
	t.Parallel()
	pg := devstack.NewTestPostgres(t, devstack.PostgresOptions{})
	d := openTestDB(t, pg.DSN("postgres"))
	d.exec(`CREATE TABLE a (id int PRIMARY KEY, n bigint, big text); INSERT INTO a SELECT g, 1, 'x' FROM generate_series(1, 100) g`)
	c := newSignalled()
	var offsets connecttest.Offsets
	run := d.startSignalled(c, &offsets, "snapshot.mode", "no_data")
	d.streaming()
	writer := d.session()
	d.exec(`ALTER SYSTEM SET synchronous_standby_names = 'nobody'`)
	d.exec(`SELECT pg_reload_conf()`)
	d.exec(`SET synchronous_commit = local`)
	eventually(t, "the setting holds", func() bool {
		var v string
		return writer.QueryRow(context.Background(), `SHOW synchronous_standby_names`).Scan(&v) == nil && v == "nobody" && d.waitsForStandby()
	})
	done := make(chan error, 1)
	go func() {
		_, err := writer.Exec(context.Background(), `UPDATE a SET n = 2 WHERE id = 50`)
		done <- err
	}()
	v := newVersions(t, "a")
	changed := run.Take(1)
	v.take(&changed[0], false)
	if op(&changed[0]) != "u" || d.get(`SELECT n FROM a WHERE id = 50`) != "1" {
		t.Fatal("the change is not streamed before it is visible")
	}
	for _, restarted := range []bool{false, true} {
		if restarted {
			run.Commit()
			run.Stop()
			run = d.startSignalled(c, &offsets, "snapshot.mode", "no_data")
			d.streaming()
		}
		c.send("execute-snapshot", `{"data-collections":["public.a"]}`)
		for began := time.Now(); time.Since(began) < 1500*time.Millisecond; {
			for _, r := range run.Poll(200 * time.Millisecond) {
				if op(&r) == "r" {
					t.Fatalf("restarted %v: a row was read while a streamed change is not visible: %s; %s", restarted, brief(&r), d.get(`SELECT string_agg(concat_ws(' ', pid, state, wait_event, backend_xid, query), '\n') FROM pg_stat_activity WHERE backend_type = 'client backend'`))
				}
				v.take(&r, false)
			}
		}
		if !restarted {
			c.send("stop-snapshot", `{}`)
			eventually(t, "the snapshot stops", func() bool { run.Take(0); run.Poll(50 * time.Millisecond); return !c.reading() })
		}
	}
	d.exec(`ALTER SYSTEM RESET synchronous_standby_names`)
	d.exec(`SELECT pg_reload_conf()`)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	for _, r := range run.Take(100) {
		v.take(&r, false)
	}
	v.compare(d, jsonID)
	if v.ops["r"] != 100 {
		t.Error(v.ops)
	}
}

// TestIncrementalSnapshotKeys reads tables with keys of many kinds, and without one.
func TestIncrementalSnapshotKeys(t *testing.T) {
	t.Parallel()
	d := newTestDB(t)
	d.exec(`CREATE TYPE mood AS ENUM ('sad', 'ok', 'glad')`)
	d.exec(`CREATE TABLE four (a int, b text, c date, d uuid, n int, PRIMARY KEY (c, a, b, d)); INSERT INTO four
		SELECT g % 7, 'it''s \ ' || g % 5, date '2024-01-01' + g % 11, gen_random_uuid(), g FROM generate_series(1, 700) g`)
	d.exec(`CREATE TABLE moods (m mood, k int, PRIMARY KEY (m, k)); INSERT INTO moods SELECT (enum_range(null::mood))[1 + g % 3], g FROM generate_series(1, 300) g`)
	d.exec(`CREATE TABLE numbers (k numeric PRIMARY KEY); INSERT INTO numbers SELECT g / 8.0 FROM generate_series(-100, 100) g; INSERT INTO numbers VALUES ('NaN'), ('Infinity'), ('-Infinity'), (1e50), (1.50)
		ON CONFLICT DO NOTHING`)
	d.exec(`CREATE TABLE keyless (x int, y text); INSERT INTO keyless SELECT g % 10, repeat('y', 500) FROM generate_series(1, 900) g`)
	d.exec(`CREATE TABLE "Odd ""one" ("K y" text COLLATE "C" PRIMARY KEY); INSERT INTO "Odd ""one" SELECT chr(32 + g) || 'z' FROM generate_series(1, 90) g`)
	d.exec(`CREATE TABLE parts (k int, v text, PRIMARY KEY (k)) PARTITION BY RANGE (k);
		CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (100); CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (100) TO (1000);
		INSERT INTO parts SELECT g, 'p' FROM generate_series(1, 250) g`)
	d.exec(`CREATE TABLE later (k int PRIMARY KEY, s int NOT NULL); INSERT INTO later SELECT g, g % 17 FROM generate_series(1, 200) g`)
	c := newSignalled()
	run := d.startSignalled(c, &connecttest.Offsets{}, "snapshot.mode", "no_data", "incremental.snapshot.chunk.size", "13", "decimal.handling.mode", "string")
	d.streaming()
	c.send("execute-snapshot", `{"data-collections":["public\\..*"],"additional-conditions":[{"data-collection":"public.later","filter":"k > 50 -- only these"}]}`)
	want := map[string]int{"four": 700, "moods": 300, "keyless": 900, "parts": 250, "later": 150}
	want["numbers"] = int(number([]byte(d.get(`SELECT count(*)::text FROM numbers`))))
	want["Odd__one"] = 90
	total := 0
	for _, n := range want {
		total += n
	}
	got, keys := map[string]int{}, map[string]bool{}
	for _, r := range run.Take(total) {
		table := r.Topic[strings.LastIndexByte(r.Topic, '.')+1:]
		got[table]++
		if key := table + r.Key.String(); table != "keyless" && keys[key] {
			t.Errorf("%s came twice", key)
		} else {
			keys[key] = true
		}
	}
	for table, n := range want {
		if got[table] != n {
			t.Errorf("%s: %d rows, want %d", table, got[table], n)
		}
	}
	eventually(t, "the snapshot ends", func() bool { run.Poll(20 * time.Millisecond); return !c.reading() })
	c.send("execute-snapshot", `{"data-collections":["public.later"],"surrogate-key":"s"}`)
	last := int64(-1)
	for _, r := range run.Take(200) {
		if s := after(&r, "s").Int(); s < last {
			t.Fatal("not in the order of the surrogate key")
		} else {
			last = s
		}
	}
}
