package streams

import (
	"encoding/base64"
	"encoding/binary"
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
// record ever. What becomes of a negative time is what With.Timestamps said.
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
	// high is the highest time of the records that were taken in, -1 before the first.
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

// timeVersion is the version of what is noted with committed offsets.
const timeVersion = 2

// timeNote is what is noted with the offset of a partition: the highest time met in it,
// so that time does not begin anew with whoever reads on. It is as Kafka Streams notes it.
func timeNote(ms int64) string {
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint64([]byte{timeVersion}, uint64(ms)))
}

// readTimeNote reads what timeNote or Kafka Streams has written; -1 stands for no time, and
// ok is false for what is of somebody else. What may follow the time is of operators of
// Kafka Streams.
func readTimeNote(note string) (ms int64, ok bool) {
	if note == "" {
		return -1, true
	}
	b, err := base64.StdEncoding.DecodeString(note)
	if err != nil || len(b) < 9 || b[0] < 1 || b[0] > timeVersion {
		return -1, false
	}
	return max(int64(binary.BigEndian.Uint64(b[1:])), -1), true
}
