package postgres

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tidemill/tidemill/connect/connecttest"
)

// TestStandbyAsSource reads from a standby, which PostgreSQL can decode from version
// 16 on, through restarts of the task and of the standby and through its promotion.
func TestStandbyAsSource(t *testing.T) {
	t.Parallel()
	p := newPair(t, 17, nil, nil)
	p.exec(`CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a VALUES (1)`)
	p.caughtUp()
	var offsets connecttest.Offsets
	settings := []string{"database.port", fmt.Sprint(p.standby.Port()), "slot.failover", "true", "retriable.restart.connector.wait.ms", "200", "slot.retry.delay.ms", "200"}
	err := failure(t, p.config(settings...), &connecttest.Offsets{})
	if err.Code != "pg.publication.standby" || !strings.Contains(err.Mend, "on the primary: CREATE PUBLICATION ") {
		t.Fatal(err)
	}
	p.exec(`CREATE PUBLICATION dbz_publication FOR TABLE a`)
	p.caughtUp()
	run := p.start(&offsets, settings...)
	standby := openTestDB(t, p.standby.DSN("postgres"))
	standby.slot = p.slot
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	told := make(chan struct{})
	teller := p.session()
	go func() {
		defer close(told)
		for pause(ctx, 50*time.Millisecond) {
			// An idle primary tells seldom which transactions run.
			_, _ = teller.Exec(context.Background(), `SELECT pg_log_standby_snapshot()`)
		}
	}()
	if got := brief(&run.Take(1)[0]); got != `a r {"id":1} null {"id":1}` {
		t.Error(got)
	}
	standby.streaming()
	p.exec(`INSERT INTO a VALUES (2)`)
	if got := brief(&run.Take(1)[0]); got != `a c {"id":2} null {"id":2}` {
		t.Error(got)
	}
	run.Commit()
	run.Stop()
	p.exec(`INSERT INTO a VALUES (3)`)
	again := p.start(&offsets, settings...)
	if got := brief(&again.Take(1)[0]); got != `a c {"id":3} null {"id":3}` {
		t.Error(got)
	}
	again.Commit()
	stop()
	<-told
	if err := p.standby.Restart(context.Background()); err != nil {
		t.Fatal(err)
	}
	p.exec(`INSERT INTO a VALUES (4)`)
	if got := brief(&again.Take(1)[0]); got != `a c {"id":4} null {"id":4}` {
		t.Error(got)
	}
	again.Commit()
	p.failOver()
	p.exec(`INSERT INTO a VALUES (5)`)
	if got := brief(&again.Take(1)[0]); got != `a c {"id":5} null {"id":5}` {
		t.Error(got)
	}
	again.Commit()
	// The connection has outlived that, and the offset names no timeline; the next names the new one.
	if o := stored(&offsets); o["timeline"] != 0.0 {
		t.Error(o)
	}
	p.get(`SELECT count(pg_terminate_backend(active_pid)) FROM pg_replication_slots WHERE active`)
	p.exec(`INSERT INTO a VALUES (6)`)
	if got := brief(&again.Take(1)[0]); got != `a c {"id":6} null {"id":6}` {
		t.Error(got)
	}
	again.Commit()
	if o := stored(&offsets); o["timeline"] != 2.0 {
		t.Error(o)
	}
}

// TestIncrementalSnapshotOnAStandby reads a table on a standby while the primary changes
// it, where nothing can be written to mark places in the log: with read.only, as Debezium
// asks for it, and without.
func TestIncrementalSnapshotOnAStandby(t *testing.T) {
	t.Parallel()
	p := newPair(t, 17, nil, nil)
	const rows = 1500
	stormTable(p.testDB, "storm", rows)
	p.exec(`CREATE PUBLICATION dbz_publication FOR TABLE storm`)
	p.caughtUp()
	for _, readOnly := range []string{"true", "false"} {
		standby := openTestDB(t, p.standby.DSN("postgres"))
		standby.slot = "standby_" + readOnly
		c := newSignalled()
		run := standby.startSignalled(c, &connecttest.Offsets{}, "snapshot.mode", "no_data", "read.only", readOnly, "incremental.snapshot.chunk.size", "50")
		eventually(t, "the standby is read", func() bool {
			// An idle primary tells seldom which transactions run.
			p.exec(`SELECT pg_log_standby_snapshot()`)
			return standby.get(`SELECT count(*) FROM pg_replication_slots WHERE active AND confirmed_flush_lsn IS NOT NULL AND slot_name = $1`, standby.slot) == "1"
		})
		stop := storm(t, p.testDB, "storm", 3, rows)
		v := newVersions(t, "storm")
		c.send("execute-snapshot", `{"data-collections":["public.storm"]}`)
		readBeside(t, c, run, v)
		stop()
		drainUntil(t, p.testDB, run, v)
		v.compare(p.testDB, jsonID)
		if v.ops["r"] == 0 || v.ops["u"] == 0 {
			t.Error(v.ops)
		}
		run.Stop()
	}
}

// TestStandbyTooOld is refused before version 16, with the reason.
func TestStandbyTooOld(t *testing.T) {
	t.Parallel()
	p := newPair(t, 0, nil, nil)
	p.exec(`CREATE TABLE a (id int PRIMARY KEY)`)
	p.caughtUp()
	if err := failure(t, p.config("database.port", fmt.Sprint(p.standby.Port())), &connecttest.Offsets{}); err.Code != "pg.standby" {
		t.Error(err)
	}
}
