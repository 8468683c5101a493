package postgres

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/connect/connecttest"
)

// retired retires a connector and compares what it tells.
func (d *testDB) retired(drop bool, want string, pairs ...string) {
	d.tb.Helper()
	told, err := Plugin().New().(connect.OffsetAlterer).Retire(context.Background(), d.config(pairs...), drop)
	if err != nil || !strings.Contains(told, want) || want == "" && told != "" {
		d.tb.Errorf("it tells %q, %v; want %q", told, err, want)
	}
}

const (
	countSlots        = `SELECT count(*) FROM pg_replication_slots WHERE database = current_database()`
	countPublications = `SELECT count(*) FROM pg_publication`
)

// TestRetire deletes connectors with and without what they keep on the server.
func TestRetire(t *testing.T) {
	t.Parallel()
	d := newTestDB(t)
	d.exec(`CREATE TABLE a (id int PRIMARY KEY)`)
	d.retired(false, "")
	run := d.start(&connecttest.Offsets{})
	d.streaming()
	short, cancel := context.WithTimeout(t.Context(), 26*time.Second)
	defer cancel()
	if _, err := Plugin().New().(connect.OffsetAlterer).Retire(short, d.config(), true); err == nil || connect.AsError(err).Code != "pg.slot.in_use" {
		t.Errorf("a slot that is read from: %v", err)
	}
	run.Stop()
	d.unread()
	d.retired(false, "The slot "+d.slot+" is left on the server, which keeps its log for it, ")
	d.retired(false, "If none is to come: SELECT pg_drop_replication_slot('"+d.slot+"').")
	if n := d.get(countSlots); n != "1" {
		t.Fatalf("%s slots", n)
	}

	// Another connector reads by the same publication.
	first := d.slot
	d.slot += "_two"
	d.exec(`SELECT pg_create_logical_replication_slot($1, 'pgoutput')`, d.slot)
	d.orphans(first)
	d.retired(true, "The slot "+d.slot+" was dropped. The publication dbz_publication was left, because the slot "+first+" may be read by it")
	d.slot = first
	d.retired(true, "The slot "+d.slot+" was dropped. The publication dbz_publication was dropped.")
	if n, m := d.get(countSlots), d.get(countPublications); n != "0" || m != "0" {
		t.Fatalf("%s slots, %s publications", n, m)
	}
	d.retired(true, "There is no slot "+d.slot+".")
	d.retired(false, "")
}

// orphans checks which slots doctor finds that nobody reads from.
func (d *testDB) orphans(want ...string) {
	d.tb.Helper()
	found, err := Diagnose(context.Background(), d.config())
	if err != nil {
		d.tb.Fatal(err)
	}
	var names []string
	for _, f := range found {
		if f.Code == "pg.slot.orphan" && d.get(`SELECT count(*) FROM pg_replication_slots WHERE slot_name = $1 AND database = current_database()`, f.Place) == "1" {
			names = append(names, f.Place)
		}
	}
	if !slices.Equal(names, want) {
		d.tb.Errorf("nobody reads from %v, says doctor, want %v", names, want)
	}
}

// TestRetireLeavesWhatIsOthers has a slot and a publication that no connector made, and a
// server that cannot be asked.
func TestRetireLeavesWhatIsOthers(t *testing.T) {
	t.Parallel()
	d := newTestDB(t)
	d.exec(`CREATE TABLE a (id int PRIMARY KEY); CREATE PUBLICATION dbz_publication FOR TABLE a`)
	d.exec(`SELECT pg_create_logical_replication_slot($1, 'test_decoding')`, d.slot)
	d.retired(false, "")
	d.retired(true, "The slot "+d.slot+" is not this connector's and was left: the slot was made for another purpose (plugin test_decoding). The publication dbz_publication was not made by a connector and was left.")
	if n, m := d.get(countSlots), d.get(countPublications); n != "1" || m != "1" {
		t.Errorf("%s slots, %s publications", n, m)
	}
	d.retired(false, "The server cannot be asked whether the slot "+d.slot+" is left: ", "database.port", "1")
	if _, err := Plugin().New().(connect.OffsetAlterer).Retire(t.Context(), d.config("database.port", "1"), true); err == nil {
		t.Error("it was dropped without a server")
	}
	role := "reader_" + strings.TrimPrefix(d.url.Path, "/")
	d.exec(`DROP PUBLICATION dbz_publication; CREATE PUBLICATION dbz_publication FOR TABLE a; COMMENT ON PUBLICATION dbz_publication IS '` + madeByUs + ` for shop'; CREATE ROLE ` + role + ` LOGIN REPLICATION`)
	d.retired(true, "The publication dbz_publication was left, because the user may not drop it: DROP PUBLICATION IF EXISTS \"dbz_publication\".", "database.user", role)
	d.exec(`DROP ROLE ` + role)
}
