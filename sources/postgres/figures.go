package postgres

import (
	"sync/atomic"
	"time"

	"github.com/tidemill/tidemill/connect"
)

// figures are what the reader of the log tells those who watch it. They are written
// with each batch and each look around, never for each row.
type figures struct {
	received  atomic.Uint64 // How far the log was read.
	position  atomic.Uint64 // Where reading would go on.
	committed atomic.Int64  // When the last transaction that was read committed: microseconds since the epoch, by the server's clock.
	event     atomic.Int64  // When the last event was handed over, by our clock.
	xid       atomic.Uint32 // The last transaction.
	queued    atomic.Int64  // Bytes that wait for the worker.
	tables    atomic.Int64  // Tables that changes have come from.
	xmin      atomic.Int64  // The slot's catalog_xmin, fetched for source.xmin; 0: none.
}

// eventCounts counts events by operation: the letters of operations differ in their
// low bits.
type eventCounts [32]int64

func (c *eventCounts) add(op connect.Value) { c[op.Str()[0]&31]++ }

// eventNames are the counters of events by operation.
var eventNames = [...]struct {
	op   byte
	name string
}{
	{'c', "events_create_total"}, {'u', "events_update_total"}, {'d', "events_delete_total"},
	{'r', "events_read_total"}, {'t', "events_truncate_total"}, {'m', "events_message_total"},
}

// flush adds what was counted to the task's counters.
func (c *eventCounts) flush(m connect.Metrics) {
	for _, e := range eventNames {
		if n := &c[e.op&31]; *n > 0 {
			m.Add(e.name, *n)
			*n = 0
		}
	}
}

// handed takes in that a batch is on its way to the worker.
func (f *figures) handed(b *batch, e *emitter) {
	b.counted = b.bytes()
	f.queued.Add(int64(b.counted))
	if len(b.records) > 0 && b.records[len(b.records)-1].Topic != "" {
		f.event.Store(time.Now().UnixMicro())
	}
	e.events.flush(e.metrics)
}

// taken takes in that the worker has a batch.
func (f *figures) taken(b *batch) *batch {
	f.queued.Add(-int64(b.counted))
	return b
}

// figure tells where the stream stands, at most once in a tick.
func (s *stream) figure(now time.Time) {
	if now.Before(s.nextFigure) {
		return
	}
	s.nextFigure = now.Add(tick / 2)
	f, pos := s.figures, &s.em.pos
	f.received.Store(s.received)
	f.position.Store(pos.end)
	f.committed.Store(pos.micros)
	f.xid.Store(pos.xid)
	var captured int64
	for _, t := range s.tables {
		if t.plan != nil {
			captured++
		}
	}
	f.tables.Store(captured)
	if s.filtered > 0 {
		s.metrics.Add("events_filtered_total", s.filtered)
		s.filtered = 0
	}
}

// xmin is what source.xmin has, null unless xmin.fetch.interval.ms asks for it.
func (s *stream) xmin() connect.Value {
	if s.set.guard.xmin > 0 {
		if x := s.figures.xmin.Load(); x > 0 {
			return connect.Int64(x)
		}
	}
	return connect.Value{}
}
