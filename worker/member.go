package worker

import (
	"context"
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
)

// member is a task's place in a consumer group. It is a static one (KIP-345), named after
// the cluster of workers and the task, unless the settings name it: the successor of a
// task whose worker was killed takes the place over at once, where it would otherwise
// wait until the group gives up the dead one (session.timeout.ms).
type member struct{ group, instance string }

// memberOf names the place and adds it to the settings of a consumer.
func (t *taskSetup) memberOf(group string, props connect.Config) member {
	const setting = "group.instance.id"
	if props[setting] == "" {
		props[setting] = t.rt.groupID + "-" + t.id.String()
	}
	return member{group, props[setting]}
}

// leaveTime bounds how long brokers are waited for when a consumer ends.
const leaveTime = 3 * time.Second

// leave gives the place up and ends the client. The group keeps the places of static
// members that just go, so it is told, unless the place is not ours any more: a task that
// was abandoned must not give up that of its successor. When the brokers do not answer, the
// client ends by itself later; it sends no more heartbeats.
func (m member) leave(client *kgo.Client, ours bool, log *slog.Logger) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer client.CloseAllowingRebalance()
		ctx, cancel := context.WithTimeout(context.Background(), leaveTime)
		defer cancel()
		client.AllowRebalance()
		err := client.LeaveGroupContext(ctx) // Now it does not join again.
		if err == nil && ours {
			_, err = kadm.NewClient(client).LeaveGroup(ctx, kadm.LeaveGroup(m.group).InstanceIDs(m.instance).Reason("the task stops"))
		}
		if err != nil {
			log.Warn("the consumer group could not be told that the task stops", "group", m.group, "error", err)
		}
	}()
	select {
	case <-ended:
	case <-time.After(leaveTime + time.Second):
		log.Warn("the consumer waits for its brokers and is left behind", "group", m.group)
	}
}
