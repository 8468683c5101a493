package json

import (
	"errors"

	"github.com/tidemill/tidemill/connect"
)

// options are the settings that change how values are written and read.
type options struct {
	numeric bool // Decimals are written as numbers.
	replace bool // A schema's default stands in for an absent value.
}

// plan is what a schema says, put in the form that writing and reading need.
type plan struct {
	options
	schema   *connect.Schema
	required *connect.Schema // The schema as a struct's own, which is rarely optional.
	kind     connect.Kind
	optional bool
	def      connect.Value // Stands for an absent value; null for none.
	decimal  bool
	scale    int
	fields   []field
	byName   map[string]int
	key      *plan
	elem     *plan
	envelope []byte // {"schema":…,"payload":
}

// field is one field of a struct: its name, and the name as the text writes it with
// quotes and colon.
type field struct {
	name  string
	label []byte
	*plan
}

// compiler makes plans and keeps them, for use by one goroutine.
type compiler struct {
	options
	limit int
	plans map[*connect.Schema]*plan
	last  *plan
}

func newCompiler(o options, limit int) *compiler {
	return &compiler{options: o, limit: limit, plans: map[*connect.Schema]*plan{}}
}

// plan returns the plan of a whole value's schema, which may be nil.
func (c *compiler) plan(s *connect.Schema) (*plan, error) {
	if c.last != nil && c.last.schema == s {
		return c.last, nil
	}
	p, ok := c.plans[s]
	if !ok {
		if len(c.plans) >= c.limit {
			clear(c.plans)
		}
		p = c.compile(s)
		text, err := appendSchema([]byte(`{"schema":`), p, "")
		if err != nil {
			return nil, err
		}
		p.envelope = append(text, `,"payload":`...)
		c.plans[s] = p
	}
	c.last = p
	return p, nil
}

func (c *compiler) compile(s *connect.Schema) *plan {
	p := &plan{options: c.options, schema: s}
	if s == nil {
		p.key, p.elem = p, p
		return p
	}
	p.kind, p.optional, p.def = s.Kind(), s.Optional(), s.Default()
	p.scale, p.decimal = s.DecimalScale()
	switch p.kind {
	case connect.KindStruct:
		p.required = s.AsRequired()
		for _, f := range s.Fields() {
			label := append(appendString(nil, f.Name), ':')
			p.fields = append(p.fields, field{f.Name, label, c.compile(f.Schema)})
		}
		if len(p.fields) > 8 {
			p.byName = make(map[string]int, len(p.fields))
			for i, f := range p.fields {
				p.byName[f.name] = i
			}
		}
	case connect.KindMap:
		p.key, p.elem = c.compile(s.Key()), c.compile(s.Elem())
	case connect.KindArray:
		p.elem = c.compile(s.Elem())
	}
	return p
}

// find returns the place of the field of that name, or -1. Fields mostly come in
// order, so the caller says which it expects.
func (p *plan) find(name []byte, expected int) int {
	if expected < len(p.fields) && p.fields[expected].name == string(name) {
		return expected
	}
	if p.byName != nil {
		if i, ok := p.byName[string(name)]; ok {
			return i
		}
		return -1
	}
	for i := range p.fields {
		if p.fields[i].name == string(name) {
			return i
		}
	}
	return -1
}

var errNull = errors.New("it is absent, but neither optional nor has it a default")

// absent returns what stands for an absent value.
func (p *plan) absent() (connect.Value, error) {
	if p.replace && !p.def.IsNull() {
		return p.def, nil
	}
	if p.optional {
		return connect.Value{}, nil
	}
	return connect.Value{}, errNull
}

// owns tells whether st is a struct of the plan's schema.
func (p *plan) owns(st *connect.Struct) bool {
	s := st.Schema()
	return s == p.schema || s == p.required || s.AsRequired() == p.required
}
