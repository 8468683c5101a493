package postgres

import (
	"bytes"
	"fmt"

	"github.com/tidemill/tidemill/connect"
)

// An array column does not say how many dimensions its values have: int[] may hold a
// matrix. A schema must say it, so it follows the declaration (int[][] has two), and
// a value of another depth is one that cannot be converted. Arrays without elements
// fit every depth. Bounds other than from 1 are left out of values, as Connect's
// arrays have none.

// arrayCodec reads arrays of one element type and depth.
type arrayCodec struct {
	elem  codec
	delim byte
	depth int
}

// compileArray maps an array to one of optional elements, nested when it was
// declared with several dimensions.
func (t *typeTable) compileArray(info *typeInfo, mod int32, dims int) (codec, error) {
	elem, err := t.compile(info.elem, mod, 0)
	if err != nil {
		return codec{}, fmt.Errorf("array of %w", err)
	}
	const mostDims = 6 // As in the server.
	c := &arrayCodec{elem: elem, delim: info.delim, depth: min(max(dims, 1), mostDims)}
	if c.delim == 0 {
		c.delim = ','
	}
	s := elem.schema.AsOptional()
	for range c.depth {
		s = connect.SchemaDef{Kind: connect.KindArray, Elem: s}.MustBuild()
	}
	cd := codec{schema: s, decode: c.decode}
	if elem.binary != nil {
		cd.binary = c.binary
	}
	return cd, nil
}

// wrongDepth is the error of a value with another number of dimensions.
func (c *arrayCodec) wrongDepth() error {
	return fmt.Errorf("an array does not have %d dimensions, as its column is declared; ALTER TABLE … ALTER COLUMN … TYPE with as many pairs of brackets as its values have declares it anew without rewriting the table", c.depth)
}

// decode reads {a,"b c",NULL}, or braces in braces.
func (c *arrayCodec) decode(a *arena, text []byte) (connect.Value, error) {
	body := text
	if len(body) > 0 && body[0] == '[' {
		if i := bytes.IndexByte(body, '='); i > 0 {
			body = body[i+1:]
		}
	}
	if view(body) == "{}" {
		return connect.Array(nil), nil
	}
	v, rest, err := c.level(a, body, c.depth)
	if err == nil && len(rest) > 0 {
		err = badText("array", text)
	}
	return v, err
}

// level reads the array that body begins with, of the given depth, and returns what
// follows it.
func (c *arrayCodec) level(a *arena, body []byte, depth int) (connect.Value, []byte, error) {
	if len(body) < 2 || body[0] != '{' {
		return connect.Value{}, nil, c.wrongDepth()
	}
	body = body[1:]
	if depth == 1 && body[0] == '{' {
		return connect.Value{}, nil, c.wrongDepth()
	}
	elems := a.row(countElements(body, c.delim))
	for i := range elems {
		var err error
		if depth > 1 {
			elems[i], body, err = c.level(a, body, depth-1)
		} else {
			elems[i], body, err = c.item(a, body)
		}
		if err != nil {
			return connect.Value{}, nil, err
		}
		last := i == len(elems)-1
		if len(body) == 0 || last && body[0] != '}' || !last && body[0] != c.delim {
			return connect.Value{}, nil, badText("array", body)
		}
		body = body[1:]
	}
	return connect.Array(elems), body, nil
}

// item reads one element and returns what follows it.
func (c *arrayCodec) item(a *arena, body []byte) (connect.Value, []byte, error) {
	item, quoted, rest, ok := nextElement(body, c.delim)
	if !ok {
		return connect.Value{}, nil, badText("array", body)
	}
	if !quoted && view(item) == "NULL" {
		return connect.Value{}, rest, nil
	}
	v, err := c.elem.decode(a, item)
	return v, rest, err
}

// countElements counts the elements of the array whose text, but for its first
// brace, body begins with.
func countElements(body []byte, delim byte) int {
	n, inside, open := 1, false, 0
	for i := 0; i < len(body); i++ {
		switch c := body[i]; {
		case c == '\\':
			i++
		case c == '"':
			inside = !inside
		case inside:
		case c == '{':
			open++
		case c == '}':
			if open--; open < 0 {
				return n
			}
		case c == delim && open == 0:
			n++
		}
	}
	return n
}

// nextElement returns the element that body begins with, without its quotes, and
// what follows it. An element with escapes is written out in a buffer of its own.
func nextElement(body []byte, delim byte) (item []byte, quoted bool, rest []byte, ok bool) {
	if len(body) == 0 || body[0] != '"' {
		for i, c := range body {
			if c == delim || c == '}' {
				return body[:i], false, body[i:], i > 0
			}
		}
		return nil, false, nil, false
	}
	body = body[1:]
	var escaped []byte
	for i := 0; i < len(body); i++ {
		switch c := body[i]; {
		case c == '\\' && i+1 < len(body):
			if escaped == nil {
				escaped = append(make([]byte, 0, len(body)), body[:i]...)
			}
			i++
			escaped = append(escaped, body[i])
		case c == '"':
			item = body[:i]
			if escaped != nil {
				item = escaped
			}
			return item, true, body[i+1:], true
		case escaped != nil:
			escaped = append(escaped, c)
		}
	}
	return nil, true, nil, false
}

// binary reads what array_send of the server's arrayfuncs.c writes: the number of
// dimensions, whether there are nulls, the type of the elements, for each dimension
// its length and lower bound, and the elements with their lengths.
func (c *arrayCodec) binary(a *arena, b []byte) (connect.Value, error) {
	r := cursor{b: b}
	dims := int(r.u32())
	r.u32()
	r.u32()
	if r.short || dims < 0 || dims > 6 {
		return connect.Value{}, badBinary("array", b)
	}
	if dims == 0 {
		return connect.Array(nil), nil
	}
	if dims != c.depth {
		return connect.Value{}, c.wrongDepth()
	}
	var lengths [6]int
	total := 1
	for i := range dims {
		lengths[i] = int(int32(r.u32()))
		r.u32()
		// Each element takes four bytes at least, so that a length that is made up
		// does not make us take memory.
		if lengths[i] <= 0 || lengths[i] > len(r.b)/4/total {
			return connect.Value{}, badBinary("array", b)
		}
		total *= lengths[i]
	}
	v, err := c.binaryLevel(a, &r, lengths[:dims])
	if err == nil && (r.short || len(r.b) > 0) {
		err = badBinary("array", b)
	}
	return v, err
}

func (c *arrayCodec) binaryLevel(a *arena, r *cursor, lengths []int) (connect.Value, error) {
	elems := a.row(lengths[0])
	for i := range elems {
		var err error
		if len(lengths) > 1 {
			elems[i], err = c.binaryLevel(a, r, lengths[1:])
		} else {
			elems[i], err = r.value(a, c.elem.binary)
		}
		if err != nil {
			return connect.Value{}, err
		}
	}
	return connect.Array(elems), nil
}

// value reads a length and as many bytes of a value's binary form; the length -1 is
// that of null.
func (c *cursor) value(a *arena, read decodeFunc) (connect.Value, error) {
	size := int32(c.u32())
	if size == -1 {
		return connect.Value{}, nil
	}
	raw := c.take(int(size))
	if c.short {
		return connect.Value{}, errShort
	}
	return read(a, raw)
}
