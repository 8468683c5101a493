package oracle

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/tidemill/tidemill/connect"
)

// mark is one event that a partition has had.
type mark struct {
	place
	hash   uint64
	offset int64
}

// partition is what is known of one partition: the events it has had, in their order.
type partition struct {
	marks []mark
	next  int64 // The offset behind the last record.
	// replay is the place in marks of the last record while a writer repeats what an
	// earlier one had written; -1 otherwise.
	replay int
	// writers are the producers in the order of their coming; epoch is the newest's.
	writers []int64
	epoch   int16
	buried  []byte // The key whose tombstone must be next.
	acks    []ack
}

func newPartition() *partition { return &partition{replay: -1} }

// writer checks that nobody writes after another has taken over.
func (p *partition) writer(r *record, report func(Anomaly)) {
	if r.ProducerID < 0 {
		return
	}
	i := slices.Index(p.writers, r.ProducerID)
	switch last := len(p.writers) - 1; {
	case i < 0:
		p.writers, p.epoch = append(p.writers, r.ProducerID), r.ProducerEpoch
	case i < last:
		report(anomalyOf(ZombieWrite, r, "producer %d writes again after producer %d had taken its place", r.ProducerID, p.writers[last]))
	case r.ProducerEpoch < p.epoch:
		report(anomalyOf(ZombieWrite, r, "producer %d writes with epoch %d after epoch %d", r.ProducerID, r.ProducerEpoch, p.epoch))
	default:
		p.epoch = r.ProducerEpoch
	}
}

// tombstone checks that each deletion has its tombstone right behind it. It tells whether
// the record is one.
func (p *partition) tombstone(r *record, again bool, report func(Anomaly)) bool {
	expected := p.buried
	p.buried = nil
	if r.op == opTombstone {
		if !bytes.Equal(expected, r.Key) || expected == nil {
			report(anomalyOf(Reorder, r, "a tombstone without its deletion before it"))
		}
		return true
	}
	if expected != nil && !again {
		report(anomalyOf(Lost, r, "the tombstone before this record"))
	}
	if r.op == "d" && len(r.Key) > 0 {
		p.buried = r.Key
	}
	return false
}

// take takes in an event and tells whether it is the first of its identity. Repetitions
// are anomalies when each event must come exactly once, and also when they are not what a
// writer does that begins again where its predecessor's offset was: write the same events
// in the same order, up to where the partition ended.
func (p *partition) take(r *record, hash uint64, once bool, report func(Anomaly)) (first bool) {
	m := mark{r.place, hash, r.Offset}
	i, seen := slices.BinarySearchFunc(p.marks, m, func(a, b mark) int { return a.compare(b.place) })
	switch {
	case seen && p.marks[i].hash != hash:
		report(anomalyOf(ValueDiff, r, "ordinal %d comes a second time with other values", r.ordinal))
	case seen && once:
		report(anomalyOf(Duplicate, r, "ordinal %d comes a second time", r.ordinal))
	case seen && p.replay >= 0 && i > p.replay+1:
		report(anomalyOf(Duplicate, r, "a repetition passes over %d events", i-p.replay-1))
	case !seen && i < len(p.marks):
		report(anomalyOf(Reorder, r, "ordinal %d comes after ordinal %d of commit %X/%X", r.ordinal, p.last().ordinal, p.last().commit>>32, uint32(p.last().commit)))
		p.marks = slices.Insert(p.marks, i, m)
		p.replay = -1
		return true
	case !seen:
		if p.replay >= 0 && p.replay < len(p.marks)-1 {
			report(anomalyOf(Duplicate, r, "a repetition ends %d events before what it repeats", len(p.marks)-1-p.replay))
		}
		p.marks, p.replay = append(p.marks, m), -1
		p.early(m, connect.TopicPartition{Topic: r.Topic, Partition: r.Partition}, report)
		return true
	}
	p.replay = i
	return false
}

func (p *partition) last() mark { return p.marks[len(p.marks)-1] }

func anomalyOf(name string, r *record, format string, args ...any) Anomaly {
	return Anomaly{Name: name, Text: fmt.Sprintf(format, args...), Place: r.at(), LSN: r.commit, XID: r.xid}
}
