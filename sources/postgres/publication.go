package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// publicationInfo is what the server says of a publication.
type publicationInfo struct {
	oid                uint32
	allTables, viaRoot bool
	owned              bool // The user may change it.
	ours               bool // A connector of ours made it.
	standby            bool // The server is one, where nothing can be changed.
	operations         []string
	tables             map[tableName]bool
}

// madeByUs begins the comment on publications that a connector makes.
const madeByUs = "Made by Tidemill"

// publication returns a publication, nil when there is none.
func (d *db) publication(ctx context.Context, name string) (*publicationInfo, error) {
	r, err := d.row(ctx, `SELECT puballtables, coalesce((pg_catalog.to_jsonb(p)->>'pubviaroot')::boolean, false),
		pg_catalog.pg_has_role(p.pubowner, 'USAGE'), coalesce(pg_catalog.obj_description(p.oid, 'pg_publication'), '') LIKE $2 || '%',
		pubinsert, pubupdate, pubdelete, pubtruncate, p.oid, pg_catalog.pg_is_in_recovery()
		FROM pg_catalog.pg_publication p WHERE pubname = $1`, name, madeByUs)
	if err != nil || r == nil {
		return nil, explain(err, "reading about the publication")
	}
	info := &publicationInfo{oid: uint32(number(r[8])), allTables: truth(r[0]), viaRoot: truth(r[1]), owned: truth(r[2]), ours: truth(r[3]), tables: map[tableName]bool{}}
	info.standby = truth(r[9])
	for i, op := range publicationOperations() {
		if truth(r[4+i]) {
			info.operations = append(info.operations, op)
		}
	}
	// A partitioned table that was added is shown as its partitions, unless changes come
	// under its own name.
	rows, err := d.rows(ctx, `SELECT schemaname, tablename FROM pg_catalog.pg_publication_tables WHERE pubname = $1
		UNION SELECT n.nspname, c.relname FROM pg_catalog.pg_publication_rel r JOIN pg_catalog.pg_publication p ON p.oid = r.prpubid
		JOIN pg_catalog.pg_class c ON c.oid = r.prrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE p.pubname = $1`, name)
	if err != nil {
		return nil, explain(err, "reading the tables of the publication")
	}
	for _, t := range rows {
		info.tables[tableName{string(t[0]), string(t[1])}] = true
	}
	return info, nil
}

// lacks returns the captured tables that a publication does not have. It lists the
// partitions of a partitioned table, or the root when it publishes through it.
func (p *publicationInfo) lacks(tables []catalogTable) []catalogTable {
	if p.allTables {
		return nil
	}
	var list []catalogTable
	for _, t := range tables {
		if !p.tables[t.name] && !p.tables[t.root] {
			list = append(list, t)
		}
	}
	return list
}

// publicationMissing is the error for a publication that is not there and may not
// be made.
func publicationMissing(name string, tables []catalogTable) error {
	e := fatal("pg.publication.missing", "the publication does not exist, and publication.autocreate.mode=disabled forbids to create it", nil,
		"CREATE PUBLICATION "+quoteIdent(name)+" FOR TABLE "+tableList(tables))
	e.Place = name
	return e
}

func tableList(tables []catalogTable) string {
	var names []string
	for _, t := range tables {
		if name := t.publish.quoted(); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}

// addTables returns the statement that adds tables to the publication.
func (s *settings) addTables(tables []catalogTable) string {
	return "ALTER PUBLICATION " + quoteIdent(s.publication) + " ADD TABLE " + tableList(tables)
}

// ensured is what was done to a publication.
type ensured struct {
	created bool
	added   []catalogTable
}

// ensurePublication makes the publication ready for the captured tables. An existing one is only added to: tables that are no
// longer captured stay, and their changes are passed over. It comes before the slot,
// because the log is decoded with the catalogue as it was.
func (s *settings) ensurePublication(ctx context.Context, d *db, tables []catalogTable, viaRoot bool) (done ensured, err error) {
	info, err := d.publication(ctx, s.publication)
	if err != nil {
		return done, err
	}
	if info == nil {
		if s.publicationMode == "disabled" {
			return done, publicationMissing(s.publication, tables)
		}
		sql := s.createPublication(tables, viaRoot)
		if err := d.exec(ctx, sql); err != nil {
			if code := sqlState(err); code != "42710" && code != "23505" { // Somebody else was quicker.
				return done, publicationRefused(err, sql)
			}
			return done, nil
		}
		// The comment tells later that its options may follow the settings.
		comment := "COMMENT ON PUBLICATION " + quoteIdent(s.publication) + " IS " + quoteLiteral(madeByUs+" for "+s.prefix+"; its tables and options follow the connector's settings.")
		return ensured{created: true}, explain(d.exec(ctx, comment), "preparing the publication")
	}
	if err := s.alterOptions(ctx, d, info, viaRoot); err != nil || s.publicationMode != "filtered" {
		return done, err
	}
	if lacks := info.lacks(tables); len(lacks) > 0 {
		sql := s.addTables(lacks)
		if err := d.exec(ctx, sql); err != nil {
			return done, publicationRefused(err, sql)
		}
		done.added = lacks
	}
	return done, nil
}

func publicationRefused(err error, sql string) error {
	if sqlState(err) == "25006" {
		return fatal("pg.publication.standby", "the server is a standby, where the publication cannot be created or changed", err, "run on the primary: "+sql)
	}
	if sqlState(err) != "42501" {
		return explain(err, "preparing the publication")
	}
	return fatal("pg.publication.permission", "the user may not create or change the publication", err,
		"let the owner of the tables run: "+sql+"; or grant the rights: GRANT CREATE ON DATABASE … and ownership of the tables; then publication.autocreate.mode=disabled is possible")
}

// mayAlter tells whether an existing publication follows the settings.
func (s *settings) mayAlter(pub *publicationInfo) bool {
	return pub.owned && !pub.standby && (s.publicationMode == "filtered" || s.publicationMode == "all_tables")
}

// alterOptions lets the options of an existing publication follow the settings:
// operations that are needed are added to any, those that are not are taken only from
// one of our own, because others may read theirs.
func (s *settings) alterOptions(ctx context.Context, d *db, pub *publicationInfo, viaRoot bool) error {
	if !s.mayAlter(pub) {
		return nil
	}
	wanted := s.publishedOperations()
	ops := slices.DeleteFunc(publicationOperations(), func(op string) bool {
		return !slices.Contains(wanted, op) && (pub.ours || !slices.Contains(pub.operations, op))
	})
	var with []string
	if !slices.Equal(ops, pub.operations) {
		with = append(with, "publish = '"+strings.Join(ops, ", ")+"'")
	}
	if viaRoot != pub.viaRoot {
		with = append(with, fmt.Sprintf("publish_via_partition_root = %t", viaRoot))
	}
	if len(with) == 0 {
		return nil
	}
	sql := "ALTER PUBLICATION " + quoteIdent(s.publication) + " SET (" + strings.Join(with, ", ") + ")"
	if err := d.exec(ctx, sql); err != nil {
		return publicationRefused(err, sql)
	}
	return nil
}

// publicationOperations are all that can be published, in the order of the catalogue.
func publicationOperations() []string { return []string{"insert", "update", "delete", "truncate"} }

// createPublication returns the statement for publication.autocreate.mode.
func (s *settings) createPublication(tables []catalogTable, viaRoot bool) string {
	sql := "CREATE PUBLICATION " + quoteIdent(s.publication)
	switch s.publicationMode {
	case "all_tables":
		sql += " FOR ALL TABLES"
	case "filtered":
		sql += " FOR TABLE " + tableList(tables)
	}
	var with []string
	if ops := s.publishedOperations(); len(ops) < 4 {
		with = append(with, "publish = '"+strings.Join(ops, ", ")+"'")
	}
	if viaRoot {
		with = append(with, "publish_via_partition_root = true")
	}
	if len(with) > 0 {
		sql += " WITH (" + strings.Join(with, ", ") + ")"
	}
	return sql
}

// publishedOperations are those that skipped.operations leaves; at least one must.
func (s *settings) publishedOperations() []string {
	ops := publicationOperations()
	left := slices.DeleteFunc(slices.Clone(ops), func(op string) bool {
		return s.skipped[map[string]string{"insert": "c", "update": "u", "delete": "d", "truncate": "t"}[op]]
	})
	if len(left) == 0 {
		return ops
	}
	return left
}
