package streams

// Stream is an endless sequence of records, each a fact of its own. The key may
// be null. Its methods and the package's functions add operators to the builder
// it came from and return the stream or table after them.
type Stream[K, V any] struct {
	b    *Builder
	node *node
	// rekeyed is set when keys may have changed since the last topic, so that
	// records of one key may lie in different partitions.
	rekeyed bool
	// by chooses partitions in the topic that is written to next; nil: by key.
	by *placing[K, V]
}

// next returns the stream after n, of the same types.
func (s *Stream[K, V]) next(n *node) *Stream[K, V] {
	return &Stream[K, V]{b: s.b, node: n, rekeyed: s.rekeyed}
}
