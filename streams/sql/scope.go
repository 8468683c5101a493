package sql

import (
	"slices"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams/sql/functions"
)

// The pseudo columns every source has.
const (
	rowTime      = "ROWTIME"
	rowPartition = "ROWPARTITION"
	rowOffset    = "ROWOFFSET"
)

// scopeSource is a source under the name a query gives it.
type scopeSource struct {
	alias  string
	source *source
}

// scope resolves the columns of the rows a query reads. A row has a slot for each
// column that the query names, in the order they are first named: what a query
// does not look at is neither decoded nor stored.
type scope struct {
	src     string
	sources []scopeSource
	slots   []slot
}

// slot is one place of a row: the column-th column of the source, or a pseudo
// column.
type slot struct {
	column int // -1 for a pseudo column
	name   string
	typ    functions.Type
}

// columns returns the slots as columns, for the schema of the rows.
func (s *scope) columns() []column {
	out := make([]column, len(s.slots))
	for i, sl := range s.slots {
		out[i] = column{name: sl.name, typ: sl.typ}
	}
	return out
}

// pseudo returns the slot of a pseudo column, or -1 when the query does not name
// it.
func (s *scope) pseudo(name string) int {
	for i, sl := range s.slots {
		if sl.column < 0 && sl.name == name {
			return i
		}
	}
	return -1
}

// named returns the slot of a column, or -1 when the query does not name it.
func (s *scope) named(column string) int {
	return slices.IndexFunc(s.slots, func(sl slot) bool { return sl.column >= 0 && sl.name == column })
}

// declares tells whether a source has a column of a name, also one that is not named.
func (s *scope) declares(column string) bool {
	return slices.ContainsFunc(s.sources, func(from scopeSource) bool { return slices.Contains(from.source.columnNames(), column) })
}

// take returns the slot of a column, which it makes when there is none.
func (s *scope) take(col int, name string, t functions.Type) compiled {
	for i, sl := range s.slots {
		if sl.column == col && sl.name == name {
			return slotOf(t, i)
		}
	}
	s.slots = append(s.slots, slot{column: col, name: name, typ: t})
	return slotOf(t, len(s.slots)-1)
}

// replace implements resolver.
func (s *scope) replace(expr) (compiled, bool, error) { return compiled{}, false, nil }

// column implements resolver.
func (s *scope) column(ref *columnRef) (compiled, error) {
	from := s.sources[0]
	if ref.source.text != "" && ref.source.text != from.alias {
		hint := didYouMean(ref.source.text, []string{from.alias})
		return compiled{}, fault(s.src, ref.source.span, "sql.unknown_source", "the query reads nothing called "+ref.source.text, hint)
	}
	for i, c := range from.source.columns {
		if c.name == ref.name.text {
			return s.take(i, c.name, c.typ), nil
		}
	}
	switch ref.name.text {
	case rowTime, rowOffset:
		return s.take(-1, ref.name.text, scalar(functions.Bigint)), nil
	case rowPartition:
		return s.take(-1, ref.name.text, scalar(functions.Int)), nil
	case windowStart, windowEnd:
		if from.source.windowing != nil {
			return s.take(-1, ref.name.text, bigint), nil
		}
	}
	return compiled{}, unknownColumn(s.src, ref, from.source)
}

func unknownColumn(src string, ref *columnRef, from *source) error {
	hint := didYouMean(ref.name.text, append(from.columnNames(), rowTime))
	if isBound(ref) {
		hint = "rows have it that are gathered in windows"
	}
	if hint == "" {
		hint = "DESCRIBE " + from.name + " lists its columns"
	}
	return fault(src, ref.name.span, "sql.unknown_column", from.kind()+" "+from.name+" has no column "+ref.name.text, hint)
}

// groupScope resolves what may stand in SELECT and HAVING of an aggregation: the
// expressions of GROUP BY and aggregate calls. Its rows are the columns of the
// group, of a window its bounds, then the results of the aggregates.
type groupScope struct {
	a        *analyzer // analyses over the rows of the source
	groups   []string  // the GROUP BY expressions as they print
	cols     []compiled
	windowed bool
	aggs     []*aggregation
}

// keys is how many columns stand before the aggregates.
func (g *groupScope) keys() int {
	if g.windowed {
		return len(g.groups) + 2
	}
	return len(g.groups)
}

// aggregation is one aggregate call of a query.
type aggregation struct {
	text  string
	name  string
	args  []compiled
	init  []connect.Value
	bound functions.BoundAggregate
	acc   functions.Accumulator
}

// column implements resolver.
func (g *groupScope) column(ref *columnRef) (compiled, error) {
	switch {
	case !g.windowed:
	case ref.name.text == windowStart:
		return slotOf(bigint, len(g.groups)), nil
	case ref.name.text == windowEnd:
		return slotOf(bigint, len(g.groups)+1), nil
	}
	if _, err := g.a.compile(ref); err != nil {
		return compiled{}, err
	}
	return compiled{}, g.a.fault(ref, "sql.not_grouped", "the column "+ref.name.text+" is neither grouped by nor inside an aggregate",
		"add it to GROUP BY, or take LATEST_BY_OFFSET("+ref.name.text+")")
}

// replace implements resolver.
func (g *groupScope) replace(e expr) (compiled, bool, error) {
	text := canonical(e)
	for i, group := range g.groups {
		if group == text {
			return slotOf(g.cols[i].typ, i), true, nil
		}
	}
	c, ok := e.(*call)
	if !ok {
		return compiled{}, false, nil
	}
	f, ok := g.a.functions().LookupAggregate(c.name.text)
	if !ok {
		return compiled{}, false, nil
	}
	agg, at, err := g.aggregate(c, f, text)
	if err != nil {
		return compiled{}, false, err
	}
	return slotOf(agg.acc.Returns, g.keys()+at), true, nil
}

// aggregate returns the aggregation of a call, the same one for calls that read the
// same.
func (g *groupScope) aggregate(c *call, f *functions.Aggregate, text string) (*aggregation, int, error) {
	for i, agg := range g.aggs {
		if agg.text == text {
			return agg, i, nil
		}
	}
	agg := &aggregation{text: text, name: f.Name}
	types := make([]functions.Type, len(c.args))
	for i, arg := range c.args {
		x, err := g.a.compile(arg)
		if err != nil {
			return nil, 0, err
		}
		agg.args = append(agg.args, x)
		types[i] = x.typ
	}
	if c.star && f.Name != "COUNT" {
		return nil, 0, g.a.fault(c, "sql.type", f.Name+" does not take *", "")
	}
	bound, err := f.Bind(types)
	if err != nil {
		return nil, 0, g.a.typeFault(c, err)
	}
	if err := g.bind(agg, bound, c); err != nil {
		return nil, 0, err
	}
	g.aggs = append(g.aggs, agg)
	return agg, len(g.aggs) - 1, nil
}

// bind parts the columns of a call from its constants and makes the accumulator.
func (g *groupScope) bind(agg *aggregation, bound functions.BoundAggregate, c *call) error {
	for i, p := range bound.Params {
		x, err := converted(agg.args[i], p)
		if err != nil {
			return g.a.typeFault(c.args[i], err)
		}
		agg.args[i] = x
	}
	for i := len(bound.Params); i < len(agg.args); i++ {
		if agg.args[i].constant == nil {
			return g.a.fault(c.args[i], "sql.type", "this argument of "+agg.name+" must be a constant", "")
		}
		agg.init = append(agg.init, *agg.args[i].constant)
	}
	agg.args, agg.bound = agg.args[:len(bound.Params)], bound
	var err error
	if agg.acc, err = bound.New(agg.init); err != nil {
		return g.a.typeFault(c, err)
	}
	return nil
}

// canonical prints an expression, so that expressions that read the same are the
// same. The names of the source are gone from it: see unqualify.
func canonical(e expr) string { return string(e.appendSQL(nil)) }

// unqualify takes the source's name off the columns of a query over one source, so
// that t.a and a are the same column.
func unqualify(q *query, alias string) {
	bare := func(e expr) bool {
		if ref, ok := e.(*columnRef); ok && ref.source.text == alias {
			ref.source = name{}
		}
		return true
	}
	for _, it := range q.items {
		walk(it.expr, bare)
	}
	for _, list := range [][]expr{q.groupBy, q.partitionBy, {q.where, q.having}} {
		for _, e := range list {
			walk(e, bare)
		}
	}
}
