package join

import (
	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/serde"
)

// Tables joins two tables on their key. A change on either side changes the result,
// which is made of the rows both sides have at that moment. value keeps the results,
// in the store that With names, so that the old rows it sends are those it sent
// before. Of a table with a history, changes of the past are dropped: the results are those
// of the rows there are.
func Tables[K, V, W, R any](l *streams.Table[K, V], r *streams.Table[K, W], how Joiner[K, V, W, R], value serde.Serde[R], opts ...streams.With) *streams.Table[K, R] {
	set := options(opts)
	key, _ := l.Serdes()
	l, r = l.Stored(), r.Stored()
	name := named(streams.Changes(l, false).Builder(), set, l.Name(), "tablejoin")
	lefts := streams.MapValues(streams.Changes(l, false), func(_ K, c streams.Change[V]) update[V, W] {
		return update[V, W]{pair: Pair[V, W]{Left: c.New, HasLeft: c.HasNew}, past: c.Past}
	}, streams.With{Name: name + "-join-this"})
	rights := streams.MapValues(streams.Changes(r, false), func(_ K, c streams.Change[W]) update[V, W] {
		return update[V, W]{pair: Pair[V, W]{Right: c.New, HasRight: c.HasNew}, right: true, past: c.Past}
	}, streams.With{Name: name + "-join-other"})
	set.Name, set.Op, set.CoPartitioned, set.Partitions = name, "tablejoin", true, 0
	return streams.Derive(lefts.Merge(rights, streams.With{Name: name + "-merge"}), func(out *streams.Rows[K, R]) (func(*streams.Record[K, update[V, W]]) error, error) {
		n := &tables[K, V, W, R]{results: results[K, R]{rows: out}, how: how}
		var err error
		if n.left, err = l.RowsIn(out); err == nil {
			n.right, err = r.RowsIn(out)
		}
		if err == nil {
			key, left := n.left.Serdes()
			_, right := n.right.Serdes()
			out.Held(&waiting[K, update[V, W]]{key: key, value: updates[V, W]{left, right}})
		}
		return n.take, err
	}, key, value, set, l.Reading(), r.Reading())
}

// update is the new row of one side.
type update[V, W any] struct {
	pair  Pair[V, W]
	right bool
	past  bool // it is not the row its key has
}

// tables is the operator of Tables.
type tables[K, V, W, R any] struct {
	results[K, R]
	how   Joiner[K, V, W, R]
	left  *streams.Rows[K, V]
	right *streams.Rows[K, W]
}

func (n *tables[K, V, W, R]) take(r *streams.Record[K, update[V, W]]) (err error) {
	if r.Value.past {
		n.rows.Drop() // The result is that of the rows there are (KIP-914).
		return nil
	}
	p, ms := r.Value.pair, int64(0)
	if r.Value.right {
		p.Left, ms, p.HasLeft, err = n.left.Get(r.Key)
	} else {
		p.Right, ms, p.HasRight, err = n.right.Get(r.Key)
	}
	if err != nil {
		return err
	}
	out := &n.rec
	*out = streams.Record[K, streams.Change[R]]{Key: r.Key, Time: max(r.Time, ms), Headers: r.Headers}
	if n.how.keeps(&p) {
		out.Value.New, out.Value.HasNew = n.how.fn(r.Key, p), true
	}
	return n.set()
}

// results are the rows that a join of tables has made.
type results[K, R any] struct {
	rows *streams.Rows[K, R]
	rec  streams.Record[K, streams.Change[R]] // the next one
}

// set keeps and passes on the result in rec. That there is none is only news when
// there was one, now or, where the results have a history, at some time.
func (n *results[K, R]) set() error {
	key, err := n.rows.Key(n.rec.Key)
	if err != nil {
		return err
	}
	c := &n.rec.Value
	if c.Old, _, c.HasOld, err = n.rows.Load(key); err != nil || !c.HasOld && !c.HasNew && n.rows.Layout().History == 0 {
		return err
	}
	return n.rows.Update(key, &n.rec, true)
}
