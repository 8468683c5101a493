package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"unicode/utf8"

	"github.com/tidemill/tidemill/connect"
)

// jsonReader reads one JSON document into nodes, within the limits.
type jsonReader struct {
	name  string
	data  []byte
	dec   *json.Decoder
	nodes int
	// newlines counts the lines before offset, so that lines cost one pass.
	offset, newlines int
}

// parseJSON reads one JSON document. Two equal keys in one object are a fault: which
// one counts would be a guess.
func parseJSON(name string, data []byte) (*node, error) {
	if len(data) > maxBytes {
		return nil, fault("config.too_large", name, "the document is larger than %d MiB", maxBytes>>20)
	}
	if !utf8.Valid(data) {
		return nil, fault("config.syntax", name, "the document is not valid UTF-8")
	}
	r := &jsonReader{name: name, data: data, dec: json.NewDecoder(bytes.NewReader(data))}
	r.dec.UseNumber()
	n, err := r.value(0)
	if err != nil {
		return nil, err
	}
	if _, err := r.dec.Token(); !errors.Is(err, io.EOF) {
		return nil, fault("config.syntax", r.place(), "there is more after the end of the document")
	}
	return n, nil
}

func (r *jsonReader) line() int {
	to := min(int(r.dec.InputOffset()), len(r.data))
	r.newlines += bytes.Count(r.data[r.offset:to], []byte("\n"))
	r.offset = to
	return r.newlines + 1
}

func (r *jsonReader) place() string { return at(r.name, r.line()) }

func (r *jsonReader) token() (json.Token, error) {
	t, err := r.dec.Token()
	if err == nil {
		return t, nil
	}
	e := fault("config.syntax", r.place(), "this is not JSON")
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		e.Message = "the JSON document ends too early"
		return nil, e
	}
	// The decoder's message quotes one character at most, never a value.
	e.Cause = err
	return nil, e
}

func (r *jsonReader) value(depth int) (*node, error) {
	t, err := r.token()
	if err != nil {
		return nil, err
	}
	if r.nodes++; r.nodes > maxNodes || depth > maxDepth {
		return nil, fault("config.too_large", r.place(), "the document has too many values or is nested too deeply")
	}
	n := &node{kind: isScalar, line: r.line()}
	switch t := t.(type) {
	case string:
		n.text = t
	case json.Number:
		n.text = t.String()
	case bool:
		n.text = map[bool]string{true: "true", false: "false"}[t]
	case nil:
		n.kind = isNull
	case json.Delim:
		n.kind = isList
		if t == '{' {
			n.kind = isObject
		}
		return n, r.children(n, depth)
	}
	return n, nil
}

// children reads what stands in an array or object, and its end.
func (r *jsonReader) children(n *node, depth int) error {
	seen := map[string]bool{}
	for r.dec.More() {
		if n.kind == isObject {
			t, err := r.token()
			if err != nil {
				return err
			}
			key, _ := t.(string)
			if seen[key] {
				return fault("config.duplicate", r.place(), "the key %q stands twice in one object", key)
			}
			seen[key] = true
			n.keys = append(n.keys, key)
		}
		item, err := r.value(depth + 1)
		if err != nil {
			return err
		}
		n.items = append(n.items, item)
	}
	_, err := r.token()
	return err
}

// ParseMap reads a JSON object of settings as REST takes it. Numbers and booleans
// become the text they were written as; null stays nil. Objects and arrays as values
// are refused with the code "config.shape", anything that is no JSON object with
// "config.syntax" or "config.shape".
func ParseMap(data []byte) (map[string]*string, error) {
	n, err := parseJSON("", data)
	if err != nil {
		return nil, err
	}
	return settingsOf("", n)
}

// settingsOf reads an object of plain values; all wrong ones are reported at once.
func settingsOf(name string, n *node) (map[string]*string, error) {
	if n.kind != isObject {
		return nil, fault("config.shape", at(name, n.line), "settings must be an object of text values, this is %s", n.kind)
	}
	var faults connect.Errors
	settings := make(map[string]*string, len(n.keys))
	for i, key := range n.keys {
		switch item := n.items[i]; item.kind {
		case isNull:
			settings[key] = nil
		case isScalar:
			settings[key] = &item.text
		default:
			faults = append(faults, fault("config.shape", at(name, item.line), "the setting %s must be a plain value, this is %s", key, item.kind))
		}
	}
	if len(faults) > 0 {
		return nil, faults
	}
	return settings, nil
}

// NonNull returns the settings that have a value, and the faults of those that are
// null, each with the code "config.null" and the setting as its place.
func NonNull(settings map[string]*string) (connect.Config, connect.Errors) {
	out := make(connect.Config, len(settings))
	var faults connect.Errors
	for _, key := range sortedKeys(settings) {
		if text := settings[key]; text != nil {
			out[key] = *text
			continue
		}
		e := fault("config.null", key, "Null value can not be supplied as the configuration value.")
		e.Mend = "leave " + key + " out, or give it a value"
		faults = append(faults, e)
	}
	return out, faults
}
