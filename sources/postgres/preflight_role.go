package postgres

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
)

// roleFacts are the rights of the user.
type roleFacts struct {
	name        string
	super       bool
	replication bool // By attribute, or as a managed server grants it.
	managed     bool // There is a role rds_replication, which grants it.
	create      bool // On the database.
	database    string
	limit       int64 // Most connections; -1: any number.
	statistics  bool  // It sees what other sessions do.
}

// On managed servers a role stands for the attribute REPLICATION, or its members may
// have it.
const queryRole = `SELECT rolsuper, rolreplication, current_user,
	EXISTS (SELECT FROM pg_catalog.pg_roles g WHERE g.rolname IN ('rds_replication', 'rds_superuser', 'azure_pg_admin', 'cloudsqlsuperuser', 'alloydbsuperuser') AND pg_catalog.pg_has_role(g.oid, 'MEMBER')),
	EXISTS (SELECT FROM pg_catalog.pg_roles g WHERE g.rolname = 'rds_replication'),
	pg_catalog.has_database_privilege(current_database(), 'CREATE'), current_database(), rolconnlimit,
	EXISTS (SELECT FROM pg_catalog.pg_roles g WHERE g.rolname = 'pg_read_all_stats' AND pg_catalog.pg_has_role(g.oid, 'USAGE'))
	FROM pg_catalog.pg_roles WHERE rolname = current_user`

// checkRole looks for the rights of the user.
func (p *preflight) checkRole(ctx context.Context) error {
	r, err := p.db.row(ctx, queryRole)
	if err != nil || r == nil {
		return explain(err, "asking for the rights of the user")
	}
	p.role = roleFacts{
		name: string(r[2]), super: truth(r[0]), replication: truth(r[0]) || truth(r[1]) || truth(r[3]), managed: truth(r[4]),
		create: truth(r[5]), database: string(r[6]), limit: number(r[7]), statistics: truth(r[8]),
	}
	user := quoteIdent(p.role.name)
	if !p.role.replication {
		grant := "ALTER ROLE " + user + " REPLICATION"
		if p.role.managed {
			grant = "GRANT rds_replication TO " + user
		}
		p.fault(Finding{Setting: "database.user", Code: "pg.role.replication", What: "the user " + p.role.name + " may not read the log", SQL: []string{grant}})
	}
	if p.role.super {
		return nil
	}
	exists, err := p.db.publication(ctx, p.set.publication)
	if err != nil {
		return err
	}
	if exists == nil {
		p.checkMaking()
	}
	if err := p.checkOwnership(ctx, exists); err != nil {
		return err
	}
	return p.checkReading(ctx)
}

// checkMaking looks whether the user may make the publication.
func (p *preflight) checkMaking() {
	switch p.set.publicationMode {
	case "disabled":
		return
	case "all_tables":
		p.fault(Finding{Setting: "publication.autocreate.mode", Code: "pg.role.superuser", What: "only a superuser can publish all tables",
			SQL: []string{p.set.createPublication(p.wanted, p.viaRoot)}, Mend: "as a superuser; or set publication.autocreate.mode=filtered"})
		return
	}
	if !p.role.create {
		p.fault(Finding{Setting: "database.user", Code: "pg.role.create", What: "the user may not create the publication " + p.set.publication,
			SQL: []string{"GRANT CREATE ON DATABASE " + quoteIdent(p.role.database) + " TO " + quoteIdent(p.role.name)}})
	}
}

const queryForeign = `SELECT n.nspname, c.relname, pg_catalog.pg_get_userbyid(c.relowner) FROM pg_catalog.pg_class c
	JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p') AND NOT pg_catalog.pg_has_role(c.relowner, 'USAGE')`

// checkOwnership looks whether the user may put tables into the publication.
func (p *preflight) checkOwnership(ctx context.Context, exists *publicationInfo) error {
	if p.set.publicationMode != "filtered" {
		return nil
	}
	needed := p.published()
	if exists != nil {
		needed = exists.lacks(needed)
	}
	if len(needed) == 0 {
		return nil
	}
	rows, err := p.db.rows(ctx, queryForeign)
	if err != nil {
		return explain(err, "asking for the owners of tables")
	}
	foreign := map[tableName]string{}
	for _, r := range rows {
		foreign[tableName{string(r[0]), string(r[1])}] = string(r[2])
	}
	var names, owners []string
	for _, t := range needed {
		if o, ok := foreign[t.publish]; ok {
			names = append(names, t.publish.String())
			if o = quoteIdent(o); !slices.Contains(owners, o) {
				owners = append(owners, o)
			}
		}
	}
	sql := p.set.createPublication(p.published(), p.viaRoot)
	if exists != nil {
		sql = "ALTER PUBLICATION " + quoteIdent(p.set.publication) + " ADD TABLE " + tableList(needed)
	}
	switch {
	case len(names) > 0:
		p.fault(Finding{Setting: "database.user", Code: "pg.role.owner", What: "only the owner of a table can publish it, and the user does not own " + joinNames(names),
			SQL: []string{sql}, Mend: "as the owner or a superuser; or make the user a member of the owner: GRANT " + strings.Join(owners, ", ") + " TO " + quoteIdent(p.role.name)})
	case exists != nil && !exists.owned:
		p.fault(Finding{Setting: "database.user", Code: "pg.role.publication", What: "only the owner of the publication " + p.set.publication + " can add tables to it, and that is not the user",
			SQL: []string{sql}, Mend: "as its owner or a superuser"})
	}
	return nil
}

// published are the tables that the publication must have: those that are captured,
// and the one that signals are written into.
func (p *preflight) published() []catalogTable {
	name := p.set.signals.table
	same := func(t catalogTable) bool { return t.name == name }
	if i := slices.IndexFunc(p.all, same); i >= 0 && p.set.signals.channels["source"] && !slices.ContainsFunc(p.wanted, same) {
		t := p.all[i]
		t.publish = t.name
		return append(slices.Clone(p.wanted), t)
	}
	return p.wanted
}

const queryHiddenSchemas = `SELECT nspname FROM pg_catalog.pg_namespace WHERE NOT pg_catalog.has_schema_privilege(oid, 'USAGE')`

// Columns of the given tables that the user may not read; "key" are those of the
// primary key, which are read in any case.
const queryHiddenColumns = `SELECT a.attrelid, a.attname,
	EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = a.attrelid AND i.indisprimary AND a.attnum = ANY (i.indkey))
	FROM pg_catalog.pg_attribute a WHERE a.attrelid = ANY ($1::oid[]) AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
	AND NOT pg_catalog.has_column_privilege(a.attrelid, a.attnum, 'SELECT') ORDER BY a.attrelid, a.attnum`

// checkReading looks whether the user may read what the snapshot reads. The log needs
// no such rights: whoever has REPLICATION gets all rows of published tables.
func (p *preflight) checkReading(ctx context.Context) error {
	tables := p.read()
	if len(tables) == 0 {
		return nil
	}
	rows, err := p.db.rows(ctx, queryHiddenSchemas)
	if err != nil {
		return explain(err, "asking for the rights on schemas")
	}
	hidden := map[string]bool{}
	for _, r := range rows {
		hidden[string(r[0])] = true
	}
	user := quoteIdent(p.role.name)
	var schemas []string
	for _, t := range tables {
		if s := quoteIdent(t.name.schema); hidden[t.name.schema] && !slices.Contains(schemas, s) {
			schemas = append(schemas, s)
		}
	}
	if len(schemas) > 0 {
		p.fault(Finding{Setting: "database.user", Code: "pg.role.usage", What: "the user may not look into the schemas " + joinNames(schemas), Why: "without that it cannot read tables in them",
			SQL: []string{"GRANT USAGE ON SCHEMA " + strings.Join(schemas, ", ") + " TO " + user}})
	}
	if rows, err = p.db.rows(ctx, queryHiddenColumns, oidList(tables)); err != nil {
		return explain(err, "asking for the rights on tables")
	}
	p.unreadable(tables, rows)
	return nil
}

// unreadable reports the columns that the snapshot needs and the user may not read:
// whole tables in one statement, single columns in one for each table.
func (p *preflight) unreadable(tables []catalogTable, rows [][][]byte) {
	byTable := map[uint32][]string{}
	total := map[uint32]int{}
	for _, r := range rows {
		oid, column := uint32(number(r[0])), string(r[1])
		t := tables[slices.IndexFunc(tables, func(t catalogTable) bool { return t.oid == oid })]
		total[oid]++
		if truth(r[2]) || p.set.filter.column(t.name, column) {
			byTable[oid] = append(byTable[oid], quoteIdent(column))
		}
	}
	user := quoteIdent(p.role.name)
	var whole, names, sql []string
	for _, t := range tables {
		columns := byTable[t.oid]
		switch {
		case len(columns) == 0:
		case !t.selectable:
			whole, names = append(whole, t.name.quoted()), append(names, t.name.String())
		default:
			names = append(names, t.name.String()+" ("+joinNames(columns)+")")
			sql = append(sql, "GRANT SELECT ("+strings.Join(columns, ", ")+") ON "+t.name.quoted()+" TO "+user)
		}
	}
	if len(names) == 0 {
		return
	}
	if len(whole) > 0 {
		sql = append([]string{"GRANT SELECT ON " + strings.Join(whole, ", ") + " TO " + user}, sql...)
	}
	p.fault(Finding{Setting: "database.user", Code: "pg.role.select", What: "the user may not read " + joinNames(names), SQL: sql,
		Mend: "or leave the columns out with column.exclude.list, or the tables out of the snapshot with snapshot.include.collection.list"})
}

// read are the captured tables that the snapshot reads by itself.
func (p *preflight) read() (list []catalogTable) {
	if !p.set.when.reads() {
		return nil
	}
	for _, t := range p.wanted {
		if p.set.filter.inSnapshot(t.name) && p.set.selects[t.name.String()] == "" {
			list = append(list, t)
		}
	}
	return list
}

// oidList writes the tables' numbers as an array for a parameter.
func oidList(tables []catalogTable) string {
	oids := make([]uint32, len(tables))
	for i, t := range tables {
		oids[i] = t.oid
	}
	text, err := json.Marshal(oids)
	if err != nil {
		return "{}" // Numbers can always be written.
	}
	return "{" + strings.Trim(string(text), "[]") + "}"
}
