package streams

// Peek shows each record to fn and passes it on unchanged. After a failure
// records are processed again, so fn may see one more than once.
func (s *Stream[K, V]) Peek(fn func(Record[K, V]), opts ...With) *Stream[K, V] {
	return s.next(operator[K, V](s.b, s.node, "peek", gather(opts), func(*task) *peekNode[K, V] {
		return &peekNode[K, V]{fn: fn}
	}))
}

type peekNode[K, V any] struct {
	fan[K, V]
	fn func(Record[K, V])
}

func (n *peekNode[K, V]) receive(r *Record[K, V]) error {
	n.fn(*r)
	return n.forward(r)
}
