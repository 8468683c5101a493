package postgres

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/connect/connecttest"
	"github.com/tidemill/tidemill/internal/devstack"
)

// TestTableChangesWhileTheSlotIsMade changes tables at the moment at which a server
// notes, while it makes a slot, the changes of its catalogue only for as long as the slot
// is not read from: it cannot decode what comes after them, or decodes it with names that
// are not true any more. The slot is not used.
func TestTableChangesWhileTheSlotIsMade(t *testing.T) {
	t.Parallel()
	// Of its own: the making of a slot waits for the transactions of all databases.
	pg := devstack.NewTestPostgres(t, devstack.PostgresOptions{})
	for name, c := range map[string]struct{ change, insert, want string }{
		"emptied": {`TRUNCATE b; INSERT INTO b VALUES (1, 'x')`, `INSERT INTO b VALUES (2, 'y')`, `b c {"id":2} null {"id":2,"v":"y"}`},
		"renamed": {`ALTER TABLE b RENAME v TO w`, `INSERT INTO b VALUES (2, 'y')`, `b c {"id":2} null {"id":2,"w":"y"}`},
		"made":    {`CREATE TABLE aside (id int); INSERT INTO aside VALUES (1)`, `INSERT INTO aside VALUES (2); INSERT INTO b VALUES (2, 'y')`, `b c {"id":2} null {"id":2,"v":"y"}`},
	} {
		t.Run(name, func(t *testing.T) {
			openTestDB(t, pg.DSN("postgres")).exec("CREATE DATABASE " + name)
			d := openTestDB(t, pg.DSN(name))
			d.exec(`CREATE TABLE b (id int PRIMARY KEY, v text); CREATE TABLE x (id int)`)
			ctx := context.Background()
			open := func(sql string) (tx pgx.Tx, pid string) {
				conn := d.session()
				tx, err := conn.Begin(ctx)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := tx.Exec(ctx, sql); err != nil {
					t.Fatal(err)
				}
				return tx, fmt.Sprint(conn.PgConn().PID())
			}
			commit := func(tx pgx.Tx) {
				if err := tx.Commit(ctx); err != nil {
					t.Fatal(err)
				}
			}
			waitsFor := func(pid string) bool {
				return d.get(`SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walsender' AND datname = current_database() AND `+pid+` = ANY (pg_blocking_pids(pid))`) == "1"
			}
			first, firstPID := open(`INSERT INTO x VALUES (1)`)
			var offsets connecttest.Offsets
			run := d.start(&offsets, "table.include.list", "public.b")
			eventually(t, "the slot waits", func() bool { return waitsFor(firstPID) })
			change, changePID := open(c.change)
			commit(first)
			eventually(t, "the slot waits for the change", func() bool { return waitsFor(changePID) })
			last, lastPID := open(`INSERT INTO x VALUES (2)`)
			commit(change)
			eventually(t, "the slot is made, or another one waits", func() bool {
				return waitsFor(lastPID) || d.get(`SELECT count(*) FROM pg_replication_slots WHERE slot_name = $1 AND confirmed_flush_lsn IS NOT NULL`, d.slot) == "1"
			})
			commit(last)
			d.streaming()
			d.exec(c.insert)
			for deadline := time.Now().Add(time.Minute); ; {
				r := run.Take(1)
				if got := brief(&r[0]); got == c.want {
					break
				} else if time.Now().After(deadline) || got[:3] == "b c" {
					t.Fatalf("%s, want %s", got, c.want)
				}
			}
		})
	}
}

// TestRemedyForASlotThatCannotDecode has a slot made by hand, at such a moment that the
// server cannot decode with it: the error says so, and the remedy that it names helps.
func TestRemedyForASlotThatCannotDecode(t *testing.T) {
	t.Parallel()
	remedyForUndecodable(t, "")
	newest, err := devstack.DownloadPostgres(context.Background(), 18)
	if err != nil {
		t.Fatal(err)
	}
	// It says so in other words.
	remedyForUndecodable(t, newest)
}

// remedyForUndecodable does it with the server's programs in a folder, "" for the default.
func remedyForUndecodable(t *testing.T, programs string) {
	t.Helper()
	pg := devstack.NewTestPostgres(t, devstack.PostgresOptions{BinDir: programs})
	d := openTestDB(t, pg.DSN("postgres"))
	d.exec(`CREATE TABLE b (id int PRIMARY KEY, v text); CREATE TABLE x (id int); CREATE PUBLICATION dbz_publication FOR TABLE b`)
	ctx := context.Background()
	open := func(sql string) (commit func(), waited func() bool) {
		conn := d.session()
		tx, err := conn.Begin(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(ctx, sql); err != nil {
			t.Fatal(err)
		}
		pid := fmt.Sprint(conn.PgConn().PID())
		commit = func() {
			if err := tx.Commit(ctx); err != nil {
				t.Fatal(err)
			}
		}
		return commit, func() bool {
			return d.get(`SELECT count(*) FROM pg_stat_activity WHERE `+pid+` = ANY (pg_blocking_pids(pid))`) == "1"
		}
	}
	first, firstWaited := open(`INSERT INTO x VALUES (1)`)
	made := make(chan error, 1)
	maker := d.session()
	go func() {
		_, err := maker.Exec(ctx, `SELECT pg_create_logical_replication_slot($1, 'pgoutput')`, d.slot)
		made <- err
	}()
	eventually(t, "the slot waits", firstWaited)
	change, changeWaited := open(`TRUNCATE b`)
	first()
	eventually(t, "the slot waits for the change", changeWaited)
	last, _ := open(`INSERT INTO x VALUES (2)`)
	change()
	if err := <-made; err != nil {
		t.Fatal(err)
	}
	last()
	d.exec(`INSERT INTO b VALUES (1, 'lost on the way')`)

	var offsets connecttest.Offsets
	config := []string{"table.include.list", "public.b", "snapshot.mode", "no_data"}
	err := fault(t, d.config(config...), &offsets)
	if err.Code != "pg.decoding" || !strings.Contains(err.Mend, "/remedies/"+remedySnapshot+" ") {
		t.Fatal(err)
	}
	d.unread()
	d.cure(&offsets, remedySnapshot, config...)
	run := d.start(&offsets, config...)
	if got := brief(&run.Take(1)[0]); got != `b r {"id":1} null {"id":1,"v":"lost on the way"}` {
		t.Error(got)
	}
	d.streaming()
	d.exec(`INSERT INTO b VALUES (2, 'y')`)
	if got := brief(&run.Take(1)[0]); got != `b c {"id":2} null {"id":2,"v":"y"}` {
		t.Error(got)
	}
	run.Commit()
	run.Stop()
}

// fault starts a task and returns its first error.
func fault(t *testing.T, config connect.Config, offsets *connecttest.Offsets) *connect.Error {
	t.Helper()
	task := Plugin().New().NewTask()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	defer func() {
		if err := task.Stop(ctx); err != nil {
			t.Error(err)
		}
	}()
	err := task.Start(ctx, connect.SourceTaskEnv{Connector: "test", Config: config, StoredOffset: offsets.Get, StateDir: t.TempDir()})
	for err == nil {
		_, err = task.Poll(ctx)
	}
	return connect.AsError(err)
}
