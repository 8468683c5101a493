package postgres

import (
	"context"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/internal/failpoint"
)

// snapshot reads the captured tables as they were at one point of the log, over
// several connections that share the view exported with the slot. Large tables are
// read in pieces, by all connections at once (snapshot_pieces.go). Rows go through the
// same plans as those of the log, so that a value is the same whichever way it came.
type snapshot struct {
	set     *settings
	log     *slog.Logger
	metrics connect.Metrics
	out     chan<- *batch
	app     string
	slot    newSlot
	version string
	// emitter makes an emitter for one connection.
	emitter func() *emitter
	// keep waits until ctx is done, or the view cannot be given to another connection
	// any more.
	keep func(ctx context.Context) error

	// initial: without it the stream is nothing. after is the position behind the
	// snapshot, when another one was begun before.
	initial bool
	after   *position
	// notes are told how it goes on; request is the ID of the signal that asked for it.
	notes   *notifier
	request string

	tables   []*snapshotTable
	progress *tally
	first    sync.Once // The first record says that it is the first.
	// tails are the last records of tables: which one is the last of all is known
	// only when all tables are read.
	tails chan tableTail
}

// tableTail is the last record of a table, nil for an empty one.
type tableTail struct {
	table *snapshotTable
	batch *batch
}

// run reads the tables and hands all records over. The last one, or a mark when there
// are no rows, carries the position behind the snapshot.
func (s *snapshot) run(ctx context.Context) error {
	s.arrange()
	first, err := s.join(ctx)
	if err != nil {
		s.progress.end(err)
		return err
	}
	if err := s.tellStarted(ctx); err != nil {
		first.close(context.WithoutCancel(ctx))
		return err
	}
	s.tails = make(chan tableTail)
	todo := make(chan piece)
	whole, wctx := errgroup.WithContext(ctx)
	around, over := context.WithCancel(wctx)
	readers, rctx := errgroup.WithContext(wctx)
	readers.Go(func() error { return s.reader(rctx, first, todo) })
	for range s.connections() - 1 {
		readers.Go(func() error { return s.further(rctx, todo) })
	}
	readers.Go(func() error {
		defer close(todo)
		return s.deal(rctx, todo)
	})
	whole.Go(func() error {
		defer close(s.tails)
		return readers.Wait()
	})
	whole.Go(func() error {
		defer over()
		return s.finish(wctx)
	})
	whole.Go(func() error { return s.keep(around) })
	whole.Go(func() error { return s.progress.run(around) })
	err = whole.Wait()
	over()
	if s.progress.end(err); err != nil {
		s.tellFailed(ctx)
	}
	return err
}

// connections is how many read at once: for little, a single one is quicker than
// another connection, and tables come in order.
func (s *snapshot) connections() int {
	const little = 512 // Pages.
	most, work := int64(0), int64(0)
	for _, t := range s.tables {
		most += t.pieces
		work += t.pages
		if s.set.selects[t.name.String()] != "" {
			work += little // Who knows what the statement reads.
		}
	}
	return int(max(1, min(int64(s.set.snapshotThreads), most, 1+work/little)))
}

// arrange puts tables in the order of snapshot.tables.order.by.row.count.
func (s *snapshot) arrange() {
	bySize := func(a, b *snapshotTable) int { return int(min(1, max(-1, a.estimate-b.estimate))) }
	switch s.set.snapshotOrder {
	case "ascending":
		slices.SortStableFunc(s.tables, bySize)
	case "descending":
		slices.SortStableFunc(s.tables, func(a, b *snapshotTable) int { return bySize(b, a) })
	}
}

// deal gives out the pieces of all tables, one table after another, so that few
// tables are open at once.
func (s *snapshot) deal(ctx context.Context, todo chan<- piece) error {
	for _, t := range s.tables {
		if err := s.tellTable(ctx, t); err != nil {
			return err
		}
		for _, h := range t.heaps {
			step := cut(h, s.shares())
			for i := range pieces(h, step) {
				select {
				case todo <- piece{table: t, heap: h, span: h.at(i, step)}:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		}
	}
	return nil
}

// finish sends the last records of tables on, one behind: the one that is left when
// all tables are read is the last of the snapshot.
func (s *snapshot) finish(ctx context.Context) error {
	var last tableTail
	done := 0
	for tail := range s.tails {
		done++
		if err := s.tellRead(ctx, tail.table); err != nil {
			return err
		}
		if tail.batch == nil {
			continue // An empty table.
		}
		if last.batch != nil {
			if err := s.send(ctx, last.table, last.batch); err != nil {
				return err
			}
		}
		last = tail
	}
	if done < len(s.tables) {
		return nil // A reader failed and says why.
	}
	if err := s.count(ctx); err != nil {
		return err
	}
	failpoint.At("source.snapshot.last")
	e := s.emitter()
	e.pos.snapshot = snapshotDone
	if s.after != nil {
		s.after.backlog = s.owed(s.after.backlog)
		e.pos = *s.after
	} else {
		e.pos.backlog = s.owed(nil)
	}
	if err := e.fill.reached(&e.pos); err != nil {
		return err
	}
	told := s.notes != nil && !(s.initial && s.owes()) && s.notes.write(e, s.note("COMPLETED"))
	if last.batch == nil {
		if !told {
			e.mark()
		}
		return s.hand(ctx, e.batch)
	}
	mark(&last.batch.records[0], "last")
	last.batch.records[0].SourceOffset = last.batch.at(e.pos)
	last.batch.records = append(last.batch.records, e.batch.records...)
	return s.send(ctx, last.table, last.batch)
}

// sourceInEnvelope is where the source block stands in an envelope.
const sourceInEnvelope = 2

// marked returns the snapshot field of a record's source block.
func marked(r *connect.SourceRecord) string {
	return r.Value.Struct().At(sourceInEnvelope).Struct().At(sourceSnapshot).Str()
}

// mark sets the snapshot field of a record's source block, in a copy of the block,
// which it shares with other records. The record must not have been handed over yet.
func mark(r *connect.SourceRecord, word string) {
	block := r.Value.Struct().At(sourceInEnvelope).Struct()
	values := slices.Clone(block.Values())
	values[sourceSnapshot] = connect.String(word)
	r.Value.Struct().Set(sourceInEnvelope, connect.StructValue(block.Schema().StructOf(values)))
}

// send hands over records of a table. The first ones of the snapshot and of each
// table go before any others and say so; a table's only record is marked as its last.
func (s *snapshot) send(ctx context.Context, t *snapshotTable, b *batch) (err error) {
	b.records[len(b.records)-1].Boundary = connect.BoundaryCommit
	sent := false
	as := func(word string) func() {
		return func() {
			if sent {
				return
			}
			if r := &b.records[0]; !strings.HasPrefix(marked(r), "last") {
				mark(r, word)
			}
			sent, err = true, s.hand(ctx, b)
		}
	}
	t.first.Do(func() {
		s.first.Do(as("first"))
		as("first_in_data_collection")()
	})
	if !sent {
		err = s.hand(ctx, b)
	}
	return err
}

func (s *snapshot) hand(ctx context.Context, b *batch) error {
	failpoint.At("source.snapshot.hand")
	select {
	case s.out <- b:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// further is another reader. The snapshot does without it when the server has no room.
func (s *snapshot) further(ctx context.Context, todo <-chan piece) error {
	d, err := s.join(ctx)
	if err != nil && connect.AsError(err).Code == "pg.limit" {
		s.log.Warn("The server has no room for another connection; the snapshot is read over fewer.", "error", err)
		return nil
	}
	if err != nil {
		return err
	}
	return s.reader(ctx, d, todo)
}

// reader reads the pieces that todo gives it over a connection, which it closes.
func (s *snapshot) reader(ctx context.Context, d *db, todo <-chan piece) error {
	r := newTableReader(s, d)
	defer r.close(context.WithoutCancel(ctx))
	for p := range todo {
		if err := r.readSurely(ctx, &p); err != nil {
			return err
		}
	}
	return nil
}

// join opens a connection that sees what the snapshot sees.
func (s *snapshot) join(ctx context.Context) (*db, error) {
	d, err := s.set.open(ctx, s.app)
	if err != nil {
		return nil, err
	}
	// The order of rows must not depend on what other sessions read.
	begin := "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT " + quoteLiteral(s.slot.snapshot) + "; SET LOCAL synchronize_seqscans = off"
	if err := d.exec(ctx, begin); err != nil {
		d.close(ctx)
		return nil, retriable("pg.snapshot.gone", "the exported snapshot cannot be used", err)
	}
	return d, nil
}

// lock locks tables against changes of their shape on a connection, when
// snapshot.locking.mode asks for it. Reading and writing go on.
func (s *snapshot) lock(ctx context.Context, d *db, tables []catalogTable) error {
	const some = 100
	for list := range slices.Chunk(tables, some) {
		names := make([]string, len(list))
		for i, t := range list {
			names[i] = t.name.quoted()
		}
		sql := "SET LOCAL lock_timeout = " + strconv.FormatInt(s.set.snapshotLockTimeout.Milliseconds(), 10) + "; LOCK TABLE " + strings.Join(names, ", ") + " IN ACCESS SHARE MODE"
		if err := d.exec(ctx, sql); err != nil {
			if sqlState(err) == "42P01" {
				return altered(err, joinNames(names))
			}
			return explain(err, "locking the tables of the snapshot")
		}
	}
	return nil
}
