package streams

import "github.com/tidemill/tidemill/streams/serde"

// Table is a changing set of rows, one for each key. It is made from a topic, a
// stream or an aggregate; each record is the new row of its key.
type Table[K, V any] struct {
	b     *Builder
	node  *node
	key   serde.Serde[K]
	value serde.Serde[V]
	// keeper keeps the rows for operators that look them up, when no other does.
	keeper *Table[K, V]
	dealt  *Table[K, V] // what Dealt has made of it
}

// Name returns the name of the operator the table comes out of.
func (t *Table[K, V]) Name() string { return t.node.name }

// StoreName returns the name of the store that keeps the table, empty when none
// does. It is settled when the topology is built.
func (t *Table[K, V]) StoreName() string {
	if t.node == nil || len(t.node.stores) == 0 || t.node.stores[0].owner != t.node {
		return ""
	}
	return t.node.stores[0].name
}

// TableFrom reads a topic as a table: each record is the row of its key, one
// without value deletes it, one without key is dropped. Rows are kept in a store
// when Materialized says so or an operator needs them.
func TableFrom[K, V any](b *Builder, topic string, key serde.Serde[K], value serde.Serde[V], opts ...With) *Table[K, V] {
	s := gather(opts)
	b.onlyTopic(s, topic, "a table")
	name := s.Name
	if name == "" {
		name = b.free(topic)
	}
	in := source(b, topic, key, value, With{Name: b.free(name + "-source"), Timestamps: s.Timestamps})
	s.Name = name
	return upserts(&Stream[K, V]{b: b, node: in}, key, value, s)
}

// ToTable reads the stream as changes of a table: each record is the new row of
// its key.
func (s *Stream[K, V]) ToTable(key serde.Serde[K], value serde.Serde[V], opts ...With) *Table[K, V] {
	set := gather(opts)
	in := With{Partitions: set.Partitions}
	if set.Name != "" {
		in.Name = set.Name + "-in"
	}
	s = s.grouped(key, value, in)
	s.node.storedBy(key)
	return upserts(s, key, value, set)
}

// upserts adds the operator that turns records into changes.
func upserts[K, V any](s *Stream[K, V], key serde.Serde[K], value serde.Serde[V], set With) *Table[K, V] {
	t := &Table[K, V]{b: s.b, key: key, value: value}
	t.node = s.b.add(&node{op: "table", parents: []*node{s.node}}, set)
	t.keepRows(set)
	t.node.build = func(tk *task) (any, error) {
		inst := &upsertNode[K, V]{rowStore: openRows(tk, t.spec(), key, value)}
		return inst, wire(tk, s.node, receiver[K, V](inst))
	}
	return t
}

// keepRows gives the table's node a store now when the user asks for one, else
// when an operator asks for old rows.
func (t *Table[K, V]) keepRows(s With) {
	if s.Store != "" || s.History != 0 {
		t.b.keep(t.node, s, layoutOf(t.key))
	}
	t.node.pullOld = func() { t.materialize(s) }
}

// materialize makes the table keep its rows.
func (t *Table[K, V]) materialize(s With) {
	if t.spec() == nil {
		t.b.keep(t.node, s, layoutOf(t.key))
	}
}

// spec returns the store the table's own node keeps.
func (t *Table[K, V]) spec() *storeSpec {
	for _, s := range t.node.stores {
		if s.owner == t.node {
			return s
		}
	}
	return nil
}

type upsertNode[K, V any] struct {
	*rowStore[K, V]
	in Record[K, Change[V]]
}

func (n *upsertNode[K, V]) receive(r *Record[K, V]) error {
	if r.NoKey {
		n.t.drop()
		return nil
	}
	n.in = Record[K, Change[V]]{Key: r.Key, Time: r.Time, Headers: r.Headers}
	n.in.Value = Change[V]{New: r.Value, HasNew: !r.NoValue}
	if n.st == nil {
		return n.forward(&n.in)
	}
	key, err := n.encodeKey(r.Key)
	if err != nil {
		return err
	}
	return n.update(key, &n.in, false)
}

// derived returns the table after n. With a store named by the user, or one that
// is needed to answer what n cannot, a further operator keeps its rows.
func (t *Table[K, V]) derived(n *node, s With) *Table[K, V] {
	d := &Table[K, V]{b: t.b, node: n, key: t.key, value: t.value}
	if s.Store == "" && s.History == 0 {
		return d
	}
	return d.kept(With{Name: t.b.free(n.name + "-store"), Store: s.Store, Uncached: s.Uncached, History: s.History})
}

// kept adds an operator that keeps the rows of t.
func (t *Table[K, V]) kept(s With) *Table[K, V] {
	d := &Table[K, V]{b: t.b, key: t.key, value: t.value}
	d.node = t.b.add(&node{op: "keep", parents: []*node{t.node}}, s)
	t.b.keep(d.node, s, layoutOf(t.key))
	d.node.build = func(tk *task) (any, error) {
		inst := &keepNode[K, V]{rowStore: openRows(tk, d.spec(), t.key, t.value)}
		return inst, wire(tk, t.node, receiver[K, Change[V]](inst))
	}
	return d
}

// stored returns t with its rows in a store, for operators that look rows up.
func (t *Table[K, V]) stored() *Table[K, V] {
	if t.spec() != nil {
		return t
	}
	if t.node.op == "table" {
		t.materialize(With{})
		return t
	}
	if t.keeper == nil {
		t.keeper = t.kept(With{Name: t.b.free(t.node.name + "-store"), History: t.History()})
	}
	return t.keeper
}

// keepNode stores the rows of a table. The old rows it sends are those it has.
type keepNode[K, V any] struct{ *rowStore[K, V] }

func (n *keepNode[K, V]) receive(r *Record[K, Change[V]]) error {
	key, err := n.encodeKey(r.Key)
	if err != nil {
		return err
	}
	return n.update(key, r, false)
}

// ToStream returns the table's changes as a stream: the new row of each change,
// or a record without value for a delete. [SelectKey] after it gives the records
// other keys.
func (t *Table[K, V]) ToStream(opts ...With) *Stream[K, V] {
	n := operator[K, Change[V]](t.b, t.node, "tostream", gather(opts), func(*task) *toStreamNode[K, V] {
		return &toStreamNode[K, V]{}
	})
	return &Stream[K, V]{b: t.b, node: n}
}

type toStreamNode[K, V any] struct {
	fan[K, V]
	rec Record[K, V]
}

func (n *toStreamNode[K, V]) receive(r *Record[K, Change[V]]) error {
	n.rec = Record[K, V]{Key: r.Key, Value: r.Value.New, NoValue: !r.Value.HasNew, Time: r.Time, Headers: r.Headers}
	return n.forward(&n.rec)
}
