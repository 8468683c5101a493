package sql

import (
	"slices"
	"sync"

	"github.com/tidemill/tidemill/connect"
)

// worker computes what a plan says of single rows, for one goroutine at a time.
// The operators of a topology are shared by all its tasks, so they borrow a worker
// for each row.
type worker struct {
	where  eval
	group  []eval
	args   []eval // of all aggregates, one after another
	having eval
	// Of the times of rows that are read, and of results.
	time, sinkTime eval

	exploded []eval
	out      *outputRow
	order    []eval
	row      []connect.Value // scratch: the columns of the group, the bounds of its window and the results
}

// crew lends workers.
type crew struct {
	plan   *plan
	group  *connect.Schema // of the columns of a group
	keyed  *connect.Schema // of these and the bounds of a window
	args   *connect.Schema // of the arguments of all aggregates
	state  *connect.Schema // of the rows' number and the states of all aggregates
	failed func(error)     // told of expressions that fail
	pool   sync.Pool
}

// newCrew checks that workers can be made, and works out the schemas of what
// passes between operators.
func newCrew(p *plan, failed func(error)) (*crew, error) {
	c := &crew{plan: p, failed: failed}
	first, err := p.newWorker(failed)
	if err != nil {
		return nil, err
	}
	c.pool.Put(first)
	if !p.aggregates() {
		return c, nil
	}
	var group, args []column
	states := []column{{name: "ROWS", typ: bigint}}
	for i, g := range p.group {
		group = append(group, column{name: numbered("G", i), typ: g.typ})
	}
	for _, agg := range p.aggs {
		for _, a := range agg.args {
			args = append(args, column{name: numbered("A", len(args)), typ: a.typ})
		}
		for _, s := range agg.acc.State {
			states = append(states, column{name: numbered("S", len(states)), typ: s})
		}
	}
	if c.group, err = rowSchema("", group); err != nil {
		return nil, err
	}
	if c.keyed, err = rowSchema("", withBounds(group, p.windows != nil)); err != nil {
		return nil, err
	}
	if c.args, err = rowSchema("", args); err != nil {
		return nil, err
	}
	c.state, err = rowSchema("", states)
	return c, err
}

// newWorker makes the evals of a plan.
func (p *plan) newWorker(told teller) (*worker, error) {
	w := &worker{}
	var err error
	if p.where != nil {
		if w.where, err = p.where.make(told); err != nil {
			return nil, err
		}
	}
	if p.having != nil {
		if w.having, err = p.having.make(told); err != nil {
			return nil, err
		}
	}
	if p.time != nil {
		if w.time, err = p.time.make(told); err != nil {
			return nil, err
		}
	}
	if p.sinkTime != nil {
		if w.sinkTime, err = p.sinkTime.of.make(told); err != nil {
			return nil, err
		}
	}
	if w.group, err = makeAll(p.group, told); err != nil {
		return nil, err
	}
	if w.exploded, err = makeAll(p.exploded, told); err != nil {
		return nil, err
	}
	for _, agg := range p.aggs {
		evals, err := makeAll(agg.args, told)
		if err != nil {
			return nil, err
		}
		w.args = append(w.args, evals...)
	}
	for _, s := range p.order {
		e, err := s.of.make(told)
		if err != nil {
			return nil, err
		}
		w.order = append(w.order, e)
	}
	w.row = make([]connect.Value, len(p.group)+2+len(p.aggs))
	w.out, err = newOutputRow(p.outputs, told)
	return w, err
}

// borrow returns a worker; give it back with pool.Put. Making one succeeded before,
// so a worker that cannot be made now is a fault of the program.
func (c *crew) borrow() *worker {
	if w, ok := c.pool.Get().(*worker); ok {
		return w
	}
	w, err := c.plan.newWorker(c.failed)
	if err != nil {
		panic("sql: expressions that were compiled before cannot be compiled now: " + err.Error())
	}
	return w
}

// test decides about a row; unknown and failure mean no.
func (c *crew) test(cond eval, row []connect.Value) bool {
	if cond == nil {
		return true
	}
	v, err := cond(row)
	if err != nil {
		c.failed(err)
		return false
	}
	return !v.IsNull() && v.Bool()
}

// keep tells whether a row passes WHERE, and in an aggregation whether it belongs
// to a group at all.
func (c *crew) keep(row connect.Value) bool {
	w := c.borrow()
	defer c.pool.Put(w)
	values := row.Struct().Values()
	if !c.test(w.where, values) {
		return false
	}
	for _, g := range w.group {
		if v, err := g(values); err != nil || v.IsNull() {
			if err != nil {
				c.failed(err)
			}
			return false
		}
	}
	return true
}

// output computes the result's columns of a row.
func (c *crew) output(row connect.Value) connect.Value {
	w := c.borrow()
	defer c.pool.Put(w)
	return w.out.of(row.Struct().Values(), c.failed)
}

// outputs computes the results of a row: one, or as many as the longest array of its table
// functions has elements. The shorter ones are filled up with nulls.
func (c *crew) outputs(row connect.Value) []connect.Value {
	if len(c.plan.exploded) == 0 {
		return []connect.Value{c.output(row)}
	}
	w := c.borrow()
	defer c.pool.Put(w)
	values := slices.Clone(row.Struct().Values())
	arrays, n := c.all(w.exploded, values), 0
	for _, a := range arrays {
		n = max(n, a.Len())
	}
	out, at := make([]connect.Value, n), len(values)
	values = append(values, arrays...)
	for r := range out {
		for i, a := range arrays {
			if values[at+i] = null; r < a.Len() {
				values[at+i] = a.Array()[r]
			}
		}
		out[r] = w.out.of(values, c.failed)
	}
	return out
}

// groupOf computes the group of a row and what the aggregates take of it.
func (c *crew) groupOf(row connect.Value) (group, args connect.Value) {
	w := c.borrow()
	defer c.pool.Put(w)
	values := row.Struct().Values()
	return connect.StructValue(c.group.StructOf(c.all(w.group, values))), connect.StructValue(c.args.StructOf(c.all(w.args, values)))
}

// all computes several expressions of a row; one that fails is null.
func (c *crew) all(evals []eval, row []connect.Value) []connect.Value {
	out := make([]connect.Value, len(evals))
	for i, e := range evals {
		v, err := e(row)
		if err != nil {
			c.failed(err)
			v = null
		}
		out[i] = v
	}
	return out
}

// empty is the state of a group without rows.
func (c *crew) empty() connect.Value {
	values := make([]connect.Value, len(c.state.Fields()))
	values[0] = connect.Int64(0)
	at := 1
	for _, agg := range c.plan.aggs {
		n := len(agg.acc.State)
		if agg.acc.Zero != nil {
			agg.acc.Zero(values[at : at+n])
		}
		at += n
	}
	return connect.StructValue(c.state.StructOf(values))
}

// add returns the state of a group with one more row; sign -1 takes one out. An
// aggregate that fails stays what it was.
func (c *crew) add(args, state connect.Value, sign int64) connect.Value {
	values := append([]connect.Value(nil), state.Struct().Values()...)
	values[0] = connect.Int64(values[0].Int() + sign)
	row, at, arg := args.Struct().Values(), 1, 0
	for _, agg := range c.plan.aggs {
		n := len(agg.acc.State)
		step := agg.acc.Add
		if sign < 0 {
			step = agg.acc.Undo
		}
		if err := step(values[at:at+n], row[arg:arg+len(agg.args)]); err != nil {
			c.failed(err)
		}
		at, arg = at+n, arg+len(agg.args)
	}
	return connect.StructValue(c.state.StructOf(values))
}

// isEmpty tells whether a group has no rows left.
func (c *crew) isEmpty(state connect.Value) bool { return state.Struct().At(0).Int() <= 0 }

// results fills the worker's row with a group's columns and its aggregates.
func (c *crew) results(w *worker, group, state connect.Value) []connect.Value {
	n := copy(w.row, group.Struct().Values())
	values, at := state.Struct().Values(), 1
	for i, agg := range c.plan.aggs {
		size := len(agg.acc.State)
		if agg.acc.Result != nil {
			w.row[n+i] = agg.acc.Result(values[at : at+size])
		} else {
			w.row[n+i] = values[at]
		}
		at += size
	}
	return w.row
}

// having tells whether a group belongs to the result.
func (c *crew) having(group, state connect.Value) bool {
	w := c.borrow()
	defer c.pool.Put(w)
	return w.having == nil || c.test(w.having, c.results(w, group, state))
}

// outputOf computes the result's columns of a group.
func (c *crew) outputOf(group, state connect.Value) connect.Value {
	w := c.borrow()
	defer c.pool.Put(w)
	return w.out.of(c.results(w, group, state), c.failed)
}
