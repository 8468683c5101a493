package avro

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/tidemill/tidemill/connect"
)

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

var errNullType = errors.New("the type null stands alone, and Connect has no such schema")

// interpreter makes Connect schemas of Avro's.
type interpreter struct {
	mapping
	open map[*node]bool // Records on the way from the top to here.
	done map[met]*connect.Schema
}

// met is a record that has been met before, so that one of many references costs
// no more than it is long.
type met struct {
	record     *node
	hasDefault bool
}

// toConnect returns the Connect schema for n; nil for Confluent's record of values
// of any kind.
func (m mapping) toConnect(n *node) (*connect.Schema, error) {
	if isAnything(n) {
		return nil, nil
	}
	if size := (measure{}).of(n); size > maxValues {
		return nil, fmt.Errorf("with its types written out wherever they are named, the schema has more than %d", maxValues)
	}
	i := interpreter{mapping: m, open: map[*node]bool{}, done: map[met]*connect.Schema{}}
	return i.schema(n, nil)
}

// maxValues bounds the schemas in a schema when those named several times count
// each time, as they do to whoever walks over a Connect schema.
const maxValues = 1 << 17

// measure holds how many schemas stand in a record, so counted.
type measure map[*node]int

func (m measure) of(n *node) int {
	if size, ok := m[n]; ok {
		return size
	}
	size := 1
	if n.typ == tRecord {
		m[n] = 0 // A record in itself is refused elsewhere.
	}
	for _, f := range n.fields {
		size = min(size+m.of(f.node), maxValues+1)
	}
	for _, t := range n.types {
		size = min(size+m.of(t), maxValues+1)
	}
	if n.elem != nil {
		size = min(size+m.of(n.elem), maxValues+1)
	}
	if n.typ == tRecord {
		m[n] = size
	}
	return size
}

// outline is a Connect schema in the making, and the default a record's field
// gives it.
type outline struct {
	connect.SchemaDef
	params map[string]string
}

func (i *interpreter) schema(n *node, def json.RawMessage) (*connect.Schema, error) {
	if n.typ == tUnion {
		return i.union(n, def)
	}
	key := met{n, def != nil && string(def) != "null"}
	if s := i.done[key]; s != nil {
		return s, nil
	}
	o := outline{params: map[string]string{}}
	if err := i.shape(&o, n); err != nil {
		return nil, err
	}
	if err := i.describe(&o, n); err != nil {
		return nil, err
	}
	o.takeDefault(i.mapping, n, def)
	s, err := o.build()
	if n.typ == tRecord {
		i.done[key] = s
	}
	return s, err
}

func (o *outline) build() (*connect.Schema, error) {
	o.Params = nil
	for _, k := range sortedKeys(o.params) {
		o.Params = append(o.Params, connect.Param{Key: k, Value: o.params[k]})
	}
	return o.Build()
}

// shape sets what values look like.
func (i *interpreter) shape(o *outline, n *node) (err error) {
	switch n.typ {
	case tNull:
		return errNullType
	case tBoolean:
		o.Kind = connect.KindBool
	case tInt:
		return o.intShape(n)
	case tLong:
		o.Kind = connect.KindInt64
		if n.logical() == "timestamp-millis" {
			o.Name, o.Version = connect.LogicalTimestamp, 1
		}
	case tFloat:
		o.Kind = connect.KindFloat32
	case tDouble:
		o.Kind = connect.KindFloat64
	case tString:
		o.Kind = connect.KindString
	case tBytes, tFixed:
		o.bytesShape(n)
	case tEnum:
		o.enumShape(n, i.metadata)
	case tArray:
		return i.arrayShape(o, n)
	case tMap:
		o.Kind, o.Key = connect.KindMap, connect.Of(connect.KindString)
		o.Elem, err = i.schema(n.elem, nil)
	case tRecord:
		return i.recordShape(o, n)
	}
	return err
}

func (o *outline) intShape(n *node) error {
	o.Kind = connect.KindInt32
	marked, _ := n.text(propType)
	switch logical := n.logical(); {
	case logical == "date":
		o.Name, o.Version = connect.LogicalDate, 1
	case logical == "time-millis":
		o.Name, o.Version = connect.LogicalTime, 1
	case logical != "" || marked == "":
	case marked == "int8":
		o.Kind = connect.KindInt8
	case marked == "int16":
		o.Kind = connect.KindInt16
	default:
		return fmt.Errorf("%s is %q, which is no type of integers", propType, marked)
	}
	return nil
}

func (o *outline) bytesShape(n *node) {
	o.Kind = connect.KindBytes
	if n.logical() == "decimal" {
		o.Name, o.Version = connect.LogicalDecimal, 1
		scale, _ := n.number("scale")
		o.params[connect.ParamScale] = strconv.Itoa(scale)
		if p, ok := n.number("precision"); ok && p != unknownPrecision {
			o.params[connect.ParamPrecision] = strconv.Itoa(p)
		}
	}
	if n.typ == tFixed {
		o.params[paramFixedSize] = strconv.Itoa(n.size)
		if o.Name == "" {
			o.Name = n.name
		}
	}
}

func (o *outline) enumShape(n *node, metadata bool) {
	o.Kind, o.Name = connect.KindString, n.name
	_, simple := splitName(n.name)
	if metadata && n.doc != "" {
		o.params[paramEnumDoc+simple] = n.doc
	}
	if metadata && n.unknown != "" {
		o.params[paramEnumDefault+simple] = n.unknown
	}
	o.params[paramEnum] = n.name
	for _, symbol := range n.symbols {
		o.params[paramEnum+"."+symbol] = symbol
	}
}

// isEntry tells whether an array of n stands for a map whose keys are no strings.
func isEntry(n *node) bool {
	internal, _ := n.text(propInternal)
	return n.typ == tRecord && (n.name == entryName || internal == "MapEntry")
}

func (i *interpreter) arrayShape(o *outline, n *node) (err error) {
	if !isEntry(n.elem) {
		o.Kind = connect.KindArray
		o.Elem, err = i.schema(n.elem, nil)
		return err
	}
	f := n.elem.fields
	if len(f) != 2 || f[0].name != "key" || f[1].name != "value" {
		return errors.New("the entries of a map have other fields than key and value")
	}
	o.Kind = connect.KindMap
	if o.Key, err = i.schema(f[0].node, nil); err != nil {
		return err
	}
	o.Elem, err = i.schema(f[1].node, nil)
	return err
}

func (i *interpreter) recordShape(o *outline, n *node) error {
	if i.open[n] {
		return fmt.Errorf("the record %s contains itself, and Connect's schemas do not", n.name)
	}
	i.open[n] = true
	defer delete(i.open, n)
	o.Kind = connect.KindStruct
	if !strings.HasPrefix(n.name, defaultName) {
		o.Name = n.name
	}
	if i.metadata && n.doc != "" {
		o.params[paramRecordDoc] = n.doc
	}
	for _, f := range n.fields {
		if i.metadata && f.doc != "" {
			o.params[paramFieldDoc+f.name] = f.doc
		}
		s, err := i.schema(f.node, f.def)
		if err != nil {
			return fmt.Errorf("field %s of %s: %w", f.name, n.name, err)
		}
		if params := findProp(f.props, propParams); i.metadata && params != nil {
			if s, err = withParams(s, params); err != nil {
				return fmt.Errorf("field %s of %s: %w", f.name, n.name, err)
			}
		}
		o.Fields = append(o.Fields, connect.Field{Name: f.name, Schema: s})
	}
	return nil
}

// withParams returns s with the parameters a field adds to a type that has been
// named before.
func withParams(s *connect.Schema, raw json.RawMessage) (*connect.Schema, error) {
	o := outline{SchemaDef: s.Def(), params: map[string]string{}}
	for _, p := range s.Params() {
		o.params[p.Key] = p.Value
	}
	if err := o.addParams(raw); err != nil {
		return nil, err
	}
	return o.build()
}

func (o *outline) addParams(raw json.RawMessage) error {
	var params map[string]string
	if err := json.Unmarshal(raw, &params); err != nil {
		return fmt.Errorf("%s is no object of strings", propParams)
	}
	maps.Copy(o.params, params)
	return nil
}

// describe adds what Connect once said of the schema.
func (i *interpreter) describe(o *outline, n *node) error {
	if version, ok := n.number(propVersion); ok {
		o.Version = version
	}
	if name, ok := n.text(propName); ok && logicalTypes[o.Name] == "" {
		o.Name = name
		if strings.HasPrefix(name, defaultName) {
			o.Name = ""
		}
	}
	for _, p := range n.props {
		if strings.HasPrefix(p.key, paramAvro) {
			text, ok := n.text(p.key)
			if !ok {
				text = string(p.value)
			}
			o.params[p.key] = text
		}
	}
	if !i.metadata {
		return nil
	}
	o.Doc, _ = n.text(propDoc)
	if params := n.prop(propParams); params != nil {
		return o.addParams(params)
	}
	return nil
}

// takeDefault sets the default: that of the record's field, else the one Connect
// had. A default that does not fit its type is let go, as Confluent's converter
// does, since no value is written by it.
func (o *outline) takeDefault(m mapping, n *node, field json.RawMessage) {
	connected := n.prop(propDefault)
	raw := field
	if raw == nil || string(raw) == "null" {
		raw = connected
	} else if m.metadata && connected == nil {
		o.params[paramFieldDefault] = "true"
	}
	if raw == nil || o.Kind == connect.KindStruct {
		return
	}
	s, err := o.build()
	if err != nil {
		return
	}
	if v, err := defaultValue(s, raw); err == nil && s.AsOptional().Check(v) == nil {
		o.Default = v
	}
}

func (i *interpreter) union(n *node, def json.RawMessage) (*connect.Schema, error) {
	if len(n.types) == 1 && i.flatten {
		return i.schema(n.types[0], nil)
	}
	if null, some := nullable(n); some != nil && null >= 0 {
		s, err := i.schema(some, nil)
		return s.AsOptional(), err
	}
	o := outline{SchemaDef: connect.SchemaDef{Kind: connect.KindStruct, Name: unionName}, params: map[string]string{}}
	if i.metadata && def != nil {
		o.params[paramFieldDefault] = "true"
	}
	for _, t := range n.types {
		if t.typ == tNull {
			o.Optional = true
			continue
		}
		s, err := i.schema(t, nil)
		if err != nil {
			return nil, err
		}
		o.Fields = append(o.Fields, connect.Field{Name: i.memberName(t), Schema: s.AsOptional()})
	}
	return o.build()
}

// nullable tells whether a union is of null and one other type: where null stands,
// and the other type; nil when it is not.
func nullable(n *node) (null int, some *node) {
	if len(n.types) != 2 {
		return -1, nil
	}
	for i, t := range n.types {
		if t.typ == tNull && n.types[1-i].typ != tNull {
			return i, n.types[1-i]
		}
	}
	return -1, nil
}
