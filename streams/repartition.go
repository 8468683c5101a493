package streams

import "github.com/tidemill/tidemill/streams/serde"

// Repartition writes the stream to a topic of the topology's own and reads it
// back, so that all records of one key are in one partition, or those that
// PartitionBy puts together. With{Partitions: …} says how many partitions there
// are; without it as many as what is read with it has.
func (s *Stream[K, V]) Repartition(key serde.Serde[K], value serde.Serde[V], opts ...With) *Stream[K, V] {
	set := gather(opts)
	name := set.Name
	if name == "" {
		name = s.b.free(s.node.name + "-repartition")
	}
	topic := internalMark + name + "-repartition"
	if set.Topic != "" {
		topic = internalMark + set.Topic
	}
	out := sink(s, topic, key, value, With{Name: name + "-sink"})
	in := source(s.b, topic, key, value, With{Name: name})
	out.internal, in.internal = true, true
	in.partitions, in.otherKey = set.Partitions, s.by != nil
	return &Stream[K, V]{b: s.b, node: in}
}

// grouped returns s with records of one key in one partition.
func (s *Stream[K, V]) grouped(key serde.Serde[K], value serde.Serde[V], set With) *Stream[K, V] {
	if !s.rekeyed {
		return s
	}
	return s.Repartition(key, value, With{Name: set.Name, Partitions: set.Partitions})
}
