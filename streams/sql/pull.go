package sql

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tidemill/tidemill/connect"
	rows "github.com/tidemill/tidemill/streams/query"
	"github.com/tidemill/tidemill/streams/serde"
	"github.com/tidemill/tidemill/streams/sql/functions"
)

// pull answers a query from the store of the query that fills its table.
func (e *Engine) pull(ctx context.Context, p *plan, st *query, cat *catalog, to Answer) error {
	src := p.scope.src
	switch {
	case len(st.partitionBy) > 0:
		return fault(src, st.partitionAt, "sql.bad_clause", "a pull query does not partition", "add EMIT CHANGES")
	case !p.from.materialized:
		return fault(src, st.from.place(), "sql.not_materialized", "the rows of table "+p.from.name+" are not kept, so they cannot be looked up",
			"CREATE SOURCE TABLE keeps those of a topic, CREATE TABLE … AS SELECT those of a query; or add EMIT CHANGES")
	}
	q := cat.queries[p.from.query]
	if q == nil || q.built == nil {
		return &Error{Code: "sql.unknown_query", Message: "the query that fills " + p.from.name + " is gone", Hint: "CREATE the table anew"}
	}
	spans, err := keySpans(p, st)
	if err != nil {
		return err
	}
	store, err := e.rows(ctx, q)
	if err != nil {
		return err
	}
	reader, err := newTableReader(q.built)
	if err != nil {
		return err
	}
	a := &pulling{p: p, answer: to, reader: reader, header: p.header(""), skip: p.offset, left: p.limit}
	if err := a.open(e.failed("pull")); err != nil {
		return err
	}
	if q.built.windows != nil {
		spans = a.windowSpans(spans, st)
	}
	if err := to.Header(a.header); err != nil || a.left == 0 {
		return err
	}
	for _, s := range spans {
		if err = a.read(ctx, store, s); err != nil {
			break
		}
	}
	if err == nil {
		err = a.end()
	}
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// storePatience is how long a pull query waits for a table that is being rebuilt, or
// whose query is taking its place among others: that of ksqlDB, see
// ksql.query.pull.streamsstore.rebalancing.timeout.ms in
// https://docs.confluent.io/platform/current/ksqldb/reference/server-configuration.html.
const storePatience = 10 * time.Second

// rows returns the store of a query. One that cannot be read yet is an error after a
// while, and never a table without rows.
func (e *Engine) rows(ctx context.Context, q *persistent) (*rows.Rows, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, storePatience, fmt.Errorf("waited %v for it", storePatience))
	defer cancel()
	store, err := e.config.Runner.Rows(ctx, e.app(q.id), resultStore)
	if err != nil || e.config.MaxLag <= 0 {
		return store, err
	}
	return store.Within(rows.Bounds{MaxLag: e.config.MaxLag}), nil
}

// errEnough ends a walk when the query has given all it should.
var errEnough = errors.New("enough rows")

// tableReader turns the rows of a query's store into the rows of its table.
type tableReader struct {
	b     *built
	key   orderedKey
	value serde.Serde[connect.Value]
}

func newTableReader(b *built) (*tableReader, error) {
	p := b.plan
	r := &tableReader{b: b}
	var err error
	if p.aggregates() {
		columns := make([]column, len(p.group))
		for i, g := range p.group {
			columns[i] = column{name: numbered("G", i), typ: g.typ}
		}
		r.value = serde.Row(b.crew.state)
		r.key, err = newOrderedKey(columns)
		return r, err
	}
	schema, err := rowSchema("", p.columns())
	if err != nil {
		return nil, err
	}
	r.value = serde.Row(schema)
	r.key, err = newOrderedKey(p.from.keyColumns())
	return r, err
}

// tableRow is a row of a table: its columns, and the bounds of its window if it has one.
type tableRow struct {
	values     []connect.Value
	time       int64
	start, end int64
}

// row returns a table's row, or false when HAVING leaves it out.
func (r *tableReader) row(stored rows.Row) (row tableRow, ok bool, err error) {
	v, err := r.value.Decode(bytes.Clone(stored.Value))
	if err != nil {
		return row, false, err
	}
	aggregates, windowed := r.b.plan.aggregates(), r.b.plan.windowing != nil
	if !aggregates && !windowed {
		return tableRow{values: v.Struct().Values(), time: stored.Time}, true, nil
	}
	key, err := r.key.Decode(bytes.Clone(stored.Key))
	if err != nil {
		return row, false, err
	}
	row.time = stored.Time
	if !aggregates {
		n := r.b.plan.from.keys()
		row.values, row.start, row.end = v.Struct().Values(), key.Struct().At(n).Int(), key.Struct().At(n+1).Int()
		return row, true, nil
	}
	return r.group(key, v, row)
}

// group completes the row of a group, of its state.
func (r *tableReader) group(key, state connect.Value, row tableRow) (tableRow, bool, error) {
	if !r.b.crew.having(key, state) {
		return row, false, nil
	}
	row.values = r.b.crew.outputOf(key, state).Struct().Values()
	return row, true, nil
}

// pulling is one pull query at work.
type pulling struct {
	p      *plan
	c      *crew
	w      *worker
	answer Answer
	reader *tableReader
	header Header
	// How many rows are still to be left out, and how many to be given, -1 for all.
	skip, left int
	groups     *gathering // nil without aggregation
	sorted     *sorter    // nil without ORDER BY
	// Of windows: when those start that can be asked for, in milliseconds.
	from, to int64
}

// read answers with the rows of one span of keys. One key is asked for by itself
// where its bytes say in which partition it lies; otherwise a scan finds it in any.
func (a *pulling) read(ctx context.Context, store *rows.Rows, s keySpan) error {
	switch {
	case a.reader.b.windows != nil:
		return a.readWindows(ctx, store, s)
	case s.one && a.reader.b.placed:
		r, found, err := store.Get(ctx, s.lo)
		if err != nil || !found {
			return err
		}
		return a.found(a.reader.row(r))
	}
	return store.ScanAll(ctx, s.lo, s.hi, func(r rows.Row) error { return a.found(a.reader.row(r)) })
}

// found answers with a row that was found, if WHERE lets it.
func (a *pulling) found(r tableRow, ok bool, err error) error {
	if err != nil {
		return fmt.Errorf("reading a row of %s: %w", a.p.from.name, err)
	}
	if !ok {
		return nil
	}
	row := make([]connect.Value, len(a.p.scope.slots))
	for i, s := range a.p.scope.slots {
		switch {
		case s.column >= 0:
			row[i] = r.values[s.column]
		case s.name == rowTime:
			row[i] = connect.Int64(r.time)
		case s.name == windowStart:
			row[i] = connect.Int64(r.start)
		case s.name == windowEnd:
			row[i] = connect.Int64(r.end)
		}
	}
	switch {
	case !a.c.test(a.w.where, row):
		return nil
	case a.groups != nil:
		return a.groups.add(row, r.time)
	}
	return a.result(row, r.time)
}

// keySpan is a range of key bytes: from lo, included, to hi, excluded; nil is open.
// With one it holds no other key than lo.
type keySpan struct {
	lo, hi []byte
	one    bool
}

// keySpans finds the keys that WHERE leaves possible. It looks at conditions joined
// by AND that compare key columns with constants; whatever else there is, is
// tested on each row.
func keySpans(p *plan, st *query) ([]keySpan, error) {
	n := p.from.keys()
	keys, err := newOrderedKey(p.from.columns[:n])
	if err != nil {
		return nil, err
	}
	conds := conjuncts(st.where, nil)
	prefixes := [][]byte{{}}
	for i := range n {
		values := equalTo(p, conds, p.from.columns[i])
		if values == nil {
			lo, hi := bounds(p, conds, p.from.columns[i])
			return rangeSpans(keys, prefixes, i, lo, hi)
		}
		var longer [][]byte
		for _, prefix := range prefixes {
			for _, v := range values {
				key, err := appendOrdered(bytes.Clone(prefix), keys.columns[i].typ, v)
				if err != nil {
					return nil, err
				}
				longer = append(longer, key)
			}
		}
		prefixes = longer
	}
	return rangeSpans(keys, prefixes, n, null, null)
}

// rangeSpans makes spans of prefixes and of bounds, both included, on the column
// after them.
func rangeSpans(keys orderedKey, prefixes [][]byte, col int, lo, hi connect.Value) ([]keySpan, error) {
	var out []keySpan
	for _, prefix := range prefixes {
		s := keySpan{lo: prefix, hi: after(prefix), one: col == len(keys.columns)}
		var err error
		if !lo.IsNull() {
			if s.lo, err = appendOrdered(bytes.Clone(prefix), keys.columns[col].typ, lo); err != nil {
				return nil, err
			}
		}
		if !hi.IsNull() {
			end, err := appendOrdered(bytes.Clone(prefix), keys.columns[col].typ, hi)
			if err != nil {
				return nil, err
			}
			s.hi = after(end)
		}
		if s.hi == nil || bytes.Compare(s.lo, s.hi) < 0 {
			out = append(out, s)
		}
	}
	return out, nil
}

// after returns the first key behind all that begin with prefix, nil when there is
// none.
func after(prefix []byte) []byte {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] != 0xff {
			end := bytes.Clone(prefix[:i+1])
			end[i]++
			return end
		}
	}
	return nil
}

// conjuncts takes a condition apart at its ANDs.
func conjuncts(e expr, out []expr) []expr {
	if b, ok := e.(*binary); ok && b.op == "AND" {
		return conjuncts(b.r, conjuncts(b.l, out))
	}
	if e == nil {
		return out
	}
	return append(out, e)
}

// isColumn tells whether e is a column.
func isColumn(e expr, c column) bool {
	ref, ok := e.(*columnRef)
	return ok && ref.name.text == c.name
}

// constantAs computes an expression without columns as a value of a type.
func constantAs(p *plan, e expr, t functions.Type) (connect.Value, bool) {
	a := &analyzer{src: p.scope.src, library: p.library}
	c, err := a.compile(e)
	if err != nil {
		return null, false
	}
	if c.typ.Kind == functions.Double && t.Kind != functions.Double {
		return null, false
	}
	if c, err = a.coerced(e, c, t); err != nil {
		return null, false
	}
	c = folded(c)
	if c.constant == nil || c.constant.IsNull() {
		return null, false
	}
	return *c.constant, true
}

// equalTo returns the values that the conditions leave for a column, nil when it is not
// compared by = or IN.
func equalTo(p *plan, conds []expr, col column) []connect.Value {
	for _, e := range conds {
		switch e := e.(type) {
		case *binary:
			l, r := e.l, e.r
			if isColumn(r, col) {
				l, r = r, l
			}
			if e.op != "=" || !isColumn(l, col) {
				continue
			}
			if v, ok := constantAs(p, r, col.typ); ok {
				return []connect.Value{v}
			}
		case *inList:
			if e.not || !isColumn(e.x, col) {
				continue
			}
			if values := allConstants(p, e.list, col.typ); values != nil {
				return values
			}
		}
	}
	return nil
}

// allConstants computes a list of constants, each value once, or returns nil.
func allConstants(p *plan, list []expr, t functions.Type) []connect.Value {
	var out []connect.Value
next:
	for _, e := range list {
		v, ok := constantAs(p, e, t)
		if !ok {
			return nil
		}
		for _, seen := range out {
			if seen.Equal(v) {
				continue next
			}
		}
		out = append(out, v)
	}
	return out
}

// bounds returns the least and the greatest value, both included, that the
// conditions leave for a column; null is open.
func bounds(p *plan, conds []expr, col column) (lo, hi connect.Value) {
	narrow := func(op string, e expr) {
		t := col.typ
		v, ok := constantAs(p, e, t)
		if !ok {
			return
		}
		if (op == ">" || op == ">=") && (lo.IsNull() || functions.Compare(t, v, lo) > 0) {
			lo = v
		}
		if (op == "<" || op == "<=") && (hi.IsNull() || functions.Compare(t, v, hi) < 0) {
			hi = v
		}
	}
	flipped := map[string]string{"<": ">", "<=": ">=", ">": "<", ">=": "<="}
	for _, e := range conds {
		switch e := e.(type) {
		case *binary:
			if isColumn(e.l, col) {
				narrow(e.op, e.r)
			} else if isColumn(e.r, col) {
				narrow(flipped[e.op], e.l)
			}
		case *between:
			if !e.not && isColumn(e.x, col) {
				narrow(">=", e.low)
				narrow("<=", e.high)
			}
		}
	}
	return lo, hi
}
