package postgres

import (
	"context"
	"strconv"
	"strings"
)

// The notifications of a snapshot that is read in one go, which go with its records. The
// last of them goes with the last record and carries the position behind the snapshot.

// tell hands a notification over, if any are asked for; more are names and values.
func (s *snapshot) tell(ctx context.Context, kind string, more ...string) error {
	if s.notes == nil {
		return nil
	}
	e := s.emitter()
	if !s.notes.write(e, s.note(kind, more...)) {
		return nil
	}
	return s.hand(ctx, e.batch)
}

func (s *snapshot) note(kind string, more ...string) *note {
	return &note{kind, aggregateInitial, append([]string{"request_id", s.request}, more...)}
}

// tellStarted tells which tables are read.
func (s *snapshot) tellStarted(ctx context.Context) error {
	if s.notes == nil {
		return nil
	}
	names := make([]string, len(s.tables))
	for i, t := range s.tables {
		names[i] = t.name.String()
	}
	return s.tell(ctx, "STARTED", "data_collections", strings.Join(names, ", "))
}

// tellTable tells that a table is about to be read.
func (s *snapshot) tellTable(ctx context.Context, t *snapshotTable) error {
	return s.tell(ctx, "IN_PROGRESS", "data_collections", t.name.String(), "current_collection_in_progress", t.name.String())
}

// tellRead tells that a table was read, or is read later.
func (s *snapshot) tellRead(ctx context.Context, t *snapshotTable) error {
	status := "SUCCEEDED"
	if t.postponed.Load() {
		status = "SQL_EXCEPTION"
	}
	return s.tell(ctx, "TABLE_SCAN_COMPLETED", "data_collections", t.name.String(), "scanned_collection", t.name.String(),
		"total_rows_scanned", strconv.FormatInt(t.rows.Load(), 10), "status", status)
}

// tellFailed tells that an initial snapshot did not come to its end and begins anew, or is
// given up. One that a signal has asked for tells that itself.
func (s *snapshot) tellFailed(ctx context.Context) {
	if ctx.Err() == nil && s.after == nil {
		_ = s.tell(ctx, "ABORTED") // Only the end of ctx keeps it from being handed over.
	}
}
