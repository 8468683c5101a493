package streams

import "github.com/tidemill/tidemill/streams/serde"

// Map turns each record into another, key included. fn gets records without key
// or value too.
func Map[K, V, K2, V2 any](s *Stream[K, V], fn func(Record[K, V]) Record[K2, V2], opts ...With) *Stream[K2, V2] {
	n := operator[K, V](s.b, s.node, "map", gather(opts), func(*task) *mapNode[K, V, K2, V2] {
		return &mapNode[K, V, K2, V2]{fn: fn}
	})
	return &Stream[K2, V2]{b: s.b, node: n, rekeyed: true}
}

type mapNode[K, V, K2, V2 any] struct {
	fan[K2, V2]
	fn  func(Record[K, V]) Record[K2, V2]
	rec Record[K2, V2]
}

func (n *mapNode[K, V, K2, V2]) receive(r *Record[K, V]) error {
	n.rec = n.fn(*r)
	return n.forward(&n.rec)
}

// MapValues turns each value into another and leaves the key. A record without
// value stays one.
func MapValues[K, V, V2 any](s *Stream[K, V], fn func(K, V) V2, opts ...With) *Stream[K, V2] {
	n := operator[K, V](s.b, s.node, "mapvalues", gather(opts), func(*task) *mapValuesNode[K, V, V2] {
		return &mapValuesNode[K, V, V2]{fn: fn}
	})
	return &Stream[K, V2]{b: s.b, node: n, rekeyed: s.rekeyed}
}

type mapValuesNode[K, V, V2 any] struct {
	fan[K, V2]
	fn  func(K, V) V2
	rec Record[K, V2]
}

func (n *mapValuesNode[K, V, V2]) receive(r *Record[K, V]) error {
	n.rec = Record[K, V2]{Key: r.Key, NoKey: r.NoKey, NoValue: r.NoValue, Time: r.Time, Headers: r.Headers}
	if !r.NoValue {
		n.rec.Value = n.fn(r.Key, r.Value)
	}
	return n.forward(&n.rec)
}

// SelectKey gives each record a new key.
func SelectKey[K, V, K2 any](s *Stream[K, V], fn func(K, V) K2, opts ...With) *Stream[K2, V] {
	n := operator[K, V](s.b, s.node, "selectkey", gather(opts), func(*task) *mapNode[K, V, K2, V] {
		return &mapNode[K, V, K2, V]{fn: func(r Record[K, V]) Record[K2, V] {
			return Record[K2, V]{Key: fn(r.Key, r.Value), Value: r.Value, NoValue: r.NoValue, Time: r.Time, Headers: r.Headers}
		}}
	})
	return &Stream[K2, V]{b: s.b, node: n, rekeyed: true}
}

// FlatMap turns each record into any number of records: fn calls emit for each. With
// With.FixedKey it turns values into any number of values, as flatMapValues does.
func FlatMap[K, V, K2, V2 any](s *Stream[K, V], fn func(r Record[K, V], emit func(Record[K2, V2])), opts ...With) *Stream[K2, V2] {
	set := gather(opts)
	n := operator[K, V](s.b, s.node, "flatmap", set, func(*task) *flatMapNode[K, V, K2, V2] {
		n := &flatMapNode[K, V, K2, V2]{fn: fn}
		n.emit = n.pass
		if set.FixedKey {
			n.lend = lender[K, V, K2, V2](func() *Record[K, V] { return n.in })
		}
		return n
	})
	fixesKey[K, K2](s.b, n, set)
	return &Stream[K2, V2]{b: s.b, node: n, rekeyed: s.rekeyed || !set.FixedKey}
}

type flatMapNode[K, V, K2, V2 any] struct {
	fan[K2, V2]
	fn   func(Record[K, V], func(Record[K2, V2]))
	emit func(Record[K2, V2])
	in   *Record[K, V]
	lend func(*Record[K2, V2]) error // nil unless the key is fixed
	rec  Record[K2, V2]
	err  error
}

func (n *flatMapNode[K, V, K2, V2]) pass(r Record[K2, V2]) {
	if n.err != nil {
		return
	}
	n.rec = r
	if n.lend != nil {
		n.err = n.lend(&n.rec)
	}
	if n.err == nil {
		n.err = n.forward(&n.rec)
	}
}

func (n *flatMapNode[K, V, K2, V2]) receive(r *Record[K, V]) error {
	n.err, n.in = nil, r
	n.fn(*r, n.emit)
	return n.err
}

// MapTable turns each row into another and leaves the key. fn must give the same
// result for the same row: old rows pass through it as well.
func MapTable[K, V, V2 any](t *Table[K, V], fn func(K, V) V2, value serde.Serde[V2], opts ...With) *Table[K, V2] {
	s := gather(opts)
	n := operator[K, Change[V]](t.b, t.node, "mapvalues", s, func(*task) *mapTableNode[K, V, V2] {
		return &mapTableNode[K, V, V2]{fn: fn}
	})
	n.pullOld, n.passes = t.node.requireOld, t.node
	return (&Table[K, V2]{b: t.b, key: t.key, value: value}).derived(n, s)
}

type mapTableNode[K, V, V2 any] struct {
	fan[K, Change[V2]]
	fn  func(K, V) V2
	rec Record[K, Change[V2]]
}

func (n *mapTableNode[K, V, V2]) receive(r *Record[K, Change[V]]) error {
	c := &r.Value
	n.rec = Record[K, Change[V2]]{Key: r.Key, Time: r.Time, Headers: r.Headers}
	n.rec.Value.HasOld, n.rec.Value.HasNew, n.rec.Value.Past = c.HasOld, c.HasNew, c.Past
	if c.HasOld {
		n.rec.Value.Old = n.fn(r.Key, c.Old)
	}
	if c.HasNew {
		n.rec.Value.New = n.fn(r.Key, c.New)
	}
	return n.forward(&n.rec)
}
