package avro

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"unicode/utf8"

	"github.com/tidemill/tidemill/connect"
)

// reader reads values from one record. What it returns shares the record's bytes.
//
// A record cannot make it use more memory than a small multiple of its own size:
// lengths are compared with what is left before anything is made, and the number of
// values in all is bounded, since there are values of no bytes.
type reader struct {
	data   []byte
	at     int
	budget int // Of values still to be made.
	err    error
	*slab
}

// slab gives out memory for values in large pieces.
type slab struct {
	values  []connect.Value
	entries []connect.MapEntry
	structs []connect.Struct
	more    bool // whether values come from another piece than the first
}

const slabSize = 256

// lent is a slab that gives out the same memory again.
type lent struct {
	slab
	whole slab // what it began with
}

// again takes back everything that was given out.
func (l *lent) again() *slab {
	if l.whole.values == nil {
		l.whole = slab{
			values: make([]connect.Value, slabSize), entries: make([]connect.MapEntry, slabSize/2), structs: make([]connect.Struct, slabSize/8),
		}
	}
	// Values are given out empty. When they did not do, all of them were given out.
	used := len(l.whole.values) - len(l.values)
	if l.more || used < 0 {
		used = len(l.whole.values)
	}
	clear(l.whole.values[:used])
	l.slab = l.whole
	return &l.slab
}

var (
	errShort  = errors.New("it ends in the middle of a value")
	errVarint = errors.New("a number has more than 64 bits")
	errCount  = errors.New("it announces more values than it can hold")
)

func (s *slab) cutValues(n int) []connect.Value {
	if n > len(s.values) {
		if n > slabSize/4 {
			return make([]connect.Value, n)
		}
		s.values, s.more = make([]connect.Value, slabSize), true
	}
	v := s.values[:n:n]
	s.values = s.values[n:]
	return v
}

func (s *slab) cutEntries(n int) []connect.MapEntry {
	if n > len(s.entries) {
		if n > slabSize/8 {
			return make([]connect.MapEntry, n)
		}
		s.entries = make([]connect.MapEntry, slabSize/2)
	}
	v := s.entries[:n:n]
	s.entries = s.entries[n:]
	return v
}

func (s *slab) row(schema *connect.Schema, values []connect.Value) connect.Value {
	if len(s.structs) == 0 {
		s.structs = make([]connect.Struct, slabSize/8)
	}
	st := &s.structs[0]
	s.structs = s.structs[1:]
	st.Lay(schema, values)
	return connect.StructValue(st)
}

// read reads one whole record with d.
func (s *slab) read(d *decoder, data []byte) (connect.Value, error) {
	r := reader{data: data, slab: s, budget: 4*len(data) + 4096}
	v := r.value(d)
	if r.err == nil && r.at < len(data) {
		return connect.Value{}, fmt.Errorf("%d bytes follow its end", len(data)-r.at)
	}
	if r.err != nil {
		return connect.Value{}, r.err
	}
	return v, nil
}

func (r *reader) fail(err error) connect.Value {
	if r.err == nil {
		r.err = err
	}
	r.at = len(r.data)
	return connect.Value{}
}

// long reads a zigzag number of variable length.
func (r *reader) long() int64 {
	if r.at < len(r.data) && r.data[r.at] < 0x80 {
		b := r.data[r.at]
		r.at++
		return int64(b>>1) ^ -int64(b&1)
	}
	u, n := binary.Uvarint(r.data[r.at:])
	if n <= 0 {
		if n == 0 {
			r.fail(errShort)
		} else {
			r.fail(errVarint)
		}
		return 0
	}
	r.at += n
	return int64(u>>1) ^ -int64(u&1)
}

// bytes reads n bytes.
func (r *reader) bytes(n int64) []byte {
	if n < 0 || n > int64(len(r.data)-r.at) {
		r.fail(errShort)
		return nil
	}
	b := r.data[r.at : r.at+int(n) : r.at+int(n)]
	r.at += int(n)
	return b
}

// spend takes n values off the budget.
func (r *reader) spend(n int) bool {
	if r.budget -= n; r.budget < 0 {
		r.fail(errCount)
		return false
	}
	return true
}

// value reads a value.
func (r *reader) value(d *decoder) connect.Value {
	if d.union {
		switch i := r.long(); {
		case d.null >= 0 && i == d.null && r.err == nil:
			return connect.Value{}
		case i != d.some:
			return r.fail(fmt.Errorf("a union of 2 types has none of index %d", i))
		}
	}
	return r.present(d)
}

// present reads a value after the index of its type.
func (r *reader) present(d *decoder) connect.Value {
	switch d.op {
	case opInt:
		return r.integer(d.kind)
	case opString:
		b := r.bytes(r.long())
		if d.kind == connect.KindBytes {
			return connect.Bytes(b)
		}
		return r.text(b)
	case opBool:
		b := r.bytes(1)
		if b != nil && b[0] > 1 {
			return r.fail(errors.New("the byte of a boolean is neither 0 nor 1"))
		}
		return connect.Bool(b != nil && b[0] == 1)
	case opFloat:
		if b := r.bytes(4); b != nil {
			return connect.Float32(math.Float32frombits(binary.LittleEndian.Uint32(b)))
		}
	case opDouble:
		if b := r.bytes(8); b != nil {
			return connect.Float64(math.Float64frombits(binary.LittleEndian.Uint64(b)))
		}
	case opStruct:
		return r.row(d)
	default:
		return r.rare(d)
	}
	return connect.Value{}
}

func (r *reader) integer(k connect.Kind) connect.Value {
	n := r.long()
	if k == connect.KindInt64 {
		return connect.Int64(n)
	}
	v := connect.IntOf(k, n)
	if v.Int() != n {
		return r.fail(fmt.Errorf("the number %d does not fit %v", n, k))
	}
	return v
}

func (r *reader) text(b []byte) connect.Value {
	for _, c := range b {
		if c >= utf8.RuneSelf {
			if !utf8.Valid(b) {
				return r.fail(errors.New("a string is no UTF-8"))
			}
			break
		}
	}
	return connect.StringBytes(b)
}

func (r *reader) row(d *decoder) connect.Value {
	if !r.spend(len(d.fields)) {
		return connect.Value{}
	}
	values := r.cutValues(len(d.fields))
	for i := range d.fields {
		f := &d.fields[i]
		// Most fields may be absent; the index that says whether one is, is one byte.
		if f.union && r.at+1 < len(r.data) {
			b := r.data[r.at]
			if b == byte(f.null)<<1 && f.null >= 0 {
				r.at++
				continue
			}
			if b == byte(f.some)<<1 && f.op != opUnion {
				r.at++
				values[i] = r.present(f)
				continue
			}
		}
		values[i] = r.value(f)
	}
	if r.err != nil {
		return connect.Value{}
	}
	return r.slab.row(d.schema, values)
}

func (r *reader) rare(d *decoder) connect.Value {
	switch d.op {
	case opArray:
		return r.array(d)
	case opMap, opEntries:
		return r.entries(d)
	case opFixed:
		return connect.Bytes(r.bytes(int64(d.size)))
	case opEnum:
		i := r.long()
		if i < 0 || i >= int64(len(d.symbols)) {
			return r.fail(fmt.Errorf("an enum of %d symbols has none of index %d", len(d.symbols), i))
		}
		return d.symbols[i]
	case opUnion:
		return r.union(d)
	}
	return r.anything(0)
}

// union reads a value of one of several types into the field of its struct.
func (r *reader) union(d *decoder) connect.Value {
	i := r.long()
	if i < 0 || i >= int64(len(d.fields)) {
		return r.fail(fmt.Errorf("a union of %d types has none of index %d", len(d.fields), i))
	}
	place := d.places[i]
	if r.err != nil || place < 0 || !r.spend(1+len(d.fields)/16) {
		return connect.Value{}
	}
	values := r.cutValues(len(d.schema.Fields()))
	values[place] = r.value(&d.fields[i])
	if r.err != nil {
		return connect.Value{}
	}
	return r.slab.row(d.schema, values)
}

// block reads the head of a block of elements of at least so many bytes each, and
// returns their number; 0 is the end. A negative number is followed by the block's
// length in bytes.
func (r *reader) block(least int) int {
	n := r.long()
	if n < 0 {
		if size := r.long(); size < 0 || size > int64(len(r.data)-r.at) {
			r.fail(errShort)
			return 0
		}
		n = -n
	}
	left := len(r.data) - r.at
	if n < 0 || n > int64(r.budget) || least > 0 && n > int64(left/least) {
		r.fail(errCount)
		return 0
	}
	r.budget -= int(n)
	return int(n)
}

func (r *reader) array(d *decoder) connect.Value {
	var all []connect.Value
	for n := r.block(d.elem.least); n > 0; n = r.block(d.elem.least) {
		part := r.cutValues(n)
		for i := range part {
			part[i] = r.value(d.elem)
		}
		if r.err != nil {
			return connect.Value{}
		}
		if all == nil {
			all = part
		} else {
			all = append(all, part...)
		}
	}
	return connect.Array(all)
}

func (r *reader) entries(d *decoder) connect.Value {
	least := d.elem.least + 1
	if d.op == opEntries {
		least += d.key.least - 1
	}
	var all []connect.MapEntry
	for n := r.block(least); n > 0; n = r.block(least) {
		part := r.cutEntries(n)
		for i := range part {
			if d.op == opMap {
				part[i].Key = r.text(r.bytes(r.long()))
			} else {
				part[i].Key = r.value(d.key)
			}
			part[i].Value = r.value(d.elem)
		}
		if r.err != nil {
			return connect.Value{}
		}
		if all == nil {
			all = part
		} else {
			all = append(all, part...)
		}
	}
	return connect.Map(all)
}

// anything reads a value without a schema: the one field that is not null.
func (r *reader) anything(depth int) connect.Value {
	if depth > maxAnyDepth {
		return r.fail(fmt.Errorf("values stand in one another more than %d deep", maxAnyDepth))
	}
	var v connect.Value
	for field := range anyFields {
		switch i := r.long(); {
		case i == 1 && r.err == nil:
			v = r.anyField(field, depth)
		case i != 0:
			return r.fail(fmt.Errorf("a union of 2 types has none of index %d", i))
		}
	}
	return v
}

func (r *reader) anyField(field, depth int) connect.Value {
	switch field {
	case anyBoolean:
		return r.value(&decoder{op: opBool})
	case anyBytes:
		return connect.Bytes(r.bytes(r.long()))
	case anyDouble:
		return r.value(&decoder{op: opDouble})
	case anyFloat:
		return r.value(&decoder{op: opFloat})
	case anyInt:
		return r.integer(connect.KindInt32)
	case anyLong:
		return connect.Int64(r.long())
	case anyString:
		return r.text(r.bytes(r.long()))
	case anyArray:
		var all []connect.Value
		for n := r.block(anyFields); n > 0; n = r.block(anyFields) {
			for range n {
				all = append(all, r.anything(depth+1))
			}
		}
		return connect.Array(all)
	}
	var all []connect.MapEntry
	for n := r.block(2 * anyFields); n > 0; n = r.block(2 * anyFields) {
		for range n {
			all = append(all, connect.MapEntry{Key: r.anything(depth + 1), Value: r.anything(depth + 1)})
		}
	}
	return connect.Map(all)
}
