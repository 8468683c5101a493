package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/connect/connecttest"
	"github.com/tidemill/tidemill/internal/devstack"
)

// shownSlot is the document "slot" of a run.
func shownSlot(tb testing.TB, run *connecttest.SourceRun) (r slotReport) {
	tb.Helper()
	if text := run.Shown("slot"); text != nil {
		if err := json.Unmarshal(text, &r); err != nil {
			tb.Fatal(err)
		}
	}
	return r
}

const rowsInMegabyte = 140

// write writes about n megabytes of log in tables of their own.
func (d *testDB) write(table string, n int) {
	d.tb.Helper()
	d.exec(fmt.Sprintf("CREATE TABLE IF NOT EXISTS %[1]s (v text); ALTER TABLE %[1]s ALTER v SET STORAGE PLAIN", table))
	d.exec(fmt.Sprintf("INSERT INTO %s SELECT repeat('x', 7500) FROM generate_series(1, %d)", table, n*rowsInMegabyte))
}

// TestGuardTellsWhatHoldsTheLog looks at the slot through its document and metrics: of
// a consumer that does not confirm, and of a transaction that does not end.
func TestGuardTellsWhatHoldsTheLog(t *testing.T) {
	t.Parallel()
	pg := devstack.NewTestPostgres(t, devstack.PostgresOptions{Settings: map[string]string{"max_slot_wal_keep_size": "10GB"}})
	d := openTestDB(t, pg.DSN("postgres"))
	d.exec("CREATE TABLE a (id int PRIMARY KEY)")
	run := d.begun("table.include.list", "public.a", "wal.guard.interval.ms", "100", "xmin.fetch.interval.ms", "100")
	eventually(t, "a first look", func() bool { r := shownSlot(t, run); return r.Connected && r.Active && r.CatalogXmin > 0 })
	d.exec("INSERT INTO a VALUES (1)")
	if got := source(&run.Take(1)[0], "xmin"); got.IsNull() || got.Int() <= 0 {
		t.Errorf("source.xmin is %v", got)
	}
	d.write("noise", 40)
	d.exec("INSERT INTO a VALUES (2)")
	run.Take(1)
	eventually(t, "the consumer is found out", func() bool { return shownSlot(t, run).HeldBy == heldByConsumer })
	if r := shownSlot(t, run); r.Status != "reserved" || r.SafeSize == nil || r.Lag < littleLog || r.Retained < r.Lag || r.Confirmed == r.Current {
		t.Errorf("the slot is shown as %+v", r)
	}
	for _, name := range []string{"slot_retained_bytes", "slot_lag_bytes", "slot_safe_wal_bytes", "slot_active", "connected", "captured_tables", "queue_total_capacity", "queue_remaining_capacity", "last_transaction_id"} {
		eventually(t, name+" is known", func() bool { return run.Metrics.Gauges()[name] > 0 })
	}
	for name, want := range map[string]int64{"events_create_total": 2, "events_update_total": 0, "slot_guard_failures_total": 0} {
		if got := run.Metrics.Counter(name); got != want {
			t.Errorf("%s is %d, want %d", name, got, want)
		}
	}
	pump(t, run)
	forgotten := d.session()
	if _, err := forgotten.Exec(context.Background(), "SET application_name = 'forgotten'; BEGIN; INSERT INTO a VALUES (1000)"); err != nil {
		t.Fatal(err)
	}
	d.write("noise", 40)
	eventually(t, "the transaction is found out", func() bool {
		d.exec("CHECKPOINT")
		r := shownSlot(t, run)
		return r.HeldBy == heldByTransaction && r.Oldest != nil && r.Oldest.Application == "forgotten" && r.Lag < littleLog
	})
	if err := forgotten.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the log is let go of", func() bool {
		d.exec("CHECKPOINT")
		r := shownSlot(t, run)
		return r.HeldBy == "" && r.Retained < littleLog
	})
}

// TestGuardKeepsTheLimit passes wal.guard.max.bytes: what follows is what
// wal.guard.action says, and nothing is dropped unless it asks for that.
func TestGuardKeepsTheLimit(t *testing.T) {
	t.Parallel()
	// What others write counts as well, so the server is one's own.
	pg := devstack.NewTestPostgres(t, devstack.PostgresOptions{})
	d := openTestDB(t, pg.DSN("postgres"))
	d.exec("CREATE TABLE a (id int, v text)")
	for _, c := range []struct{ action, code, slots string }{{"warn", "", "1"}, {"fail", "pg.wal_guard.limit", "1"}, {"drop_slot", "pg.wal_guard.dropped", "0"}} {
		t.Run(c.action, func(t *testing.T) {
			d.slot = "slot_" + c.action
			d.exec("TRUNCATE a; CHECKPOINT")
			run := d.begun("table.include.list", "public.a", "wal.guard.interval.ms", "50", "wal.guard.max.bytes", "8000000", "wal.guard.action", c.action)
			d.exec("INSERT INTO a SELECT g, repeat('x', 1000) FROM generate_series(1, 12000) g")
			var failed *connect.Error
			eventually(t, "the guard acts", func() bool {
				if c.code == "" {
					return run.Metrics.Counter("slot_guard_alarms_total") > 0
				}
				ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
				defer cancel()
				_, err := run.Task.Poll(ctx)
				failed = connect.AsError(err)
				return err != nil && failed.Class == connect.ClassFatal
			})
			if c.code != "" && (failed.Code != c.code || failed.Place != d.slot || failed.Mend == "") {
				t.Errorf("it fails with %v", failed)
			}
			if got := d.get("SELECT count(*) FROM pg_replication_slots WHERE slot_name = $1", d.slot); got != c.slots {
				t.Errorf("there are %s slots, want %s", got, c.slots)
			}
			run.Stop()
		})
	}
}

// TestNothingPinsTheLog writes much that concerns nobody, into tables that are not
// published, tables that are published and not captured, and another database, with
// and without somebody who polls: the server keeps little.
func TestNothingPinsTheLog(t *testing.T) {
	t.Parallel()
	pg := devstack.NewTestPostgres(t, devstack.PostgresOptions{Settings: map[string]string{"max_wal_size": "4GB"}})
	d := openTestDB(t, pg.DSN("postgres"))
	d.exec("CREATE DATABASE busy")
	d.exec("CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE published (v text); CREATE PUBLICATION dbz_publication FOR TABLE a, published WITH (publish = 'insert, update')")
	other := openTestDB(t, pg.DSN("busy"))
	run := d.begun("table.include.list", "public.a", "publication.autocreate.mode", "disabled", "heartbeat.interval.ms", "0", "wal.guard.interval.ms", "100")
	little := func(what string) {
		t.Helper()
		eventually(t, what, func() bool {
			d.exec("CHECKPOINT") // Only then does the server let go of log.
			return d.get("SELECT (pg_current_wal_lsn() - restart_lsn < 33554432)::text FROM pg_replication_slots") == "true"
		})
	}
	// A paused worker does not poll, and goes on later.
	d.write("unpublished", 50)
	d.write("published", 20)
	pump(t, run)
	little("the log was let go of after a pause")
	d.write("unpublished", 200)
	little("the log was let go of with unpublished tables")
	other.write("elsewhere", 200)
	little("the log was let go of with another database")
	d.write("published", 100)
	little("the log was let go of with tables that are not captured")
	if n := run.Metrics.Counter("events_filtered_total"); n < 100*rowsInMegabyte {
		t.Errorf("%d changes were filtered", n)
	}
}
