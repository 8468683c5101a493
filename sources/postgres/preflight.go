package postgres

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/tidemill/tidemill/connect"
)

// problem is something on the other side that stands in the way, with the setting
// under which a validation reports it.
type problem struct {
	key string
	err *connect.Error
}

// preflight collects everything that stands in the way, with what mends it. It
// changes nothing.
type preflight struct {
	set      *settings
	db       *db
	app      string
	server   server
	all      []catalogTable
	tables   []catalogTable
	viaRoot  bool
	problems []problem
}

// check looks at the server. An error means that it could not look.
func (s *settings) check(ctx context.Context, d *db, app string) (*preflight, error) {
	p := &preflight{set: s, db: d, app: app}
	var err error
	if p.server, err = d.server(ctx); err != nil {
		return nil, err
	}
	if p.all, err = d.tables(ctx); err != nil {
		return nil, err
	}
	p.tables, p.viaRoot = s.capture(p.all)
	p.checkServer()
	tables := func(context.Context) error { p.checkTables(); return nil }
	for _, look := range []func(context.Context) error{p.checkRole, tables, p.checkPublication, p.checkSlots} {
		if err := look(ctx); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// err returns the problems as one error, nil when there are none.
func (p *preflight) err() error {
	var list connect.Errors
	for _, pr := range p.problems {
		list = append(list, pr.err)
	}
	return list.OrNil()
}

func (p *preflight) add(key string, err error) {
	p.problems = append(p.problems, problem{key, connect.AsError(err)})
}

func (p *preflight) fault(key, code, message, mend string) {
	p.add(key, fatal(code, message, nil, mend))
}

func (p *preflight) checkServer() {
	const oldest = 120000
	if p.server.version < oldest {
		p.fault("database.hostname", "pg.version", fmt.Sprintf("the server has version %d, and 12 is the oldest that is supported", p.server.version/10000), "upgrade the server")
	}
	if p.server.walLevel != "logical" {
		p.fault("database.hostname", "pg.wal_level", "the server's log does not hold what logical decoding needs (wal_level="+p.server.walLevel+")",
			"ALTER SYSTEM SET wal_level = logical; then restart the server")
	}
	if p.server.recovery && p.server.version < 160000 {
		p.fault("database.hostname", "pg.standby", "the server is a standby, and before version 16 standbys cannot decode their log", "connect to the primary")
	}
}

// checkRole looks for the rights of the user.
func (p *preflight) checkRole(ctx context.Context) error {
	r, err := p.db.row(ctx, `SELECT rolsuper, rolreplication, current_user,
		EXISTS (SELECT FROM pg_catalog.pg_roles g WHERE g.rolname IN ('rds_replication', 'azure_pg_admin', 'cloudsqlsuperuser', 'alloydbsuperuser') AND pg_catalog.pg_has_role(g.oid, 'MEMBER')),
		pg_catalog.has_database_privilege(current_database(), 'CREATE'), current_database()
		FROM pg_catalog.pg_roles WHERE rolname = current_user`)
	if err != nil || r == nil {
		return explain(err, "asking for the rights of the user")
	}
	super, user := truth(r[0]), quoteIdent(string(r[2]))
	if !super && !truth(r[1]) && !truth(r[3]) {
		p.fault("database.user", "pg.role.replication", "the user "+string(r[2])+" may not read the log", "ALTER ROLE "+user+" REPLICATION")
	}
	if super {
		return nil
	}
	exists, err := p.db.publication(ctx, p.set.publication)
	if err != nil {
		return err
	}
	if exists == nil && p.set.publicationMode != "disabled" && !truth(r[4]) {
		p.fault("database.user", "pg.role.create", "the user may not create the publication "+p.set.publication,
			"GRANT CREATE ON DATABASE "+quoteIdent(string(r[5]))+" TO "+user)
	}
	if exists == nil && p.set.publicationMode == "all_tables" {
		p.fault("publication.autocreate.mode", "pg.role.superuser", "only a superuser can publish all tables",
			"set publication.autocreate.mode=filtered, or let a superuser run: CREATE PUBLICATION "+quoteIdent(p.set.publication)+" FOR ALL TABLES")
	}
	return p.checkOwnership(ctx, exists, string(r[2]))
}

// checkOwnership looks whether the user may put tables into the publication.
func (p *preflight) checkOwnership(ctx context.Context, exists *publicationInfo, user string) error {
	if p.set.publicationMode != "filtered" {
		return nil
	}
	needed := p.tables
	if exists != nil {
		needed = exists.lacks(p.tables)
	}
	if len(needed) == 0 {
		return nil
	}
	rows, err := p.db.rows(ctx, `SELECT n.nspname, c.relname, pg_catalog.pg_get_userbyid(c.relowner) FROM pg_catalog.pg_class c
		JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p') AND NOT pg_catalog.pg_has_role(c.relowner, 'USAGE')`)
	if err != nil {
		return explain(err, "asking for the owners of tables")
	}
	foreign := map[tableName]string{}
	for _, r := range rows {
		foreign[tableName{string(r[0]), string(r[1])}] = string(r[2])
	}
	var names []string
	var owner string
	for _, t := range needed {
		if o, ok := foreign[t.publish]; ok {
			names, owner = append(names, t.publish.String()), o
		}
	}
	if len(names) > 0 {
		verb := "CREATE PUBLICATION " + quoteIdent(p.set.publication) + " FOR TABLE "
		if exists != nil {
			verb = "ALTER PUBLICATION " + quoteIdent(p.set.publication) + " ADD TABLE "
		}
		p.fault("database.user", "pg.role.owner", "only the owner of a table can publish it, and the user does not own "+joinNames(names),
			"let the owner run: "+verb+tableList(needed)+"; or: GRANT "+quoteIdent(owner)+" TO "+quoteIdent(user))
	}
	return nil
}

// literal are the entries of an include list that name one table.
var literal = regexp.MustCompile(`^[\w$-]+(\\?\.[\w$-]+)+$`)

// checkTables looks whether what is to be captured is there and may be read.
func (p *preflight) checkTables() {
	if len(p.tables) == 0 {
		p.fault(p.tableKey(), "pg.table.missing", "no table of the database "+p.set.database+" is captured", p.mendTables())
	}
	for _, entry := range p.set.tableEntries {
		if literal.MatchString(entry) && !p.known(strings.ReplaceAll(entry, `\.`, ".")) && len(p.tables) > 0 {
			p.fault("table.include.list", "pg.table.missing", "there is no table "+entry+" in the database "+p.set.database,
				"create it, or take it out of table.include.list"+p.nearest(entry))
		}
	}
	var unreadable, policies []string
	for _, t := range p.tables {
		if !p.set.filter.inSnapshot(t.name) || p.set.snapshotMode == "no_data" {
			continue
		}
		if !t.selectable {
			unreadable = append(unreadable, t.name.quoted())
		} else if t.policies {
			policies = append(policies, t.name.String())
		}
	}
	if len(unreadable) > 0 {
		p.fault("database.user", "pg.role.select", "the user may not read "+joinNames(unreadable),
			"GRANT SELECT ON "+strings.Join(unreadable, ", ")+" TO "+quoteIdent(p.set.user)+" (and USAGE on their schemas)")
	}
	if len(policies) > 0 {
		p.fault("database.user", "pg.row_security", "row-level security hides rows of "+joinNames(policies)+" from the snapshot, but not from the log",
			"ALTER ROLE "+quoteIdent(p.set.user)+" BYPASSRLS")
	}
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
	var names []string
	for _, t := range p.all {
		names = append(names, t.name.String())
	}
	return "check table.include.list and its relatives, which match schema.table; there are " + joinNames(names)
}

func (p *preflight) known(name string) bool {
	return slices.ContainsFunc(p.all, func(t catalogTable) bool { return strings.EqualFold(t.name.String(), name) })
}

func (p *preflight) nearest(entry string) string {
	var names []string
	for _, t := range p.all {
		names = append(names, t.name.String())
	}
	if near := connect.Nearest(entry, names); near != "" {
		return " (did you mean " + near + "?)"
	}
	return ""
}

func (p *preflight) checkPublication(ctx context.Context) error {
	if p.set.publicationMode != "disabled" {
		return nil
	}
	info, err := p.db.publication(ctx, p.set.publication)
	if err != nil {
		return err
	}
	if info == nil {
		p.add("publication.name", publicationMissing(p.set.publication, p.tables))
		return nil
	}
	if lacks := info.lacks(p.tables); len(lacks) > 0 {
		p.fault("publication.name", "pg.publication.tables", "the publication "+p.set.publication+" lacks captured tables, and publication.autocreate.mode=disabled forbids to add them",
			"ALTER PUBLICATION "+quoteIdent(p.set.publication)+" ADD TABLE "+tableList(lacks))
	}
	return nil
}

// checkSlots looks at the slot, or at the room for one.
func (p *preflight) checkSlots(ctx context.Context) error {
	info, err := p.db.slot(ctx, p.set.slot)
	if err != nil {
		return err
	}
	if info != nil {
		if err := p.set.checkSlot(info); err != nil && !(info.lost() && p.set.snapshotMode == "when_needed") {
			p.add("slot.name", err)
		}
		if info.active && !p.ownSlot(ctx, info.pid) {
			p.add("slot.name", slotInUse(p.set.slot, info.pid))
		}
		return nil
	}
	r, err := p.db.row(ctx, `SELECT current_setting('max_replication_slots')::int, (SELECT count(*) FROM pg_catalog.pg_replication_slots)`)
	if err != nil || r == nil {
		return explain(err, "asking for the slots")
	}
	if number(r[0]) <= number(r[1]) {
		p.fault("slot.name", "pg.limit", fmt.Sprintf("all %d replication slots of the server are taken", number(r[0])),
			"drop one that nobody needs (SELECT slot_name, active FROM pg_replication_slots), or ALTER SYSTEM SET max_replication_slots = "+fmt.Sprint(number(r[0])+4)+" and restart the server")
	}
	return nil
}

// ownSlot tells whether it is this connector that reads from the slot: a running
// one is validated too, when its configuration changes.
func (p *preflight) ownSlot(ctx context.Context, pid string) bool {
	r, err := p.db.row(ctx, "SELECT application_name FROM pg_catalog.pg_stat_activity WHERE pid = $1::int", pid)
	return err == nil && r != nil && string(r[0]) == p.app
}

// warnings tells what will bite later, for the log.
func (p *preflight) warnings() (list []string) {
	var keyless []string
	for _, t := range p.tables {
		if t.identity == 'n' || t.identity == 'd' && !t.keyed {
			keyless = append(keyless, t.name.String())
		}
	}
	if len(keyless) > 0 {
		list = append(list, "These tables have no primary key and no other replica identity: PostgreSQL refuses UPDATE and DELETE on them while they are published. Run ALTER TABLE … ADD PRIMARY KEY or ALTER TABLE … REPLICA IDENTITY FULL: "+joinNames(keyless))
	}
	return list
}
