package streams

import (
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// claims are the partitions that the members of a group say they have, and as of which
// generation of the group.
type claims map[part]map[string]int32

// claimed takes down who claims what.
func claimed(b *kgo.ConsumerBalancer) claims {
	c := claims{}
	b.EachMember(func(m *kmsg.JoinGroupResponseMember, meta *kmsg.ConsumerMemberMetadata) {
		for _, o := range meta.OwnedPartitions {
			for _, p := range o.Partitions {
				at := part{o.Topic, p}
				if c[at] == nil {
					c[at] = map[string]int32{}
				}
				c[at][m.MemberID] = meta.Generation
			}
		}
	})
	return c
}

// by tells whether a member has a partition: it says so, and nobody does who knows better.
func (c claims) by(topic string, partition int32, member string) bool {
	mine, ok := c[part{topic, partition}][member]
	for _, other := range c[part{topic, partition}] {
		ok = ok && other <= mine
	}
	return ok
}

// elsewhere tells whether another member has a partition of a task. As long as one does, it
// runs the task, and nobody else may have any of it: not the partition of a new topic
// either, which a cooperative group by itself would give away at once (KIP-429).
func (c claims) elsewhere(group []string, partition int32, member string) bool {
	for _, topic := range group {
		if len(c[part{topic, partition}]) > 0 && !c.by(topic, partition, member) {
			return true
		}
	}
	return false
}
