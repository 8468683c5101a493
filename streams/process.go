package streams

import (
	"fmt"
	"time"

	"github.com/tidemill/tidemill/streams/state"
)

// Context is what an operator written by hand gets from its task. It is used by the
// goroutine that runs the task, during the calls of the operator.
type Context[K, V any] struct {
	out *fan[K, V]
	t   *task
	n   *node
	rec Record[K, V]
	// lend, when it is set, gives a record the key that the operator must leave.
	lend func(*Record[K, V]) error
	// children are the operators that were asked for by name.
	children map[string]receiver[K, V]
}

// Process passes the stream through an operator written by hand. begin is called once
// for each task, before all records, and returns the function that takes the records
// and forwards what comes of them. A record is the function's to read during the call.
// An error of the function says that the record is at fault, and App.OnFault decides
// what becomes of it; without that the application stops. A connect.Error of another
// class than connect.ClassRecord says that it is not the record's fault: of
// connect.ClassRetriable, all since the last commit is tried again.
//
// With.Stores declares the operator's stores, which are restored after begin: it does not
// read them. What is in memory besides has to be given
// to [Context.Remember], since records are processed again after a failed commit.
func Process[K, V, K2, V2 any](s *Stream[K, V], begin func(*Context[K2, V2]) (func(*Record[K, V]) error, error), opts ...With) *Stream[K2, V2] {
	set := gather(opts)
	n := s.b.add(&node{op: orElse(set.Op, "process"), parents: []*node{s.node}}, set)
	s.b.declare(n, set)
	n.build = func(t *task) (any, error) {
		inst := &processNode[K, V, K2, V2]{fixed: set.FixedKey}
		c := &Context[K2, V2]{out: &inst.fan, t: t, n: n}
		if set.FixedKey {
			c.lend = lender[K, V, K2, V2](func() *Record[K, V] { return inst.in })
		}
		var err error
		if inst.take, err = begin(c); err != nil {
			return nil, fmt.Errorf("starting operator %s: %w", n.name, err)
		}
		return inst, wire(t, s.node, held[K, V](t, n, inst))
	}
	fixesKey[K, K2](s.b, n, set)
	return &Stream[K2, V2]{b: s.b, node: n, rekeyed: s.rekeyed || !set.SameKey && !set.FixedKey}
}

func orElse(name, other string) string {
	if name == "" {
		return other
	}
	return name
}

// declare gives n what an operator written by hand asks for.
func (b *Builder) declare(n *node, set With) {
	n.together, n.keyless = set.CoPartitioned, set.Keyless
	for _, spec := range set.Stores {
		b.keep(n, With{Store: spec.Name, Uncached: true}, spec)
	}
	n.stores = append(n.stores, set.reads...)
}

type processNode[K, V, K2, V2 any] struct {
	fan[K2, V2]
	take  func(*Record[K, V]) error
	fixed bool
	in    *Record[K, V] // what is being processed, when keys are fixed
}

func (n *processNode[K, V, K2, V2]) receive(r *Record[K, V]) error {
	if !n.fixed {
		return ofUser(n.take(r))
	}
	n.in = r
	err := n.take(r)
	n.in = nil
	return ofUser(err)
}

// Store returns a store the operator was declared with, by its name. What is put there
// is cached, logged and restored like the rows of a table. Keys of a store with a
// retention are local ones, as [state.Spec.AppendLocal], [state.NewWindows] and
// [state.NewSessions] make them.
func (c *Context[K, V]) Store(name string) (state.Store, error) {
	for _, spec := range c.n.stores {
		if spec.name == name && spec.owner == c.n && spec.layout.History == 0 {
			return &timedStore{t: c.t, st: c.t.stores[spec]}, nil
		}
	}
	return nil, fmt.Errorf("streams: operator %s was not declared with store %q, or it has a History", c.n.name, name)
}

// Versions returns a store with a History the operator was declared with, by its name.
// What is put there is cached, logged and restored.
func (c *Context[K, V]) Versions(name string) (*state.Versions, error) {
	for _, spec := range c.n.stores {
		if spec.name == name && spec.owner == c.n && spec.layout.History > 0 {
			return c.t.stores[spec].versions, nil
		}
	}
	return nil, fmt.Errorf("streams: operator %s was not declared with store %q that has a History", c.n.name, name)
}

// Changelog is the topic that repeats a store of the operator's, for which Serdes are
// made that depend on one.
func (c *Context[K, V]) Changelog(store string) string { return changelogName(c.t.env.app, store) }

// Forward passes a record on. It is read during the call.
func (c *Context[K, V]) Forward(r *Record[K, V]) error {
	r, err := c.lent(r)
	if err != nil {
		return err
	}
	return c.out.forward(r)
}

// lent returns the record with the key that it has to have.
func (c *Context[K, V]) lent(r *Record[K, V]) (*Record[K, V], error) {
	if c.lend == nil {
		return r, nil
	}
	c.rec = *r
	return &c.rec, c.lend(&c.rec)
}

// Drop counts a record that cannot be used.
func (c *Context[K, V]) Drop() { c.t.drop() }

// ApplicationID is the id of the application.
func (c *Context[K, V]) ApplicationID() string { return c.t.env.app }

// Name is the operator's name.
func (c *Context[K, V]) Name() string { return c.n.name }

// Partition is the partition the task reads.
func (c *Context[K, V]) Partition() int32 { return c.t.id.partition }

// StreamTime is the highest timestamp the task has met, in milliseconds, -1 before
// the first record. It is committed with the offsets, and goes on from there after a
// restart, in this process or another.
func (c *Context[K, V]) StreamTime() int64 { return c.t.streamTime }

// Now is the wall clock.
func (c *Context[K, V]) Now() time.Time { return c.t.env.now() }

// Remember keeps what the operator has in memory beside its stores. recall is called
// before the first record, and again after everything since the last commit was undone:
// it sets the memory to what save has appended before that commit, or to its beginning
// when note is nil. The note is logged and restored with the operator's first store that
// is not of the form state.Plain; without one there is an error.
func (c *Context[K, V]) Remember(recall func(note []byte) error, save func(dst []byte) []byte) error {
	for _, spec := range c.n.stores {
		if spec.owner == c.n && spec.layout.Form != state.Plain {
			m := &c.t.stores[spec].memory
			m.recall, m.save = recall, save
			return nil
		}
	}
	return fmt.Errorf("streams: operator %s has no store for its note", c.n.name)
}

// Flushing tells whether a record comes out of a cached table at a commit. Those come in
// the order in which rows were first changed, not in that of time: an operator that waits
// for a time waits until all of them are here, for Settle.
func (c *Context[K, V]) Flushing() bool { return c.t.flushing }

// Settle has fn called at every commit, when everything has come that belongs to it. The
// operator has a store, and what fn passes on is part of the commit too.
func (c *Context[K, V]) Settle(fn func() error) error {
	for _, spec := range c.n.stores {
		if spec.owner == c.n {
			c.t.stores[spec].settle = fn
			return nil
		}
	}
	return fmt.Errorf("streams: operator %s has no store to commit", c.n.name)
}

// running tells whose operator this is.
func (c *Context[K, V]) running() *task { return c.t }

// timedStore gives an operator's rows the timestamp that every store keeps.
type timedStore struct {
	t   *task
	st  *taskStore
	buf []byte // scratch
}

func (s *timedStore) Get(dst, key []byte) (value []byte, found bool, err error) {
	start := len(dst)
	value, found, err = s.st.cache.Get(dst, key)
	if err != nil || !found {
		return dst, false, ofState(err)
	}
	_, row := state.SplitTimed(value[start:])
	return append(value[:start], row...), true, nil
}

func (s *timedStore) Put(key, value []byte) error {
	s.st.met(key)
	s.buf = state.AppendTimed(s.buf[:0], s.t.streamTime, value)
	return ofState(s.st.cache.Put(key, s.buf))
}

func (s *timedStore) Delete(key []byte) error { return ofState(s.st.cache.Delete(key)) }

func (s *timedStore) Scan(r state.Range) state.Iterator {
	return timedIterator{s.st.cache.Scan(r)}
}

type timedIterator struct{ state.Iterator }

func (i timedIterator) Close() error { return ofState(i.Iterator.Close()) }

func (i timedIterator) Value() []byte {
	_, row := state.SplitTimed(i.Iterator.Value())
	return row
}
