package avro

import (
	"encoding/json"
	"strings"
)

// avroType is the type of an Avro schema.
type avroType uint8

const (
	tNull avroType = iota
	tBoolean
	tInt
	tLong
	tFloat
	tDouble
	tBytes
	tString
	tRecord
	tEnum
	tFixed
	tArray
	tMap
	tUnion
)

var typeNames = [...]string{
	"null", "boolean", "int", "long", "float", "double", "bytes", "string", "record", "enum", "fixed", "array", "map", "union",
}

func (t avroType) String() string { return typeNames[t] }

// node is one Avro schema. Named types that occur several times are one node.
type node struct {
	typ     avroType
	name    string // Full name of a record, enum or fixed.
	doc     string
	fields  []nodeField // Of a record.
	symbols []string    // Of an enum, and the one that stands for unknown ones.
	unknown string
	size    int     // Of a fixed.
	elem    *node   // Items of an array, values of a map.
	types   []*node // Of a union.
	props   []prop  // What else the schema says, in order.
}

// nodeField is one field of a record.
type nodeField struct {
	name, doc string
	node      *node
	def       json.RawMessage // Nil for none.
	props     []prop
}

// prop is one property that Avro itself does not know, as JSON.
type prop struct {
	key   string
	value json.RawMessage
}

func (n *node) named() bool { return n.typ == tRecord || n.typ == tEnum || n.typ == tFixed }

// prop returns the JSON of a property, nil when there is none.
func (n *node) prop(key string) json.RawMessage { return findProp(n.props, key) }

func findProp(props []prop, key string) json.RawMessage {
	for _, p := range props {
		if p.key == key {
			return p.value
		}
	}
	return nil
}

// text returns a property that is a string, and whether there is such a one.
func (n *node) text(key string) (string, bool) {
	var s string
	raw := n.prop(key)
	ok := len(raw) > 0 && raw[0] == '"' && json.Unmarshal(raw, &s) == nil
	return s, ok
}

// number returns a property that is an integer, and whether there is such a one.
func (n *node) number(key string) (int, bool) {
	var i int
	raw := n.prop(key)
	ok := len(raw) > 0 && raw[0] != 'n' && json.Unmarshal(raw, &i) == nil
	return i, ok
}

// logical returns the lower-case name of the logical type, empty for none.
func (n *node) logical() string {
	s, _ := n.text("logicalType")
	return strings.ToLower(s)
}

// branchName is what a union calls this member: the type, or the full name.
func (n *node) branchName() string {
	if n.named() {
		return n.name
	}
	return n.typ.String()
}

// splitName splits a full name at its last dot; a name without has no namespace.
func splitName(full string) (space, name string) {
	if i := strings.LastIndexByte(full, '.'); i >= 0 {
		return full[:i], full[i+1:]
	}
	return "", full
}
