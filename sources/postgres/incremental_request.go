package postgres

import (
	"regexp"
	"slices"
)

// snapshotRequest asks for rows to be read while the log is. A user sends one as a
// signal; the stream makes one for a table that has just joined.
type snapshotRequest struct {
	// ID is told back in notifications.
	ID string `json:"id,omitempty"`
	// Blocking: the stream stands still while the tables are read as of one moment.
	// Otherwise they are read in chunks while it goes on.
	Blocking bool `json:"blocking,omitempty"`
	// Tables are regular expressions that match whole names, schema.table. Only
	// captured tables are read.
	Tables []string `json:"tables"`
	// Conditions restrict the rows of tables. In a blocking snapshot each is a whole
	// SELECT, as Debezium has it.
	Conditions []snapshotCondition `json:"conditions,omitempty"`
	// Surrogate names a column to read the rows in the order of, instead of the
	// primary key.
	Surrogate string `json:"surrogate,omitempty"`
	// Initial: it stands for the initial snapshot, and fails as that does.
	Initial bool `json:"initial,omitempty"`
}

// snapshotCondition is a condition for the tables that a pattern matches.
type snapshotCondition struct {
	Table  string `json:"table"`
	Filter string `json:"filter"`
}

// exactly returns the pattern that matches one table only.
func exactly(t tableName) string { return regexp.QuoteMeta(t.String()) }

// askSnapshot takes a request in. It is called by the stream's own goroutine, inside
// a transaction or outside: all positions from here on hold the request until it is
// done, so that it survives a restart exactly when the place it was made at does.
func (s *stream) askSnapshot(r snapshotRequest) {
	s.em.pos.backlog = s.em.pos.backlog.with(func(p *backlog) {
		p.Requests = append(slices.Clone(p.Requests), r)
	})
	s.pending = true
}
