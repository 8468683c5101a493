package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
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
	faults   *faults
	client   *kgo.Client
	life     context.Context
	most     int // Records in one Put.
	tracked  map[string]bool

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
}

func newSinkTask(setup taskSetup, plugin connect.SinkTask, log *slog.Logger) *sinkTask {
	return &sinkTask{
		taskSetup: setup, plugin: plugin, log: log, tracked: map[string]bool{},
		assigned: map[connect.TopicPartition]*partitionState{},
		next:     map[connect.TopicPartition]int64{}, seeks: map[connect.TopicPartition]int64{},
	}
}

// run runs the task until ctx ends or something fails; life as for source tasks.
func (t *sinkTask) run(ctx, life context.Context) error {
	t.life = life
	if err := t.open(life); err != nil {
		return err
	}
	defer t.close()
	t.mu.Lock()
	err := guard("start", func() error { return t.plugin.Start(life, t.env()) })
	t.mu.Unlock()
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
	stopErr := guard("stop", func() error { return t.plugin.Stop(life) })
	t.mu.Unlock()
	if err == nil && ctx.Err() == nil {
		err = stopErr
	}
	return err
}

func (t *sinkTask) open(life context.Context) error {
	var err error
	if t.settings, err = frameworkDef(false).Parse(t.config); err != nil {
		return err
	}
	t.faults = newFaults(t.id, t.settings, t.metrics, t.log)
	if t.chain, err = newChain(t.rt.plugins, t.rt.raw, t.config, t.faults); err != nil {
		return err
	}
	if t.faults.letters, err = openLetters(life, t.rt.raw, t.config, t.settings, t.metrics); err != nil {
		t.close()
	}
	return err
}

func (t *sinkTask) close() {
	if t.client != nil {
		t.client.CloseAllowingRebalance()
	}
	if t.faults.letters != nil {
		t.faults.letters.close()
	}
	if err := t.chain.close(); err != nil {
		t.log.Warn("closing transforms and converters", "error", err)
	}
}

func (t *sinkTask) env() connect.SinkTaskEnv {
	env := connect.SinkTaskEnv{
		Connector: t.id.Connector, Task: t.id.Task, Config: t.task, Consumer: control{t}, Log: t.log, Metrics: t.metrics,
	}
	if t.faults.letters != nil || t.faults.logErrors {
		env.Errant = errants{t}
	}
	return env
}

// consume joins the group.
func (t *sinkTask) consume() error {
	props := clientProps(t.rt.raw, consumerClient, t.config)
	if props["client.id"] == "" {
		props["client.id"] = "connector-consumer-" + t.id.String()
	}
	opts, err := clientOptions(props, consumerClient)
	if err != nil {
		return err
	}
	r := &clientReader{props: props}
	t.most = 2000
	if n, ok := r.number("max.poll.records"); ok && n > 0 {
		t.most = n
	}
	topics, pattern := aliases(t.config, "topics"), strings.TrimSpace(t.config["topics.regex"])
	if pattern != "" {
		if _, err := regexp.Compile(pattern); err != nil {
			return connect.ConfigError("topics.regex", "%s", err)
		}
		topics = []string{"^(?:" + pattern + ")$"}
		opts = append(opts, kgo.ConsumeRegex())
	}
	opts = append(opts,
		kgo.ConsumerGroup(sinkGroup(t.rt.raw, t.config)), kgo.ConsumeTopics(topics...),
		kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(), kgo.AdjustFetchOffsetsFn(t.adjust),
		kgo.OnPartitionsAssigned(t.onAssigned), kgo.OnPartitionsRevoked(t.onRevoked), kgo.OnPartitionsLost(t.onLost))
	if props["fetch.max.bytes"] == "" {
		opts = append(opts, kgo.FetchMaxBytes(16<<20))
	}
	if t.client, err = kgo.NewClient(opts...); err != nil {
		return fmt.Errorf("make the consumer: %w", err)
	}
	return nil
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
		fetches := t.client.PollRecords(until, t.most)
		cancel()
		t.mu.Lock()
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
	clear(t.next)
	var err error
	fetches.EachPartition(func(p kgo.FetchTopicPartition) {
		// After a seek, what was on its way from the old position does not count.
		if _, old := moved[connect.TopicPartition{Topic: p.Topic, Partition: p.Partition}]; err == nil && !old {
			err = t.take(ctx, p)
		}
	})
	if err == nil {
		err = t.put(ctx)
	}
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
		if first == nil {
			e := brokerError("kafka.consume", "records cannot be read", err).(*connect.Error)
			if topic != "" {
				e.Place = fmt.Sprintf("topic %s partition %d", topic, partition)
			}
			first = e
		}
	})
	return first
}

// take converts the records of one partition into the batch.
func (t *sinkTask) take(ctx context.Context, p kgo.FetchTopicPartition) error {
	tp := connect.TopicPartition{Topic: p.Topic, Partition: p.Partition}
	state := t.assigned[tp]
	if len(p.Records) == 0 || state == nil {
		return nil
	}
	if !t.tracked[p.Topic] {
		t.tracked[p.Topic] = true
		t.rt.trackTopic(t.id, p.Topic)
	}
	if state.first < 0 {
		state.first = p.Records[0].Offset
	}
	t.metrics.read.Add(int64(len(p.Records)))
	for _, in := range p.Records {
		keep, err := t.convert(ctx, in)
		if err != nil {
			return err
		}
		if !keep {
			t.batch = t.batch[:len(t.batch)-1]
		}
	}
	t.next[tp] = p.Records[len(p.Records)-1].Offset + 1
	return nil
}

// convert puts a record at the end of the batch, and returns whether it stays there.
func (t *sinkTask) convert(ctx context.Context, in *kgo.Record) (bool, error) {
	t.batch = append(t.batch, connect.SinkRecord{
		Record:            connect.Record{Topic: in.Topic, Partition: in.Partition, Timestamp: in.Timestamp.UnixMilli()},
		Offset:            in.Offset,
		LogAppendTime:     in.Attrs.TimestampType() == 1,
		OriginalTopic:     in.Topic,
		OriginalPartition: in.Partition,
		Raw:               connect.RawRecord{Key: in.Key, Value: in.Value},
	})
	r := &t.batch[len(t.batch)-1]
	if in.Attrs.TimestampType() < 0 {
		r.Timestamp = connect.NoTimestamp
	}
	if t.faults.letters != nil {
		r.Raw.Headers = rawHeaders(in.Headers)
	}
	bad := t.chain.decode(ctx, in, r)
	keep := bad == nil
	if keep {
		keep, bad = t.chain.transform(ctx, &r.Record)
	}
	if bad != nil {
		return false, t.faults.skip(ctx, bad, r, whereConsumed(r))
	}
	return keep, nil
}

func rawHeaders(headers []kgo.RecordHeader) []connect.Header {
	raw := make([]connect.Header, len(headers))
	for i, h := range headers {
		raw[i].Key = h.Key
		if h.Value != nil {
			raw[i].Value = connect.Bytes(h.Value)
		}
	}
	return raw
}

// put hands the batch to the plugin, again and again while it says that this may
// help. While it waits, partitions may be taken away; their records are then left
// out.
func (t *sinkTask) put(ctx context.Context) error {
	for attempt := 0; ; attempt++ {
		began := time.Now()
		err := t.plugin.Put(t.life, t.batch)
		if err == nil {
			t.metrics.sent.Add(int64(len(t.batch)))
			if len(t.batch) > 0 {
				t.metrics.putTime.since(began)
				t.metrics.batchSize.add(float64(len(t.batch)))
			}
			break
		}
		t.metrics.fail()
		e := connect.AsError(err)
		if e.Class != connect.ClassRetriable {
			return err
		}
		t.metrics.retries.Add(1)
		t.log.Warn("put failed, trying again", "error", err, "records", len(t.batch))
		wait := e.After
		if wait <= 0 {
			wait = min(time.Second<<min(attempt, 6), time.Minute)
		}
		if err := t.wait(ctx, wait); err != nil {
			return err
		}
	}
	for tp, next := range t.next {
		if s := t.assigned[tp]; s != nil {
			s.put = next
		}
	}
	t.countActive()
	return nil
}

// wait lets others go on for a while: rebalances, above all. The caller holds mu, and
// holds it again when this returns.
func (t *sinkTask) wait(ctx context.Context, d time.Duration) error {
	t.mu.Unlock()
	t.client.AllowRebalance()
	err := sleep(ctx, d)
	if err == nil {
		_, err = t.gate.open(ctx, t.report)
	}
	t.mu.Lock()
	if t.failure != nil {
		return t.failure
	}
	return err
}

// countActive counts the records that are put and not committed.
func (t *sinkTask) countActive() {
	var n int64
	for _, s := range t.assigned {
		if s.put >= 0 {
			n += s.put - max(s.committed, s.first)
		}
	}
	t.metrics.active.Store(n)
	t.metrics.partitions.Store(int64(len(t.assigned)))
}
