package join

import (
	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/serde"
)

// StreamTable looks up, for each record of the stream, the row of the table with the
// record's key, as it is when the record is processed, and gives what the joiner
// makes of both. Only the stream has results. The joiner is Inner or Left: with
// Inner, records without key or row have no result. value writes the records to the
// repartition topic that keys need which may have changed.
func StreamTable[K, V, W, R any](s *streams.Stream[K, V], t *streams.Table[K, W], how Joiner[K, V, W, R], value serde.Serde[V], opts ...streams.With) *streams.Stream[K, R] {
	set := options(opts)
	key, _ := t.Serdes()
	t = t.Stored()
	name := named(s.Builder(), set, s.Name(), "join")
	if how.right {
		s.Builder().Fault("streams.join.outer", name, "a stream and a table have no outer join", "use Inner or Left")
	}
	s, _, _ = s.GroupByKey(key, value, side(set, "-left")).Stream()
	return streams.Process(s, func(c *streams.Context[K, R]) (func(*streams.Record[K, V]) error, error) {
		rows, err := t.RowsIn(c)
		n := &streamTable[K, V, W, R]{how: how, c: c, rows: rows}
		return n.take, err
	}, streams.With{Name: name, Op: "join", SameKey: true, CoPartitioned: true}, t.Reading())
}

// streamTable is the operator of StreamTable.
type streamTable[K, V, W, R any] struct {
	how  Joiner[K, V, W, R]
	c    *streams.Context[K, R]
	rows *streams.Rows[K, W]
	rec  streams.Record[K, R]
}

func (n *streamTable[K, V, W, R]) take(r *streams.Record[K, V]) error {
	if r.NoValue || r.NoKey && !n.how.left {
		n.c.Drop()
		return nil
	}
	p := Pair[V, W]{Left: r.Value, HasLeft: true}
	if !r.NoKey {
		var err error
		if p.Right, _, p.HasRight, err = n.rows.Get(r.Key); err != nil {
			return err
		}
	}
	if !n.how.keeps(&p) {
		return nil
	}
	n.rec = streams.Record[K, R]{Key: r.Key, NoKey: r.NoKey, Value: n.how.fn(r.Key, p), Time: r.Time, Headers: r.Headers}
	return n.c.Forward(&n.rec)
}
