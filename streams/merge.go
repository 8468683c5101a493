package streams

// Merge returns the records of both streams, those of each in their order.
func (s *Stream[K, V]) Merge(other *Stream[K, V], opts ...With) *Stream[K, V] {
	n := s.b.add(&node{op: "merge", parents: []*node{s.node, other.node}}, gather(opts))
	n.build = func(t *task) (any, error) {
		inst := &mergeNode[K, V]{}
		if err := wire(t, s.node, receiver[K, V](inst)); err != nil {
			return nil, err
		}
		return inst, wire(t, other.node, receiver[K, V](inst))
	}
	return &Stream[K, V]{b: s.b, node: n, rekeyed: s.rekeyed || other.rekeyed}
}

type mergeNode[K, V any] struct{ fan[K, V] }

func (n *mergeNode[K, V]) receive(r *Record[K, V]) error { return n.forward(r) }
