package streams

// Repartition writes the stream to a topic of the topology's own and reads it
// back, so that all records of one key are in one partition.
func (s *Stream[K, V]) Repartition(key Serde[K], value Serde[V], opts ...Option) *Stream[K, V] {
	set := gather(opts)
	name := set.name
	if name == "" {
		name = s.b.free(s.node.name + "-repartition")
	}
	topic := internalMark + name
	out := sink(s, topic, key, value, settings{name: name + "-sink"})
	in := source(s.b, topic, key, value, settings{name: name})
	out.internal, in.internal = true, true
	in.partitions = set.partitions
	return &Stream[K, V]{b: s.b, node: in}
}

// grouped returns s with records of one key in one partition.
func (s *Stream[K, V]) grouped(key Serde[K], value Serde[V], set settings) *Stream[K, V] {
	if !s.rekeyed {
		return s
	}
	return s.Repartition(key, value, func(to *settings) { *to = settings{name: set.name, partitions: set.partitions} })
}
