package streams

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams/fault"
	"github.com/tidemill/tidemill/streams/serde"
)

// sourceNode is the instance of a source: where a task puts records in.
type sourceNode interface {
	consume(r *kgo.Record) error
	// envelope reads the change event in a record.
	envelope(r *kgo.Record) (connect.Value, error)
}

// streamSource decodes the records of a topic.
type streamSource[K, V any] struct {
	fan[K, V]
	t     *task
	node  *node
	key   serde.Serde[K]
	value serde.Serde[V]
	rec   Record[K, V]
	// ahead is the record that rec was decoded from before its turn, to get at its
	// time.
	ahead *kgo.Record
}

// decode reads r into s.rec and reports whether it could be read. What cannot be
// read goes the way the application has chosen.
func (s *streamSource[K, V]) decode(r *kgo.Record) (ok bool, err error) {
	s.ahead = nil // What was read ahead is written over.
	s.rec = Record[K, V]{NoKey: r.Key == nil, NoValue: r.Value == nil, Time: r.Timestamp.UnixMilli(), Headers: r.Headers}
	if !s.rec.NoKey {
		if s.rec.Key, err = s.key.Decode(r.Key); err != nil {
			return false, s.t.unreadable(s.node, r, "key", err)
		}
	}
	if !s.rec.NoValue {
		if s.rec.Value, err = s.value.Decode(r.Value); err != nil {
			return false, s.t.unreadable(s.node, r, "value", err)
		}
	}
	return true, nil
}

func (s *streamSource[K, V]) consume(r *kgo.Record) error {
	if s.ahead == r {
		s.ahead, s.rec.Time = nil, r.Timestamp.UnixMilli()
		return s.forward(&s.rec)
	}
	if ok, err := s.decode(r); !ok {
		return err
	}
	return s.forward(&s.rec)
}

func (s *streamSource[K, V]) envelope(r *kgo.Record) (connect.Value, error) {
	v, err := s.value.Decode(r.Value)
	if err != nil {
		return connect.Value{}, s.t.unreadable(s.node, r, "value", err)
	}
	env, _ := any(v).(connect.Value)
	return env, nil
}

// timed makes a function of the types of s one of its timer.
func (s *streamSource[K, V]) timed(by any) func(*kgo.Record, int64) (int64, bool, error) {
	fn, ok := by.(func(Record[K, V], int64) int64)
	if !ok {
		return nil
	}
	return func(r *kgo.Record, partitionTime int64) (int64, bool, error) {
		if ok, err := s.decode(r); !ok {
			return 0, false, err
		}
		s.ahead = r
		return fn(s.rec, partitionTime), true, nil
	}
}

// unreadable decides about a record that cannot be decoded.
func (t *task) unreadable(n *node, r *kgo.Record, part string, cause error) error {
	before := t.current
	t.current = r // It may be looked at before its turn.
	defer func() { t.current = before }()
	f := t.faulty(fault.Reading, n.name, &connect.Error{
		Code: "streams.unreadable", Class: connect.ClassRecord,
		Place:   fmt.Sprintf("topic %s, partition %d, offset %d", r.Topic, r.Partition, r.Offset),
		Message: "the " + part + " cannot be read",
		Mend:    "check the format the topic is declared with, or pass over such records with App.OnFault",
		Cause:   cause,
	})
	return t.env.judge.decide(f, true)
}

// From reads a topic as a stream: every record for itself. With.Pattern it reads all that
// match.
func From[K, V any](b *Builder, topic string, key serde.Serde[K], value serde.Serde[V], opts ...With) *Stream[K, V] {
	n := source(b, topic, key, value, gather(opts))
	return &Stream[K, V]{b: b, node: n}
}

// source adds the node of a stream source.
func source[K, V any](b *Builder, topic string, key serde.Serde[K], value serde.Serde[V], s With) *node {
	n := &node{op: "source", topic: topic, isSource: true, timestamps: s.Timestamps, keys: key}
	b.patternNode(n, s)
	b.add(n, s)
	n.build = func(t *task) (any, error) {
		if n.pattern != nil {
			src := &streamSource[K, V]{t: t, node: n}
			t.readMatched(n.topic, func(topic string) (sourceNode, timer) { return matchedOf(src, topic, key, value) })
			return src, nil
		}
		kafka := topicName(t.env.app, topic)
		src := &streamSource[K, V]{t: t, node: n, key: serde.Bind(key, kafka, true), value: serde.Bind(value, kafka, false)}
		t.read(topic, src, timer{how: n.timestamps, of: src.timed(n.timedBy), high: -1})
		return src, nil
	}
	return n
}
