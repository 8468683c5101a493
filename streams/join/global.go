package join

import "github.com/tidemill/tidemill/streams"

// Global looks up, for each record of the stream, the row of the global table under
// the key that key takes from the record, and gives what the joiner makes of both.
// When key says that there is none, the record has no row. Only the stream has
// results, and they keep its keys; nothing is repartitioned. The joiner is Inner or
// Left: with Inner, records without row have no result.
func Global[K, V, GK, W, R any](s *streams.Stream[K, V], g *streams.GlobalTable[GK, W], key func(K, V) (k GK, ok bool), how Joiner[K, V, W, R], opts ...streams.With) *streams.Stream[K, R] {
	set := options(opts)
	name := named(s.Builder(), set, s.Name(), "globaljoin")
	if how.right {
		s.Builder().Fault("streams.join.outer", name, "a stream and a global table have no outer join", "use Inner or Left")
	}
	return streams.Process(s, func(c *streams.Context[K, R]) (func(*streams.Record[K, V]) error, error) {
		rows, err := g.RowsIn(c)
		n := &global[K, V, GK, W, R]{how: how, key: key, c: c, rows: rows}
		return n.take, err
	}, streams.With{Name: name, Op: "globaljoin", SameKey: true, Keyless: how.left}, g.Reading())
}

// global is the operator of Global.
type global[K, V, GK, W, R any] struct {
	how  Joiner[K, V, W, R]
	key  func(K, V) (GK, bool)
	c    *streams.Context[K, R]
	rows *streams.Rows[GK, W]
	rec  streams.Record[K, R]
}

func (n *global[K, V, GK, W, R]) take(r *streams.Record[K, V]) error {
	if r.NoValue {
		n.c.Drop()
		return nil
	}
	p := Pair[V, W]{Left: r.Value, HasLeft: true}
	if k, ok := n.key(r.Key, r.Value); ok {
		var err error
		if p.Right, _, p.HasRight, err = n.rows.Get(k); err != nil {
			return err
		}
	} else if !n.how.left {
		n.c.Drop()
		return nil
	}
	if !n.how.keeps(&p) {
		return nil
	}
	n.rec = streams.Record[K, R]{Key: r.Key, NoKey: r.NoKey, Value: n.how.fn(r.Key, p), Time: r.Time, Headers: r.Headers}
	return n.c.Forward(&n.rec)
}
