package avro

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/tidemill/tidemill/connect"
)

// op is what an encoder does with a value.
type op uint8

const (
	opInt    op = iota // Integers of all widths: zigzag variable length.
	opString           // Strings and bytes: length and content. What comes after it is written by calls.
	opBool
	opFloat
	opDouble
	opStruct
	opArray
	opMap     // An Avro map.
	opEntries // An array of key-value records.
	opFixed   // Bytes of one length.
	opPadded  // A decimal widened to one length.
	opEnum
	opUnion    // A struct of which one field is there.
	opAnything // A value without a schema.
)

// encoder is a Connect schema compiled against the Avro schema it is written in:
// what to do with a value, and with the values in it. It is immutable and may be
// used by any number of goroutines.
type encoder struct {
	op    op
	kind  connect.Kind // What the value must hold.
	union bool         // Null is allowed, and a union's index stands before the value.
	null  byte         // The index of null, zigzag encoded.
	some  byte         // The index of the value's type, zigzag encoded.
	index int          // The value's place in its struct; -1 for a default that has none.
	def   connect.Value
	*detail
}

// detail is what only some encoders need.
type detail struct {
	name     string // Of the field, for errors.
	schema   *connect.Schema
	required *connect.Schema
	fields   []encoder
	key      *encoder
	elem     *encoder
	size     int
	symbols  map[string]int64
	raw      []byte
	frozen   *atomic.Pointer[frozen] // Of a struct: the frozen one that was written last.
}

// frozen is a struct that does not change any more, and how it was written.
type frozen struct {
	st   *connect.Struct
	text []byte
}

// maxUnion is the number of types in a union whose index is one byte.
const maxUnion = 64

var (
	errMismatch = errors.New("the types differ")
	errWide     = fmt.Errorf("a union has more than %d types", maxUnion)
)

// compiler makes encoders.
type compiler struct {
	mapping
	done map[pair]*detail
}

// pair is a struct and the record it is written as.
type pair struct {
	s *connect.Schema
	n *node
}

// newEncoder compiles s to be written as n. They need not have been made from each
// other: fields are found by name, integers and floats may be written wider, fields
// only n has are written as their defaults. Everything in s must have its place in
// n.
func (m mapping) newEncoder(s *connect.Schema, n *node) (*encoder, error) {
	if s == nil {
		if !isAnything(n) {
			return nil, errMismatch
		}
		return &encoder{op: opAnything, kind: noKind}, nil
	}
	c := compiler{mapping: m, done: map[pair]*detail{}}
	e, err := c.encoder(s, n)
	return &e, err
}

func (c *compiler) encoder(s *connect.Schema, n *node) (encoder, error) {
	if n.typ != tUnion {
		e, err := c.plain(s, n)
		if err == nil && !c.ignoreDefaults {
			e.def = s.Default()
		}
		return e, err
	}
	if len(n.types) > maxUnion {
		return encoder{}, errWide
	}
	if isUnion(s) {
		return c.unionStruct(s, n)
	}
	err := errMismatch
	for i, t := range n.types {
		if t.typ == tNull {
			continue
		}
		var e encoder
		if e, err = c.plain(s, t); err == nil {
			e.some = byte(i) << 1
			if !c.ignoreDefaults {
				e.def = s.Default()
			}
			return e, e.allowNull(s, n)
		}
	}
	return encoder{}, err
}

// allowNull sets where null stands in the union, if it does.
func (e *encoder) allowNull(s *connect.Schema, n *node) error {
	e.union, e.null = true, noNull
	for i, t := range n.types {
		if t.typ == tNull {
			e.null = byte(i) << 1
		}
	}
	if e.null == noNull && s.Optional() && s.Default().IsNull() {
		return fmt.Errorf("%s may be absent, but the union has no null", s)
	}
	return nil
}

// noKind is a kind no value has, of encoders that do not look at it.
const noKind connect.Kind = 0xff

// noNull stands for the index of null in a union without it: it is no index.
const noNull = 0xff

// plain compiles s against a type that is no union.
func (c *compiler) plain(s *connect.Schema, n *node) (encoder, error) {
	e := encoder{kind: s.Kind(), detail: &detail{schema: s}}
	var err error
	switch {
	case s.Kind() <= connect.KindInt64 && (n.typ == tLong || n.typ == tInt && s.Kind() < connect.KindInt64):
		e.op = opInt
	case s.Kind() == connect.KindFloat32 && n.typ == tFloat:
		e.op = opFloat
	case (s.Kind() == connect.KindFloat32 || s.Kind() == connect.KindFloat64) && n.typ == tDouble:
		e.op = opDouble
	case s.Kind() == connect.KindBool && n.typ == tBoolean:
		e.op = opBool
	case s.Kind() == connect.KindString && n.typ == tString, s.Kind() == connect.KindBytes && n.typ == tBytes:
		e.op = opString
	case s.Kind() == connect.KindString && n.typ == tEnum:
		e.op, e.symbols = opEnum, map[string]int64{}
		for i, symbol := range n.symbols {
			e.symbols[symbol] = int64(i)
		}
	case s.Kind() == connect.KindBytes && n.typ == tFixed:
		e.op, e.size = opFixed, n.size
		if _, decimal := s.DecimalScale(); decimal {
			e.op = opPadded
		}
	case s.Kind() == connect.KindArray && n.typ == tArray:
		e.op = opArray
		e.elem, err = c.child(s.Elem(), n.elem)
	case s.Kind() == connect.KindMap:
		err = c.mapped(&e, s, n)
	case s.Kind() == connect.KindStruct && n.typ == tRecord && !isUnion(s):
		e.op = opStruct
		e.detail, err = c.record(s, n)
	default:
		err = fmt.Errorf("%s cannot be written as %s: %w", s, n.branchName(), errMismatch)
	}
	return e, err
}

func (c *compiler) child(s *connect.Schema, n *node) (*encoder, error) {
	e, err := c.encoder(s, n)
	return &e, err
}

func (c *compiler) mapped(e *encoder, s *connect.Schema, n *node) (err error) {
	value := n.elem
	switch {
	case n.typ == tMap && s.Key().Kind() == connect.KindString:
		e.op = opMap
	case n.typ == tArray && isEntry(n.elem) && len(n.elem.fields) == 2:
		e.op = opEntries
		value = n.elem.fields[1].node
		if e.key, err = c.child(s.Key(), n.elem.fields[0].node); err != nil {
			return err
		}
	default:
		return fmt.Errorf("%s cannot be written as %s: %w", s, n.typ, errMismatch)
	}
	e.elem, err = c.child(s.Elem(), value)
	return err
}

func (c *compiler) record(s *connect.Schema, n *node) (*detail, error) {
	key := pair{s.AsRequired(), n}
	if d := c.done[key]; d != nil {
		return d, nil
	}
	d := &detail{schema: s, required: s.AsRequired(), frozen: new(atomic.Pointer[frozen]), fields: make([]encoder, 0, len(n.fields))}
	places := map[string]int{}
	for i, f := range s.Fields() {
		name := f.Name
		if c.scrub {
			name = scrub(name)
		}
		places[name] = i
	}
	for _, f := range n.fields {
		e, err := c.field(s, f, places)
		if err != nil {
			return nil, fmt.Errorf("field %s of %s: %w", f.name, n.name, err)
		}
		e.name = f.name
		d.fields = append(d.fields, e)
		delete(places, f.name)
	}
	if len(places) > 0 {
		return nil, fmt.Errorf("record %s has no field %s", n.name, sortedKeys(places)[0])
	}
	c.done[key] = d
	return d, nil
}

func (c *compiler) field(s *connect.Schema, f nodeField, places map[string]int) (encoder, error) {
	i, ok := places[f.name]
	if !ok {
		raw, err := c.defaultBytes(f)
		return encoder{kind: noKind, index: -1, detail: &detail{raw: raw}}, err
	}
	e, err := c.encoder(s.Fields()[i].Schema, f.node)
	if err != nil {
		return e, err
	}
	e.index = i
	shared := *e.detail // The record may be that of other fields too.
	e.detail = &shared
	return e, nil
}

// defaultBytes encodes the default of a field that Connect's schema does not have.
func (c *compiler) defaultBytes(f nodeField) ([]byte, error) {
	first, raw := f.node, f.def
	var dst []byte
	if f.node.typ == tUnion {
		first, dst = f.node.types[0], []byte{0}
	}
	switch {
	case raw == nil:
		return nil, errors.New("the value has no such field, and the field has no default")
	case first.typ == tNull:
		return dst, nil
	}
	s, err := c.toConnect(first)
	if err != nil {
		return nil, err
	}
	v, err := defaultValue(s, raw)
	if err != nil {
		return nil, err
	}
	e, err := c.plain(s, first)
	if err != nil {
		return nil, err
	}
	return e.append(dst, v)
}

// unionStruct compiles a struct that stands for a union: each field against the
// member it is named after, or else against the first it can be written as.
func (c *compiler) unionStruct(s *connect.Schema, n *node) (encoder, error) {
	e := encoder{op: opUnion, kind: connect.KindStruct, detail: &detail{schema: s, required: s.AsRequired()}}
	for i, f := range s.Fields() {
		found := false
		for _, byName := range []bool{true, false} {
			for j, t := range n.types {
				if found || t.typ == tNull || byName && c.memberName(t) != f.Name {
					continue
				}
				if m, err := c.plain(f.Schema, t); err == nil {
					m.union, m.null, m.some, m.index, found = true, noNull, byte(j)<<1, i, true
					e.fields = append(e.fields, m)
				}
			}
		}
		if !found {
			return e, fmt.Errorf("the union has no type for %s", f.Name)
		}
	}
	return e, e.allowNull(s, n)
}
