package postgres

import (
	"github.com/tidemill/tidemill/connect"
)

// The sizes of an arena's chunks: the first is small, because an idle database
// makes batches of one row, and each further one is larger, up to a limit that
// keeps a forgotten row from holding much memory alive.
const (
	firstBytes, mostBytes     = 1 << 10, 256 << 10
	firstValues, mostValues   = 64, 16 << 10
	firstStructs, mostStructs = 8, 2 << 10
	valueSize, structSize     = 24, 32
)

// arena is the memory that the rows of one batch share. What it gave out belongs
// to the batch's records; it is never used again.
type arena struct {
	bytes   []byte
	values  []connect.Value
	structs []connect.Struct
	nextB   int
	nextV   int
	nextS   int
	size    int // Bytes taken so far.
	spentB  int // In the chunks before the present ones.
	spentV  int
	spentS  int
	floats  []float64 // For the numbers of one shape while it is read.
}

// follow prepares a for as much as a full arena has given out, in one chunk of each
// kind and small ones for what is more; for most bytes at most, since a batch may be
// full of one large value.
func (a *arena) follow(full *arena, most int) {
	const spare, step = 128, 64
	b, v, s := min(most, full.spentB+len(full.bytes)), full.spentV+len(full.values), full.spentS+len(full.structs)
	a.bytes = make([]byte, 0, b+b/spare)
	a.values, a.structs = make([]connect.Value, 0, v+v/spare), make([]connect.Struct, 0, s+s/spare)
	a.nextB, a.nextV, a.nextS = b/step, v/step, s/step
}

// tail returns an empty slice with room for n bytes. What is appended to it within
// that room is kept by keep.
func (a *arena) tail(n int) []byte {
	if cap(a.bytes)-len(a.bytes) < n {
		a.spentB += len(a.bytes)
		a.nextB = min(max(a.nextB*2, firstBytes), mostBytes)
		a.bytes = make([]byte, 0, max(n, a.nextB))
	}
	return a.bytes[len(a.bytes):len(a.bytes)]
}

// keep makes b, appended to the last tail, permanent and returns it. What has
// outgrown its room has moved elsewhere and needs no keeping.
func (a *arena) keep(b []byte) []byte {
	a.size += len(b)
	if n := len(a.bytes) + len(b); n <= cap(a.bytes) {
		a.bytes = a.bytes[:n]
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
	if cap(a.values)-len(a.values) < n {
		a.spentV += len(a.values)
		a.nextV = min(max(a.nextV*2, firstValues), mostValues)
		a.values = make([]connect.Value, 0, max(n, a.nextV))
	}
	from := len(a.values)
	a.values = a.values[:from+n]
	a.size += n * valueSize
	return a.values[from : from+n : from+n]
}

// structure returns a struct value over values.
func (a *arena) structure(s *connect.Schema, values []connect.Value) connect.Value {
	if len(a.structs) == cap(a.structs) {
		a.spentS += len(a.structs)
		a.nextS = min(max(a.nextS*2, firstStructs), mostStructs)
		a.structs = make([]connect.Struct, 0, a.nextS)
	}
	a.structs = append(a.structs, s.MakeStruct(values))
	a.size += structSize
	return connect.StructValue(&a.structs[len(a.structs)-1])
}

// batch is a list of records on its way to Poll, and their memory.
type batch struct {
	arena
	records   []connect.SourceRecord
	positions []position
	counted   int // Bytes that were counted as waiting for the worker.
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
