package join

import (
	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/serde"
)

// resolve makes the table of results from the answers that the left table's rows get.
func (f *foreignKey[K, V, FK, W, R]) resolve(told *streams.Stream[[]byte, answer[W]], key serde.Serde[K], value serde.Serde[R], set streams.With) *streams.Table[K, R] {
	set.Name, set.Op, set.CoPartitioned, set.Partitions = f.name, "foreignkey", true, 0
	_, row := f.right.Serdes()
	return streams.Derive(told, func(out *streams.Rows[K, R]) (func(*streams.Record[[]byte, answer[W]]) error, error) {
		n := &resolver[K, V, FK, W, R]{results: results[K, R]{rows: out}, f: f}
		n.key = serde.Bind(key, out.ApplicationID()+"-"+f.name+responseTopic, true)
		var err error
		n.left, err = f.left.RowsIn(out)
		out.Held(&waiting[[]byte, answer[W]]{key: serde.Bytes{}, value: serde.Bind[answer[W]](answers[W]{row}, out.ApplicationID()+"-"+f.name+responseTopic, false)})
		return n.take, err
	}, key, value, set, f.left.Reading())
}

// resolver takes answers in.
type resolver[K, V, FK, W, R any] struct {
	results[K, R]
	f    *foreignKey[K, V, FK, W, R]
	key  serde.Serde[K]
	left *streams.Rows[K, V]
	buf  []byte // scratch
}

func (n *resolver[K, V, FK, W, R]) take(r *streams.Record[[]byte, answer[W]]) error {
	if r.NoKey || r.NoValue {
		n.rows.Drop()
		return nil
	}
	k, err := n.key.Decode(r.Key)
	if err != nil {
		return err
	}
	key, err := n.left.Key(k)
	if err != nil {
		return err
	}
	a, found := &r.Value, false
	if n.buf, found, err = n.left.Bytes().Get(n.buf[:0], key); err != nil {
		return err
	}
	n.rec = streams.Record[K, streams.Change[R]]{Key: k, Time: r.Time, Headers: r.Headers}
	if !found {
		return n.set() // Whatever it asked before, it has no result now.
	}
	p := Pair[V, W]{HasLeft: true}
	ms := int64(0)
	if p.Left, ms, err = n.left.Value(n.buf); err != nil {
		return err
	}
	switch _, refers := n.f.key(k, p.Left); {
	case refers && (!a.hasHash || a.hash != hashOfRow(n.buf)):
		return nil // The row has changed since it asked, and has asked again.
	case refers:
		p.Right, p.HasRight = a.row, a.hasRow
	}
	n.rec.Time = max(r.Time, ms)
	if n.f.how.keeps(&p) {
		n.rec.Value.New, n.rec.Value.HasNew = n.f.how.fn(k, p), true
	}
	return n.set()
}
