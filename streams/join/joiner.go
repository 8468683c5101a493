package join

import "github.com/tidemill/tidemill/streams"

// Pair is what a join gives to its function: what each side has for a key.
type Pair[V, W any] struct {
	Left              V
	Right             W
	HasLeft, HasRight bool
}

// Joiner says what a join has results for, and makes them.
type Joiner[K, V, W, R any] struct {
	fn func(K, Pair[V, W]) R
	// left and right say that a side alone has a result.
	left, right bool
}

// Inner has results where both sides have something.
func Inner[K, V, W, R any](fn func(K, Pair[V, W]) R) Joiner[K, V, W, R] {
	return Joiner[K, V, W, R]{fn: fn}
}

// Left has results wherever the left side has something.
func Left[K, V, W, R any](fn func(K, Pair[V, W]) R) Joiner[K, V, W, R] {
	return Joiner[K, V, W, R]{fn: fn, left: true}
}

// Outer has results wherever either side has something.
func Outer[K, V, W, R any](fn func(K, Pair[V, W]) R) Joiner[K, V, W, R] {
	return Joiner[K, V, W, R]{fn: fn, left: true, right: true}
}

// keeps tells whether a pair has a result.
func (j *Joiner[K, V, W, R]) keeps(p *Pair[V, W]) bool {
	return p.HasLeft && p.HasRight || p.HasLeft && j.left || p.HasRight && j.right
}

// options puts several With into one name and the rest.
func options(opts []streams.With) (set streams.With) {
	for _, o := range opts {
		if o.Name != "" {
			set.Name = o.Name
		}
		if o.Store != "" {
			set.Store = o.Store
		}
		set.Uncached = set.Uncached || o.Uncached
		if o.History != 0 {
			set.History = o.History
		}
		if o.Grace != 0 {
			set.Grace = o.Grace
		}
		set.Partitions = max(set.Partitions, o.Partitions)
	}
	return set
}

// named returns the name of a join: the user's, or one that follows from the left
// side and the kind of join.
func named(b *streams.Builder, set streams.With, left, kind string) string {
	if set.Name != "" {
		return set.Name
	}
	return b.FreeName(left + "-" + kind)
}

// side is the With of a side that may have to be repartitioned. Its topic is named
// after the join only when the user has named that.
func side(set streams.With, suffix string) streams.With {
	s := streams.With{Partitions: set.Partitions}
	if set.Name != "" {
		s.Name = set.Name + suffix
	}
	return s
}
