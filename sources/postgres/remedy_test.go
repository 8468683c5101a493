package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/connect/connecttest"
	"github.com/tidemill/tidemill/internal/devstack"
)

// cure applies a remedy to a connector that is stopped, as the worker does, and
// returns what it says.
func (d *testDB) cure(offsets *connecttest.Offsets, remedy string, pairs ...string) string {
	d.tb.Helper()
	c := Plugin().New().(connect.OffsetAlterer)
	changes, message, err := c.Remedy(context.Background(), d.config(pairs...), remedy, offsets.All())
	if err != nil {
		d.tb.Fatalf("%s: %v", remedy, err)
	}
	for p, text := range changes {
		if _, err := parsePosition(text); err != nil {
			d.tb.Fatalf("%s gives %s", remedy, text)
		}
		offsets.Put(p, text)
	}
	return message
}

// refuses applies a remedy that must fail.
func (d *testDB) refuses(offsets *connecttest.Offsets, remedy, code string, pairs ...string) {
	d.tb.Helper()
	c := Plugin().New().(connect.OffsetAlterer)
	if _, _, err := c.Remedy(context.Background(), d.config(pairs...), remedy, offsets.All()); err == nil || connect.AsError(err).Code != code {
		d.tb.Errorf("%s: %v, want %s", remedy, err, code)
	}
}

// stored returns the stored offset.
func stored(offsets *connecttest.Offsets) map[string]any {
	fields := map[string]any{}
	for _, text := range offsets.All() {
		_ = json.Unmarshal(text, &fields)
	}
	return fields
}

// readOnce starts, takes one row, whose key is id, commits it and stops.
func (d *testDB) readOnce(offsets *connecttest.Offsets, id int, pairs ...string) {
	d.tb.Helper()
	run := d.start(offsets, pairs...)
	d.streaming()
	d.exec(`INSERT INTO a VALUES ($1)`, id)
	if r := run.Take(1)[0]; r.Key.Struct().Get("id").Int() != int64(id) || op(&r) != "c" {
		d.tb.Fatalf("%s came, want row %d", brief(&r), id)
	}
	run.Commit()
	run.Stop()
	d.unread()
}

// unread waits until nobody reads from the slot.
func (d *testDB) unread() {
	d.tb.Helper()
	eventually(d.tb, "the slot is free", func() bool {
		return d.get("SELECT count(*) FROM pg_replication_slots WHERE slot_name = $1 AND active", d.slot) == "0"
	})
}

func TestRemediesForAMissingSlot(t *testing.T) {
	t.Parallel()
	d := newTestDB(t)
	d.exec(`CREATE TABLE a (id int PRIMARY KEY)`)
	var offsets connecttest.Offsets
	d.refuses(&offsets, "pray", "remedy.unknown")
	d.refuses(&offsets, remedyAccept, "remedy.nothing_stored")
	d.readOnce(&offsets, 1)
	if text := d.cure(&offsets, remedyAccept); !strings.Contains(text, "no gap") {
		t.Error(text)
	}
	d.exec(`SELECT pg_drop_replication_slot($1)`, d.slot)
	d.exec(`INSERT INTO a VALUES (2)`)
	if err := failure(t, d.config(), &offsets); err.Code != "pg.slot.missing" {
		t.Fatal(err)
	}
	d.refuses(&offsets, remedyAdopt, "pg.slot.missing")
	before := stored(&offsets)["lsn_commit"]

	// What came while there was no slot is not read; what came after the remedy is.
	if text := d.cure(&offsets, remedyAccept); !strings.Contains(text, "a new slot") {
		t.Error(text)
	}
	d.exec(`INSERT INTO a VALUES (3)`)
	run := d.start(&offsets, "snapshot.mode", "no_data")
	if got := brief(&run.Take(1)[0]); got != `a c {"id":3} null {"id":3}` {
		t.Error(got)
	}
	run.Commit()
	run.Stop()
	if o := stored(&offsets); o["gap_from"] != before || o["gap_to"].(float64) <= before.(float64) || o["gap_accepted_usec"] == nil {
		t.Errorf("the offset does not tell of the gap: %v, it stood at %v", o, before)
	}

	// A snapshot that is asked for comes whatever snapshot.mode says, until it is whole.
	d.unread()
	d.cure(&offsets, remedySnapshot)
	for range 2 {
		again := d.start(&offsets, "snapshot.mode", "no_data", "max.batch.size", "1")
		if got := again.Take(3); op(&got[0]) != "r" || op(&got[2]) != "r" {
			t.Errorf("%s, %s", brief(&got[0]), brief(&got[2]))
		}
		if o := stored(&offsets); o["resnapshot"] != true {
			t.Error(o)
		}
		again.Stop()
		d.unread()
	}
	last := d.start(&offsets, "snapshot.mode", "no_data")
	last.Take(3)
	last.Commit()
	last.Stop()
	d.unread()
	if o := stored(&offsets); o["resnapshot"] != nil || o["gap_from"] != before {
		t.Error(o)
	}
	d.readOnce(&offsets, 4, "snapshot.mode", "no_data")
}

// TestRemediesInTheMidstOfASnapshot has nothing to go on from: whichever remedy an error
// has named, the tables are read from their beginning.
func TestRemediesInTheMidstOfASnapshot(t *testing.T) {
	t.Parallel()
	for _, name := range []string{remedyAccept, remedyAdopt} {
		d := newTestDB(t)
		d.exec(`CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a SELECT generate_series(1, 3)`)
		var offsets connecttest.Offsets
		run := d.start(&offsets, "max.batch.size", "1", "max.queue.size", "2")
		run.Take(1)
		run.Commit()
		run.Stop()
		d.unread()
		if o := stored(&offsets); o["snapshot_completed"] != false {
			t.Fatalf("the snapshot is over: %v", o)
		}
		d.exec(`SELECT pg_drop_replication_slot($1)`, d.slot)
		if text := d.cure(&offsets, name); !strings.Contains(text, "not been read in full") {
			t.Error(text)
		}
		again := d.start(&offsets)
		rows := again.Take(3)
		if op(&rows[0]) != "r" || op(&rows[2]) != "r" {
			t.Errorf("%s: %s, %s", name, brief(&rows[0]), brief(&rows[2]))
		}
		again.Commit()
		again.Stop()
		d.unread()
		d.readOnce(&offsets, 4)
	}
}

// TestRemediesForALostSlot has the server give a slot up.
func TestRemediesForALostSlot(t *testing.T) {
	t.Parallel()
	pg := devstack.NewTestPostgres(t, devstack.PostgresOptions{Settings: map[string]string{"max_slot_wal_keep_size": "1MB", "max_wal_size": "32MB"}})
	d := openTestDB(t, pg.DSN("postgres"))
	d.exec(`CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE busy (v text)`)
	config := []string{"table.include.list", "public.a"}
	lose := func() {
		t.Helper()
		for d.get("SELECT wal_status FROM pg_replication_slots WHERE slot_name = $1", d.slot) != "lost" {
			d.exec(`INSERT INTO busy SELECT repeat('x', 1000) FROM generate_series(1, 20000); SELECT pg_switch_wal(); CHECKPOINT`)
		}
	}
	var offsets connecttest.Offsets
	d.readOnce(&offsets, 1, config...)
	lose()
	err := failure(t, d.config(config...), &offsets)
	if err.Code != "pg.slot.lost" || !strings.Contains(err.Message, "(lost)") || !strings.Contains(err.Message, " bytes)") {
		t.Error(err)
	}
	d.cure(&offsets, remedySnapshot, config...)
	run := d.start(&offsets, config...)
	if got := brief(&run.Take(1)[0]); got != `a r {"id":1} null {"id":1}` {
		t.Error(got)
	}
	run.Commit()
	run.Stop()
	d.unread()
	d.readOnce(&offsets, 2, config...)
	lose()
	d.cure(&offsets, remedyAccept, config...)
	d.readOnce(&offsets, 3, config...)
}

// TestRemediesForASlotMadeAgain drops and makes the slot while nobody looks.
func TestRemediesForASlotMadeAgain(t *testing.T) {
	t.Parallel()
	d := newTestDB(t)
	d.exec(`CREATE TABLE a (id int PRIMARY KEY)`)
	var offsets connecttest.Offsets
	d.readOnce(&offsets, 1)
	d.exec(`SELECT pg_drop_replication_slot($1)`, d.slot)
	d.exec(`SELECT pg_create_logical_replication_slot($1, 'pgoutput')`, d.slot)
	if err := failure(t, d.config(), &offsets); err.Code != "pg.slot.ahead" {
		t.Fatal(err)
	}
	d.exec(`INSERT INTO a VALUES (2)`)
	var trusting connecttest.Offsets
	for p, text := range offsets.All() {
		trusting.Put(p, text)
	}
	d.cure(&offsets, remedyAccept)
	run := d.start(&offsets)
	if got := brief(&run.Take(1)[0]); got != `a c {"id":2} null {"id":2}` {
		t.Error(got)
	}
	run.Stop()
	for _, word := range []string{"trust_slot", "trust_greater_lsn", "no_validation"} {
		run := d.start(&trusting, "offset.mismatch.strategy", word)
		if got := brief(&run.Take(1)[0]); got != `a c {"id":2} null {"id":2}` {
			t.Error(got)
		}
		run.Stop()
		d.unread()
	}
	run = d.start(&trusting, "offset.mismatch.strategy", "trust_slot")
	run.Take(1)
	run.Commit()
	run.Stop()
	if o := stored(&trusting); o["gap_to"] == nil {
		t.Errorf("the gap is not on record: %v", o)
	}

	// Another plugin's slot is somebody else's.
	d.unread()
	d.exec(`SELECT pg_drop_replication_slot($1)`, d.slot)
	d.exec(`SELECT pg_create_logical_replication_slot($1, 'test_decoding')`, d.slot)
	d.refuses(&offsets, remedySnapshot, "pg.slot.plugin")
	d.refuses(&offsets, remedyAccept, "pg.slot.plugin")
	d.exec(`SELECT pg_drop_replication_slot($1)`, d.slot)
}

// TestRewind goes back to where the slot still has everything, and not to what it was told
// to forget.
func TestRewind(t *testing.T) {
	t.Parallel()
	d := newTestDB(t)
	d.exec(`CREATE TABLE a (id int PRIMARY KEY)`)
	rewind := func(offsets *connecttest.Offsets) *connect.Error {
		return connect.AsError(Plugin().New().(*connector).CanRewind(t.Context(), d.config(), offsets.All()))
	}
	var none, first, offsets connecttest.Offsets
	if err := rewind(&none); err != nil {
		t.Errorf("to the beginning: %v", err)
	}
	d.readOnce(&offsets, 1)
	for p, text := range offsets.All() {
		first.Put(p, text)
	}
	if err := rewind(&first); err != nil {
		t.Errorf("to where it stands: %v", err)
	}
	d.readOnce(&offsets, 2)
	before := stored(&offsets)
	err := rewind(&first)
	if err == nil || err.Code != "pg.slot.ahead" || err.Class != connect.ClassConfig || !strings.Contains(err.Message, "cannot go on at the earlier position") ||
		!strings.Contains(err.Mend, remedySnapshot) || strings.Contains(err.Mend, remedyAccept) {
		t.Errorf("to what the slot has forgotten: %v", err)
	}
	d.exec(`SELECT pg_drop_replication_slot($1)`, d.slot)
	if err := rewind(&offsets); err == nil || err.Code != "pg.slot.missing" {
		t.Errorf("without a slot: %v", err)
	}
	if after := stored(&offsets); after["lsn_commit"] != before["lsn_commit"] {
		t.Errorf("the offsets have changed: %v", after)
	}
}

// TestRemedyForAPublicationThatWasMissing has changes in the log that can never be
// decoded, because there was no publication when they were made.
func TestRemedyForAPublicationThatWasMissing(t *testing.T) {
	t.Parallel()
	d := newTestDB(t)
	d.exec(`CREATE TABLE a (id int PRIMARY KEY)`)
	var offsets connecttest.Offsets
	d.readOnce(&offsets, 1, "snapshot.mode", "no_data")
	d.exec(`INSERT INTO a VALUES (4)`) // It is read, and its offset never stored.
	d.exec(`DROP PUBLICATION dbz_publication`)
	d.exec(`INSERT INTO a VALUES (2)`)
	d.exec(`CREATE PUBLICATION dbz_publication FOR TABLE a`)
	d.exec(`INSERT INTO a VALUES (3)`)
	from := lsnText(uint64(stored(&offsets)["lsn_commit"].(float64)))
	err := failure(t, d.config("snapshot.mode", "no_data", "retriable.restart.connector.wait.ms", "50"), &offsets)
	if err.Code != "pg.publication.missing_at_lsn" || !strings.HasPrefix(err.Mend, "POST /connectors/test/remedies/resnapshot ") || !strings.Contains(err.Message, " the log from "+from+" to ") {
		t.Fatalf("%v; the stored offset is %s", err, from)
	}
	d.unread()
	if text := d.cure(&offsets, remedySnapshot); !strings.Contains(text, "moved to the end of the log") {
		t.Error(text)
	}
	run := d.start(&offsets, "snapshot.mode", "no_data")
	for i, r := range run.Take(4) {
		if op(&r) != "r" {
			t.Errorf("record %d is %s", i, brief(&r))
		}
	}
	run.Commit()
	run.Stop()
	d.unread()
	d.readOnce(&offsets, 5)
}

// TestRemediesForAnotherServer has an offset of another server, as after a move or
// pg_upgrade.
func TestRemediesForAnotherServer(t *testing.T) {
	t.Parallel()
	d := newTestDB(t)
	d.exec(`CREATE TABLE a (id int PRIMARY KEY)`)
	var offsets connecttest.Offsets
	d.readOnce(&offsets, 1, "snapshot.mode", "no_data")
	p, _ := partition("shop")
	rename := func(offset string) {
		offsets.Put(p, []byte(offset))
	}
	o := stored(&offsets)
	end := uint64(o["lsn_commit"].(float64))
	rename(fmt.Sprintf(`{"lsn":%d,"lsn_commit":%d,"lsn_proc":%d,"txId":3,"ts_usec":1,"system_id":"12345","timeline":4,"slot":"another"}`, end, end, end))
	err := failure(t, d.config(), &offsets)
	if err.Code != "pg.history.system" || !strings.Contains(err.Mend, "/remedies/adopt ") {
		t.Error(err)
	}
	d.exec(`INSERT INTO a VALUES (2)`)
	d.cure(&offsets, remedyAdopt)
	run := d.start(&offsets)
	if got := brief(&run.Take(1)[0]); got != `a c {"id":2} null {"id":2}` {
		t.Error(got)
	}
	run.Commit()
	run.Stop()
	d.unread()
	if o := stored(&offsets); o["gap_from"] != nil || o["slot"] != d.slot || o["system_id"] == "12345" {
		t.Error(o)
	}

	// The slot of an upgraded server begins behind what was read before.
	rename(fmt.Sprintf(`{"lsn":%d,"lsn_commit":%d,"lsn_proc":%d,"txId":3,"ts_usec":1,"system_id":"12345","timeline":1,"slot":"another"}`, end-100, end-100, end-100))
	d.exec(`SELECT pg_replication_slot_advance($1, pg_current_wal_lsn())`, d.slot)
	if text := d.cure(&offsets, remedyAdopt); !strings.Contains(text, "pg_upgrade") {
		t.Error(text)
	}
	if o := stored(&offsets); o["gap_from"] != float64(end-100) {
		t.Error(o)
	}
	d.readOnce(&offsets, 3)

	// A position that this server has not reached is none of it.
	rename(`{"lsn":9999999999999,"lsn_commit":9999999999999,"lsn_proc":9999999999999,"txId":3,"ts_usec":1,"system_id":"12345","timeline":1,"slot":"another"}`)
	d.refuses(&offsets, remedyAdopt, "pg.history.ahead")
	d.cure(&offsets, remedyAccept)
	d.readOnce(&offsets, 4)
}
