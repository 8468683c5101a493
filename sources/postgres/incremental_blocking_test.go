package postgres

import (
	"testing"

	"github.com/tidemill/tidemill/connect/connecttest"
)

// TestBlockingSnapshotLeavesNoSlot stops the task while a blocking snapshot waits for
// the stream to come to its place: the slot that was made for it goes as well. That of a
// process which was killed is not in the way, though the server has not noticed yet.
func TestBlockingSnapshotLeavesNoSlot(t *testing.T) {
	t.Parallel()
	d := newTestDB(t)
	d.exec(`CREATE TABLE a (id int PRIMARY KEY, t text)`)
	c := newSignalled()
	var offsets connecttest.Offsets
	run := d.startSignalled(c, &offsets, "snapshot.mode", "no_data", "max.batch.size", "10", "max.queue.size", "20", "slot.drop.on.stop", "false")
	d.streaming()
	killed := &testDB{tb: t, url: d.url, conn: d.session()}
	killed.exec(`SELECT pg_create_logical_replication_slot('` + d.slot + `_blocking', 'pgoutput', true)`)
	// A slot is made when the transactions have ended that are under way: the stream must
	// read this one before the snapshot, and nobody takes its rows.
	d.exec(`BEGIN; INSERT INTO a SELECT g, 't' FROM generate_series(1, 5000) g`)
	c.send("execute-snapshot", `{"type":"blocking","data-collections":["public.a"]}`)
	other := &testDB{tb: t, url: d.url, conn: d.session()}
	const slots = `SELECT count(*) FROM pg_replication_slots WHERE temporary AND starts_with(slot_name, $1 || '_snapshot_')`
	eventually(t, "the slot is being made", func() bool { return other.get(slots, d.slot) == "1" })
	d.exec(`COMMIT`)
	eventually(t, "the slot is made", func() bool {
		return other.get(slots+` AND confirmed_flush_lsn IS NOT NULL`, d.slot) == "1"
	})
	run.Stop()
	eventually(t, "the slot is gone", func() bool { return other.get(slots, d.slot) == "0" })
}
