package postgres

import (
	"strconv"
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
	event     atomic.Int64  // When the last change was handed over, by our clock.
	xid       atomic.Uint32 // The last transaction.
	queued    atomic.Int64  // Bytes that wait for the worker.
	tables    atomic.Int64  // Tables that changes have come from.
	xmin      atomic.Int64  // The slot's catalog_xmin, fetched for source.xmin; 0: none.
}

// eventCounts counts events by operation: the letters of operations differ in their
// low bits.
type eventCounts [32]int64

func (c *eventCounts) add(op connect.Value) { c[op.Str()[0]&31]++ }

// eventNames are the words for operations, as figures have them.
var eventNames = [...]struct {
	op   byte
	name string
}{
	{'c', "create"}, {'u', "update"}, {'d', "delete"}, {'r', "read"}, {'t', "truncate"}, {'m', "message"},
}

// flush adds what was counted to the task's counters.
func (c *eventCounts) flush(m connect.Metrics) {
	for _, e := range eventNames {
		if n := &c[e.op&31]; *n > 0 {
			m.Add("events_"+e.name+"_total", *n)
			*n = 0
		}
	}
}

// tableEvents counts the events of one table.
type tableEvents struct {
	eventCounts
	names   [len(eventNames)]string // Of the counters.
	waiting bool                    // There is something to flush.
}

// flush adds what was counted to the table's counters.
func (t *tableEvents) flush(table tableName, m connect.Metrics) {
	t.waiting = false
	for i, e := range eventNames {
		n := &t.eventCounts[e.op&31]
		if *n == 0 {
			continue
		}
		if t.names[i] == "" {
			t.names[i] = "events_total{table=" + strconv.Quote(table.String()) + ",op=\"" + e.name + "\"}"
		}
		m.Add(t.names[i], *n)
		*n = 0
	}
}

// count counts an event; what was counted is told by tell.
func (e *emitter) count(p *plan, op connect.Value) {
	e.events.add(op)
	p.events.add(op)
	if !p.events.waiting {
		p.events.waiting = true
		e.told = append(e.told, p)
	}
}

// tell adds what was counted to the task's figures.
func (e *emitter) tell() {
	e.events.flush(e.metrics)
	for i, p := range e.told {
		p.events.flush(p.table, e.metrics)
		e.told[i] = nil
	}
	e.told = e.told[:0]
	if e.unchanged > 0 {
		e.metrics.Add("events_unchanged_total", e.unchanged)
		e.unchanged = 0
	}
}

// handed takes in that a batch is on its way to the worker.
func (f *figures) handed(b *batch, e *emitter) {
	b.counted = b.bytes()
	f.queued.Add(int64(b.counted))
	if len(b.records) > 0 && b.records[len(b.records)-1].Topic != "" {
		f.event.Store(time.Now().UnixMicro())
	}
	e.tell()
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
	if at := f.event.Load(); at > 0 {
		s.metrics.Set("last_change_timestamp_seconds", float64(at)/1e6)
	}
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
