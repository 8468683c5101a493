package streams

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// wholeBalancer gives all partitions to one member of the group, for transaction mode: to
// the one that has them already, as long as it is there.
type wholeBalancer struct{}

func (wholeBalancer) ProtocolName() string { return "tidemill-whole" }
func (wholeBalancer) IsCooperative() bool  { return true }

func (wholeBalancer) JoinGroupMetadata(topics []string, owned map[string][]int32, generation int32) []byte {
	meta := kmsg.NewConsumerMemberMetadata()
	meta.Version, meta.Topics, meta.Generation = 3, topics, generation
	for topic, partitions := range owned {
		o := kmsg.NewConsumerMemberMetadataOwnedPartition()
		o.Topic, o.Partitions = topic, partitions
		meta.OwnedPartitions = append(meta.OwnedPartitions, o)
	}
	return meta.AppendTo(nil)
}

func (wholeBalancer) ParseSyncAssignment(b []byte) (map[string][]int32, error) {
	return kgo.ParseConsumerSyncAssignment(b)
}

func (w wholeBalancer) MemberBalancer(members []kmsg.JoinGroupResponseMember) (kgo.GroupMemberBalancer, map[string]struct{}, error) {
	b, err := kgo.NewConsumerBalancer(w, members)
	return b, b.MemberTopics(), err
}

// Balance implements kgo.ConsumerBalancerBalance.
func (wholeBalancer) Balance(b *kgo.ConsumerBalancer, topics map[string]int32) kgo.IntoSyncAssignment {
	type claim struct {
		member     *kmsg.JoinGroupResponseMember
		generation int32
		partitions int
	}
	var claims []claim
	b.EachMember(func(m *kmsg.JoinGroupResponseMember, meta *kmsg.ConsumerMemberMetadata) {
		c := claim{member: m, generation: meta.Generation}
		for _, o := range meta.OwnedPartitions {
			c.partitions += len(o.Partitions)
		}
		claims = append(claims, c)
	})
	plan := b.NewPlan()
	if len(claims) > 0 {
		best := slices.MaxFunc(claims, func(a, b claim) int {
			switch {
			case (a.partitions > 0) != (b.partitions > 0):
				return a.partitions - b.partitions
			case a.generation != b.generation:
				return int(a.generation - b.generation)
			case a.partitions != b.partitions:
				return a.partitions - b.partitions
			case a.member.MemberID < b.member.MemberID:
				return 1
			}
			return -1
		})
		for topic, n := range topics {
			for p := range n {
				plan.AddPartition(best.member, topic, p)
			}
		}
	}
	plan.AdjustCooperative(b)
	return plan
}
