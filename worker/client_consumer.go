package worker

import (
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func (r *clientReader) consumer() {
	switch reset := strings.ToLower(r.text("auto.offset.reset", "earliest")); reset {
	case "earliest":
		r.add(kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	case "latest":
		r.add(kgo.ConsumeResetOffset(kgo.NewOffset().AtEnd()))
	case "none":
		r.add(kgo.ConsumeResetOffset(kgo.NoResetOffset()))
	default:
		r.fault("auto.offset.reset", "Invalid value %s for configuration auto.offset.reset: String must be one of: latest, earliest, none", reset)
	}
	for name, option := range map[string]func(int32) kgo.ConsumerOpt{
		"fetch.min.bytes": kgo.FetchMinBytes, "fetch.max.bytes": kgo.FetchMaxBytes, "max.partition.fetch.bytes": kgo.FetchMaxPartitionBytes,
	} {
		if n, ok := r.number(name); ok {
			r.add(option(int32(n)))
		}
	}
	r.millis("fetch.max.wait.ms", func(d time.Duration) kgo.Opt { return kgo.FetchMaxWait(d) })
	r.millis("session.timeout.ms", func(d time.Duration) kgo.Opt { return kgo.SessionTimeout(d) })
	r.millis("heartbeat.interval.ms", func(d time.Duration) kgo.Opt { return kgo.HeartbeatInterval(d) })
	r.millis("max.poll.interval.ms", func(d time.Duration) kgo.Opt { return kgo.RebalanceTimeout(d) })
	if strings.EqualFold(r.text("isolation.level", "read_uncommitted"), "read_committed") {
		r.add(kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	}
	if id := r.text("group.instance.id", ""); id != "" {
		r.add(kgo.InstanceID(id))
	}
	if rack := r.text("client.rack", ""); rack != "" {
		r.add(kgo.Rack(rack))
	}
	r.add(kgo.Balancers(balancers(r.text("partition.assignment.strategy", ""))...))
}

// balancers understands the names of Java's assignors. The default lets partitions
// move without stopping the others.
func balancers(strategy string) []kgo.GroupBalancer {
	var list []kgo.GroupBalancer
	for name := range strings.SplitSeq(strategy, ",") {
		switch simple := name[strings.LastIndexByte(name, '.')+1:]; strings.TrimSpace(simple) {
		case "RangeAssignor":
			list = append(list, kgo.RangeBalancer())
		case "RoundRobinAssignor":
			list = append(list, kgo.RoundRobinBalancer())
		case "StickyAssignor":
			list = append(list, kgo.StickyBalancer())
		case "CooperativeStickyAssignor":
			list = append(list, kgo.CooperativeStickyBalancer())
		}
	}
	if len(list) == 0 {
		return []kgo.GroupBalancer{kgo.CooperativeStickyBalancer()}
	}
	return list
}
