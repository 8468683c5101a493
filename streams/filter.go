package streams

// Filter keeps the records whose key and value satisfy keep. A record without
// value has nothing to ask about and passes: where it meets a table it is a
// delete, which must not be lost.
func (s *Stream[K, V]) Filter(keep func(K, V) bool, opts ...With) *Stream[K, V] {
	return s.next(operator[K, V](s.b, s.node, "filter", gather(opts), func(*task) *filterNode[K, V] {
		return &filterNode[K, V]{keep: keep}
	}))
}

// FilterNot drops the records that satisfy drop.
func (s *Stream[K, V]) FilterNot(drop func(K, V) bool, opts ...With) *Stream[K, V] {
	return s.Filter(func(k K, v V) bool { return !drop(k, v) }, opts...)
}

type filterNode[K, V any] struct {
	fan[K, V]
	keep func(K, V) bool
}

func (n *filterNode[K, V]) receive(r *Record[K, V]) error {
	if r.NoValue || n.keep(r.Key, r.Value) {
		return n.forward(r)
	}
	return nil
}

// Filter keeps the rows that satisfy keep. A row that stops to satisfy it is
// deleted from the result.
func (t *Table[K, V]) Filter(keep func(K, V) bool, opts ...With) *Table[K, V] {
	s := gather(opts)
	n := operator[K, Change[V]](t.b, t.node, "filter", s, func(*task) *tableFilterNode[K, V] {
		return &tableFilterNode[K, V]{keep: keep, versions: t.History() > 0}
	})
	n.pullOld, n.passes = t.node.requireOld, t.node
	return t.derived(n, s)
}

// FilterNot deletes the rows that satisfy drop from the result.
func (t *Table[K, V]) FilterNot(drop func(K, V) bool, opts ...With) *Table[K, V] {
	return t.Filter(func(k K, v V) bool { return !drop(k, v) }, opts...)
}

type tableFilterNode[K, V any] struct {
	fan[K, Change[V]]
	keep func(K, V) bool
	rec  Record[K, Change[V]]
	// versions says that the rows have times: that there is none from one on is news.
	versions bool
}

func (n *tableFilterNode[K, V]) receive(r *Record[K, Change[V]]) error {
	n.rec = *r
	c := &n.rec.Value
	oldKnown := c.HasOld
	if c.HasOld && !n.keep(r.Key, c.Old) {
		var zero V
		c.Old, c.HasOld = zero, false
	}
	if c.HasNew && !n.keep(r.Key, c.New) {
		var zero V
		c.New, c.HasNew = zero, false
	}
	// With the old row at hand it is certain that nobody downstream has a row
	// of this key; without it a delete goes out to be safe.
	if oldKnown && !c.HasOld && !c.HasNew && !n.versions {
		return nil
	}
	return n.forward(&n.rec)
}
