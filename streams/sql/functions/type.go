package functions

import (
	"strconv"
	"strings"
)

// Kind is the family a type belongs to.
type Kind uint8

// The kinds of SQL. Null is the type of the literal NULL, which every other type
// accepts; Named is a type that CREATE TYPE declared and that is not looked up
// yet; Any, Lambda and Interval stand only in signatures of functions.
const (
	Null Kind = iota
	Boolean
	Int
	Bigint
	Double
	Decimal
	String
	Bytes
	Time
	Date
	Timestamp
	Array
	Map
	Struct
	Named
	Any
	Lambda
	Interval
)

// Type is a SQL type. Types are values: compare them with Equal.
type Type struct {
	Kind Kind
	// Precision and Scale belong to a Decimal.
	Precision, Scale int
	// Elem is what an Array holds and what the values of a Map are.
	Elem *Type
	// Key is what the keys of a Map are.
	Key *Type
	// Fields are those of a Struct, in order.
	Fields []Field
	// Name is that of a Named type.
	Name string
}

// Field is one field of a struct.
type Field struct {
	Name string
	Type Type
}

// kindNames are the names of the kinds as SQL writes them.
var kindNames = [...]string{"NULL", "BOOLEAN", "INTEGER", "BIGINT", "DOUBLE", "DECIMAL", "STRING", "BYTES",
	"TIME", "DATE", "TIMESTAMP", "ARRAY", "MAP", "STRUCT", "NAMED", "ANY", "LAMBDA", "INTERVAL"}

// String gives the kind's name as SQL writes it.
func (k Kind) String() string { return kindNames[k] }

// String writes the type as SQL does.
func (t Type) String() string { return string(t.append(nil)) }

func (t Type) append(b []byte) []byte {
	switch t.Kind {
	case Decimal:
		b = append(b, "DECIMAL("...)
		b = strconv.AppendInt(b, int64(t.Precision), 10)
		b = append(b, ", "...)
		b = strconv.AppendInt(b, int64(t.Scale), 10)
		return append(b, ')')
	case Array:
		return append(t.Elem.append(append(b, "ARRAY<"...)), '>')
	case Map:
		b = append(t.Key.append(append(b, "MAP<"...)), ", "...)
		return append(t.Elem.append(b), '>')
	case Struct:
		b = append(b, "STRUCT<"...)
		for i, f := range t.Fields {
			if i > 0 {
				b = append(b, ", "...)
			}
			b = append(append(b, Quote(f.Name)...), ' ')
			b = f.Type.append(b)
		}
		return append(b, '>')
	case Named:
		return append(b, Quote(t.Name)...)
	}
	return append(b, t.Kind.String()...)
}

// Quote writes an identifier as ksqlDB's schemas do: in back quotes, a back quote
// inside being doubled.
func Quote(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }

// Equal tells whether t and o are the same type.
func (t Type) Equal(o Type) bool {
	if t.Kind != o.Kind || t.Precision != o.Precision || t.Scale != o.Scale || t.Name != o.Name || len(t.Fields) != len(o.Fields) {
		return false
	}
	for i, f := range t.Fields {
		if f.Name != o.Fields[i].Name || !f.Type.Equal(o.Fields[i].Type) {
			return false
		}
	}
	return equalPart(t.Elem, o.Elem) && equalPart(t.Key, o.Key)
}

func equalPart(a, b *Type) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Equal(*b)
}

// Numeric tells whether values of t are numbers.
func (t Type) Numeric() bool { return t.Kind >= Int && t.Kind <= Decimal }

// ArrayOf returns the type of arrays that hold elem.
func ArrayOf(elem Type) Type { return Type{Kind: Array, Elem: &elem} }

// MapOf returns the type of maps from key to value.
func MapOf(key, value Type) Type { return Type{Kind: Map, Key: &key, Elem: &value} }

// DecimalOf returns the type of decimals with the given precision and scale.
func DecimalOf(precision, scale int) Type {
	return Type{Kind: Decimal, Precision: precision, Scale: scale}
}
