package state

import "sync"

// Memory is a DB in memory. It is gone with the process; whoever uses it
// rebuilds it from a changelog.
type Memory struct {
	mu     sync.RWMutex // guards the following; never held during a walk
	ids    map[string]uint32
	lastID uint32
	stores map[ID]*tree[[]byte]
	// frozen has what the stores were when they were last walked over, of those that have
	// not changed since.
	frozen map[ID]*tree[[]byte]
	closed bool
}

// NewMemory returns an empty DB in memory.
func NewMemory() *Memory {
	return &Memory{ids: map[string]uint32{}, stores: map[ID]*tree[[]byte]{}, frozen: map[ID]*tree[[]byte]{}}
}

// Open implements DB.
func (m *Memory) Open(name string, partition int32) (ID, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return ID{}, ErrClosed
	}
	n, known := m.ids[name]
	if !known {
		m.lastID++
		n = m.lastID
		m.ids[name] = n
	}
	id := ID{Store: n, Partition: uint16(partition)}
	if m.stores[id] == nil {
		m.stores[id] = &tree[[]byte]{}
	}
	return id, nil
}

// Drop forgets a store for good.
func (m *Memory) Drop(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, known := m.ids[name]
	if !known {
		return nil
	}
	delete(m.ids, name)
	for id := range m.stores {
		if id.Store == n {
			delete(m.stores, id)
			delete(m.frozen, id)
		}
	}
	return nil
}

// Reader implements DB.
func (m *Memory) Reader(id ID) Reader { return &memoryReader{db: m, id: id} }

// Batch implements DB.
func (m *Memory) Batch() Batch { return &memoryBatch{db: m} }

// Snapshot implements DB.
func (m *Memory) Snapshot() (Snapshot, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, ErrClosed
	}
	s := memorySnapshot{NewMemory()}
	for id, t := range m.stores {
		frozen := t.snapshot()
		s.frozen.stores[id] = &frozen
	}
	return s, nil
}

// Close implements DB.
func (m *Memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	m.stores, m.frozen = map[ID]*tree[[]byte]{}, map[ID]*tree[[]byte]{}
	return nil
}

type memorySnapshot struct{ frozen *Memory }

func (s memorySnapshot) Reader(id ID) Reader { return &memoryReader{db: s.frozen, id: id} }
func (s memorySnapshot) Close() error        { return s.frozen.Close() }

type memoryReader struct {
	db   *Memory
	id   ID
	scan memoryIter // of the walk under way, or of the last one
}

func (r *memoryReader) Get(dst, key []byte) ([]byte, bool, error) {
	r.db.mu.RLock()
	defer r.db.mu.RUnlock()
	if r.db.closed {
		return dst, false, ErrClosed
	}
	t := r.db.stores[r.id]
	if t == nil {
		return dst, false, nil
	}
	v, found := t.get(key)
	return append(dst, v...), found, nil
}

func (r *memoryReader) Scan(rg Range) Iterator {
	it := &r.scan
	if it.open {
		it = &memoryIter{} // A walk within a walk.
	}
	it.open = true
	var frozen *tree[[]byte]
	frozen, it.err = r.db.freeze(r.id)
	if it.done = frozen == nil; !it.done {
		it.it.walk(frozen, rg)
	}
	return it
}

// freeze returns a store as it is now, nil when there is none.
func (m *Memory) freeze(id ID) (*tree[[]byte], error) {
	m.mu.RLock()
	frozen, closed := m.frozen[id], m.closed
	m.mu.RUnlock()
	if closed {
		return nil, ErrClosed
	}
	if frozen != nil {
		return frozen, nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.stores[id]
	if t == nil || m.frozen[id] != nil {
		return m.frozen[id], nil
	}
	now := t.snapshot()
	m.frozen[id] = &now
	return &now, nil
}

type memoryIter struct {
	it   treeIter[[]byte]
	open bool // until Close
	done bool
	err  error
}

func (i *memoryIter) Next() bool {
	if !i.done {
		i.done = !i.it.next()
	}
	return !i.done
}

func (i *memoryIter) Key() []byte   { return i.it.key() }
func (i *memoryIter) Value() []byte { return i.it.value() }
func (i *memoryIter) Close() error  { i.done, i.open = true, false; return i.err }

// memoryOp is one change; a nil value deletes key, wipe deletes span.
type memoryOp struct {
	id         ID
	key, value []byte
	wipe       bool
	span       Range
}

type memoryBatch struct {
	db   *Memory
	ops  []memoryOp
	size int
}

func (b *memoryBatch) Put(id ID, key, value []byte) {
	// One allocation holds both; the capacity of key ends where value begins.
	kv := append(append(make([]byte, 0, len(key)+len(value)), key...), value...)
	b.add(memoryOp{id: id, key: kv[:len(key):len(key)], value: kv[len(key):]})
}

func (b *memoryBatch) Delete(id ID, key []byte) {
	b.add(memoryOp{id: id, key: append([]byte(nil), key...)})
}

func (b *memoryBatch) DeleteRange(id ID, r Range) {
	b.add(memoryOp{id: id, wipe: true, span: Range{Lo: r.Lo, Hi: r.Hi}})
}

func (b *memoryBatch) add(op memoryOp) {
	b.ops = append(b.ops, op)
	b.size += len(op.key) + len(op.value) + 16
}

func (b *memoryBatch) Size() int { return b.size }

func (b *memoryBatch) Commit() error {
	b.db.mu.Lock()
	defer b.db.mu.Unlock()
	if b.db.closed {
		return ErrClosed
	}
	for i, op := range b.ops {
		if i == 0 || op.id != b.ops[i-1].id {
			delete(b.db.frozen, op.id)
		}
		t := b.db.stores[op.id]
		switch {
		case t == nil:
			t = &tree[[]byte]{}
			b.db.stores[op.id] = t
		case op.wipe && op.span.Lo == nil && op.span.Hi == nil:
			*t = tree[[]byte]{}
			continue
		}
		switch {
		case op.wipe:
			wipe(t, op.span)
		case op.value == nil:
			t.remove(op.key)
		default:
			t.set(op.key, op.value)
		}
	}
	b.ops = nil
	return nil
}

// wipe removes the keys of a span.
func wipe[V any](t *tree[V], span Range) {
	var doomed [][]byte
	for it := t.iter(span); it.next(); {
		doomed = append(doomed, it.key())
	}
	for _, key := range doomed {
		t.remove(key)
	}
}
