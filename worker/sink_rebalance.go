package worker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
)

// adjust gives partitions the plugin sought while they were being opened their place
// to begin.
func (t *sinkTask) adjust(_ context.Context, offsets map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for tp, offset := range t.seeks {
		if _, ok := offsets[tp.Topic][tp.Partition]; ok {
			offsets[tp.Topic][tp.Partition] = kgo.NewOffset().At(offset)
			delete(t.seeks, tp)
		}
	}
	return offsets, nil
}

func partitionsOf(m map[string][]int32) []connect.TopicPartition {
	var list []connect.TopicPartition
	for topic, numbers := range m {
		for _, n := range numbers {
			list = append(list, connect.TopicPartition{Topic: topic, Partition: n})
		}
	}
	return list
}

// onAssigned tells the plugin of partitions before their first record.
func (t *sinkTask) onAssigned(_ context.Context, _ *kgo.Client, added map[string][]int32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := partitionsOf(added)
	if t.ended || len(list) == 0 {
		return
	}
	for _, tp := range list {
		t.assigned[tp] = &partitionState{first: -1, put: -1, committed: -1}
	}
	t.countActive()
	if o, ok := t.plugin.(connect.PartitionOpener); ok {
		t.failWith(guard("open", func() error { return o.Open(t.life, list) }))
	}
}

// onRevoked commits and closes partitions that go to another member.
func (t *sinkTask) onRevoked(_ context.Context, _ *kgo.Client, removed map[string][]int32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.remove(partitionsOf(removed), true)
}

// onLost closes partitions that another member may have already: nothing may be
// committed for them.
func (t *sinkTask) onLost(_ context.Context, _ *kgo.Client, lost map[string][]int32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.remove(partitionsOf(lost), false)
}

// failWith keeps the first failure found outside the loop. The caller holds mu.
func (t *sinkTask) failWith(err error) {
	if err != nil && t.failure == nil {
		t.failure = err
	}
}

// remove gives up partitions. The caller holds mu.
func (t *sinkTask) remove(list []connect.TopicPartition, commit bool) {
	states := map[connect.TopicPartition]*partitionState{}
	var held []connect.TopicPartition
	for _, tp := range list {
		if s := t.assigned[tp]; s != nil {
			states[tp] = s
			held = append(held, tp)
		}
	}
	if len(held) == 0 {
		return
	}
	if commit {
		t.failWith(guard("preCommit", func() error { return t.commitPartitions(states) }))
	}
	if o, ok := t.plugin.(connect.PartitionOpener); ok {
		t.failWith(guard("close", func() error { return o.Close(t.life, held) }))
	}
	paused := map[string][]int32{}
	for _, tp := range held {
		delete(t.assigned, tp)
		delete(t.seeks, tp)
		delete(t.next, tp)
		paused[tp.Topic] = append(paused[tp.Topic], tp.Partition)
	}
	t.client.ResumeFetchPartitions(paused)
	// A batch that waits to be put again loses the records that are others' now.
	kept := t.batch[:0]
	for _, r := range t.batch {
		if t.assigned[connect.TopicPartition{Topic: r.OriginalTopic, Partition: r.OriginalPartition}] != nil {
			kept = append(kept, r)
		}
	}
	clear(t.batch[len(kept):])
	t.batch = kept
	t.countActive()
}

// end commits and closes everything for the last time.
func (t *sinkTask) end() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []connect.TopicPartition
	for tp := range t.assigned {
		all = append(all, tp)
	}
	former := t.failure
	t.failure = nil
	t.remove(all, true)
	t.ended = true
	if former != nil {
		return former
	}
	return t.failure
}
