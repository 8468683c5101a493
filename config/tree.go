package config

import (
	"fmt"
	"strings"

	"github.com/tidemill/tidemill/connect"
)

// Limits on what is read, so that a hostile document costs little.
const (
	maxDepth = 64
	maxNodes = 100_000
	maxBytes = 8 << 20
)

// kind is what a node of a document is.
type kind uint8

const (
	isNull kind = iota
	isScalar
	isList
	isObject
)

// String names the kind as users would.
func (k kind) String() string {
	return [...]string{"null", "a plain value", "an array", "an object"}[k]
}

// node is a part of a JSON or YAML document. Scalars keep the text they were
// written as, so that 1.10 stays 1.10.
type node struct {
	kind  kind
	text  string
	line  int
	keys  []string // Of an object, in the order written; keys[i] belongs to items[i].
	items []*node
}

// field returns the value of an object's key, or nil.
func (n *node) field(key string) *node {
	for i, k := range n.keys {
		if k == key {
			return n.items[i]
		}
	}
	return nil
}

// fault is a document that cannot be understood, at a place in it.
func fault(code, place, format string, args ...any) *connect.Error {
	return &connect.Error{Code: code, Class: connect.ClassConfig, Place: place, Message: fmt.Sprintf(format, args...)}
}

// at names a line of a document.
func at(name string, line int) string {
	switch {
	case line == 0:
		return name
	case name == "":
		return fmt.Sprintf("line %d", line)
	}
	return fmt.Sprintf("%s:%d", name, line)
}

// flat is one setting found in a document.
type flat struct {
	key, text string
	line      int
}

// flatten turns nested objects into settings with dotted names and lists of plain
// values into comma-separated text, as worker settings are written in YAML.
func flatten(name string, n *node) ([]flat, error) {
	if n.kind != isObject {
		return nil, fault("config.shape", at(name, n.line), "settings must be an object, this is %s", n.kind)
	}
	var out []flat
	seen := map[string]bool{}
	var faults connect.Errors
	var walk func(prefix string, n *node)
	walk = func(prefix string, n *node) {
		if n.kind == isObject && prefix != "" && len(n.keys) == 0 {
			faults = append(faults, fault("config.shape", at(name, n.line), "%s is an empty object", prefix))
		}
		if n.kind == isObject {
			for i, key := range n.keys {
				if prefix != "" {
					key = prefix + "." + key
				}
				walk(key, n.items[i])
			}
			return
		}
		text, err := plainText(n)
		switch {
		case err != nil:
			faults = append(faults, fault("config.shape", at(name, n.line), "%s: %s", prefix, err))
		case seen[prefix]:
			faults = append(faults, fault("config.duplicate", at(name, n.line), "%s is set twice", prefix))
		}
		seen[prefix] = true
		out = append(out, flat{key: prefix, text: text, line: n.line})
	}
	walk("", n)
	return out, faults.OrNil()
}

// plainText returns a scalar, or a list of scalars joined by commas.
func plainText(n *node) (string, error) {
	switch n.kind {
	case isScalar:
		return n.text, nil
	case isNull:
		return "", fmt.Errorf("there is no value; leave the setting out or write \"\"")
	}
	parts := make([]string, 0, len(n.items))
	for _, item := range n.items {
		if item.kind != isScalar {
			return "", fmt.Errorf("a list may hold plain values only, not %s", item.kind)
		}
		if strings.Contains(item.text, ",") {
			return "", fmt.Errorf("the list entry %q holds a comma; write the setting as one text", item.text)
		}
		parts = append(parts, item.text)
	}
	return strings.Join(parts, ","), nil
}
