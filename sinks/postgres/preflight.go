package postgres

import (
	"context"
	"slices"
	"strings"

	"github.com/tidemill/tidemill/connect"
)

// Validate implements connect.Validator: it connects and looks at the rights and
// the tables that can be foreseen. Nothing is created.
func (c *connector) Validate(ctx context.Context, config connect.Config, values connect.ConfigValues) {
	o, settings, err := parse(c.defaults, config)
	if err != nil {
		c.contradictions(o, values)
		return
	}
	target, err := connConfig(settings, "validate")
	if err != nil {
		addError(values, keyURL, err)
		return
	}
	s := &session{config: target}
	defer func() { _ = s.close(ctx) }()
	if _, err := s.ready(ctx); err != nil {
		addError(values, keyURL, err)
		return
	}
	p := preflight{options: o, session: s, catalog: &catalog{session: s}, naming: newNaming(o)}
	for _, fault := range p.look(ctx, topics(config)) {
		addError(values, keyURL, fault)
	}
}

// contradictions adds faults between settings; those of single settings have been
// reported by the table of settings itself.
func (c *connector) contradictions(o options, values connect.ConfigValues) {
	for _, v := range values {
		if len(v.Errors) > 0 {
			return
		}
	}
	faults, _ := o.contradictions().(connect.Errors)
	for _, f := range faults {
		addError(values, f.Place, f)
	}
}

// addError adds an error where it belongs, if it names a setting, and else to the
// given one.
func addError(values connect.ConfigValues, setting string, err error) {
	e := *connect.AsError(err)
	if _, ok := values[e.Place]; ok {
		setting, e.Place = e.Place, ""
	}
	values.AddError(setting, e.Error())
}

func topics(config connect.Config) []string {
	var list []string
	for topic := range strings.SplitSeq(config["topics"], ",") {
		if topic = strings.TrimSpace(topic); topic != "" {
			list = append(list, topic)
		}
	}
	return list
}

// preflight looks at a target before anything is written to it.
type preflight struct {
	options options
	session *session
	catalog *catalog
	naming  naming
}

// look returns all faults found for the topics.
func (p preflight) look(ctx context.Context, topics []string) []error {
	if p.naming.source {
		return nil // Only the records will tell the tables.
	}
	var faults []error
	schemas := map[string]bool{}
	for _, topic := range topics {
		name, err := p.naming.tableOf(topic, connect.Value{})
		if err == nil {
			err = p.table(ctx, name, schemas)
		}
		if err != nil {
			faults = append(faults, err)
		}
	}
	return faults
}

// table looks at one table; schemas are those in which tables will be made and which
// were looked at.
func (p preflight) table(ctx context.Context, name tableName, schemas map[string]bool) error {
	t, err := p.catalog.load(ctx, name)
	if err != nil {
		return err
	}
	if t != nil {
		return p.rights(ctx, t)
	}
	if !p.options.create {
		return fatal("pgsink.table_missing", name.plain(), "there is no such table, and it may not be created", "set "+keyEvolve+"="+evolveBasic+", or create it")
	}
	if schemas[name.schema] {
		return nil
	}
	schemas[name.schema] = true
	return p.schema(ctx, name.schema)
}

// schema tells whether tables can be created in a schema.
func (p preflight) schema(ctx context.Context, schema string) error {
	rows, err := p.session.query(ctx, `SELECT n.nspname, pg_catalog.has_schema_privilege(n.oid, 'CREATE'), current_user FROM pg_catalog.pg_namespace n
WHERE n.nspname = CASE WHEN $1 = '' THEN pg_catalog.current_schema() ELSE $1 END`, schema)
	switch {
	case err != nil:
		return explain(err, schema)
	case len(rows) == 0 && schema == "":
		return fatal("pgsink.schema_missing", "", "the search path of this user leads to no schema", "name one in "+keyFormat+", such as public.${topic}")
	case len(rows) == 0:
		return fatal("pgsink.schema_missing", schema, "there is no such schema", "CREATE SCHEMA "+quote(schema))
	case rows[0][1] != "t":
		return fatal("pgsink.permission", rows[0][0], "this user may not create tables in the schema", "GRANT CREATE ON SCHEMA "+quote(rows[0][0])+" TO "+quote(rows[0][2]))
	}
	return nil
}

// rights tells whether an existing table can be written as the settings ask.
func (p preflight) rights(ctx context.Context, t *table) error {
	needed := []string{"SELECT", "INSERT"}
	if p.options.upsert {
		needed = append(needed, "UPDATE")
	}
	if p.options.deletes {
		needed = append(needed, "DELETE")
	}
	if p.options.truncates {
		needed = append(needed, "TRUNCATE")
	}
	rows, err := p.session.query(ctx, `SELECT p, current_user FROM pg_catalog.unnest(pg_catalog.string_to_array($2, ',')) AS p
WHERE NOT pg_catalog.has_table_privilege($1::pg_catalog.oid, p)`, t.oid, strings.Join(needed, ","))
	if err != nil {
		return explain(err, t.name.plain())
	}
	var lacking []string
	for _, r := range rows {
		lacking = append(lacking, r[0])
	}
	slices.Sort(lacking)
	if len(lacking) > 0 {
		list := strings.Join(lacking, ", ")
		return fatal("pgsink.permission", t.name.plain(), "this user lacks the right to "+list, "GRANT "+list+" ON "+t.name.String()+" TO "+quote(rows[0][1]))
	}
	return p.key(t)
}

// key tells whether upserts will find a unique index, as far as the key is known.
func (p preflight) key(t *table) error {
	if !p.options.upsert {
		return nil
	}
	if names := p.options.pkFields; len(names) > 0 && !t.hasUnique(names) || len(t.uniques) == 0 {
		keys := quoteAll(names)
		if keys == "" {
			keys = "…"
		}
		return fatal("pgsink.no_unique", t.name.plain(), "the table has no primary key or unique index to find rows by", "ALTER TABLE "+t.name.String()+" ADD PRIMARY KEY ("+keys+")")
	}
	return nil
}
