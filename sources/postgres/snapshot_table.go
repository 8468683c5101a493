package postgres

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/internal/failpoint"
)

// tableReader reads one piece of a table after another over one connection.
type tableReader struct {
	*snapshot
	db       *db
	side     *db // For types that become known while rows come; opened when needed.
	from     *rowReader
	compiler *compiler
	em       *emitter

	// What follows belongs to the table of the last piece, the heap to its heap.
	table *snapshotTable
	heap  *heap
	facts *tableFacts
	plan  *plan
	// block is the source block of the table's rows, which share it.
	block connect.Value
	at    *position // Of all rows.
	gone  bool      // The heap was not there yet.

	rows, bytes int64 // Since they were last counted.
	// taken is how many rows of the piece there are records for, skip how many of these
	// are to be passed over because they come again.
	taken, skip int64
}

func newTableReader(s *snapshot, d *db) *tableReader {
	r := &tableReader{snapshot: s, db: d, from: newRowReader(d), em: s.emitter()}
	r.em.pos.lsn = s.slot.begin
	at := r.em.pos
	r.at = &at
	r.compiler = newCompiler(s.set, newTypeTable(s.set.modes, nil), s.version)
	r.loadsFrom(d)
	return r
}

// loadsFrom says which connection tells about types.
func (r *tableReader) loadsFrom(d *db) {
	r.compiler.types.load = func(oid uint32) (*typeInfo, error) { return d.loadType(context.Background(), oid) }
}

func (r *tableReader) close(ctx context.Context) {
	r.db.close(ctx)
	r.side.close(ctx)
}

// readSurely reads a piece, and goes on over another connection when one is lost while
// the view is still there: the rows of a piece always come in the same order.
func (r *tableReader) readSurely(ctx context.Context, p *piece) error {
	const attempts = 5
	wait := backoff{first: 50 * time.Millisecond, most: time.Second}
	r.taken, r.skip = 0, 0
	err := r.read(ctx, p)
	for n := 1; err != nil && n < attempts && ctx.Err() == nil && r.repeatable(err, p); n++ {
		r.log.Warn("A connection of the snapshot was lost; what is left of its piece is read over another one.", "table", p.table.name.String(), "error", err)
		r.metrics.Add("snapshot_reconnects_total", 1)
		if !pause(ctx, wait.next()) {
			return ctx.Err()
		}
		r.drop(ctx)
		r.skip = r.taken
		err = r.read(ctx, p)
	}
	return err
}

// drop lets go of the connection; the next piece is read over another one.
func (r *tableReader) drop(ctx context.Context) {
	r.db.close(ctx)
	r.db, r.table = nil, nil
}

// repeatable tells whether what gave this error may be tried again with the same view
// and gives the same rows then.
func (r *tableReader) repeatable(err error, p *piece) bool {
	switch connect.AsError(err).Code {
	case codeAltered, "pg.snapshot.gone":
		return false
	}
	// Statements of one's own, and those with conditions, may be answered in any order.
	ordered := p.heap.kind == 'r' && p.table.filter == "" && r.set.selects[p.table.name.String()] == ""
	return isRetriable(err) && (ordered || r.taken == 0)
}

// read reads a piece and hands its rows over, all but the last, which may turn out to
// be the table's last.
func (r *tableReader) read(ctx context.Context, p *piece) error {
	p.table.begun.CompareAndSwap(0, time.Now().UnixMicro())
	err := r.readRows(ctx, p)
	if err != nil && r.postpones(p.table, err) {
		err = r.postpone(ctx, p.table, err)
	}
	if err != nil {
		return err
	}
	var tail *batch
	if len(r.em.batch.records) > 0 {
		if err := r.flush(ctx, p.table); err != nil {
			return err
		}
		tail = r.em.batch
		r.em.newBatch()
	}
	r.count(p.table)
	last, done, err := p.table.finished(tail, func(b *batch) error { return r.send(ctx, p.table, b) })
	if err != nil {
		return err
	}
	r.progress.piece(p, done)
	if !done {
		return nil
	}
	failpoint.At("source.snapshot.table")
	if last != nil && !p.table.postponed.Load() {
		mark(&last.records[0], "last_in_data_collection")
	}
	select {
	case r.tails <- tableTail{p.table, last}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// readRows makes records of the rows of a piece.
func (r *tableReader) readRows(ctx context.Context, p *piece) error {
	if p.table.postponed.Load() {
		return nil
	}
	if r.db == nil {
		d, err := r.join(ctx)
		if err != nil {
			return err
		}
		r.db, r.from, r.bytes = d, newRowReader(d), 0
	}
	if err := r.prepare(ctx, p); err != nil {
		return r.failed(err, p)
	}
	if r.gone {
		return nil
	}
	q := rowQuery{plan: r.plan, rest: p.selectFrom(), own: r.set.selects[p.table.name.String()]}
	if err := r.from.read(ctx, q, func(row tuple) error { return r.add(ctx, row) }); err != nil {
		return r.failed(err, p)
	}
	return nil
}

func (r *tableReader) failed(err error, p *piece) error {
	if name := p.table.name.String(); r.set.selects[name] != "" && strings.HasPrefix(sqlState(err), "42") {
		// The statement is the user's own: it is wrong, not the table.
		e := fatal("pg.snapshot.select", "the server refuses the statement that reads the table", err, "put it right: psql runs it as it is")
		e.Place = "snapshot.select.statement.overrides." + name
		return e
	}
	doing := "reading the table " + p.heap.name.String()
	if code := sqlState(err); code == "42P01" || code == "42703" {
		return altered(err, p.table.name.String())
	}
	return explain(err, doing)
}

// altered says that the shape of a table changed under the snapshot: where the table
// cannot be postponed, the next attempt looks anew.
func altered(cause error, place string) error {
	e := retriable(codeAltered, "a table was altered, emptied or dropped while the snapshot was taken", cause)
	e.Place = place
	e.Mend = "nothing, if that does not happen again; snapshot.locking.mode=shared holds such changes back during the snapshot"
	return e
}

// prepare makes the plan for a piece's rows and makes sure that its heap is still the
// one that the snapshot saw.
func (r *tableReader) prepare(ctx context.Context, p *piece) (err error) {
	if r.table != p.table {
		rel, facts, err := r.db.describe(ctx, p.table.oid)
		if err != nil {
			return err
		}
		p.table.narrow(rel)
		r.table, r.heap, r.facts = nil, nil, facts
		r.loadsFrom(r.db)
		if err := r.compile(rel); err != nil {
			return err
		}
		warnUnknown(r.log, r.em.warned, r.plan)
		r.table = p.table
	}
	if r.heap == p.heap {
		return nil
	}
	r.gone, err = r.hold(ctx, p)
	r.heap = p.heap
	return err
}

func (r *tableReader) compile(rel *relation) (err error) {
	if r.plan, err = r.compiler.compile(rel, r.facts); err != nil {
		return err
	}
	r.plan.source[sourceSnapshot] = connect.String("true")
	r.block = sourceBlock(&arena{}, r.em.source, r.plan.source, &r.em.stamp, r.slot.begin)
	r.block.Struct().Freeze()
	return nil
}

// hold keeps the shape of a heap as it is until the snapshot is read, by the lock that
// every statement takes, and checks that it is still the one of the snapshot: of a
// table that was emptied or written anew in another form since, the snapshot would see
// nothing. gone tells that a partition was made since and has nothing to read.
func (r *tableReader) hold(ctx context.Context, p *piece) (gone bool, err error) {
	if r.set.selects[p.table.name.String()] == "" {
		if err := r.sameColumns(ctx, p); err != nil {
			return false, err
		}
	}
	kept, err := r.db.row(ctx, `SELECT c.relfilenode = coalesce(pg_catalog.pg_relation_filenode(c.oid), 0)
		FROM pg_catalog.pg_class c WHERE c.oid = $1::oid`, strconv.FormatUint(uint64(p.heap.oid), 10))
	if err != nil {
		return false, err
	}
	if kept == nil {
		return true, nil
	}
	if !truth(kept[0]) {
		return false, altered(nil, p.heap.name.String())
	}
	return false, nil
}

// sameColumns has the server look at the statement, which takes the lock, and compares
// the types of its columns with those of the plan, which are the snapshot's.
func (r *tableReader) sameColumns(ctx context.Context, p *piece) error {
	columns := r.plan.wanted()
	described, err := r.db.Prepare(ctx, "", r.plan.selects(columns)+" "+p.selectFrom(), nil)
	if err != nil {
		return err
	}
	for i, f := range described.Fields {
		typ := r.plan.relation.columns[columns[i]].typ
		for {
			info, err := r.compiler.types.info(typ)
			if err != nil {
				return err
			}
			if info == nil || info.kind != 'd' {
				break
			}
			typ = info.base // The server describes domains as what they are made of.
		}
		if f.DataTypeOID != typ {
			return altered(nil, p.table.name.String())
		}
	}
	return nil
}

// add makes a record of the row and hands the batch over when it is full, but for
// its last record.
func (r *tableReader) add(ctx context.Context, row tuple) error {
	if r.skip > 0 {
		r.skip--
		return nil
	}
	err := r.record(row)
	for err != nil && r.compiler.adapts(r.plan, err) {
		if err := r.openSide(ctx); err != nil {
			return err
		}
		if err := r.compile(r.plan.relation); err != nil {
			return err
		}
		err = r.record(row)
	}
	if err != nil {
		return err
	}
	r.rows++
	r.taken++
	if b := r.em.batch; len(b.records) > r.set.batchRecords || b.bytes() > r.batchBytes() {
		r.em.hint = len(b.records) + 1
		return r.flush(ctx, r.table)
	}
	return nil
}

// batchBytes bounds a batch so that those of all connections and those that wait share
// the memory of max.queue.size.in.bytes.
func (s *snapshot) batchBytes() int {
	return s.set.batchBytes * (s.set.queueBatches + 2) / (s.set.queueBatches + 1 + s.set.snapshotThreads)
}

// record adds the record of a row. It does what emitter.insert does, for rows that
// have their source block and position in common.
func (r *tableReader) record(row tuple) error {
	e, p := r.em, r.plan
	after, err := e.row(p, row, nil)
	if err != nil {
		return err
	}
	key, err := e.key(p, row, nil, after)
	if err != nil {
		return err
	}
	if e.fill != nil {
		e.fill.note(e.fill.put(fillRow{plan: p, key: key, row: after}, r.at))
	}
	a := &e.batch.arena
	values := a.room(8)
	values[0], values[1], values[2], values[3], values[4] = connect.Value{}, after, r.block, connect.Value{}, opRead
	values[5], values[6], values[7] = connect.Int64(e.now/1000), connect.Int64(e.now), connect.Int64(e.now*1000)
	to := e.batch.next()
	to.Topic, to.Partition, to.Timestamp, to.Headers = p.topic, connect.AnyPartition, connect.NoTimestamp, e.context
	to.KeySchema, to.Key = nil, key
	if !key.IsNull() {
		to.KeySchema = p.key
	}
	to.ValueSchema, to.Value = p.envelope, a.structure(p.envelope, values)
	to.SourcePartition, to.SourceOffset, to.Boundary = e.partition, r.at, connect.BoundaryNone
	return nil
}

// openSide makes types be asked for over another connection, because rows are on their
// way on this one.
func (r *tableReader) openSide(ctx context.Context) (err error) {
	if r.side == nil {
		r.side, err = r.set.open(ctx, r.app)
	}
	r.loadsFrom(r.side)
	return err
}

// flush hands over all records but the last.
func (r *tableReader) flush(ctx context.Context, t *snapshotTable) error {
	b := r.em.batch
	n := len(b.records) - 1
	held := b.records[n:]
	b.records = b.records[:n]
	r.em.carry(held)
	r.em.hint = 1
	r.em.now = time.Now().UnixMicro()
	r.count(t)
	r.em.tell()
	if n == 0 {
		return nil
	}
	return r.send(ctx, t, b)
}

// count adds the rows of a table that were read to the figures.
func (r *tableReader) count(t *snapshotTable) {
	r.progress.add(t, r.rows, r.from.bytes-r.bytes)
	r.rows, r.bytes = 0, r.from.bytes
}
