package postgres

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/internal/failpoint"
)

// maxStatement is about how many bytes of values one statement takes. The server
// takes a gigabyte in one message; a row may have most of it.
const maxStatement = 16 << 20

// writer brings changes into the database, all of a batch or none.
type writer struct {
	session   *session
	positions *positions
	settle    func(context.Context, []refused) error // Reports before positions move.
	limit     int                                    // Rows in one statement.
	bytes     int                                    // Bytes in one statement.
	buf       []byte
}

// refused is a record that the server did not take, and why.
type refused struct {
	record *connect.SinkRecord
	cause  error
}

// write writes the changes in one transaction and one round trip. With positions to
// keep, one more comes first, in which the transaction makes sure of them.
func (w *writer) write(ctx context.Context, changes []change, moves []move) error {
	f := w.filler()
	f.plain("BEGIN")
	if len(moves) > 0 {
		if err := w.begin(ctx, moves); err != nil {
			return errors.Join(err, w.session.rollback(ctx))
		}
		f = w.filler()
	}
	for _, g := range collapse(changes) {
		f.group(g)
	}
	f.plain("COMMIT")
	failpoint.At("sink.write")
	if err := w.send(ctx, f); err != nil {
		return keepFirst(err, w.session.rollback(ctx))
	}
	failpoint.At("sink.written")
	return nil
}

func (w *writer) filler() *filler {
	return &filler{batch: &pgconn.Batch{}, limit: w.limit, bytes: w.bytes, buf: w.buf}
}

// begin starts a transaction and moves the positions in it.
func (w *writer) begin(ctx context.Context, moves []move) error {
	if err := explain(w.session.simple(ctx, "BEGIN"), ""); err != nil || len(moves) == 0 {
		return err
	}
	return w.positions.advance(ctx, moves)
}

// send runs a batch of statements and returns the first error with its table.
func (w *writer) send(ctx context.Context, f *filler) error {
	results := w.session.conn.ExecBatch(ctx, f.batch)
	done := 0
	for results.NextResult() {
		if _, err := results.ResultReader().Close(); err == nil {
			done++
		}
	}
	if w.buf = f.buf; cap(w.buf) > 2*maxStatement {
		w.buf = nil // One huge row must not be held for ever.
	}
	if err := results.Close(); err != nil {
		return explain(err, f.names[min(done, len(f.names)-1)])
	}
	return nil
}

// keepFirst returns err, with what a failed rollback adds only when err would pass
// for one after which the connection is in order.
func keepFirst(err, rollback error) error {
	if rollback != nil && connect.AsError(err).Class == connect.ClassRecord {
		return explain(rollback, "")
	}
	return err
}

// sift writes what can be written of changes of which some are refused, and returns
// those that are not settled, which they are where positions move. With tolerant unset the first refused one ends it, and nothing is written.
func (w *writer) sift(ctx context.Context, changes []change, moves []move, tolerant bool) ([]refused, error) {
	if err := w.begin(ctx, moves); err != nil {
		return nil, keepFirst(err, w.session.rollback(ctx))
	}
	s := sifter{writer: w, tolerant: tolerant}
	err := s.halve(ctx, changes)
	if err == nil && len(moves) > 0 {
		err, s.refused = w.settle(ctx, s.refused), nil
	}
	if err == nil {
		err = explain(w.session.simple(ctx, "COMMIT"), "")
	}
	if err != nil {
		return nil, keepFirst(err, w.session.rollback(ctx))
	}
	return s.refused, nil
}

// sifter finds the changes that are refused by halving.
type sifter struct {
	writer   *writer
	tolerant bool
	refused  []refused
}

// halve writes the changes within a savepoint and, when that fails because of a
// row, each half by itself. Halves are written in order, so that one key's changes
// keep theirs.
func (s *sifter) halve(ctx context.Context, changes []change) error {
	if len(changes) == 0 {
		return nil
	}
	f := s.writer.filler()
	f.plain("SAVEPOINT part")
	for _, g := range collapse(changes) {
		f.group(g)
	}
	// Constraints that wait for the commit would speak too late.
	f.plain("SET CONSTRAINTS ALL IMMEDIATE")
	f.plain("RELEASE SAVEPOINT part")
	err := s.writer.send(ctx, f)
	if err == nil || connect.AsError(err).Class != connect.ClassRecord {
		return err
	}
	if len(changes) == 1 && !s.tolerant {
		return atRecord(err, changes[0].record)
	}
	if back := s.writer.session.back(ctx); back != nil {
		return back
	}
	if len(changes) == 1 {
		s.refused = append(s.refused, refused{changes[0].record, atRecord(err, changes[0].record)})
		return nil
	}
	half := len(changes) / 2
	if err := s.halve(ctx, changes[:half]); err != nil {
		return err
	}
	return s.halve(ctx, changes[half:])
}

// back returns to the savepoint and gives it up.
func (s *session) back(ctx context.Context) error {
	_, err := s.conn.Exec(ctx, "ROLLBACK TO SAVEPOINT part; RELEASE SAVEPOINT part").ReadAll()
	return explain(err, "")
}

// atRecord adds to an error about a record where the record was read.
func atRecord(err error, r *connect.SinkRecord) error {
	e := *connect.AsError(err)
	at := r.OriginalTopic + "-" + strconv.Itoa(int(r.OriginalPartition)) + "@" + strconv.FormatInt(r.Offset, 10)
	if e.Place != "" {
		at = fmt.Sprintf("%s (record %s)", e.Place, at)
	}
	e.Place = at
	return &e
}
