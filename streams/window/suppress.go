package window

import (
	"errors"
	"fmt"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/serde"
	"github.com/tidemill/tidemill/streams/state"
)

// Bounds say how much a table that is held back may wait, and what is done when it is
// more. Zero is no bound.
type Bounds struct {
	// Rows and Bytes bound the rows that wait, and the bytes of their keys and values.
	Rows, Bytes int64
	// Stop fails the application when a bound is passed. Otherwise the rows that have
	// waited longest are passed on early. What waits for its window to close is final
	// or nothing, so that it always stops.
	Stop bool
}

// UntilClosed holds the rows of windows back until their windows have closed, and so
// passes on one final result of each. Nothing is passed on for sessions that have become
// part of others. A window closes as the operator after which the table comes has it, by
// the time of the rows that come here.
//
// With.Name names the operator, its store and its changelog.
func UntilClosed[K, V any](t *streams.Table[Windowed[K], V], bounds Bounds, opts ...streams.With) *streams.Table[Windowed[K], V] {
	keys, _ := t.Serdes()
	bounds.Stop = true
	of, ok := keys.(storeKeys[K])
	if !ok || of.w.kind == unlimited {
		s := streams.Changes(t, false)
		s.Builder().Fault("streams.suppress.window", s.Name(), "the rows are not those of windows that close", "use UntilLimit")
	}
	// A row waits until its window's last moment is past by what the window waits: where
	// the end belongs to the window, it has to be past itself.
	wait := of.w.wait()
	if of.w.kind != fixed {
		wait++
	}
	return suppress(t, &waiting[Windowed[K], V]{wait: wait, bounds: bounds, final: true, at: func(r *streams.Record[Windowed[K], streams.Change[V]]) int64 { return r.Key.End }}, opts)
}

// UntilLimit holds the changes of a row back until the time of the records is limit
// after the first of them, and passes only the last one on.
func UntilLimit[K, V any](t *streams.Table[K, V], limit time.Duration, bounds Bounds, opts ...streams.With) *streams.Table[K, V] {
	if limit < 0 {
		s := streams.Changes(t, false)
		s.Builder().Fault("streams.suppress.limit", s.Name(), "a time to wait is less than nothing", "give a duration of zero or more")
	}
	return suppress(t, &waiting[K, V]{wait: limit.Milliseconds(), bounds: bounds}, opts)
}

// waiting says what waits for how long.
type waiting[K, V any] struct {
	wait   int64
	bounds Bounds
	final  bool // a deleted row is not passed on: nobody has heard of it
	// at gives the time from which a row waits; when nil it is that of its first change,
	// and the store has to know it for every row that waits.
	at func(*streams.Record[K, streams.Change[V]]) int64
}

func suppress[K, V any](t *streams.Table[K, V], how *waiting[K, V], opts []streams.With) *streams.Table[K, V] {
	s := streams.Changes(t, true)
	if t.History() > 0 {
		s.Builder().Fault("streams.suppress.history", s.Name(), "the table has a history, of which the last change is not all", "hold back a table without With.History")
	}
	set := streams.With{Name: s.Name() + "-suppress"}
	for _, o := range opts {
		if o.Name != "" {
			set.Name = o.Name
		}
	}
	set.Op, set.Unkept = "suppress", true
	if !how.final {
		set.Op = "suppress until limit"
	}
	set.Stores = []state.Spec{{Name: set.Name + "-buffer", Form: state.TimeFirst}}
	key, value := t.Serdes()
	return streams.Derive(s, func(rows *streams.Rows[K, V]) (func(*streams.Record[K, streams.Change[V]]) error, error) {
		b := &buffer[K, V]{rows: rows, how: how}
		var err error
		_, _, b.inEpochs = rows.EpochTime()
		if b.store, err = rows.Store(set.Stores[0].Name); err != nil {
			return nil, err
		}
		topic := rows.Changelog(set.Stores[0].Name)
		b.keys, b.values = serde.Bind(key, topic, true), serde.Bind(value, topic, false)
		return b.take, errors.Join(rows.Remember(b.recall, b.save), rows.Settle(b.release))
	}, key, value, append(opts, set)...)
}

// take is the way of a change through the buffer.
func (b *buffer[K, V]) take(r *streams.Record[K, streams.Change[V]]) error {
	b.observed = max(b.observed, r.Time)
	if err := b.put(r); err != nil || b.inEpochs || b.rows.Flushing() {
		return err
	}
	return b.release()
}

// release passes on what has waited long enough, and what the bounds do not hold.
//
// In transaction mode that goes by the time of all partitions, so that what closes at one
// time is passed on in one commit.
func (b *buffer[K, V]) release() error {
	if _, now, ok := b.rows.EpochTime(); ok {
		b.observed = max(b.observed, now)
	}
	if err := b.evict(func() bool { return b.oldest <= b.observed-b.how.wait }); err != nil {
		return err
	}
	if !b.full() {
		return nil
	}
	if b.how.bounds.Stop {
		return &connect.Error{
			Code: "streams.suppress.full", Class: connect.ClassFatal, Place: b.rows.Name(),
			Message: fmt.Sprintf("%d rows of %d bytes wait, and may be %d of %d bytes", b.count, b.bytes, b.how.bounds.Rows, b.how.bounds.Bytes),
			Mend:    "raise the bounds, and resume the application",
		}
	}
	return b.evict(b.full)
}

func (b *buffer[K, V]) full() bool {
	bounds := &b.how.bounds
	return bounds.Rows > 0 && b.count > bounds.Rows || bounds.Bytes > 0 && b.bytes > bounds.Bytes
}
