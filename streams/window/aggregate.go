package window

import (
	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/serde"
)

// Aggregation says how the records of a window become one value.
type Aggregation[K, V, A any] struct {
	// Init returns the aggregate of no records.
	Init func() A
	// Add returns the aggregate with one more record. It does not change what agg
	// points to: the old aggregate is still needed.
	Add func(k K, v V, agg A) A
	// Merge returns the aggregate of two sessions that have become one. Sessions need
	// it, other windows do not. It does not change what a and b point to.
	Merge func(k K, a, b A) A
	// Input says, where the records come from several streams, of which of them one is,
	// from 0 on. Windows then close for each stream by its own time. nil is one stream.
	Input func(v V) int
}

// Aggregate folds the records of each key and window. A record belongs to the windows
// its timestamp is in; one without key or value is dropped, and one that comes after
// its windows have closed is dropped for each of them, and counted. The aggregate's time
// is that of its latest record.
//
// A session that grows takes the place of those it was: these are deleted.
func Aggregate[K, V, A any](g *streams.Grouped[K, V], w Windows, how Aggregation[K, V, A], value serde.Serde[A], opts ...streams.With) *streams.Table[Windowed[K], A] {
	f := fold[K, V, A]{add: func(k K, v V, agg A, some bool) A {
		if !some {
			agg = how.Init()
		}
		return how.Add(k, v, agg)
	}, input: how.Input}
	if how.Input != nil && w.onClose {
		s, _, _ := g.Stream()
		s.Builder().Fault("streams.window.close", s.Name(), "windows of several streams close for each of them by its own time, and so not at one", "do without OnClose, and hold the table back with UntilClosed")
	}
	if how.Merge != nil {
		f.merge = func(k K, a, b A, some bool) A {
			if !some {
				a = how.Init()
			}
			return how.Merge(k, a, b)
		}
	}
	return derive(g, w, f, value, opts)
}

// Count counts the records of each key and window. Those without value count too, except
// in sliding windows, as in Kafka Streams.
func Count[K, V any](g *streams.Grouped[K, V], w Windows, opts ...streams.With) *streams.Table[Windowed[K], int64] {
	return derive(g, w, fold[K, V, int64]{
		add:     func(_ K, _ V, n int64, _ bool) int64 { return n + 1 },
		merge:   func(_ K, a, b int64, _ bool) int64 { return a + b },
		noValue: w.kind != sliding,
	}, serde.Int64{}, opts)
}

// Reduce folds the records of each key and window with fn, which gets the result so far
// and the next value, or the results of two sessions that have become one. The first
// value of a window is its first result. Records without value are dropped.
func Reduce[K, V any](g *streams.Grouped[K, V], w Windows, fn func(V, V) V, opts ...streams.With) *streams.Table[Windowed[K], V] {
	_, _, value := g.Stream()
	join := func(_ K, a, b V, some bool) V {
		if !some {
			return b
		}
		return fn(a, b)
	}
	return derive(g, w, fold[K, V, V]{
		add:   func(k K, v, agg V, some bool) V { return join(k, agg, v, some) },
		merge: join,
	}, value, opts)
}

// fold is how an operator aggregates. some says that there is an aggregate to go on from.
type fold[K, V, A any] struct {
	add     func(k K, v V, agg A, some bool) A
	merge   func(k K, a, b A, some bool) A
	noValue bool // records without value are added too
	input   func(v V) int
}

// apart is how far, in milliseconds, the times of streams that are grouped together may be
// from each other: the store goes by the latest of them, and must still have the windows of
// the one that is behind. In Kafka Streams it is the least length of a segment.
const apart = 60_000

// derive adds the operator for w.
func derive[K, V, A any](g *streams.Grouped[K, V], w Windows, f fold[K, V, A], value serde.Serde[A], opts []streams.With) *streams.Table[Windowed[K], A] {
	s, key, _ := g.Stream()
	w.check(s.Builder(), s.Name())
	if w.kind == session && f.merge == nil {
		s.Builder().Fault("streams.window.merge", s.Name(), "the aggregate of sessions has no Merge", "tell how two sessions become one")
	}
	if f.input != nil {
		w.keep = max(w.keep, w.need()+apart)
	}
	opts = append([]streams.With{{Op: "window", Uncached: w.onClose}}, opts...)
	return streams.Derive(s, func(rows *streams.Rows[Windowed[K], A]) (func(*streams.Record[K, V]) error, error) {
		op := &operator[K, V, A]{rows: rows, w: w, fold: f}
		if err := op.open(); err != nil {
			return nil, err
		}
		switch w.kind {
		case sliding:
			return (&slidingOp[K, V, A]{operator: op}).begin(), nil
		case session:
			return (&sessionOp[K, V, A]{operator: op}).begin()
		}
		return op.take, nil
	}, storeKeys[K]{inner: key, w: w}, value, opts...)
}
