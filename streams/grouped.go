package streams

import (
	"encoding/binary"
	"errors"
	"github.com/tidemill/tidemill/streams/serde"
)

// Grouped is a stream or a table whose records of one group are in one partition,
// ready to be aggregated. A change of a table's row reaches the aggregate as the
// row to take away and the row to add.
type Grouped[K, V any] struct {
	b     *Builder
	node  *node
	key   serde.Serde[K]
	value serde.Serde[V]
	rows  bool // records are changes of rows
}

// GroupByKey groups the records by the key they have. Records whose key may have
// changed since the last topic go through a repartition topic.
func (s *Stream[K, V]) GroupByKey(key serde.Serde[K], value serde.Serde[V], opts ...With) *Grouped[K, V] {
	return &Grouped[K, V]{b: s.b, node: s.grouped(key, value, gather(opts)).node, key: key, value: value}
}

// GroupBy groups the records by a new key; key and value write them to the
// repartition topic this takes.
func GroupBy[K, V, K2 any](s *Stream[K, V], fn func(K, V) K2, key serde.Serde[K2], value serde.Serde[V], opts ...With) *Grouped[K2, V] {
	return SelectKey(s, fn).GroupByKey(key, value, opts...)
}

// GroupTable groups the rows of a table: fn gives each row the key of its group
// and what the aggregate needs of it. It must give the same for the same row.
func GroupTable[K, V, K2, V2 any](t *Table[K, V], fn func(K, V) (K2, V2), key serde.Serde[K2], value serde.Serde[V2], opts ...With) *Grouped[K2, V2] {
	set := gather(opts)
	name := set.Name
	if name == "" {
		name = t.b.free(t.node.name + "-groupby")
	}
	t.node.requireOld()
	changes := changeSerde[V2]{row: value}
	n := operator[K, Change[V]](t.b, t.node, "groupby", With{Name: t.b.free(name + "-select")}, func(tk *task) *regroupNode[K, V, K2, V2] {
		return &regroupNode[K, V, K2, V2]{t: tk, fn: fn, key: key}
	})
	s := (&Stream[K2, Change[V2]]{b: t.b, node: n}).Repartition(key, changes, With{Name: name, Partitions: set.Partitions})
	return &Grouped[K2, V2]{b: t.b, node: s.node, key: key, value: value, rows: true}
}

// regroupNode gives changes the keys of their groups.
type regroupNode[K, V, K2, V2 any] struct {
	fan[K2, Change[V2]]
	t          *task
	fn         func(K, V) (K2, V2)
	key        serde.Serde[K2]
	rec        Record[K2, Change[V2]]
	kbuf, obuf []byte // scratch
}

func (n *regroupNode[K, V, K2, V2]) receive(r *Record[K, Change[V]]) (err error) {
	c := &r.Value
	n.rec = Record[K2, Change[V2]]{Time: r.Time, Headers: r.Headers}
	out := &n.rec.Value
	out.HasOld, out.HasNew = c.HasOld, c.HasNew
	if !c.HasOld && !c.HasNew || c.Past {
		return nil // The group is that of the rows there are.
	}
	if c.HasNew {
		n.rec.Key, out.New = n.fn(r.Key, c.New)
	}
	if !c.HasOld {
		return n.forward(&n.rec)
	}
	var oldKey K2
	oldKey, out.Old = n.fn(r.Key, c.Old)
	if !c.HasNew {
		n.rec.Key = oldKey
		return n.forward(&n.rec)
	}
	if same, err := n.same(oldKey, n.rec.Key); same || err != nil {
		if err != nil {
			return err
		}
		return n.forward(&n.rec)
	}
	// The row moves to another group, which may be in another partition: one
	// record takes it away there, another adds it here.
	moved := n.rec
	n.rec.Key, n.rec.Value = oldKey, Change[V2]{Old: out.Old, HasOld: true}
	if err := n.forward(&n.rec); err != nil {
		return err
	}
	n.rec = moved
	n.rec.Value = Change[V2]{New: moved.Value.New, HasNew: true}
	return n.forward(&n.rec)
}

// same tells whether two groups are one, by their bytes.
func (n *regroupNode[K, V, K2, V2]) same(a, b K2) (bool, error) {
	var err error
	if n.obuf, err = n.key.Append(n.obuf[:0], a); err == nil {
		n.kbuf, err = n.key.Append(n.kbuf[:0], b)
	}
	if err != nil {
		return false, n.t.unwritable("group by", "key", err)
	}
	return string(n.obuf) == string(n.kbuf), nil
}

// changeSerde writes a change of a row for a repartition topic. The last byte
// tells the forms apart, as in Kafka Streams since KIP-904: the new row and 1,
// the old row and 0, or the length of the new row, both, and 2.
type changeSerde[V any] struct{ row serde.Serde[V] }

const (
	changeOld  = 0
	changeNew  = 1
	changeBoth = 2
)

var errChange = errors.New("the bytes are no change of a row")

// Bind implements serde.Binder.
func (s changeSerde[V]) Bind(topic string, key bool) serde.Serde[Change[V]] {
	return changeSerde[V]{serde.Bind(s.row, topic, key)}
}

// Append implements Serde.
func (s changeSerde[V]) Append(dst []byte, c Change[V]) ([]byte, error) {
	var err error
	switch {
	case c.HasOld && c.HasNew:
		// The length goes in front, and is known only after the row.
		start := len(dst)
		dst = append(dst, make([]byte, binary.MaxVarintLen64)...)
		body := len(dst)
		if dst, err = s.row.Append(dst, c.New); err != nil {
			return nil, err
		}
		n := binary.PutUvarint(dst[start:], uint64(len(dst)-body))
		dst = append(dst[:start+n], dst[body:]...)
		if dst, err = s.row.Append(dst, c.Old); err != nil {
			return nil, err
		}
		return append(dst, changeBoth), nil
	case c.HasNew:
		dst, err = s.row.Append(dst, c.New)
		return append(dst, changeNew), err
	default:
		dst, err = s.row.Append(dst, c.Old)
		return append(dst, changeOld), err
	}
}

// Decode implements Serde.
func (s changeSerde[V]) Decode(b []byte) (c Change[V], err error) {
	if len(b) == 0 {
		return c, errChange
	}
	form, b := b[len(b)-1], b[:len(b)-1]
	switch form {
	case changeNew:
		c.HasNew = true
		c.New, err = s.row.Decode(b)
	case changeOld:
		c.HasOld = true
		c.Old, err = s.row.Decode(b)
	case changeBoth:
		size, n := binary.Uvarint(b)
		if n <= 0 || size > uint64(len(b)-n) {
			return c, errChange
		}
		c.HasOld, c.HasNew = true, true
		if c.New, err = s.row.Decode(b[n : n+int(size)]); err == nil {
			c.Old, err = s.row.Decode(b[n+int(size):])
		}
	default:
		return c, errChange
	}
	return c, err
}
