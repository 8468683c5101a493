package streams

// holder keeps records back in transaction mode.
type holder interface {
	release() error
	forget()
}

// hold keeps records from an operator that looks up rows of tables, until these are as of
// the records' transaction.
type hold[K, V any] struct {
	t       *task
	to      receiver[K, V]
	records []Record[K, V]
}

// held returns what takes in the records of n: to, or what holds them back for it.
func held[K, V any](t *task, n *node, to receiver[K, V]) receiver[K, V] {
	if t.env.epochs == nil || !n.looksUp() {
		return to
	}
	h := &hold[K, V]{t: t, to: guarded(t, n, to)}
	if t.holds == nil {
		t.holds = map[*node]holder{}
	}
	t.holds[n] = h
	return h
}

// looksUp tells whether the operator reads a store that another one owns.
func (n *node) looksUp() bool {
	for _, s := range n.stores {
		if s.owner != n {
			return true
		}
	}
	return false
}

func (h *hold[K, V]) receive(r *Record[K, V]) error {
	h.records = append(h.records, *r)
	return nil
}

func (h *hold[K, V]) release() error {
	for i := range h.records {
		if err := h.to.receive(&h.records[i]); err != nil {
			if err = h.t.caught(h.to, err); err != nil {
				return err
			}
		}
	}
	h.forget()
	return nil
}

func (h *hold[K, V]) forget() {
	clear(h.records)
	h.records = h.records[:0]
}
