package postgres

import "fmt"

// heap is a table as it lies on disk: a captured table itself, or one of the
// partitions of a captured partitioned table.
type heap struct {
	oid   uint32
	name  tableName
	kind  byte  // As in pg_class: r table, p partitioned table, f foreign table.
	pages int64 // It has now; rows of the snapshot are on these.
	rows  int64 // By the statistics; 0 when they say nothing.
	// whole tells that it must not be divided.
	whole bool
}

// piece is what a connection reads in one statement: some pages of a heap, or all of
// it.
type piece struct {
	table *snapshotTable
	heap  *heap
	// span is what of the heap.
	span
}

// span is a range of a heap's pages, from the first up to but not with the last; a
// last of -1 stands for its end, wherever that is.
type span struct{ from, to int64 }

// The pages of a piece, of 8 KiB each when the server has its usual size: enough for
// the statement around them to cost nothing, and so few that the connections finish
// together and the progress moves.
const (
	leastPages = 64
	mostPages  = 2048
)

// cut returns how many pages the pieces of a heap have, for at least so many shares
// of it. 0 stands for all: the heap is read in one piece.
func cut(h *heap, shares int) int64 {
	step := max(leastPages, min(mostPages, (h.pages+int64(shares)-1)/int64(max(1, shares))))
	if h.whole || h.pages <= step {
		return 0
	}
	return step
}

// pieces returns how many pieces there are of so many pages each.
func pieces(h *heap, step int64) int64 {
	if step == 0 {
		return 1
	}
	return (h.pages + step - 1) / step
}

// at returns the i-th piece of a heap. The last one is open: it costs nothing, and a
// table that was written anew since it was measured may have more pages.
func (h *heap) at(i, step int64) span {
	s := span{i * step, (i + 1) * step}
	if step == 0 || s.to >= h.pages {
		s.to = -1
	}
	return s
}

// condition selects the rows of a span by their places; the server reads no other
// pages (a TID range scan, PostgreSQL 14). It is empty for all rows.
func (s span) condition() string {
	switch {
	case s.from == 0 && s.to < 0:
		return ""
	case s.from == 0:
		return fmt.Sprintf("ctid < '(%d,0)'", s.to)
	case s.to < 0:
		return fmt.Sprintf("ctid >= '(%d,0)'", s.from)
	}
	return fmt.Sprintf("ctid >= '(%d,0)' AND ctid < '(%d,0)'", s.from, s.to)
}

// selectFrom is the part of a statement that reads a piece: not the rows of tables that
// inherit from a table, and of those that are published by a condition only these.
func (p *piece) selectFrom() string {
	sql := "FROM "
	if p.heap.kind == 'r' {
		sql += "ONLY "
	}
	sql += p.heap.name.quoted()
	place, where := p.condition(), p.table.filter
	switch {
	case place != "" && where != "":
		sql += " WHERE " + place + " AND " + where
	case place+where != "":
		sql += " WHERE " + place + where
	}
	return sql
}
