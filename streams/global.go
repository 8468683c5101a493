package streams

import (
	"fmt"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams/query"
	"github.com/tidemill/tidemill/streams/serde"
)

// GlobalTable is a topic read as a table that every process has whole, whatever
// partitions its tasks read: small tables that streams look rows up in by any key,
// without a repartition topic. It is there before the first task starts, follows
// its topic from then on, and has no changelog but the topic itself. What it
// changes triggers nothing. For transaction mode it is made with [CDC.Global].
type GlobalTable[K, V any] struct {
	spec  *storeSpec
	key   serde.Serde[K]
	value serde.Serde[V]
}

// GlobalFrom reads all partitions of a topic as a GlobalTable: each record is the
// row of its key, one without value deletes it, one without key is dropped. The
// topic is best a compacted one. With.Store, or else With.Name, names the store.
func GlobalFrom[K, V any](b *Builder, topic string, key serde.Serde[K], value serde.Serde[V], opts ...With) *GlobalTable[K, V] {
	s := gather(opts)
	b.onlyTopic(s, topic, "a global table")
	name := s.Store
	if name == "" {
		name = s.Name
	}
	if name == "" {
		name = b.free(topic + "-global")
	}
	if b.stores[name] != nil {
		b.fault("streams.store.taken", name, "two tables keep their rows in this store", "give each its own name with With{Store: …}")
	}
	if s.History != 0 {
		b.fault("streams.history", name, "a global table has the rows there are, and no history", "read the topic with TableFrom")
	}
	g := &GlobalTable[K, V]{spec: &storeSpec{name: name, topic: topic}, key: key, value: value}
	b.stores[name], b.names[name] = g.spec, true
	b.globals = append(b.globals, g.spec)
	return g
}

// Global reads a topic of change events as a GlobalTable, in transaction mode: a record
// that looks up a row finds it as of its own transaction. Its rows are kept as those of
// CDC.Table are, with a changelog, and so with StoredKey and TrustBefore. With.Store, or
// else With.Name, names the store.
func (c CDC) Global(b *Builder, opts ...With) *GlobalTable[connect.Value, connect.Value] {
	set := With{Name: gather(opts).Name}
	if set.Name == "" {
		set.Name = b.free(c.Topic + "-global")
	}
	set.Store = orElse(gather(opts).Store, set.Name)
	t := c.Table(b, append(opts, set)...)
	t.spec().global = true
	return &GlobalTable[connect.Value, connect.Value]{spec: t.spec(), key: t.key, value: t.value}
}

// StoreName returns the name of the store that keeps the table.
func (g *GlobalTable[K, V]) StoreName() string { return g.spec.name }

// View puts the table's types on the rows of its store, as an Engine or a Local
// gives them.
func (g *GlobalTable[K, V]) View(r *query.Rows) *View[K, V] {
	topic := g.spec.topic
	if g.spec.global {
		topic = changelogName(r.App, r.Store)
	}
	return &View[K, V]{Rows: r, key: serde.Bind(g.key, topic, true), value: serde.Bind(g.value, topic, false)}
}

// Reading says that an operator looks up rows of the table. It goes with the operator's
// other properties.
func (g *GlobalTable[K, V]) Reading() With { return With{reads: []*storeSpec{g.spec}} }

// RowsIn opens the rows of the table in the task of an operator that was declared to
// read them.
func (g *GlobalTable[K, V]) RowsIn(c interface{ running() *task }) (*Rows[K, V], error) {
	tk := c.running()
	if g.spec.global {
		return &Rows[K, V]{rows: everyRow(tk, g.spec, g.key, g.value)}, nil
	}
	if tk.stores[g.spec] == nil {
		return nil, fmt.Errorf("streams: global table %s is not in task %s", g.spec.name, tk.id)
	}
	return &Rows[K, V]{rows: viewRows(tk, g.spec, g.key, g.value)}, nil
}
