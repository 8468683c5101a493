package postgres

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

// snapshotTable is a table that a snapshot reads.
type snapshotTable struct {
	catalogTable
	heaps []*heap
	// undivided tells that it is read by one statement of its own name.
	undivided bool
	columns   []string // Those that the publication has; nil: all.
	filter    string   // The publication's condition on rows; empty: all.
	pieces    int64
	pages     int64

	rows, bytes           atomic.Int64
	piecesDone, pagesDone atomic.Int64
	begun                 atomic.Int64 // When it was first read from, in microseconds since the epoch.
	took                  atomic.Int64 // In microseconds, once it is done.

	// postponed tells that it is read when the snapshot is over (snapshot_postpone.go).
	// Then renamed is the name that it has now.
	postponed atomic.Bool
	renamed   tableName

	// first makes sure that the table's first record is on its way before any other.
	first sync.Once
	mu    sync.Mutex // Guards the following.
	// left is how many pieces are not read yet; held is the last record of one that is,
	// kept because it may turn out to be the table's last.
	left int64
	held *batch
}

// queryHeaps names what lies on disk of the tables, with its size and whether it may
// be read by itself: partitions may have other grants and policies than their root.
const queryHeaps = `SELECT r.oid, c.oid, n.nspname, c.relname, c.relkind,
	CASE WHEN c.relkind = 'r' THEN coalesce(pg_catalog.pg_relation_size(c.oid), 0) / current_setting('block_size')::bigint ELSE 0 END,
	c.reltuples::bigint, c.relpages, pg_catalog.has_table_privilege(c.oid, 'SELECT') AND pg_catalog.has_schema_privilege(n.oid, 'USAGE'),
	c.relrowsecurity AND NOT (SELECT u.rolsuper OR u.rolbypassrls FROM pg_catalog.pg_roles u WHERE u.rolname = current_user)
FROM pg_catalog.unnest($1::oid[]) AS r(oid) LEFT JOIN LATERAL pg_catalog.pg_partition_tree(r.oid) p ON p.isleaf
JOIN pg_catalog.pg_class c ON c.oid = CASE WHEN (SELECT relkind FROM pg_catalog.pg_class WHERE oid = r.oid) = 'p' THEN coalesce(p.relid::oid, r.oid) ELSE r.oid END
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
ORDER BY r.oid, n.nspname, c.relname`

// measure finds out how the tables lie on disk and divides them.
func (s *snapshot) measure(ctx context.Context, d *db, tables []catalogTable, version int) ([]*snapshotTable, error) {
	list := make([]*snapshotTable, len(tables))
	oids := make([]string, len(tables))
	byOID := make(map[uint32]*snapshotTable, len(tables))
	for i, t := range tables {
		list[i] = &snapshotTable{catalogTable: t, undivided: s.set.selects[t.name.String()] != ""}
		byOID[t.oid] = list[i]
		oids[i] = strconv.FormatUint(uint64(t.oid), 10)
	}
	rows, err := d.rows(ctx, queryHeaps, "{"+strings.Join(oids, ",")+"}")
	if err != nil {
		return nil, explain(err, "measuring the tables")
	}
	const divisible = 140000 // From this version on the server reads ranges of pages.
	for _, r := range rows {
		t := byOID[uint32(number(r[0]))]
		h := &heap{oid: uint32(number(r[1])), name: tableName{string(r[2]), string(r[3])}, kind: r[4][0], pages: number(r[5])}
		if tuples, pages := number(r[6]), number(r[7]); tuples > 0 && pages > 0 {
			h.rows = int64(float64(tuples) / float64(pages) * float64(max(h.pages, 1)))
		}
		// A place cannot be asked for with rights on columns alone.
		mayRead, policies := truth(r[8]), truth(r[9])
		h.whole = version < divisible || h.kind != 'r' || !mayRead || s.set.snapshotWhole
		t.undivided = t.undivided || h.oid != t.oid && (!mayRead || policies) // Then only the root may be read.
		t.heaps = append(t.heaps, h)
	}
	for _, t := range list {
		t.divide(s.shares())
	}
	return list, s.published(ctx, d, byOID, version)
}

// divide settles how many pieces a table has.
func (t *snapshotTable) divide(shares int) {
	t.estimate = 0
	for _, h := range t.heaps {
		t.pages += h.pages
		t.estimate += h.rows
	}
	if t.undivided || len(t.heaps) == 0 {
		// A table that is gone is read as well, which tells so.
		t.heaps = []*heap{{oid: t.oid, name: t.name, kind: t.kind, pages: t.pages, rows: t.estimate, whole: true}}
	}
	for _, h := range t.heaps {
		t.pieces += pieces(h, cut(h, shares))
	}
	t.left = t.pieces
}

// shares is in how many pieces a large table is divided at least.
func (s *snapshot) shares() int { return s.set.snapshotThreads * s.set.snapshotShares }

const queryPublished = `SELECT pr.prrelid, coalesce((SELECT pg_catalog.json_agg(a.attname) FROM pg_catalog.pg_attribute a
		WHERE a.attrelid = pr.prrelid AND a.attnum = ANY (pr.prattrs)), '[]'), coalesce(pg_catalog.pg_get_expr(pr.prqual, pr.prrelid), '')
	FROM pg_catalog.pg_publication_rel pr JOIN pg_catalog.pg_publication p ON p.oid = pr.prpubid
	WHERE p.pubname = $1 AND (pr.prattrs IS NOT NULL OR pr.prqual IS NOT NULL)`

// published takes in to which columns and rows of the tables the publication is
// limited, so that the snapshot has the same as the log (PostgreSQL 15).
func (s *snapshot) published(ctx context.Context, d *db, tables map[uint32]*snapshotTable, version int) error {
	const limits = 150000
	if version < limits {
		return nil
	}
	rows, err := d.rows(ctx, queryPublished, s.set.publication)
	if err != nil {
		return explain(err, "reading about the publication")
	}
	for _, r := range rows {
		t := tables[uint32(number(r[0]))]
		if t == nil {
			continue
		}
		if t.filter = string(r[2]); t.filter != "" {
			t.filter = "(" + t.filter + ")"
		}
		if err := json.Unmarshal(r[1], &t.columns); err != nil {
			return explain(err, "reading about the publication")
		}
	}
	return nil
}

// narrow leaves the columns of a relation that are published.
func (t *snapshotTable) narrow(rel *relation) {
	if len(t.columns) > 0 {
		rel.columns = slices.DeleteFunc(rel.columns, func(c relationColumn) bool { return !slices.Contains(t.columns, c.name) })
	}
}

// finished notes that a piece of the table was read, and its last record, nil when it
// had none. When it was the last piece, done is true and last the table's last record.
// All other records must have been handed over before.
func (t *snapshotTable) finished(tail *batch, send func(*batch) error) (last *batch, done bool, err error) {
	t.mu.Lock()
	if t.held == nil {
		t.held, tail = tail, nil
	}
	t.mu.Unlock()
	if tail != nil {
		if err := send(tail); err != nil {
			return nil, false, err
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.left--; t.left > 0 {
		return nil, false, nil
	}
	last, t.held = t.held, nil
	return last, true, nil
}
