package streams

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
)

// PartitionBy says to which partition each record goes in the topic that the
// stream it returns is written to next, by To, ToEach or Repartition: a number
// from 0 to below partitions, which is how many the topic has. A negative number
// leaves the choice to the key. It has to be followed by one of these three.
func (s *Stream[K, V]) PartitionBy(fn func(r Record[K, V], partitions int) int) *Stream[K, V] {
	by := &placing[K, V]{fn: fn, after: s.node.name}
	s.b.placings = append(s.b.placings, by)
	return &Stream[K, V]{b: s.b, node: s.node, rekeyed: s.rekeyed, by: by}
}

// placing is a choice of partitions that waits for a topic.
type placing[K, V any] struct {
	fn    func(Record[K, V], int) int
	after string // the operator before it
	used  bool
}

// unused returns the operator after which a choice of partitions leads nowhere.
func (p *placing[K, V]) unused() (after string, is bool) { return p.after, !p.used }

// checkPlacings reports choices of partitions that no topic follows.
func (b *Builder) checkPlacings() {
	for _, p := range b.placings {
		if after, is := p.unused(); is {
			b.fault("streams.partitionby.unused", after, "PartitionBy is not followed by To, ToEach or Repartition", "put it directly before the operator that writes")
		}
	}
}

// placed is the Context of an outgoing record whose partition is chosen by its
// stream. The choice can only be made when the number of partitions is known, and
// that is when the producer asks.
type placed struct {
	context.Context // the runner's
	choose          func(partitions int) int
	after           string // the operator that the stream comes from
	wrong           error  // what was chosen is none of the partitions
}

// placement partitions records by key, except those of changelogs, which say
// themselves where they belong, and those whose stream chooses.
type placement struct{}

func (placement) ForTopic(topic string) kgo.TopicPartitioner {
	if isChangelog(topic) {
		return kgo.ManualPartitioner().ForTopic(topic)
	}
	return &topicPlacement{kgo.StickyKeyPartitioner(nil).ForTopic(topic)}
}

type topicPlacement struct{ kgo.TopicPartitioner }

func (p *topicPlacement) RequiresConsistency(r *kgo.Record) bool {
	if _, ok := r.Context.(*placed); ok {
		return true
	}
	return p.TopicPartitioner.RequiresConsistency(r)
}

// Partition implements kgo.TopicPartitioner.
func (p *topicPlacement) Partition(r *kgo.Record, n int) int {
	if by, ok := r.Context.(*placed); ok {
		if at := by.among(r.Topic, n); at >= 0 {
			return at
		}
	}
	return p.TopicPartitioner.Partition(r, n)
}

// among chooses one of n partitions of a topic; a negative number is no choice.
func (p *placed) among(topic string, n int) int {
	at := p.ask(topic, n)
	if at >= n && p.wrong == nil {
		p.wrong = &connect.Error{
			Code: "streams.partition", Class: connect.ClassFatal, Place: "topic " + topic,
			Message: fmt.Sprintf("PartitionBy chose partition %d of %d", at, n),
			Mend:    "choose a number below that of the partitions, or a negative one to leave it to the key",
		}
	}
	return at
}

// ask asks the user's code, which runs inside the producer: no panic may leave it. The
// choice is none of the partitions then.
func (p *placed) ask(topic string, n int) (at int) {
	defer func() {
		if v := recover(); v != nil {
			at, p.wrong = n, newPanic(v, connect.ClassFatal, "PartitionBy after operator "+p.after+", topic "+topic, "mend the function, or decide with App.OnFault what becomes of such records")
		}
	}()
	return p.choose(n)
}

// OnNewBatch implements kgo.TopicPartitionerOnNewBatch, by which records without
// key change partitions.
func (p *topicPlacement) OnNewBatch() {
	if on, ok := p.TopicPartitioner.(kgo.TopicPartitionerOnNewBatch); ok {
		on.OnNewBatch()
	}
}
