package sql

import (
	"fmt"
	"strconv"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/serde"
	"github.com/tidemill/tidemill/streams/sql/functions"
)

var bigint = functions.Type{Kind: functions.Bigint}

// numbered makes the name of an internal column.
func numbered(prefix string, i int) string { return prefix + strconv.Itoa(i) }

// The operators that keep something are named, so that their topics and stores
// stay the same when the planner changes what stands around them.
const (
	sourceOperator = "source"
	groupOperator  = "groupby"
	rowStore       = "rows"
	resultStore    = "result"
)

// target says where a topology's results go.
type target struct {
	formats map[string]Format
	// failed is told of rows and expressions that could not be computed.
	failed func(error)
	// emit is given each result of a query that has no sink; deleted says that the
	// row of the key is gone.
	emit func(result)
	// updates makes every update of a table visible, instead of the last at each
	// commit.
	updates bool
}

// result is one row of a query: the values of its columns, keys first.
type result struct {
	values  []connect.Value
	time    int64
	deleted bool
}

type (
	rowStream = streams.Stream[connect.Value, connect.Value]
	rowTable  = streams.Table[connect.Value, connect.Value]
	rowRecord = streams.Record[connect.Value, connect.Value]
)

// built is a topology with what is needed to read its results.
type built struct {
	topology *streams.Topology
	plan     *plan
	crew     *crew
	// result is the table that keeps the results, or the states of the groups; nil
	// when the query is over a stream and gathers nothing.
	result *rowTable
	// windows is the table that keeps the states of the groups' windows.
	windows *windowTable
	// level are pairs of topics that must have equally many partitions.
	level [][2]string
	// placed says that a row lies in the partition its store key chooses, not in
	// that of the topic it came from.
	placed bool
}

// assembler builds the topology of one plan.
type assembler struct {
	b    *streams.Builder
	p    *plan
	to   target
	crew *crew
	rows *connect.Schema // of the rows read
	key  *codec
	// prefix stands before the names of the operators that read one source of several.
	prefix string
	level  [][2]string
	// group writes the keys of stores: those of the source, or of the groups.
	keys orderedKey
}

// build makes the topology of a plan.
func (p *plan) build(to target) (*built, error) {
	a, from := &assembler{b: streams.NewBuilder(), p: p, to: to}, p.from
	err := a.open()
	if err != nil {
		return nil, err
	}
	out := &built{plan: p, crew: a.crew, placed: p.aggregates() && (from.table || a.regroups())}
	switch {
	case from.table && p.aggregates():
		out.result, err = a.tableAggregate()
	case from.table:
		out.result, err = a.tableRows()
	case p.aggregates():
		err = a.streamAggregate(out)
	default:
		err = a.streamRows()
	}
	if err != nil {
		return nil, err
	}
	out.level = a.level
	out.topology, err = a.b.Build()
	return out, err
}

// open makes what the operators need.
func (a *assembler) open() (err error) {
	from := a.p.from
	if a.crew, err = newCrew(a.p, a.to.failed); err != nil {
		return err
	}
	if a.rows, err = rowSchema("", a.p.scope.columns()); err != nil {
		return err
	}
	if from.joined != nil {
		return nil // Each join has keys of its own.
	}
	if a.key, err = newCodec(a.to.formats, from, true, from.columns[:from.keys()]); err != nil {
		return err
	}
	a.keys, err = newOrderedKey(from.keyColumns())
	return err
}

// named is the name of an operator or a store.
func (a *assembler) named(name string) string { return a.prefix + name }

// valueColumns returns the columns of the value that the query names.
func (a *assembler) valueColumns() []column {
	var out []column
	for _, s := range a.p.scope.slots {
		if s.column >= a.p.from.keys() && a.p.from.columns[s.column].header == "" {
			out = append(out, a.p.from.columns[s.column])
		}
	}
	return out
}

// value returns the reader of the source's values.
func (a *assembler) value() (serde.Serde[connect.Value], error) {
	columns := a.valueColumns()
	if a.p.from.cdc {
		columns = a.p.scope.columns()
	}
	c, err := newCodec(a.to.formats, a.p.from, false, columns)
	if err != nil || !a.p.from.cdc {
		return c, err
	}
	return newChangeCodec(c)
}

// fullRow puts a row together from the key and the value of a record.
func (a *assembler) fullRow() func(key, value connect.Value) connect.Value {
	type place struct {
		key bool
		at  int
	}
	places := make([]place, len(a.p.scope.slots))
	values, keys := 0, a.p.from.keys()
	for i, s := range a.p.scope.slots {
		switch {
		case s.column < 0 && s.name == windowStart:
			places[i] = place{key: true, at: keys}
		case s.column < 0 && s.name == windowEnd:
			places[i] = place{key: true, at: keys + 1}
		case s.column < 0 || a.p.from.columns[s.column].header != "":
			places[i].at = -1
		case s.column < keys:
			places[i] = place{key: true, at: s.column}
		default:
			places[i].at = values
			values++
		}
	}
	return func(key, value connect.Value) connect.Value {
		row := make([]connect.Value, len(places))
		for i, p := range places {
			switch {
			case p.at < 0:
			case p.key && !key.IsNull():
				row[i] = key.Struct().At(p.at)
			case !p.key:
				row[i] = value.Struct().At(p.at)
			}
		}
		return connect.StructValue(a.rows.StructOf(row))
	}
}

// recordRow is fullRow with what only the record knows: its time and headers.
func (a *assembler) recordRow() func(r *rowRecord) connect.Value {
	full, at := a.fullRow(), a.p.scope.pseudo(rowTime)
	headers := a.headerSlots()
	return func(r *rowRecord) connect.Value {
		row := full(r.Key, r.Value)
		if at >= 0 {
			row.Struct().Set(at, connect.Int64(r.Time))
		}
		for _, h := range headers {
			row.Struct().Set(h.slot, h.of(r.Headers))
		}
		return row
	}
}

// recordColumns tells whether the query names columns that only the record knows.
func (a *assembler) recordColumns() bool {
	return a.p.scope.pseudo(rowTime) >= 0 || len(a.headerSlots()) > 0
}

// check refuses pseudo columns that cannot be had where they are asked for.
func (a *assembler) check() error {
	for _, s := range a.p.scope.slots {
		if s.column < 0 && s.name != windowStart && s.name != windowEnd && (s.name != rowTime || a.p.from.table) {
			return &Error{Code: "sql.unsupported", Message: fmt.Sprintf("%s of a %s cannot be used in a query that runs on", s.name, a.p.from.kind())}
		}
	}
	return nil
}

// source reads a stream as rows.
func (a *assembler) source() (*rowStream, func(r *rowRecord) connect.Value, error) {
	if err := a.check(); err != nil {
		return nil, nil, err
	}
	if a.p.from.joined != nil {
		all, err := a.joined()
		if err != nil {
			return nil, nil, err
		}
		return all.stream, a.timedRow(), nil
	}
	value, err := a.value()
	if err != nil {
		return nil, nil, err
	}
	if !a.p.from.cdc {
		return a.fromTopic(value, streams.With{Name: a.named(sourceOperator)}), a.recordRow(), nil
	}
	events := a.cdc(value).Stream(a.b, streams.With{Name: a.named(sourceOperator)})
	s := streams.FlatMap(events, func(r streams.Record[connect.Value, streams.Change[connect.Value]], emit func(rowRecord)) {
		if r.Value.HasNew {
			emit(rowRecord{Key: r.Key, NoKey: r.NoKey, Value: r.Value.New, Time: r.Time, Headers: r.Headers})
		}
	}, streams.With{Name: a.named("changed"), FixedKey: true})
	return s, a.timedRow(), nil
}

// timedRow puts its time into a row that is whole.
func (a *assembler) timedRow() func(r *rowRecord) connect.Value {
	at := a.p.scope.pseudo(rowTime)
	return func(r *rowRecord) connect.Value {
		if at >= 0 {
			r.Value.Struct().Set(at, connect.Int64(r.Time))
		}
		return r.Value
	}
}

func (a *assembler) cdc(value serde.Serde[connect.Value]) streams.CDC {
	return streams.CDC{Topic: a.p.from.topic, Key: a.key, Envelope: value, Row: a.rows, StoredKey: a.keys}
}

// streamRows filters and projects a stream.
func (a *assembler) streamRows() error {
	s, row, err := a.source()
	if err != nil {
		return err
	}
	keys, windowed := a.p.keys(), a.p.windowing != nil
	out := streams.FlatMap(s, func(r rowRecord, emit func(rowRecord)) {
		if r.NoValue {
			return
		}
		v := row(&r)
		if !a.crew.keep(v) {
			return
		}
		for _, o := range a.crew.outputs(v) {
			if windowed {
				emit(rowRecord{Key: r.Key, NoKey: r.NoKey, Value: o, Time: r.Time, Headers: r.Headers})
				continue
			}
			emit(rowRecord{Key: o, NoKey: keys == 0 || o.Struct().At(0).IsNull() && keys == 1, Value: o, Time: r.Time, Headers: r.Headers})
		}
	}, streams.With{Name: "project"})
	return a.finish(out, func(key, value connect.Value) connect.Value { return value })
}

// table reads a table as rows that passed WHERE.
func (a *assembler) table() (t *rowTable, err error) {
	if err := a.check(); err != nil {
		return nil, err
	}
	if a.p.from.joined == nil {
		t, err = a.oneTable()
	} else if all, failed := a.joined(); failed == nil {
		t = all.table
	} else {
		err = failed
	}
	if err == nil && (a.p.where != nil || a.p.aggregates()) {
		t = t.Filter(func(_, row connect.Value) bool { return a.crew.keep(row) }, streams.With{Name: "filter"})
	}
	return t, err
}

// oneTable reads the table that is not joined.
func (a *assembler) oneTable() (*rowTable, error) {
	value, err := a.value()
	if err != nil {
		return nil, err
	}
	with := streams.With{Name: a.named(sourceOperator), Uncached: a.to.updates}
	var t *rowTable
	if a.p.from.cdc {
		if a.largeColumns() {
			with.Store = a.named(rowStore)
		}
		t = a.cdc(value).Table(a.b, with)
	} else {
		full := a.fullRow()
		s := a.fromTopic(value, streams.With{Name: a.named("topic")})
		t = streams.MapValues(s, func(k, v connect.Value) connect.Value { return full(k, v) }, streams.With{Name: a.named("rows")}).
			ToTable(a.keys, serde.Row(a.rows), with)
	}
	return t, nil
}

// largeColumns tells whether the query names columns that change events may leave
// out when they did not change; then the rows must be kept to fill them in.
func (a *assembler) largeColumns() bool {
	for _, s := range a.p.scope.slots {
		if s.typ.Kind == functions.String || s.typ.Kind == functions.Bytes {
			return true
		}
	}
	return false
}

// tableRows filters and projects a table.
func (a *assembler) tableRows() (*rowTable, error) {
	t, err := a.table()
	if err != nil {
		return nil, err
	}
	schema, err := rowSchema("", a.p.columns())
	if err != nil {
		return nil, err
	}
	out := streams.MapTable(t, func(_, row connect.Value) connect.Value { return a.crew.output(row) }, serde.Row(schema),
		streams.With{Name: "project", Store: resultStore, Uncached: a.to.updates})
	return out, a.finish(out.ToStream(), func(_, row connect.Value) connect.Value { return row })
}

// tableAggregate gathers the rows of a table.
func (a *assembler) tableAggregate() (*rowTable, error) {
	t, err := a.table()
	if err != nil {
		return nil, err
	}
	keys, err := a.groupKeys()
	if err != nil {
		return nil, err
	}
	g := streams.GroupTable(t, func(_, row connect.Value) (connect.Value, connect.Value) { return a.crew.groupOf(row) },
		serde.Serde[connect.Value](keys), serde.Row(a.crew.args), streams.With{Name: groupOperator})
	agg := streams.Aggregate(g, a.aggregation(), serde.Row(a.crew.state), streams.With{Name: "aggregate", Store: resultStore, Uncached: a.to.updates})
	return agg, a.groups(agg)
}

// streamAggregate gathers the records of a stream.
func (a *assembler) streamAggregate(out *built) error {
	s, row, err := a.source()
	if err != nil {
		return err
	}
	keys, err := a.groupKeys()
	if err != nil {
		return err
	}
	var in *rowStream
	if a.regroups() {
		in = streams.FlatMap(s, func(r rowRecord, emit func(rowRecord)) {
			if r.NoValue {
				return
			}
			if v := row(&r); a.crew.keep(v) {
				group, args := a.crew.groupOf(v)
				emit(rowRecord{Key: group, Value: args, Time: r.Time, Headers: r.Headers})
			}
		}, streams.With{Name: "project"})
	} else {
		// The records already are where their groups are, and stay there.
		full := a.fullRow()
		in = streams.MapValues(s, func(k, v connect.Value) connect.Value { return full(k, v) }, streams.With{Name: "rows"}).
			Filter(func(_, v connect.Value) bool { return a.crew.keep(v) }, streams.With{Name: "filter"})
		in = streams.MapValues(in, func(_, v connect.Value) connect.Value {
			_, args := a.crew.groupOf(v)
			return args
		}, streams.With{Name: "project"})
	}
	g := in.GroupByKey(keys, serde.Row(a.crew.args), streams.With{Name: groupOperator})
	if a.p.windows != nil {
		out.windows, err = a.windowed(g)
		return err
	}
	out.result = streams.Aggregate(g, a.aggregation(), serde.Row(a.crew.state), streams.With{Name: "aggregate", Store: resultStore, Uncached: a.to.updates})
	return a.groups(out.result)
}

// regroups tells whether the records of a stream go through a topic on their way to
// their groups.
func (a *assembler) regroups() bool {
	return a.p.from.joined != nil || a.p.rekeyed || a.p.from.cdc || a.recordColumns()
}

// groupKeys makes the writer of the keys of groups.
func (a *assembler) groupKeys() (orderedKey, error) {
	columns := make([]column, len(a.p.group))
	for i, g := range a.p.group {
		columns[i] = column{name: numbered("G", i), typ: g.typ}
	}
	return newOrderedKey(columns)
}

func (a *assembler) aggregation() streams.Aggregation[connect.Value, connect.Value, connect.Value] {
	c := a.crew
	return streams.Aggregation[connect.Value, connect.Value, connect.Value]{
		Init:     c.empty,
		Add:      func(_, args, state connect.Value) connect.Value { return c.add(args, state, 1) },
		Subtract: func(_, args, state connect.Value) connect.Value { return c.add(args, state, -1) },
		Empty:    c.isEmpty,
	}
}

// groups turns the states of groups into results.
func (a *assembler) groups(agg *rowTable) error {
	if a.p.having != nil {
		agg = agg.Filter(a.crew.having, streams.With{Name: "having"})
	}
	return a.finish(agg.ToStream(), a.crew.outputOf)
}

// finish sends results where they go: to the sink's topic or to the target. row
// gives a result's columns from the record's key and value.
func (a *assembler) finish(s *rowStream, row func(key, value connect.Value) connect.Value) error {
	if a.p.sink == nil {
		if a.to.emit == nil {
			return nil
		}
		s.Peek(func(r rowRecord) { a.to.emit(a.resultOf(r, row)) }, streams.With{Name: "emit"})
		return nil
	}
	sink := a.p.sink
	key, err := newCodec(a.to.formats, sink, true, sink.columns[:sink.keys()])
	if err != nil {
		return err
	}
	value, err := newCodec(a.to.formats, sink, false, sink.columns[sink.keys():])
	if err != nil {
		return err
	}
	value.skip = sink.keys()
	if a.p.aggregates() {
		s = streams.MapValues(s, row, streams.With{Name: "output"})
	}
	s = a.retimed(s)
	s.To(sink.topic, serde.Serde[connect.Value](key), serde.Serde[connect.Value](value), streams.With{Name: "sink"})
	return nil
}

// resultOf makes a result of a record. A deleted row has its key columns alone.
func (a *assembler) resultOf(r rowRecord, row func(key, value connect.Value) connect.Value) result {
	out := result{time: r.Time, deleted: r.NoValue}
	if r.NoValue {
		out.values = a.deletedRow(r)
	} else {
		out.values = row(r.Key, r.Value).Struct().Values()
	}
	return out
}

// keyOf returns which value of a row's key a slot has, -1 when it is none of them.
func (s *source) keyOf(sl slot) int {
	n := s.keys()
	switch {
	case s.joined != nil:
		return s.joined.keyOf(sl)
	case sl.column >= 0 && sl.column < n:
		return sl.column
	case sl.name == windowStart:
		return n
	case sl.name == windowEnd:
		return n + 1
	}
	return -1
}

// deletedRow computes the key columns of a row that is gone.
func (a *assembler) deletedRow(r rowRecord) []connect.Value {
	values := make([]connect.Value, len(a.p.outputs))
	if r.NoKey {
		return values
	}
	key := r.Key.Struct().Values()
	row := make([]connect.Value, len(a.p.scope.slots)+len(a.p.group)+2+len(a.p.aggs))
	if a.p.aggregates() {
		copy(row, key)
	} else {
		for i, s := range a.p.scope.slots {
			if at := a.p.from.keyOf(s); at >= 0 {
				row[i] = key[at]
			}
		}
	}
	w := a.crew.borrow()
	defer a.crew.pool.Put(w)
	for i, o := range a.p.outputs {
		if !o.key {
			continue
		}
		if v, err := w.out.evals[i](row); err == nil {
			values[i] = v
		}
	}
	return values
}
