package topics

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// Member is a member of a consumer group.
type Member struct {
	// Instance is the id it keeps over restarts, empty if it has none.
	Instance string `json:"instance,omitempty"`
	// Client and Host are what it calls itself and where it is.
	Client string `json:"client"`
	Host   string `json:"host"`
}

// Members returns who is in a group: nobody when there is no such group.
func (c *Client) Members(ctx context.Context, group string) (members []Member, err error) {
	err = patiently(ctx, func() error {
		described, err := c.adm.DescribeGroups(ctx, group)
		if err == nil {
			err = described[group].Err
		}
		if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
			return fmt.Errorf("asking who is in group %s: %w", group, err)
		}
		members = nil
		for _, m := range described[group].Members {
			member := Member{Client: m.ClientID, Host: m.ClientHost}
			if m.InstanceID != nil {
				member.Instance = *m.InstanceID
			}
			members = append(members, member)
		}
		return nil
	})
	return members, err
}

// RemoveMembers puts members with an Instance out of a group. One that runs comes
// back.
func (c *Client) RemoveMembers(ctx context.Context, group string, members []Member) error {
	leave := kadm.LeaveGroup(group).Reason("removed by hand")
	some := false
	for _, m := range members {
		leave.InstanceIDs(m.Instance)
		some = some || m.Instance != ""
	}
	if !some {
		return nil
	}
	resp, err := c.adm.LeaveGroup(ctx, leave)
	if err == nil {
		for _, r := range resp {
			if !errors.Is(r.Err, kerr.UnknownMemberID) {
				err = errors.Join(err, r.Err)
			}
		}
	}
	if err != nil {
		return fmt.Errorf("removing members of group %s: %w", group, err)
	}
	return nil
}

// GroupOffsets returns all offsets a group has committed.
func (c *Client) GroupOffsets(ctx context.Context, group string) (offsets map[string]map[int32]int64, err error) {
	err = patiently(ctx, func() error {
		resp, err := c.adm.FetchOffsets(ctx, group)
		if err == nil {
			err = resp.Error()
		}
		if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
			return fmt.Errorf("asking for the offsets of group %s: %w", group, err)
		}
		offsets = map[string]map[int32]int64{}
		resp.Each(func(o kadm.OffsetResponse) {
			if offsets[o.Topic] == nil {
				offsets[o.Topic] = map[int32]int64{}
			}
			offsets[o.Topic][o.Partition] = o.At
		})
		return nil
	})
	return offsets, err
}

// SetGroupOffsets commits offsets for a group that nobody is in.
func (c *Client) SetGroupOffsets(ctx context.Context, group string, offsets map[string]map[int32]int64) error {
	commit := kadm.Offsets{}
	for topic, ps := range offsets {
		for p, at := range ps {
			commit.Add(kadm.Offset{Topic: topic, Partition: p, At: at, LeaderEpoch: -1})
		}
	}
	if len(commit) == 0 {
		return nil
	}
	return patiently(ctx, func() error {
		resp, err := c.adm.CommitOffsets(ctx, group, commit)
		if err == nil {
			err = resp.Error()
		}
		if err != nil {
			return fmt.Errorf("setting the offsets of group %s: %w", group, err)
		}
		return nil
	})
}

// OffsetsAfter returns, for each partition of topics, the offset of the first record
// of that time or later, the end where there is none.
func (c *Client) OffsetsAfter(ctx context.Context, at time.Time, names ...string) (map[string]map[int32]int64, error) {
	listed, err := c.adm.ListOffsetsAfterMilli(ctx, at.UnixMilli(), names...)
	if err == nil {
		err = listed.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("asking for the offsets at %v: %w", at, err)
	}
	offsets := map[string]map[int32]int64{}
	listed.Each(func(o kadm.ListedOffset) {
		if offsets[o.Topic] == nil {
			offsets[o.Topic] = map[int32]int64{}
		}
		offsets[o.Topic][o.Partition] = o.Offset
	})
	return offsets, nil
}
