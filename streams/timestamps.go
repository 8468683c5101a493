package streams

import (
	"fmt"
	"reflect"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams/clock"
)

// TimedBy takes the time of each record, in milliseconds, from what is in it. It is
// for the stream that [From] returns. fn gets the record with the time that Kafka has
// for it, and the highest time met in its partition so far, -1 before the first
// record. What becomes of a negative time is what With.Timestamps said.
func (s *Stream[K, V]) TimedBy(fn func(r Record[K, V], partitionTime int64) int64) *Stream[K, V] {
	if !s.node.isSource || s.node.internal {
		s.b.fault("streams.timestamps", s.node.name, "TimedBy is not directly after From", "records get their time where they are read")
		return s
	}
	s.node.timedBy = fn
	return s
}

// checkTimestamps reports topics that are read twice with different times: a record
// is taken in once and has one.
func (b *Builder) checkTimestamps() {
	first := map[string]*node{}
	for _, n := range b.nodes {
		if !n.isSource {
			continue
		}
		other := first[n.topic]
		if other == nil {
			first[n.topic] = n
		} else if other.timestamps != n.timestamps || !sameFunc(other.timedBy, n.timedBy) {
			b.fault("streams.timestamps.differ", n.topic, "the topic is read twice, and its records get their times in different ways", "read it once, or with the same Timestamps and TimedBy")
		}
	}
}

// sameFunc tells whether both are unset or one function of the program.
func sameFunc(a, b any) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return reflect.ValueOf(a).Pointer() == reflect.ValueOf(b).Pointer()
}

// timer settles the time of the records of one partition.
type timer struct {
	how clock.Timestamps
	// of, when it is set, gets the time out of a record; ok is false for one that
	// cannot be read and is passed over.
	of func(r *kgo.Record, partitionTime int64) (ms int64, ok bool, err error)
	// high is the highest time met, -1 before the first record.
	high int64
}

// settle returns the time of a record, which it sets if it is not the one in Kafka.
// ok is false when the record is to be passed over.
func (tm *timer) settle(t *task, r *kgo.Record) (ms int64, ok bool, err error) {
	ms = r.Timestamp.UnixMilli()
	given := ms
	switch {
	case tm.how == clock.WallClockTime:
		ms = t.env.now().UnixMilli()
	case tm.of != nil:
		if ms, ok, err = tm.of(r, tm.high); err != nil || !ok {
			return 0, false, err
		}
	}
	if ms < 0 {
		switch {
		case tm.how == clock.SkipInvalid:
			t.drop()
			return 0, false, nil
		case tm.how == clock.PartitionTime && tm.high >= 0:
			ms = tm.high
		default:
			return 0, false, untimed(r, ms)
		}
	}
	if ms != given {
		r.Timestamp = time.UnixMilli(ms)
	}
	tm.high = max(tm.high, ms)
	return ms, true, nil
}

// untimed is the error of a record without a valid time.
func untimed(r *kgo.Record, ms int64) error {
	return &connect.Error{
		Code: "streams.timestamp.invalid", Class: connect.ClassFatal,
		Place:   fmt.Sprintf("topic %s, partition %d, offset %d", r.Topic, r.Partition, r.Offset),
		Message: fmt.Sprintf("the record's timestamp is %d, which is before 1970", ms),
		Mend:    "say with With{Timestamps: …} what time such records have, or take it from what is in them with TimedBy",
	}
}
