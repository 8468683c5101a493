package postgres

import (
	"testing"

	"github.com/tidemill/tidemill/connect/connecttest"
)

// TestRecordsOfOneChangeShareAPlace looks at the offsets of a change that becomes several
// records, behind changes that nobody asked for: all but the last have that of the record
// before, so that nobody who divides a transaction resumes between them.
func TestRecordsOfOneChangeShareAPlace(t *testing.T) {
	t.Parallel()
	d := newTestDB(t)
	d.exec(`CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY); CREATE PUBLICATION dbz_publication FOR ALL TABLES`)
	var offsets connecttest.Offsets
	run := d.start(&offsets, "table.include.list", "public.a", "snapshot.mode", "no_data")
	d.streaming()
	d.exec(`BEGIN; INSERT INTO a VALUES (1); INSERT INTO b VALUES (1), (2), (3); UPDATE a SET id = 2; INSERT INTO b VALUES (4); DELETE FROM a; INSERT INTO b VALUES (5); COMMIT`)
	records := run.Take(6) // c, d and its tombstone, c; d and its tombstone.
	at := func(i int) string { return string(records[i].SourceOffset.AppendJSON(nil)) }
	for i, same := range []bool{1: true, 2: true, 3: false, 4: true, 5: false} {
		if i > 0 && (at(i) == at(i-1)) != same {
			t.Errorf("record %d is at %s, the one before at %s", i, at(i), at(i-1))
		}
	}
}
