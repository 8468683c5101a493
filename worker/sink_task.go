package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
)

// sinkTask runs one sink task: consume as a member of the connector's group,
// convert, transform, put, and commit what the plugin answers for.
//
// The goroutine that calls run does everything except for rebalances, which the
// consumer calls from a goroutine of its own. mu is held whenever the plugin is
// called or what it guards is looked at, so the plugin is never called twice at
// once. It is let go only while the task waits: for records, to be resumed, or
// before a batch is put again. And a rebalance happens only then: between a poll
// and AllowRebalance the consumer holds it back.
type sinkTask struct {
	taskSetup
	plugin   connect.SinkTask
	log      *slog.Logger
	settings connect.Settings
	chain    *chain
	traces   *tracing
	traced   *sinkBatch // What was read last, if that is traced.
	faults   *faults
	client   *kgo.Client
	member   member
	life     context.Context
	most     int // Records in one Put.

	mu       sync.Mutex // Guards what follows, and every call of the plugin.
	assigned map[connect.TopicPartition]*partitionState
	batch    []connect.SinkRecord // What is being put.
	next     map[connect.TopicPartition]int64
	seeks    map[connect.TopicPartition]int64
	letters  []func(context.Context) error // Letters on their way.
	asked    bool                          // The plugin asked for a commit.
	commitAt time.Time
	ended    bool // The partitions were closed for the last time.
	failure  error
}

// partitionState is how far a partition has come. Offsets are -1 while not known.
type partitionState struct {
	first     int64 // The first offset read since the partition was assigned.
	put       int64 // The next offset behind everything put.
	committed int64
	lag       int64 // Records behind the last one that was fetched, as the fetch told.
}

// run runs the task until ctx ends or something fails; life as for source tasks.
func (t *sinkTask) run(ctx, life context.Context) error {
	closing := life
	life, started, end := startable(ctx, life)
	defer end()
	t.life = life
	if err := t.open(life); err != nil {
		return err
	}
	defer t.close()
	t.mu.Lock()
	err := guard("start", func() error { return t.plugin.Start(life, t.env()) })
	t.mu.Unlock()
	if err == nil {
		err = started()
	}
	if err == nil {
		err = t.consume()
	}
	if err == nil {
		t.report(stateRunning, "")
		err = t.loop(ctx)
		if endErr := t.end(); err == nil && ctx.Err() == nil {
			err = endErr
		}
	}
	t.mu.Lock()
	stopErr := guard("stop", func() error { return t.plugin.Stop(closing) })
	t.mu.Unlock()
	if err == nil && ctx.Err() == nil {
		err = stopErr
	}
	return err
}

// loop polls and puts until ctx ends.
func (t *sinkTask) loop(ctx context.Context) error {
	t.commitAt = time.Now().Add(t.rt.settings.Duration("offset.flush.interval.ms"))
	for ctx.Err() == nil {
		polling, err := t.gate.open(ctx, t.paused)
		if err != nil {
			return nil
		}
		until, cancel := context.WithDeadline(polling, t.commitAt)
		began := t.traces.now()
		fetches := t.client.PollRecords(until, t.most)
		cancel()
		t.mu.Lock()
		t.traced = t.traces.read(began, fetches)
		// Not the context of polling: a pause must not lose the batch in hand.
		err = guard("put", func() error { return t.handle(ctx, fetches) })
		t.mu.Unlock()
		t.client.AllowRebalance()
		if err != nil && !isDone(ctx, err) {
			return err
		}
	}
	return nil
}

// paused commits before the task waits.
func (t *sinkTask) paused(state, trace string) {
	if state == statePaused {
		t.mu.Lock()
		t.failWith(guard("preCommit", t.commit))
		t.mu.Unlock()
	}
	t.report(state, trace)
}

// handle deals with what a poll brought. The caller holds mu.
func (t *sinkTask) handle(ctx context.Context, fetches kgo.Fetches) error {
	if t.failure != nil {
		return t.failure
	}
	if err := t.fetchError(fetches); err != nil {
		return err
	}
	moved := t.applySeeks()
	t.batch = t.batch[:0]
	t.metrics.holds.batch.Store(0)
	clear(t.next)
	var err error
	fetches.EachPartition(func(p kgo.FetchTopicPartition) {
		// After a seek, what was on its way from the old position does not count.
		if _, old := moved[connect.TopicPartition{Topic: p.Topic, Partition: p.Partition}]; err == nil && !old {
			err = t.take(ctx, p)
		}
	})
	t.traced = t.traced.converted(err)
	if err == nil {
		err = t.put(ctx)
	}
	t.traced.put(err)
	if err == nil && (t.asked || !time.Now().Before(t.commitAt)) {
		err = t.commit()
	}
	t.applySeeks()
	return err
}

// fetchError returns the error of a poll that the consumer cannot get over.
func (t *sinkTask) fetchError(fetches kgo.Fetches) error {
	var first error
	fetches.EachError(func(topic string, partition int32, err error) {
		if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, kgo.ErrClientClosed) {
			return
		}
		t.metrics.fail()
		if lost, ok := errors.AsType[*kgo.ErrDataLoss](err); ok {
			// The records are gone from the topic: nothing here can bring them back, but
			// somebody must hear of it.
			t.log.Error("records were deleted before they were read", "topic", topic, "partition", partition, "error", lost)
			return
		}
		e := brokerError("kafka.consume", "records cannot be read", err).(*connect.Error)
		if _, ok := errors.AsType[*kgo.ErrGroupSession](err); ok && e.Class == connect.ClassRetriable {
			// The consumer joins again by itself, as the member it is. A new one would have to
			// wait until the group gives this one up.
			t.log.Warn("the consumer was cut off from its group and joins again", "error", err)
			return
		}
		if first == nil {
			if topic != "" {
				e.Place = fmt.Sprintf("topic %s partition %d", topic, partition)
			}
			first = e
		}
	})
	return first
}
