package sql

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams/sql/functions"
)

// sorting is one entry of ORDER BY: a value computed over the rows that the outputs are
// computed over.
type sorting struct {
	of compiled
	ordering
}

// aggregates tells whether the query names an aggregate, without a GROUP BY perhaps.
func (b *planner) aggregates() bool {
	found := false
	look := func(e expr) bool {
		if c, ok := e.(*call); ok {
			_, is := b.a.functions().LookupAggregate(c.name.text)
			found = found || is
		}
		return !found
	}
	for _, it := range b.q.items {
		walk(it.expr, look)
	}
	walk(b.q.having, look)
	for _, o := range b.q.orderBy {
		walk(o.expr, look)
	}
	return found
}

// order compiles ORDER BY. A number is that of a column of the result, a name that of one,
// and only then of what is read, as in PostgreSQL.
func (b *planner) order(over *analyzer) error {
	for _, o := range b.q.orderBy {
		s := sorting{ordering: o}
		at := b.outputAt(o.expr)
		switch l, isNumber := o.expr.(*literal); {
		case at >= 0:
			s.of = b.p.outputs[at].value
		case isNumber && l.kind == functions.Int:
			return b.a.fault(o.expr, "sql.bad_clause", "the result has no column "+l.text, "ORDER BY takes the numbers 1 to "+strconv.Itoa(len(b.p.outputs)))
		default:
			var err error
			if s.of, err = over.compile(o.expr); err != nil {
				return err
			}
		}
		if k := s.of.typ.Kind; k == functions.Map || k == functions.Array || k == functions.Struct {
			return b.a.fault(o.expr, "sql.type", fmt.Sprintf("rows cannot be put in the order of %s", s.of.typ), "")
		}
		b.p.order = append(b.p.order, s)
	}
	return nil
}

// outputAt returns the output that an entry of ORDER BY means, -1 for none.
func (b *planner) outputAt(e expr) int {
	switch e := e.(type) {
	case *literal:
		if n, err := strconv.Atoi(e.text); err == nil && e.kind == functions.Int && n > 0 && n <= len(b.p.outputs) {
			return n - 1
		}
	case *columnRef:
		return slices.IndexFunc(b.p.outputs, func(o output) bool { return e.source.text == "" && o.name == e.name.text })
	}
	return -1
}

// mostRows is how many rows, or groups, a pull query may hold.
const mostRows = 1_000_000

func tooMany(what string) error {
	return &Error{Code: "sql.too_many_rows", Message: fmt.Sprintf("the query would hold more than %d %s", mostRows, what), Hint: "narrow it down with WHERE, or make a table of it with CREATE TABLE … AS SELECT"}
}

// open makes what computes the rows.
func (a *pulling) open(failed func(error)) (err error) {
	if a.c, err = newCrew(a.p, failed); err != nil {
		return err
	}
	a.w = a.c.borrow() // It is not given back: this is all one goroutine.
	if a.p.aggregates() {
		var columns []column
		for i, g := range a.p.group {
			columns = append(columns, column{name: numbered("G", i), typ: g.typ})
		}
		a.groups = &gathering{c: a.c, w: a.w, states: map[string]*pulledGroup{}}
		if a.groups.keys, err = newOrderedKey(columns); err != nil {
			return err
		}
	}
	if len(a.p.order) > 0 {
		a.sorted = &sorter{by: a.p.order, most: -1}
		if a.p.limit >= 0 {
			a.sorted.most = a.p.offset + a.p.limit
		}
	}
	return nil
}

// gathering are the groups of a pull query. Rows whose group is null are one too, as in
// PostgreSQL.
type gathering struct {
	c      *crew
	w      *worker
	keys   orderedKey
	states map[string]*pulledGroup
	key    []byte // scratch
}

type pulledGroup struct {
	group, state connect.Value
	time         int64
}

// add takes a row in.
func (g *gathering) add(row []connect.Value, time int64) (err error) {
	group := g.c.all(g.w.group, row)
	if g.key, err = g.keys.appendPrefix(g.key[:0], group); err != nil {
		return err
	}
	of := g.states[string(g.key)]
	if of == nil {
		if len(g.states) == mostRows {
			return tooMany("groups")
		}
		of = &pulledGroup{group: connect.StructValue(g.c.group.StructOf(group)), state: g.c.empty()}
		g.states[string(g.key)] = of
	}
	of.state = g.c.add(connect.StructValue(g.c.args.StructOf(g.c.all(g.w.args, row))), of.state, 1)
	of.time = max(of.time, time)
	return nil
}

// end gives what could not be given before all rows were read: the groups, in the order of
// their keys, or all in the order that is asked for.
func (a *pulling) end() error {
	if g := a.groups; g != nil {
		if len(g.states) == 0 && len(a.p.group) == 0 { // All rows are one group, also when there are none.
			g.states[""] = &pulledGroup{group: connect.StructValue(g.c.group.StructOf(nil)), state: g.c.empty()}
		}
		keys := make([]string, 0, len(g.states))
		for k := range g.states {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		for _, k := range keys {
			of := g.states[k]
			if row := a.c.results(a.w, of.group, of.state); a.c.test(a.w.having, row) {
				if err := a.result(row, of.time); err != nil {
					return err
				}
			}
		}
	}
	if a.sorted == nil {
		return nil
	}
	for _, r := range a.sorted.all() {
		if err := a.give(r.out, r.time); err != nil {
			return err
		}
	}
	return nil
}

// result computes a row of the result, and gives it or keeps it to be sorted.
func (a *pulling) result(row []connect.Value, time int64) error {
	out := a.w.out.of(row, a.c.failed).Struct().Values()
	if a.sorted == nil {
		return a.give(out, time)
	}
	return a.sorted.add(sortedRow{by: a.c.all(a.w.order, row), out: out, time: time})
}

// give answers with a row, unless it is one that is skipped.
func (a *pulling) give(out []connect.Value, time int64) error {
	if a.skip > 0 {
		a.skip--
		return nil
	}
	if err := a.answer.Row(Row{Values: out, Time: time, columns: a.header.Columns}); err != nil {
		return err
	}
	if a.left > 0 {
		if a.left--; a.left == 0 {
			return errEnough
		}
	}
	return nil
}

// sorter puts rows in order. Where only the first of them are wanted it forgets the others
// from time to time.
type sorter struct {
	by   []sorting
	most int // -1 for all
	rows []sortedRow
}

type sortedRow struct {
	by, out []connect.Value
	time    int64
}

// slack is how many rows more than are wanted gather before the others are forgotten.
const slack = 4096

func (s *sorter) add(r sortedRow) error {
	s.rows = append(s.rows, r)
	switch {
	case s.most >= 0 && len(s.rows) >= 2*s.most+slack:
		s.all()
	case len(s.rows) > mostRows:
		return tooMany("rows")
	}
	return nil
}

// all sorts the rows, and returns those that are wanted.
func (s *sorter) all() []sortedRow {
	slices.SortStableFunc(s.rows, s.compare)
	if s.most >= 0 && len(s.rows) > s.most {
		clear(s.rows[s.most:])
		s.rows = s.rows[:s.most]
	}
	return s.rows
}

func (s *sorter) compare(x, y sortedRow) int {
	for i, by := range s.by {
		if d := by.compare(x.by[i], y.by[i]); d != 0 {
			return d
		}
	}
	return 0
}

// compare compares two values by one entry of ORDER BY.
func (s *sorting) compare(x, y connect.Value) int {
	switch {
	case x.IsNull() && y.IsNull():
		return 0
	case x.IsNull() && s.nullsFirst, y.IsNull() && !s.nullsFirst:
		return -1
	case x.IsNull() || y.IsNull():
		return 1
	}
	d := functions.Compare(s.of.typ, x, y)
	if s.descending {
		d = -d
	}
	return d
}
