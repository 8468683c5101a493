package postgres

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/connect/connecttest"
	"github.com/tidemill/tidemill/internal/devstack"
)

// pair is a primary, its standby, and a database on the primary.
type pair struct {
	*testDB
	primary, standby *devstack.Postgres
}

// newPair starts both; major 0 is the machine's own version.
func newPair(t *testing.T, major int, primary, standby map[string]string) *pair {
	t.Helper()
	opts := devstack.PostgresOptions{Settings: primary}
	if major != 0 {
		dir, err := devstack.DownloadPostgres(context.Background(), major)
		if err != nil {
			t.Fatal(err)
		}
		opts.BinDir = dir
	}
	p := &pair{primary: devstack.NewTestPostgres(t, opts)}
	p.testDB = openTestDB(t, p.primary.DSN("postgres"))
	p.standby = devstack.NewTestStandby(t, p.primary, devstack.PostgresOptions{Settings: standby})
	return p
}

// both are the settings that name both servers.
func (p *pair) both(pairs ...string) []string {
	return append([]string{"database.hostname", "127.0.0.1,localhost", "database.port", fmt.Sprintf("%d,%d", p.primary.Port(), p.standby.Port()),
		"retriable.restart.connector.wait.ms", "300"}, pairs...)
}

// caughtUp waits until the standby has replayed everything.
func (p *pair) caughtUp() {
	p.tb.Helper()
	follower := openTestDB(p.tb, p.standby.DSN("postgres"))
	end := p.get("SELECT pg_current_wal_flush_lsn()::text")
	eventually(p.tb, "the standby has caught up", func() bool {
		return follower.get("SELECT (pg_last_wal_replay_lsn() >= $1::pg_lsn)::text", end) == "true"
	})
}

// failOver crashes the primary and promotes the standby, which is the database from
// then on.
func (p *pair) failOver() {
	p.tb.Helper()
	p.primary.Crash(syscall.SIGQUIT)
	if err := p.standby.Promote(context.Background()); err != nil {
		p.tb.Fatal(err)
	}
	slot := p.slot
	p.testDB = openTestDB(p.tb, p.standby.DSN("postgres"))
	p.slot = slot
}

// TestFailoverWithoutTheSlot promotes a standby that has no copy of the slot: the
// task says so, and goes on after a remedy.
func TestFailoverWithoutTheSlot(t *testing.T) {
	t.Parallel()
	p := newPair(t, 0, nil, nil)
	p.exec(`CREATE TABLE a (id int PRIMARY KEY)`)
	var offsets connecttest.Offsets
	p.readOnce(&offsets, 1, p.both("snapshot.mode", "no_data")...)
	p.caughtUp()
	p.failOver()
	p.exec(`INSERT INTO a VALUES (2)`)
	err := failure(t, p.config(p.both("slot.failover", "true")...), &offsets)
	if err.Code != "pg.slot.missing" || !strings.Contains(err.Message, "was promoted") || !strings.Contains(err.Message, " bytes)") || !strings.Contains(err.Mend, "/remedies/resnapshot ") {
		t.Error(err)
	}
	p.cure(&offsets, remedyAccept, p.both()...)
	p.readOnce(&offsets, 3, p.both("snapshot.mode", "no_data")...)
	if o := stored(&offsets); o["timeline"] != 2.0 || o["gap_from"] == nil {
		t.Error(o)
	}

	// The former primary comes back and is asked, by a configuration that forgot to change.
	if err := p.primary.Restart(context.Background()); err != nil {
		t.Fatal(err)
	}
	old := failure(t, p.config("database.port", fmt.Sprint(p.primary.Port())), &offsets)
	if old.Code != "pg.history.branched" || !strings.Contains(old.Message, "timeline 2") {
		t.Error(old)
	}
}

// TestFailoverThatLosesTheEnd promotes a standby that lacks changes which were sent
// already: nothing more is sent until somebody decides.
func TestFailoverThatLosesTheEnd(t *testing.T) {
	t.Parallel()
	p := newPair(t, 0, nil, nil)
	p.exec(`CREATE TABLE a (id int PRIMARY KEY)`)
	p.caughtUp()
	p.standby.Crash(syscall.SIGQUIT)
	var offsets connecttest.Offsets
	p.readOnce(&offsets, 1, "snapshot.mode", "no_data")
	p.primary.Crash(syscall.SIGQUIT)
	if err := p.standby.Restart(context.Background()); err != nil {
		t.Fatal(err)
	}
	p.failOver()
	p.exec(`INSERT INTO a SELECT generate_series(100, 2000)`) // Its log goes beyond the position.
	// A copy of the slot, as slot synchronisation would have left it.
	p.exec(`CREATE PUBLICATION dbz_publication FOR TABLE a`)
	err := failure(t, p.config(p.both()...), &offsets)
	if err.Code != "pg.history.branched" || !strings.Contains(err.Message, "timeline 2 at ") || !strings.Contains(err.Message, " bytes)") {
		t.Error(err)
	}
	p.refuses(&offsets, remedyAdopt, "pg.history.branched", p.both()...)
	p.cure(&offsets, remedySnapshot, p.both()...)
	run := p.start(&offsets, p.both()...)
	for _, r := range run.Take(1901) {
		if id := after(&r, "id").Int(); op(&r) != "r" || id < 100 {
			t.Fatal(brief(&r))
		}
	}
}

// TestFailoverWithTheSlot has the slot copied to the standby (PostgreSQL 17) and the
// primary crash under load: everything that is on the new primary came once.
func TestFailoverWithTheSlot(t *testing.T) {
	t.Parallel()
	for _, major := range []int{17, 18} {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			t.Parallel()
			failOverUnderLoad(t, newPair(t, major, nil, map[string]string{"sync_replication_slots": "on"}))
		})
	}
}

func failOverUnderLoad(t *testing.T, p *pair) {
	p.exec(`CREATE TABLE a (id int PRIMARY KEY)`)
	p.exec(`ALTER SYSTEM SET synchronized_standby_slots = '` + p.get("SELECT slot_name::text FROM pg_replication_slots WHERE slot_type = 'physical'") + `'`)
	p.exec(`SELECT pg_reload_conf()`)
	var offsets connecttest.Offsets
	run := p.start(&offsets, p.both("snapshot.mode", "no_data", "slot.failover", "true", "slot.retry.delay.ms", "200")...)
	p.streaming()
	follower := openTestDB(t, p.standby.DSN("postgres"))
	seen := map[int64]bool{}
	next := 0
	take := func(until func() bool) {
		t.Helper()
		for deadline := time.Now().Add(patience); !until(); {
			if time.Now().After(deadline) {
				t.Fatalf("%d rows came in time", len(seen))
			}
			for _, r := range run.Take(1) {
				id := after(&r, "id").Int()
				if seen[id] {
					t.Errorf("row %d came twice", id)
				}
				seen[id] = true
			}
		}
		run.Commit()
	}
	p.exec(`INSERT INTO a VALUES (-1)`)
	take(func() bool { return seen[-1] })
	eventually(t, "the slot is copied", func() bool {
		// The copy is made as the slot moves on, which it does from one such record to the next.
		p.exec(`INSERT INTO a VALUES ($1)`, 1_000_000+next)
		p.exec(`SELECT pg_log_standby_snapshot()`)
		next++
		take(func() bool { return seen[int64(1_000_000+next-1)] })
		return follower.get("SELECT count(*) FROM pg_replication_slots WHERE slot_name = $1 AND synced AND NOT temporary", p.slot) == "1"
	})
	if err := failure(t, p.config("database.port", fmt.Sprint(p.standby.Port()), "errors.max.retries", "1", "retriable.restart.connector.wait.ms", "10"), &offsets); err.Code != "pg.slot.synced" {
		t.Error(err)
	}
	var writers sync.WaitGroup
	for w := range 3 {
		conn := p.session()
		writers.Go(func() { writeUntilBroken(conn, w) })
	}
	take(func() bool { return len(seen) > 500 })
	p.failOver()
	writers.Wait()
	p.exec(`INSERT INTO a VALUES (-2)`)
	take(func() bool { return seen[-2] })
	if want := p.get("SELECT count(*) FROM a"); want != fmt.Sprint(len(seen)) {
		t.Errorf("%d rows came, the new primary has %s", len(seen), want)
	}
	if p := run.Metrics.Counter("reconnects_total"); p == 0 {
		t.Error("the connection was never lost")
	}
	if o := stored(&offsets); o["timeline"] != 2.0 {
		t.Error(o)
	}
}

func writeUntilBroken(conn *pgx.Conn, writer int) {
	for i := 0; ; i++ {
		if _, err := conn.Exec(context.Background(), `INSERT INTO a SELECT generate_series($1::int, $1::int + 2)`, writer*100_000+i*3); err != nil {
			return
		}
	}
}

func TestHosts(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ hosts, ports, role, readOnly, want string }{
		{"db", "5432", "", "", "db 5432 "},
		{"a,b", "5432", "", "", "a,b 5432,5432 primary"},
		{"a, b", "1,2", "any", "", "a,b 1,2 any"},
		{"a:5433,b", "5432", "preferSecondary", "", "a,b 5433,5432 prefer-standby"},
		{"[::1]:7,::1", "5432", "", "true", "::1,::1 7,5432 prefer-standby"},
		{"db", "5432", "master", "", "db 5432 primary"},
		{"a,b", "1,2,3", "", "", "database.port"},
		{"a,", "5432", "", "", "database.hostname"},
		{"a", "x", "", "", "database.port"},
		{"a", "5432", "leader", "", "database.targetServerType"},
	} {
		set, err := newSettings(testConfig("database.hostname", c.hosts, "database.port", c.ports, "database.targetServerType", c.role, "read.only", cmp.Or(c.readOnly, "false")))
		got := ""
		if err == nil {
			got = set.host + " " + set.port + " " + set.role
		} else if !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c, err)
		} else {
			continue
		}
		if got != c.want {
			t.Errorf("%+v gives %s", c, got)
		}
	}
	if e := wrongRole(fmt.Errorf("x: %w", pgconn.ErrStandbyConnection), "connecting"); e == nil || e.Class != connect.ClassRetriable {
		t.Error(e)
	}
}
