package streams

// Join looks up, for each record of the stream, the row of the table with the
// record's key, and gives what fn makes of both. Records without key or value,
// and those without a row, are dropped. Only the stream triggers results. Keys
// that may have changed are repartitioned with key and value.
func Join[K, V, W, R any](s *Stream[K, V], t *Table[K, W], fn func(K, V, W) R, value Serde[V], opts ...Option) *Stream[K, R] {
	return streamTable(s, t, value, &lookup[K, V, W, R]{
		fn: func(k K, v V, w W, _ bool) R { return fn(k, v, w) },
	}, opts)
}

// LeftJoin is Join that keeps records without a row; found tells whether there is
// one. Records without key are kept as well.
func LeftJoin[K, V, W, R any](s *Stream[K, V], t *Table[K, W], fn func(k K, v V, w W, found bool) R, value Serde[V], opts ...Option) *Stream[K, R] {
	return streamTable(s, t, value, &lookup[K, V, W, R]{fn: fn, left: true}, opts)
}

// lookup is what a stream-table join does with a pair.
type lookup[K, V, W, R any] struct {
	fn   func(K, V, W, bool) R
	left bool
}

func streamTable[K, V, W, R any](s *Stream[K, V], t *Table[K, W], value Serde[V], how *lookup[K, V, W, R], opts []Option) *Stream[K, R] {
	set := gather(opts)
	t = t.stored()
	s = s.grouped(t.key, value, settings{})
	n := s.b.add(&node{op: "join", parents: []*node{s.node, t.node}}, set)
	n.stores = append(n.stores, t.spec())
	n.build = func(tk *task) (any, error) {
		inst := &streamTableNode[K, V, W, R]{how: how, rows: viewRows(tk, t.spec(), t.key, t.value)}
		return inst, wire(tk, s.node, receiver[K, V](inst))
	}
	return &Stream[K, R]{b: s.b, node: n}
}

type streamTableNode[K, V, W, R any] struct {
	fan[K, R]
	how  *lookup[K, V, W, R]
	rows *rowStore[K, W]
	rec  Record[K, R]
}

func (n *streamTableNode[K, V, W, R]) receive(r *Record[K, V]) error {
	if r.NoValue || r.NoKey && !n.how.left {
		n.rows.t.env.metrics.Dropped.Add(1)
		return nil
	}
	var row W
	found := false
	if !r.NoKey {
		var err error
		if row, _, found, err = n.rows.get(r.Key); err != nil {
			return err
		}
	}
	if !found && !n.how.left {
		return nil
	}
	n.rec = Record[K, R]{Key: r.Key, NoKey: r.NoKey, Time: r.Time, Headers: r.Headers}
	n.rec.Value = n.how.fn(r.Key, r.Value, row, found)
	return n.forward(&n.rec)
}
