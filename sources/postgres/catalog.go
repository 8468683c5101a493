package postgres

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
)

// catalogTable is a table as the catalogue has it now.
type catalogTable struct {
	oid      uint32
	name     tableName
	kind     byte // r table, p partitioned table.
	identity byte
	// partition is a part of a partitioned table, root the topmost one.
	partition  bool
	root       tableName
	publish    tableName // What stands in the publication: itself, or its root.
	estimate   int64     // Rows, by the statistics; -1 when not known.
	keyed      bool      // It has a primary key.
	selectable bool      // We may read it.
	policies   bool      // Row-level security hides rows from us.
	logged     bool
	owned      bool // Its owner's rights are ours.
}

const queryTables = `SELECT c.oid, n.nspname, c.relname, c.relkind, c.relreplident, c.relispartition,
	coalesce(rn.nspname, ''), coalesce(r.relname, ''), c.reltuples::bigint,
	EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND i.indisprimary),
	pg_catalog.has_table_privilege(c.oid, 'SELECT') OR pg_catalog.has_any_column_privilege(c.oid, 'SELECT'),
	pg_catalog.row_security_active(c.oid), c.relpersistence = 'p', pg_catalog.pg_has_role(c.relowner, 'USAGE')
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_class r ON c.relispartition AND r.oid = pg_catalog.pg_partition_root(c.oid)
LEFT JOIN pg_catalog.pg_namespace rn ON rn.oid = r.relnamespace
WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'
ORDER BY n.nspname, c.relname`

// tables returns all tables of the database.
func (d *db) tables(ctx context.Context) ([]catalogTable, error) {
	// The function row_security_active fails under row_security=off for tables whose
	// policies would hide rows, which is what is asked here.
	if err := d.exec(ctx, "SET row_security = on"); err != nil {
		return nil, explain(err, "reading the list of tables")
	}
	rows, err := d.rows(ctx, queryTables)
	if err != nil {
		return nil, explain(err, "reading the list of tables")
	}
	if err := d.exec(ctx, "SET row_security = off"); err != nil {
		return nil, explain(err, "reading the list of tables")
	}
	list := make([]catalogTable, len(rows))
	for i, r := range rows {
		list[i] = catalogTable{
			oid: uint32(number(r[0])), name: tableName{string(r[1]), string(r[2])}, kind: r[3][0], identity: r[4][0],
			partition: truth(r[5]), root: tableName{string(r[6]), string(r[7])}, estimate: number(r[8]),
			keyed: truth(r[9]), selectable: truth(r[10]), policies: truth(r[11]), logged: truth(r[12]), owned: truth(r[13]),
		}
	}
	return list, nil
}

// capture returns the tables to capture, and whether changes of partitions come
// under the name of their root. A partition is captured when its own name or that
// of its root is. The publication is nil when there is none yet.
func (s *settings) capture(all []catalogTable, pub *publicationInfo) (list []catalogTable, viaRoot bool) {
	viaRoot = s.routesToRoot(all, pub)
	for _, t := range all {
		own := s.filter.table(t.name.schema, t.name.name)
		byRoot := t.partition && s.filter.table(t.root.schema, t.root.name)
		switch {
		case !t.logged:
			continue
		case t.kind == 'p' && (!viaRoot || t.partition):
			continue
		case t.partition && viaRoot && byRoot:
			continue
		case byRoot:
			t.publish = t.root // So that partitions made later are published too.
			list = append(list, t)
		case own:
			t.publish = t.name
			list = append(list, t)
		}
	}
	return list, viaRoot
}

// routesToRoot tells under which names changes of partitions come: as is asked for
// where we make the publication or may change it, and as it does otherwise, since the
// snapshot must name rows as the log does.
func (s *settings) routesToRoot(all []catalogTable, pub *publicationInfo) bool {
	switch {
	case pub != nil && !(s.viaRootGiven && s.mayAlter(pub)):
		return pub.viaRoot
	case s.viaRootGiven:
		return s.viaRoot
	}
	return slices.ContainsFunc(all, func(t catalogTable) bool {
		return t.kind == 'p' && !t.partition && s.filter.table(t.name.schema, t.name.name)
	})
}

// From version 18 on a publication may have the stored generated columns; before, the
// log never has them.
const queryColumns = `SELECT a.attname, a.atttypid, a.atttypmod, a.attnotnull,
	CASE WHEN a.attgenerated = '' THEN coalesce(pg_catalog.pg_get_expr(d.adbin, d.adrelid), '') ELSE '' END,
	a.attgenerated <> '' AND NOT (a.attgenerated = 's' AND current_setting('server_version_num')::int >= 180000 AND EXISTS (
		SELECT FROM pg_catalog.pg_publication_tables t WHERE t.pubname = $2 AND pg_catalog.to_jsonb(t)->'attnames' ? a.attname::text
			AND pg_catalog.format('%I.%I', t.schemaname, t.tablename)::regclass IN (a.attrelid, pg_catalog.pg_partition_root(a.attrelid)))), a.attndims,
	coalesce(pg_catalog.col_description(a.attrelid, a.attnum), ''), a.attnum
FROM pg_catalog.pg_attribute a LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum`

const queryIndexes = `SELECT i.indisprimary, i.indisreplident,
	(SELECT pg_catalog.json_agg(a.attname ORDER BY k.place) FROM pg_catalog.unnest(i.indkey::int2[]) WITH ORDINALITY k(attnum, place)
		JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum WHERE k.place <= i.indnkeyatts),
	(SELECT pg_catalog.bool_and(a.attnotnull) FROM pg_catalog.unnest(i.indkey::int2[]) WITH ORDINALITY k(attnum, place)
		JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum WHERE k.place <= i.indnkeyatts)
FROM pg_catalog.pg_index i
WHERE i.indrelid = $1::oid AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
ORDER BY i.indexrelid`

// describe returns the facts about a table and, for a snapshot, the relation as the
// log would tell it now. Both are empty when the table is gone.
func (d *db) describe(ctx context.Context, oid uint32) (*relation, *tableFacts, error) {
	id := strconv.FormatUint(uint64(oid), 10)
	facts := &tableFacts{columns: map[string]columnFacts{}}
	rel := &relation{oid: oid}
	about, err := d.row(ctx, `SELECT n.nspname, c.relname, c.relreplident, coalesce(rn.nspname, ''), coalesce(r.relname, '')
		FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		LEFT JOIN pg_catalog.pg_class r ON c.relispartition AND r.oid = pg_catalog.pg_partition_root(c.oid)
		LEFT JOIN pg_catalog.pg_namespace rn ON rn.oid = r.relnamespace WHERE c.oid = $1::oid`, id)
	if err != nil || about == nil {
		return rel, facts, explain(err, "reading about a table")
	}
	rel.schema, rel.name, rel.identity = string(about[0]), string(about[1]), about[2][0]
	facts.root = tableName{string(about[3]), string(about[4])}
	columns, err := d.rows(ctx, queryColumns, id, d.published)
	if err != nil {
		return nil, nil, explain(err, "reading the columns of a table")
	}
	for _, c := range columns {
		if generated := truth(c[5]); generated {
			continue // The log does not have them.
		}
		facts.columns[string(c[0])] = columnFacts{notNull: truth(c[3]), expression: string(c[4]), dims: int(number(c[6])), comment: string(c[7]), number: uint16(number(c[8]))}
		rel.columns = append(rel.columns, relationColumn{name: string(c[0]), typ: uint32(number(c[1])), mod: int32(number(c[2]))})
	}
	indexes, err := d.rows(ctx, queryIndexes, id)
	if err != nil {
		return nil, nil, explain(err, "reading the keys of a table")
	}
	for _, ix := range indexes {
		var names []string
		if err := json.Unmarshal(ix[2], &names); err != nil {
			continue // An index over system columns only.
		}
		primary, identity, notNull := truth(ix[0]), truth(ix[1]), truth(ix[3])
		if primary {
			facts.primary = names
		} else if notNull && (facts.unique == nil || identity) {
			facts.unique = names
		}
		if primary && rel.identity == 'd' || identity && rel.identity == 'i' {
			for _, i := range rel.indexes(names) {
				rel.columns[i].key = true
			}
		}
	}
	if rel.identity == 'f' {
		for i := range rel.columns {
			rel.columns[i].key = true
		}
	}
	return rel, facts, nil
}

// server is what is asked of the server once for each connection.
type server struct {
	version  int // Such as 150004.
	walLevel string
	recovery bool
	wal      uint64 // The end of the log now.
	started  string // When, which tells one server from another.
	nextXID  uint32 // The number of the next transaction, without its epoch.
	lineage
}

func (d *db) server(ctx context.Context) (s server, err error) {
	r, err := d.row(ctx, `SELECT current_setting('server_version_num'), current_setting('wal_level'), pg_catalog.pg_is_in_recovery(),
		pg_catalog.txid_snapshot_xmax(pg_catalog.txid_current_snapshot()), pg_catalog.pg_postmaster_start_time(), (SELECT system_identifier FROM pg_catalog.pg_control_system())`)
	if err != nil {
		// The system's identifier may be hidden from us; the replication connection
		// tells it as well.
		r, err = d.row(ctx, `SELECT current_setting('server_version_num'), current_setting('wal_level'), pg_catalog.pg_is_in_recovery(),
			pg_catalog.txid_snapshot_xmax(pg_catalog.txid_current_snapshot()), pg_catalog.pg_postmaster_start_time(), ''`)
	}
	if err != nil {
		return s, explain(err, "asking the server about itself")
	}
	s.version, s.walLevel, s.recovery, s.nextXID, s.systemID = int(number(r[0])), string(r[1]), truth(r[2]), uint32(number(r[3])), string(r[5])
	s.started = string(r[4])
	return s, nil
}

// joinNames lists tables for messages, some of them when there are many.
func joinNames(names []string) string {
	const most = 8
	if len(names) > most {
		return strings.Join(names[:most], ", ") + " and " + strconv.Itoa(len(names)-most) + " more"
	}
	return strings.Join(names, ", ")
}
