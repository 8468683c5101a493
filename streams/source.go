package streams

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams/serde"
)

// sourceNode is the instance of a source: where a task puts records in.
type sourceNode interface {
	consume(r *kgo.Record) error
}

// streamSource decodes the records of a topic.
type streamSource[K, V any] struct {
	fan[K, V]
	t     *task
	key   serde.Serde[K]
	value serde.Serde[V]
	rec   Record[K, V]
}

// decode reads r into s.rec and reports whether it could be read. What cannot be
// read goes the way the task's owner has chosen.
func (s *streamSource[K, V]) decode(r *kgo.Record) (ok bool, err error) {
	s.rec = Record[K, V]{NoKey: r.Key == nil, NoValue: r.Value == nil, Time: r.Timestamp.UnixMilli(), Headers: r.Headers}
	if !s.rec.NoKey {
		if s.rec.Key, err = s.key.Decode(r.Key); err != nil {
			return false, s.t.unreadable(r, "key", err)
		}
	}
	if !s.rec.NoValue {
		if s.rec.Value, err = s.value.Decode(r.Value); err != nil {
			return false, s.t.unreadable(r, "value", err)
		}
	}
	return true, nil
}

func (s *streamSource[K, V]) consume(r *kgo.Record) error {
	if ok, err := s.decode(r); !ok {
		return err
	}
	return s.forward(&s.rec)
}

// unreadable counts a record that cannot be decoded, and stops the task unless
// such records are to be skipped.
func (t *task) unreadable(r *kgo.Record, part string, cause error) error {
	t.env.metrics.Unreadable.Add(1)
	if t.env.skipUnreadable {
		return nil
	}
	return &connect.Error{
		Code: "streams.unreadable", Class: connect.ClassRecord,
		Place:   fmt.Sprintf("topic %s, partition %d, offset %d", r.Topic, r.Partition, r.Offset),
		Message: "the " + part + " cannot be read",
		Mend:    "check the format the topic is declared with, or skip such records with Config.SkipUnreadable",
		Cause:   cause,
	}
}

// From reads a topic as a stream: every record for itself.
func From[K, V any](b *Builder, topic string, key serde.Serde[K], value serde.Serde[V], opts ...With) *Stream[K, V] {
	n := source(b, topic, key, value, gather(opts))
	return &Stream[K, V]{b: b, node: n}
}

// source adds the node of a stream source.
func source[K, V any](b *Builder, topic string, key serde.Serde[K], value serde.Serde[V], s With) *node {
	n := b.add(&node{op: "source", topic: topic, isSource: true}, s)
	n.build = func(t *task) (any, error) {
		kafka := topicName(t.env.app, topic)
		src := &streamSource[K, V]{t: t, key: serde.Bind(key, kafka, true), value: serde.Bind(value, kafka, false)}
		t.read(topic, src)
		return src, nil
	}
	return n
}
