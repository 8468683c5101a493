package postgres

import (
	"strings"
	"testing"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/connect/connecttest"
	"github.com/tidemill/tidemill/internal/devstack"
)

// TestOrigins has transactions that were replicated from elsewhere between others: each
// event tells the origin of its own, also when the task resumes in the middle of one, and
// when it came while it was in progress.
func TestOrigins(t *testing.T) {
	t.Parallel()
	d := newStreamingDB(t)
	far := d.session()
	d.exec(`SELECT pg_replication_origin_create('far')`)
	d.get(`SELECT true FROM pg_replication_origin_create('unused')`)
	t.Cleanup(func() { d.on(d.conn, "SELECT pg_replication_origin_drop('far'), pg_replication_origin_drop('unused')") })
	d.on(far, "SELECT pg_replication_origin_session_setup('far')")
	run := d.begun()
	d.on(far, "BEGIN", "SELECT pg_replication_origin_xact_setup('0/1234', now())", "INSERT INTO a VALUES (1, 'x'), (2, 'x'), (3, 'x')", "COMMIT")
	d.exec("INSERT INTO a VALUES (4, 'x')")
	d.on(far, "BEGIN", "SELECT pg_replication_origin_xact_setup('0/2234', now())", bulk("b", 1, 700, "x"), "COMMIT")
	d.on(far, "SELECT pg_replication_origin_session_reset()")
	d.exec("INSERT INTO c VALUES (-1, 'end')")
	all := untilEnd(t, run)
	if n := run.Metrics.Counter("transactions_streamed_total"); n != 1 || len(all) != 705 {
		t.Fatalf("%d transactions came while they were in progress, %d records", n, len(all))
	}
	want := func(i int) (origin, lsn string) {
		switch {
		case i < 3:
			return `"far"`, "4660"
		case i > 3 && i < 704:
			return `"far"`, "null"
		}
		return "null", "null"
	}
	for i := range all {
		origin, lsn := want(i)
		if a, b := source(&all[i], "origin").String(), source(&all[i], "origin_lsn").String(); a != origin || b != lsn {
			t.Fatalf("record %d has the origin %s at %s, want %s at %s", i, a, b, origin, lsn)
		}
	}
	run.Stop()
	for _, i := range []int{0, 1, 2, 300} {
		var offsets connecttest.Offsets
		offsets.Put(all[i].SourcePartition, all[i].SourceOffset.AppendJSON(nil))
		again := d.start(&offsets)
		rest := untilEnd(t, again)
		again.Stop()
		for j := range rest {
			if a, b := source(&rest[j], "origin").String(), source(&all[i+1+j], "origin").String(); a != b {
				t.Fatalf("resumed at %d: record %d has the origin %s, want %s", i, j, a, b)
			}
		}
	}
}

// TestOriginNone leaves out what was replicated from elsewhere.
func TestOriginNone(t *testing.T) {
	t.Parallel()
	d := openTestDB(t, devstack.TestPostgresVersion(t, 17)).streamingTables()
	far := d.session()
	d.exec(`SELECT pg_replication_origin_create('far')`)
	t.Cleanup(func() { d.on(d.conn, "SELECT pg_replication_origin_drop('far')") })
	d.on(far, "SELECT pg_replication_origin_session_setup('far')")
	run := d.begun("slot.stream.params", "origin=none")
	d.on(far, "INSERT INTO a VALUES (1, 'x')")
	d.on(far, "SELECT pg_replication_origin_session_reset()")
	d.exec("INSERT INTO c VALUES (-1, 'end')")
	if all := untilEnd(t, run); len(all) != 1 {
		t.Errorf("%d records came", len(all))
	}
}

// TestStreamParams refuses what the stream could not follow, by name and with the reason.
func TestStreamParams(t *testing.T) {
	for param, want := range map[string]string{
		"two_phase=true":            "prepared",
		"proto_version=4":           "transaction.streaming",
		"publication_names=x":       "publication.name",
		"streaming=parallel":        "order of their commits",
		"include-lsn":               "name=value",
		"two_phase=false":           "",
		"messages=false;origin=any": "",
	} {
		_, err := newSettings(testConfig("slot.stream.params", param))
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", param, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v", param, err)
		}
	}
	set, err := newSettings(testConfig("slot.stream.params", "binary=true; streaming=off ;origin=none"))
	if err != nil || set.format != formatBinary || set.streaming || len(set.streamParams) != 1 || set.streamParams[0] != `"origin" 'none'` {
		t.Errorf("%v %+v", err, set)
	}
}

// TestUnknownOption has the server refuse an option: that does not pass by trying again.
func TestUnknownOption(t *testing.T) {
	t.Parallel()
	d := newTestDB(t)
	d.exec(`CREATE TABLE a (id int PRIMARY KEY)`)
	run := d.start(&connecttest.Offsets{}, "snapshot.mode", "no_data", "slot.stream.params", "sparkle=true")
	r, err := nextRecord(t, run)
	if e := connect.AsError(err); err == nil || e.Code != "pg.stream.option" || !strings.Contains(e.Error(), "sparkle") {
		t.Errorf("%v came, or %v", r, err)
	}
}
