package streams

import (
	"errors"
	"fmt"

	"github.com/tidemill/tidemill/streams/serde"
	"github.com/tidemill/tidemill/streams/state"
)

// Derive makes a table by an operator written by hand, which owns the table's rows.
// begin is called once for each task, before all records, and returns the function that
// takes the records and updates the rows. A record is the function's to read during the
// call. Everything a table has works on the result.
//
// Where the Serde of the keys has a method StoreLayout() state.Spec, rows are kept as
// it says: those of windows expire. With.Unkept keeps no rows; the operator then passes
// changes on with Forward, old rows included.
func Derive[K, V, K2, V2 any](s *Stream[K, V], begin func(*Rows[K2, V2]) (func(*Record[K, V]) error, error), key serde.Serde[K2], value serde.Serde[V2], opts ...With) *Table[K2, V2] {
	set := gather(opts)
	t := &Table[K2, V2]{b: s.b, key: key, value: value}
	t.node = s.b.add(&node{op: orElse(set.Op, "derive"), parents: []*node{s.node}}, set)
	if !set.Unkept {
		s.b.keep(t.node, set, layoutOf(key))
	}
	if w, ok := key.(windowed); ok {
		s.node.storedBy(w.InnerKeys())
	}
	spec := t.spec()
	s.b.declare(t.node, set)
	t.node.build = func(tk *task) (any, error) {
		rows := openRows(tk, spec, key, value)
		inst := &deriveNode[K, V, K2, V2]{rowStore: rows}
		c := &Context[K2, Change[V2]]{out: &rows.fan, t: tk, n: t.node}
		var err error
		if inst.take, err = begin(&Rows[K2, V2]{Context: c, rows: rows}); err != nil {
			return nil, fmt.Errorf("starting operator %s: %w", t.node.name, err)
		}
		return inst, wire(tk, s.node, held[K, V](tk, t.node, inst))
	}
	if set.Unkept {
		t.node.pullOld = func() {} // The operator sends them.
		return t.derived(t.node, set)
	}
	return t
}

// windowed is the ability of the Serde of windows' keys to tell that of the keys in them.
type windowed interface{ InnerKeys() any }

type deriveNode[K, V, K2, V2 any] struct {
	*rowStore[K2, V2]
	take func(*Record[K, V]) error
}

func (n *deriveNode[K, V, K2, V2]) receive(r *Record[K, V]) error { return ofUser(n.take(r)) }

// Rows are the rows of a table in one task: for the operator that derives it, which
// updates them, and for those that look rows up.
type Rows[K, V any] struct {
	// Context is that of the operator that owns the rows, nil for others.
	*Context[K, Change[V]]
	rows *rowStore[K, V]
}

// Key returns the bytes of a key in the store, valid until the next call.
func (r *Rows[K, V]) Key(k K) ([]byte, error) { return r.rows.encodeKey(k) }

// Load reads the row of a key, as Key has given it, and its time in milliseconds.
func (r *Rows[K, V]) Load(key []byte) (v V, ms int64, found bool, err error) {
	return r.rows.load(key)
}

// Get reads the row of a key.
func (r *Rows[K, V]) Get(k K) (v V, ms int64, found bool, err error) { return r.rows.get(k) }

var errReader = errors.New("streams: the rows belong to another operator")

// Update sets or, without a new row, deletes the row of a key, as Key has given it, and
// passes the change on: at once, or, from a cached table, at the commit. oldKnown says
// that rec has the old row as the store has it; without it, it is looked up when
// somebody wants it.
func (r *Rows[K, V]) Update(key []byte, rec *Record[K, Change[V]], oldKnown bool) error {
	if r.Context == nil {
		return errReader
	}
	return r.rows.update(key, rec, oldKnown)
}

// Put sets or deletes a row as Update does and tells nobody. It is for tables that are
// not cached.
func (r *Rows[K, V]) Put(key []byte, rec *Record[K, Change[V]]) error {
	if r.Context == nil {
		return errReader
	}
	return r.rows.write(key, &rec.Value, rec.Time)
}

// WantsOld tells whether somebody wants old rows with the changes.
func (r *Rows[K, V]) WantsOld() bool { return r.rows.st != nil && r.rows.st.spec.owner.wantOld }

// Bytes returns the store of the rows as it is: local keys and timed values.
func (r *Rows[K, V]) Bytes() state.Reader { return r.rows.st.cache }

// Layout says how the rows lie in the store.
func (r *Rows[K, V]) Layout() state.Spec { return r.rows.st.spec.layout }

// Serdes returns what the rows are written with, made for the store.
func (r *Rows[K, V]) Serdes() (serde.Serde[K], serde.Serde[V]) { return r.rows.key, r.rows.value }

// Value reads a timed value of the store.
func (r *Rows[K, V]) Value(timed []byte) (v V, ms int64, err error) {
	ms, raw := state.SplitTimed(timed)
	if v, err = r.rows.value.Decode(raw); err != nil {
		err = r.rows.t.damaged(r.rows.st.spec.name, err)
	}
	return v, ms, err
}

// Scan visits the rows in a range of keys, as the store has them. visit does not write
// to the table.
func (r *Rows[K, V]) Scan(rg state.Range, visit func(Record[K, V]) error) (err error) {
	st := r.rows.st
	it := st.cache.Scan(rg)
	for err == nil && it.Next() {
		if st.spec.layout.IsNote(it.Key()) {
			continue
		}
		var rec Record[K, V]
		if rec.Key, err = r.rows.key.Decode(it.Key()[st.prefix:]); err != nil {
			err = r.rows.t.damaged(st.spec.name, err)
			break
		}
		if rec.Value, rec.Time, err = r.Value(it.Value()); err == nil {
			err = visit(rec)
		}
	}
	return errors.Join(err, it.Close())
}

// Stored returns the table with its rows in a store, so that operators can look them
// up: itself, or one after it that keeps them.
func (t *Table[K, V]) Stored() *Table[K, V] { return t.stored() }

// Reading says that an operator looks up rows of a table that is Stored. It goes with
// the operator's other properties.
func (t *Table[K, V]) Reading() With { return With{reads: []*storeSpec{t.spec()}} }

// RowsIn opens the rows of a table in the task of an operator that was declared to read
// them.
func (t *Table[K, V]) RowsIn(c interface{ running() *task }) (*Rows[K, V], error) {
	tk := c.running()
	if t.spec() == nil || tk.stores[t.spec()] == nil {
		return nil, fmt.Errorf("streams: the rows of %s are not in task %s", t.node.name, tk.id)
	}
	return &Rows[K, V]{rows: viewRows(tk, t.spec(), t.key, t.value)}, nil
}

// Serdes returns what the table's keys and rows are written with.
func (t *Table[K, V]) Serdes() (serde.Serde[K], serde.Serde[V]) { return t.key, t.value }

// Changes returns the changes of a table as records, for an operator written by hand;
// old asks for the old rows.
func Changes[K, V any](t *Table[K, V], old bool) *Stream[K, Change[V]] {
	if old {
		t.node.requireOld()
	}
	return &Stream[K, Change[V]]{b: t.b, node: t.node}
}

// Name is the name of the operator the stream comes from.
func (s *Stream[K, V]) Name() string { return s.node.name }

// Builder returns what the stream's operators are added to.
func (s *Stream[K, V]) Builder() *Builder { return s.b }

// Stream returns the grouped records, those of one group in one partition, and what
// their keys and values are written with. There is none for the rows of a table.
func (g *Grouped[K, V]) Stream() (*Stream[K, V], serde.Serde[K], serde.Serde[V]) {
	if g.rows {
		g.b.fault("streams.group.rows", g.node.name, "the rows of a table do not make a stream", "group a stream")
	}
	return &Stream[K, V]{b: g.b, node: g.node}, g.key, g.value
}
