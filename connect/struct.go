package connect

import "fmt"

// Struct is a row: a struct schema and one value for each of its fields, in field
// order. It is filled by whoever makes it and read-only once handed on.
type Struct struct {
	schema *Schema
	values []Value
	frozen bool
}

// Freeze says that nobody will write to the struct or to anything in it any more, and
// that its memory is never used for another one, so that a converter may remember what
// it has made of it. It is for structs that many records share. It returns st.
func (st *Struct) Freeze() *Struct {
	st.frozen = true
	return st
}

// Frozen tells whether Freeze was called.
func (st *Struct) Frozen() bool { return st.frozen }

// NewStruct returns an empty struct of the schema: all fields null.
func (s *Schema) NewStruct() *Struct {
	return &Struct{schema: s, values: make([]Value, len(s.def.Fields))}
}

// StructOf returns a struct over values, which the caller hands over. There must
// be one for each field; it panics otherwise, since a row out of step with its
// schema would be read as something it is not.
func (s *Schema) StructOf(values []Value) *Struct {
	st := s.MakeStruct(values)
	return &st
}

// MakeStruct is StructOf without the allocation, for rows that live in a slab.
func (s *Schema) MakeStruct(values []Value) (st Struct) {
	st.Lay(s, values)
	return st
}

// Lay makes st a struct over values, as MakeStruct does, where it lies: in a slab that
// is less work than to copy one there.
func (st *Struct) Lay(s *Schema, values []Value) {
	if s.def.Kind != KindStruct || len(values) != len(s.def.Fields) {
		misfit(s, values)
	}
	st.schema, st.values, st.frozen = s, values, false
}

func misfit(s *Schema, values []Value) {
	panic(fmt.Sprintf("connect: %d values for the %d fields of schema %s", len(values), len(s.def.Fields), s))
}

// Schema returns the struct's schema.
func (st *Struct) Schema() *Schema { return st.schema }

// Values returns all values in field order, shared: do not write to them.
func (st *Struct) Values() []Value { return st.values }

// At returns the value of the i-th field as it is, null when absent.
func (st *Struct) At(i int) Value { return st.values[i] }

// Get returns the value of the field with that name; an absent one is its
// schema's default, and null when there is no such field or default.
func (st *Struct) Get(name string) Value {
	i := st.schema.Index(name)
	if i < 0 {
		return Value{}
	}
	if v := st.values[i]; !v.IsNull() {
		return v
	}
	return st.schema.def.Fields[i].Schema.def.Default
}

// Set puts v in the i-th field without a check, for makers that follow the schema
// by construction.
func (st *Struct) Set(i int, v Value) { st.values[i] = v }

// Put checks v against the named field's schema and puts it there.
func (st *Struct) Put(name string, v Value) error {
	i := st.schema.Index(name)
	if i < 0 {
		return fmt.Errorf("connect: schema %s has no field %q", st.schema, name)
	}
	if err := st.schema.def.Fields[i].Schema.checkAt(name, v); err != nil {
		return err
	}
	st.values[i] = v
	return nil
}

// Equal tells whether both structs have one schema (optional or not) and equal
// values.
func (st *Struct) Equal(other *Struct) bool {
	if st == nil || other == nil {
		return st == other
	}
	return st.schema.AsRequired() == other.schema.AsRequired() && equalValues(st.values, other.values)
}

// String prints the struct as compact JSON.
func (st *Struct) String() string { return StructValue(st).String() }
