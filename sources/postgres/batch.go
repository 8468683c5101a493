package postgres

import (
	"slices"
	"sync"

	"github.com/tidemill/tidemill/connect"
)

// The sizes of an arena's chunks: the first is small, because an idle database
// makes batches of one row, and each further one is larger, up to a limit that
// keeps a forgotten row from holding much memory alive.
const (
	firstBytes, mostBytes     = 1 << 10, 256 << 10
	firstValues, mostValues   = 64, 16 << 10
	firstStructs, mostStructs = 8, 2 << 10
	valueSize, structSize     = 24, 40
)

// arena is the memory that the rows of one batch share. What it gave out belongs to
// the batch's records, until reset takes all of it back.
type arena struct {
	bytes   slab[byte]
	values  slab[connect.Value]
	structs slab[connect.Struct]
	size    int       // Bytes taken so far.
	floats  []float64 // For the numbers of one shape while it is read.
}

// slab gives out pieces of chunks.
type slab[T any] struct {
	chunk []T   // The one that is being filled.
	full  [][]T // Those filled before.
	spare [][]T // Empty ones, from before the last reset.
	size  int   // Of the last chunk that was made.
	used  bool  // The chunk holds what was in it before the last reset.
	large bool  // Some of the memory is not kept when it is taken back.
}

// grow begins a chunk with room for n.
func (s *slab[T]) grow(n, first, most int) {
	if cap(s.chunk) > 0 {
		s.full = append(s.full, s.chunk)
	}
	for last := len(s.spare) - 1; last >= 0; last-- {
		spare := s.spare[last]
		s.spare = s.spare[:last]
		if cap(spare) >= n {
			s.chunk, s.used = spare, true
			return
		}
		s.large = true
	}
	s.size = min(max(s.size*2, first), most)
	s.chunk, s.used = make([]T, 0, max(n, s.size)), false
	s.large = s.large || n > most
}

// reset takes back everything, and tells whether some of it is not kept: chunks are kept
// for what comes next, unless they are very large, or little of them was used: then a
// burst has passed.
func (s *slab[T]) reset(most int) (dropped bool) {
	dropped, s.large = s.large, false
	used := 0
	all := append(s.full, s.chunk)
	for i, c := range all {
		used += len(c)
		all[i] = nil
		if cap(c) > 0 && cap(c) <= most {
			s.spare = append(s.spare, c[:0])
		}
	}
	s.full, s.chunk = all[:0], nil
	held := 0
	for _, c := range s.spare {
		held += cap(c)
	}
	if held > most && used < held/4 {
		clear(s.spare)
		s.spare, s.size, dropped = s.spare[:0], 0, true
	}
	return dropped
}

// wipe clears the memory that was taken back.
func (s *slab[T]) wipe() {
	for _, c := range s.spare {
		clear(c[:cap(c)])
	}
}

// reset takes back all the memory that was given out. What is in it stays there until it
// is used again: clearing it would be a good part of a row's work. But when some of the
// memory is let go, nothing may point there; reset then returns true.
func (a *arena) reset() (dropped bool) {
	for _, d := range []bool{a.bytes.reset(mostBytes), a.values.reset(mostValues), a.structs.reset(mostStructs)} {
		dropped = dropped || d
	}
	if dropped {
		a.values.wipe()
		a.structs.wipe()
	}
	a.size = 0
	return dropped
}

// tail returns an empty slice with room for n bytes. What is appended to it within
// that room is kept by keep.
func (a *arena) tail(n int) []byte {
	if b := a.bytes.chunk; cap(b)-len(b) < n {
		a.bytes.grow(n, firstBytes, mostBytes)
	}
	b := a.bytes.chunk
	return b[len(b):len(b)]
}

// keep makes b, appended to the last tail, permanent and returns it. What has
// outgrown its room has moved elsewhere and needs no keeping.
func (a *arena) keep(b []byte) []byte {
	a.size += len(b)
	if n := len(a.bytes.chunk) + len(b); n <= cap(a.bytes.chunk) {
		a.bytes.chunk = a.bytes.chunk[:n]
	} else {
		a.bytes.large = true
	}
	return b[:len(b):len(b)]
}

// copy returns a copy of b.
func (a *arena) copy(b []byte) []byte {
	return a.keep(append(a.tail(len(b)), b...))
}

// text returns a string value that holds a copy of b.
func (a *arena) text(b []byte) connect.Value { return connect.StringBytes(a.copy(b)) }

// row returns n null values.
func (a *arena) row(n int) []connect.Value {
	values := a.room(n)
	if a.values.used {
		clear(values)
	}
	return values
}

// room returns n values that may be anything: the caller sets all of them.
func (a *arena) room(n int) []connect.Value {
	if v := a.values.chunk; cap(v)-len(v) < n {
		a.values.grow(n, firstValues, mostValues)
	}
	from := len(a.values.chunk)
	a.values.chunk = a.values.chunk[:from+n]
	a.size += n * valueSize
	return a.values.chunk[from : from+n : from+n]
}

// structure returns a struct value over values.
func (a *arena) structure(s *connect.Schema, values []connect.Value) connect.Value {
	if len(a.structs.chunk) == cap(a.structs.chunk) {
		a.structs.grow(1, firstStructs, mostStructs)
	}
	n := len(a.structs.chunk)
	a.structs.chunk = a.structs.chunk[:n+1]
	a.size += structSize
	st := &a.structs.chunk[n]
	st.Lay(s, values)
	return connect.StructValue(st)
}

// batch is a list of records on its way to Poll, and their memory.
type batch struct {
	arena
	records   []connect.SourceRecord
	positions []position
	counted   int // Bytes that were counted as waiting for the worker.
	// parent is the batch in whose memory the first records of this one are; lends tells
	// that a later batch's are in this one's.
	parent *batch
	lends  bool
}

// next returns the place of one more record, which holds anything: the caller sets all
// of it.
func (b *batch) next() *connect.SourceRecord {
	n := len(b.records)
	b.records = slices.Grow(b.records, 1)[:n+1]
	return &b.records[n]
}

// pool keeps batches that the worker is done with, for their memory: on a busy stream
// the collector would otherwise work as much as the stream.
type pool struct {
	mu   sync.Mutex
	free []*batch // The last one was used last, so that its memory is near.
	most int
}

// newPool returns a pool of up to n batches.
func newPool(n int) *pool { return &pool{most: n} }

// take returns an empty batch with room for about n records.
func (p *pool) take(n int) *batch {
	if p != nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		if last := len(p.free) - 1; last >= 0 {
			b := p.free[last]
			p.free[last], p.free = nil, p.free[:last]
			return b
		}
	}
	return &batch{records: make([]connect.SourceRecord, 0, max(1, n))}
}

// release takes back a batch that was handed over, once nobody looks at its records
// any more. Batches are released in the order in which they were handed over, so when
// the first records of one have been seen, so has all of its parent.
func (p *pool) release(b *batch) {
	parent := b.parent
	b.parent = nil
	if !b.lends {
		p.put(b)
	}
	for parent != nil {
		next := parent.parent
		p.put(parent)
		parent = next
	}
}

func (p *pool) put(b *batch) {
	if poisoned {
		b.poison()
	}
	if b.arena.reset() {
		clear(b.records[:cap(b.records)])
	}
	// Positions live on until they are stored.
	b.records, b.positions, b.parent, b.lends, b.counted = b.records[:0], nil, nil, false, 0
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.free) < p.most {
		p.free = append(p.free, b)
	}
}

// poison writes nonsense over the memory of a batch, so that a test sees who still
// looks at it.
func (b *batch) poison() {
	for _, c := range slices.Concat(b.arena.bytes.full, [][]byte{b.arena.bytes.chunk}) {
		for i := range c {
			c[i] = '?'
		}
	}
	for _, c := range slices.Concat(b.values.full, [][]connect.Value{b.values.chunk}) {
		for i := range c {
			c[i] = connect.String("this record was given back")
		}
	}
}

// recordSize is what a record costs apart from its values, in bytes.
const recordSize = 280

// bytes returns about how much memory the batch holds.
func (b *batch) bytes() int { return b.size + len(b.records)*recordSize }

// at returns a copy of p that lives as long as the batch.
func (b *batch) at(p position) *position {
	if len(b.positions) == cap(b.positions) {
		b.positions = make([]position, 0, min(max(2*cap(b.positions), 8), 2048))
	}
	b.positions = append(b.positions, p)
	return &b.positions[len(b.positions)-1]
}
