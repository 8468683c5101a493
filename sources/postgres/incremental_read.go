package postgres

import (
	"context"
	"log/slog"
	"strconv"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/internal/failpoint"
)

// What a chunk asks a reader to do.
const (
	chunkClear   = iota // Wait until nothing that was streamed before can be unseen.
	chunkResolve        // Find the tables of a request.
	chunkMeasure        // Find the key and the end of a table.
	chunkRows           // Read the next rows.
	chunkAgain          // Read rows once more, by their keys.
)

// chunk is a piece of work for a reader, and what came of it. It belongs to the
// reader from when it is given out until it comes back.
type chunk struct {
	kind   int
	mark   uint64
	table  tableBacklog // How far it was read when this was given out.
	limit  int64        // Rows, or pages.
	again  [][]string
	ask    snapshotRequest
	recent []uint32 // Streamed before the window began.
	from   int64    // The first change of the window.
	told   *relation

	found []tableBacklog // Of chunkResolve.
	shape *shape
	seen  pgSnapshot
	batch *batch
	keys  []string // Of the records of the batch.
	final bool     // There are no rows behind it.
	gone  bool     // There is no such table.
	stale bool     // The table has another shape than when it was measured.
	// renamed is the name that a stale table has now, as far as it is known.
	renamed tableName
	lsn     uint64 // Stands for the mark when none could be written.
	took    time.Duration
	err     error

	back, reached bool // It came back; the stream has reached its mark.
}

// shape is a table as a reader found it.
type shape struct {
	rel    *relation
	facts  *tableFacts
	plan   *plan
	block  connect.Value
	plain  bool   // Not what inherits from it.
	filter string // The publication's condition on rows.
}

// markPrefix is the prefix of the messages that mark places in the log. They are never
// sent on.
const markPrefix = "tidemill.mark"

// chunkReader reads chunks over a connection of its own.
type chunkReader struct {
	set     *settings
	log     *slog.Logger
	app     string
	server  server
	em      *emitter
	most    int // Bytes of a chunk.
	silent  bool
	content func(mark uint64) string

	db       *db
	rows     *rowReader
	compiler *compiler
	keyTypes *typeTable
	shapes   map[uint32]*shape
}

// run does what todo brings until ctx is done.
func (r *chunkReader) run(ctx context.Context, todo <-chan *chunk, back func(*chunk)) error {
	const rest = 10 * time.Second
	defer func() { r.db.close(context.WithoutCancel(ctx)) }()
	idle := time.NewTimer(rest)
	defer idle.Stop()
	for {
		select {
		case ch := <-todo:
			r.work(ctx, ch)
			if ctx.Err() == nil {
				back(ch)
			}
			idle.Reset(rest)
		case <-idle.C:
			r.db.close(ctx)
			r.db = nil
		case <-ctx.Done():
			return nil
		}
	}
}

// work does a chunk until it is done, or cannot be.
func (r *chunkReader) work(ctx context.Context, ch *chunk) {
	wait := backoff{first: 50 * time.Millisecond, most: 5 * time.Second}
	given := ch.table
	for attempts := 1; ctx.Err() == nil; attempts++ {
		began := time.Now()
		ch.table = given
		err := r.do(ctx, ch)
		if err == nil {
			ch.took = time.Since(began)
			return
		}
		// What state the connection is in is not worth finding out.
		r.db.close(context.WithoutCancel(ctx))
		r.db = nil
		if r.learns(ch, err) {
			continue
		}
		if code := sqlState(err); code == "42P01" || code == "42703" || code == "3F000" {
			ch.stale, ch.renamed = true, r.nameNow(ctx, ch.table.OID)
			return
		}
		ch.err = explain(err, "reading "+ch.table.table().String())
		if !isRetriable(ch.err) {
			return
		}
		if attempts == 3 {
			r.log.Warn("A table cannot be read at the moment; it is tried again.", "table", ch.table.table().String(), "error", ch.err)
		}
		ch.err = nil
		if !pause(ctx, wait.next()) {
			return
		}
	}
}

// nameNow returns the name of a table that is known by its number.
func (r *chunkReader) nameNow(ctx context.Context, oid uint32) (t tableName) {
	if oid == 0 || r.open(ctx) != nil {
		return t
	}
	rel, _, err := r.db.describe(ctx, oid)
	if err != nil {
		return t // It is looked for by its former name, then.
	}
	return rel.table()
}

// errLarge says that a chunk has too many bytes.
type errLarge struct{}

func (errLarge) Error() string { return "the chunk is too large" }

// learns tells whether the next attempt goes better because of what was learnt.
func (r *chunkReader) learns(ch *chunk, err error) bool {
	if _, large := err.(errLarge); large && ch.limit > 1 {
		ch.limit = max(1, ch.limit/8)
		return true
	}
	if sh := r.shapes[ch.table.OID]; sh != nil && sh.plan != nil && r.compiler.adapts(sh.plan, err) {
		delete(r.shapes, ch.table.OID)
		return true
	}
	return false
}

func (r *chunkReader) do(ctx context.Context, ch *chunk) error {
	if err := r.open(ctx); err != nil {
		return err
	}
	switch ch.kind {
	case chunkClear:
		return r.clear(ctx, ch)
	case chunkResolve:
		return r.resolve(ctx, ch)
	case chunkMeasure:
		return r.measure(ctx, ch)
	}
	if err := r.view(ctx, ch); err != nil {
		return err
	}
	if ch.gone {
		return r.db.exec(ctx, "COMMIT")
	}
	ch.stale = !r.fits(ch)
	if !ch.stale {
		if err := r.read(ctx, ch); err != nil {
			return err
		}
	}
	if err := r.db.exec(ctx, "COMMIT"); err != nil {
		return err
	}
	failpoint.At("source.incremental.read")
	return r.marks(ctx, ch)
}

func (r *chunkReader) open(ctx context.Context) error {
	if r.db != nil && !r.db.IsClosed() {
		return nil
	}
	d, err := r.set.open(ctx, r.app)
	if err != nil {
		return err
	}
	// A mark must be visible in the log, not on standbys.
	if err := d.exec(ctx, "SET synchronous_commit = local; SET standard_conforming_strings = on"); err != nil {
		d.close(ctx)
		return err
	}
	r.db, r.rows = d, newRowReader(d)
	if r.compiler == nil {
		r.compiler = newCompiler(r.set, newTypeTable(r.set.modes, nil), Version)
		r.keyTypes = newTypeTable(exactModes(), nil)
		r.shapes = map[uint32]*shape{}
	}
	load := func(oid uint32) (*typeInfo, error) { return d.loadType(context.WithoutCancel(ctx), oid) }
	r.compiler.types.load, r.keyTypes.load = load, load
	return nil
}

// view begins a transaction that sees everything that the stream has sent before the
// chunk was given out. The lock that every statement takes is taken before the view:
// a table that is written anew or emptied between the two would seem empty.
func (r *chunkReader) view(ctx context.Context, ch *chunk) error {
	wait := backoff{first: 5 * time.Millisecond, most: 500 * time.Millisecond}
	for began := time.Now(); ; {
		if err := r.db.exec(ctx, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL synchronize_seqscans = off"); err != nil {
			return err
		}
		if err := r.db.exec(ctx, "LOCK TABLE "+ch.table.table().quoted()+" IN ACCESS SHARE MODE"); err != nil {
			return err
		}
		var err error
		if ch.seen, err = r.snapshot(ctx); err != nil {
			return err
		}
		// A standby shows a transaction before its log can be read.
		xid, unseen := ch.seen.unseen(ch.recent)
		if !unseen || ch.seen.vague {
			return r.describe(ctx, ch)
		}
		if err := r.db.exec(ctx, "ROLLBACK"); err != nil {
			return err
		}
		if time.Since(began) > 5*time.Second {
			began = time.Now()
			r.log.Info("Reading a table waits for a transaction that has committed but is not visible yet, such as one that waits for a standby.", "table", ch.table.table().String(), "transaction", xid)
		}
		if !pause(ctx, wait.next()) {
			return ctx.Err()
		}
	}
}

// snapshot tells what the running transaction sees.
func (r *chunkReader) snapshot(ctx context.Context) (p pgSnapshot, err error) {
	const current = 130000
	sql := "SELECT pg_catalog.pg_current_snapshot()::text"
	if r.server.version < current {
		sql = "SELECT pg_catalog.txid_current_snapshot()::text"
	}
	row, err := r.db.row(ctx, sql)
	if err != nil {
		return p, err
	}
	p, err = parseSnapshot(string(row[0]))
	p.vague = r.server.recovery
	return p, err
}

// describe makes the plan for a chunk's rows, or takes the one there is.
func (r *chunkReader) describe(ctx context.Context, ch *chunk) error {
	rel, facts, err := r.db.describe(ctx, ch.table.OID)
	if err != nil {
		return err
	}
	if ch.stale = rel.table() != ch.table.table(); ch.stale {
		return nil // Dropped and made anew.
	}
	if f := r.set.filter; !f.table(rel.schema, rel.name) && (facts.root == tableName{} || !f.table(facts.root.schema, facts.root.name)) {
		ch.gone = true
		return nil
	}
	limits, err := r.limits(ctx, ch.table.OID)
	if err != nil {
		return err
	}
	limits.narrow(rel)
	if sh := r.shapes[ch.table.OID]; sh != nil && sh.filter == limits.filter && sameShape(sh.rel, rel) && sameFacts(sh.facts, facts) {
		ch.shape = sh
		return nil
	}
	kind, err := r.db.row(ctx, "SELECT relkind = 'r' FROM pg_catalog.pg_class WHERE oid = $1::oid", oidText(ch.table.OID))
	if err != nil || kind == nil {
		return err
	}
	sh := &shape{rel: rel, facts: facts, filter: limits.filter, plain: truth(kind[0])}
	if sh.plan, err = r.compiler.compile(rel, facts); err != nil {
		return err
	}
	warnUnknown(r.log, r.em.warned, sh.plan)
	r.shapes[ch.table.OID], ch.shape = sh, sh
	return nil
}

// limits returns the columns and rows that the publication has of a table.
func (r *chunkReader) limits(ctx context.Context, oid uint32) (*snapshotTable, error) {
	t := &snapshotTable{}
	err := (&snapshot{set: r.set}).published(ctx, r.db, map[uint32]*snapshotTable{oid: t}, r.server.version)
	return t, err
}

// fits tells whether the table still has the columns it was measured with, and lies
// where it lay.
func (r *chunkReader) fits(ch *chunk) bool {
	if ch.stale {
		return false
	}
	for _, names := range [][]string{ch.table.Key, ch.table.Match} {
		for _, name := range names {
			if ch.shape.rel.index(name) < 0 {
				return false
			}
		}
	}
	return len(ch.table.Key) == 0 || sameNames(matchOf(ch.shape.rel, ch.shape.facts, ch.table.Key), ch.table.Match)
}

// read reads the rows of a chunk into a batch.
func (r *chunkReader) read(ctx context.Context, ch *chunk) error {
	rest, err := r.where(ctx, ch)
	if err != nil || ch.stale {
		return err
	}
	sh := ch.shape
	keys, err := newRowKeys(sh.rel, ch.table.Match, r.keyTypes)
	if err != nil {
		return err
	}
	e := r.em
	e.now = time.Now().UnixMicro()
	e.newBatch()
	ch.keys = ch.keys[:0]
	block := append([]connect.Value(nil), sh.plan.source...)
	block[sourceSnapshot] = connect.String("incremental")
	block[sourceTsMs], block[sourceTsUs], block[sourceTsNs] = connect.Int64(e.now/1000), connect.Int64(e.now), connect.Int64(e.now*1000)
	sh.block = (&arena{}).structure(e.source, block)
	sh.block.Struct().Freeze()
	q := rowQuery{plan: sh.plan, own: r.columns(ch) + " " + rest}
	err = r.rows.read(ctx, q, func(t tuple) error {
		if e.batch.bytes() > 4*r.most && ch.limit > 1 {
			return errLarge{}
		}
		ch.keys = append(ch.keys, keys.of(t, nil))
		return e.read(sh, t)
	})
	ch.batch = e.batch
	return err
}

// columns begins the statement that reads rows: what rows have, and what they are
// matched by.
func (r *chunkReader) columns(ch *chunk) string {
	p := ch.shape.plan
	list := p.wanted()
	for _, name := range ch.table.Match {
		i := p.relation.index(name)
		if p.columns[i].field < 0 && !p.isKey(i) {
			list = append(list, i)
		}
	}
	return p.selects(list)
}

// read adds the record of a row that was read. It has no place in the log, so its
// source block says neither position nor transaction.
func (e *emitter) read(sh *shape, t tuple) error {
	p := sh.plan
	after, err := e.row(p, t, nil)
	if err != nil {
		return err
	}
	key, err := e.key(p, t, nil, after)
	if err != nil {
		return err
	}
	a := &e.batch.arena
	values := a.row(8)
	values[1], values[2], values[4] = after, sh.block, opRead
	values[5], values[6], values[7] = connect.Int64(e.now/1000), connect.Int64(e.now), connect.Int64(e.now*1000)
	e.append(connect.Record{Topic: p.topic, KeySchema: p.key, Key: key, ValueSchema: p.envelope, Value: a.structure(p.envelope, values)}, true)
	if key.IsNull() {
		e.batch.records[len(e.batch.records)-1].KeySchema = nil
	}
	return nil
}

// marks leaves a mark in the log behind everything that the chunk's view shows: a
// message, where one may be written and is sent, and otherwise the end of the log.
// Before PostgreSQL 17 a message outside a transaction is not flushed, so it would not
// come while nobody else writes.
func (r *chunkReader) marks(ctx context.Context, ch *chunk) error {
	const messages, flushed, xids = 140000, 170000, 130000
	sql := "SELECT pg_catalog.pg_last_wal_replay_lsn()::text"
	switch {
	case r.server.recovery:
	case r.server.version >= messages && !r.set.noMessages && !r.set.readOnly && !r.silent:
		arguments := "true, " + quoteLiteral(markPrefix) + ", " + quoteLiteral(r.content(ch.mark))
		if r.server.version >= flushed {
			arguments = "false" + arguments[len("true"):] + ", true"
		}
		err := r.db.exec(ctx, "SELECT pg_catalog.pg_logical_emit_message("+arguments+")")
		if code := sqlState(err); code != "42501" && code != "25006" {
			return err
		}
		r.silent = true
		r.log.Warn("Marks cannot be written into the log, so the end of the log is asked for instead, which is slower.", "error", err)
		return err
	case r.server.version >= xids:
		// The number makes a commit record, and with it the log be flushed.
		sql = "SELECT pg_catalog.pg_current_wal_insert_lsn()::text, pg_catalog.pg_current_xact_id()::text"
	default:
		sql = "SELECT pg_catalog.pg_current_wal_insert_lsn()::text, pg_catalog.txid_current()::text"
	}
	row, err := r.db.row(ctx, sql)
	if err != nil {
		return err
	}
	ch.lsn = max(1, parseLSN(row[0]))
	return nil
}

func oidText(oid uint32) string { return strconv.FormatUint(uint64(oid), 10) }
