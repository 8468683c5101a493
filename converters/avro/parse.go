package avro

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Limits on schemas: people write wide ones, but not deep ones.
const (
	maxSchemaBytes = 16 << 20
	maxSchemaDepth = 200
)

var (
	errTooDeep  = fmt.Errorf("types stand in one another more than %d deep", maxSchemaDepth)
	errTooLarge = fmt.Errorf("the schema has more than %d bytes", maxSchemaBytes)
)

// parser reads the JSON of schemas. Names it has met stay known to it, so that
// schemas others refer to are read first. Aliases are of no concern: only what a
// writer wrote is ever read.
type parser struct {
	names map[string]*node
	depth int
}

// parse reads a schema as Avro's specification defines it, section "Schema
// Declaration". Names and defaults are taken as they are: a registry has let them
// pass.
func (p *parser) parse(text string) (*node, error) {
	if len(text) > maxSchemaBytes {
		return nil, errTooLarge
	}
	if p.names == nil {
		p.names = map[string]*node{}
	}
	trimmed := strings.TrimSpace(text)
	if !json.Valid([]byte(trimmed)) {
		return p.lookup(trimmed, "") // A bare name, which some registries give out.
	}
	return p.schema(json.RawMessage(trimmed), "")
}

func (p *parser) schema(raw json.RawMessage, space string) (*node, error) {
	if p.depth++; p.depth > maxSchemaDepth {
		return nil, errTooDeep
	}
	defer func() { p.depth-- }()
	switch {
	case len(raw) == 0:
		return nil, errors.New("a type is missing")
	case raw[0] == '"':
		var name string
		if err := json.Unmarshal(raw, &name); err != nil {
			return nil, err
		}
		return p.lookup(name, space)
	case raw[0] == '[':
		return p.union(raw, space)
	case raw[0] != '{':
		return nil, fmt.Errorf("%.40s is no type", raw)
	}
	var attrs map[string]json.RawMessage
	if err := json.Unmarshal(raw, &attrs); err != nil {
		return nil, err
	}
	if t := attrs["type"]; len(t) > 0 && t[0] != '"' {
		return p.schema(t, space)
	}
	return p.object(attrs, space)
}

func primitive(name string) (avroType, bool) {
	i := slices.Index(typeNames[:tString+1], name)
	return avroType(i), i >= 0
}

func (p *parser) lookup(name, space string) (*node, error) {
	if t, ok := primitive(name); ok {
		return &node{typ: t}, nil
	}
	if !strings.Contains(name, ".") && space != "" {
		if n, ok := p.names[space+"."+name]; ok {
			return n, nil
		}
	}
	if n, ok := p.names[name]; ok {
		return n, nil
	}
	return nil, fmt.Errorf("the type %q is not defined", name)
}

func (p *parser) union(raw json.RawMessage, space string) (*node, error) {
	var list []json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, err
	}
	n := &node{typ: tUnion}
	for _, member := range list {
		m, err := p.schema(member, space)
		if err != nil {
			return nil, err
		}
		if m.typ == tUnion {
			return nil, errors.New("a union stands in a union")
		}
		n.types = append(n.types, m)
	}
	if len(n.types) == 0 {
		return nil, errors.New("a union has no members")
	}
	return n, nil
}

// reserved are the attributes that are part of a type's own declaration.
var reserved = []string{"type", "name", "namespace", "fields", "symbols", "size", "items", "values", "doc", "aliases"}

func (p *parser) object(attrs map[string]json.RawMessage, space string) (*node, error) {
	typ, err := textOf(attrs, "type")
	if err != nil {
		return nil, err
	}
	n := &node{props: propsOf(attrs, reserved)}
	switch typ {
	case "record", "error":
		return p.record(n, attrs, space)
	case "enum":
		n.typ = tEnum
		if err := json.Unmarshal(attrs["symbols"], &n.symbols); err != nil || n.symbols == nil {
			return nil, errors.New("an enum has no symbols")
		}
		n.unknown, _ = n.text("default")
	case "fixed":
		n.typ = tFixed
		if err := json.Unmarshal(attrs["size"], &n.size); err != nil || n.size < 0 {
			return nil, errors.New("a fixed has no size")
		}
	case "array":
		n.typ = tArray
		n.elem, err = p.schema(attrs["items"], space)
		return n, err
	case "map":
		n.typ = tMap
		n.elem, err = p.schema(attrs["values"], space)
		return n, err
	default:
		if t, ok := primitive(typ); ok {
			n.typ = t
			return n, nil
		}
		return p.lookup(typ, space)
	}
	return n, p.define(n, attrs, space)
}

// define gives n its name.
func (p *parser) define(n *node, attrs map[string]json.RawMessage, space string) error {
	name, err := textOf(attrs, "name")
	if err != nil {
		return err
	}
	n.doc, _ = textOf(attrs, "doc")
	if ns, err := textOf(attrs, "namespace"); err == nil {
		space = ns
	}
	n.name = name
	if !strings.Contains(name, ".") && space != "" {
		n.name = space + "." + name
	}
	if _, twice := p.names[n.name]; twice {
		return fmt.Errorf("the type %q is defined twice", n.name)
	}
	p.names[n.name] = n
	return nil
}

func (p *parser) record(n *node, attrs map[string]json.RawMessage, space string) (*node, error) {
	n.typ = tRecord
	if err := p.define(n, attrs, space); err != nil {
		return nil, err
	}
	var fields []map[string]json.RawMessage
	if err := json.Unmarshal(attrs["fields"], &fields); err != nil {
		return nil, fmt.Errorf("record %s has no list of fields", n.name)
	}
	space, _ = splitName(n.name)
	for _, f := range fields {
		name, err := textOf(f, "name")
		if err != nil {
			return nil, fmt.Errorf("record %s: a field: %w", n.name, err)
		}
		typ, err := p.schema(f["type"], space)
		if err != nil {
			return nil, fmt.Errorf("field %s of %s: %w", name, n.name, err)
		}
		doc, _ := textOf(f, "doc")
		n.fields = append(n.fields, nodeField{
			name: name, doc: doc, node: typ, def: f["default"],
			props: propsOf(f, []string{"name", "type", "doc", "default", "order", "aliases"}),
		})
	}
	return n, nil
}

func textOf(attrs map[string]json.RawMessage, key string) (string, error) {
	var s string
	if raw, ok := attrs[key]; !ok || json.Unmarshal(raw, &s) != nil {
		return "", fmt.Errorf("%q is missing or no string", key)
	}
	return s, nil
}

// propsOf returns the attributes that are not in known, sorted.
func propsOf(attrs map[string]json.RawMessage, known []string) []prop {
	var props []prop
	for key, value := range attrs {
		if !slices.Contains(known, key) {
			props = append(props, prop{key, value})
		}
	}
	slices.SortFunc(props, func(a, b prop) int { return strings.Compare(a.key, b.key) })
	return props
}
