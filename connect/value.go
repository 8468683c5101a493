package connect

import (
	"fmt"
	"math"
	"unsafe"
)

// Kind tells what a [Value] holds and what a [Schema] describes. The names are
// those of Kafka Connect's Schema.Type.
type Kind uint8

// The kinds. KindNull is the kind of an absent value; no schema has it.
const (
	KindNull Kind = iota
	KindInt8
	KindInt16
	KindInt32
	KindInt64
	KindFloat32
	KindFloat64
	KindBool
	KindString
	KindBytes
	KindArray
	KindMap
	KindStruct
)

var kindNames = [...]string{"null", "int8", "int16", "int32", "int64", "float32", "float64", "boolean", "string", "bytes", "array", "map", "struct"}

// String returns Connect's lower-case name of the kind, as its JSON schemas
// write it.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Value is one value of any kind: a tagged union of 24 bytes that holds numbers
// in itself and points at strings, bytes, arrays, maps and structs. The zero
// Value is null. Logical types travel as what carries them: a Decimal as its
// unscaled big-endian bytes, a Timestamp as its milliseconds; the schema tells.
//
// Values are immutable and may be read by any number of goroutines. They are
// compared with [Value.Equal].
type Value struct {
	_    [0]func() // == would compare pointers, so it does not compile.
	ptr  unsafe.Pointer
	num  uint64 // The number itself, or the length of what ptr points at.
	kind Kind
}

// MapEntry is one key and its value in a map Value. Maps keep the order they
// were made in, and do not look for keys that occur twice.
type MapEntry struct {
	Key, Value Value
}

// Int32 returns a 32-bit integer value.
func Int32(v int32) Value { return Value{kind: KindInt32, num: uint64(int64(v))} }

// Int64 returns a 64-bit integer value.
func Int64(v int64) Value { return Value{kind: KindInt64, num: uint64(v)} }

// IntOf returns v as an integer value of the given kind, cut to its width. It is
// null when k is not an integer kind.
func IntOf(k Kind, v int64) Value {
	switch k {
	case KindInt8:
		return Value{kind: k, num: uint64(int64(int8(v)))}
	case KindInt16:
		return Value{kind: k, num: uint64(int64(int16(v)))}
	case KindInt32:
		return Int32(int32(v))
	case KindInt64:
		return Int64(v)
	}
	return Value{}
}

// Float32 returns a single-precision value.
func Float32(v float32) Value { return Value{kind: KindFloat32, num: math.Float64bits(float64(v))} }

// Float64 returns a double-precision value.
func Float64(v float64) Value { return Value{kind: KindFloat64, num: math.Float64bits(v)} }

// Bool returns a boolean value.
func Bool(v bool) Value {
	if v {
		return Value{kind: KindBool, num: 1}
	}
	return Value{kind: KindBool}
}

// String returns a string value. The string's bytes are shared, not copied.
func String(v string) Value {
	return Value{kind: KindString, ptr: unsafe.Pointer(unsafe.StringData(v)), num: uint64(len(v))}
}

// StringBytes returns a string value over b without copying it. The caller hands
// b over: it must not change afterwards.
func StringBytes(b []byte) Value {
	return Value{kind: KindString, ptr: unsafe.Pointer(unsafe.SliceData(b)), num: uint64(len(b))}
}

// Bytes returns a bytes value over b without copying it. The caller hands b over:
// it must not change afterwards. A nil b is an empty value, not null.
func Bytes(b []byte) Value {
	return Value{kind: KindBytes, ptr: unsafe.Pointer(unsafe.SliceData(b)), num: uint64(len(b))}
}

// Array returns an array value over elems, which the caller hands over.
func Array(elems []Value) Value {
	return Value{kind: KindArray, ptr: unsafe.Pointer(unsafe.SliceData(elems)), num: uint64(len(elems))}
}

// Map returns a map value over entries, which the caller hands over.
func Map(entries []MapEntry) Value {
	return Value{kind: KindMap, ptr: unsafe.Pointer(unsafe.SliceData(entries)), num: uint64(len(entries))}
}

// StructValue returns a struct value; a nil struct is null.
func StructValue(s *Struct) Value {
	if s == nil {
		return Value{}
	}
	return Value{kind: KindStruct, ptr: unsafe.Pointer(s)}
}

// Kind returns what v holds.
func (v Value) Kind() Kind { return v.kind }

// IsNull tells whether v is absent.
func (v Value) IsNull() bool { return v.kind == KindNull }

// IsInt tells whether v is an integer of any width.
func (v Value) IsInt() bool { return v.kind >= KindInt8 && v.kind <= KindInt64 }

// IsFloat tells whether v is a floating-point number of either width.
func (v Value) IsFloat() bool { return v.kind == KindFloat32 || v.kind == KindFloat64 }

// must panics when v is of another kind: reading it as something else would be
// reading memory as what it is not.
func (v Value) must(ok bool, as string) {
	if !ok {
		panic("connect: a Value of kind " + v.kind.String() + " was read as " + as)
	}
}

// Int returns an integer of any width. It panics on other kinds.
func (v Value) Int() int64 {
	v.must(v.IsInt(), "an integer")
	return int64(v.num)
}

// Float returns a floating-point number of either width. It panics on other
// kinds.
func (v Value) Float() float64 {
	v.must(v.IsFloat(), "a float")
	return math.Float64frombits(v.num)
}

// Bool returns a boolean. It panics on other kinds.
func (v Value) Bool() bool {
	v.must(v.kind == KindBool, "a boolean")
	return v.num != 0
}

// Str returns a string, sharing its bytes. It panics on other kinds. (String is
// the method that prints any value.)
func (v Value) Str() string {
	v.must(v.kind == KindString, "a string")
	return unsafe.String((*byte)(v.ptr), int(v.num))
}

// Bytes returns the bytes of a bytes or string value, shared: the caller must not
// write to them. It panics on other kinds.
func (v Value) Bytes() []byte {
	v.must(v.kind == KindBytes || v.kind == KindString, "bytes")
	if v.ptr == nil {
		return []byte{}
	}
	return unsafe.Slice((*byte)(v.ptr), int(v.num))
}

// Array returns the elements of an array, shared: the caller must not write to
// them. It panics on other kinds.
func (v Value) Array() []Value {
	v.must(v.kind == KindArray, "an array")
	return unsafe.Slice((*Value)(v.ptr), int(v.num))
}

// Map returns the entries of a map, shared: the caller must not write to them. It
// panics on other kinds.
func (v Value) Map() []MapEntry {
	v.must(v.kind == KindMap, "a map")
	return unsafe.Slice((*MapEntry)(v.ptr), int(v.num))
}

// Struct returns a struct. It panics on other kinds.
func (v Value) Struct() *Struct {
	v.must(v.kind == KindStruct, "a struct")
	return (*Struct)(v.ptr)
}

// Len returns the length in bytes of a string or bytes value, the number of
// elements of an array or map, and 0 for all others.
func (v Value) Len() int {
	switch v.kind {
	case KindString, KindBytes, KindArray, KindMap:
		return int(v.num)
	}
	return 0
}

// Equal tells whether v and w are of one kind and hold the same. Floats are
// compared by their bits, so that NaN equals NaN; maps by their entries in order.
func (v Value) Equal(w Value) bool {
	if v.kind != w.kind {
		return false
	}
	switch v.kind {
	case KindString, KindBytes:
		return string(v.Bytes()) == string(w.Bytes())
	case KindArray:
		return equalValues(v.Array(), w.Array())
	case KindMap:
		return equalEntries(v.Map(), w.Map())
	case KindStruct:
		return v.Struct().Equal(w.Struct())
	}
	return v.num == w.num
}

func equalValues(a, b []Value) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !a[i].Equal(b[i]) {
			return false
		}
	}
	return true
}

func equalEntries(a, b []MapEntry) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !a[i].Key.Equal(b[i].Key) || !a[i].Value.Equal(b[i].Value) {
			return false
		}
	}
	return true
}

// String prints v as compact JSON, for messages and tests.
func (v Value) String() string { return string(AppendJSON(nil, nil, v)) }
