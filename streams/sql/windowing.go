package sql

import (
	"bytes"
	"cmp"
	"context"
	be "encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams"
	rows "github.com/tidemill/tidemill/streams/query"
	"github.com/tidemill/tidemill/streams/serde"
	"github.com/tidemill/tidemill/streams/window"
)

// The pseudo columns of rows that are about windows: when those begin and end, in
// milliseconds since the epoch.
const (
	windowStart = "WINDOWSTART"
	windowEnd   = "WINDOWEND"
)

// The kinds of windows.
const (
	tumblingWindows = "TUMBLING"
	hoppingWindows  = "HOPPING"
	sessionWindows  = "SESSION"
)

// windowing says of which windows the rows of a source are. In memory their keys are
// structs of the key columns and then of windowStart and windowEnd.
type windowing struct {
	kind string
	size int64 // In milliseconds; 0 for sessions, of which each has an end of its own.
}

// name is the kind for those who ask what a source is; nil without windows.
func (w *windowing) name() *string {
	if w == nil {
		return nil
	}
	return &w.kind
}

// same tells whether rows are of the same windows.
func (w *windowing) same(other *windowing) bool {
	if w == nil || other == nil {
		return w == other
	}
	return *w == *other
}

// keyColumns returns the key columns, and those of the window.
func (s *source) keyColumns() []column {
	return withBounds(s.columns[:s.keys()], s.windowing != nil)
}

// withBounds adds the columns of a window to those of a key.
func withBounds(keys []column, windowed bool) []column {
	out := append(make([]column, 0, len(keys)+2), keys...)
	if windowed {
		out = append(out, column{name: windowStart, typ: bigint, key: true}, column{name: windowEnd, typ: bigint, key: true})
	}
	return out
}

// isBound tells whether an expression is a bound of a window.
func isBound(e expr) bool {
	ref, ok := e.(*columnRef)
	return ok && (ref.name.text == windowStart || ref.name.text == windowEnd)
}

// of returns how long a duration of fixed length is, false for the others and for what
// is longer than can be counted.
func (d duration) of() (time.Duration, bool) {
	unit := map[string]time.Duration{
		"DAY": 24 * time.Hour, "HOUR": time.Hour, "MINUTE": time.Minute, "SECOND": time.Second, "MILLISECOND": time.Millisecond, "WEEK": 7 * 24 * time.Hour,
	}[strings.TrimSuffix(d.unit, "S")]
	return time.Duration(d.n) * unit, unit > 0 && d.n <= math.MaxInt64/int64(unit)
}

// length is of with the error placed; it is at least low.
func (a *analyzer) length(d duration, low time.Duration) (time.Duration, error) {
	n, ok := d.of()
	switch {
	case !ok:
		return 0, a.fault(d, "sql.bad_window", "a window is measured in units of one length, from MILLISECONDS to WEEKS, and not for thousands of years", "")
	case n < low:
		return 0, a.fault(d, "sql.bad_window", "this must be a millisecond or more", "")
	}
	return n, nil
}

// defaultGrace is how long windows wait for late rows when nothing is said, their own
// length included, as in ksqlDB.
const defaultGrace = 24 * time.Hour

// windows gives a WINDOW clause its meaning.
func (b *planner) windows(w *windowClause) error {
	size, err := b.a.length(w.size, time.Millisecond)
	if err != nil {
		return err
	}
	of := &windowing{kind: w.kind, size: size.Milliseconds()}
	var out window.Windows
	switch w.kind {
	case sessionWindows:
		out, of.size = window.Session(size), 0
	case hoppingWindows:
		advance, err := b.a.length(w.advance, time.Millisecond)
		if err != nil {
			return err
		}
		if advance > size {
			return b.a.fault(w.advance, "sql.bad_window", "windows that advance by more than their size leave rows out", "let them advance by their size at most")
		}
		out = window.Hopping(size, advance)
	default:
		out = window.Tumbling(size)
	}
	grace := max(defaultGrace-size, 0)
	if w.grace != nil {
		if grace, err = b.a.length(*w.grace, 0); err != nil {
			return err
		}
	}
	out = out.Grace(grace)
	if w.retention != nil {
		keep, err := b.a.length(*w.retention, 0)
		if err != nil {
			return err
		}
		if keep < size+grace {
			return b.a.fault(*w.retention, "sql.bad_window", "windows would be forgotten before they close, "+(size+grace).String()+" after they begin", "raise RETENTION, or lower GRACE PERIOD")
		}
		out = out.Keep(keep)
	}
	if b.q.emit == emitFinal {
		out = out.OnClose()
	}
	b.p.windows, b.p.windowing, b.p.windowText = &out, of, string(w.appendSQL(nil))
	return nil
}

type (
	windowKey   = window.Windowed[connect.Value]
	windowTable = streams.Table[windowKey, connect.Value]
)

// windowed gathers the records of each group and window.
func (a *assembler) windowed(g *streams.Grouped[connect.Value, connect.Value]) (*windowTable, error) {
	c, w := a.crew, *a.p.windows
	if a.to.updates {
		w = w.EmitEvery(0) // Whoever waits for the results should have them at once.
	}
	agg := window.Aggregate(g, w, window.Aggregation[connect.Value, connect.Value, connect.Value]{
		Init:  c.empty,
		Add:   func(_, args, state connect.Value) connect.Value { return c.add(args, state, 1) },
		Merge: func(_, x, y connect.Value) connect.Value { return c.merge(x, y) },
	}, serde.Row(c.state), streams.With{Name: "aggregate", Store: resultStore, Uncached: a.to.updates})
	out := agg
	if a.p.having != nil {
		out = agg.Filter(func(k windowKey, state connect.Value) bool { return c.having(c.keyOf(k), state) }, streams.With{Name: "having"})
	}
	keyed := streams.SelectKey(out.ToStream(), func(k windowKey, _ connect.Value) connect.Value { return c.keyOf(k) }, streams.With{Name: "bounds"})
	return agg, a.finish(keyed, c.outputOf)
}

// keyOf makes the key of a group's window.
func (c *crew) keyOf(k windowKey) connect.Value {
	group := k.Key.Struct().Values()
	values := append(make([]connect.Value, 0, len(group)+2), group...)
	return connect.StructValue(c.keyed.StructOf(append(values, connect.Int64(k.Start), connect.Int64(k.End))))
}

// merge returns the state of two sessions that have become one, of which x came first.
func (c *crew) merge(x, y connect.Value) connect.Value {
	values := append([]connect.Value(nil), x.Struct().Values()...)
	other, at := y.Struct().Values(), 1
	values[0] = connect.Int64(values[0].Int() + other[0].Int())
	for _, agg := range c.plan.aggs {
		n := len(agg.acc.State)
		if err := agg.acc.Merge(values[at:at+n], other[at:at+n]); err != nil {
			c.failed(err)
		}
		at += n
	}
	return connect.StructValue(c.state.StructOf(values))
}

// append writes the bounds of a window behind a key, as Kafka Streams' serializers of
// windowed keys do: 8 bytes of the start, and of a session before them those of the end.
func (w *windowing) append(dst []byte, bounds []connect.Value) []byte {
	if w.kind == sessionWindows {
		dst = be.BigEndian.AppendUint64(dst, uint64(bounds[1].Int()))
	}
	return be.BigEndian.AppendUint64(dst, uint64(bounds[0].Int()))
}

// split takes the bounds of a window off a key.
func (w *windowing) split(bounds []connect.Value, b []byte) (key []byte, err error) {
	n := len(b) - 8
	if w.kind == sessionWindows {
		n -= 8
	}
	if n < 0 {
		return nil, fmt.Errorf("%d bytes are too few for the key of a window", len(b))
	}
	start := int64(be.BigEndian.Uint64(b[len(b)-8:]))
	end := start + w.size
	if w.kind == sessionWindows {
		end = int64(be.BigEndian.Uint64(b[n:]))
	}
	bounds[0], bounds[1] = connect.Int64(start), connect.Int64(end)
	return b[:n], nil
}

// windowSpans says which windows of which keys have to be looked at for a pull query:
// those of single keys, or of all; WHERE is tested on each row besides.
func (a *pulling) windowSpans(spans []keySpan, st *query) []keySpan {
	a.from, a.to = 0, math.MaxInt64
	if a.p.from.windowing.kind != sessionWindows { // Sessions are found by any moment in them.
		start, conds := column{name: windowStart, typ: bigint}, conjuncts(st.where, nil)
		if values := equalTo(a.p, conds, start); values != nil {
			by := func(x, y connect.Value) int { return cmp.Compare(x.Int(), y.Int()) }
			a.from, a.to = slices.MinFunc(values, by).Int(), slices.MaxFunc(values, by).Int()
		}
		lo, hi := bounds(a.p, conds, start)
		if !lo.IsNull() {
			a.from = max(a.from, lo.Int())
		}
		if !hi.IsNull() {
			a.to = min(a.to, hi.Int())
		}
	}
	if slices.ContainsFunc(spans, func(s keySpan) bool { return !s.one }) {
		return []keySpan{{}}
	}
	return spans
}

// readWindows answers with the windows of a key, or of all.
func (a *pulling) readWindows(ctx context.Context, store *rows.Rows, s keySpan) error {
	view, err := window.ViewOf(a.reader.b.windows, store)
	if err != nil {
		return err
	}
	var key []byte
	if s.one {
		key = s.lo
	}
	return store.Span(ctx, key, a.from, a.to, func(r rows.Row) error {
		r.Key, r.Value = bytes.Clone(r.Key), bytes.Clone(r.Value)
		rec, err := view.Decode(r)
		if err != nil {
			return a.found(tableRow{}, false, err)
		}
		return a.found(a.reader.group(a.reader.b.crew.keyOf(rec.Key), rec.Value, tableRow{time: r.Time, start: rec.Key.Start, end: rec.Key.End}))
	})
}
