package config

import (
	"bytes"
	"errors"
	"io"

	"go.yaml.in/yaml/v3"
)

// parseYAML reads the documents of a YAML stream. Scalars keep the text they were
// written as: yes stays yes, 1.10 stays 1.10.
func parseYAML(name string, data []byte) ([]*node, error) {
	if len(data) > maxBytes {
		return nil, fault("config.too_large", name, "the document is larger than %d MiB", maxBytes>>20)
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	r := &yamlReader{name: name}
	var docs []*node
	for {
		var doc yaml.Node
		err := dec.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return docs, nil
		}
		if err != nil {
			e := fault("config.syntax", name, "this is not YAML")
			e.Cause = err
			return nil, e
		}
		n, err := r.node(&doc, 0)
		if err != nil {
			return nil, err
		}
		docs = append(docs, n)
	}
}

// yamlReader converts YAML nodes. It counts them after aliases are followed, which
// keeps a document of few bytes from becoming one of many nodes.
type yamlReader struct {
	name  string
	nodes int
}

func (r *yamlReader) node(y *yaml.Node, depth int) (*node, error) {
	if r.nodes++; r.nodes > maxNodes || depth > maxDepth {
		return nil, fault("config.too_large", at(r.name, y.Line), "the document has too many values or is nested too deeply")
	}
	n := &node{line: y.Line}
	switch y.Kind {
	case yaml.DocumentNode:
		return r.node(y.Content[0], depth+1)
	case yaml.AliasNode:
		return r.node(y.Alias, depth+1)
	case yaml.ScalarNode:
		if y.ShortTag() != "!!null" {
			n.kind, n.text = isScalar, y.Value
		}
		return n, nil
	case yaml.SequenceNode:
		n.kind = isList
		return n, r.list(n, y.Content, depth)
	case yaml.MappingNode:
		n.kind = isObject
		return n, r.object(n, y.Content, depth)
	}
	return n, nil
}

func (r *yamlReader) list(n *node, content []*yaml.Node, depth int) error {
	for _, y := range content {
		item, err := r.node(y, depth+1)
		if err != nil {
			return err
		}
		n.items = append(n.items, item)
	}
	return nil
}

func (r *yamlReader) object(n *node, content []*yaml.Node, depth int) error {
	seen := map[string]bool{}
	for i := 0; i+1 < len(content); i += 2 {
		key := content[i]
		switch {
		case key.Kind != yaml.ScalarNode || key.ShortTag() == "!!merge":
			return fault("config.shape", at(r.name, key.Line), "a key must be plain text; merge keys are not understood")
		case seen[key.Value]:
			return fault("config.duplicate", at(r.name, key.Line), "the key %q stands twice in one object", key.Value)
		}
		seen[key.Value] = true
		item, err := r.node(content[i+1], depth+1)
		if err != nil {
			return err
		}
		n.keys = append(n.keys, key.Value)
		n.items = append(n.items, item)
	}
	return nil
}
