package streams

import "github.com/tidemill/tidemill/streams/serde"

// Aggregation says how the rows of a group become one value.
type Aggregation[K, V, A any] struct {
	// Init returns the aggregate of no rows.
	Init func() A
	// Add returns the aggregate with one more row. It does not change what agg
	// points to: the old aggregate is still needed.
	Add func(k K, v V, agg A) A
	// Subtract returns the aggregate with one row less. Tables need it, because
	// their rows change and go; streams do not. Nothing is taken from a group that is
	// not there.
	Subtract func(k K, v V, agg A) A
	// Empty tells, when it is set, that an aggregate is that of no rows, and is to be
	// deleted. The next one of its key begins with that of Init. A sum of 0 does not say
	// so: rows that add up to it are there, and could not be taken away any more.
	Empty func(agg A) bool
}

// Aggregate folds the records of each key, or the rows of each group: when a row
// changes, its old form is subtracted and its new form added, so that the
// aggregate always is that of the rows there are. Records without key or value are
// dropped. The aggregate's time is that of its latest record.
func Aggregate[K, V, A any](g *Grouped[K, V], how Aggregation[K, V, A], value serde.Serde[A], opts ...With) *Table[K, A] {
	t := aggregateTable(g.b, g.node, g.key, value, gather(opts))
	if g.rows && how.Subtract == nil {
		g.b.fault("streams.aggregate.subtract", t.node.name, "the aggregate of a table has no Subtract", "tell how a row is taken away again")
	}
	t.node.build = func(tk *task) (any, error) {
		rows := openRows(tk, t.spec(), g.key, value)
		if g.rows {
			inst := &tableAggregateNode[K, V, A]{folding: folding[K, A]{rowStore: rows}, how: how}
			return inst, wire(tk, g.node, receiver[K, Change[V]](inst))
		}
		inst := &aggregateNode[K, V, A]{folding: folding[K, A]{rowStore: rows}, how: how}
		return inst, wire(tk, g.node, receiver[K, V](inst))
	}
	return t
}

// aggregateTable adds the node and store of an aggregate.
func aggregateTable[K, A any](b *Builder, parent *node, key serde.Serde[K], value serde.Serde[A], s With) *Table[K, A] {
	t := &Table[K, A]{b: b, key: key, value: value}
	parent.storedBy(key)
	t.node = b.add(&node{op: "aggregate", parents: []*node{parent}}, s)
	b.keep(t.node, s, layoutOf(key))
	return t
}

// Count counts the records of each key, or the rows of each group. A group that
// has no rows any more is deleted.
func (g *Grouped[K, V]) Count(opts ...With) *Table[K, int64] {
	how := Aggregation[K, V, int64]{
		Init: func() int64 { return 0 },
		Add:  func(_ K, _ V, n int64) int64 { return n + 1 },
	}
	if g.rows {
		how.Subtract = func(_ K, _ V, n int64) int64 { return n - 1 }
		how.Empty = func(n int64) bool { return n == 0 }
	}
	return Aggregate(g, how, serde.Int64{}, opts...)
}

// Reduce folds the records of each key with fn, which gets the result so far and
// the next value. The first value of a key is its first result. Rows of a table
// are not reduced but aggregated: it takes more to take one away again.
func (g *Grouped[K, V]) Reduce(fn func(V, V) V, value serde.Serde[V], opts ...With) *Table[K, V] {
	s := gather(opts)
	t := aggregateTable(g.b, g.node, g.key, value, s)
	if g.rows {
		g.b.fault("streams.reduce.table", t.node.name, "the rows of a table cannot be reduced", "use Aggregate with Subtract")
	}
	t.node.build = func(tk *task) (any, error) {
		inst := &reduceNode[K, V]{folding: folding[K, V]{rowStore: openRows(tk, t.spec(), g.key, value)}, fn: fn}
		return inst, wire(tk, g.node, receiver[K, V](inst))
	}
	return t
}

// folding is what every aggregate has: its rows, and the change it is making.
type folding[K, A any] struct {
	*rowStore[K, A]
	in Record[K, Change[A]]
}

// begin starts the change that r makes to the row of its key: the new row is still
// the old one, or zero when there was none. key is the key as it is stored. A record
// without key or value is dropped, and ok is false then.
func begin[K, V, A any](n *folding[K, A], r *Record[K, V]) (key []byte, ok bool, err error) {
	if r.NoKey || r.NoValue {
		n.t.drop()
		return nil, false, nil
	}
	if key, err = n.encodeKey(r.Key); err != nil {
		return nil, false, err
	}
	old, ms, had, err := n.load(key)
	if err != nil {
		return nil, false, err
	}
	n.in = Record[K, Change[A]]{Key: r.Key, Time: max(r.Time, ms), Headers: r.Headers}
	n.in.Value = Change[A]{Old: old, HasOld: had, New: old, HasNew: true}
	return key, true, nil
}

type aggregateNode[K, V, A any] struct {
	folding[K, A]
	how Aggregation[K, V, A]
}

func (n *aggregateNode[K, V, A]) receive(r *Record[K, V]) error {
	key, ok, err := begin(&n.folding, r)
	if !ok {
		return err
	}
	c := &n.in.Value
	if !c.HasOld {
		c.New = n.how.Init()
	}
	c.New = n.how.Add(r.Key, r.Value, c.New)
	return n.set(key, n.how.Empty)
}

// set makes the change, which deletes the row when there is nothing in the aggregate.
func (n *folding[K, A]) set(key []byte, empty func(A) bool) error {
	if c := &n.in.Value; empty != nil && empty(c.New) {
		var zero A
		c.New, c.HasNew = zero, false
		if !c.HasOld {
			return nil
		}
	}
	return n.update(key, &n.in, true)
}

type reduceNode[K, V any] struct {
	folding[K, V]
	fn func(V, V) V
}

func (n *reduceNode[K, V]) receive(r *Record[K, V]) error {
	key, ok, err := begin(&n.folding, r)
	if !ok {
		return err
	}
	c := &n.in.Value
	if c.HasOld {
		c.New = n.fn(c.Old, r.Value)
	} else {
		c.New = r.Value
	}
	return n.update(key, &n.in, true)
}
