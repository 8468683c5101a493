package postgres

import (
	"context"
	"log/slog"
	"time"

	"github.com/tidemill/tidemill/connect"
)

// View is the captured tables of a database at one moment of its log, read through the
// same table of types as a connector's events: what the connector's topics must come
// to. It holds one read-only transaction open until it is closed. It belongs to one
// goroutine.
type View struct {
	db       *db
	em       *emitter
	compiler *compiler
	lsn      uint64
	seen     pgSnapshot
	tables   []*snapshotTable
}

// ViewTable is one captured table.
type ViewTable struct {
	// Name is schema.table, Topic where the connector writes its events unless a
	// transform sends them elsewhere.
	Name, Topic string
	// Key is nil when rows have no key.
	Key, Row *connect.Schema
	// Unavailable are, for each field of Row, the values that stand for one that the log
	// does not hold.
	Unavailable []connect.Value
}

// OpenView opens a view with the configuration of a connector, whose references must
// have been resolved. Errors are those of the configuration, as [connect.Errors], and of
// the server.
func OpenView(ctx context.Context, config connect.Config) (*View, error) {
	set, err := newSettings(config)
	if err != nil {
		return nil, err
	}
	d, err := set.open(ctx, application(config["name"])+" (verification)")
	if err != nil {
		return nil, err
	}
	log := slog.New(slog.DiscardHandler)
	v := &View{
		db: d, compiler: newCompiler(set, newTypeTable(set.modes, func(oid uint32) (*typeInfo, error) { return d.loadType(ctx, oid) }), Version),
		em: &emitter{set: set, log: log, metrics: noMetrics{}, source: sourceSchema(), warned: map[string]bool{}, now: time.Now().UnixMicro()},
	}
	v.em.newBatch()
	if err := v.open(ctx, set); err != nil {
		v.Close(ctx)
		return nil, err
	}
	return v, nil
}

func (v *View) open(ctx context.Context, set *settings) error {
	const oldest = 130000
	srv, err := v.db.server(ctx)
	if err != nil {
		return err
	}
	if srv.version < oldest {
		return fatal("pg.version", "a view needs PostgreSQL 13 or later, which tells which transactions a snapshot sees", nil, "upgrade the server")
	}
	all, err := v.db.tables(ctx)
	if err != nil {
		return err
	}
	pub, err := v.db.publication(ctx, set.publication)
	if err != nil {
		return err
	}
	captured, _ := set.capture(all, pub)
	position := "pg_catalog.pg_current_wal_insert_lsn()"
	if srv.recovery {
		position = "pg_catalog.pg_last_wal_replay_lsn()"
	}
	if err := v.db.exec(ctx, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"); err != nil {
		return explain(err, "opening a view")
	}
	r, err := v.db.row(ctx, "SELECT pg_catalog.pg_current_snapshot()::text, "+position+"::text")
	if err != nil {
		return explain(err, "opening a view")
	}
	if v.seen, err = parseSnapshot(string(r[0])); err != nil {
		return err
	}
	v.seen.vague, v.lsn = srv.recovery, parseLSN(r[1])
	byOID := map[uint32]*snapshotTable{}
	for _, t := range captured {
		table := &snapshotTable{catalogTable: t}
		v.tables = append(v.tables, table)
		byOID[t.oid] = table
	}
	limits := &snapshot{set: set}
	return limits.published(ctx, v.db, byOID, srv.version)
}

// Position is where the view stands in the log, as PostgreSQL writes it.
func (v *View) Position() string { return lsnText(v.lsn) }

// Passed tells whether a stored offset of the connector lies behind everything that the
// view sees. The error is that of an offset that cannot be read.
func (v *View) Passed(offset []byte) (bool, error) {
	p, err := parsePosition(offset)
	return p != nil && p.snapshot != snapshotRunning && p.end >= v.lsn, err
}

// Settled tells whether a stored offset of a connector says that no snapshot is being
// taken or waits to be. The error is that of an offset that cannot be read.
func Settled(offset []byte) (bool, error) {
	p, err := parsePosition(offset)
	return p != nil && p.snapshot != snapshotRunning && !p.forced && !p.backlog.busy(), err
}

// Sees tells whether the view has what the transaction with this number, as source.txId
// of an event has it, did. The transaction must have committed.
func (v *View) Sees(xid int64) bool { return v.seen.sees(uint32(xid)) }

// Nudge makes the server of a connector's configuration write something to its log, so
// that the connector's position passes a view's also when nobody else writes. It does nothing on servers
// where that is not possible.
func Nudge(ctx context.Context, config connect.Config) error {
	set, err := newSettings(config)
	if err != nil {
		return err
	}
	d, err := set.open(ctx, application(config["name"])+" (verification)")
	if err != nil {
		return err
	}
	defer d.close(context.WithoutCancel(ctx))
	_, err = d.rows(ctx, "SELECT pg_catalog.pg_logical_emit_message(true, '"+markPrefix+"', '') WHERE NOT pg_catalog.pg_is_in_recovery()")
	return explain(err, "writing to the log")
}

// Tables returns the captured tables, in the order of their names.
func (v *View) Tables(ctx context.Context) ([]ViewTable, error) {
	list := make([]ViewTable, len(v.tables))
	for i, t := range v.tables {
		p, err := v.plan(ctx, t)
		if err != nil {
			return nil, err
		}
		list[i] = ViewTable{Name: t.name.String(), Topic: p.topic, Key: p.key, Row: p.row, Unavailable: make([]connect.Value, len(p.row.Fields()))}
		for _, c := range p.columns {
			if c.field >= 0 {
				list[i].Unavailable[c.field] = c.missing
			}
		}
	}
	return list, nil
}

func (v *View) plan(ctx context.Context, t *snapshotTable) (*plan, error) {
	rel, facts, err := v.db.describe(ctx, t.oid)
	if err != nil {
		return nil, err
	}
	t.narrow(rel)
	return v.compiler.compile(rel, facts)
}

// Rows calls each for every row of a table, by its place in Tables. Keys and rows are
// valid during the call only; a table without a key gives null keys.
func (v *View) Rows(ctx context.Context, table int, each func(key, row connect.Value) error) error {
	t := v.tables[table]
	p, err := v.plan(ctx, t)
	if err != nil {
		return err
	}
	whole := piece{table: t, heap: &heap{oid: t.oid, name: t.name, kind: t.kind, whole: true}, span: span{to: -1}}
	return newRowReader(v.db).read(ctx, rowQuery{plan: p, rest: whole.selectFrom()}, func(row tuple) error {
		v.em.batch.arena.reset()
		after, err := v.em.row(p, row, nil)
		if err != nil {
			return err
		}
		key, err := v.em.key(p, row, nil, after)
		if err != nil {
			return err
		}
		return each(key, after)
	})
}

// Close ends the view's transaction and connection. ctx bounds the goodbye.
func (v *View) Close(ctx context.Context) { v.db.close(context.WithoutCancel(ctx)) }
