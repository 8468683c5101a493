package streams

// tableAggregateNode subtracts old rows and adds new ones.
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
