package streams

import "github.com/twmb/franz-go/pkg/kgo"

// queue holds the fetched records of one partition until a task takes them.
type queue struct {
	topic   string // in Kafka
	name    string // as the nodes call it
	sources []sourceNode
	records []*kgo.Record
	head    int
	bytes   int // of the records that wait

	next   int64 // the offset after the last processed record; -1 when none was
	saved  int64 // next as of the last commit; the restoring goroutine's while there is one
	last   int64 // the offset after the last fetched record
	end    int64 // the end of the partition when it was last heard of
	first  int64 // the first offset ever fetched; -1 before that
	paused bool
	here   bool // the group has given the partition to this member
	// running says that the task runs. Until then next is the restoring goroutine's.
	running bool
	node    string // the operator that reads it
	taken   int64  // how many records were taken out

	// timer settles the times of records, one at a time: at is that of the next
	// one once timed is set.
	timer     timer
	timed     bool
	at        int64
	savedHigh int64 // timer.high as of the last commit; the restoring goroutine's while there is one

	// placed and known are where the partition was to be read from and where it
	// ended when the task was restored; they are set by the restoring goroutine.
	placed, known int64
}

// push appends fetched records, which end is the end of their partition with. Those that
// only mark the end of a transaction are not kept, but count for how far the partition
// has been read: it is caught up with them, and not before.
func (q *queue) push(rs []*kgo.Record, end int64) {
	if q.head > 0 && q.head == len(q.records) {
		q.records, q.head = q.records[:0], 0
	}
	for _, r := range rs {
		if q.first < 0 {
			q.first = r.Offset
		}
		q.last = r.Offset + 1
		if r.Attrs.IsControl() {
			continue
		}
		q.records = append(q.records, r)
		q.bytes += recordBytes(r)
	}
	if q.running && q.len() == 0 && q.next >= 0 {
		q.next = max(q.next, q.last)
	}
	q.end = max(end, q.end)
}

// recordBytes is about what a record that waits takes.
func recordBytes(r *kgo.Record) int { return len(r.Key) + len(r.Value) }

func (q *queue) len() int { return len(q.records) - q.head }

// ready settles the time of the next record, and reports whether there is one.
// Records that are to be passed over because of it are gone then.
func (q *queue) ready(t *task) (bool, error) {
	for !q.timed && q.len() > 0 {
		ms, ok, err := q.timer.settle(t, q.records[q.head])
		if err != nil {
			return false, err
		}
		if !ok {
			q.pop()
			t.dirty = true
			continue
		}
		q.at, q.timed = ms, true
	}
	return q.timed, nil
}

func (q *queue) pop() *kgo.Record {
	r := q.records[q.head]
	q.records[q.head] = nil
	q.head++
	q.taken++
	q.timed = false
	q.bytes -= recordBytes(r)
	q.next = r.Offset + 1
	if q.len() == 0 {
		q.next = max(q.next, q.last)
	}
	return r
}

// caughtUp tells whether everything up to the known end was fetched.
func (q *queue) caughtUp() bool { return q.last >= q.end }

// giveUp stops the waiting for records up to an end that seems not to come:
// offsets at the end of a partition may belong to no record.
func (q *queue) giveUp() {
	if q.len() == 0 {
		q.end = q.last
	}
}

// place says, when the task begins to run, where the partition is read from and where it
// ended when last asked.
func (q *queue) place(at, end int64) {
	q.last, q.end, q.running = max(q.last, at), max(q.end, end), true
}

// restart returns the offset to fetch from after a return to the last commit, -1
// when nothing was fetched.
func (q *queue) restart(running bool) int64 {
	if running && q.first >= 0 && q.saved >= 0 {
		return q.saved
	}
	return q.first
}

// reset drops what is buffered; the next record is the one at offset.
func (q *queue) reset(offset int64) {
	clear(q.records)
	q.records, q.head, q.bytes = q.records[:0], 0, 0
	q.timed, q.timer.high = false, q.savedHigh
	q.next, q.last = offset, max(offset, q.first, 0)
}
