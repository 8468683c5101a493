package oracle

import (
	"fmt"

	"github.com/tidemill/tidemill/connect"
)

// ack is a position that the source was told to be safe, and where a partition ended
// after that.
type ack struct {
	lsn uint64
	end int64
}

// acknowledge takes in a position that the source was told to be safe, and where the
// partitions ended some moment later.
func (l *ledger) acknowledge(lsn uint64, ends map[connect.TopicPartition]int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for tp, end := range ends {
		if end > 0 {
			l.partition(tp.Topic, tp.Partition)
		}
	}
	l.acked = max(l.acked, lsn)
	for tp, p := range l.partitions {
		a := ack{lsn, ends[tp]}
		// Records that came meanwhile stand behind the end, too.
		for i := len(p.marks) - 1; i >= 0 && p.marks[i].offset >= a.end; i-- {
			p.marks[i].early(a, tp, l.found.add)
		}
		p.acks = append(p.acks, a)
		for len(p.acks) > 1 && p.acks[1].end <= p.next {
			p.acks = p.acks[1:]
		}
	}
}

// early checks an event that came for the first time against what the source had been
// told when the partition ended before it.
func (p *partition) early(m mark, tp connect.TopicPartition, report func(Anomaly)) {
	for i := len(p.acks) - 1; i >= 0; i-- {
		if p.acks[i].end <= m.offset {
			m.early(p.acks[i], tp, report)
			return
		}
	}
}

func (m mark) early(a ack, tp connect.TopicPartition, report func(Anomaly)) {
	if m.offset >= a.end && m.commit < a.lsn {
		report(Anomaly{Name: EarlyAck, Text: fmt.Sprintf("the source was told that all before %X/%X is safe, and then this came", a.lsn>>32, uint32(a.lsn)),
			Place: fmt.Sprintf("%s-%d@%d", tp.Topic, tp.Partition, m.offset), LSN: m.commit})
	}
}
