package sql

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams/sql/functions"
	"github.com/tidemill/tidemill/streams/window"
)

// output is one column a query gives.
type output struct {
	column
	value compiled
}

// plan is an analysed query: what it reads, what it does with each row and what it
// gives. It is not changed once it is made, and any number of topologies can be
// built from it.
type plan struct {
	text  string // the query as it prints
	from  *source
	alias string
	scope *scope
	// library holds the functions there are.
	library *functions.Library
	where   *compiled
	// group holds the GROUP BY expressions, nil without aggregation; aggs are the
	// aggregates over them.
	group  []compiled
	aggs   []*aggregation
	having *compiled
	// outputs are the columns of the result, keys first. Their values are computed
	// over the source's rows, or with aggregation over the columns of the group and
	// the results of the aggregates.
	outputs []output
	// rekeyed says that the keys of the result are not those of the source.
	rekeyed bool
	// exploded are the table functions: arrays, of which each element gets a row. The
	// elements stand after the columns of the row that the outputs are computed over.
	exploded []compiled
	table    bool // the result is a table
	// windows are those that rows are gathered in, nil for none; windowing says of which
	// windows the rows of the result are.
	windows    *window.Windows
	windowText string
	windowing  *windowing
	// time is the time of a row that is read, nil for the record's; sinkTime that of a
	// result, nil for that of what it was made of.
	time     *compiled
	sinkTime *sinkTime
	emit     emit
	limit    int
	sink     *source
	// pull says that the query gives the rows there are, and ends. Of these are order and
	// offset.
	pull   bool
	order  []sorting
	offset int
}

// sides lists what the query reads.
func (p *plan) sides() []*source {
	if p.from.joined == nil {
		return []*source{p.from}
	}
	var out []*source
	for _, s := range p.from.joined.sides {
		out = append(out, s.source)
	}
	return out
}

// sources names what the query reads.
func (p *plan) sources() (names []string) {
	for _, s := range p.sides() {
		names = append(names, s.name)
	}
	return names
}

// aggregates tells whether the query gathers rows.
func (p *plan) aggregates() bool { return p.group != nil }

// keys returns how many of the outputs are the key.
func (p *plan) keys() int {
	n := 0
	for n < len(p.outputs) && p.outputs[n].key {
		n++
	}
	return n
}

// columns returns the columns of the result.
func (p *plan) columns() []column {
	out := make([]column, len(p.outputs))
	for i, o := range p.outputs {
		out[i] = o.column
	}
	return out
}

// analyzeQuery gives a SELECT its meaning. persistent says that its result is
// written somewhere, which asks for the keys to be among what is selected.
func analyzeQuery(src string, q *query, cat *catalog, persistent bool) (*plan, error) {
	text := q.String()
	read, err := relate(src, q, cat)
	if err != nil {
		return nil, err
	}
	from, alias := read.sources[0].source, read.sources[0].alias
	p := &plan{text: text, from: from, alias: alias, scope: read, library: cat.library, emit: q.emit, limit: q.limit, table: from.table, windowing: from.windowing}
	if err := p.timeBy(); err != nil {
		return nil, err
	}
	a := &analyzer{src: src, scope: p.scope, types: cat.types, library: cat.library}
	if q.where != nil {
		c, err := a.condition(q.where)
		if err != nil {
			return nil, err
		}
		p.where = &c
	}
	p.pull, p.offset = !persistent && q.emit == emitNone, max(q.offset, 0)
	b := &planner{p: p, q: q, a: a, persistent: persistent}
	if err := b.check(); err != nil {
		return nil, err
	}
	if len(q.groupBy) > 0 || p.pull && b.aggregates() {
		err = b.grouped()
	} else {
		err = b.plain()
	}
	if err != nil {
		return nil, err
	}
	return p, b.names()
}

// condition compiles an expression that decides.
func (a *analyzer) condition(e expr) (compiled, error) {
	c, err := a.compile(e)
	if err != nil {
		return c, err
	}
	return a.boolean(e, c)
}

// planner fills in a plan.
type planner struct {
	p          *plan
	q          *query
	a          *analyzer
	persistent bool
}

// check refuses clauses that do not go together.
func (b *planner) check() error {
	q := b.q
	switch {
	case q.emit == emitFinal && q.window == nil:
		return b.a.fault(q, "sql.bad_clause", "EMIT FINAL is for windowed aggregations", "write EMIT CHANGES")
	case q.window != nil && len(q.groupBy) == 0:
		return b.a.fault(q.window, "sql.bad_clause", "WINDOW needs a GROUP BY", "gather the rows of a key: GROUP BY the key, and select an aggregate such as COUNT(*)")
	case q.window != nil && b.p.from.table:
		return b.a.fault(q.window, "sql.bad_clause", "the rows of a table belong to no window: they are those of now", "gather the stream that the table is made of")
	case b.p.from.windowing != nil && !b.p.pull && len(q.groupBy)+len(q.partitionBy) > 0:
		return b.a.fault(q, "sql.bad_clause", "the rows of "+b.p.from.name+" are of windows, and cannot be given other keys", "gather the stream that "+b.p.from.name+" is made of")
	case !b.p.pull && (len(q.orderBy) > 0 || q.offset >= 0):
		return b.a.fault(cmp.Or(q.orderAt, q.span), "sql.bad_clause", "ORDER BY and OFFSET are for pull queries, whose rows are all there", "leave out what makes the query go on")
	case len(q.groupBy) == 0 && q.having != nil && !b.p.pull:
		return b.a.fault(q.having, "sql.bad_clause", "HAVING needs a GROUP BY", "use WHERE")
	case len(q.groupBy) > 0 && len(q.partitionBy) > 0:
		return b.a.fault(q.partitionAt, "sql.bad_clause", "GROUP BY and PARTITION BY cannot stand in one query", "leave out PARTITION BY: groups are the key of the result")
	case len(q.partitionBy) > 0 && b.p.from.table:
		return b.a.fault(q.partitionAt, "sql.bad_clause", "a table cannot be partitioned by another column", "its primary key is what its rows are known by")
	case b.persistent && q.limit >= 0:
		return b.a.fault(q, "sql.bad_clause", "a query that is written somewhere goes on for ever and takes no LIMIT", "leave out LIMIT")
	}
	return nil
}

// expand replaces stars by the columns they stand for.
func (b *planner) expand() ([]item, error) {
	var out []item
	for _, it := range b.q.items {
		switch {
		case !it.star:
			out = append(out, it)
		case it.expr != nil:
			fields, err := b.structFields(it)
			if err != nil {
				return nil, err
			}
			out = append(out, fields...)
		default:
			columns, err := b.starColumns(it)
			if err != nil {
				return nil, err
			}
			for _, c := range columns {
				out = append(out, item{span: it.span, expr: &columnRef{span: it.span, name: name{it.span, c.name}}})
			}
		}
	}
	return out, nil
}

// starColumns are those that * stands for. The bounds of windows are among them where the
// result is not written to a topic, which has them in its keys.
func (b *planner) starColumns(it item) ([]column, error) {
	from, whose := b.p.from, it.source.text
	if from.joined != nil && whose != "" {
		for _, s := range from.joined.sides {
			if s.alias == whose {
				return from.columns[s.first : s.first+len(s.source.columns)], nil
			}
		}
	}
	switch {
	case whose != "" && whose != b.p.alias:
		return nil, b.a.fault(it.source, "sql.unknown_source", "the query reads nothing called "+whose, "")
	case b.persistent:
		return from.columns, nil
	}
	return append(from.keyColumns(), from.columns[from.keys():]...), nil
}

func (b *planner) structFields(it item) ([]item, error) {
	c, err := b.a.compile(it.expr)
	if err != nil {
		return nil, err
	}
	if c.typ.Kind != functions.Struct {
		return nil, b.a.fault(it.expr, "sql.type", fmt.Sprintf("->* takes the fields of a struct, this is %s", c.typ), "")
	}
	var out []item
	for _, f := range c.typ.Fields {
		out = append(out, item{span: it.span, expr: &deref{span: it.span, x: it.expr, field: name{it.span, f.Name}}, alias: name{it.span, f.Name}})
	}
	return out, nil
}

// outputName is the name an item gives its column, empty when it must be made up.
func outputName(it item) string {
	if it.alias.text != "" {
		return it.alias.text
	}
	switch e := it.expr.(type) {
	case *columnRef:
		return e.name.text
	case *deref:
		return e.field.text
	}
	return ""
}

// plain analyses a query without aggregation.
func (b *planner) plain() error {
	items, err := b.expand()
	if err != nil {
		return err
	}
	keys := b.sourceKeys(items)
	if len(b.q.partitionBy) > 0 {
		b.p.rekeyed = true
		if keys, err = b.partitionKeys(); err != nil {
			return err
		}
	}
	if err := b.project(items, keys, b.a); err != nil {
		return err
	}
	return b.order(b.a)
}

// sourceKeys are the key columns of the source as they print. Of a join, where several
// expressions are the key, it is the first of those that is selected.
func (b *planner) sourceKeys(items []item) []string {
	if j := b.p.from.joined; j != nil && !j.foreign() {
		for _, k := range j.keys {
			if slices.ContainsFunc(items, func(it item) bool { return it.expr != nil && canonical(it.expr) == k }) {
				return []string{k}
			}
		}
		return j.keys[:min(1, len(j.keys))]
	}
	var out []string
	n := b.p.from.keys()
	if j := b.p.from.joined; j != nil {
		n = j.sides[0].source.keys()
	}
	for _, c := range b.p.from.columns[:n] {
		out = append(out, string(identSQL(nil, c.name)))
	}
	return out
}

// partitionKeys are the expressions of PARTITION BY as they print; PARTITION BY
// NULL means no key.
func (b *planner) partitionKeys() ([]string, error) {
	var out []string
	for _, e := range b.q.partitionBy {
		if l, ok := e.(*literal); ok && l.kind == functions.Null && len(b.q.partitionBy) == 1 {
			return nil, nil
		}
		if _, err := b.keyExpression(e); err != nil {
			return nil, err
		}
		out = append(out, canonical(e))
	}
	return out, nil
}

// keyExpression compiles an expression that becomes a key.
func (b *planner) keyExpression(e expr) (compiled, error) {
	c, err := b.a.compile(e)
	if err != nil {
		return c, err
	}
	if c.typ.Kind == functions.Map || c.typ.Kind == functions.Null {
		return c, b.a.fault(e, "sql.type", fmt.Sprintf("%s cannot be a key", c.typ), "")
	}
	return c, nil
}

// grouped analyses an aggregation.
func (b *planner) grouped() error {
	p := b.p
	if b.q.window != nil {
		if err := b.windows(b.q.window); err != nil {
			return err
		}
	}
	g := &groupScope{a: b.a, windowed: p.windows != nil}
	p.group = []compiled{}
	for _, e := range b.q.groupBy {
		c, err := b.keyExpression(e)
		if err != nil {
			return err
		}
		p.group = append(p.group, c)
		g.groups = append(g.groups, canonical(e))
	}
	g.cols = p.group
	for _, it := range b.q.items {
		if it.star {
			return b.a.fault(it, "sql.not_grouped", "* cannot stand in an aggregation", "name the grouped columns and the aggregates")
		}
	}
	over := &analyzer{src: b.a.src, scope: g, types: b.a.types, library: b.a.library}
	if err := b.project(b.q.items, g.groups, over); err != nil {
		return err
	}
	if b.q.having != nil {
		c, err := over.condition(b.q.having)
		if err != nil {
			return err
		}
		p.having = &c
	}
	if err := b.order(over); err != nil {
		return err
	}
	p.aggs = g.aggs
	p.rekeyed = p.from.joined != nil || !slices.Equal(g.groups, b.sourceKeys(nil))
	p.table = true
	if p.pull {
		p.windowing = nil
		return nil // The rows there are need no taking back.
	}
	if len(p.aggs) == 0 {
		return b.a.fault(b.q.groupAt, "sql.bad_clause", "GROUP BY needs an aggregate such as COUNT(*) in the SELECT list", "")
	}
	return b.undoable()
}

// undoable refuses aggregates that cannot take rows back, over tables, whose rows
// change and go.
func (b *planner) undoable() error {
	if !b.p.from.table {
		return nil
	}
	for _, agg := range b.p.aggs {
		if agg.acc.Undo == nil {
			return b.a.fault(b.aggregateCall(agg), "sql.not_undoable", agg.name+" cannot take rows back, so it cannot stand over a table, whose rows change",
				"COUNT, SUM, AVG and COLLECT_LIST can")
		}
	}
	return nil
}

// aggregateCall finds where an aggregate stands in the query.
func (b *planner) aggregateCall(agg *aggregation) node {
	var found node = b.q
	look := func(e expr) bool {
		if c, ok := e.(*call); ok && canonical(c) == agg.text {
			found = c
		}
		return true
	}
	for _, it := range b.q.items {
		walk(it.expr, look)
	}
	walk(b.q.having, look)
	return found
}

// project compiles the items into outputs. Those that print as one of the keys are
// the key; when the result is written somewhere they come first, in the order of
// the keys.
func (b *planner) project(items []item, keys []string, over *analyzer) error {
	keyed := make([]*output, len(keys))
	var values []output
	unnamed := 0
	for _, it := range items {
		c, err := b.selected(it.expr, over)
		if err != nil {
			return err
		}
		if c.typ.Kind == functions.Null {
			return b.a.fault(it.expr, "sql.type", "the type of this column cannot be told", "write CAST(NULL AS …)")
		}
		o := output{column: column{name: outputName(it), typ: c.typ}, value: c}
		if o.name == "" {
			for o.name == "" || b.p.scope.declares(o.name) {
				o.name = numbered("KSQL_COL_", unnamed)
				unnamed++
			}
		}
		o.key = b.p.windowing != nil && !b.persistent && isBound(it.expr)
		k := slices.Index(keys, canonical(it.expr))
		if k < 0 || keyed[k] != nil && !b.persistent {
			values = append(values, o)
			continue
		}
		if keyed[k] != nil {
			return b.a.fault(it, "sql.key_twice", "the key "+keys[k]+" is selected twice", "copy it with AS_VALUE("+keys[k]+")")
		}
		o.key = true
		keyed[k] = &o
		if !b.persistent {
			values = append(values, o)
		}
	}
	for i, o := range keyed {
		switch {
		case !b.persistent:
		case o == nil:
			return b.a.fault(items[0], "sql.key_missing", "the key "+keys[i]+" is not selected", "add "+keys[i]+" to the SELECT list")
		default:
			b.p.outputs = append(b.p.outputs, *o)
		}
	}
	b.p.outputs = append(b.p.outputs, values...)
	return nil
}

// selected compiles an item, in which table functions may stand.
func (b *planner) selected(e expr, over *analyzer) (compiled, error) {
	inner := *over
	inner.scope = &tableScope{resolver: over.scope, b: b, over: over}
	return inner.compile(e)
}

// tableScope resolves table functions, and leaves the rest to the scope it stands before.
type tableScope struct {
	resolver
	b    *planner
	over *analyzer
}

// replace implements resolver.
func (s *tableScope) replace(e expr) (compiled, bool, error) {
	if c, ok, err := s.resolver.replace(e); ok || err != nil {
		return c, ok, err
	}
	c, ok := e.(*call)
	if !ok {
		return compiled{}, false, nil
	}
	f, ok := s.over.functions().Lookup(c.name.text)
	if !ok || f.Category != functions.Table {
		return compiled{}, false, nil
	}
	p := s.b.p
	if p.from.table || len(s.b.q.groupBy) > 0 || p.pull && s.b.aggregates() {
		return compiled{}, false, s.b.a.fault(e, "sql.bad_clause", f.Name+" makes rows of a stream, without aggregation", "make a stream of its rows first")
	}
	rows, err := s.over.bound(c, f)
	if err != nil {
		return compiled{}, false, err
	}
	i := len(p.exploded)
	p.exploded = append(p.exploded, rows)
	return compiled{typ: *rows.typ.Elem, make: func(teller) (eval, error) {
		at := len(p.scope.slots) + i
		return func(row []connect.Value) (connect.Value, error) { return row[at], nil }, nil
	}}, true, nil
}

// names refuses two outputs of one name, and results without values.
func (b *planner) names() error {
	seen := map[string]bool{}
	for _, o := range b.p.outputs {
		if seen[o.name] {
			return b.a.fault(b.q, "sql.duplicate_column", "the result has two columns named "+o.name, "give one another name with AS")
		}
		seen[o.name] = true
		switch o.name {
		case rowTime, rowPartition, rowOffset, windowStart, windowEnd:
			if b.persistent {
				return b.a.fault(b.q, "sql.reserved_column", o.name+" is the name of a pseudo column", "give it another name with AS")
			}
		}
	}
	if b.persistent && b.p.keys() == len(b.p.outputs) {
		return b.a.fault(b.q, "sql.no_values", "the result has no column besides its key", "select a value too, such as AS_VALUE of the key")
	}
	return nil
}

// outputRow computes the outputs of rows, for one goroutine.
type outputRow struct {
	evals  []eval
	schema *connect.Schema
}

// newOutputRow makes the evals of some outputs.
func newOutputRow(outputs []output, told teller) (*outputRow, error) {
	columns := make([]column, len(outputs))
	list := make([]compiled, len(outputs))
	for i, o := range outputs {
		columns[i], list[i] = o.column, o.value
	}
	schema, err := rowSchema("", columns)
	if err != nil {
		return nil, err
	}
	evals, err := makeAll(list, told)
	return &outputRow{evals: evals, schema: schema}, err
}

// of computes the outputs of one row. An expression that fails is null, as in
// ksqlDB; failed is told about it.
func (o *outputRow) of(row []connect.Value, failed func(error)) connect.Value {
	out := make([]connect.Value, len(o.evals))
	for i, e := range o.evals {
		v, err := e(row)
		if err != nil {
			failed(err)
			v = null
		}
		out[i] = v
	}
	return connect.StructValue(o.schema.StructOf(out))
}
