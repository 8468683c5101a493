package streams

import "github.com/tidemill/tidemill/streams/serde"

// To writes the stream to a topic, partitioned by key as Kafka's own producers
// do.
func (s *Stream[K, V]) To(topic string, key serde.Serde[K], value serde.Serde[V], opts ...With) {
	sink(s, topic, key, value, gather(opts))
}

func sink[K, V any](s *Stream[K, V], topic string, key serde.Serde[K], value serde.Serde[V], set With) *node {
	n := operator[K, V](s.b, s.node, "sink", set, func(t *task) *sinkNode[K, V] {
		kafka := topicName(t.env.app, topic)
		return &sinkNode[K, V]{t: t, topic: kafka, key: serde.Bind(key, kafka, true), value: serde.Bind(value, kafka, false)}
	})
	n.topic, n.isSink = topic, true
	return n
}

type sinkNode[K, V any] struct {
	t          *task
	topic      string
	key        serde.Serde[K]
	value      serde.Serde[V]
	kbuf, vbuf []byte // scratch
}

func (n *sinkNode[K, V]) receive(r *Record[K, V]) (err error) {
	var key, value []byte
	if !r.NoKey {
		if n.kbuf, err = n.key.Append(n.kbuf[:0], r.Key); err != nil {
			return n.t.unwritable(n.topic, "key", err)
		}
		key = n.t.slab.copy(n.kbuf)
	}
	if !r.NoValue {
		if n.vbuf, err = n.value.Append(n.vbuf[:0], r.Value); err != nil {
			return n.t.unwritable(n.topic, "value", err)
		}
		value = n.t.slab.copy(n.vbuf)
	}
	n.t.produce(n.topic, key, value, r.Time, r.Headers)
	return nil
}
