package cogroup

import (
	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/serde"
)

// Fold is what a record does to the aggregate of its key. It is valid while the record
// is being processed: it is for aggregates, which do not keep it.
type Fold[K, A any] func(k K, agg A) A

// Input is one of the streams.
type Input[K, A any] struct {
	folds *streams.Stream[K, Fold[K, A]]
	key   serde.Serde[K]
}

// Of makes a grouped stream one of the inputs: add returns the aggregate with one more
// of its records. It does not change what agg points to: the old aggregate is still
// needed. Records without key or value are dropped by the aggregate.
func Of[K, V, A any](g *streams.Grouped[K, V], add func(k K, v V, agg A) A, opts ...streams.With) Input[K, A] {
	s, key, _ := g.Stream()
	return Input[K, A]{key: key, folds: streams.Process(s, func(c *streams.Context[K, Fold[K, A]]) (func(*streams.Record[K, V]) error, error) {
		// One function serves all records: it uses the one that is being processed.
		var value V
		out := streams.Record[K, Fold[K, A]]{Value: func(k K, agg A) A { return add(k, value, agg) }}
		return func(r *streams.Record[K, V]) error {
			value = r.Value
			out.Key, out.NoKey, out.NoValue, out.Time, out.Headers = r.Key, r.NoKey, r.NoValue, r.Time, r.Headers
			return c.Forward(&out)
		}, nil
	}, append(opts[:len(opts):len(opts)], streams.With{Op: "cogroup", SameKey: true, CoPartitioned: true})...)}
}

// Together brings inputs together as one group, to be aggregated with streams.Aggregate
// or over windows.
func Together[K, A any](first Input[K, A], others ...Input[K, A]) *streams.Grouped[K, Fold[K, A]] {
	all := first.folds
	for _, in := range others {
		all = all.Merge(in.folds)
	}
	return all.GroupByKey(first.key, nil)
}

// From says how the group is aggregated: from init's result on, by what each input does.
func From[K, A any](init func() A) streams.Aggregation[K, Fold[K, A], A] {
	return streams.Aggregation[K, Fold[K, A], A]{
		Init: init,
		Add:  func(k K, f Fold[K, A], agg A) A { return f(k, agg) },
	}
}
