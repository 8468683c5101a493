package streams

import (
	"slices"

	"github.com/tidemill/tidemill/streams/serde"
)

// Repartition writes the stream to a topic of the topology's own and reads it
// back, so that records of one key are in one partition, or those that
// PartitionBy puts together. With{Partitions: …} says how many partitions there
// are; without it as many as what is read with it has. As in Kafka Streams, records
// without key are dropped, unless an operator behind it has a use for them: left and
// outer joins have, and what is declared With.Keyless, as Repartition itself can be.
func (s *Stream[K, V]) Repartition(key serde.Serde[K], value serde.Serde[V], opts ...With) *Stream[K, V] {
	set := gather(opts)
	name := set.Name
	if name == "" {
		name = s.b.free(s.node.name + "-repartition")
	}
	topic := internalMark + set.Topic
	if set.Topic == "" {
		topic = internalMark + name + "-repartition"
	}
	out := sink(s, topic, key, value, With{Name: name + "-sink"})
	in := source(s.b, topic, key, value, With{Name: name})
	out.internal, in.internal, out.readBy = true, true, in
	in.partitions, in.otherKey, in.keyless = set.Partitions, s.by != nil, set.Keyless
	return &Stream[K, V]{b: s.b, node: in}
}

// grouped returns s with records of one key in one partition.
func (s *Stream[K, V]) grouped(key serde.Serde[K], value serde.Serde[V], set With) *Stream[K, V] {
	if !s.rekeyed {
		return s
	}
	return s.Repartition(key, value, With{Name: set.Name, Partitions: set.Partitions})
}

// leaveKeyless finds the operators that have a use for records without key, or are on the
// way to such (KIP-962).
func leaveKeyless(nodes []*node) {
	for _, n := range slices.Backward(nodes) {
		if n.readBy != nil && n.readBy.keyless {
			n.keyless = true
		}
		for _, p := range n.parents {
			p.keyless = p.keyless || n.keyless
		}
	}
}
