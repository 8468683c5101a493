package worker

import "github.com/tidemill/tidemill/connect"

// submitted are the records a source task has handed over, in order, and which of
// them are finished: acknowledged, or dropped on the way. It answers how far each
// source partition is finished without a gap, which is how far its offset may be
// stored. It does no locking and no I/O.
type submitted struct {
	lanes   map[connect.SourcePartition]*lane
	recent  *lane // The lane of the last record: most sources have only one.
	touched []*lane
	pending int
}

// lane is the queue of one source partition. The entry at entries[i] has the number
// first+i; the finished ones at its head are cut off as they become known.
type lane struct {
	partition connect.SourcePartition
	entries   []laneEntry
	head      int // entries[:head] are cut off already.
	first     uint64
	reached   connect.Offset // The newest offset that may be stored, nil for none new.
	touched   bool
}

type laneEntry struct {
	offset connect.Offset
	done   bool
}

// ticket names one submitted record.
type ticket struct {
	lane   *lane
	number uint64
}

// position is an offset that may be stored.
type position struct {
	partition connect.SourcePartition
	offset    connect.Offset
}

func newSubmitted() *submitted { return &submitted{lanes: map[connect.SourcePartition]*lane{}} }

// add takes note of the next record of a partition.
func (s *submitted) add(p connect.SourcePartition, o connect.Offset) ticket {
	l := s.recent
	if l == nil || l.partition != p {
		l = s.lanes[p]
		if l == nil {
			l = &lane{partition: p}
			s.lanes[p] = l
		}
		s.recent = l
	}
	l.entries = append(l.entries, laneEntry{offset: o})
	s.pending++
	return ticket{lane: l, number: l.first + uint64(len(l.entries)-1-l.head)}
}

// finish marks a record as finished. Each record is finished once.
func (s *submitted) finish(t ticket) {
	l := t.lane
	s.pending--
	l.entries[l.head+int(t.number-l.first)].done = true
	if t.number != l.first {
		return
	}
	for l.head < len(l.entries) && l.entries[l.head].done {
		// A record without an offset does not move its partition.
		if o := l.entries[l.head].offset; o != nil {
			l.reached = o
			if !l.touched {
				l.touched = true
				s.touched = append(s.touched, l)
			}
		}
		l.entries[l.head] = laneEntry{}
		l.head++
		l.first++
	}
	l.compact()
}

// compact gives back the room of what was cut off, at a cost that is constant for
// each record.
func (l *lane) compact() {
	switch {
	case l.head == len(l.entries):
		l.entries, l.head = l.entries[:0], 0
	case l.head > 1024 && l.head > len(l.entries)/2:
		n := copy(l.entries, l.entries[l.head:])
		clear(l.entries[n:])
		l.entries, l.head = l.entries[:n], 0
	}
}

// committable appends the newest offset of every partition that moved since the
// last call, and forgets that they moved.
func (s *submitted) committable(dst []position) []position {
	for _, l := range s.touched {
		dst = append(dst, position{partition: l.partition, offset: l.reached})
		l.reached, l.touched = nil, false
	}
	clear(s.touched)
	s.touched = s.touched[:0]
	return dst
}

// unfinished returns how many records are not finished.
func (s *submitted) unfinished() int { return s.pending }
