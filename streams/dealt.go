package streams

import (
	"reflect"
	"slices"
)

// Dealt returns the table with its rows in the partitions that the bytes of their keys
// belong to, as the table's own Serde writes them: for operators that find the partition
// of a row by its key, such as a join by foreign key. Nearly all tables lie so, and are
// returned as they are. One whose keys are stored by another Serde than the one their topic
// is read with, such as a CDC.StoredKey, lies as the topic does, by the bytes of the keys
// there, and others lie as PartitionBy says: their rows go through a repartition topic, and
// are kept a second time behind it.
func (t *Table[K, V]) Dealt() *Table[K, V] {
	if !t.node.otherKeys() {
		return t
	}
	if t.dealt == nil {
		// A change event may leave columns out, or clear the table: the rows there are tell
		// the rest.
		if t.node.op == "table" {
			t.materialize(With{})
		} else {
			t.node.requireOld()
		}
		name := t.b.free(t.node.name + "-dealt")
		rows := t.ToStream(With{Name: t.b.free(name + "-rows")}).Repartition(t.key, t.value, With{Name: t.b.free(name + "-in"), Topic: name + "-repartition"})
		t.dealt = upserts(rows, t.key, t.value, With{Name: name, History: t.History()})
	}
	return t.dealt
}

// otherKeys tells whether what comes to n lies in partitions by other bytes than those that
// its keys are written with from here on, or by what PartitionBy says. Behind a repartition
// topic that is cut by keys it does not.
func (n *node) otherKeys() bool {
	if n.isSource {
		return n.otherKey
	}
	// An operator that looks rows of a table up lies as that one does.
	if tables := n.tables(); len(tables) > 0 {
		return slices.ContainsFunc(tables, (*node).otherKeys)
	}
	return slices.ContainsFunc(n.parents, (*node).otherKeys)
}

// tables are the operators that own the tables of which n looks up rows in its own task.
func (n *node) tables() (owners []*node) {
	for _, s := range n.stores {
		if s.owner != nil && s.owner != n && !s.global {
			owners = append(owners, s.owner)
		}
	}
	return owners
}

// storedBy notes that the keys of what comes to n are stored by a Serde. Unless it is the
// one that reads them, rows lie by other bytes.
func (n *node) storedBy(key any) {
	if n.isSource {
		n.otherKey = n.otherKey || !sameSerde(n.keys, key)
	}
	for _, p := range slices.Concat(n.parents, n.tables()) {
		p.storedBy(key)
	}
}

// sameSerde tells whether two Serdes write the same bytes, as far as can be seen from
// outside: those that cannot be compared count as the same when they are of one type.
func sameSerde(a, b any) bool {
	if reflect.TypeOf(a) != reflect.TypeOf(b) {
		return false
	}
	return a == nil || !reflect.ValueOf(a).Comparable() || !reflect.ValueOf(b).Comparable() || a == b
}
