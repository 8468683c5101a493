package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/connect/connecttest"
)

// TestPoisonIsIsolated puts several bad rows into one batch: all others are written,
// and an earlier good change of a bad one's key as well.
func TestPoisonIsIsolated(t *testing.T) {
	for _, deferred := range []string{"", " DEFERRABLE INITIALLY DEFERRED"} {
		d, s := newTarget(t), newShop()
		d.exec("CREATE TABLE names (name text PRIMARY KEY)", "INSERT INTO names VALUES ('good')",
			"CREATE TABLE t (id integer PRIMARY KEY, name text REFERENCES names"+deferred+", qty integer CHECK (qty < 100))")
		var records []connect.Record
		for i := range int32(200) {
			records = append(records, s.plain(i, "good", 1))
		}
		records = append(records, s.plain(7, "unknown", 2), s.plain(8, "good", 100), s.plain(9, "good", 3))
		run := d.sink(d.config(), true)
		run.Put(connecttest.SinkRecords("t", 1000, records...)...)
		run.Commit()
		d.holds("SELECT count(*) FROM t", "(200)")
		d.holds("SELECT * FROM t WHERE id IN (7, 8, 9) ORDER BY id", "(7,good,1) (8,good,1) (9,good,3)")
		var offsets []string
		for i, r := range run.Errant.Records {
			offsets = append(offsets, fmt.Sprint(r.Offset))
			if e := connect.AsError(run.Errant.Causes[i]); e.Code != "pgsink.row" || !strings.Contains(e.Place, fmt.Sprintf("t-0@%d", r.Offset)) {
				t.Errorf("cause: %v", e)
			}
		}
		if got := strings.Join(offsets, " "); got != "1200 1201" {
			t.Errorf("the records at %s were reported", got)
		}

		d.exec("TRUNCATE t")
		strict := d.sink(d.config(), false)
		err := strict.TryPut(connecttest.SinkRecords("t", 1000, records...)...)
		if e := connect.AsError(err); e == nil || e.Class != connect.ClassRecord || !strings.Contains(e.Place, "t-0@1200") {
			t.Errorf("without a reporter: %v", err)
		}
		d.holds("SELECT count(*) FROM t", "(0)")
	}
}

// TestBrokenConnection ends the task's session between puts and during one.
func TestBrokenConnection(t *testing.T) {
	d, s := newTarget(t), newShop()
	run := d.sink(d.config("offsets.table", "positions", "insert.mode", "insert", "delete.enabled", "false"), false)
	d.exec("CREATE TABLE t (id integer, name text, qty integer)")
	const kill = `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'tidemill conformance' AND datname = current_database()`
	for i := range int32(5) {
		d.exec(kill)
		run.Put(connecttest.SinkRecords("t", int64(i), s.plain(i, "a", i))...)
	}
	d.holds("SELECT id FROM t ORDER BY id", "(0) (1) (2) (3) (4)")

	// A put that waits for a lock is cut off; put again, it is written once.
	d.exec("BEGIN", "LOCK TABLE t")
	killer, err := pgx.Connect(t.Context(), d.url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = killer.Close(context.Background()) }()
	done := make(chan error, 1)
	go func() {
		err := waitFor(killer, `SELECT count(*) > 0 FROM pg_locks WHERE NOT granted`)
		_, killed := killer.Exec(context.Background(), kill)
		done <- errors.Join(err, killed)
	}()
	err = run.Task.Put(t.Context(), connecttest.SinkRecords("t", 5, s.plain(5, "a", 5)))
	if e := connect.AsError(err); e == nil || e.Class != connect.ClassRetriable {
		t.Errorf("cut off, put says %v", err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	d.exec("COMMIT")
	run.Put(connecttest.SinkRecords("t", 5, s.plain(5, "a", 5))...)
	d.holds("SELECT count(*) FROM t WHERE id = 5", "(1)")
}

// waitFor asks again and again until the query says true.
func waitFor(conn *pgx.Conn, query string) error {
	for deadline := time.Now().Add(20 * time.Second); ; {
		var yes bool
		if err := conn.QueryRow(context.Background(), query).Scan(&yes); err != nil || yes {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s never came true", query)
		}
		if _, err := conn.Exec(context.Background(), "SELECT pg_sleep(0.01)"); err != nil {
			return err
		}
	}
}

// TestDeadlock lets two transactions lock rows in opposite order: the sink's put is
// retried as a whole.
func TestDeadlock(t *testing.T) {
	d, s := newTarget(t), newShop()
	d.exec("CREATE TABLE t (id integer PRIMARY KEY, name text, qty integer)", "INSERT INTO t VALUES (1, 'x', 0), (2, 'x', 0)",
		"BEGIN", "SET LOCAL deadlock_timeout = '60s'", "UPDATE t SET qty = 9 WHERE id = 2")
	run := d.sink(d.config(), false)
	result := make(chan error, 1)
	go func() {
		result <- run.Task.Put(context.Background(), connecttest.SinkRecords("t", 0, s.plain(1, "a", 1), s.plain(2, "b", 1)))
	}()
	watcher, err := pgx.Connect(t.Context(), d.url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = watcher.Close(context.Background()) }()
	if err := waitFor(watcher, `SELECT count(*) > 0 FROM pg_locks WHERE NOT granted`); err != nil {
		t.Fatal(err)
	}
	d.exec("UPDATE t SET qty = 9 WHERE id = 1") // Waits until the sink is the victim.
	d.exec("COMMIT")
	if e := connect.AsError(<-result); e == nil || e.Class != connect.ClassRetriable || !strings.Contains(e.Error(), "deadlock") {
		t.Errorf("put says %v", e)
	}
	run.Put(connecttest.SinkRecords("t", 0, s.plain(1, "a", 1), s.plain(2, "b", 1))...)
	d.holds("SELECT * FROM t ORDER BY id", "(1,a,1) (2,b,1)")
}

// TestPositions puts records again that were committed, from one task and another.
func TestPositions(t *testing.T) {
	d, s := newTarget(t), newShop()
	config := d.config("offsets.table", "public.positions", "insert.mode", "insert", "delete.enabled", "false", "pk.mode", "none")
	batch := connecttest.SinkRecords("t", 0, s.plain(1, "a", 1), s.plain(2, "a", 1), s.plain(3, "a", 1))
	run := d.sink(config, false)
	run.Put(batch[:2]...)
	run.Put(batch...) // As if the first answer had been lost.
	d.holds("SELECT id FROM t ORDER BY id", "(1) (2) (3)")
	d.holds("SELECT * FROM positions", "(conformance,t,0,3)")

	second := d.sink(config, false)
	second.Put(batch...)
	tp := connect.TopicPartition{Topic: "t"}
	if at := second.Consumer.Sought[tp]; at != 3 {
		t.Errorf("the second task sought %d", at)
	}
	second.Put(connecttest.SinkRecords("t", 3, s.plain(4, "a", 1))...)
	err := run.TryPut(connecttest.SinkRecords("t", 3, s.plain(4, "a", 1))...)
	if e := connect.AsError(err); e == nil || e.Code != "pgsink.fenced" {
		t.Errorf("the first task, overtaken: %v", err)
	}
	d.holds("SELECT id FROM t ORDER BY id", "(1) (2) (3) (4)")
}

// strictErrant is what reports come to when nothing is tolerated, or no letter can be
// written.
type strictErrant struct{ late bool }

func (e strictErrant) Report(_ context.Context, _ *connect.SinkRecord, cause error) (func(context.Context) error, error) {
	if e.late {
		return func(context.Context) error { return cause }, nil
	}
	return nil, cause
}

// TestPositionsWaitForLetters refuses rows that cannot be reported: as long as they
// are neither written nor reported, the positions must not pass them.
func TestPositionsWaitForLetters(t *testing.T) {
	for _, late := range []bool{false, true} {
		s := newShop()
		unreadable := s.plain(3, "c", 3)
		unreadable.ValueSchema = nil
		for _, bad := range []connect.Record{s.plain(2, "b", 100), unreadable} {
			d := newTarget(t)
			d.exec("CREATE TABLE t (id integer PRIMARY KEY, name text, qty integer CHECK (qty < 100))")
			config, records := d.config("offsets.table", "positions"), connecttest.SinkRecords("t", 0, s.plain(1, "a", 1), bad)
			run := d.sink(config, true)
			run.Task.(*task).env.Errant = strictErrant{late}
			if err := run.TryPut(records...); err == nil {
				t.Error("put says that all is well")
			}
			d.holds("SELECT count(*) FROM t", "(0)")
			again := d.sink(config, true)
			again.Put(records...)
			if len(again.Errant.Records) != 1 {
				t.Errorf("%d records were reported after the restart, want 1", len(again.Errant.Records))
			}
			d.holds("SELECT id FROM t", "(1)")
		}
	}
}

func TestValidate(t *testing.T) {
	d := newTarget(t)
	d.exec("CREATE TABLE there (id integer PRIMARY KEY)", "CREATE TABLE bare (id integer)", "REVOKE CREATE ON SCHEMA public FROM PUBLIC", "DROP ROLE IF EXISTS sink_reader",
		"CREATE ROLE sink_reader LOGIN PASSWORD 'secret canary'", "GRANT SELECT ON there TO sink_reader")
	t.Cleanup(func() { d.exec("DROP OWNED BY sink_reader", "DROP ROLE sink_reader") })
	reader := []string{keyUser, "sink_reader", keyPassword, "secret canary"}
	for _, c := range []struct {
		config []string
		place  string
		says   []string
	}{
		{nil, "", nil},
		{[]string{"topics", "there, other"}, "", nil},
		{[]string{keyURL, "postgres://127.0.0.1:1/x"}, keyURL, []string{"pgsink.unreachable", "check the host and port"}},
		{[]string{keyURL, "postgres://no-such-host.invalid/x"}, keyURL, []string{"pgsink.unreachable"}},
		{[]string{keyURL, strings.Replace(d.url, "/test_", "/absent_", 1)}, keyURL, []string{"pgsink.database"}},
		{[]string{keyURL, "jdbc:mysql://host/x"}, keyURL, []string{"only PostgreSQL"}},
		{[]string{keyUser, "nobody_there"}, keyUser, []string{"pgsink.auth", "pg_hba.conf"}},
		{append(reader, "topics", "new"), keyURL, []string{"pgsink.permission", `GRANT CREATE ON SCHEMA "public" TO "sink_reader"`}},
		{append(reader, "topics", "there"), keyURL, []string{`GRANT DELETE, INSERT, TRUNCATE, UPDATE ON "there" TO "sink_reader"`}},
		{[]string{keyFormat, "gone.${topic}"}, keyURL, []string{"pgsink.schema_missing", `CREATE SCHEMA "gone"`}},
		{[]string{"topics", "bare"}, keyURL, []string{"pgsink.no_unique"}},
		{[]string{"topics", "new", keyEvolve, "none"}, keyURL, []string{"pgsink.table_missing"}},
		{[]string{keyPKMode, "none", keyDelete, "false"}, keyPKMode, []string{"needs a key", "record_key"}},
		{[]string{keyPKMode, "record_value"}, keyPKMode, []string{"delete.enabled=true"}},
		{[]string{keyFormat, "${topik}"}, keyFormat, []string{"${topik} is not known"}},
		{[]string{"insert.mod", "upsert"}, "insert.mod", []string{"did you mean insert.mode?"}},
	} {
		config := d.config(c.config...)
		checked := connect.Config{}
		for k, v := range config {
			if k != "topics" {
				checked[k] = v
			}
		}
		p := Plugins()[0]
		values := p.Config.Validate(checked)
		p.New().(connect.Validator).Validate(t.Context(), config, values)
		for name, v := range values {
			text := strings.Join(v.Errors, "\n")
			if name != c.place && text != "" || name == c.place && text == "" {
				t.Errorf("%v: %s: %q", c.config, name, text)
			}
			if strings.Contains(text, "canary") {
				t.Errorf("%v: the password is in %q", c.config, text)
			}
		}
		if c.place == "" {
			continue
		}
		for _, says := range c.says {
			if text := strings.Join(values[c.place].Errors, "\n"); !strings.Contains(text, says) {
				t.Errorf("%v: %q; want %q", c.config, text, says)
			}
		}
	}
	d.holds("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'", "(2)")
}

// TestLargeRows writes rows that are larger than a statement is meant to be.
func TestLargeRows(t *testing.T) {
	d, s := newTarget(t), newShop()
	run := d.sink(d.config(), false)
	large := strings.Repeat("0123456789abcdef", maxStatement/16+1)
	run.Put(connecttest.SinkRecords("t", 0, s.plain(1, large, 1), s.plain(2, large+"x", 2), s.plain(3, "small", 3))...)
	d.holds("SELECT id, length(name) - "+fmt.Sprint(len(large))+" AS more FROM t WHERE id < 3 ORDER BY id", "(1,0) (2,1)")
	d.holds("SELECT id, name FROM t WHERE id = 3", "(3,small)")
}

// TestTwoTasksMakeOneTable lets several tasks meet a new table at once.
func TestTwoTasksMakeOneTable(t *testing.T) {
	d, s := newTarget(t), newShop()
	errs := make(chan error)
	for i := range int32(6) {
		run := d.sink(d.config(), false)
		go func() {
			errs <- run.Task.Put(context.Background(), connecttest.SinkRecords("t", 0, s.plain(i, "a", i)))
		}()
	}
	for range 6 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	d.holds("SELECT count(*) FROM t", "(6)")
}
