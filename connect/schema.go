package connect

import (
	"encoding/binary"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"weak"
)

// Schema describes values of one kind. Schemas are immutable and interned: two
// schemas that say the same are the same pointer, which is therefore the cache
// key of every converter and transform. Make one with [SchemaDef.Build], or with
// [Of] for plain kinds. A Schema may be used by any number of
// goroutines.
type Schema struct {
	def   SchemaDef
	id    uint64
	index map[string]int // Only for structs of many fields.
}

// SchemaDef is what a schema says, to build one from.
type SchemaDef struct {
	Kind     Kind
	Optional bool
	// Name is the semantic name, such as io.debezium.time.Date; empty for none.
	Name string
	// Version is the schema's version; 0 for none.
	Version int
	// Doc is free text for people.
	Doc string
	// Params are string parameters of the semantic type, such as a decimal's
	// scale. Build sorts them by key.
	Params []Param
	// Default stands for an absent value; null means there is no default.
	Default Value
	// Fields are the fields of a struct, in order.
	Fields []Field
	// Key and Elem describe the keys of a map, and the elements of a map or array.
	Key, Elem *Schema
}

// Param is one string parameter of a schema.
type Param struct{ Key, Value string }

// Field is one field of a struct schema.
type Field struct {
	Name   string
	Schema *Schema
}

// schemas is the intern table. It holds schemas weakly, so that those nobody uses
// any more are collected, and is, like the table behind package unique, not state
// anyone can observe.
var schemas struct {
	byKey  sync.Map // string → weak.Pointer[Schema]
	nextID atomic.Uint64
}

// Build checks d and returns its interned schema. It fails when a field name is
// empty or occurs twice, when a child schema is missing or does not belong, or
// when the default does not fit.
func (d SchemaDef) Build() (*Schema, error) {
	if err := d.check(); err != nil {
		return nil, err
	}
	d.Params = slices.Clone(d.Params)
	slices.SortFunc(d.Params, func(a, b Param) int { return strings.Compare(a.Key, b.Key) })
	d.Fields = slices.Clone(d.Fields)
	key := string(d.appendKey(nil))
	if p, ok := schemas.byKey.Load(key); ok {
		if s := p.(weak.Pointer[Schema]).Value(); s != nil {
			return s, nil
		}
	}
	s := &Schema{def: d, id: schemas.nextID.Add(1)}
	if len(d.Fields) > 8 {
		s.index = make(map[string]int, len(d.Fields))
		for i, f := range d.Fields {
			s.index[f.Name] = i
		}
	}
	return intern(key, s), nil
}

// intern publishes s under key, or returns the schema that got there first.
func intern(key string, s *Schema) *Schema {
	w := weak.Make(s)
	for {
		p, loaded := schemas.byKey.LoadOrStore(key, w)
		if !loaded {
			break
		}
		if first := p.(weak.Pointer[Schema]).Value(); first != nil {
			return first
		}
		if schemas.byKey.CompareAndSwap(key, p, w) {
			break
		}
	}
	runtime.AddCleanup(s, func(key string) { schemas.byKey.CompareAndDelete(key, w) }, key)
	return s
}

// MustBuild is Build for schemas written down in code, where a fault is a fault
// of the program: it panics.
func (d SchemaDef) MustBuild() *Schema {
	s, err := d.Build()
	if err != nil {
		panic(err)
	}
	return s
}

// Of returns the required, nameless schema of a plain kind.
func Of(k Kind) *Schema { return SchemaDef{Kind: k}.MustBuild() }

// AsOptional returns s with absent values allowed; nil for nil.
func (s *Schema) AsOptional() *Schema {
	if s == nil || s.def.Optional {
		return s
	}
	d := s.def
	d.Optional = true
	return d.MustBuild()
}

// AsRequired returns s with absent values not allowed; nil for nil.
func (s *Schema) AsRequired() *Schema {
	if s == nil || !s.def.Optional {
		return s
	}
	d := s.def
	d.Optional = false
	return d.MustBuild()
}

func (d *SchemaDef) check() error {
	if d.Kind == KindNull || d.Kind > KindStruct {
		return fmt.Errorf("connect: no schema has the kind %v", d.Kind)
	}
	if (d.Elem != nil) != (d.Kind == KindArray || d.Kind == KindMap) {
		return fmt.Errorf("connect: schema %s: arrays and maps, and only they, have an element schema", d.label())
	}
	if (d.Key != nil) != (d.Kind == KindMap) {
		return fmt.Errorf("connect: schema %s: maps, and only they, have a key schema", d.label())
	}
	if d.Fields != nil && d.Kind != KindStruct {
		return fmt.Errorf("connect: schema %s: only structs have fields", d.label())
	}
	seen := make(map[string]bool, len(d.Fields))
	for i, f := range d.Fields {
		switch {
		case f.Name == "":
			return fmt.Errorf("connect: schema %s: field %d has no name", d.label(), i)
		case f.Schema == nil:
			return fmt.Errorf("connect: schema %s: field %q has no schema", d.label(), f.Name)
		case seen[f.Name]:
			return fmt.Errorf("connect: schema %s: field %q occurs twice", d.label(), f.Name)
		}
		seen[f.Name] = true
	}
	if !d.Default.IsNull() && d.Default.Kind() != d.Kind {
		return fmt.Errorf("connect: schema %s: the default is of kind %v", d.label(), d.Default.Kind())
	}
	return nil
}

func (d *SchemaDef) label() string {
	if d.Name != "" {
		return d.Name
	}
	return d.Kind.String()
}

// appendKey writes what identifies the schema. Children stand as their ids: they
// are interned already, and ids are never used again.
func (d *SchemaDef) appendKey(b []byte) []byte {
	b = append(b, byte(d.Kind), boolByte(d.Optional))
	b = binary.AppendVarint(b, int64(d.Version))
	b = appendText(appendText(b, d.Name), d.Doc)
	b = binary.AppendUvarint(b, uint64(len(d.Params)))
	for _, p := range d.Params {
		b = appendText(appendText(b, p.Key), p.Value)
	}
	b = d.Default.appendKey(b)
	b = binary.AppendUvarint(b, uint64(len(d.Fields)))
	for _, f := range d.Fields {
		b = binary.AppendUvarint(appendText(b, f.Name), f.Schema.id)
	}
	for _, c := range []*Schema{d.Key, d.Elem} {
		if c != nil {
			b = binary.AppendUvarint(b, c.id)
		}
	}
	return b
}

// appendKey writes what identifies a value: its kind and its content.
func (v Value) appendKey(b []byte) []byte {
	b = append(b, byte(v.kind))
	switch v.kind {
	case KindString, KindBytes:
		return appendText(b, string(v.Bytes()))
	case KindArray:
		b = binary.AppendUvarint(b, v.num)
		for _, e := range v.Array() {
			b = e.appendKey(b)
		}
	case KindMap:
		b = binary.AppendUvarint(b, v.num)
		for _, e := range v.Map() {
			b = e.Value.appendKey(e.Key.appendKey(b))
		}
	case KindStruct:
		b = binary.AppendUvarint(b, v.Struct().schema.id)
		for _, f := range v.Struct().values {
			b = f.appendKey(b)
		}
	default:
		b = binary.BigEndian.AppendUint64(b, v.num)
	}
	return b
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func boolByte(v bool) byte {
	if v {
		return 1
	}
	return 0
}

// Kind returns what the schema's values hold.
func (s *Schema) Kind() Kind { return s.def.Kind }

// Optional tells whether absent values are allowed.
func (s *Schema) Optional() bool { return s.def.Optional }

// Name returns the semantic name, empty for none.
func (s *Schema) Name() string { return s.def.Name }

// Version returns the version, 0 for none.
func (s *Schema) Version() int { return s.def.Version }

// Doc returns the free text for people.
func (s *Schema) Doc() string { return s.def.Doc }

// Default returns what stands for an absent value, null when there is none.
func (s *Schema) Default() Value { return s.def.Default }

// Params returns the parameters, sorted by key. They are shared: do not write.
func (s *Schema) Params() []Param { return s.def.Params }

// Param returns the parameter with the given key, and whether there is one.
func (s *Schema) Param(key string) (string, bool) {
	for _, p := range s.def.Params {
		if p.Key == key {
			return p.Value, true
		}
	}
	return "", false
}

// Fields returns a struct's fields in order. They are shared: do not write.
func (s *Schema) Fields() []Field { return s.def.Fields }

// Index returns the place of the field with that name, or -1.
func (s *Schema) Index(name string) int {
	if s.index != nil {
		if i, ok := s.index[name]; ok {
			return i
		}
		return -1
	}
	for i := range s.def.Fields {
		if s.def.Fields[i].Name == name {
			return i
		}
	}
	return -1
}

// Key returns the schema of a map's keys, nil for other kinds.
func (s *Schema) Key() *Schema { return s.def.Key }

// Elem returns the schema of a map's or array's elements, nil for other kinds.
func (s *Schema) Elem() *Schema { return s.def.Elem }

// Def returns what the schema says, to build a variant from. Its slices are
// shared: replace them, do not write to them.
func (s *Schema) Def() SchemaDef { return s.def }

// String names the schema for messages, such as "struct shop.public.t.Value?".
func (s *Schema) String() string {
	if s == nil {
		return "no schema"
	}
	text := s.def.Kind.String()
	if s.def.Name != "" {
		text += " " + s.def.Name
	}
	if s.def.Optional {
		text += "?"
	}
	return text
}

// Check tells whether v fits the schema, in depth. The error names the place in
// the value ("address.zip"). Absent values fit optional schemas and those with a
// default.
func (s *Schema) Check(v Value) error { return s.checkAt("", v) }

func (s *Schema) checkAt(place string, v Value) error {
	if v.IsNull() {
		if s.def.Optional || !s.def.Default.IsNull() {
			return nil
		}
		return s.misfit(place, "is null, but not optional")
	}
	if v.Kind() != s.def.Kind {
		return s.misfit(place, "holds "+v.Kind().String()+", not "+s.def.Kind.String())
	}
	switch v.Kind() {
	case KindArray:
		return s.checkElems(place, v.Array())
	case KindMap:
		return s.checkEntries(place, v.Map())
	case KindStruct:
		return s.checkFields(place, v.Struct())
	case KindFloat32:
		if f := v.Float(); !math.IsNaN(f) && !math.IsInf(f, 0) && float64(float32(f)) != f {
			return s.misfit(place, "is no single-precision number")
		}
	}
	return nil
}

func (s *Schema) checkElems(place string, elems []Value) error {
	for i, e := range elems {
		if err := s.def.Elem.checkAt(fmt.Sprintf("%s[%d]", place, i), e); err != nil {
			return err
		}
	}
	return nil
}

func (s *Schema) checkEntries(place string, entries []MapEntry) error {
	for _, e := range entries {
		if err := s.def.Key.checkAt(place+"{key}", e.Key); err != nil {
			return err
		}
		if err := s.def.Elem.checkAt(place+"{"+e.Key.String()+"}", e.Value); err != nil {
			return err
		}
	}
	return nil
}

func (s *Schema) checkFields(place string, st *Struct) error {
	if st.schema != s && st.schema.AsRequired() != s.AsRequired() {
		return s.misfit(place, "is a "+st.schema.String())
	}
	for i, f := range s.def.Fields {
		at := f.Name
		if place != "" {
			at = place + "." + f.Name
		}
		if err := f.Schema.checkAt(at, st.values[i]); err != nil {
			return err
		}
	}
	return nil
}

func (s *Schema) misfit(place, what string) error {
	if place == "" {
		place = "value"
	}
	return fmt.Errorf("connect: %s of schema %s %s", place, s, what)
}
