package postgres

import (
	"context"
	"slices"

	"github.com/tidemill/tidemill/connect"
)

// A table that is emptied, written anew in another form, altered or dropped while the
// snapshot is taken is of no use to it: what its view shows of such a table may be
// nothing. The others are: their rows stay, and this one is postponed. It is noted in the
// position behind the snapshot as a table to be read beside the log (incremental.go),
// which takes its lock before it looks and so always sees the rows there are. The log is
// read from the point of the snapshot's view, for this table as well: what it tells of
// rows that nobody has had yet comes before them, and the rows of a first piece that was
// handed over are brought up to date as those of any table.

const codeAltered = "pg.snapshot.altered"

// postpones tells whether a table that gave this error may be read when the snapshot is
// over. It may not when no log is read then, when rows are those of a statement of one's
// own, which reading beside the log does not know, and when the end of the snapshot is
// announced with the rows of all tables.
func (s *snapshot) postpones(t *snapshotTable, err error) bool {
	return connect.AsError(err).Code == codeAltered && s.set.when.stream && s.set.selects[t.name.String()] == "" && !s.set.snapshotMetadata
}

// postpone notes that a table is to be read when the snapshot is over. The connection
// goes: its transaction may have failed, and its lock would keep the table from being
// altered again until the snapshot is over.
// Beside the log the table is looked for by the name that it has now.
func (r *tableReader) postpone(ctx context.Context, t *snapshotTable, why error) error {
	r.drop(ctx)
	d, err := r.set.open(ctx, r.app)
	if err != nil {
		return err
	}
	defer d.close(context.WithoutCancel(ctx))
	rel, _, err := d.describe(ctx, t.oid)
	if err != nil || t.postponed.Swap(true) {
		return err
	}
	if t.renamed = t.name; rel.name != "" {
		t.renamed = rel.table()
	}
	r.metrics.Add("snapshot_tables_postponed_total", 1)
	r.log.Warn("A table was altered, emptied or dropped while the snapshot was taken; it is read beside the log when the snapshot is over.", "table", t.name.String(), "error", why)
	return nil
}

// owes tells whether tables were postponed.
func (s *snapshot) owes() bool {
	return slices.ContainsFunc(s.tables, func(t *snapshotTable) bool { return t.postponed.Load() })
}

// owed returns a backlog with the tables that were postponed, when all others are read.
func (s *snapshot) owed(before *backlog) *backlog {
	if !s.owes() {
		return before
	}
	return before.with(func(b *backlog) {
		b.Tables = slices.Clone(b.Tables)
		for _, t := range s.tables {
			if t.postponed.Load() {
				b.Count++
				b.Tables = append(b.Tables, tableBacklog{Number: b.Count, Schema: t.renamed.schema, Name: t.renamed.name, Request: s.request, Initial: s.initial, Estimate: max(0, t.estimate)})
			}
		}
	})
}
