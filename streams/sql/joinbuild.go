package sql

import (
	"slices"
	"strconv"
	"sync"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/join"
	"github.com/tidemill/tidemill/streams/serde"
)

// part is what is joined: a side, or what several of them have become.
type part struct {
	stream *rowStream // nil for a table
	table  *rowTable
	// rows is the schema of the rows; place says where each of their values stands in the
	// row of the whole join, -1 for those that only their side needs.
	rows  *connect.Schema
	place []int
	// keys are the expressions, as they print, that the part is known by.
	keys []string
	// dealt writes the keys that decide in which partition a record lies; nil when nobody
	// else can write the same bytes.
	dealt *codec
	topic string // that dealt is of
	// ordered says that they lie by the keys as stores have them.
	ordered bool
}

// joined builds what a query reads that joins sources.
func (a *assembler) joined() (*part, error) {
	j := a.p.from.joined
	left, err := a.side(0)
	for i := range j.steps {
		if err != nil {
			return nil, err
		}
		var right *part
		if right, err = a.side(i + 1); err == nil {
			left, err = a.step(i, left, right)
		}
	}
	return left, err
}

// side reads one of the sources.
func (a *assembler) side(i int) (*part, error) {
	s := &a.p.from.joined.sides[i]
	sub := &plan{from: s.source, alias: s.alias, table: s.source.table, scope: &scope{src: a.p.scope.src, sources: []scopeSource{s.scopeSource}}}
	place := map[int]int{}
	for at, slot := range a.p.scope.slots {
		if c := slot.column - s.first; slot.column >= 0 && c >= 0 && c < len(s.source.columns) {
			sub.scope.take(c, s.source.columns[c].name, slot.typ)
			place[len(sub.scope.slots)-1] = at
		}
	}
	if err := sub.timeBy(); err != nil {
		return nil, err
	}
	own := &assembler{b: a.b, p: sub, to: a.to, prefix: "join" + strconv.Itoa(i) + "-"}
	if err := own.open(); err != nil {
		return nil, err
	}
	out := &part{rows: own.rows, topic: s.source.topic}
	for n := range sub.scope.slots {
		at, ok := place[n]
		if !ok {
			at = -1
		}
		out.place = append(out.place, at)
	}
	if s.source.keys() == 1 {
		out.keys = []string{string(identSQL(nil, s.column(0)))}
		if own.key.plain() && !s.source.cdc {
			out.dealt = own.key
		}
	}
	var err error
	if s.source.table {
		out.table, err = own.table()
		return out, err
	}
	in, row, err := own.source()
	if err != nil {
		return nil, err
	}
	out.stream = streams.FlatMap(in, func(r rowRecord, emit func(rowRecord)) {
		if !r.NoValue {
			r.Value = row(&r)
			emit(r)
		}
	}, streams.With{Name: own.named("row"), FixedKey: true})
	return out, nil
}

// full brings a part's row to the form of the whole join.
func (p *part) full(out []connect.Value, row connect.Value) {
	values := row.Struct().Values()
	for i, at := range p.place {
		if at >= 0 {
			out[at] = values[i]
		}
	}
}

// step joins two parts.
func (a *assembler) step(i int, left, right *part) (*part, error) {
	s := &a.p.from.joined.steps[i]
	name := "join" + strconv.Itoa(i+1)
	out := &part{rows: a.rows}
	for n := range a.p.scope.slots {
		out.place = append(out.place, n)
	}
	if s.foreign {
		return out, a.foreign(s, name, out, left, right)
	}
	key, err := newOrderedKey([]column{{name: joinedKey, typ: s.onLeft.typ}})
	if err != nil {
		return nil, err
	}
	if err := a.together(s, key, name, left, right); err != nil {
		return nil, err
	}
	out.keys, out.dealt, out.topic, out.ordered = s.keys, left.dealt, left.topic, left.ordered
	set := streams.With{Name: name, Uncached: a.to.updates}
	switch {
	case left.table != nil:
		set.Store = name
		l, r, how := left, right, a.joinerOf(s.kind, left, right)
		if s.kind == "RIGHT" {
			l, r, how = right, left, a.joinerOf("LEFT", right, left)
		}
		out.table = join.Tables(l.table, r.table, how, serde.Row(a.rows), set)
	case right.table != nil:
		out.stream = join.StreamTable(left.stream, right.table, a.joinerOf(s.kind, left, right), serde.Row(left.rows), set)
	case s.kind == "RIGHT":
		in := join.Within[connect.Value, connect.Value, connect.Value]{Before: s.after, After: s.before, Grace: s.late, Key: key, Left: serde.Row(right.rows), Right: serde.Row(left.rows)}
		out.stream = join.Streams(right.stream, left.stream, in, a.joinerOf("LEFT", right, left), set)
	default:
		in := join.Within[connect.Value, connect.Value, connect.Value]{Before: s.before, After: s.after, Grace: s.late, Key: key, Left: serde.Row(left.rows), Right: serde.Row(right.rows)}
		out.stream = join.Streams(left.stream, right.stream, in, a.joinerOf(s.kind, left, right), set)
	}
	return out, nil
}

type rowJoiner = join.Joiner[connect.Value, connect.Value, connect.Value, connect.Value]

// joinerOf makes rows of the whole join of the rows of two parts.
func (a *assembler) joinerOf(kind string, left, right *part) rowJoiner {
	n, rows, key := len(a.p.scope.slots), a.rows, a.p.scope.named(joinedKey)
	fn := func(k connect.Value, p join.Pair[connect.Value, connect.Value]) connect.Value {
		out := make([]connect.Value, n)
		if p.HasLeft {
			left.full(out, p.Left)
		}
		if p.HasRight {
			right.full(out, p.Right)
		}
		if key >= 0 && !k.IsNull() {
			out[key] = k.Struct().At(0)
		}
		return connect.StructValue(rows.StructOf(out))
	}
	switch kind {
	case "LEFT":
		return join.Left(fn)
	case "FULL":
		return join.Outer(fn)
	}
	return join.Inner(fn)
}

// foreign joins a table with one that its rows refer to.
func (a *assembler) foreign(s *joinStep, name string, out, left, right *part) error {
	key, err := newOrderedKey([]column{{name: joinedKey, typ: s.onLeft.typ}})
	if err != nil {
		return err
	}
	of := a.keyFrom(s.onLeft, key, left)
	ref := join.On(right.table, func(_, row connect.Value) (connect.Value, bool) { return of(row) })
	out.keys = left.keys
	out.table = join.ForeignKey(left.table, ref, a.joinerOf(s.kind, left, right), serde.Row(a.rows), streams.With{Name: name, Store: name, Uncached: a.to.updates})
	return nil
}

// keyFrom returns what computes by what a part's row is joined, as a key of one column; false
// when that is null. It serves all tasks.
func (a *assembler) keyFrom(on compiled, key orderedKey, p *part) func(row connect.Value) (connect.Value, bool) {
	type scratch struct {
		of  eval
		row []connect.Value
	}
	pool := sync.Pool{New: func() any {
		of, err := on.make(a.crew.failed)
		if err != nil {
			panic("sql: an expression that was compiled before cannot be compiled now: " + err.Error())
		}
		return &scratch{of, make([]connect.Value, len(a.p.scope.slots))}
	}}
	return func(row connect.Value) (connect.Value, bool) {
		s := pool.Get().(*scratch)
		defer pool.Put(s)
		p.full(s.row, row)
		v, err := s.of(s.row)
		if err != nil {
			a.crew.failed(err)
		}
		if err != nil || v.IsNull() {
			return null, false
		}
		return connect.StructValue(key.schema.StructOf([]connect.Value{v})), true
	}
}

// together has the records of two parts that are joined lie in partitions of the same
// numbers. Those that are read as they are lie by the bytes of their keys; the others are
// written to a topic of the query's own, by the same bytes.
func (a *assembler) together(s *joinStep, key orderedKey, name string, left, right *part) error {
	l, r := left.lies(s.left), right.lies(s.right)
	switch {
	case l && r && left.dealt.same(right.dealt):
		a.level = append(a.level, [2]string{left.topic, right.topic})
		return nil
	case l && right.stream != nil:
		a.deal(right, left.dealt, a.keyFrom(s.onRight, key, right), name+"-right")
		right.ordered = false
		return nil
	case r && left.stream != nil:
		a.deal(left, right.dealt, a.keyFrom(s.onLeft, key, left), name+"-left")
		left.dealt, left.topic, left.ordered = right.dealt, right.topic, false
		return nil
	}
	if !left.ordered || !slices.Contains(left.keys, canonical(s.left)) {
		a.deal(left, key, a.keyFrom(s.onLeft, key, left), name+"-left")
	}
	a.deal(right, key, a.keyFrom(s.onRight, key, right), name+"-right")
	left.dealt, left.ordered = nil, true
	return nil
}

// lies tells whether a part lies by a key that it is joined by, of which others can write
// the bytes.
func (p *part) lies(on expr) bool {
	for _, k := range p.keys {
		if p.dealt != nil && k == canonical(on) {
			return true
		}
	}
	return false
}

// deal writes a part to a topic by what it is joined by, as key writes that. A table lies by
// its key as stores have it then.
func (a *assembler) deal(p *part, key serde.Serde[connect.Value], of func(row connect.Value) (connect.Value, bool), name string) {
	if p.table != nil {
		p.table = p.table.Dealt()
		return
	}
	keyed := streams.FlatMap(p.stream, func(r rowRecord, emit func(rowRecord)) {
		k, ok := of(r.Value)
		emit(rowRecord{Key: k, NoKey: !ok, Value: r.Value, Time: r.Time, Headers: r.Headers})
	}, streams.With{Name: name})
	p.stream = keyed.Repartition(key, serde.Row(p.rows), streams.With{Name: name + "-dealt"})
}

// plain tells whether the bytes that a codec of keys writes follow from the key alone, and
// not from what a registry has for its topic.
func (c *codec) plain() bool {
	return c.name == formatKafka || c.name == "JSON" || c.name == "DELIMITED"
}

// same tells whether two codecs of keys write the same bytes of the same values.
func (c *codec) same(other *codec) bool {
	return c.name == other.name && c.single == other.single && len(c.columns) == 1 && len(other.columns) == 1 &&
		c.columns[0].typ.Equal(other.columns[0].typ) && (c.single || c.columns[0].name == other.columns[0].name)
}
