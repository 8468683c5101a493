package streams

import (
	"fmt"

	"github.com/tidemill/tidemill/connect"
)

// partitionPlan is how many partitions every topic of an application has.
type partitionPlan struct {
	topics map[string]int // by the name nodes use
	tasks  []int          // of each sub-topology
	// matched are the topics that match patterns, by what nodes call these.
	matched map[string][]string
}

// planPartitions works out the partitions of repartition topics and the tasks of
// sub-topologies from those of the topics of others, which counts has. A
// repartition topic has as many as its user wants, or as the other topics of those
// who read it, or, of those that are read together, as the most of those who write them have
// tasks. A pattern, of which matched has the
// topics, counts as one with as many as the largest of these.
func planPartitions(t *Topology, counts map[string]int, matched map[string][]string) (*partitionPlan, error) {
	p := &partitionPlan{topics: map[string]int{}, tasks: make([]int, len(t.subs)), matched: matched}
	writers := map[string]int{}
	for _, n := range t.nodes {
		switch {
		case n.pattern != nil:
			for _, topic := range matched[n.topic] {
				p.topics[topic] = counts[topic]
				p.topics[n.topic] = max(p.topics[n.topic], counts[topic])
			}
		case n.isSource && !n.internal:
			p.topics[n.topic] = counts[n.topic]
		case n.isSource && n.partitions > 0:
			p.topics[n.topic] = n.partitions
		case n.isSink && n.internal:
			writers[n.topic] = n.sub
		}
	}
	for p.settle(t, writers, true) || p.settle(t, writers, false) {
	}
	return p, p.check(t)
}

// settle finds sizes that follow from those that are known, and tells whether it has found
// some. Topics that are read together get one size. With whole it waits until all of their
// writers are known; that cannot be where topics follow from each other.
func (p *partitionPlan) settle(t *Topology, writers map[string]int, whole bool) (found bool) {
	for _, sub := range t.subs {
		p.count(sub)
		var open []string
		want, known := 0, true
		for _, n := range sub.nodes {
			if !n.isSource || n.pattern != nil || p.topics[n.topic] > 0 {
				continue
			}
			open = append(open, n.topic)
			if n.internal {
				size := p.tasks[writers[n.topic]]
				want, known = max(want, size), known && size > 0
			}
		}
		if p.tasks[sub.index] == 0 && (known || !whole) {
			p.tasks[sub.index] = want
		}
		if p.tasks[sub.index] == 0 {
			continue
		}
		for _, topic := range open {
			p.topics[topic], found = p.tasks[sub.index], true
		}
	}
	return found
}

// count notes how many tasks a sub-topology has as far as is known.
func (p *partitionPlan) count(sub *subTopology) {
	for _, topic := range sub.sources {
		p.tasks[sub.index] = max(p.tasks[sub.index], p.topics[topic])
	}
}

// check refuses joins of topics with different numbers of partitions: keys that
// belong together would be in different tasks.
func (p *partitionPlan) check(t *Topology) error {
	for _, sub := range t.subs {
		joins := ""
		for _, n := range sub.nodes {
			if n.together {
				joins = n.name
			}
		}
		for _, in := range sub.inputs(p.matched) {
			topic := in.topic
			if joins == "" || p.topics[topic] == p.tasks[sub.index] {
				continue
			}
			return &connect.Error{
				Code: "streams.copartition", Class: connect.ClassConfig, Place: joins,
				Message: fmt.Sprintf("topic %s has %d partitions and another topic of the join has %d", topicName("", topic), p.topics[topic], p.tasks[sub.index]),
				Mend:    "repartition one side with With{Partitions: …}, or give the topics the same number of partitions",
			}
		}
	}
	return nil
}
