package streams

import (
	"fmt"

	"github.com/tidemill/tidemill/streams/state"
)

// Processor is an operator written by hand. One is made for each task and is used
// by one goroutine at a time.
type Processor[K, V, K2, V2 any] interface {
	// Init hands over what the processor works with, once, before all records.
	Init(c *Context[K2, V2]) error
	// Process takes a record and forwards what comes of it. An error stops the
	// application; one of connect.ClassRecord says that the record is at fault.
	Process(r Record[K, V]) error
}

// Context is what a Processor gets from its task.
type Context[K, V any] struct {
	fan[K, V]
	t      *task
	stores map[string]*timedStore
	rec    Record[K, V]
}

// Store returns a store the processor was declared with. What is put there is
// cached, logged and restored like the rows of a table.
func (c *Context[K, V]) Store(name string) (state.Store, error) {
	s := c.stores[name]
	if s == nil {
		return nil, fmt.Errorf("streams: the processor was not declared with store %q", name)
	}
	return s, nil
}

// Forward passes a record on.
func (c *Context[K, V]) Forward(r Record[K, V]) error {
	c.rec = r
	return c.forward(&c.rec)
}

// Drop counts a record that cannot be used.
func (c *Context[K, V]) Drop() { c.t.env.metrics.Dropped.Add(1) }

// Partition is the partition the task reads.
func (c *Context[K, V]) Partition() int32 { return c.t.id.partition }

// StreamTime is the highest timestamp the task has met, in milliseconds, -1 before
// the first record.
func (c *Context[K, V]) StreamTime() int64 { return c.t.streamTime }

// Process passes the stream through processors that make makes, with stores of the
// given names.
func Process[K, V, K2, V2 any](s *Stream[K, V], make func() Processor[K, V, K2, V2], stores []string, opts ...With) *Stream[K2, V2] {
	n := s.b.add(&node{op: "process", parents: []*node{s.node}}, gather(opts))
	for _, name := range stores {
		s.b.keep(n, With{Store: name, Uncached: true})
	}
	n.build = func(t *task) (any, error) {
		c := &Context[K2, V2]{t: t, stores: map[string]*timedStore{}}
		for _, spec := range n.stores {
			c.stores[spec.name] = &timedStore{t: t, cache: t.stores[spec].cache}
		}
		inst := &processNode[K, V, K2, V2]{Context: c, p: make()}
		if err := inst.p.Init(c); err != nil {
			return nil, fmt.Errorf("starting processor %s: %w", n.name, err)
		}
		return inst, wire(t, s.node, receiver[K, V](inst))
	}
	return &Stream[K2, V2]{b: s.b, node: n, rekeyed: true}
}

type processNode[K, V, K2, V2 any] struct {
	*Context[K2, V2]
	p Processor[K, V, K2, V2]
}

func (n *processNode[K, V, K2, V2]) receive(r *Record[K, V]) error { return n.p.Process(*r) }

// timedStore gives a processor's rows the timestamp that every store keeps.
type timedStore struct {
	t     *task
	cache *state.Cache
	buf   []byte // scratch
}

func (s *timedStore) Get(dst, key []byte) (value []byte, found bool, err error) {
	start := len(dst)
	value, found, err = s.cache.Get(dst, key)
	if err != nil || !found {
		return dst, false, err
	}
	_, row := state.SplitTimed(value[start:])
	return append(value[:start], row...), true, nil
}

func (s *timedStore) Put(key, value []byte) error {
	s.buf = state.AppendTimed(s.buf[:0], s.t.streamTime, value)
	return s.cache.Put(key, s.buf)
}

func (s *timedStore) Delete(key []byte) error { return s.cache.Delete(key) }

func (s *timedStore) Scan(r state.Range) state.Iterator {
	return timedIterator{s.cache.Scan(r)}
}

type timedIterator struct{ state.Iterator }

func (i timedIterator) Value() []byte {
	_, row := state.SplitTimed(i.Iterator.Value())
	return row
}
