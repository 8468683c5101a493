package join

import (
	"time"

	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/serde"
	"github.com/tidemill/tidemill/streams/state"
)

// Within says which records of two streams belong together: those of one key of which
// the right one is at most Before earlier and at most After later than the left one.
// All spans are whole milliseconds.
type Within[K, V, W any] struct {
	// Before and After are the window. One of them may be negative as long as both
	// together are not, so that the right record has to be earlier, or later, by some
	// time at least.
	Before, After time.Duration
	// Grace is how long after the end of its window a record can still be joined by
	// one that comes out of order.
	Grace time.Duration
	// Key, Left and Right write the records to the stores, and to the repartition
	// topics that keys need which may have changed.
	Key   serde.Serde[K]
	Left  serde.Serde[V]
	Right serde.Serde[W]
}

// Streams joins two streams: each record with all those of the other side that have its
// key and lie within the window, in the order in which they come in. A pair's result has
// the time of the later of the two, a record's alone its own time.
//
// Time is that of the latest record either side has had. A record's window closes when
// time has passed its end, and grace. From then on it joins nothing; what comes too late
// for all windows is dropped. With Left and Outer joins, a record that has had no
// partner until then has its result alone, once, some time after its window has closed:
// records that move time on send what is due, at most once in a second. A record that
// comes when its own window has closed already has its result at once.
//
// Kafka Streams differs in one corner: it sends the result alone of a record that comes
// after the end of its window at once even when grace is left, and the results of
// partners that come within grace as well.
//
// In transaction mode time is that of the latest record of any captured table, as of the
// transactions before: it stands still while a transaction is taken in, so that it does not
// matter which of its records comes first. Two of one transaction are a pair unless the
// windows of both have closed, and at the end of each transaction all results alone are
// sent that are due with it.
//
// A stream that is joined with itself, with Inner, is kept in one store. The stores'
// names follow from With.Name, as in Kafka Streams, and as there their changelogs are
// written while records are processed. At least once, who takes over without the local
// database so finds records that came after the last commit, and pairs of them come twice.
func Streams[K, V, W, R any](l *streams.Stream[K, V], r *streams.Stream[K, W], in Within[K, V, W], how Joiner[K, V, W, R], opts ...streams.With) *streams.Stream[K, R] {
	set := options(opts)
	b := l.Builder()
	j := &windowed[K, V, W, R]{in: in, how: how, name: named(b, set, l.Name(), "streamjoin")}
	if in.Before.Milliseconds()+in.After.Milliseconds() < 0 || in.Grace < 0 {
		b.Fault("streams.join.window", j.name, "the window of the join ends before it begins, or its grace is negative", "give a Before and After that are not negative together, and a Grace that is not negative")
	}
	if any(l) == any(r) && !how.left {
		return j.itself(l, set)
	}
	left, _, _ := l.GroupByKey(in.Key, in.Left, side(set, "-left")).Stream()
	right, _, _ := r.GroupByKey(in.Key, in.Right, side(set, "-right")).Stream()
	lefts := streams.MapValues(left, func(_ K, v V) fact[V, W] { return fact[V, W]{left: v, isLeft: true} },
		streams.With{Name: j.name + "-this-windowed"})
	rights := streams.MapValues(right, func(_ K, w W) fact[V, W] { return fact[V, W]{right: w, isRight: true} },
		streams.With{Name: j.name + "-other-windowed"})
	return j.add(lefts.Merge(rights, streams.With{Name: j.name + "-merge"}))
}

// itself joins a stream with itself: each record is both.
func (j *windowed[K, V, W, R]) itself(s *streams.Stream[K, V], set streams.With) *streams.Stream[K, R] {
	j.self = true
	s, _, _ = s.GroupByKey(j.in.Key, j.in.Left, side(set, "-left")).Stream()
	return j.add(streams.MapValues(s, func(_ K, v V) fact[V, W] {
		f := fact[V, W]{left: v, isLeft: true, isRight: true}
		f.right, _ = any(v).(W)
		return f
	}, streams.With{Name: j.name + "-this-windowed"}))
}

// fact is a record of one side, or of both when a stream is joined with itself.
type fact[V, W any] struct {
	left            V
	right           W
	isLeft, isRight bool
}

// windowed is a join of streams as it is declared.
type windowed[K, V, W, R any] struct {
	in   Within[K, V, W]
	how  Joiner[K, V, W, R]
	name string
	self bool
}

// add adds the operator.
func (j *windowed[K, V, W, R]) add(facts *streams.Stream[K, fact[V, W]]) *streams.Stream[K, R] {
	return streams.Process(facts, j.begin, streams.With{
		Name: j.name, Op: "streamjoin", SameKey: true, CoPartitioned: true, Keyless: j.how.left || j.how.right, Stores: j.stores(),
	})
}

// stores describes the stores: one for each side, and one of records that have had no
// partner, where those have results.
func (j *windowed[K, V, W, R]) stores() []state.Spec {
	left, right := j.reach(false), j.reach(true)
	if j.self {
		return []state.Spec{j.store("-this-join-store", max(left, right))}
	}
	this, other, lonely := "-this-join-store", "-other-join-store", ""
	if j.how.left {
		other, lonely = "-outer-other-join-store", "-left-shared-join-store"
	}
	if j.how.right {
		this, lonely = "-outer-this-join-store", "-outer-shared-join-store"
	}
	specs := []state.Spec{j.store(this, left), j.store(other, right)}
	if lonely != "" {
		specs = append(specs, state.Spec{Name: j.name + lonely, Form: state.TimeFirst})
	}
	return specs
}

func (j *windowed[K, V, W, R]) store(suffix string, reach int64) state.Spec {
	return state.Spec{Name: j.name + suffix, Form: state.WindowKeys, Retention: time.Duration(max(reach, 1)) * time.Millisecond, LogAtOnce: true}
}

// reach returns how long after its own time, in milliseconds, a record of a side can be
// joined.
func (j *windowed[K, V, W, R]) reach(right bool) int64 {
	if right {
		return (j.in.Before + j.in.Grace).Milliseconds()
	}
	return (j.in.After + j.in.Grace).Milliseconds()
}

// begin makes the operator of a task.
func (j *windowed[K, V, W, R]) begin(c *streams.Context[K, R]) (func(*streams.Record[K, fact[V, W]]) error, error) {
	n := &streamJoin[K, V, W, R]{windowed: j, c: c}
	topic := func(spec state.Spec) string { return c.ApplicationID() + "-" + spec.Name + "-changelog" }
	specs := j.stores()
	n.key, n.lefts, n.rights = serde.Bind(j.in.Key, topic(specs[0]), true), serde.Bind(j.in.Left, topic(specs[0]), false), serde.Bind(j.in.Right, topic(specs[0]), false)
	if !j.self {
		n.rights = serde.Bind(j.in.Right, topic(specs[1]), false)
	}
	before, after := j.in.Before.Milliseconds(), j.in.After.Milliseconds()
	n.left = flank{before: before, after: after, reach: j.reach(false), alone: j.how.left}
	n.right = flank{right: true, before: after, after: before, reach: j.reach(true), alone: j.how.right}
	if err := n.left.open(c.Store, specs[0]); err != nil {
		return nil, err
	}
	if err := n.right.open(c.Store, specs[min(1, len(specs)-1)]); err != nil {
		return nil, err
	}
	if len(specs) > 2 {
		store, err := c.Store(specs[2].Name)
		if err != nil {
			return nil, err
		}
		n.lonely.store, n.lonely.least = store, n.leastReach()
	}
	n.visitLeft, n.visitRight = n.meetLeft, n.meetRight
	if _, _, n.inEpochs = c.EpochTime(); n.inEpochs {
		if err := c.Settle(n.settle); err != nil {
			return nil, err
		}
	}
	return n.take, c.Remember(n.recall, n.save)
}
