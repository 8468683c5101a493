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
// who read it, or as those who write it have tasks. A pattern, of which matched has the
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
	for settled := false; !settled; {
		settled = true
		for _, sub := range t.subs {
			p.count(sub)
		}
		for _, n := range t.nodes {
			if !n.isSource || n.pattern != nil || p.topics[n.topic] > 0 {
				continue
			}
			want := p.tasks[n.sub]
			if want == 0 {
				want = p.tasks[writers[n.topic]]
			}
			if want > 0 {
				p.topics[n.topic], settled = want, false
			}
		}
	}
	return p, p.check(t)
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
