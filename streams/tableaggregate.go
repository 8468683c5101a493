package streams

// AggregateTable folds the rows of each group. When a row changes, its old form
// is subtracted and its new form added, so that the aggregate always is that of
// the rows there are. Aggregation.Subtract is required.
func AggregateTable[K, V, A any](g *GroupedTable[K, V], how Aggregation[K, V, A], value Serde[A], opts ...Option) *Table[K, A] {
	s := gather(opts)
	t := aggregateTable(g.b, g.node, g.key, value, s)
	if how.Subtract == nil {
		g.b.fault("streams.aggregate.subtract", t.node.name, "the aggregate of a table has no Subtract", "tell how a row is taken away again")
	}
	t.node.build = func(tk *task) (any, error) {
		inst := &tableAggregateNode[K, V, A]{rowStore: openRows(tk, t.spec(), g.key, value), how: how}
		return inst, wire(tk, g.node, receiver[K, Change[V]](inst))
	}
	return t
}

// Count counts the rows of each group. A group without rows is deleted.
func (g *GroupedTable[K, V]) Count(opts ...Option) *Table[K, int64] {
	return AggregateTable(g, Aggregation[K, V, int64]{
		Init:     func() int64 { return 0 },
		Add:      func(_ K, _ V, n int64) int64 { return n + 1 },
		Subtract: func(_ K, _ V, n int64) int64 { return n - 1 },
		Empty:    func(n int64) bool { return n == 0 },
	}, Int64{}, opts...)
}

type tableAggregateNode[K, V, A any] struct {
	*rowStore[K, A]
	how Aggregation[K, V, A]
	in  Record[K, Change[A]]
}

func (n *tableAggregateNode[K, V, A]) receive(r *Record[K, Change[V]]) error {
	if r.NoKey || r.NoValue {
		n.t.env.metrics.Dropped.Add(1)
		return nil
	}
	key, err := n.encodeKey(r.Key)
	if err != nil {
		return err
	}
	old, ms, had, err := n.load(key)
	if err != nil {
		return err
	}
	n.in = Record[K, Change[A]]{Key: r.Key, Time: max(r.Time, ms), Headers: r.Headers}
	c := &n.in.Value
	c.Old, c.HasOld, c.New, c.HasNew = old, had, old, true
	if !had {
		c.New = n.how.Init()
	}
	if r.Value.HasOld {
		c.New = n.how.Subtract(r.Key, r.Value.Old, c.New)
	}
	if r.Value.HasNew {
		c.New = n.how.Add(r.Key, r.Value.New, c.New)
	}
	if n.how.Empty != nil && n.how.Empty(c.New) {
		var zero A
		c.New, c.HasNew = zero, false
		if !had {
			return nil
		}
	}
	return n.update(key, &n.in, true)
}
