package postgres

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidemill/tidemill/connect/connecttest"
)

// filled is a test of values that must not be those of something else: a value is the
// one that the server has, or the placeholder.
type filled struct {
	*testDB
	config  []string
	dir     string
	offsets connecttest.Offsets
	run     *connecttest.SourceRun
}

func newFilled(t *testing.T, config ...string) *filled {
	t.Helper()
	f := &filled{testDB: newTestDB(t), dir: t.TempDir()}
	f.config = []string{"unavailable.value.mode", "fill", "slot.drop.on.stop", "false", "table.include.list", "public.docs", "offset.mismatch.strategy", "trust_slot"}
	f.config = append(f.config, config...)
	f.exec(fillBig)
	f.exec(`CREATE TABLE docs (id int PRIMARY KEY, n int, a text); INSERT INTO docs VALUES (1, 0, big(1))`)
	f.start()
	f.run.Take(1)
	return f
}

func (f *filled) start() {
	f.tb.Helper()
	f.run = connecttest.StartSourceIn(f.tb, Plugin().New(), f.testDB.config(f.config...), &f.offsets, f.dir)
}

// last returns the value of a in the event of the update that sets n.
func (f *filled) last(n int64) string {
	f.tb.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		for _, r := range f.run.Poll(time.Second) {
			if r.Topic != "" && op(&r) == "u" && after(&r, "n").Int() == n {
				return after(&r, "a").Str()
			}
		}
	}
	f.tb.Fatalf("the update that sets n to %d does not come", n)
	return ""
}

// TestFillFollowsColumnsAcrossRenaming renames a column to the name of one that was
// dropped: its value is its own, not that of its predecessor.
func TestFillFollowsColumnsAcrossRenaming(t *testing.T) {
	f := newFilled(t)
	f.exec(`ALTER TABLE docs ADD a_new text`)
	f.exec(`UPDATE docs SET a_new = big(100), n = 1`)
	f.last(1)
	f.exec(`ALTER TABLE docs DROP a; ALTER TABLE docs RENAME a_new TO a`)
	f.exec(`UPDATE docs SET n = 2`)
	if got, want := f.last(2), f.get(`SELECT a FROM docs`); got != want {
		t.Errorf("got %.20s, want %.20s", got, want)
	}
}

// TestFillTellsTablesOfOneNameApart puts another table in the place of the captured one:
// its rows do not have the values of the former one's.
func TestFillTellsTablesOfOneNameApart(t *testing.T) {
	f := newFilled(t)
	f.exec(`CREATE TABLE docs_new (id int PRIMARY KEY, n int, a text); INSERT INTO docs_new VALUES (1, 0, big(200))`)
	f.exec(`ALTER PUBLICATION dbz_publication ADD TABLE docs_new`)
	f.exec(`BEGIN; DROP TABLE docs; ALTER TABLE docs_new RENAME TO docs; COMMIT`)
	f.exec(`UPDATE docs SET n = 2`)
	if got := f.last(2); got != f.get(`SELECT a FROM docs`) && got != "__debezium_unavailable_value" {
		t.Errorf("got %.20s", got)
	}
}

// TestFillForgetsBeforeAGap accepts a gap in which a value has changed: the one from
// before the gap is not taken for it.
func TestFillForgetsBeforeAGap(t *testing.T) {
	f := newFilled(t)
	f.run.Commit()
	f.run.Stop()
	f.exec(`UPDATE docs SET a = big(300)`)
	eventually(t, "the slot is free", func() bool {
		return f.get(`SELECT NOT active FROM pg_replication_slots WHERE slot_name = $1`, f.slot) == "true"
	})
	f.exec(`SELECT pg_replication_slot_advance($1, pg_current_wal_lsn())`, f.slot)
	f.start()
	f.streaming()
	f.exec(`UPDATE docs SET n = 2`)
	if got := f.last(2); got != f.get(`SELECT a FROM docs`) && got != "__debezium_unavailable_value" {
		t.Errorf("got %.20s", got)
	}
}

// TestFillKeepsMaskedValues truncates a column, so that its rows look small: the value
// of before is not taken for the newest.
func TestFillKeepsMaskedValues(t *testing.T) {
	f := newFilled(t, "column.truncate.to.5.chars", "public.docs.a")
	f.exec(`ALTER TABLE docs ADD notes text`)
	f.exec(`UPDATE docs SET n = 1, notes = big(5)`)
	f.last(1)
	f.exec(`UPDATE docs SET n = 2, notes = 'short', a = big(400)`)
	f.last(2)
	f.exec(`UPDATE docs SET n = 3`)
	if got, want := f.last(3), f.get(`SELECT left(a, 5) FROM docs`); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestFillMarksPlacesInTransactions asks whether values are kept up to places within a
// transaction, of another server, and behind a gap.
func TestFillMarksPlacesInTransactions(t *testing.T) {
	f, err := openFill(t.TempDir(), new(atomic.Uint64))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := f.close(); err != nil {
			t.Error(err)
		}
	}()
	here := &lineage{systemID: "1"}
	for _, ordinal := range []int64{5, 2} { // The second is passed over again.
		if err := f.reached(&position{end: 10, commit: 20, ordinal: ordinal, lineage: here}); err != nil {
			t.Fatal(err)
		}
	}
	for p, want := range map[*position]bool{
		{end: 10, lineage: here}:                                                true,
		{end: 10, commit: 20, ordinal: 5, lineage: here}:                        true,
		{end: 10, commit: 20, ordinal: 6, lineage: here}:                        false,
		{end: 11, lineage: here}:                                                false,
		{end: 10, lineage: &lineage{systemID: "2"}}:                             false,
		{end: 10, lineage: &lineage{systemID: "1", gapAt: 1, gapTo: 9}}:         false,
		{end: 10, lineage: &lineage{systemID: "1", timeline: 2, slot: "other"}}: true,
	} {
		if got, err := f.covers(p); err != nil || got != want {
			t.Errorf("%s: %t, %v", p.AppendJSON(nil), got, err)
		}
	}
}

// TestFillForgetsRowsThatWereAway changes a row while the publication's condition leaves
// it out: what it had before is not taken for what it has when it is back.
func TestFillForgetsRowsThatWereAway(t *testing.T) {
	f := newFilled(t)
	f.exec(`ALTER TABLE docs ADD live bool NOT NULL DEFAULT true; CREATE UNIQUE INDEX docs_live ON docs (id, live); ALTER TABLE docs REPLICA IDENTITY USING INDEX docs_live`)
	f.exec(`ALTER PUBLICATION dbz_publication SET TABLE docs WHERE (live)`)
	f.exec(`UPDATE docs SET n = 1, a = big(500)`)
	f.last(1)
	f.exec(`UPDATE docs SET live = false`)
	f.exec(`UPDATE docs SET a = big(501)`)
	f.exec(`UPDATE docs SET live = true`)
	f.exec(`UPDATE docs SET n = 2`)
	if got := f.last(2); got != f.get(`SELECT a FROM docs`) && got != "__debezium_unavailable_value" {
		t.Errorf("got %.20s", got)
	}
}
