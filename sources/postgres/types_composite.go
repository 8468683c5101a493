package postgres

import (
	"fmt"

	"github.com/tidemill/tidemill/connect"
)

// compositeCodec reads values of a composite type, which may also be the row type of
// a table.
type compositeCodec struct {
	name   string
	schema *connect.Schema
	fields []codec
	// known tells that the type was asked for anew because of a value with another
	// number of fields, so that it is the value that is wrong.
	known bool
}

// compileComposite maps a composite type to a struct with its name and the same
// fields, all of which may be null.
func (t *typeTable) compileComposite(info *typeInfo) (codec, error) {
	name := info.schema + "." + info.name
	c := &compositeCodec{name: name, known: t.asked[name]}
	def := connect.SchemaDef{Kind: connect.KindStruct, Name: t.modes.schemaName(t.modes.prefix + "." + name)}
	binary := true
	for _, at := range info.attributes {
		cd, err := t.compile(at.typ, at.mod, at.dims)
		if err != nil && t.modes.unknown {
			cd, err = opaqueCodec(t.modes), nil
		}
		if err != nil {
			return codec{}, fmt.Errorf("%s with the field %s of %w", name, at.name, err)
		}
		c.fields = append(c.fields, cd)
		binary = binary && cd.binary != nil
		def.Fields = append(def.Fields, connect.Field{Name: t.modes.fieldName(at.name), Schema: cd.schema.AsOptional()})
	}
	var err error
	if c.schema, err = def.Build(); err != nil {
		return codec{}, fmt.Errorf("%s: %w: %w", name, err, errUnknownType)
	}
	cd := codec{schema: c.schema, decode: c.decode}
	if binary {
		cd.binary = c.binary
	}
	return cd, nil
}

// stale is the error of a value with another number of fields: the type was altered
// since it was asked for, which is done again once.
func (c *compositeCodec) stale(err error) error {
	if c.known {
		return err
	}
	return &staleError{c.name}
}

// decode reads (1,"a ""b""",): fields that are left out are null.
func (c *compositeCodec) decode(a *arena, text []byte) (connect.Value, error) {
	if len(text) < 2 || text[0] != '(' || text[len(text)-1] != ')' {
		return connect.Value{}, badText(c.name, text)
	}
	values := a.row(len(c.fields))
	body := text[1:]
	for i := range c.fields {
		item, null, rest, ok := nextField(body)
		if !ok {
			return connect.Value{}, badText(c.name, text)
		}
		if last := i == len(c.fields)-1; last != (rest[0] == ')') {
			return connect.Value{}, c.stale(badText(c.name, text))
		}
		body = rest[1:]
		if null {
			continue
		}
		v, err := c.fields[i].decode(a, item)
		if err != nil {
			return connect.Value{}, err
		}
		values[i] = v
	}
	if len(c.fields) == 0 && view(body) == ")" {
		body = nil
	}
	if len(body) > 0 {
		return connect.Value{}, badText(c.name, text)
	}
	return a.structure(c.schema, values), nil
}

// nextField returns the field that body begins with, without its quotes, and what
// follows it, which begins with a comma or the closing parenthesis.
func nextField(body []byte) (item []byte, null bool, rest []byte, ok bool) {
	if len(body) == 0 {
		return nil, false, nil, false
	}
	if body[0] != '"' {
		for i, c := range body {
			if c == ',' || c == ')' {
				return body[:i], i == 0, body[i:], true
			}
		}
		return nil, false, nil, false
	}
	var plain []byte // Only with quotes or backslashes inside.
	from := 1
	for i := 1; i < len(body); i++ {
		switch c := body[i]; {
		case c == '"' && i+1 < len(body) && body[i+1] != '"':
			item = body[from:i]
			if plain != nil {
				item = append(plain, item...)
			}
			rest = body[i+1:]
			return item, false, rest, rest[0] == ',' || rest[0] == ')'
		case (c == '"' || c == '\\') && i+1 < len(body):
			if plain == nil {
				plain = make([]byte, 0, len(body))
			}
			plain = append(plain, body[from:i]...)
			i++
			from = i
		}
	}
	return nil, false, nil, false
}

// binary reads what record_send of the server's rowtypes.c writes: the number of
// fields, and for each its type, length and bytes.
func (c *compositeCodec) binary(a *arena, b []byte) (connect.Value, error) {
	r := cursor{b: b}
	n := r.u32()
	if r.short {
		return connect.Value{}, badBinary(c.name, b)
	}
	if int64(n) != int64(len(c.fields)) {
		return connect.Value{}, c.stale(badBinary(c.name, b))
	}
	values := a.row(len(c.fields))
	for i := range c.fields {
		r.u32()
		v, err := r.value(a, c.fields[i].binary)
		if err != nil {
			return connect.Value{}, err
		}
		values[i] = v
	}
	if r.short || len(r.b) > 0 {
		return connect.Value{}, badBinary(c.name, b)
	}
	return a.structure(c.schema, values), nil
}
