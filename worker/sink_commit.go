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
	"github.com/tidemill/tidemill/internal/failpoint"
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
		t.metrics.skips.Add(1)
		return nil
	}
	began := time.Now()
	t.metrics.commitSeq.Add(1)
	ctx, cancel := context.WithTimeout(t.life, t.rt.settings.Duration("offset.flush.timeout.ms"))
	defer cancel()
	failpoint.At("worker.sink.commit")
	if err := t.commitOffsets(ctx, offsets); err != nil {
		t.metrics.commitFailures.Add(1)
		t.log.Warn("committing offsets failed, trying again", "error", err)
		return nil
	}
	t.metrics.commits.Add(1)
	t.metrics.commitTime.Since(began)
	t.traces.committed(began, began)
	failpoint.At("worker.sink.committed")
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
