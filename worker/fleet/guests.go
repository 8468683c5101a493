package fleet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Workers of Kafka Connect speak the same protocol, and would be given work like any
// other. But neither side's leader knows what the other can run: each would be given
// connectors that it has no plugin for. So a group is either theirs or ours. Theirs are
// known by having no name of a static member (KIP-345), which they do not support.

// Unwelcome is the error of a member that cannot take part beside another one.
type Unwelcome struct {
	// Other is what the other is called: its URL or, where that is not known, its id in
	// the group.
	Other string
	// Foreign tells that the other is a worker of Kafka Connect. Otherwise the addresses
	// of the two do not go together, and Reason says why.
	Foreign bool
	Reason  string
}

// Error implements error.
func (u *Unwelcome) Error() string {
	if u.Foreign {
		return "a worker of Kafka Connect is in the group: " + u.Other
	}
	return u.Reason + ": " + u.Other
}

// neighbour is another member as the brokers know it.
type neighbour struct {
	id, instance string
	url          string // Empty while work is being divided.
}

// neighbours asks the brokers who is in the group beside this member.
func (m *Member) neighbours(ctx context.Context) ([]neighbour, error) {
	req := kmsg.NewPtrDescribeGroupsRequest()
	req.Groups = []string{m.c.Group}
	resp, err := req.RequestWith(ctx, m.c.Client)
	if err != nil {
		return nil, err
	}
	var list []neighbour
	for _, g := range resp.Groups {
		if err := kerr.ErrorForCode(g.ErrorCode); err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
			return nil, err
		}
		for _, member := range g.Members {
			n := neighbour{id: member.MemberID}
			if member.InstanceID != nil {
				n.instance = *member.InstanceID
			}
			if said, err := ParseMetadata(member.ProtocolMetadata); err == nil {
				n.url = said.URL
			}
			if n.instance != m.c.Instance {
				list = append(list, n)
			}
		}
	}
	return list, nil
}

// name is what to call the neighbour by.
func (n neighbour) name() string {
	if n.url != "" {
		return n.url
	}
	return n.id
}

// guestWait is how often a member that wants to join looks whether those it cannot be
// beside are gone.
const guestWait = 250 * time.Millisecond

// admit returns when nobody is in the group that this member cannot be beside, and the
// error [Unwelcome] when somebody stays. Where the brokers do not say who is there, nobody
// is taken to be.
func (m *Member) admit(ctx context.Context) error {
	if m.c.Instance == "" {
		return nil
	}
	limit := time.Now().Add(m.c.Admission)
	told := false
	for {
		asking, cancel := context.WithTimeout(ctx, m.c.Session)
		list, err := m.neighbours(asking)
		cancel()
		if err != nil {
			m.c.Log.Warn("the brokers do not say who is in the group", "group", m.c.Group, "error", err)
			return nil
		}
		found := objection(m.c.URL, list, func() bool { return m.isOneMachine(ctx) })
		if found == nil || ctx.Err() != nil {
			return nil
		}
		if time.Now().After(limit) {
			return found
		}
		if !told {
			m.c.Log.Warn("waiting until another worker is gone from the group", "group", m.c.Group, "because", found.Error())
			told = true
		}
		pause(ctx, guestWait)
	}
}

// objection returns why a member with an address cannot be beside the others, nil if it can.
// On one machine everybody reaches everybody.
func objection(own string, list []neighbour, isOneMachine func() bool) *Unwelcome {
	for _, n := range list {
		if n.instance == "" {
			return &Unwelcome{Other: n.name(), Foreign: true}
		}
		if n.url == "" {
			continue
		}
		if n.url == own {
			return &Unwelcome{Other: n.instance, Reason: "another worker of the group is reached under the same address " + n.url}
		}
		if (isLoopback(n.url) || isLoopback(own)) && !isOneMachine() {
			return &Unwelcome{Other: n.name(), Reason: "the group has several workers, and not all of their addresses are reached from other machines; this one's is " + own}
		}
	}
	return nil
}

// isLoopback tells whether only the machine itself reaches an address.
func isLoopback(address string) bool {
	u, err := url.Parse(address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}

// isOneMachine tells whether all the brokers are reached over the loopback interface:
// whoever is in the group is on this machine as well then.
func (m *Member) isOneMachine(ctx context.Context) bool {
	resp, err := kmsg.NewPtrMetadataRequest().RequestWith(ctx, m.c.Client)
	if err != nil {
		return true // There is nothing to hold against anybody.
	}
	for _, b := range resp.Brokers {
		if !isLoopback("http://" + net.JoinHostPort(b.Host, fmt.Sprint(b.Port))) {
			return false
		}
	}
	return true
}

// vet returns the error [Unwelcome] when a member that is not ours has become the leader.
func (m *Member) vet(ctx context.Context, leader string) error {
	if m.c.Instance == "" || leader == "" || leader == m.vetted {
		return nil
	}
	list, err := m.neighbours(ctx)
	if err != nil {
		return err
	}
	for _, n := range list {
		if n.id == leader && n.instance == "" {
			return &Unwelcome{Other: n.name(), Foreign: true}
		}
	}
	m.vetted = leader
	return nil
}
