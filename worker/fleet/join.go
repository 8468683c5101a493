package fleet

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// versions are those of the protocols a member may offer, newest first.
var versions = []struct {
	name    string
	version int16
}{{sessioned, versionSessioned}, {compatible, versionCompatible}, {eager, versionEager}}

// offers returns what this member says of itself in each protocol it knows. One that has
// just begun runs nothing yet, which is another thing than nothing at all: it tells the
// brokers that something has changed when it has been given its work.
func (m *Member) offers() []kmsg.JoinGroupRequestProtocol {
	state := m.State()
	_, offset := m.c.Host.Configured()
	var current *Assignment
	if state.Rounds > 0 {
		current = &Assignment{LeaderURL: state.LeaderURL, Offset: offset, Assigned: state.Work}
	}
	var list []kmsg.JoinGroupRequestProtocol
	for _, v := range versions {
		if v.name == sessioned && m.c.Protocol != sessioned || v.name == compatible && m.c.Protocol == "eager" {
			continue
		}
		p := kmsg.NewJoinGroupRequestProtocol()
		p.Name = v.name
		p.Metadata = Metadata{Version: v.version, URL: m.c.URL, Offset: offset, Current: current}.Encode()
		list = append(list, p)
	}
	return list
}

// instance is the name of a static member, nil for a dynamic one.
func (m *Member) instance() *string {
	if m.c.Instance == "" {
		return nil
	}
	return &m.c.Instance
}

// join waits until all members have joined.
func (m *Member) join(ctx context.Context) (*kmsg.JoinGroupResponse, error) {
	for {
		m.mu.Lock()
		id := m.id
		m.mu.Unlock()
		req := kmsg.NewPtrJoinGroupRequest()
		req.Group, req.MemberID, req.InstanceID, req.ProtocolType = m.c.Group, id, m.instance(), "connect"
		req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = int32(m.c.Session.Milliseconds()), int32(m.c.Rebalance.Milliseconds())
		req.Protocols = m.offers()
		resp, err := req.RequestWith(ctx, m.c.Client)
		if err != nil {
			return nil, err
		}
		err = kerr.ErrorForCode(resp.ErrorCode)
		if errors.Is(err, kerr.MemberIDRequired) {
			m.mu.Lock()
			m.id = resp.MemberID
			m.mu.Unlock()
			continue
		}
		if err != nil {
			return nil, err
		}
		m.mu.Lock()
		m.id, m.turn, m.contact = resp.MemberID, resp.Generation, time.Now()
		m.mu.Unlock()
		return resp, nil
	}
}

// plan is what the leader has divided; the zero value is that of other members.
type plan struct {
	leads       bool
	protocol    string
	work        []Work // What was divided.
	assignments []kmsg.SyncGroupRequestGroupAssignment
	urls        []string
	owners      map[Work]string
}

// plan divides the work, if this member is the leader.
func (m *Member) plan(ctx context.Context, joined *kmsg.JoinGroupResponse) (plan, error) {
	p := plan{leads: joined.LeaderID == joined.MemberID, protocol: eager}
	if joined.Protocol != nil {
		p.protocol = *joined.Protocol
	}
	if !p.leads || joined.SkipAssignment {
		return p, nil
	}
	base := Assignment{Leader: joined.MemberID, LeaderURL: m.c.URL}
	for _, v := range versions {
		if v.name == p.protocol {
			base.Version = v.version
		}
	}
	var members []runner
	furthest := int64(-1)
	for _, peer := range joined.Members {
		said, err := ParseMetadata(peer.ProtocolMetadata)
		if err != nil {
			return p, fmt.Errorf("member %s: %w", peer.MemberID, err)
		}
		r := runner{id: peer.MemberID, url: said.URL, guest: m.c.Instance != "" && peer.InstanceID == nil}
		if r.guest {
			m.c.Log.Warn("a worker of Kafka Connect is in the group, and is given nothing to run", "group", m.c.Group, "worker", said.URL)
		}
		if said.Current != nil {
			r.runs = said.Current.Assigned
		}
		members = append(members, r)
		p.urls = append(p.urls, said.URL)
		furthest = max(furthest, said.Offset)
	}
	slices.Sort(p.urls)
	work, offset := m.c.Host.Configured()
	if offset < furthest {
		_ = m.refresh(ctx) // Whether it has come far enough is seen below.
		work, offset = m.c.Host.Configured()
	}
	base.Offset, p.work = offset, work
	out := outcome{}
	if offset < furthest {
		base.Error, base.Offset = configMismatch, furthest
	} else {
		out = m.divide(base.Version, round{
			generation: joined.Generation, completed: m.completed, configured: work, members: members, now: time.Now(),
		})
		p.owners = map[Work]string{}
	}
	for _, r := range members {
		a := base
		a.Assigned, a.Revoked, a.Delay = out.assigned[r.id], out.revoked[r.id], out.delay
		for _, w := range a.Assigned {
			p.owners[w] = r.url
		}
		ga := kmsg.NewSyncGroupRequestGroupAssignment()
		ga.MemberID, ga.MemberAssignment = r.id, a.Encode()
		p.assignments = append(p.assignments, ga)
	}
	return p, nil
}

func (m *Member) divide(version int16, r round) (out outcome) {
	if version != versionEager {
		out, m.ledger = m.ledger.divide(r)
		return out
	}
	var ids []string
	for _, member := range r.members {
		if !member.guest {
			ids = append(ids, member.id)
		}
	}
	return outcome{assigned: divideEagerly(r.configured, ids)}
}

// sync sends what was divided, if this is the leader, and returns this member's part.
func (m *Member) sync(ctx context.Context, joined *kmsg.JoinGroupResponse, p plan) (Assignment, error) {
	req := kmsg.NewPtrSyncGroupRequest()
	req.Group, req.MemberID, req.InstanceID, req.Generation = m.c.Group, joined.MemberID, m.instance(), joined.Generation
	kind := "connect"
	req.ProtocolType, req.Protocol, req.GroupAssignment = &kind, &p.protocol, p.assignments
	resp, err := req.RequestWith(ctx, m.c.Client)
	if err == nil {
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	if err != nil {
		return Assignment{}, err
	}
	m.touch(time.Now())
	if len(resp.MemberAssignment) == 0 {
		return Assignment{}, errors.New("the leader has sent nothing")
	}
	return ParseAssignment(resp.MemberAssignment)
}

// refresh reads the configurations to their end, within its time.
func (m *Member) refresh(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, m.c.Sync)
	defer cancel()
	return m.c.Host.Refresh(ctx)
}

// errBehind says that the configurations are not known as far as others know them.
var errBehind = errors.New("the configurations are behind those of another worker")

// errLeaderBehind says that the leader has not divided the work.
var errLeaderBehind = errors.New("the leader's configurations are behind those of a worker")

// adopt takes on what this member was assigned.
func (m *Member) adopt(ctx context.Context, joined *kmsg.JoinGroupResponse, p plan, a Assignment) error {
	if a.Error != 0 {
		if err := m.refresh(ctx); err != nil {
			return errors.Join(errBehind, err)
		}
		return errLeaderBehind
	}
	work, offset := m.c.Host.Configured()
	if offset < a.Offset {
		if err := m.refresh(ctx); err != nil {
			return errors.Join(errBehind, err)
		}
		work, _ = m.c.Host.Configured()
	}
	if p.leads {
		work = p.work // What has come since is not divided yet.
	}
	m.behind = 0
	m.completed = joined.Generation
	m.seen = map[Work]bool{}
	for _, w := range work {
		m.seen[w] = true
	}
	if m.delayed.Stop(); a.Delay > 0 {
		m.delayed.Reset(a.Delay)
	}
	defer m.host()()
	former := m.State()
	state := State{
		Generation: joined.Generation, Member: joined.MemberID, LeaderURL: a.LeaderURL, Leads: p.leads && !joined.SkipAssignment,
		Protocol: p.protocol, URLs: p.urls, Owners: p.owners, Rounds: former.Rounds + 1, Divided: time.Now(),
		Work: merge(former.Work, a.Revoked, a.Assigned),
	}
	m.mu.Lock()
	state.Took = state.Divided.Sub(m.joined)
	m.mu.Unlock()
	m.c.Log.Info("the work of the group was divided", "group", m.c.Group, "generation", state.Generation, "leader", state.LeaderURL,
		"runs", len(state.Work), "new", len(merge(state.Work, former.Work, nil)), "stops", len(merge(former.Work, state.Work, nil)))
	m.expect() // One division is often followed by another.
	m.apply(ctx, state)
	// What was revoked is given to others in another round. A leader that has come back in
	// its former place does not know who runs what.
	if len(a.Revoked) > 0 || a.LeaderURL == m.c.URL && a.Leader != joined.MemberID {
		nudge(m.wake)
	}
	return nil
}

// merge returns what is in a list and not in the second, and what is in the third.
func merge(list, without, with []Work) []Work {
	all := map[Work]bool{}
	for _, w := range list {
		all[w] = true
	}
	for _, w := range without {
		delete(all, w)
	}
	for _, w := range with {
		all[w] = true
	}
	return slices.SortedFunc(maps.Keys(all), compare)
}
