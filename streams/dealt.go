package streams

// Dealt returns the table with its rows in the partitions that the bytes of their keys
// belong to, as the table's own Serde writes them: for operators that find the partition
// of a row by its key, such as a join by foreign key. Nearly all tables lie so, and are
// returned as they are. One that is read with a CDC.StoredKey lies as the topic does, by
// the bytes of the keys there: its rows go through a repartition topic, and are kept a
// second time behind it.
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
// its keys are written with from here on. Behind a repartition topic it does not.
func (n *node) otherKeys() bool {
	if n.isSource {
		return n.otherKey
	}
	for _, p := range n.parents {
		if p.otherKeys() {
			return true
		}
	}
	// An operator that looks rows of a table up lies as that one does.
	for _, s := range n.stores {
		if s.owner != nil && s.owner != n && !s.global && s.owner.otherKeys() {
			return true
		}
	}
	return false
}
