package postgres

import (
	"fmt"
	"testing"

	"github.com/tidemill/tidemill/connect/connecttest"
	"github.com/tidemill/tidemill/internal/devstack"
)

// TestVersions goes through the life of a connector on each server version: the
// supported ones, and the oldest that can be had.
func TestVersions(t *testing.T) {
	t.Parallel()
	for _, major := range []int{13, 14, 15, 16, 17, 18} {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			t.Parallel()
			d := openVersion(t, major)
			oneLife(t, d, major)
			d.slot += "_storm"
			readInAStorm(t, d, 600, 2, "publication.name", "storm")
		})
	}
}

// openVersion makes a database on a server of a version; 15 is the machine's own.
func openVersion(t *testing.T, major int) *testDB {
	t.Helper()
	if major == 15 {
		return newTestDB(t)
	}
	return openTestDB(t, devstack.TestPostgresVersion(t, major))
}

func oneLife(t *testing.T, d *testDB, major int) {
	d.exec(`CREATE TYPE mood AS ENUM ('sad', 'ok')`)
	d.exec(`CREATE TABLE a (id int PRIMARY KEY, v text, m mood, twice int GENERATED ALWAYS AS (id * 2) STORED); INSERT INTO a VALUES (1, 'one', 'ok')`)
	double := func(n int) string { return "" }
	if major >= 18 {
		d.exec(`CREATE PUBLICATION dbz_publication FOR TABLE a WITH (publish_generated_columns = stored)`)
		double = func(n int) string { return fmt.Sprintf(`,"twice":%d`, n) }
	}
	var offsets connecttest.Offsets
	settings := []string{"skipped.operations", "none", "provide.transaction.metadata", "false"}
	run := d.start(&offsets, settings...)
	expectBrief(t, run.Take(1), `a r {"id":1} null {"id":1,"v":"one","m":"ok"`+double(2)+`}`)
	d.streaming()
	d.exec(`INSERT INTO a VALUES (2, 'two', 'sad')`)
	d.exec(`BEGIN; UPDATE a SET v = 'TWO' WHERE id = 2; DELETE FROM a WHERE id = 1; COMMIT`)
	expectBrief(t, run.Take(4), `a c {"id":2} null {"id":2,"v":"two","m":"sad"`+double(4)+`}`,
		`a u {"id":2} null {"id":2,"v":"TWO","m":"sad"`+double(4)+`}`)
	run.Commit()
	run.Stop()
	d.exec(`SELECT pg_logical_emit_message(true, 'note', 'inside')`)
	d.exec(`SELECT pg_logical_emit_message(false, 'note', 'alone')`)
	d.exec(`TRUNCATE a`)
	d.exec(`ALTER TABLE a ADD w int DEFAULT 5; INSERT INTO a (id, v) VALUES (3, 'three')`)
	again := d.start(&offsets, settings...)
	want := []string{"m", "m", "t", "c"}
	if major < 14 {
		want = want[2:] // The log is not read with messages there.
	}
	rest := again.Take(len(want))
	for i, want := range want {
		if got := op(&rest[i]); got != want {
			t.Errorf("record %d is %s, want %s", i, brief(&rest[i]), want)
		}
	}
	if last := &rest[len(rest)-1]; after(last, "w").Int() != 5 {
		t.Error(brief(last))
	}
	again.Commit()
	again.Stop()
	d.unread()
	d.exec(`INSERT INTO a (id, v) SELECT g, repeat('large', 100) FROM generate_series(10, 2009) g`) // Streamed while in progress, where the server can.
	third := d.start(&offsets, settings...)
	for i, r := range third.Take(2000) {
		if after(&r, "id").Int() != int64(10+i) {
			t.Fatalf("record %d is %s", i, brief(&r))
		}
	}
	third.Commit()
	third.Stop()
}
