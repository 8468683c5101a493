package block

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/tidemill/tidemill/connect"
)

// deepest is how deep values and schemas may be nested.
const deepest = 128

// slab is how many values are allocated at once.
const slab = 1024

// errDamaged is the cause of all errors of a [Decoder].
var errDamaged = errors.New("the block is damaged")

// Decoder reads the blocks of one [Encoder], in their order. The zero value is ready. It
// belongs to one goroutine.
//
// What it returns points into the block, which the caller hands over.
type Decoder struct {
	// Reuse says that what the block before held is not needed any more when the next is
	// read, offsets and schemas apart: its memory is then used again.
	Reuse bool

	b          []byte
	at         int // How far b is read: an index, since moving a slice on is a write of a pointer.
	budget     int // How many parts there can still be, since each takes a byte.
	err        error
	schemas    []*connect.Schema
	names      []string
	partitions []connect.SourcePartition
	prev       previous
	values     arena[connect.Value]
	structs    arena[connect.Struct]
	entries    arena[connect.MapEntry]
	headers    arena[connect.Header]
}

// arena hands out parts of larger allocations.
type arena[T any] struct {
	free, all []T
	used      int
}

func (a *arena[T]) begin(reuse bool) {
	if !reuse {
		return
	}
	if a.used > len(a.all) {
		a.all = make([]T, a.used+a.used/8)
	}
	a.free, a.used = a.all, 0
}

func (a *arena[T]) take(n int) []T {
	a.used += n
	if n > len(a.free) {
		a.free = make([]T, max(n, slab))
	}
	part := a.free[:n:n]
	a.free = a.free[n:]
	return part
}

func (d *Decoder) begin(block []byte) {
	d.b, d.at, d.budget, d.err, d.prev = block, 0, len(block), nil, previous{}
	d.values.begin(d.Reuse)
	d.structs.begin(d.Reuse)
	d.entries.begin(d.Reuse)
	d.headers.begin(d.Reuse)
	if d.byte()&flagReset != 0 {
		d.schemas, d.names, d.partitions = nil, nil, nil
	}
}

// fail notes what is wrong; everything read from then on is empty.
func (d *Decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %s", errDamaged, fmt.Sprintf(format, args...))
	}
	d.at = len(d.b)
}

func (d *Decoder) left() int { return len(d.b) - d.at }

func (d *Decoder) byte() byte {
	if d.at >= len(d.b) {
		d.fail("it ends too early")
		return 0
	}
	c := d.b[d.at]
	d.at++
	return c
}

func (d *Decoder) uvarint() uint64 {
	if d.at < len(d.b) && d.b[d.at] < 0x80 {
		d.at++
		return uint64(d.b[d.at-1])
	}
	n, size := binary.Uvarint(d.b[d.at:])
	if size <= 0 {
		d.fail("it has no number where one should be")
		return 0
	}
	d.at += size
	return n
}

func (d *Decoder) varint() int64 {
	n, size := binary.Varint(d.b[d.at:])
	if size <= 0 {
		d.fail("it has no number where one should be")
		return 0
	}
	d.at += size
	return n
}

// count reads how many parts follow, each of which takes a byte at least.
func (d *Decoder) count() int {
	n := d.uvarint()
	if n > uint64(min(d.left(), d.budget)) {
		d.fail("it announces more than it holds")
		return 0
	}
	d.budget -= int(n)
	return int(n)
}

func (d *Decoder) bytes() []byte {
	n := d.count()
	part := d.b[d.at : d.at+n : d.at+n]
	d.at += n
	return part
}

// text returns a text of its own, which does not keep the block alive.
func (d *Decoder) text() string { return string(d.bytes()) }

func (d *Decoder) name() string {
	n := d.uvarint()
	if n == uint64(len(d.names)) {
		d.names = append(d.names, d.text())
	}
	if n >= uint64(len(d.names)) {
		d.fail("it speaks of an unknown name")
		return ""
	}
	return d.names[n]
}

func (d *Decoder) schema(depth int) *connect.Schema {
	n := d.uvarint()
	if n == 0 {
		return nil
	}
	if n <= uint64(len(d.schemas)) {
		return d.schemas[n-1]
	}
	if n != uint64(len(d.schemas))+1 || depth > deepest {
		d.fail("it speaks of an unknown schema")
		return nil
	}
	def := connect.SchemaDef{Kind: connect.Kind(d.byte()), Optional: d.byte() != 0, Name: d.text(), Version: int(d.varint()), Doc: d.text()}
	for range d.count() {
		def.Params = append(def.Params, connect.Param{Key: d.text(), Value: d.text()})
	}
	def.Default = d.value(depth + 1)
	for range d.count() {
		def.Fields = append(def.Fields, connect.Field{Name: d.text(), Schema: d.schema(depth + 1)})
	}
	def.Key, def.Elem = d.schema(depth+1), d.schema(depth+1)
	if d.err != nil {
		return nil
	}
	// A default outlives the block.
	def.Default = keep(def.Default)
	s, err := def.Build()
	if err != nil {
		d.fail("%s", err)
		return nil
	}
	d.schemas = append(d.schemas, s)
	return s
}

func (d *Decoder) value(depth int) connect.Value {
	switch k := connect.Kind(d.byte()); k {
	case connect.KindNull:
		return connect.Value{}
	case connect.KindInt8, connect.KindInt16, connect.KindInt32, connect.KindInt64:
		return connect.IntOf(k, d.varint())
	case connect.KindFloat32:
		if d.left() < 4 {
			d.fail("it ends within a number")
			return connect.Value{}
		}
		f := math.Float32frombits(binary.LittleEndian.Uint32(d.b[d.at:]))
		d.at += 4
		return connect.Float32(f)
	case connect.KindFloat64:
		if d.left() < 8 {
			d.fail("it ends within a number")
			return connect.Value{}
		}
		f := math.Float64frombits(binary.LittleEndian.Uint64(d.b[d.at:]))
		d.at += 8
		return connect.Float64(f)
	case connect.KindBool:
		return connect.Bool(d.byte() != 0)
	case connect.KindString:
		return connect.StringBytes(d.bytes())
	case connect.KindBytes:
		return connect.Bytes(d.bytes())
	case connect.KindArray, connect.KindMap, connect.KindStruct:
		if depth > deepest {
			d.fail("its values are nested too deep")
			return connect.Value{}
		}
		return d.nested(k, depth)
	default:
		d.fail("%s is no kind of value", k)
		return connect.Value{}
	}
}

func (d *Decoder) nested(k connect.Kind, depth int) connect.Value {
	switch k {
	case connect.KindArray:
		elems := d.values.take(d.count())
		for i := range elems {
			elems[i] = d.value(depth + 1)
		}
		return connect.Array(elems)
	case connect.KindMap:
		entries := d.entries.take(d.count())
		for i := range entries {
			entries[i] = connect.MapEntry{Key: d.value(depth + 1), Value: d.value(depth + 1)}
		}
		return connect.Map(entries)
	}
	s := d.schema(depth + 1)
	if s == nil || s.Kind() != connect.KindStruct || len(s.Fields()) > min(d.left(), d.budget) {
		d.fail("a struct has no schema")
		return connect.Value{}
	}
	d.budget -= len(s.Fields())
	fields := d.values.take(len(s.Fields()))
	for i := range fields {
		fields[i] = d.value(depth + 1)
	}
	st := &d.structs.take(1)[0]
	st.Lay(s, fields)
	return connect.StructValue(st)
}

// keep returns a copy of a value that shares no memory with the block.
func keep(v connect.Value) connect.Value {
	switch v.Kind() {
	case connect.KindString:
		return connect.String(strings.Clone(v.Str()))
	case connect.KindBytes:
		return connect.Bytes(append([]byte{}, v.Bytes()...))
	case connect.KindArray:
		elems := make([]connect.Value, v.Len())
		for i, elem := range v.Array() {
			elems[i] = keep(elem)
		}
		return connect.Array(elems)
	case connect.KindMap:
		entries := make([]connect.MapEntry, v.Len())
		for i, entry := range v.Map() {
			entries[i] = connect.MapEntry{Key: keep(entry.Key), Value: keep(entry.Value)}
		}
		return connect.Map(entries)
	case connect.KindStruct:
		st := v.Struct()
		fields := make([]connect.Value, len(st.Values()))
		for i, field := range st.Values() {
			fields[i] = keep(field)
		}
		return connect.StructValue(st.Schema().StructOf(fields))
	}
	return v
}

// ParsePartition reads a source partition from its JSON.
func ParsePartition(text string) (connect.SourcePartition, error) {
	var m map[string]any
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	if err := dec.Decode(&m); err != nil {
		return connect.SourcePartition{}, err
	}
	return connect.NewSourcePartition(m)
}
