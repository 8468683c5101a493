package streams

import "github.com/tidemill/tidemill/streams/serde"

// JoinKind says which records or keys a join has results for.
type JoinKind int

// The joins: results where both sides have something, wherever the left one has,
// and, for two tables, wherever either has.
const (
	Inner JoinKind = iota
	Left
	Outer
)

// Pair is what a join gives to its function: what each side has for a key.
type Pair[V, W any] struct {
	Left              V
	Right             W
	HasLeft, HasRight bool
}

// keeps tells whether a pair has a result.
func (k JoinKind) keeps(left, right bool) bool {
	switch k {
	case Inner:
		return left && right
	case Left:
		return left
	default:
		return left || right
	}
}

// Join looks up, for each record of the stream, the row of the table with the
// record's key, and gives what fn makes of both. Only the stream triggers results.
// Records without value are dropped, as are those without key or row, unless
// With.Join is Left. Keys that may have changed are repartitioned first, for which
// value writes the records.
func Join[K, V, W, R any](s *Stream[K, V], t *Table[K, W], fn func(K, Pair[V, W]) R, value serde.Serde[V], opts ...With) *Stream[K, R] {
	set := gather(opts)
	t = t.stored()
	s = s.grouped(t.key, value, With{})
	n := s.b.add(&node{op: "join", parents: []*node{s.node, t.node}}, set)
	n.stores = append(n.stores, t.spec())
	if set.Join == Outer {
		s.b.fault("streams.join.outer", n.name, "a stream and a table have no outer join", "use Inner or Left")
	}
	n.build = func(tk *task) (any, error) {
		inst := &streamTableNode[K, V, W, R]{fn: fn, kind: set.Join, rows: viewRows(tk, t.spec(), t.key, t.value)}
		return inst, wire(tk, s.node, receiver[K, V](inst))
	}
	return &Stream[K, R]{b: s.b, node: n}
}

type streamTableNode[K, V, W, R any] struct {
	fan[K, R]
	fn   func(K, Pair[V, W]) R
	kind JoinKind
	rows *rowStore[K, W]
	rec  Record[K, R]
}

func (n *streamTableNode[K, V, W, R]) receive(r *Record[K, V]) error {
	if r.NoValue || r.NoKey && n.kind == Inner {
		n.rows.t.env.metrics.Dropped.Add(1)
		return nil
	}
	p := Pair[V, W]{Left: r.Value, HasLeft: true}
	if !r.NoKey {
		var err error
		if p.Right, _, p.HasRight, err = n.rows.get(r.Key); err != nil {
			return err
		}
	}
	if !n.kind.keeps(true, p.HasRight) {
		return nil
	}
	n.rec = Record[K, R]{Key: r.Key, NoKey: r.NoKey, Time: r.Time, Headers: r.Headers}
	n.rec.Value = n.fn(r.Key, p)
	return n.forward(&n.rec)
}
