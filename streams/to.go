package streams

import "github.com/tidemill/tidemill/streams/serde"

// To writes the stream to a topic, partitioned by key as Kafka's own producers
// do, or as PartitionBy says.
func (s *Stream[K, V]) To(topic string, key serde.Serde[K], value serde.Serde[V], opts ...With) {
	sink(s, topic, key, value, gather(opts))
}

// ToEach writes each record to the topic that topicOf names for it. The topics
// have to exist, or the broker has to make topics by itself.
func (s *Stream[K, V]) ToEach(topicOf func(Record[K, V]) string, key serde.Serde[K], value serde.Serde[V], opts ...With) {
	set := gather(opts)
	n := operator[K, V](s.b, s.node, "sink", set, func(t *task) *routeNode[K, V] {
		return &routeNode[K, V]{topicOf: topicOf, open: map[string]*sinkNode[K, V]{}, make: func(topic string) *sinkNode[K, V] {
			return newSink(t, topic, key, value, s.by)
		}}
	})
	n.isSink, n.routed = true, true
	s.by.use()
}

func (p *placing[K, V]) use() {
	if p != nil {
		p.used = true
	}
}

func sink[K, V any](s *Stream[K, V], topic string, key serde.Serde[K], value serde.Serde[V], set With) *node {
	var n *node
	n = operator[K, V](s.b, s.node, "sink", set, func(t *task) *sinkNode[K, V] {
		to := newSink(t, topicName(t.env.app, topic), key, value, s.by)
		to.keyed = n.internal && !n.keyless
		return to
	})
	n.topic, n.isSink = topic, true
	s.by.use()
	return n
}

// newSink opens a topic by its name in Kafka.
func newSink[K, V any](t *task, topic string, key serde.Serde[K], value serde.Serde[V], by *placing[K, V]) *sinkNode[K, V] {
	return &sinkNode[K, V]{t: t, topic: topic, key: serde.Bind(key, topic, true), value: serde.Bind(value, topic, false), by: by}
}

type sinkNode[K, V any] struct {
	t          *task
	topic      string
	key        serde.Serde[K]
	value      serde.Serde[V]
	by         *placing[K, V]
	keyed      bool   // what has no key is dropped
	kbuf, vbuf []byte // scratch
}

func (n *sinkNode[K, V]) receive(r *Record[K, V]) (err error) {
	var key, value []byte
	if r.NoKey && n.keyed {
		n.t.drop()
		return nil
	}
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
	out := n.t.outgoing(n.topic, key, value, r.Time)
	out.Headers = r.Headers
	if n.t.env.epochs != nil {
		out.Headers = n.t.env.epochs.marked(n.topic, r.Headers)
	}
	if n.by != nil {
		rec, choose := *r, n.by.fn
		out.Context = &placed{after: n.by.after, choose: func(partitions int) int { return choose(rec, partitions) }}
	}
	n.t.env.out.produce(out, nil)
	return nil
}

// routeNode writes to topics that records choose.
type routeNode[K, V any] struct {
	topicOf func(Record[K, V]) string
	open    map[string]*sinkNode[K, V]
	make    func(topic string) *sinkNode[K, V]
}

func (n *routeNode[K, V]) receive(r *Record[K, V]) error {
	topic := n.topicOf(*r)
	to := n.open[topic]
	if to == nil {
		to = n.make(topic)
		n.open[topic] = to
	}
	return to.receive(r)
}
