package postgres

import "testing"

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
