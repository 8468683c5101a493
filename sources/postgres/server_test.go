package postgres

import (
	"context"
	"testing"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/connect/connecttest"
	"github.com/tidemill/tidemill/internal/devstack"
)

// pump polls and commits as a worker does until the test ends.
func pump(t *testing.T, run *connecttest.SourceRun) {
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	t.Cleanup(func() { stop(); <-done })
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			records, err := run.Task.Poll(ctx)
			if err != nil && connect.AsError(err).Class != connect.ClassRetriable {
				t.Error(err)
				return
			}
			if n := len(records); n > 0 {
				last := records[n-1]
				_ = run.Task.(connect.Committer).Commit(ctx, map[connect.SourcePartition]connect.Offset{last.SourcePartition: last.SourceOffset})
			}
		}
	}()
}

// TestServerShutsDownFast stops the server while the task is idle: it must not wait
// for us.
func TestServerShutsDownFast(t *testing.T) {
	pg := devstack.NewTestPostgres(t, devstack.PostgresOptions{})
	d := openTestDB(t, pg.DSN("postgres"))
	d.exec(`CREATE TABLE a (id int PRIMARY KEY)`)
	run := d.begun()
	d.exec(`INSERT INTO a VALUES (1)`)
	run.Take(1)
	run.Commit()
	pump(t, run)
	restartUnforced(t, pg)
}

// restartUnforced restarts the server, which must not wait for us for ever.
func restartUnforced(t *testing.T, pg *devstack.Postgres) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := pg.Restart(ctx); err != nil {
		t.Fatalf("the server was not let go: %v", err)
	}
}

// TestSlowConsumer takes nothing for much longer than the server waits for a sign of
// life: the connection stays, and memory stays bounded.
func TestSlowConsumer(t *testing.T) {
	pg := devstack.NewTestPostgres(t, devstack.PostgresOptions{Settings: map[string]string{"wal_sender_timeout": "4s"}})
	d := openTestDB(t, pg.DSN("postgres"))
	d.exec(`CREATE TABLE a (id int PRIMARY KEY, v text)`)
	run := d.begun("max.queue.size.in.bytes", "1000000", "status.update.interval.ms", "500")
	pid := d.get("SELECT active_pid FROM pg_replication_slots")
	d.exec(`INSERT INTO a SELECT g, repeat('x', 1000) FROM generate_series(1, 30000) g`)
	pause(context.Background(), 9*time.Second) // The time is what is tested.
	if now := d.get("SELECT active_pid FROM pg_replication_slots"); now != pid {
		t.Error("the server has given the connection up")
	}
	for i, r := range run.Take(30000) {
		if after(&r, "id").Int() != int64(i+1) {
			t.Fatalf("record %d is %v", i, r.Key)
		}
	}
	if n := run.Metrics.Counter("reconnects_total"); n != 0 {
		t.Errorf("%d new connections", n)
	}
}

// TestNothingConfirmedBeforeItIsSafe looks at the slot while records are taken but
// not committed, and across a crash of the server, which may set the slot back.
func TestNothingConfirmedBeforeItIsSafe(t *testing.T) {
	pg := devstack.NewTestPostgres(t, devstack.PostgresOptions{})
	d := openTestDB(t, pg.DSN("postgres"))
	d.exec(`CREATE TABLE a (id int PRIMARY KEY)`)
	run := d.begun()
	begin := d.get("SELECT confirmed_flush_lsn::text FROM pg_replication_slots")
	d.exec(`INSERT INTO a VALUES (1)`)
	d.exec(`INSERT INTO a VALUES (2)`)
	run.Take(2)
	d.get("SELECT pg_switch_wal()::text")
	run.Poll(2 * tick)
	if now := d.get("SELECT confirmed_flush_lsn::text FROM pg_replication_slots"); now != begin {
		t.Errorf("%s was confirmed, nothing is safe behind %s", now, begin)
	}
	run.Commit()
	eventually(t, "the position is confirmed", func() bool {
		return d.get("SELECT (confirmed_flush_lsn > $1::pg_lsn)::text FROM pg_replication_slots", begin) == "true"
	})
	d.exec(`INSERT INTO a VALUES (3)`)
	run.Take(1)
	pg.Crash(9)
	if err := pg.Restart(context.Background()); err != nil {
		t.Fatal(err)
	}
	d.conn = d.session()
	d.exec(`INSERT INTO a VALUES (4)`)
	if r := run.Take(1)[0]; after(&r, "id").Int() != 4 {
		t.Errorf("after the crash %v came", r.Key)
	}
}

// TestInterruptedSnapshotStartsAnew stops in the middle of a snapshot and starts
// again from what was stored, with another slot, which does not reach back to there.
func TestInterruptedSnapshotStartsAnew(t *testing.T) {
	d := newTestDB(t)
	d.exec(`CREATE TABLE a (id int PRIMARY KEY, v text); INSERT INTO a SELECT g, repeat('x', 500) FROM generate_series(1, 20000) g`)
	d.exec(`CREATE TABLE b (id int PRIMARY KEY); CREATE TABLE empty (id int PRIMARY KEY); INSERT INTO b VALUES (1), (2); ANALYZE`)
	var offsets connecttest.Offsets
	run := d.start(&offsets, "max.queue.size.in.bytes", "200000", "max.batch.size", "100")
	run.Take(1000)
	run.Commit()
	run.Stop()
	if left := d.get("SELECT (SELECT count(*) FROM pg_replication_slots WHERE slot_name = $1) + (SELECT count(*) FROM pg_publication)", d.slot); left != "2" {
		t.Errorf("of the slot and the publication %s were left", left)
	}
	d.exec(`SELECT pg_drop_replication_slot($1)`, d.slot)
	d.exec(`SELECT pg_create_logical_replication_slot($1, 'pgoutput')`, d.slot)
	d.exec(`INSERT INTO b VALUES (3)`)
	again := d.start(&offsets, "snapshot.max.threads", "3")
	marks := map[string]int{}
	for _, r := range again.Take(20003) {
		marks[source(&r, "snapshot").Str()]++
	}
	if marks["last"] != 1 || marks["first"] != 1 || marks["true"] < 19990 {
		t.Error(marks)
	}
	d.streaming()
	d.exec(`INSERT INTO b VALUES (4)`)
	if got := brief(&again.Take(1)[0]); got != `b c {"id":4} null {"id":4}` {
		t.Error(got)
	}
	again.Commit()
	again.Stop()
	if n := again.Metrics.Counter("snapshot_rows_total"); n != 20003 {
		t.Errorf("%d rows were counted", n)
	}
	third := d.start(&offsets)
	d.streaming()
	d.exec(`INSERT INTO b VALUES (5)`)
	if got := brief(&third.Take(1)[0]); got != `b c {"id":5} null {"id":5}` {
		t.Error(got)
	}
}

func TestSnapshotModes(t *testing.T) {
	d := newTestDB(t)
	d.exec(`CREATE TABLE a (id int PRIMARY KEY, v text); INSERT INTO a VALUES (1, 'x'), (2, 'y')`)
	var offsets connecttest.Offsets
	once := d.start(&offsets, "snapshot.mode", "initial_only")
	once.Take(2)
	once.Commit()
	once.Stop()
	// Its slot is temporary: the server drops it when it notices that the session ended.
	eventually(t, "no slot is left", func() bool {
		return d.get("SELECT count(*) FROM pg_replication_slots WHERE slot_name LIKE $1 || '%'", d.slot) == "0"
	})
	idle := d.start(&offsets, "snapshot.mode", "initial_only")
	if records := idle.Poll(time.Second); len(records) != 0 {
		t.Error("a complete snapshot was taken again")
	}
	idle.Stop()
	var own connecttest.Offsets
	always := d.start(&own, "snapshot.mode", "always", "snapshot.select.statement.overrides", "public.a",
		"snapshot.select.statement.overrides.public.a", "SELECT v, id FROM a WHERE id = 2")
	expectBrief(t, always.Take(1), `a r {"id":2} null {"id":2,"v":"y"}`)
	always.Commit()
	always.Stop()
	again := d.start(&own, "snapshot.mode", "always")
	expectBrief(t, again.Take(2), `a r {"id":1} null {"id":1,"v":"x"}`, `a r {"id":2} null {"id":2,"v":"y"}`)
}

// TestServerShutsDownUnderPressure stops the server while nothing is taken and it has
// more to send than fits on the way: it is let go, and nothing is lost.
func TestServerShutsDownUnderPressure(t *testing.T) {
	t.Parallel()
	pg := devstack.NewTestPostgres(t, devstack.PostgresOptions{})
	d := openTestDB(t, pg.DSN("postgres"))
	d.exec(`CREATE TABLE a (id int PRIMARY KEY, v text)`)
	run := d.begun("max.queue.size.in.bytes", "1000000", "shutdown.patience.ms", "1000", "status.update.interval.ms", "500", "retriable.restart.connector.wait.ms", "100")
	d.exec(`INSERT INTO a SELECT g, repeat('x', 1000) FROM generate_series(1, 15000) g`)
	run.Take(1)
	restartUnforced(t, pg)
	for i, r := range run.Take(14999) {
		if after(&r, "id").Int() != int64(i+2) {
			t.Fatalf("record %d is %v", i, r.Key)
		}
	}
}

// TestTypesAreLearntAfterWaiting has the connection to the catalogue opened by who asks
// whether the server shuts down, which has little time: what is learnt over it later has
// its own.
func TestTypesAreLearntAfterWaiting(t *testing.T) {
	d := newTestDB(t)
	d.exec(`CREATE TYPE mood AS ENUM ('sad', 'glad'); CREATE TABLE a (id int PRIMARY KEY, v text); CREATE TABLE b (id int PRIMARY KEY, m mood)`)
	run := d.begun("max.queue.size.in.bytes", "1000000", "status.update.interval.ms", "100", "retriable.restart.connector.wait.ms", "100")
	d.exec(`INSERT INTO a SELECT g, repeat('x', 1000) FROM generate_series(1, 5000) g`)
	run.Take(1)
	sender := func() string {
		return d.get("SELECT coalesce(max(active_pid), 0)::text FROM pg_replication_slots WHERE slot_name = $1", d.slot)
	}
	first := sender()
	d.exec(`SELECT pg_terminate_backend(` + first + `)`)
	eventually(t, "another connection reads", func() bool { now := sender(); return now != first && now != "0" })
	eventually(t, "the server was asked whether it shuts down", func() bool {
		return d.get("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query = '-- ping'") == "1"
	})
	d.exec(`INSERT INTO b VALUES (1, 'glad')`)
	run.Take(4999)
	expectBrief(t, run.Take(1), `b c {"id":1} null {"id":1,"m":"glad"}`)
}

// TestBrokenOffIsToldOnce has the server end the connection: the worker is told so, and
// not to wait, for the task goes on by itself and may have records the next moment.
func TestBrokenOffIsToldOnce(t *testing.T) {
	t.Parallel()
	d := newTestDB(t)
	d.exec(`CREATE TABLE a (id int PRIMARY KEY)`)
	run := d.begun("poll.interval.ms", "10")
	d.exec(`INSERT INTO a VALUES (1)`)
	run.Take(1)
	run.Commit()
	d.get(`SELECT count(pg_terminate_backend(active_pid)) FROM pg_replication_slots WHERE slot_name = $1`, d.slot)
	var told *connect.Error
	for deadline := time.Now().Add(patience); told == nil && time.Now().Before(deadline); {
		records, err := run.Task.Poll(t.Context())
		if told = connect.AsError(err); err == nil && len(records) > 0 && records[0].Topic != "" {
			t.Fatalf("%v came from nowhere", records[0].Key)
		}
	}
	if told == nil {
		t.Fatal("nothing was told")
	}
	if told.Class != connect.ClassRetriable || told.After <= 0 || told.After > 10*time.Millisecond {
		t.Fatalf("told %v, to wait for %v", told, told.After)
	}
	d.exec(`INSERT INTO a VALUES (2)`)
	if r, err := nextRecord(t, run); err != nil || after(r, "id").Int() != 2 {
		t.Error(r, err)
	}
}
