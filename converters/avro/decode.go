package avro

import (
	"fmt"

	"github.com/tidemill/tidemill/connect"
)

// decoder is an Avro schema compiled to the Connect schema it is read as: how to
// read a value, and the values in it. It is immutable and may be used by any number
// of goroutines.
type decoder struct {
	op     op
	kind   connect.Kind
	union  bool  // An index stands before the value.
	null   int64 // The index of null, -1 for none.
	some   int64 // The index of the value's type.
	least  int   // The fewest bytes a value takes.
	schema *connect.Schema
	*parts
}

// parts are the decoders of the values in a value.
type parts struct {
	fields  []decoder // Of a struct; of a union, by index, without schema for null.
	key     *decoder
	elem    *decoder
	size    int
	symbols []connect.Value
	places  []int // Of a union's members in its struct.
}

// newDecoder compiles n, which is read as s.
func (m mapping) newDecoder(s *connect.Schema, n *node) (*decoder, error) {
	if s == nil {
		return &decoder{op: opAnything}, nil
	}
	c := decoding{mapping: m, done: map[pair]*parts{}}
	d, err := c.decoder(s, n)
	return &d, err
}

// decoding makes decoders.
type decoding struct {
	mapping
	done map[pair]*parts
}

func (c *decoding) decoder(s *connect.Schema, n *node) (decoder, error) {
	if n.typ != tUnion {
		return c.plain(s, n)
	}
	if len(n.types) == 1 && c.flatten {
		d, err := c.plain(s, n.types[0])
		d.union, d.null = true, -1
		d.least++
		return d, err
	}
	if null, some := nullable(n); some != nil {
		d, err := c.plain(s, some)
		d.union, d.null, d.some, d.least = true, int64(null), int64(1-null), 1
		return d, err
	}
	d := decoder{op: opUnion, kind: connect.KindStruct, schema: s, least: 1, parts: &parts{}}
	place := 0
	for _, t := range n.types {
		if t.typ == tNull {
			d.fields, d.places = append(d.fields, decoder{}), append(d.places, -1)
			continue
		}
		member, err := c.plain(s.Fields()[place].Schema, t)
		if err != nil {
			return d, err
		}
		d.fields, d.places = append(d.fields, member), append(d.places, place)
		place++
	}
	return d, nil
}

// leastBytes is the fewest bytes a value of a type takes.
var leastBytes = [...]int{tBoolean: 1, tInt: 1, tLong: 1, tFloat: 4, tDouble: 8, tBytes: 1, tString: 1, tEnum: 1, tArray: 1, tMap: 1, tUnion: 1}

// maxLeast is where counting the bytes of a record ends: nothing needs more.
const maxLeast = 1 << 16

// scalarOps are how types that are not made of others are read.
var scalarOps = [...]op{tBoolean: opBool, tInt: opInt, tLong: opInt, tFloat: opFloat, tDouble: opDouble, tBytes: opString, tString: opString}

func (c *decoding) plain(s *connect.Schema, n *node) (decoder, error) {
	d := decoder{kind: s.Kind(), schema: s, null: -1, parts: &parts{}}
	if int(n.typ) < len(leastBytes) {
		d.least = leastBytes[n.typ]
	}
	var err error
	switch n.typ {
	case tFixed:
		d.op, d.size, d.least = opFixed, n.size, n.size
	case tEnum:
		d.op = opEnum
		for _, symbol := range n.symbols {
			d.symbols = append(d.symbols, connect.String(symbol))
		}
	case tArray:
		if s.Kind() == connect.KindMap {
			d.op = opEntries
			err = c.entries(&d, s, n.elem)
		} else {
			d.op = opArray
			d.elem, err = c.child(s.Elem(), n.elem)
		}
	case tMap:
		d.op = opMap
		d.elem, err = c.child(s.Elem(), n.elem)
	case tRecord:
		d.op = opStruct
		d.parts, err = c.record(s, n)
		for i := range d.fields {
			d.least = min(d.least+d.fields[i].least, maxLeast)
		}
	default:
		if n.typ == tNull || int(n.typ) >= len(scalarOps) {
			return d, fmt.Errorf("%s cannot be read as %s", n.typ, s)
		}
		d.op = scalarOps[n.typ]
	}
	return d, err
}

func (c *decoding) child(s *connect.Schema, n *node) (*decoder, error) {
	d, err := c.decoder(s, n)
	return &d, err
}

func (c *decoding) entries(d *decoder, s *connect.Schema, entry *node) (err error) {
	if d.key, err = c.child(s.Key(), entry.fields[0].node); err == nil {
		d.elem, err = c.child(s.Elem(), entry.fields[1].node)
	}
	return err
}

func (c *decoding) record(s *connect.Schema, n *node) (*parts, error) {
	key := pair{s, n}
	if p := c.done[key]; p != nil {
		return p, nil
	}
	p := &parts{fields: make([]decoder, len(n.fields))}
	for i, f := range n.fields {
		var err error
		if p.fields[i], err = c.decoder(s.Fields()[i].Schema, f.node); err != nil {
			return nil, fmt.Errorf("field %s of %s: %w", f.name, n.name, err)
		}
	}
	c.done[key] = p
	return p, nil
}
