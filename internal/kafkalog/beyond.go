package kafkalog

import (
	"context"
	"fmt"
	"maps"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Beyond tells a reader of committed records that is given nothing at some offsets of a
// topic how far there is nothing to be given. Where a partition ends in what was
// compacted away, in an aborted transaction whose mark comes behind the beginning of an
// open one, or in marks, no record tells a reader that it is at the end, and the client
// does not tell where it is. Partitions that are gone are left out.
func Beyond(ctx context.Context, client *kgo.Client, topic string, at map[int32]int64) (map[int32]int64, error) {
	admin := kadm.NewClient(client)
	topics, err := admin.ListTopics(ctx, topic)
	if err != nil {
		return nil, fmt.Errorf("ask where topic %s is: %w", topic, err)
	}
	if err := topics[topic].Err; err != nil && unknown(err) == nil {
		return nil, fmt.Errorf("ask where topic %s is: %w", topic, err)
	}
	starts, err := admin.ListStartOffsets(ctx, topic)
	if err != nil {
		return nil, fmt.Errorf("ask where topic %s begins: %w", topic, err)
	}
	next := maps.Clone(at)
	for p, from := range at {
		d, there := topics[topic].Partitions[p]
		if !there {
			delete(next, p)
			continue
		}
		if start, ok := starts.Lookup(topic, p); ok && start.Err == nil {
			from = max(from, start.Offset)
		}
		if d.Leader < 0 {
			continue // It has none at the moment.
		}
		next[p] = step(ctx, client.Broker(int(d.Leader)), topics[topic], p, from)
	}
	return next, nil
}

// step returns the offset of the first committed record of a partition, or where it
// ends for who reads committed records. When the broker does not say, it is where it was:
// what is wrong is told to who reads.
func step(ctx context.Context, leader *kgo.Broker, topic kadm.TopicDetail, p int32, at int64) int64 {
	for {
		resp, err := leader.Request(ctx, fetchAt(topic, p, at))
		if err != nil {
			return at
		}
		fetched := resp.(*kmsg.FetchResponse)
		if fetched.ErrorCode != 0 || len(fetched.Topics) != 1 || len(fetched.Topics[0].Partitions) != 1 {
			return at
		}
		part := &fetched.Topics[0].Partitions[0]
		if part.ErrorCode != 0 || part.PreferredReadReplica >= 0 {
			return at
		}
		if len(part.RecordBatches) == 0 {
			return max(at, part.LastStableOffset)
		}
		opts := kgo.ProcessFetchPartitionOpts{Offset: at, IsolationLevel: kgo.ReadCommitted(), Topic: topic.Topic, Partition: p}
		found, next := kgo.ProcessFetchPartition(opts, part, kgo.DefaultDecompressor(), nil)
		if len(found.Records) > 0 {
			return found.Records[0].Offset
		}
		if found.Err != nil || next <= at {
			return at
		}
		at = next
	}
}

// fetchAt asks for the committed records from an offset on, as many as are there.
func fetchAt(topic kadm.TopicDetail, p int32, at int64) *kmsg.FetchRequest {
	part := kmsg.NewFetchRequestTopicPartition()
	part.Partition, part.FetchOffset, part.PartitionMaxBytes = p, at, 1<<20
	of := kmsg.NewFetchRequestTopic()
	of.Topic, of.TopicID, of.Partitions = topic.Topic, topic.ID, []kmsg.FetchRequestTopicPartition{part}
	req := kmsg.NewPtrFetchRequest()
	req.IsolationLevel, req.MaxBytes, req.Topics = 1, 1<<20, []kmsg.FetchRequestTopic{of}
	return req
}
