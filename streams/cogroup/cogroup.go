package cogroup

import (
	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/serde"
	"github.com/tidemill/tidemill/streams/window"
)

// Fold is what a record does to the aggregate of its key. It is valid while the record
// is being processed: it is for aggregates, which do not keep it.
type Fold[K, A any] struct {
	add   func(k K, agg A) A
	input int
}

// Input is one of the streams.
type Input[K, A any] struct {
	folds *streams.Stream[K, Fold[K, A]]
	key   serde.Serde[K]
	// place is the input's place among those it was brought together with, -1 before.
	place *int
}

// Of makes a grouped stream one of the inputs: add returns the aggregate with one more
// of its records. It does not change what agg points to: the old aggregate is still
// needed. Records without key or value are dropped by the aggregate.
func Of[K, V, A any](g *streams.Grouped[K, V], add func(k K, v V, agg A) A, opts ...streams.With) Input[K, A] {
	s, key, _ := g.Stream()
	place := -1
	return Input[K, A]{key: key, place: &place, folds: streams.Process(s, func(c *streams.Context[K, Fold[K, A]]) (func(*streams.Record[K, V]) error, error) {
		// One function serves all records: it uses the one that is being processed.
		var value V
		out := streams.Record[K, Fold[K, A]]{Value: Fold[K, A]{input: place, add: func(k K, agg A) A { return add(k, value, agg) }}}
		return func(r *streams.Record[K, V]) error {
			value = r.Value
			out.Key, out.NoKey, out.NoValue, out.Time, out.Headers = r.Key, r.NoKey, r.NoValue, r.Time, r.Headers
			return c.Forward(&out)
		}, nil
	}, append(opts[:len(opts):len(opts)], streams.With{Op: "cogroup", SameKey: true, CoPartitioned: true})...)}
}

// Together brings inputs together as one group, to be aggregated with streams.Aggregate,
// or with Windowed. An input is part of one group.
func Together[K, A any](first Input[K, A], others ...Input[K, A]) *streams.Grouped[K, Fold[K, A]] {
	first.stand(0)
	all := first.folds
	for i, in := range others {
		in.stand(i + 1)
		all = all.Merge(in.folds)
	}
	return all.GroupByKey(first.key, nil)
}

// stand gives an input its place in a group.
func (in Input[K, A]) stand(place int) {
	if *in.place >= 0 {
		in.folds.Builder().Fault("streams.cogroup.input", in.folds.Name(), "the input is part of a group already", "make one with Of for each group")
	}
	*in.place = place
}

// From says how the group is aggregated: from init's result on, by what each input does.
func From[K, A any](init func() A) streams.Aggregation[K, Fold[K, A], A] {
	return streams.Aggregation[K, Fold[K, A], A]{Init: init, Add: put[K, A]}
}

func put[K, A any](k K, f Fold[K, A], agg A) A { return f.add(k, agg) }

// Windowed aggregates the group over windows of any kind: from the result of Init on, by
// what each input does. All inputs have one store, and each its own time: a record comes too late for a window when
// its own stream has come further than the grace after the window's end, as in Kafka
// Streams (KIP-150). So there is no one moment at which a window closes, and OnClose is
// refused; hold the table back with window.UntilClosed instead, which goes by the time of
// the results.
func Windowed[K, A any](g *streams.Grouped[K, Fold[K, A]], w window.Windows, how Windows[K, A], value serde.Serde[A], opts ...streams.With) *streams.Table[window.Windowed[K], A] {
	return window.Aggregate(g, w, window.Aggregation[K, Fold[K, A], A]{
		Init: how.Init, Add: put[K, A], Merge: how.Merge,
		Input: func(f Fold[K, A]) int { return f.input },
	}, value, opts...)
}

// Windows says how the aggregates of windows begin, and become one.
type Windows[K, A any] struct {
	// Init returns the aggregate of no records.
	Init func() A
	// Merge returns the aggregate of two sessions that have become one. Sessions need
	// it, other windows do not. It does not change what a and b point to.
	Merge func(k K, a, b A) A
}
