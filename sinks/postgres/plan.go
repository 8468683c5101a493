package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/tidemill/tidemill/connect"
)

// maxPlans bounds what is remembered. Schemas come and go; plans are cheap to make.
const maxPlans = 1000

// plan is what was worked out once for records of a topic with the same schemas.
type plan struct {
	table    *table
	envelope connect.Envelope // Schema is nil for plain rows.
	// row and optional are the schema of a row in both its forms; nil when there is
	// nothing but a key.
	row, optional *connect.Schema
	columns       []planColumn
	keys          int // The first so many columns are the key.
	upsert        bool
	sql           statements
}

// planColumn is one column of the target and where its value comes from.
type planColumn struct {
	name    string
	target  *column
	schema  *connect.Schema
	encode  encoder
	key     int // The field of the record's key; -1: not from there; wholeKey: the key itself.
	field   int // The field of the row; -1: not from there.
	nested  bool
	mayMiss bool // A placeholder may stand for the value.
}

// wholeKey stands for a key that is no struct.
const wholeKey = -2

// planKey is what a plan depends on.
type planKey struct {
	topic      string
	name       tableName
	key, value *connect.Schema
}

// planner makes plans and, where it may, the tables and columns they need.
type planner struct {
	options     options
	naming      naming
	catalog     *catalog
	unavailable *unavailable
	metrics     connect.Metrics
	tables      map[tableName]*table
	plans       map[planKey]*plan
	// latest is the last plan with a row for a key, by which deletes without a row
	// are planned, so that they stay in one group with the rows.
	latest map[planKey]*plan
}

// forget drops everything learnt from the catalog.
func (p *planner) forget() {
	p.catalog.types = nil
	p.tables, p.plans, p.latest = map[tableName]*table{}, map[planKey]*plan{}, map[planKey]*plan{}
}

// planFor returns the plan for a record.
func (p *planner) planFor(ctx context.Context, r *connect.SinkRecord) (*plan, error) {
	k := planKey{topic: r.Topic, key: r.KeySchema, value: r.ValueSchema}
	if p.naming.source {
		var source connect.Value
		if env, ok := connect.EnvelopeOf(r.ValueSchema); ok && r.Value.Kind() == connect.KindStruct {
			source = env.Change(r.Value).Source
		} else if r.Value.IsNull() {
			return p.latest[planKey{topic: r.Topic, key: r.KeySchema}], nil
		}
		name, err := p.naming.tableOf(r.Topic, source)
		if err != nil {
			return nil, err
		}
		k.name = name
	}
	if k.value == nil {
		if latest := p.latest[k]; latest != nil {
			return latest, nil
		}
	}
	if found, ok := p.plans[k]; ok {
		return found, nil
	}
	made, err := p.make(ctx, k)
	if err != nil || made == nil {
		return nil, err
	}
	if len(p.plans) >= maxPlans {
		clear(p.plans)
		clear(p.latest)
	}
	p.plans[k] = made
	if made.row != nil {
		p.latest[planKey{topic: r.Topic, key: r.KeySchema}] = made
	}
	return made, nil
}

// make returns a new plan; nil when there is no table and nothing to write to it.
func (p *planner) make(ctx context.Context, k planKey) (*plan, error) {
	if k.name.name == "" {
		var err error
		if k.name, err = p.naming.tableOf(k.topic, connect.Value{}); err != nil {
			return nil, err
		}
	}
	pl := &plan{upsert: p.options.upsert}
	if err := pl.describe(k, p.options); err != nil {
		return nil, err
	}
	t, err := p.tableFor(ctx, k.name, pl)
	if err != nil || t == nil {
		return nil, err
	}
	return pl, p.bind(pl, t)
}

// describe lists the columns that the schemas ask for, the key's first.
func (pl *plan) describe(k planKey, o options) error {
	if k.value != nil {
		pl.row = k.value
		if env, ok := connect.EnvelopeOf(k.value); ok {
			pl.envelope, pl.row = env, env.Row()
		}
		if pl.row.Kind() != connect.KindStruct {
			return badRecord("pgsink.no_struct", fmt.Sprintf("the value is a %s, not a struct", pl.row), "wrap it with the transform HoistField")
		}
		pl.row, pl.optional = pl.row.AsRequired(), pl.row.AsOptional()
	}
	if err := pl.describeKey(k, o); err != nil {
		return err
	}
	pl.keys = len(pl.columns)
	if pl.row == nil {
		return nil
	}
	for i, f := range pl.row.Fields() {
		if !slices.ContainsFunc(pl.columns, func(c planColumn) bool { return c.name == f.Name }) && o.writes(k.topic, f.Name) {
			pl.columns = append(pl.columns, planColumn{name: f.Name, schema: f.Schema, key: -1, field: i})
		}
	}
	if len(pl.columns) == 0 {
		return badRecord("pgsink.empty", "the record has no field to write", "look at field.include.list and field.exclude.list")
	}
	return nil
}

// describeKey lists the key's columns.
func (pl *plan) describeKey(k planKey, o options) error {
	switch {
	case o.pkMode == pkNone:
		return nil
	case o.pkMode == pkValue:
		if pl.row == nil {
			return badRecord("pgsink.no_value", "the record has no value to take the key from", "set "+keyPKMode+"="+pkKey)
		}
		return pl.fieldsOf(pl.row, o.pkFields, func(i int) planColumn { return planColumn{key: -1, field: i} })
	case k.key == nil:
		return badRecord("pgsink.no_key", "the record has no key with a schema", "give it one at its source or with the transform ValueToKey, or set "+keyPKMode+"="+pkValue)
	case k.key.Kind() == connect.KindStruct:
		return pl.fieldsOf(k.key, o.pkFields, func(i int) planColumn { return planColumn{key: i, field: -1} })
	case len(o.pkFields) != 1:
		return badRecord("pgsink.key_name", fmt.Sprintf("the key is a %s without a name", k.key), "name its column in "+keyPKFields)
	}
	pl.columns = []planColumn{{name: o.pkFields[0], schema: k.key, key: wholeKey, field: -1}}
	return nil
}

// fieldsOf adds the named fields of s, or all of them.
func (pl *plan) fieldsOf(s *connect.Schema, names []string, at func(i int) planColumn) error {
	for _, name := range names {
		if s.Index(name) < 0 {
			return badRecord("pgsink.key_field", fmt.Sprintf("%s names %q, and %s has no such field", keyPKFields, name, s), "")
		}
	}
	for i, f := range s.Fields() {
		if len(names) == 0 || slices.Contains(names, f.Name) {
			c := at(i)
			c.name, c.schema = f.Name, f.Schema
			pl.columns = append(pl.columns, c)
		}
	}
	return nil
}

// writes tells whether a field is to be written.
func (o options) writes(topic, field string) bool {
	matches := func(list []string) bool {
		return slices.Contains(list, field) || slices.Contains(list, topic+":"+field)
	}
	return (len(o.include) == 0 || matches(o.include)) && !matches(o.exclude)
}

// tableFor returns the table with all columns of the plan. It creates what is
// missing where that is allowed. For deletes alone no table is made.
func (p *planner) tableFor(ctx context.Context, name tableName, pl *plan) (*table, error) {
	t := p.tables[name]
	if t == nil {
		var err error
		if t, err = p.catalog.load(ctx, name); err != nil {
			return nil, err
		}
	}
	if t == nil && pl.row == nil {
		return nil, nil
	}
	if missing := pl.missingIn(t); len(missing) > 0 {
		var err error
		if t, err = p.supply(ctx, name, t, missing); err != nil {
			return nil, err
		}
	}
	p.tables[name] = t
	return t, nil
}

func (pl *plan) missingIn(t *table) []wanted {
	var missing []wanted
	for i, c := range pl.columns {
		if t == nil || t.column(c.name) == nil {
			missing = append(missing, wanted{c.name, c.schema, i < pl.keys})
		}
	}
	return missing
}

// supply creates a table, or adds columns to it.
func (p *planner) supply(ctx context.Context, name tableName, t *table, missing []wanted) (*table, error) {
	for _, w := range missing {
		if err := checkName(w.name); err != nil {
			return nil, err
		}
	}
	has, err := p.catalog.has(ctx)
	if err != nil {
		return nil, err
	}
	statement, allowed, figure := createSQL(name, missing, has), p.options.create, "tables_created_total"
	if t != nil {
		statement, allowed, figure = alterSQL(name, missing, has), p.options.evolve, "columns_added_total"
	}
	if !allowed {
		return nil, notThere(name, t, missing, statement)
	}
	if err := p.catalog.change(ctx, name, statement); err != nil {
		return nil, err
	}
	p.metrics.Add(figure, 1)
	made, err := p.catalog.load(ctx, name)
	if err == nil && made == nil {
		err = fatal("pgsink.table_missing", name.plain(), "the table was created and is not there", "")
	}
	return made, err
}

func notThere(name tableName, t *table, missing []wanted, statement string) error {
	mend := "set " + keyEvolve + "=" + evolveBasic + ", or run: " + statement
	if t == nil {
		return fatal("pgsink.table_missing", name.plain(), "there is no such table, and it may not be created", mend)
	}
	names := make([]string, len(missing))
	for i, w := range missing {
		names[i] = w.name
	}
	return fatal("pgsink.column_missing", name.plain(), "the table lacks "+strings.Join(names, ", ")+", and columns may not be added", mend)
}

// bind finds each column's target and encoder and writes the statements.
func (p *planner) bind(pl *plan, t *table) error {
	pl.table = t
	kept := pl.columns[:0]
	var keyNames []string
	for i := range pl.columns {
		c := pl.columns[i]
		if c.target = t.column(c.name); c.target.generated {
			if i < pl.keys {
				return fatal("pgsink.key_generated", t.name.plain()+"."+c.name, "the key column is generated", "")
			}
			continue
		}
		c.encode = encoderFor(c.schema, c.target)
		c.nested = c.schema.Kind() >= connect.KindArray
		c.mayMiss = i >= pl.keys && p.unavailable.canBe(c.schema)
		if i < pl.keys {
			keyNames = append(keyNames, c.name)
		}
		kept = append(kept, c)
	}
	pl.columns = kept
	if pl.upsert && pl.row != nil && !t.hasUnique(keyNames) {
		return fatal("pgsink.no_unique", t.name.plain(), "the table has no primary key or unique index over "+strings.Join(keyNames, ", "),
			"ALTER TABLE "+t.name.String()+" ADD PRIMARY KEY ("+quoteAll(keyNames)+")")
	}
	pl.sql.write(pl)
	return nil
}

func quoteAll(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = quote(n)
	}
	return strings.Join(quoted, ", ")
}
