package json

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/tidemill/tidemill/connect"
)

// typeNames are what a schema's type is called in JSON.
var typeNames = map[connect.Kind]string{
	connect.KindInt8: "int8", connect.KindInt16: "int16", connect.KindInt32: "int32", connect.KindInt64: "int64",
	connect.KindFloat32: "float", connect.KindFloat64: "double", connect.KindBool: "boolean",
	connect.KindString: "string", connect.KindBytes: "bytes",
	connect.KindArray: "array", connect.KindMap: "map", connect.KindStruct: "struct",
}

// appendSchema appends p's schema as JSON, its parts in the order Kafka Connect
// writes them; fieldName is that of the struct's field it belongs to, empty for
// none.
func appendSchema(dst []byte, p *plan, fieldName string) ([]byte, error) {
	if p.schema == nil {
		return append(dst, "null"...), nil
	}
	s := p.schema
	dst = append(append(append(dst, `{"type":"`...), typeNames[p.kind]...), '"')
	dst, err := appendChildren(dst, p)
	if err != nil {
		return dst, err
	}
	dst = strconv.AppendBool(append(dst, `,"optional":`...), s.Optional())
	if s.Name() != "" {
		dst = appendString(append(dst, `,"name":`...), s.Name())
	}
	if s.Version() != 0 {
		dst = strconv.AppendInt(append(dst, `,"version":`...), int64(s.Version()), 10)
	}
	if s.Doc() != "" {
		dst = appendString(append(dst, `,"doc":`...), s.Doc())
	}
	dst = appendParams(dst, s)
	if !p.def.IsNull() {
		if dst, err = p.append(append(dst, `,"default":`...), p.def); err != nil {
			return dst, fmt.Errorf("default of %s: %w", s, err)
		}
	}
	if fieldName != "" {
		dst = appendString(append(dst, `,"field":`...), fieldName)
	}
	return append(dst, '}'), nil
}

// appendParams appends a schema's parameters, if it has any. A decimal's scale
// comes first, where its maker puts it.
func appendParams(dst []byte, s *connect.Schema) []byte {
	if len(s.Params()) == 0 {
		return dst
	}
	dst = append(dst, `,"parameters":{`...)
	start := len(dst)
	add := func(p connect.Param) {
		if len(dst) > start {
			dst = append(dst, ',')
		}
		dst = appendString(append(appendString(dst, p.Key), ':'), p.Value)
	}
	scale, decimal := s.Param(connect.ParamScale)
	if decimal = decimal && s.Name() == connect.LogicalDecimal; decimal {
		add(connect.Param{Key: connect.ParamScale, Value: scale})
	}
	for _, p := range s.Params() {
		if !decimal || p.Key != connect.ParamScale {
			add(p)
		}
	}
	return append(dst, '}')
}

func appendChildren(dst []byte, p *plan) ([]byte, error) {
	var err error
	switch p.kind {
	case connect.KindArray:
		return appendSchema(append(dst, `,"items":`...), p.elem, "")
	case connect.KindMap:
		if dst, err = appendSchema(append(dst, `,"keys":`...), p.key, ""); err != nil {
			return dst, err
		}
		return appendSchema(append(dst, `,"values":`...), p.elem, "")
	case connect.KindStruct:
		dst = append(dst, `,"fields":[`...)
		for i, f := range p.fields {
			if i > 0 {
				dst = append(dst, ',')
			}
			if dst, err = appendSchema(dst, f.plan, f.name); err != nil {
				return dst, err
			}
		}
		return append(dst, ']'), nil
	}
	return dst, nil
}

// span is a piece of the text.
type span struct{ from, to int }

// described is a schema as its JSON says it, with the parts that cannot be put
// together before all is read.
type described struct {
	def        connect.SchemaDef
	typ, field string
	fields     bool
	fallback   span // Of the default.
}

var errNoType = errors.New(`a schema has no "type"`)

// parseSchema reads a schema's JSON; null is no schema.
func parseSchema(c *compiler, text []byte) (*connect.Schema, error) {
	d := decoder{scanner: scanner{data: text}, slab: &slab{}, options: c.options}
	s, _, err := d.schema(c, 0)
	if err != nil {
		return nil, fmt.Errorf("in its schema: %w", err)
	}
	return s, nil
}

// schema reads one schema, and the name of the field it belongs to.
func (d *decoder) schema(c *compiler, depth int) (*connect.Schema, string, error) {
	if d.literal("null") {
		return nil, "", nil
	}
	if depth > maxDepth {
		return nil, "", errDepth
	}
	var r described
	err := d.object(func(key []byte) error { return d.schemaPart(c, &r, string(key), depth) })
	if err != nil {
		return nil, "", err
	}
	kind, ok := kindOf(r.typ)
	switch {
	case r.typ == "":
		return nil, "", errNoType
	case !ok:
		return nil, "", fmt.Errorf("unknown schema type %q", r.typ)
	case kind == connect.KindStruct && !r.fields:
		return nil, "", errors.New(`the schema of a struct has no "fields"`)
	}
	r.def.Kind = kind
	r.drop()
	s, err := r.def.Build()
	if err != nil || r.fallback.to == 0 {
		return s, r.field, err
	}
	value := decoder{scanner: scanner{data: d.data[:r.fallback.to], at: r.fallback.from}, slab: d.slab, options: d.options}
	if r.def.Default, err = value.value(c.compile(s), depth); err != nil {
		return nil, "", fmt.Errorf("its default: %w", err)
	}
	s, err = r.def.Build()
	return s, r.field, err
}

// drop takes away the parts that do not belong to the type, which Kafka Connect
// does not look at either.
func (r *described) drop() {
	if r.def.Kind != connect.KindStruct {
		r.def.Fields = nil
	}
	if r.def.Kind != connect.KindMap {
		r.def.Key = nil
	}
	if r.def.Kind != connect.KindMap && r.def.Kind != connect.KindArray {
		r.def.Elem = nil
	}
}

func kindOf(name string) (connect.Kind, bool) {
	for k, n := range typeNames {
		if n == name {
			return k, true
		}
	}
	return connect.KindNull, false
}

// schemaPart reads what stands under one key of a schema.
func (d *decoder) schemaPart(c *compiler, r *described, key string, depth int) (err error) {
	switch key {
	case "type":
		r.typ, err = d.text()
	case "field":
		r.field, err = d.text()
	case "name":
		r.def.Name, err = d.textOrNull()
	case "doc":
		r.def.Doc, err = d.textOrNull()
	case "optional":
		r.def.Optional = d.literal("true")
		if !r.def.Optional && !d.literal("false") {
			err = d.skip(0)
		}
	case "version":
		err = d.schemaVersion(r)
	case "parameters":
		err = d.parameters(r)
	case "default":
		if !d.literal("null") {
			r.fallback.from = d.at
			err = d.skip(depth)
			r.fallback.to = d.at
		}
	case "items", "values":
		r.def.Elem, _, err = d.schema(c, depth+1)
	case "keys":
		r.def.Key, _, err = d.schema(c, depth+1)
	case "fields":
		r.fields = true
		err = d.array(func() error {
			s, name, err := d.schema(c, depth+1)
			r.def.Fields = append(r.def.Fields, connect.Field{Name: name, Schema: s})
			return err
		})
	default:
		err = d.skip(depth)
	}
	return err
}

func (d *decoder) schemaVersion(r *described) error {
	if d.literal("null") {
		return nil
	}
	n, err := d.integer(connect.KindInt32)
	r.def.Version = int(n)
	return err
}

func (d *decoder) parameters(r *described) error {
	if d.literal("null") {
		return nil
	}
	return d.object(func(key []byte) error {
		name := string(key)
		text, err := d.text()
		r.def.Params = append(r.def.Params, connect.Param{Key: name, Value: text})
		return err
	})
}
