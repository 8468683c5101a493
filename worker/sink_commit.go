package worker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemill/tidemill/connect"
)

// commit commits what was put, as far as the plugin answers for it. The caller holds
// mu. A commit that fails is tried again with the next; an error is the plugin's.
func (t *sinkTask) commit() error {
	t.asked = false
	t.commitAt = time.Now().Add(t.rt.settings.Duration("offset.flush.interval.ms"))
	return t.commitPartitions(t.assigned)
}

func (t *sinkTask) commitPartitions(states map[connect.TopicPartition]*partitionState) error {
	if err := t.awaitLetters(); err != nil {
		return err
	}
	put := map[connect.TopicPartition]int64{}
	moved := false
	for tp, s := range states {
		if s.put >= 0 {
			put[tp] = s.put
			moved = moved || s.put != s.committed
		}
	}
	if !moved {
		return nil
	}
	answered := put
	if p, ok := t.plugin.(connect.PreCommitter); ok {
		var err error
		answered, err = p.PreCommit(t.life, maps.Clone(put))
		if err != nil {
			return t.notFlushed(err)
		}
	}
	offsets := map[connect.TopicPartition]int64{}
	for tp, offset := range answered {
		s := states[tp]
		switch {
		case s == nil || s.put < 0 || offset > put[tp]:
			t.log.Warn("the task answers for records it was not given; its offset is passed over", "partition", tp.String(), "offset", offset)
		case offset != s.committed:
			offsets[tp] = offset
		}
	}
	if len(offsets) == 0 {
		t.metrics.commitSkips.Add(1)
		return nil
	}
	began := time.Now()
	t.metrics.commitSeq.Add(1)
	ctx, cancel := context.WithTimeout(t.life, t.rt.settings.Duration("offset.flush.timeout.ms"))
	defer cancel()
	if err := t.commitOffsets(ctx, offsets); err != nil {
		t.metrics.commitFailures.Add(1)
		t.log.Warn("committing offsets failed, trying again", "error", err)
		return nil
	}
	t.metrics.commits.Add(1)
	t.metrics.commitTime.since(began)
	for tp, offset := range offsets {
		states[tp].committed = offset
	}
	t.countActive()
	return nil
}

// notFlushed deals with a plugin that could not write out what it held back. If that
// may pass, everything since the last commit is read again.
func (t *sinkTask) notFlushed(err error) error {
	t.metrics.fail()
	t.metrics.commitFailures.Add(1)
	if connect.AsError(err).Class != connect.ClassRetriable {
		return err
	}
	t.log.Warn("the task could not flush; going back to the last commit", "error", err)
	for tp, s := range t.assigned {
		if back := max(s.committed, s.first); back >= 0 {
			t.seeks[tp] = back
		}
	}
	return nil
}

func (t *sinkTask) commitOffsets(ctx context.Context, offsets map[connect.TopicPartition]int64) error {
	request := map[string]map[int32]kgo.EpochOffset{}
	for tp, offset := range offsets {
		if request[tp.Topic] == nil {
			request[tp.Topic] = map[int32]kgo.EpochOffset{}
		}
		request[tp.Topic][tp.Partition] = kgo.EpochOffset{Epoch: -1, Offset: offset}
	}
	var failed error
	t.client.CommitOffsetsSync(ctx, request, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
		if failed = err; err != nil {
			return
		}
		for _, topic := range resp.Topics {
			for _, p := range topic.Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					failed = errors.Join(failed, fmt.Errorf("%s-%d: %w", topic.Topic, p.Partition, err))
				}
			}
		}
	})
	return failed
}

// awaitLetters waits until the letters sent so far are durable: their records' offsets
// are about to be committed.
func (t *sinkTask) awaitLetters() error {
	for _, wait := range t.letters {
		if err := wait(t.life); err != nil {
			return err
		}
	}
	clear(t.letters)
	t.letters = t.letters[:0]
	return nil
}

// applySeeks makes the consumer go on where the plugin, or a failed flush, wants it.
// It returns the partitions it moved: what is on its way from their old positions must
// be dropped. The caller holds mu and the rebalance.
func (t *sinkTask) applySeeks() map[connect.TopicPartition]int64 {
	if len(t.seeks) == 0 {
		return nil
	}
	request := map[string]map[int32]kgo.EpochOffset{}
	for tp, offset := range t.seeks {
		s := t.assigned[tp]
		if s == nil {
			delete(t.seeks, tp)
			continue
		}
		if request[tp.Topic] == nil {
			request[tp.Topic] = map[int32]kgo.EpochOffset{}
		}
		request[tp.Topic][tp.Partition] = kgo.EpochOffset{Epoch: -1, Offset: offset}
		s.put, s.first = -1, offset
	}
	t.client.SetOffsets(request)
	moved := t.seeks
	t.seeks = map[connect.TopicPartition]int64{}
	return moved
}

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

// control is what the plugin steers its consumer with. The task's mutex is held
// whenever the plugin runs, so it is not taken here.
type control struct{ t *sinkTask }

// Assignment implements connect.ConsumerControl.
func (c control) Assignment() []connect.TopicPartition {
	list := make([]connect.TopicPartition, 0, len(c.t.assigned))
	for tp := range c.t.assigned {
		list = append(list, tp)
	}
	return list
}

func (c control) group(partitions []connect.TopicPartition) map[string][]int32 {
	m := map[string][]int32{}
	for _, tp := range partitions {
		m[tp.Topic] = append(m[tp.Topic], tp.Partition)
	}
	return m
}

// Pause implements connect.ConsumerControl.
func (c control) Pause(partitions ...connect.TopicPartition) {
	if c.t.client != nil {
		c.t.client.PauseFetchPartitions(c.group(partitions))
	}
}

// Resume implements connect.ConsumerControl.
func (c control) Resume(partitions ...connect.TopicPartition) {
	if c.t.client != nil {
		c.t.client.ResumeFetchPartitions(c.group(partitions))
	}
}

// Seek implements connect.ConsumerControl.
func (c control) Seek(offsets map[connect.TopicPartition]int64) { maps.Copy(c.t.seeks, offsets) }

// RequestCommit implements connect.ConsumerControl.
func (c control) RequestCommit() { c.t.asked = true }

// errants takes records the plugin cannot write. Letters are on their way until the
// next commit, which waits for them.
type errants struct{ t *sinkTask }

// Report implements connect.ErrantRecordReporter.
func (e errants) Report(ctx context.Context, r *connect.SinkRecord, cause error) (func(context.Context) error, error) {
	f := e.t.faults
	f.metrics.fail()
	f.metrics.failures.Add(1)
	bad := &fault{site: site{stagePut, e.t.config["connector.class"]}, err: cause}
	if f.logErrors {
		f.logFault(bad, whereConsumed(r))
	}
	if !f.tolerate {
		return nil, f.exceeded(bad, whereConsumed(r))
	}
	f.metrics.skipped.Add(1)
	if f.letters == nil {
		return func(context.Context) error { return nil }, nil
	}
	wait, err := f.letters.send(e.t.life, r, bad)
	if err != nil {
		return nil, err
	}
	e.t.letters = append(e.t.letters, wait)
	return wait, nil
}
