package streams

import (
	"slices"
	"sort"
	"strings"

	"github.com/tidemill/tidemill/streams/state"
)

// Topology is a checked graph of operators, ready to be run by any number of
// engines. It is split at its repartition topics into sub-topologies, each of
// which runs as one task for every partition of what it reads.
type Topology struct {
	nodes   []*node
	subs    []*subTopology
	globals []*storeSpec
}

// subTopology is a part of a topology in which records pass from operator to
// operator without a topic between them.
type subTopology struct {
	index   int
	nodes   []*node // parents before children
	sources []string
	stores  []*storeSpec
}

// newTopology groups the nodes: what is connected by an edge, reads one topic or
// shares a store belongs together.
func newTopology(nodes []*node, globals []*storeSpec) *Topology {
	place := map[*node]int{}
	root := make([]int, len(nodes))
	for i, n := range nodes {
		place[n], root[i] = i, i
	}
	find := func(i int) int {
		for root[i] != i {
			i = root[i]
		}
		return i
	}
	// The smaller place becomes the root, so that sub-topologies are numbered
	// in the order in which they were begun.
	union := func(a, b *node) {
		x, y := find(place[a]), find(place[b])
		root[max(x, y)] = min(x, y)
	}
	readers := map[string]*node{}
	for _, n := range nodes {
		for _, p := range n.parents {
			union(n, p)
		}
		for _, s := range n.stores {
			if s.owner != nil && !s.global {
				union(n, s.owner)
			}
		}
		if n.isSource {
			if other := readers[n.topic]; other != nil {
				union(n, other)
			}
			readers[n.topic] = n
		}
	}
	t := &Topology{nodes: nodes, globals: globals}
	index := map[int]*subTopology{}
	for i, n := range nodes {
		sub := index[find(i)]
		if sub == nil {
			sub = &subTopology{index: len(t.subs)}
			index[find(i)] = sub
			t.subs = append(t.subs, sub)
		}
		sub.take(n)
	}
	return t
}

func (s *subTopology) take(n *node) {
	n.sub = s.index
	s.nodes = append(s.nodes, n)
	if n.isSource && !slices.Contains(s.sources, n.topic) {
		s.sources = append(s.sources, n.topic)
	}
	for _, spec := range n.stores {
		if spec.owner == n {
			s.stores = append(s.stores, spec)
		}
	}
}

// internalTopic reports whether topic, as nodes name it, is a repartition topic.
func (t *Topology) internalTopic(topic string) bool { return strings.HasPrefix(topic, internalMark) }

// internalMark stands before the name of a repartition topic until the
// application's name takes its place. No Kafka topic can have it in its name.
const internalMark = "@"

// topicName returns the topic's name in Kafka.
func topicName(app, topic string) string {
	if name, ok := strings.CutPrefix(topic, internalMark); ok {
		return app + "-" + name
	}
	return topic
}

// changelogName returns the changelog topic of a store.
func changelogName(app, store string) string { return app + "-" + store + changelogSuffix }

// Sources lists the topics of others that the topology reads by their names, those of
// global tables included, sorted.
func (t *Topology) Sources() []string {
	topics := t.topics(func(n *node) bool { return n.isSource })
	for _, s := range t.globals {
		if !slices.Contains(topics, s.topic) {
			topics = append(topics, s.topic)
		}
	}
	sort.Strings(topics)
	return topics
}

// Sinks lists the topics of others that the topology writes, sorted, without those
// that records choose.
func (t *Topology) Sinks() []string { return t.topics(func(n *node) bool { return n.isSink }) }

func (t *Topology) topics(which func(*node) bool) (topics []string) {
	for _, n := range t.nodes {
		if which(n) && !n.internal && !n.routed && n.pattern == nil && !slices.Contains(topics, n.topic) {
			topics = append(topics, n.topic)
		}
	}
	sort.Strings(topics)
	return topics
}

// Stores lists the names of the stores, sorted.
func (t *Topology) Stores() (names []string) {
	for _, sub := range t.subs {
		for _, s := range sub.stores {
			names = append(names, s.name)
		}
	}
	for _, s := range t.globals {
		names = append(names, s.name)
	}
	sort.Strings(names)
	return names
}

// layout returns how the rows of a store lie.
func (t *Topology) layout(store string) (l state.Spec) {
	for _, sub := range t.subs {
		for _, s := range sub.stores {
			if s.name == store {
				l = s.layout
			}
		}
	}
	return l
}

// InternalTopics lists the repartition and changelog topics the topology has when
// it runs as app, sorted.
func (t *Topology) InternalTopics(app string) (topics []string) {
	for _, n := range t.nodes {
		if n.isSource && n.internal {
			topics = append(topics, topicName(app, n.topic))
		}
	}
	for _, sub := range t.subs {
		for _, s := range sub.stores {
			if !s.layout.Unlogged {
				topics = append(topics, changelogName(app, s.name))
			}
		}
	}
	sort.Strings(topics)
	return topics
}
