package postgres

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"

	"github.com/tidemill/tidemill/connect"
)

// literal are the entries of an include list that name one table.
var literal = regexp.MustCompile(`^[\w$-]+(\\?\.[\w$-]+)+$`)

// checkTables looks whether the rows of tables may be seen in full and can be told
// apart.
func (p *preflight) checkTables(context.Context) error {
	p.checkPolicies()
	p.checkIdentities()
	p.checkSignals()
	return nil
}

// checkNamed looks whether there are tables to capture, and those that
// table.include.list names among them.
func (p *preflight) checkNamed(ctx context.Context) error {
	if len(p.tables) == 0 {
		p.fault(Finding{Setting: p.tableKey(), Code: "pg.table.missing", What: "no table of the database " + p.set.database + " is captured", Mend: p.mendTables()})
	}
	for _, entry := range p.set.tableEntries {
		name := strings.ReplaceAll(entry, `\.`, ".")
		if !literal.MatchString(entry) || p.captured(name) {
			continue
		}
		kind, quoted, err := p.db.relationKind(ctx, name)
		if err != nil {
			return err
		}
		switch {
		case kind == "":
			if len(p.tables) > 0 {
				p.fault(Finding{Setting: "table.include.list", Code: "pg.table.missing", Place: name, What: "there is no table " + entry + " in the database " + p.set.database,
					Mend: "create it, or take it out of table.include.list" + p.nearest(entry)})
			}
		case kind == "an unlogged table":
			p.fault(Finding{Setting: "table.include.list", Code: "pg.table.unlogged", Place: name, What: name + " is unlogged: its changes do not reach the log",
				SQL: []string{"ALTER TABLE " + quoted + " SET LOGGED"}, Mend: "or take it out of table.include.list"})
		case kind != "a table":
			p.fault(Finding{Setting: "table.include.list", Code: "pg.table.kind", Place: name, What: name + " is " + kind + ", and only the changes of tables reach the log",
				Mend: "take it out of table.include.list, and capture the tables that it is made of"})
		}
	}
	return nil
}

// captured tells whether a table of that name, or a partition of it, is captured.
func (p *preflight) captured(name string) bool {
	return slices.ContainsFunc(p.tables, func(t catalogTable) bool {
		return strings.EqualFold(t.name.String(), name) || strings.EqualFold(t.root.String(), name)
	})
}

// relationKind says what stands under a name, in words, "" for nothing.
func (d *db) relationKind(ctx context.Context, name string) (kind, quoted string, err error) {
	r, err := d.row(ctx, `SELECT c.relkind, c.relpersistence, n.nspname, c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		WHERE lower(n.nspname || '.' || c.relname) = lower($1) AND c.relkind NOT IN ('i', 'I', 't', 'S', 'c')`, name)
	if err != nil || r == nil {
		return "", "", explain(err, "looking for the table "+name)
	}
	quoted = tableName{string(r[2]), string(r[3])}.quoted()
	if r[1][0] == 'u' {
		return "an unlogged table", quoted, nil
	}
	if r[1][0] == 't' {
		return "a temporary table", quoted, nil
	}
	switch r[0][0] {
	case 'f':
		return "a foreign table", quoted, nil
	case 'v':
		return "a view", quoted, nil
	case 'm':
		return "a materialized view", quoted, nil
	}
	return "a table", quoted, nil
}

// checkPolicies looks for row-level security, which the log does not know.
func (p *preflight) checkPolicies() {
	var names []string
	for _, t := range p.read() {
		if t.policies {
			names = append(names, t.name.String())
		}
	}
	if len(names) > 0 {
		p.fault(Finding{Setting: "database.user", Code: "pg.row_security", What: "row-level security hides rows of " + joinNames(names) + " from the snapshot, but not from the log",
			SQL: []string{"ALTER ROLE " + quoteIdent(p.role.name) + " BYPASSRLS"}})
	}
}

// checkIdentities looks for tables whose changed rows cannot be told apart: to publish
// them makes UPDATE and DELETE fail for whoever writes there.
func (p *preflight) checkIdentities() {
	var names, sql []string
	for _, t := range p.wanted {
		if t.identity == 'n' || t.identity == 'd' && !t.keyed {
			names, sql = append(names, t.name.String()), append(sql, "ALTER TABLE "+t.name.quoted()+" REPLICA IDENTITY FULL")
		}
	}
	ops := p.set.publishedOperations()
	if len(names) > 0 && (slices.Contains(ops, "update") || slices.Contains(ops, "delete")) {
		p.warn(Finding{Setting: "table.include.list", Code: "pg.replica_identity", What: "no primary key and no other replica identity: " + joinNames(names),
			Why: "PostgreSQL refuses UPDATE and DELETE on such tables while they are published", SQL: sql, Mend: "or ADD PRIMARY KEY, which costs less"})
	}
}

// checkSignals looks whether the table for signals is there.
func (p *preflight) checkSignals() {
	name := p.set.signals.table
	if name == (tableName{}) || !p.set.signals.channels["source"] || slices.ContainsFunc(p.all, func(t catalogTable) bool { return t.name == name }) {
		return
	}
	p.warn(Finding{Setting: "signal.data.collection", Code: "pg.signal.table", Place: name.String(), What: "the table for signals does not exist", Why: "signals that are to be written into it cannot be",
		SQL: []string{"CREATE TABLE " + name.quoted() + " (id varchar(42) PRIMARY KEY, type varchar(32) NOT NULL, data varchar(2048))"}})
}

func (p *preflight) tableKey() string {
	if len(p.set.tableEntries) == 0 && len(p.set.filter.schemas.include) > 0 {
		return "schema.include.list"
	}
	return "table.include.list"
}

func (p *preflight) mendTables() string {
	if len(p.all) == 0 {
		return "create a table first, or check database.dbname: the database has none"
	}
	return "check table.include.list and its relatives, which match schema.table; there are " + joinNames(p.names())
}

func (p *preflight) names() []string {
	names := make([]string, len(p.all))
	for i, t := range p.all {
		names[i] = t.name.String()
	}
	return names
}

func (p *preflight) nearest(entry string) string {
	if near := connect.Nearest(entry, p.names()); near != "" {
		return " (did you mean " + near + "?)"
	}
	return ""
}

const queryColumnTypes = `SELECT a.attrelid, a.attname, a.atttypid, a.atttypmod, pg_catalog.format_type(a.atttypid, a.atttypmod) FROM pg_catalog.pg_attribute a
	WHERE a.attrelid = ANY ($1::oid[]) AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' ORDER BY a.attrelid, a.attnum`

// checkTypes looks for columns that will be left out because their types have no
// mapping.
func (p *preflight) checkTypes(ctx context.Context) error {
	if p.set.modes.unknown || len(p.tables) == 0 {
		return nil
	}
	rows, err := p.db.rows(ctx, queryColumnTypes, oidList(p.tables))
	if err != nil {
		return explain(err, "reading the columns of the captured tables")
	}
	types := newTypeTable(p.set.modes, func(oid uint32) (*typeInfo, error) { return p.db.loadType(ctx, oid) })
	known := map[uint32]error{}
	columns := map[uint32][]string{}
	for _, r := range rows {
		table, typ := uint32(number(r[0])), uint32(number(r[2]))
		err, looked := known[typ]
		if !looked {
			_, err = types.compile(typ, int32(number(r[3])), 0)
			known[typ] = err
		}
		if err != nil && !errors.Is(err, errUnknownType) {
			return err
		}
		if err != nil {
			columns[table] = append(columns[table], string(r[1])+" "+string(r[4]))
		}
	}
	for _, t := range p.tables {
		left := slices.DeleteFunc(columns[t.oid], func(c string) bool {
			name, _, _ := strings.Cut(c, " ")
			return !p.set.filter.column(t.name, name)
		})
		if len(left) > 0 {
			p.warn(Finding{Setting: "include.unknown.datatypes", Code: "pg.type.unknown", Place: t.name.String(), What: "columns are left out because their types have no mapping: " + joinNames(left),
				Mend: "set include.unknown.datatypes=true to have their text as bytes"})
		}
	}
	return nil
}
