package postgres

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/tidemill/tidemill/connect"
)

// snapshot reads the captured tables as they were at one point of the log, over
// several connections that share the view exported with the slot. Rows come in the
// text form of the log and go through the same plans, so that a value is the same
// whichever way it came.
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

	first sync.Once // The first record says that it is the first.
	// tails are the last records of tables: which one is the last of all is known
	// only when all tables are read.
	tails chan *batch
}

// run reads tables and hands all records over. The last one, or a mark when there
// are no rows, carries the position behind the snapshot.
func (s *snapshot) run(ctx context.Context, tables []catalogTable) error {
	s.arrange(tables)
	var estimate int64
	for _, t := range tables {
		estimate += max(0, t.estimate)
	}
	s.metrics.Set("snapshot_running", 1)
	defer s.metrics.Set("snapshot_running", 0)
	s.metrics.Set("snapshot_tables", float64(len(tables)))
	s.metrics.Set("snapshot_tables_remaining", float64(len(tables)))
	s.metrics.Set("snapshot_rows_estimated", float64(estimate))
	s.tails = make(chan *batch)
	todo := make(chan catalogTable)
	readers, rctx := errgroup.WithContext(ctx)
	for range max(1, min(s.set.snapshotThreads, len(tables))) {
		readers.Go(func() error { return s.reader(rctx, todo) })
	}
	readers.Go(func() error {
		defer close(todo)
		for _, t := range tables {
			select {
			case todo <- t:
			case <-rctx.Done():
				return rctx.Err()
			}
		}
		return nil
	})
	whole, wctx := errgroup.WithContext(ctx)
	whole.Go(func() error {
		defer close(s.tails)
		return readers.Wait()
	})
	whole.Go(func() error { return s.finish(wctx, len(tables)) })
	return whole.Wait()
}

// arrange puts tables in the order of snapshot.tables.order.by.row.count.
func (s *snapshot) arrange(tables []catalogTable) {
	switch s.set.snapshotOrder {
	case "ascending":
		slices.SortStableFunc(tables, func(a, b catalogTable) int { return int(min(1, max(-1, a.estimate-b.estimate))) })
	case "descending":
		slices.SortStableFunc(tables, func(a, b catalogTable) int { return int(min(1, max(-1, b.estimate-a.estimate))) })
	}
}

// finish sends the last records of tables on, one behind: the one that is left when
// all tables are read is the last of the snapshot.
func (s *snapshot) finish(ctx context.Context, tables int) error {
	var last *batch
	done := 0
	for tail := range s.tails {
		done++
		s.metrics.Set("snapshot_tables_remaining", float64(tables-done))
		if tail == nil {
			continue // An empty table.
		}
		if last != nil {
			if err := s.send(ctx, last); err != nil {
				return err
			}
		}
		last = tail
	}
	if done < tables {
		return nil // A reader failed and says why.
	}
	e := s.emitter()
	e.pos.snapshot = snapshotDone
	if last == nil {
		e.mark()
		return s.send(ctx, e.batch)
	}
	mark(&last.records[0], "last")
	last.records[0].SourceOffset = last.at(e.pos)
	return s.send(ctx, last)
}

// sourceInEnvelope is where the source block stands in an envelope.
const sourceInEnvelope = 2

// marked returns the snapshot field of a record's source block.
func marked(r *connect.SourceRecord) string {
	return r.Value.Struct().At(sourceInEnvelope).Struct().At(sourceSnapshot).Str()
}

// mark sets the snapshot field of a record's source block. The record must not have
// been handed over yet.
func mark(r *connect.SourceRecord, word string) {
	r.Value.Struct().At(sourceInEnvelope).Struct().Set(sourceSnapshot, connect.String(word))
}

func (s *snapshot) send(ctx context.Context, b *batch) (err error) {
	b.records[len(b.records)-1].Boundary = connect.BoundaryCommit
	hand := func() {
		select {
		case s.out <- b:
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	alone := true
	s.first.Do(func() {
		alone = false
		if r := &b.records[0]; r.Topic != "" && !strings.HasPrefix(marked(r), "last") {
			mark(r, "first")
		}
		hand()
	})
	if alone {
		hand()
	}
	return err
}

// reader is one connection: it reads the tables that todo gives it.
func (s *snapshot) reader(ctx context.Context, todo <-chan catalogTable) error {
	d, err := s.set.open(ctx, s.app)
	if err != nil {
		return err
	}
	defer d.close(context.WithoutCancel(ctx))
	begin := "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT " + quoteLiteral(s.slot.snapshot)
	if err := d.exec(ctx, begin); err != nil {
		return retriable("pg.snapshot.gone", "the exported snapshot cannot be used", err)
	}
	types := newTypeTable(s.set.modes, func(oid uint32) (*typeInfo, error) { return d.loadType(ctx, oid) })
	c := newCompiler(s.set, types, s.version)
	r := &tableReader{snapshot: s, db: d, from: newRowReader(d), compiler: c, em: s.emitter()}
	for t := range todo {
		if err := r.read(ctx, t); err != nil {
			return err
		}
	}
	return nil
}
