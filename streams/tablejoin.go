package streams

import "github.com/tidemill/tidemill/streams/serde"

// JoinTables joins two tables on their key, as With.Join says; fn makes a row of a
// pair of rows. A // change on either side changes the result. The result is kept in a store, so
// that the old rows it sends are those it sent before.
func JoinTables[K, V, W, R any](l *Table[K, V], r *Table[K, W], fn func(K, Pair[V, W]) R, value serde.Serde[R], opts ...With) *Table[K, R] {
	set := gather(opts)
	l, r = l.stored(), r.stored()
	out := &Table[K, R]{b: l.b, key: l.key, value: value}
	out.node = l.b.add(&node{op: "tablejoin", parents: []*node{l.node, r.node}}, set)
	l.b.keep(out.node, set, layoutOf(l.key))
	out.node.stores = append(out.node.stores, l.spec(), r.spec())
	out.node.build = func(tk *task) (any, error) {
		inst := &tableJoinNode[K, V, W, R]{
			rowStore: openRows(tk, out.spec(), l.key, value), kind: set.Join, fn: fn,
			left: viewRows(tk, l.spec(), l.key, l.value), right: viewRows(tk, r.spec(), r.key, r.value),
		}
		err := wire(tk, l.node, receiver[K, Change[V]](leftInput[K, V, W, R]{inst}))
		if err != nil {
			return nil, err
		}
		return inst, wire(tk, r.node, receiver[K, Change[W]](rightInput[K, V, W, R]{inst}))
	}
	return out
}

type tableJoinNode[K, V, W, R any] struct {
	*rowStore[K, R]
	kind  JoinKind
	fn    func(K, Pair[V, W]) R
	left  *rowStore[K, V]
	right *rowStore[K, W]
	in    Record[K, Change[R]]
}

type leftInput[K, V, W, R any] struct{ n *tableJoinNode[K, V, W, R] }

func (i leftInput[K, V, W, R]) receive(r *Record[K, Change[V]]) error {
	p := Pair[V, W]{Left: r.Value.New, HasLeft: r.Value.HasNew}
	right, ms, found, err := i.n.right.get(r.Key)
	if err != nil {
		return err
	}
	p.Right, p.HasRight = right, found
	return i.n.result(r.Key, p, max(r.Time, ms))
}

type rightInput[K, V, W, R any] struct{ n *tableJoinNode[K, V, W, R] }

func (i rightInput[K, V, W, R]) receive(r *Record[K, Change[W]]) error {
	p := Pair[V, W]{Right: r.Value.New, HasRight: r.Value.HasNew}
	left, ms, found, err := i.n.left.get(r.Key)
	if err != nil {
		return err
	}
	p.Left, p.HasLeft = left, found
	return i.n.result(r.Key, p, max(r.Time, ms))
}

// result stores and sends the row of a pair, or that there is none any more.
func (n *tableJoinNode[K, V, W, R]) result(k K, p Pair[V, W], ms int64) error {
	key, err := n.encodeKey(k)
	if err != nil {
		return err
	}
	old, _, had, err := n.load(key)
	if err != nil {
		return err
	}
	n.in = Record[K, Change[R]]{Key: k, Time: ms, Value: Change[R]{Old: old, HasOld: had}}
	if n.kind.keeps(p.HasLeft, p.HasRight) {
		n.in.Value.New, n.in.Value.HasNew = n.fn(k, p), true
	} else if !had {
		return nil
	}
	return n.update(key, &n.in, true)
}
