package postgres

import (
	"bytes"
	"fmt"

	"github.com/tidemill/tidemill/connect"
)

// compileArray maps an array to one of optional elements.
func (t *typeTable) compileArray(info *typeInfo, mod int32) (codec, error) {
	elem, err := t.compile(info.elem, mod)
	if err != nil {
		return codec{}, fmt.Errorf("array of %w", err)
	}
	delim := info.delim
	if delim == 0 {
		delim = ','
	}
	s := connect.SchemaDef{Kind: connect.KindArray, Elem: elem.schema.AsOptional()}.MustBuild()
	return codec{schema: s, decode: func(a *arena, text []byte) (connect.Value, error) {
		return decodeArray(a, text, delim, elem.decode)
	}}, nil
}

// decodeArray reads {a,"b c",NULL}. Bounds other than from 1 ("[0:1]={a,b}") are
// left out of the value, as Connect's arrays have none.
func decodeArray(a *arena, text []byte, delim byte, elem decodeFunc) (connect.Value, error) {
	body := text
	if len(body) > 0 && body[0] == '[' {
		if i := bytes.IndexByte(body, '='); i > 0 {
			body = body[i+1:]
		}
	}
	if len(body) < 2 || body[0] != '{' || body[len(body)-1] != '}' {
		return connect.Value{}, badText("array", text)
	}
	body = body[1 : len(body)-1]
	if len(body) > 0 && body[0] == '{' {
		return connect.Value{}, badText("one-dimensional array (it has more dimensions)", text)
	}
	elems := a.row(countElements(body, delim))
	for i := range elems {
		item, quoted, rest, ok := nextElement(body, delim)
		if !ok {
			return connect.Value{}, badText("array", text)
		}
		body = rest
		if !quoted && view(item) == "NULL" {
			continue
		}
		v, err := elem(a, item)
		if err != nil {
			return connect.Value{}, err
		}
		elems[i] = v
	}
	return connect.Array(elems), nil
}

func countElements(body []byte, delim byte) int {
	if len(body) == 0 {
		return 0
	}
	n, inside := 1, false
	for i := 0; i < len(body); i++ {
		switch c := body[i]; {
		case c == '\\':
			i++
		case c == '"':
			inside = !inside
		case c == delim && !inside:
			n++
		}
	}
	return n
}

// nextElement returns the next element without its quotes and what follows its
// delimiter. An element with escapes is written out in a buffer of its own.
func nextElement(body []byte, delim byte) (item []byte, quoted bool, rest []byte, ok bool) {
	if len(body) == 0 || body[0] != '"' {
		i := bytes.IndexByte(body, delim)
		if i < 0 {
			return body, false, nil, true
		}
		return body[:i], false, body[i+1:], true
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
			continue
		case c == '"':
			item = body[:i]
			if escaped != nil {
				item = escaped
			}
			if rest = body[i+1:]; len(rest) > 0 {
				if rest[0] != delim {
					return nil, true, nil, false
				}
				rest = rest[1:]
			}
			return item, true, rest, true
		case escaped != nil:
			escaped = append(escaped, c)
		}
	}
	return nil, true, nil, false
}
