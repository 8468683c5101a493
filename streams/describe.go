package streams

import (
	"fmt"
	"slices"
	"strings"
)

// Describe draws the topology as text, in the layout of Kafka Streams'
// Topology.describe, so that tools which draw that can draw this: the
// sub-topologies, and for each operator the topics it reads or writes, its stores,
// where its records go (-->) and where they come from (<--). Names of repartition
// topics stand without the application's id.
func (t *Topology) Describe() string {
	var out strings.Builder
	out.WriteString("Topologies:\n")
	for _, sub := range t.subs {
		fmt.Fprintf(&out, "   Sub-topology: %d\n", sub.index)
		for _, n := range sub.nodes {
			t.describe(&out, n)
		}
		out.WriteString("\n")
	}
	for i, g := range t.globals {
		fmt.Fprintf(&out, "   Sub-topology: %d for global store (will not generate tasks)\n", len(t.subs)+i)
		fmt.Fprintf(&out, "    Source: %s-source (topics: [%s])\n      --> %s\n", g.name, g.topic, g.name)
		fmt.Fprintf(&out, "    Processor: %s (stores: [%s])\n      --> none\n      <-- %s-source\n\n", g.name, g.name, g.name)
	}
	return out.String()
}

func (t *Topology) describe(out *strings.Builder, n *node) {
	kind, detail := "Processor", fmt.Sprintf("(stores: [%s])", strings.Join(n.storeNames(), ", "))
	switch {
	case n.isSource:
		kind, detail = "Source", fmt.Sprintf("(topics: [%s])", n.plainTopic())
		if n.pattern != nil {
			detail = fmt.Sprintf("(topics: %s)", n.plainTopic())
		}
	case n.isSink:
		kind, detail = "Sink", fmt.Sprintf("(topic: %s)", n.plainTopic())
	}
	fmt.Fprintf(out, "    %s: %s %s\n", kind, n.name, detail)
	if !n.isSink {
		fmt.Fprintf(out, "      --> %s\n", namesOrNone(t.children(n)))
	}
	if !n.isSource {
		fmt.Fprintf(out, "      <-- %s\n", namesOrNone(n.parents))
	}
}

// plainTopic is the topic of a source or sink without the application's id.
func (n *node) plainTopic() string {
	if n.routed {
		return "chosen by each record"
	}
	return strings.TrimPrefix(strings.TrimPrefix(topicName("", n.topic), "-"), patternMark)
}

func (n *node) storeNames() (names []string) {
	for _, s := range n.stores {
		names = append(names, s.name)
	}
	return names
}

func (t *Topology) children(n *node) (after []*node) {
	for _, c := range t.nodes {
		if slices.Contains(c.parents, n) {
			after = append(after, c)
		}
	}
	return after
}

func namesOrNone(nodes []*node) string {
	if len(nodes) == 0 {
		return "none"
	}
	names := make([]string, len(nodes))
	for i, n := range nodes {
		names[i] = n.name
	}
	return strings.Join(names, ", ")
}

// DOT draws the topology in the language of Graphviz: a box for each sub-topology,
// operators as ellipses with what they do, topics as parallelograms, stores as
// cylinders.
func (t *Topology) DOT() string {
	var out strings.Builder
	out.WriteString("digraph topology {\n  rankdir=LR;\n  node [shape=ellipse];\n")
	d := dot{out: &out, seen: map[string]bool{}}
	for _, sub := range t.subs {
		fmt.Fprintf(&out, "  subgraph cluster_%d {\n    label=\"Sub-topology: %d\";\n", sub.index, sub.index)
		for _, n := range sub.nodes {
			fmt.Fprintf(&out, "    %s [label=%q];\n", d.operator(n), n.name+"\n"+n.op)
		}
		for _, s := range sub.stores {
			fmt.Fprintf(&out, "    %q [label=%q, shape=cylinder];\n", "store "+s.name, s.name)
		}
		out.WriteString("  }\n")
	}
	for _, n := range t.nodes {
		d.edges(n)
	}
	for _, g := range t.globals {
		fmt.Fprintf(&out, "  %q [label=%q, shape=cylinder];\n", "store "+g.name, g.name)
		topic := d.named(g.topic)
		fmt.Fprintf(&out, "  %s -> %q;\n", topic, "store "+g.name)
	}
	out.WriteString("}\n")
	return out.String()
}

// dot writes the edges of a graph, and the topics when they are first met.
type dot struct {
	out  *strings.Builder
	seen map[string]bool
}

func (d *dot) operator(n *node) string { return fmt.Sprintf("%q", "operator "+n.name) }

func (d *dot) edges(n *node) {
	for _, p := range n.parents {
		fmt.Fprintf(d.out, "  %s -> %s;\n", d.operator(p), d.operator(n))
	}
	switch {
	case n.isSource:
		topic := d.topic(n)
		fmt.Fprintf(d.out, "  %s -> %s;\n", topic, d.operator(n))
	case n.isSink:
		topic := d.topic(n)
		fmt.Fprintf(d.out, "  %s -> %s;\n", d.operator(n), topic)
	}
	for _, s := range n.stores {
		fmt.Fprintf(d.out, "  %s -> %q [style=dashed, dir=none];\n", d.operator(n), "store "+s.name)
	}
}

// topic and named return the id of a topic's node, which they write the first time.
func (d *dot) topic(n *node) string { return d.named(n.plainTopic()) }

func (d *dot) named(name string) string {
	id := fmt.Sprintf("%q", "topic "+name)
	if !d.seen[name] {
		d.seen[name] = true
		fmt.Fprintf(d.out, "  %s [label=%q, shape=parallelogram];\n", id, name)
	}
	return id
}
