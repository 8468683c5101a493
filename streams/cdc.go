package streams

import (
	"bytes"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams/serde"
	"github.com/tidemill/tidemill/streams/state"
)

// unavailable is what a change event has in place of a large column that the
// database did not send because the change left it alone.
const unavailable = "__debezium_unavailable_value"

// CDC says how a topic of change events is read: envelopes with the row before
// and after and the operation, and records without value where a row was deleted.
type CDC struct {
	Topic string
	// Key and Envelope read the topic.
	Key, Envelope serde.Serde[connect.Value]
	// Row is the schema of the table's rows. Columns are found by name; one the
	// event does not have is null.
	Row *connect.Schema
	// StoredKey writes keys to the store; Key when nil. See Table.Dealt about what it
	// means for joins by foreign key.
	StoredKey serde.Serde[connect.Value]
	// TrustBefore takes the old row from the event when it is there, and keeps
	// no store for it. This needs REPLICA IDENTITY FULL, and a record that is
	// processed twice counts twice.
	TrustBefore bool
}

// Table reads a topic of change events as a table: the row after the change is
// the row. Create, update and snapshot reads set it, delete and records without
// value remove it, truncate removes all rows of the partition, messages are passed
// over. The old row is the one the table's store has, which is right even when
// events come twice; see CDC.TrustBefore.
func (c CDC) Table(b *Builder, opts ...With) *Table[connect.Value, connect.Value] {
	s := gather(opts)
	b.onlyTopic(s, c.Topic, "a table")
	name := s.Name
	if name == "" {
		name = b.free(c.Topic)
	}
	key, value := c.StoredKey, serde.Row(c.Row)
	if key == nil {
		key = c.Key
	}
	t := &Table[connect.Value, connect.Value]{b: b, key: key, value: value}
	in := source(b, c.Topic, c.Key, c.Envelope, With{Name: b.free(name + "-source")})
	in.envelopes, in.otherKey = true, c.StoredKey != nil
	t.node = b.add(&node{op: "table", parents: []*node{in}}, With{Name: name})
	if s.Store != "" || s.History != 0 {
		b.keep(t.node, s, layoutOf(key))
	}
	if !c.TrustBefore {
		t.node.pullOld = func() { t.materialize(s) }
	}
	t.node.build = func(tk *task) (any, error) {
		n := &cdcNode{rowStore: openRows(tk, t.spec(), key, value), row: newProjection(c.Row), before: c.TrustBefore}
		return n, wire(tk, in, receiver[connect.Value, connect.Value](n))
	}
	return t
}

// cdcNode turns change events into changes of rows.
type cdcNode struct {
	*rowStore[connect.Value, connect.Value]
	row    *projection
	before bool
	env    connect.Envelope
	in     Record[connect.Value, Change[connect.Value]]
}

func (n *cdcNode) receive(r *Record[connect.Value, connect.Value]) error {
	n.in = Record[connect.Value, Change[connect.Value]]{Key: r.Key, Time: r.Time, Headers: r.Headers}
	c, ok := connect.Change{Op: connect.OpDelete}, true
	if !r.NoValue {
		c, ok = n.change(r.Value)
	}
	switch {
	case ok && c.Op == connect.OpTruncate:
		return n.clear(r)
	case !ok || r.NoKey || c.Op == connect.OpMessage:
		n.t.drop()
		return nil
	}
	out := &n.in.Value
	if c.Op != connect.OpDelete && !c.After.IsNull() {
		out.New, out.HasNew = n.row.project(c.After), true
	}
	if n.before && !c.Before.IsNull() {
		out.Old, out.HasOld = n.row.project(c.Before), true
	}
	if n.st == nil {
		if !out.HasNew && !out.HasOld && n.before {
			return nil // The record without value after a delete says nothing new.
		}
		return n.forward(&n.in)
	}
	return n.store(&n.in)
}

// change takes an envelope apart.
func (n *cdcNode) change(v connect.Value) (connect.Change, bool) {
	if v.Kind() != connect.KindStruct {
		return connect.Change{}, false
	}
	if schema := v.Struct().Schema(); n.env.Schema != schema {
		env, ok := connect.EnvelopeOf(schema)
		if !ok {
			return connect.Change{}, false
		}
		n.env = env
	}
	return n.env.Change(v), true
}

// store writes a row, after filling in the columns the event left out.
func (n *cdcNode) store(r *Record[connect.Value, Change[connect.Value]]) error {
	key, err := n.encodeKey(r.Key)
	if err != nil {
		return err
	}
	if r.Value.HasNew && n.row.incomplete(r.Value.New) {
		old, _, had, err := n.load(key)
		if err != nil {
			return err
		}
		if had {
			r.Value.New = n.row.complete(r.Value.New, old)
		}
	}
	return n.update(key, r, n.before && r.Value.HasOld)
}

// clear deletes every row of the task's partition.
func (n *cdcNode) clear(r *Record[connect.Value, connect.Value]) error {
	if n.st == nil {
		n.t.drop()
		return nil
	}
	rest := n.st.spec.layout.Rows(state.Range{})
	for {
		// A table may be larger than memory.
		var keys [][]byte
		it := n.st.cache.Scan(rest)
		for len(keys) < clearAtOnce && it.Next() {
			keys = append(keys, bytes.Clone(it.Key()))
		}
		if err := it.Close(); err != nil || len(keys) == 0 {
			return err
		}
		for _, key := range keys {
			if err := n.remove(key, r); err != nil {
				return err
			}
		}
		rest.Lo = append(keys[len(keys)-1], 0)
	}
}

// clearAtOnce is how many rows of a table are found before they are deleted.
const clearAtOnce = 4096

// remove deletes the row of a key, as the store has it, because of r.
func (n *cdcNode) remove(key []byte, r *Record[connect.Value, connect.Value]) error {
	k, err := n.key.Decode(key[n.st.prefix:])
	if err != nil {
		return n.t.damaged(n.st.spec.name, err)
	}
	gone := Record[connect.Value, Change[connect.Value]]{Key: k, Time: r.Time, Headers: r.Headers}
	return n.update(key, &gone, false)
}

// Stream reads a topic of change events as a stream of the events themselves,
// one Change for each record: what was before, if the event says so, and after.
// Records without value are dropped: the delete before them has said it.
func (c CDC) Stream(b *Builder, opts ...With) *Stream[connect.Value, Change[connect.Value]] {
	in := source(b, c.Topic, c.Key, c.Envelope, gather(opts))
	in.envelopes = true
	n := operator[connect.Value, connect.Value](b, in, "changes", With{}, func(*task) *cdcEvents {
		return &cdcEvents{cdc: cdcNode{row: newProjection(c.Row)}}
	})
	return &Stream[connect.Value, Change[connect.Value]]{b: b, node: n}
}

type cdcEvents struct {
	fan[connect.Value, Change[connect.Value]]
	cdc cdcNode
	rec Record[connect.Value, Change[connect.Value]]
}

func (n *cdcEvents) receive(r *Record[connect.Value, connect.Value]) error {
	if r.NoValue {
		return nil
	}
	c, ok := n.cdc.change(r.Value)
	if !ok || c.Before.IsNull() && c.After.IsNull() {
		return nil
	}
	n.rec = Record[connect.Value, Change[connect.Value]]{Key: r.Key, NoKey: r.NoKey, Time: r.Time, Headers: r.Headers}
	out := &n.rec.Value
	if !c.Before.IsNull() {
		out.Old, out.HasOld = n.cdc.row.project(c.Before), true
	}
	if !c.After.IsNull() {
		out.New, out.HasNew = n.cdc.row.project(c.After), true
	}
	return n.forward(&n.rec)
}
