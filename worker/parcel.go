package worker

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
)

// parcel is the memory of records on their way to Kafka: what the producer takes of
// each, what is to be done when it has arrived, and its bytes. Batches share a parcel
// while it has room, and when all of it has arrived it is used for others: a busy task
// makes most of its garbage here otherwise.
type parcel struct {
	context.Context // The task's life, which records have for their context.
	arena
	records []outgoing
	// left counts the records that have not arrived, and one more while there is room.
	left atomic.Int64
	// spoilt is set by a record that the producer gave up on: what may still look at it
	// is not known, so the parcel is left to the collector.
	spoilt atomic.Bool
	pool   *sync.Pool
}

// parcelRecords is how many records have room in a parcel: so many that giving parcels
// out costs nothing, so few that an idle task may keep one.
const parcelRecords = 256

// outgoing is a record on its way to Kafka.
type outgoing struct {
	kgo.Record
	way inflight

	// What follows is for transactions.
	partition connect.SourcePartition
	offset    connect.Offset
	boundary  connect.Boundary
	sent      bool // It goes to Kafka; a mark only moves the position.
}

// inflight travels with a record through the producer, in the place of its context:
// it brings back what is to be done without a closure for each record.
//
// While a topic is not known yet, the producer looks at a record's context even after
// the record has arrived. So what makes a context of it never changes.
type inflight struct {
	*parcel
	ticket ticket
	told   *toldRecord // Only for plugins that want to be told.
	// committed is when the source committed the transaction of the last record of a batch.
	committed int64
	batch     *tracedBatch // Only of batches that are traced.
}

// size returns how many bytes the record has.
func (o *outgoing) size() int { return len(o.Key) + len(o.Value) }

// parcels gives out the room of parcels, to one goroutine.
type parcels struct {
	life context.Context
	open *parcel // The one with room, if there is one.
	// batch is what is taken for, if that is traced.
	batch *tracedBatch
	used  sync.Pool
}

// take returns room for up to n records: for as many as the parcel still has. Each of
// them must be released.
func (p *parcels) take(n int) []outgoing {
	if p.open == nil {
		p.open = p.empty()
	}
	o := p.open
	from := len(o.records)
	to := min(from+n, cap(o.records))
	o.records = o.records[:to]
	o.left.Add(int64(to - from))
	if to == cap(o.records) {
		p.open = nil
		o.release(true)
	}
	room := o.records[from:to]
	for i := range room {
		room[i].Record, room[i].way.told, room[i].way.committed, room[i].way.batch = kgo.Record{}, nil, 0, p.batch
	}
	return room
}

// empty returns a parcel with nothing in it.
func (p *parcels) empty() *parcel {
	o, again := p.used.Get().(*parcel)
	if !again {
		o = &parcel{Context: p.life, records: make([]outgoing, parcelRecords), pool: &p.used}
		for i := range o.records {
			o.records[i].way.parcel = o
		}
	}
	o.records = o.records[:0]
	o.arena.reset()
	o.left.Store(1)
	return o
}

// release says that nobody looks at one of the records any more. It is not intact when
// the producer gave it up. Any goroutine may call it.
func (p *parcel) release(intact bool) {
	if !intact {
		p.spoilt.Store(true)
	}
	if p.left.Add(-1) == 0 && !p.spoilt.Load() {
		p.pool.Put(p)
	}
}
