package kafkalog

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// beyondLimit is how long the brokers have to say how far there is nothing. They answer
// after what the client waits for already, which is five seconds where nothing else is set.
const beyondLimit = 10 * time.Second

// Beyond tells a reader of committed records that is given nothing at some offsets of
// topics how far there is nothing to be given. Where a partition ends in what was
// compacted away, in an aborted transaction whose mark comes behind the beginning of an
// open one, or in marks, no record tells a reader that it is at the end, and the client
// does not tell where it is. Partitions that are gone are left out. Where the brokers do
// not say, it is where it was: what is wrong is told to who reads.
func Beyond(ctx context.Context, client *kgo.Client, at map[string]map[int32]int64) (map[string]map[int32]int64, error) {
	ctx, cancel := context.WithTimeout(ctx, beyondLimit)
	defer cancel()
	// The client itself would say what it was told some time ago.
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = []kmsg.MetadataRequestTopic{}
	for topic := range at {
		asked := kmsg.NewMetadataRequestTopic()
		asked.Topic = &topic
		req.Topics = append(req.Topics, asked)
	}
	resp, err := req.RequestWith(ctx, client)
	if err != nil {
		return nil, fmt.Errorf("ask who leads partitions: %w", err)
	}
	next := map[string]map[int32]int64{}
	leaders := map[int32][]*held{}
	for _, t := range resp.Topics {
		name := *t.Topic
		next[name] = map[int32]int64{}
		if err := kerr.ErrorForCode(t.ErrorCode); err != nil && unknown(err) == nil {
			maps.Copy(next[name], at[name])
		}
		own := map[int32]*held{} // By leader.
		for _, p := range t.Partitions {
			from, wanted := at[name][p.Partition]
			if !wanted {
				continue
			}
			next[name][p.Partition] = from
			if p.Leader < 0 {
				continue // It has none at the moment.
			}
			if own[p.Leader] == nil {
				own[p.Leader] = &held{topic: name, id: t.TopicID, at: map[int32]int64{}, done: map[int32]int64{}}
				leaders[p.Leader] = append(leaders[p.Leader], own[p.Leader])
			}
			own[p.Leader].at[p.Partition] = from
		}
	}
	var asking sync.WaitGroup
	for id, all := range leaders {
		asking.Go(func() { advance(ctx, client.Broker(int(id)), all) })
	}
	asking.Wait()
	for _, all := range leaders {
		for _, h := range all {
			maps.Copy(next[h.topic], h.at)
			maps.Copy(next[h.topic], h.done)
		}
	}
	return next, nil
}

// held are the partitions of a topic that one broker leads.
type held struct {
	topic    string
	id       [16]byte
	at, done map[int32]int64 // Where it is still to be asked, and where there is something.
}

// advance takes partitions to their first committed records, or to where they end for who
// reads committed records.
func advance(ctx context.Context, leader *kgo.Broker, all []*held) {
	begin(ctx, leader, all)
	for req := fetchAt(all); len(req.Topics) > 0; req = fetchAt(all) {
		resp, err := leader.Request(ctx, req)
		if err != nil {
			return
		}
		fetched, moved := resp.(*kmsg.FetchResponse), false
		empty := map[*held][]*kmsg.FetchResponseTopicPartition{}
		for _, t := range fetched.Topics {
			i := slices.IndexFunc(all, func(h *held) bool { return h.topic == t.Topic || t.Topic == "" && h.id == t.TopicID })
			if i < 0 {
				continue
			}
			for j := range t.Partitions {
				part := &t.Partitions[j]
				if part.ErrorCode == 0 && part.PreferredReadReplica < 0 && len(part.RecordBatches) == 0 {
					empty[all[i]] = append(empty[all[i]], part)
					continue
				}
				all[i].step(part)
				moved = true
			}
		}
		if moved {
			continue // What is empty may have had no room beside the others.
		}
		for h, parts := range empty {
			for _, part := range parts {
				h.done[part.Partition] = max(h.at[part.Partition], part.LastStableOffset)
			}
		}
		return
	}
}

// step takes a partition over what was fetched of it.
func (h *held) step(part *kmsg.FetchResponseTopicPartition) {
	p := part.Partition
	at := h.at[p]
	opts := kgo.ProcessFetchPartitionOpts{Offset: at, IsolationLevel: kgo.ReadCommitted(), Topic: h.topic, Partition: p}
	found, next := kgo.ProcessFetchPartition(opts, part, kgo.DefaultDecompressor(), nil)
	switch {
	case len(found.Records) > 0:
		at = found.Records[0].Offset
	case found.Err == nil && next > at:
		h.at[p] = next
		return
	}
	h.done[p] = at
	delete(h.at, p)
}

// begin takes partitions to their starts.
func begin(ctx context.Context, leader *kgo.Broker, all []*held) {
	req := kmsg.NewPtrListOffsetsRequest()
	for _, h := range all {
		of := kmsg.NewListOffsetsRequestTopic()
		of.Topic = h.topic
		for p := range h.at {
			part := kmsg.NewListOffsetsRequestTopicPartition()
			part.Partition, part.Timestamp = p, -2 // The earliest.
			of.Partitions = append(of.Partitions, part)
		}
		req.Topics = append(req.Topics, of)
	}
	resp, err := leader.Request(ctx, req)
	if err != nil {
		return
	}
	for _, t := range resp.(*kmsg.ListOffsetsResponse).Topics {
		i := slices.IndexFunc(all, func(h *held) bool { return h.topic == t.Topic })
		for _, part := range t.Partitions {
			if i >= 0 && part.ErrorCode == 0 {
				all[i].at[part.Partition] = max(all[i].at[part.Partition], part.Offset)
			}
		}
	}
}

// fetchAt asks for committed records, as many as are there.
func fetchAt(all []*held) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.IsolationLevel, req.MaxBytes = 1, 4<<20
	for _, h := range all {
		of := kmsg.NewFetchRequestTopic()
		of.Topic, of.TopicID = h.topic, h.id
		for p, at := range h.at {
			part := kmsg.NewFetchRequestTopicPartition()
			part.Partition, part.FetchOffset, part.PartitionMaxBytes = p, at, 1<<18
			of.Partitions = append(of.Partitions, part)
		}
		if len(of.Partitions) > 0 {
			req.Topics = append(req.Topics, of)
		}
	}
	return req
}
