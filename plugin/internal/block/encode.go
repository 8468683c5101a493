package block

import (
	"encoding/binary"
	"math"

	"github.com/tidemill/tidemill/connect"
)

// tableLimit is how many schemas, names or partitions are numbered before numbering
// begins anew: a stream that meets new ones all the time must not remember them all.
const tableLimit = 1 << 14

// flagReset in a block's first byte makes the reader forget all numbers.
const flagReset = 1

// Encoder writes blocks. The zero value is ready. It belongs to one goroutine.
type Encoder struct {
	b          []byte
	schemas    map[*connect.Schema]uint64
	names      map[string]uint64
	partitions map[connect.SourcePartition]uint64
	prev       previous
	last       int // The size of the block before, which the next is likely to have.
}

// previous is what the record before had, which the next often has too.
type previous struct {
	topic            string
	key, value       *connect.Schema
	partition        int32
	timestamp        int64
	sourcePartition  connect.SourcePartition
	offsetText       []byte
	offset           int64
	hasSource, spare bool
}

// begin starts a block.
func (e *Encoder) begin() {
	e.b = make([]byte, 0, e.last+e.last/8+512)
	e.prev = previous{}
	var flags byte
	if e.schemas == nil || max(len(e.schemas), len(e.names), len(e.partitions)) > tableLimit {
		e.schemas, e.names, e.partitions = map[*connect.Schema]uint64{}, map[string]uint64{}, map[connect.SourcePartition]uint64{}
		flags |= flagReset
	}
	e.b = append(e.b, flags)
}

// end returns the block, which belongs to the caller.
func (e *Encoder) end() []byte {
	b := e.b
	e.b, e.last = nil, len(b)
	return b
}

func (e *Encoder) uvarint(n uint64) { e.b = binary.AppendUvarint(e.b, n) }
func (e *Encoder) varint(n int64)   { e.b = binary.AppendVarint(e.b, n) }

func (e *Encoder) text(s string) {
	e.uvarint(uint64(len(s)))
	e.b = append(e.b, s...)
}

func (e *Encoder) bytes(b []byte) {
	e.uvarint(uint64(len(b)))
	e.b = append(e.b, b...)
}

// name writes a text that is likely to come again: its number, or, the first time, the
// next number and the text.
func (e *Encoder) name(s string) {
	if n, known := e.names[s]; known {
		e.uvarint(n)
		return
	}
	n := uint64(len(e.names))
	e.names[s] = n
	e.uvarint(n)
	e.text(s)
}

// schema writes 0 for none, a schema's number, or, the first time, the next number and
// what it says. It is numbered after its parts.
func (e *Encoder) schema(s *connect.Schema) {
	if s == nil {
		e.uvarint(0)
		return
	}
	if n, known := e.schemas[s]; known {
		e.uvarint(n)
		return
	}
	e.uvarint(uint64(len(e.schemas)) + 1)
	d := s.Def()
	optional := byte(0)
	if d.Optional {
		optional = 1
	}
	e.b = append(e.b, byte(d.Kind), optional)
	e.text(d.Name)
	e.varint(int64(d.Version))
	e.text(d.Doc)
	e.uvarint(uint64(len(d.Params)))
	for _, p := range d.Params {
		e.text(p.Key)
		e.text(p.Value)
	}
	e.value(d.Default)
	e.uvarint(uint64(len(d.Fields)))
	for _, f := range d.Fields {
		e.text(f.Name)
		e.schema(f.Schema)
	}
	e.schema(d.Key)
	e.schema(d.Elem)
	e.schemas[s] = uint64(len(e.schemas)) + 1
}

// value writes a value's kind and what it holds.
func (e *Encoder) value(v connect.Value) {
	k := v.Kind()
	e.b = append(e.b, byte(k))
	switch k {
	case connect.KindNull:
	case connect.KindInt8, connect.KindInt16, connect.KindInt32, connect.KindInt64:
		e.varint(v.Int())
	case connect.KindFloat32:
		e.b = binary.LittleEndian.AppendUint32(e.b, math.Float32bits(float32(v.Float())))
	case connect.KindFloat64:
		e.b = binary.LittleEndian.AppendUint64(e.b, math.Float64bits(v.Float()))
	case connect.KindBool:
		if v.Bool() {
			e.b = append(e.b, 1)
		} else {
			e.b = append(e.b, 0)
		}
	case connect.KindString:
		e.text(v.Str())
	case connect.KindBytes:
		e.bytes(v.Bytes())
	default:
		e.nested(v)
	}
}

// nested writes values that hold others.
func (e *Encoder) nested(v connect.Value) {
	switch v.Kind() {
	case connect.KindArray:
		e.uvarint(uint64(v.Len()))
		for _, elem := range v.Array() {
			e.value(elem)
		}
	case connect.KindMap:
		e.uvarint(uint64(v.Len()))
		for _, entry := range v.Map() {
			e.value(entry.Key)
			e.value(entry.Value)
		}
	case connect.KindStruct:
		st := v.Struct()
		e.schema(st.Schema())
		for _, field := range st.Values() {
			e.value(field)
		}
	}
}
