package streams

import (
	"slices"
	"sort"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// taskBalancer places tasks, not partitions: the partitions a task reads go to
// one member together. Tasks stay where they are as far as balance allows, and a
// task that moves is given up by the old member before the new one gets it.
type taskBalancer struct {
	groups [][]string // the source topics of each sub-topology
}

func (taskBalancer) ProtocolName() string { return "tidemill-tasks" }
func (taskBalancer) IsCooperative() bool  { return true }

// JoinGroupMetadata tells the leader what this member reads and has.
func (taskBalancer) JoinGroupMetadata(topics []string, owned map[string][]int32, generation int32) []byte {
	meta := kmsg.NewConsumerMemberMetadata()
	meta.Version, meta.Topics, meta.Generation = 3, topics, generation
	for topic, partitions := range owned {
		o := kmsg.NewConsumerMemberMetadataOwnedPartition()
		o.Topic, o.Partitions = topic, partitions
		meta.OwnedPartitions = append(meta.OwnedPartitions, o)
	}
	sort.Slice(meta.OwnedPartitions, func(i, j int) bool { return meta.OwnedPartitions[i].Topic < meta.OwnedPartitions[j].Topic })
	return meta.AppendTo(nil)
}

func (taskBalancer) ParseSyncAssignment(b []byte) (map[string][]int32, error) {
	return kgo.ParseConsumerSyncAssignment(b)
}

func (t taskBalancer) MemberBalancer(members []kmsg.JoinGroupResponseMember) (kgo.GroupMemberBalancer, map[string]struct{}, error) {
	b, err := kgo.NewConsumerBalancer(t, members)
	return b, b.MemberTopics(), err
}

// Balance implements kgo.ConsumerBalancerBalance.
func (t taskBalancer) Balance(b *kgo.ConsumerBalancer, topics map[string]int32) kgo.IntoSyncAssignment {
	sub := map[string]int{}
	var tasks []taskID
	for i, group := range t.groups {
		n := int32(0)
		for _, topic := range group {
			sub[topic] = i
			n = max(n, topics[topic])
		}
		for p := range n {
			tasks = append(tasks, taskID{i, p})
		}
	}
	var members []string
	generation := map[taskID]int32{}
	had := map[taskID]string{}
	b.EachMember(func(m *kmsg.JoinGroupResponseMember, meta *kmsg.ConsumerMemberMetadata) {
		members = append(members, m.MemberID)
		for _, o := range meta.OwnedPartitions {
			for _, p := range o.Partitions {
				id := taskID{sub[o.Topic], p}
				// Of two members that claim a task the later generation is right.
				if g, claimed := generation[id]; !claimed || meta.Generation > g {
					generation[id], had[id] = meta.Generation, m.MemberID
				}
			}
		}
	})
	plan := b.NewPlan()
	placed := assignTasks(tasks, members, had)
	b.EachMember(func(m *kmsg.JoinGroupResponseMember, _ *kmsg.ConsumerMemberMetadata) {
		for _, id := range placed[m.MemberID] {
			for _, topic := range t.groups[id.sub] {
				if id.partition < topics[topic] {
					plan.AddPartition(m, topic, id.partition)
				}
			}
		}
	})
	plan.AdjustCooperative(b)
	return plan
}

// assignTasks places tasks on members: each gets as many as any other, give or
// take one, and keeps as many of those it had as that allows.
func assignTasks(tasks []taskID, members []string, had map[taskID]string) map[string][]taskID {
	placed := map[string][]taskID{}
	if len(members) == 0 {
		return placed
	}
	members = slices.Clone(members)
	slices.Sort(members)
	floor, extra := len(tasks)/len(members), len(tasks)%len(members)
	var homeless []taskID
	for _, id := range tasks {
		m, known := had[id]
		switch {
		case !known || !slices.Contains(members, m):
			homeless = append(homeless, id)
		case len(placed[m]) < floor:
			placed[m] = append(placed[m], id)
		case len(placed[m]) == floor && extra > 0:
			extra--
			placed[m] = append(placed[m], id)
		default:
			homeless = append(homeless, id)
		}
	}
	for _, m := range members {
		for len(homeless) > 0 && len(placed[m]) < floor {
			placed[m], homeless = append(placed[m], homeless[0]), homeless[1:]
		}
	}
	for _, m := range members {
		if len(homeless) > 0 && len(placed[m]) == floor {
			placed[m], homeless = append(placed[m], homeless[0]), homeless[1:]
		}
	}
	return placed
}
