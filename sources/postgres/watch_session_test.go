package postgres

import (
	"testing"

	"github.com/tidemill/tidemill/connect/connecttest"
)

// TestAskedSnapshotIsKeptUntilItIsStored asks the stream for a table as the watch does: it
// is told that it may forget the table only when a stored position has the request.
func TestAskedSnapshotIsKeptUntilItIsStored(t *testing.T) {
	s := &stream{em: &emitter{}, beside: &beside{}, asked: make(chan *watchAsk, 1), asking: map[tableName]*watchAsk{}}
	table := tableName{"public", "a"}
	for range 2 {
		if s.ask(table, "it is new") {
			t.Fatal("it is not even taken in")
		}
	}
	s.takeAsked()
	if p := s.em.pos.backlog; len(p.Requests) != 1 || s.ask(table, "it is new") {
		t.Fatal("it is not stored")
	}
	s.beside.stored.Store(s.em.pos.backlog.version())
	if !s.ask(table, "it is new") {
		t.Error("it is stored")
	}
}

// TestStandingOfAnotherDatabaseCountsForNothing has two connectors keep their state in
// one place: tables of the same name are others, not ones that were dropped and made anew.
func TestStandingOfAnotherDatabaseCountsForNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var offsets [2]connecttest.Offsets
	dbs := [2]*testDB{newTestDB(t), newTestDB(t)}
	for range 2 {
		for i, d := range dbs {
			d.exec(`CREATE TABLE IF NOT EXISTS a (id serial PRIMARY KEY)`)
			run := connecttest.StartSourceIn(t, Plugin().New(), d.config("snapshot.mode", "no_data"), &offsets[i], dir)
			d.streaming()
			d.exec(`INSERT INTO a DEFAULT VALUES`)
			run.Take(1)
			run.Commit()
			if n := run.Metrics.Counter("publication_gaps_total"); n != 0 {
				t.Errorf("%d gaps", n)
			}
			run.Stop()
			d.unread()
		}
	}
}

// TestMarkTellsWhatWasChangedBack has a closer look fall between two changes of which the
// second takes the first back: unless the prints differ, the second is never seen.
func TestMarkTellsWhatWasChangedBack(t *testing.T) {
	t.Parallel()
	d := newTestDB(t)
	d.exec(`CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE p1 (id int PRIMARY KEY)`)
	set, err := newSettings(d.config())
	if err != nil {
		t.Fatal(err)
	}
	side, err := set.open(t.Context(), "test")
	if err != nil {
		t.Fatal(err)
	}
	defer side.close(t.Context())
	mark := func() string {
		m, err := side.watchMark(t.Context(), set.publication)
		if err != nil {
			t.Fatal(err)
		}
		return m.print
	}
	before := mark()
	if mark() != before {
		t.Fatal("the print changes although nothing does")
	}
	for _, change := range [][2]string{
		{`ALTER TABLE p ATTACH PARTITION p1 FOR VALUES FROM (0) TO (10)`, `ALTER TABLE p DETACH PARTITION p1`},
		{`ALTER TABLE p1 RENAME TO p2`, `ALTER TABLE p2 RENAME TO p1`},
		{`ALTER TABLE p1 REPLICA IDENTITY FULL`, `ALTER TABLE p1 REPLICA IDENTITY DEFAULT`},
	} {
		d.exec(change[0])
		d.exec(change[1])
		after := mark()
		if after == before {
			t.Errorf("%s; %s: not seen", change[0], change[1])
		}
		before = after
	}
}
