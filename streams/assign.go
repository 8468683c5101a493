package streams

import (
	"context"
	"maps"
	"slices"
	"sort"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// taskBalancer places tasks, not partitions: the partitions a task reads go to
// one member together. Tasks stay where they are as far as balance allows, and a
// task that moves is given up by the old member before the new one gets it.
type taskBalancer struct {
	// reads lists the source topics of each sub-topology, of those that the group knows.
	reads    func(known []string) [][]string
	groups   [][]string // what reads gives
	stateful []bool     // whether it has stores that are logged
	member   groupMember
	speaks   byte // the version of what members tell each other
	standbys standbyLimits
}

// standbyLimits are App's of the same names.
type standbyLimits struct {
	standbys, warmups int
	acceptable        int64
}

// groupMember is the one who takes part in the group.
type groupMember interface {
	// card is what it says of itself.
	card() []byte
	// told is given the user data of an assignment.
	told([]byte)
	// unread is given the members whose cards are of another version. The leader says so.
	unread(members []string)
	// extents returns where the changelogs of tasks begin and end, the sum of all
	// stores of each task. The leader asks.
	extents(context.Context) map[taskID]extent
}

// extent is how many offsets changelogs have.
type extent struct{ start, end int64 }

func (taskBalancer) ProtocolName() string { return "tidemill-tasks" }
func (taskBalancer) IsCooperative() bool  { return true }

// JoinGroupMetadata tells the leader what this member reads and has.
func (t taskBalancer) JoinGroupMetadata(topics []string, owned map[string][]int32, generation int32) []byte {
	meta := kmsg.NewConsumerMemberMetadata()
	meta.Version, meta.Topics, meta.Generation, meta.UserData = 3, topics, generation, t.member.card()
	for topic, partitions := range owned {
		o := kmsg.NewConsumerMemberMetadataOwnedPartition()
		o.Topic, o.Partitions = topic, partitions
		meta.OwnedPartitions = append(meta.OwnedPartitions, o)
	}
	sort.Slice(meta.OwnedPartitions, func(i, j int) bool { return meta.OwnedPartitions[i].Topic < meta.OwnedPartitions[j].Topic })
	return meta.AppendTo(nil)
}

func (t taskBalancer) ParseSyncAssignment(b []byte) (map[string][]int32, error) {
	var given kmsg.ConsumerMemberAssignment
	if given.ReadFrom(b) == nil {
		t.member.told(given.UserData)
	}
	return kgo.ParseConsumerSyncAssignment(b)
}

func (t taskBalancer) MemberBalancer(members []kmsg.JoinGroupResponseMember) (kgo.GroupMemberBalancer, map[string]struct{}, error) {
	b, err := kgo.NewConsumerBalancer(t, members)
	return b, b.MemberTopics(), err
}

// Balance implements kgo.ConsumerBalancerBalance.
func (t taskBalancer) Balance(b *kgo.ConsumerBalancer, topics map[string]int32) kgo.IntoSyncAssignment {
	t.groups = t.reads(slices.Sorted(maps.Keys(topics)))
	c, cards := t.census(b, topics)
	d, had := c.place(), claimed(b)
	plan := b.NewPlan()
	b.EachMember(func(m *kmsg.JoinGroupResponseMember, _ *kmsg.ConsumerMemberMetadata) {
		for _, id := range d.active[m.MemberID] {
			group := t.groups[id.sub]
			free := !had.elsewhere(group, id.partition, m.MemberID)
			for _, topic := range group {
				if id.partition < topics[topic] && (free || had.by(topic, id.partition, m.MemberID)) {
					plan.AddPartition(m, topic, id.partition)
				}
			}
		}
	})
	plan.AdjustCooperative(b)
	return &informedPlan{BalancePlan: plan, t: t, c: c, d: d, cards: cards}
}

// census takes down what the members say.
func (t taskBalancer) census(b *kgo.ConsumerBalancer, topics map[string]int32) (*census, map[string]card) {
	c := &census{standbyLimits: t.standbys, stateful: t.stateful, had: map[taskID]string{}, lags: map[string]map[taskID]int64{}}
	sub := map[string]int{}
	for i, group := range t.groups {
		n := int32(0)
		for _, topic := range group {
			sub[topic] = i
			n = max(n, topics[topic])
		}
		for p := range n {
			c.tasks = append(c.tasks, taskID{i, p})
		}
	}
	generation, cards := map[taskID]int32{}, map[string]card{}
	b.EachMember(func(m *kmsg.JoinGroupResponseMember, meta *kmsg.ConsumerMemberMetadata) {
		c.members = append(c.members, m.MemberID)
		if said, ok := unpackCard(meta.UserData, t.speaks); ok {
			cards[m.MemberID] = said
		} else {
			c.strangers = append(c.strangers, m.MemberID)
		}
		for _, o := range meta.OwnedPartitions {
			of, known := sub[o.Topic]
			for _, p := range o.Partitions {
				if !known {
					break // It is read by nobody any more.
				}
				id := taskID{of, p}
				// Of two members that claim a task the later generation is right.
				if g, claimed := generation[id]; !claimed || meta.Generation > g {
					generation[id], c.had[id] = meta.Generation, m.MemberID
				}
			}
		}
	})
	slices.Sort(c.members)
	if len(c.strangers) > 0 {
		t.member.unread(c.strangers)
	}
	if len(c.members) > 1 && slices.Contains(t.stateful, true) {
		c.measure(cards, t.member.extents(context.Background()))
	}
	return c, cards
}

// measure works out how far the stores of each member are behind.
func (c *census) measure(cards map[string]card, extents map[taskID]extent) {
	for _, m := range c.members {
		lags := map[taskID]int64{}
		for id, e := range extents {
			lags[id] = e.end - e.start
		}
		for _, s := range cards[m].stands {
			e := extents[s.id]
			lags[s.id] = max(e.end-max(s.at, e.start), 0)
		}
		c.lags[m] = lags
	}
}

// informedPlan is a plan with the picture of the fleet that goes with it.
type informedPlan struct {
	*kgo.BalancePlan
	t     taskBalancer
	c     *census
	d     deal
	cards map[string]card
}

// IntoSyncAssignment implements kgo.IntoSyncAssignment.
func (p *informedPlan) IntoSyncAssignment() []kmsg.SyncGroupRequestGroupAssignment {
	given := p.BalancePlan.IntoSyncAssignment()
	// A task that still has to be given up by its old member is nobody's.
	active := map[string]map[taskID]bool{}
	for member, topics := range p.AsMemberIDMap() {
		active[member] = map[taskID]bool{}
		for i, group := range p.t.groups {
			for _, topic := range group {
				for _, partition := range topics[topic] {
					active[member][taskID{i, partition}] = true
				}
			}
		}
	}
	f := fleet{members: make([]fleetMember, len(p.c.members))}
	for i, m := range p.c.members {
		said := p.cards[m]
		f.members[i] = fleetMember{instance: said.instance, address: said.address, active: slices.SortedFunc(maps.Keys(active[m]), taskID.compare)}
		for _, id := range slices.Concat(p.d.standby[m], p.d.warm[m]) {
			f.members[i].standby = append(f.members[i].standby, standing{id, p.c.lag(m, id)})
		}
	}
	for i := range given {
		m := given[i].MemberID
		f.self, f.copies, f.warm = slices.Index(p.c.members, m), slices.Concat(p.d.standby[m], p.d.warm[m]), nil
		for _, id := range p.d.warm[m] {
			f.warm = append(f.warm, standing{id, p.c.acceptable})
		}
		var assignment kmsg.ConsumerMemberAssignment
		if assignment.ReadFrom(given[i].MemberAssignment) != nil {
			continue // It was written a moment ago; without the picture it still counts.
		}
		assignment.UserData = f.pack(p.t.speaks)
		given[i].MemberAssignment = assignment.AppendTo(nil)
	}
	return given
}
