package avro

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/tidemill/tidemill/connect"
)

// translator makes one Avro schema of one Connect schema.
type translator struct {
	mapping
	done    map[*connect.Schema]*node // Named types, by their required schema.
	entries map[*connect.Schema]*node // Entries of maps, by a schema of key and value.
	owners  map[string]*connect.Schema
	// The named types whose metadata is that of the schema they were met with first.
	complete map[*node]bool
	seen     map[string]bool // Names of schemas that fields have had.
	count    int             // Of types without a name of their own.
}

// toAvro returns the Avro schema for s, nil standing for values of any kind.
func (m mapping) toAvro(s *connect.Schema) (*node, error) {
	if s == nil {
		return anything(), nil
	}
	t := translator{
		mapping: m, done: map[*connect.Schema]*node{}, entries: map[*connect.Schema]*node{},
		owners: map[string]*connect.Schema{}, complete: map[*node]bool{}, seen: map[string]bool{},
	}
	return t.schema(s)
}

// schema returns the Avro schema for s, a union with null if s is optional.
func (t *translator) schema(s *connect.Schema) (*node, error) {
	if isUnion(s) {
		return t.union(s)
	}
	n, err := t.required(s)
	if err != nil || !s.Optional() {
		return n, err
	}
	null := &node{typ: tNull}
	if !s.Default().IsNull() && s.Kind() != connect.KindStruct {
		return &node{typ: tUnion, types: []*node{n, null}}, nil
	}
	return &node{typ: tUnion, types: []*node{null, n}}, nil
}

func (t *translator) union(s *connect.Schema) (*node, error) {
	n := &node{typ: tUnion}
	if s.Optional() {
		n.types = append(n.types, &node{typ: tNull})
	}
	for _, f := range s.Fields() {
		member, err := t.required(f.Schema)
		if err != nil {
			return nil, err
		}
		n.types = append(n.types, member)
	}
	return n, nil
}

// required returns the Avro schema for s, taken as not optional.
func (t *translator) required(s *connect.Schema) (*node, error) {
	if n := t.done[s.AsRequired()]; n != nil {
		return n, nil
	}
	n := &node{}
	var err error
	switch s.Kind() {
	case connect.KindInt8, connect.KindInt16, connect.KindInt32:
		n.typ = tInt
	case connect.KindInt64:
		n.typ = tLong
	case connect.KindFloat32:
		n.typ = tFloat
	case connect.KindFloat64:
		n.typ = tDouble
	case connect.KindBool:
		n.typ = tBoolean
	case connect.KindString:
		n.typ = tString
		if t.isEnum(s) {
			n, err = t.enum(n, s)
		}
	case connect.KindBytes:
		n.typ = tBytes
		if isFixed(s) {
			n, err = t.fixed(n, s)
		}
		t.decimalProps(n, s)
	case connect.KindArray:
		n.typ = tArray
		n.elem, err = t.schema(s.Elem())
	case connect.KindMap:
		err = t.mapped(n, s)
	case connect.KindStruct:
		if isUnion(s) {
			return t.union(s)
		}
		// What this returns is known already, or complete but for its metadata.
		if known, err := t.record(n, s); known != nil || err != nil {
			return known, err
		}
	}
	if err != nil {
		return nil, err
	}
	if !t.complete[n] {
		t.annotate(n, s)
	}
	if n.named() {
		t.complete[n] = true
	}
	return n, nil
}

// again returns the node of a named type that differs from n in its metadata only.
func (t *translator) again(n *node, name string) *node {
	for known := range t.complete {
		if known.name == t.scrubbed(name) && known.typ == n.typ && known.size == n.size && slices.Equal(known.symbols, n.symbols) {
			return known
		}
	}
	return nil
}

// claim gives a named type its name. When another schema has it, a type whose name
// is not its own gets a number; it is an error for others.
func (t *translator) claim(n *node, s *connect.Schema, name string, movable bool) error {
	if name == "" {
		t.count++
		name = defaultName
		if t.count > 1 {
			name += strconv.Itoa(t.count)
		}
	}
	name = t.scrubbed(name)
	if err := validFullName(name); err != nil {
		return err
	}
	free := name
	for i := 2; t.owners[free] != nil; i++ {
		if !movable {
			return &connect.Error{
				Code: "avro.name_conflict", Class: connect.ClassFatal, Place: name,
				Message: "two different schemas have this name, and Avro keeps one of a name",
				Mend:    "give one of them another name, such as with the transform SetSchemaMetadata",
			}
		}
		free = name + strconv.Itoa(i)
	}
	n.name = free
	t.owners[free] = s
	return nil
}

func (t *translator) enum(n *node, s *connect.Schema) (*node, error) {
	n.typ = tEnum
	for _, p := range s.Params() {
		if symbol, ok := strings.CutPrefix(p.Key, paramEnum+"."); ok {
			n.symbols = append(n.symbols, symbol)
		}
	}
	name, _ := s.Param(paramEnum)
	_, simple := splitName(s.Name())
	n.doc, _ = s.Param(paramEnumDoc + simple)
	n.unknown, _ = s.Param(paramEnumDefault + simple)
	if known := t.again(n, name); known != nil {
		return known, nil
	}
	t.done[s.AsRequired()] = n
	return n, t.claim(n, s, name, false)
}

func (t *translator) fixed(n *node, s *connect.Schema) (*node, error) {
	text, _ := s.Param(paramFixedSize)
	size, err := strconv.Atoi(text)
	if err != nil || size < 0 {
		return n, fmt.Errorf("the parameter %s of schema %s is no size", paramFixedSize, s)
	}
	n.typ, n.size = tFixed, size
	decimal := s.Name() == connect.LogicalDecimal
	if known := t.again(n, s.Name()); known != nil && !decimal {
		return known, nil
	}
	t.done[s.AsRequired()] = n
	return n, t.claim(n, s, s.Name(), decimal)
}

// decimalProps adds what Avro says of decimals.
func (t *translator) decimalProps(n *node, s *connect.Schema) {
	if scale, ok := s.DecimalScale(); ok {
		n.props = append(n.props, intProp("scale", scale), intProp("precision", precision(s)))
	}
}

func precision(s *connect.Schema) int {
	text, _ := s.Param(connect.ParamPrecision)
	if p, err := strconv.Atoi(text); err == nil {
		return p
	}
	return unknownPrecision
}

func (t *translator) mapped(n *node, s *connect.Schema) (err error) {
	if t.plainMap(s) {
		n.typ = tMap
		n.elem, err = t.schema(s.Elem())
		return err
	}
	n.typ = tArray
	entry := &node{typ: tRecord}
	n.elem = entry
	if entry.fields, err = t.fields(s, []connect.Field{{Name: "key", Schema: s.Key()}, {Name: "value", Schema: s.Elem()}}); err != nil {
		return err
	}
	name := s.Name()
	if name == "" {
		name = entryName
	}
	key := connect.SchemaDef{Kind: connect.KindMap, Key: s.Key(), Elem: s.Elem(), Name: name}.MustBuild()
	if known := t.entries[key]; known != nil {
		n.elem = known
		return nil
	}
	if err := t.claim(entry, key, name, true); err != nil {
		return err
	}
	t.entries[key] = entry
	if entry.name != entryName {
		entry.props = append(entry.props, textProp(propInternal, "MapEntry"))
	}
	return nil
}

// record fills n with a struct, or returns the node that stands for it already.
func (t *translator) record(n *node, s *connect.Schema) (*node, error) {
	if owner := t.owners[t.scrubbed(s.Name())]; owner != nil && sameFields(owner, s) {
		return t.done[owner.AsRequired()], nil
	}
	n.typ = tRecord
	t.done[s.AsRequired()] = n
	n.doc, _ = s.Param(paramRecordDoc)
	err := t.claim(n, s, s.Name(), s.Name() == "")
	if err == nil {
		n.fields, err = t.fields(s, s.Fields())
	}
	return nil, err
}

// sameFields tells whether two structs differ in nothing but their metadata.
func sameFields(a, b *connect.Schema) bool {
	return a.Kind() == b.Kind() && slices.Equal(a.Fields(), b.Fields())
}

func (t *translator) fields(s *connect.Schema, list []connect.Field) ([]nodeField, error) {
	fields := make([]nodeField, 0, len(list))
	for _, f := range list {
		name := f.Name
		if t.scrub {
			name = scrub(name)
		}
		if err := validName(name); err != nil {
			return nil, fmt.Errorf("field %q of %s: %w", f.Name, s, err)
		}
		again := f.Schema.Name() != "" && t.seen[t.scrubbed(f.Schema.Name())]
		t.seen[t.scrubbed(f.Schema.Name())] = true
		n, err := t.schema(f.Schema)
		if err != nil {
			return nil, err
		}
		field := nodeField{name: name, node: n, def: t.fieldDefault(f.Schema, n)}
		field.doc, _ = s.Param(paramFieldDoc + f.Name)
		if params := t.params(f.Schema); t.metadata && again && params != nil && holdsName(n) {
			field.props = []prop{{propParams, params}}
		}
		fields = append(fields, field)
	}
	return fields, nil
}

// holdsName tells whether n is a named type, or a union with one.
func holdsName(n *node) bool {
	return n.named() || n.typ == tUnion && slices.ContainsFunc(n.types, (*node).named)
}

// fieldDefault returns the default of a field as JSON, nil for none. A union's
// default is one of its first member.
func (t *translator) fieldDefault(s *connect.Schema, n *node) json.RawMessage {
	first := n
	if n.typ == tUnion {
		first = n.types[0]
	}
	switch {
	case first.typ == tNull:
		return json.RawMessage("null")
	case s.Default().IsNull() || s.Kind() == connect.KindMap && first.typ == tArray || isUnion(s):
		return nil
	}
	text, ok := t.defaultText(s, s.Default())
	if !ok {
		return nil
	}
	return text
}

// annotate adds what Connect says of s and Avro does not know.
func (t *translator) annotate(n *node, s *connect.Schema) {
	if t.metadata {
		t.describe(n, s)
	}
	if name := logicalTypes[s.Name()]; name != "" {
		n.props = append(n.props, textProp(propLogical, name))
	}
	for _, p := range s.Params() {
		if strings.HasPrefix(p.Key, paramAvro) && n.prop(p.Key) == nil {
			n.props = append(n.props, textProp(p.Key, p.Value))
		}
	}
}

func (t *translator) describe(n *node, s *connect.Schema) {
	if s.Doc() != "" {
		n.props = append(n.props, textProp(propDoc, s.Doc()))
	}
	if s.Version() != 0 {
		n.props = append(n.props, intProp(propVersion, s.Version()))
	}
	if params := t.params(s); params != nil {
		n.props = append(n.props, prop{propParams, params})
	}
	if _, own := s.Param(paramFieldDefault); !own && !s.Default().IsNull() {
		if text, ok := t.defaultText(s, s.Default()); ok {
			n.props = append(n.props, prop{propDefault, text})
		}
	}
	if s.Name() != "" {
		n.props = append(n.props, textProp(propName, s.Name()))
	}
	switch s.Kind() {
	case connect.KindInt8, connect.KindInt16:
		n.props = append(n.props, textProp(propType, s.Kind().String()))
	}
}

// logicalTypes are Avro's logical types for Connect's.
var logicalTypes = map[string]string{
	connect.LogicalDecimal: "decimal", connect.LogicalTime: "time-millis",
	connect.LogicalTimestamp: "timestamp-millis", connect.LogicalDate: "date",
}

// params returns the parameters of s as JSON, nil for none. A decimal's scale
// comes first, where its maker puts it.
func (t *translator) params(s *connect.Schema) json.RawMessage {
	var dst []byte
	add := func(p connect.Param) {
		if len(dst) > 0 {
			dst = append(dst, ',')
		}
		dst = quote(append(quote(dst, p.Key), ':'), p.Value)
	}
	scale, decimal := s.Param(connect.ParamScale)
	decimal = decimal && s.Name() == connect.LogicalDecimal
	if decimal {
		add(connect.Param{Key: connect.ParamScale, Value: scale})
	}
	for _, p := range s.Params() {
		if p.Key != paramFieldDefault && !(decimal && p.Key == connect.ParamScale) {
			add(p)
		}
	}
	if dst == nil {
		return nil
	}
	return append(append([]byte{'{'}, dst...), '}')
}

func textProp(key, value string) prop { return prop{key, quote(nil, value)} }

func intProp(key string, value int) prop { return prop{key, strconv.AppendInt(nil, int64(value), 10)} }
