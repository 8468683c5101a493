package postgres

import (
	"context"
	"time"

	"github.com/tidemill/tidemill/connect"
)

// tableReader reads one table after another.
type tableReader struct {
	*snapshot
	db       *db
	from     *rowReader
	compiler *compiler
	em       *emitter
	plan     *plan
	rows     int64
}

func (r *tableReader) read(ctx context.Context, t catalogTable) error {
	began := time.Now()
	rel, facts, err := r.db.describe(ctx, t.oid)
	if err != nil {
		return err
	}
	if r.plan, err = r.compiler.compile(rel, facts); err != nil {
		return err
	}
	r.plan.source[sourceSnapshot] = connect.String("true")
	warnUnknown(r.log, r.em.warned, r.plan)
	r.rows = 0
	if err := r.from.read(ctx, r.query(t), func(row tuple) error { return r.add(ctx, row, facts) }); err != nil {
		return r.failed(err, t)
	}
	var tail *batch
	if n := len(r.em.batch.records); n > 0 {
		if err := r.flush(ctx); err != nil {
			return err
		}
		tail = r.em.batch
		r.metrics.Add("snapshot_rows_total", 1)
		mark(&tail.records[0], "last_in_data_collection")
		r.em.newBatch()
	}
	r.log.Info("A table has been read.", "table", t.name.String(), "rows", r.rows, "took", time.Since(began).Round(time.Millisecond))
	select {
	case r.tails <- tail:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *tableReader) failed(err error, t catalogTable) error {
	doing := "reading the table " + t.name.String()
	if code := sqlState(err); code == "42P01" || code == "42703" {
		// It was dropped or altered meanwhile: the next attempt looks anew.
		return retriable("pg.snapshot.altered", "a table changed its shape, "+doing, err)
	}
	return explain(err, doing)
}

// query says how to read a table's rows: the columns that are needed, and not the rows
// of tables that inherit from it.
func (r *tableReader) query(t catalogTable) rowQuery {
	rest := "FROM "
	if t.kind == 'r' {
		rest += "ONLY "
	}
	return rowQuery{plan: r.plan, rest: rest + t.name.quoted(), own: r.set.selects[t.name.String()]}
}

// add makes a record of the row and hands the batch over when it is full, but for
// its last record, which may turn out to be the table's last.
func (r *tableReader) add(ctx context.Context, row tuple, facts *tableFacts) error {
	r.em.pos.lsn = r.slot.begin
	err := r.em.insert(r.plan, opRead, row)
	for r.compiler.adapts(r.plan, err) {
		if r.plan, err = r.compiler.compile(r.plan.relation, facts); err != nil {
			return err
		}
		r.plan.source[sourceSnapshot] = connect.String("true")
		err = r.em.insert(r.plan, opRead, row)
	}
	if err != nil {
		return err
	}
	if r.rows++; r.rows == 1 {
		mark(&r.em.batch.records[len(r.em.batch.records)-1], "first_in_data_collection")
	}
	if b := r.em.batch; len(b.records) > r.set.batchRecords || b.bytes() > r.set.batchBytes {
		return r.flush(ctx)
	}
	return nil
}

// flush hands over all records but the last.
func (r *tableReader) flush(ctx context.Context) error {
	b := r.em.batch
	n := len(b.records) - 1
	held := b.records[n]
	b.records = b.records[:n:n]
	r.em.hint = min(n+2, r.set.batchRecords+1)
	r.em.newBatch()
	r.em.batch.records = append(r.em.batch.records, held)
	r.em.now = time.Now().UnixMicro()
	r.metrics.Add("snapshot_rows_total", int64(n))
	if n == 0 {
		return nil
	}
	return r.send(ctx, b)
}
