package worker

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/internal/kafkalog"
)

// tails are the partitions of a connector's topics, which are read from their ends.
type tails struct {
	opts []kgo.Opt
	all  map[connect.TopicPartition]*tail
	read int // Bytes.
}

// tail is the end of a partition. What lies between start and from was not read yet.
type tail struct {
	start, from int64
	records     []*kgo.Record // The newest, as many as are wanted.
}

// peekRead bounds what is read for one answer, in bytes.
const peekRead = 32 << 20

// peekSilent is how often in a row nothing may come before what is waited for is left out.
const peekSilent = 5

// openTails finds a connector's topics and looks how far they reach. A source's are read with
// the rights of its producers.
func (h *Herder) openTails(ctx context.Context, config connect.Config, topic string) (*tails, error) {
	kind := consumerClient
	if h.kind(config) == "source" {
		kind = producerClient
	}
	opts, err := h.rt.client(consumerClient, workerProps(clientProps(h.rt.raw, kind, config)), h.rt.log)
	if err != nil {
		return nil, err
	}
	client, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, fmt.Errorf("make a client: %w", err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	t := &tails{opts: append(opts, kgo.FetchMaxBytes(4<<20), kgo.FetchMaxPartitionBytes(1<<20)), all: map[connect.TopicPartition]*tail{}}
	topics, err := h.peekTopics(ctx, config, topic, admin)
	if err != nil || len(topics) == 0 {
		return t, err
	}
	starts, err := admin.ListStartOffsets(ctx, topics...)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return nil, unpeeked(err)
	}
	ends, err := admin.ListCommittedOffsets(ctx, topics...)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return nil, unpeeked(err)
	}
	starts.Each(func(o kadm.ListedOffset) {
		if end, ok := ends.Lookup(o.Topic, o.Partition); ok {
			t.all[connect.TopicPartition{Topic: o.Topic, Partition: o.Partition}] = &tail{start: o.Offset, from: max(o.Offset, end.Offset)}
		}
	})
	return t, nil
}

func unpeeked(err error) error {
	return brokerError("peek.read", "the connector's topics cannot be read", err)
}

// peekTopics returns those of a connector's topics that there are, or the one that is wanted.
func (h *Herder) peekTopics(ctx context.Context, config connect.Config, wanted string, admin *kadm.Client) ([]string, error) {
	name, pattern := config["name"], ""
	var names []string
	switch h.kind(config) {
	case "source":
		var err error
		if names, err = h.Topics(name); err != nil {
			return nil, err
		}
	case "sink":
		names, pattern = aliases(config, "topics"), strings.TrimSpace(config["topics.regex"])
	}
	if pattern == "" && len(names) == 0 {
		return nil, strangeTopic(name, wanted)
	}
	there, err := admin.ListTopics(ctx, names...) // Without names, all of them.
	if err != nil {
		return nil, unpeeked(err)
	}
	if pattern != "" {
		re, err := regexp.Compile("^(?:" + pattern + ")$")
		if err != nil {
			return nil, connect.ConfigError("topics.regex", "%s", err)
		}
		maps.DeleteFunc(there, func(topic string, _ kadm.TopicDetail) bool { return !re.MatchString(topic) })
		names = there.Names()
	}
	names = slices.DeleteFunc(names, func(topic string) bool {
		// Secrets that were written into configurations stand in their topic.
		return wanted != "" && topic != wanted || topic == h.rt.settings.String("config.storage.topic")
	})
	if len(names) == 0 {
		return nil, strangeTopic(name, wanted)
	}
	return slices.DeleteFunc(names, func(topic string) bool { return !there.Has(topic) }), nil
}

// strangeTopic is the error for a topic that is not the connector's.
func strangeTopic(connector, topic string) error {
	if topic == "" {
		return nil
	}
	return &connect.Error{
		Code: "peek.topic", Class: connect.ClassConfig, Place: topic, Message: "Connector " + connector + " neither reads this topic nor has written to it",
		Mend: "name one of GET /connectors/" + connector + "/topics, or none",
	}
}

// newest returns the newest records of all partitions, the newest of all last, and whether
// all partitions were read to their ends.
func (t *tails) newest(ctx context.Context, limit int) ([]*kgo.Record, bool, error) {
	// Behind the end there may be anything that is no record: marks of transactions, what was
	// aborted, or what was compacted. So one goes back further and further.
	whole := true
	for window := int64(limit); ; window *= 4 {
		begins := map[connect.TopicPartition]int64{}
		for tp, one := range t.all {
			if len(one.records) < limit && one.from > one.start {
				begins[tp] = max(one.start, one.from-window)
			}
		}
		if len(begins) == 0 {
			return t.merge(limit), whole, nil
		}
		all, err := t.readFrom(ctx, begins, limit)
		if err != nil {
			return nil, false, err
		}
		if t.read >= peekRead || !all && !whole {
			return t.merge(limit), false, nil
		}
		whole = whole && all
	}
}

// readFrom reads partitions from where they are told to begin up to where they were read
// before. It returns false when that is too much, or does not come.
func (t *tails) readFrom(ctx context.Context, begins map[connect.TopicPartition]int64, limit int) (bool, error) {
	from, to := map[string]map[int32]int64{}, map[string]map[int32]int64{}
	for tp, begin := range begins {
		if from[tp.Topic] == nil {
			from[tp.Topic], to[tp.Topic] = map[int32]int64{}, map[int32]int64{}
		}
		from[tp.Topic][tp.Partition], to[tp.Topic][tp.Partition] = begin, t.all[tp].from
	}
	found := map[connect.TopicPartition][]*kgo.Record{}
	whole, silent := true, 0
	for fetches, err := range kafkalog.ReadTo(ctx, t.opts, from, to) {
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		if err != nil {
			return false, unpeeked(err)
		}
		if silent++; fetches != nil {
			silent = 0
		}
		for _, r := range fetches.Records() {
			tp := connect.TopicPartition{Topic: r.Topic, Partition: r.Partition}
			list := append(found[tp], r)
			found[tp] = list[max(0, len(list)-limit):]
			t.read += len(r.Key) + len(r.Value)
		}
		if whole = silent < peekSilent && t.read < peekRead; !whole {
			break
		}
	}
	for tp, begin := range begins {
		one := t.all[tp]
		all := append(found[tp], one.records...)
		one.records, one.from = all[max(0, len(all)-limit):], begin
	}
	return whole, nil
}

// merge chooses among the ends of all partitions by time. Those of one partition stay in
// their order, whatever their times.
func (t *tails) merge(limit int) (list []*kgo.Record) {
	order := slices.SortedFunc(maps.Keys(t.all), func(a, b connect.TopicPartition) int {
		return cmp.Or(strings.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	for len(list) < limit {
		var newest *tail
		for _, tp := range order {
			one := t.all[tp]
			if n := len(one.records); n > 0 && (newest == nil || one.records[n-1].Timestamp.After(newest.records[len(newest.records)-1].Timestamp)) {
				newest = one
			}
		}
		if newest == nil {
			break
		}
		last := len(newest.records) - 1
		list = append(list, newest.records[last])
		newest.records = newest.records[:last]
	}
	slices.Reverse(list)
	return list
}
