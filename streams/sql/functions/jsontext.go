package functions

import (
	"bytes"
	"encoding/json"
	"errors"

	"github.com/tidemill/tidemill/connect"
)

// mostNested is how deep arrays and objects may stand in one another.
const mostNested = 1000

var errJSON = errors.New("the text is no JSON")

// jsonRoot returns the value that a text begins with, nil for an empty text. What
// follows it does not matter, as in ksqlDB, unless it runs on from a number or a word.
func jsonRoot(text []byte) ([]byte, error) {
	start := jsonSpace(text, 0)
	if start == len(text) {
		return nil, nil
	}
	end := jsonEnd(text, start, 0)
	if end < 0 {
		return nil, errJSON
	}
	if c := text[start]; c != '{' && c != '[' && c != '"' && end < len(text) && jsonSpace(text, end) == end {
		return nil, errJSON
	}
	return text[start:end], nil
}

func jsonSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\t' || b[i] == '\n' || b[i] == '\r') {
		i++
	}
	return i
}

// jsonEnd returns where the value that begins at i ends, -1 when it is none.
func jsonEnd(b []byte, i, depth int) int {
	if i >= len(b) || depth > mostNested {
		return -1
	}
	switch b[i] {
	case '"':
		return jsonStringEnd(b, i)
	case '[':
		return jsonListEnd(b, i, depth, ']', func(i int) int { return jsonEnd(b, i, depth+1) })
	case '{':
		return jsonListEnd(b, i, depth, '}', func(i int) int {
			if i >= len(b) || b[i] != '"' {
				return -1
			}
			if i = jsonStringEnd(b, i); i < 0 {
				return -1
			}
			if i = jsonSpace(b, i); i >= len(b) || b[i] != ':' {
				return -1
			}
			return jsonEnd(b, jsonSpace(b, i+1), depth+1)
		})
	}
	for _, word := range [...]string{"true", "false", "null"} {
		if bytes.HasPrefix(b[i:], []byte(word)) {
			return i + len(word)
		}
	}
	return jsonNumberEnd(b, i)
}

// jsonListEnd passes over an array or an object; item passes over what stands
// between its commas.
func jsonListEnd(b []byte, i, depth int, closing byte, item func(i int) int) int {
	if i = jsonSpace(b, i+1); i < len(b) && b[i] == closing {
		return i + 1
	}
	for {
		if i = item(i); i < 0 {
			return -1
		}
		if i = jsonSpace(b, i); i >= len(b) {
			return -1
		}
		if b[i] == closing {
			return i + 1
		}
		if b[i] != ',' {
			return -1
		}
		i = jsonSpace(b, i+1)
	}
}

func jsonStringEnd(b []byte, i int) int {
	for i++; i < len(b) && b[i] >= ' '; i++ {
		switch b[i] {
		case '"':
			return i + 1
		case '\\':
			i++
			if i >= len(b) || !bytes.ContainsRune([]byte(`"\/bfnrtu`), rune(b[i])) {
				return -1
			}
			if b[i] == 'u' {
				for range 4 {
					if i++; i >= len(b) || !isHex(b[i]) {
						return -1
					}
				}
			}
		}
	}
	return -1
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'f'
}

func jsonNumberEnd(b []byte, i int) int {
	digits := func() bool {
		start := i
		for i < len(b) && b[i] >= '0' && b[i] <= '9' {
			i++
		}
		return i > start
	}
	if i < len(b) && b[i] == '-' {
		i++
	}
	if first := i; !digits() || b[first] == '0' && i > first+1 {
		return -1
	}
	if i < len(b) && b[i] == '.' {
		if i++; !digits() {
			return -1
		}
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		if i++; i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		if !digits() {
			return -1
		}
	}
	return i
}

// jsonElements visits the elements of an array that was read before.
func jsonElements(array []byte, visit func(value []byte)) {
	for i := jsonSpace(array, 1); array[i] != ']'; {
		end := jsonEnd(array, i, 0)
		visit(array[i:end])
		if i = jsonSpace(array, end); array[i] == ',' {
			i = jsonSpace(array, i+1)
		}
	}
}

// jsonMembers visits the members of an object that was read before; the name is
// the text of a JSON string.
func jsonMembers(object []byte, visit func(name, value []byte)) {
	for i := jsonSpace(object, 1); object[i] != '}'; {
		nameEnd := jsonStringEnd(object, i)
		name := object[i:nameEnd]
		i = jsonSpace(object, jsonSpace(object, nameEnd)+1)
		end := jsonEnd(object, i, 0)
		visit(name, object[i:end])
		if i = jsonSpace(object, end); object[i] == ',' {
			i = jsonSpace(object, i+1)
		}
	}
}

// jsonString returns what a JSON string says. It shares the text's memory when nothing
// in it is escaped.
func jsonString(text []byte) []byte {
	inner := text[1 : len(text)-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		return inner
	}
	var s string
	_ = json.Unmarshal(text, &s) // The text was read before, so that this does not fail.
	return []byte(s)
}

// appendCompact appends a value that was read before without white space, and with its
// strings escaped only where they must be.
func appendCompact(dst, value []byte) []byte {
	comma := func() {
		if c := dst[len(dst)-1]; c != '[' && c != '{' {
			dst = append(dst, ',')
		}
	}
	switch value[0] {
	case '"':
		return connect.AppendJSON(dst, nil, connect.StringBytes(jsonString(value)))
	case '[':
		dst = append(dst, '[')
		jsonElements(value, func(e []byte) {
			comma()
			dst = appendCompact(dst, e)
		})
		return append(dst, ']')
	case '{':
		dst = append(dst, '{')
		jsonMembers(value, func(name, v []byte) {
			comma()
			dst = append(appendCompact(dst, name), ':')
			dst = appendCompact(dst, v)
		})
		return append(dst, '}')
	}
	return append(dst, value...)
}

// jsonText is a value as text: what a string says, other values compact.
func jsonText(value []byte) connect.Value {
	if value[0] == '"' {
		return connect.String(string(jsonString(value)))
	}
	return connect.StringBytes(appendCompact(nil, value))
}
