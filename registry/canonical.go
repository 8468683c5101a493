package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// canonical returns a form of a schema's text in which two schemas are equal
// when they say the same: no insignificant space, object members sorted, names
// written in full, {"type":"string"} as "string". Unlike Avro's parsing
// canonical form it keeps defaults, docs, aliases and custom properties,
// because a schema that differs in them is another schema to its readers. It
// serves for comparison only; clients get back the text they gave.
func canonical(text string) (string, error) {
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return "", fmt.Errorf("reading the schema as JSON: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return "", errors.New("reading the schema as JSON: there is more after its end")
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out) // Sorts the members of an object.
	enc.SetEscapeHTML(false)
	if err := enc.Encode(canonicalType(v, "")); err != nil {
		return "", fmt.Errorf("writing the schema's canonical form: %w", err)
	}
	return strings.TrimSuffix(out.String(), "\n"), nil
}

// canonicalType rewrites v, which stands where a type is expected, inside the
// given namespace.
func canonicalType(v any, namespace string) any {
	switch v := v.(type) {
	case string:
		return fullName(v, namespace)
	case []any:
		for i := range v {
			v[i] = canonicalType(v[i], namespace)
		}
		return v
	case map[string]any:
		return canonicalObject(v, namespace)
	default:
		return v
	}
}

// canonicalObject rewrites a type that is written as an object.
func canonicalObject(v map[string]any, namespace string) any {
	kind, _ := v["type"].(string)
	switch kind {
	case "record", "error", "enum", "fixed":
		namespace = nameInFull(v, namespace)
	case "array":
		v["items"] = canonicalType(v["items"], namespace)
	case "map":
		v["values"] = canonicalType(v["values"], namespace)
	default:
		v["type"] = canonicalType(v["type"], namespace)
		if len(v) == 1 {
			return v["type"]
		}
	}
	fields, _ := v["fields"].([]any)
	for _, field := range fields {
		if f, ok := field.(map[string]any); ok {
			f["type"] = canonicalType(f["type"], namespace)
		}
	}
	return v
}

// nameInFull merges the members name and namespace of a named type into its
// name and returns the namespace that holds inside it.
func nameInFull(v map[string]any, namespace string) string {
	if own, ok := v["namespace"].(string); ok {
		namespace = own
	}
	name, _ := v["name"].(string)
	name = fullName(name, namespace)
	delete(v, "namespace")
	v["name"] = name
	if i := strings.LastIndexByte(name, '.'); i >= 0 {
		return name[:i]
	}
	return ""
}

// fullName qualifies the name of a type; primitive types have no namespace.
func fullName(name, namespace string) string {
	switch name {
	case "null", "boolean", "int", "long", "float", "double", "bytes", "string":
		return name
	}
	if namespace == "" || strings.Contains(name, ".") {
		return name
	}
	return namespace + "." + name
}
