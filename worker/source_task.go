package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
)

// sourceTask runs one source task: poll, transform, convert, produce; and behind it,
// as acknowledgements come back, store the offset, and then tell the source.
//
// The goroutine that calls run starts, polls and stops the plugin. A second one
// stores offsets and calls its Commit. The producer's own calls acked. What the
// three share is guarded by mu.
type sourceTask struct {
	taskSetup
	settings connect.Settings // The worker's own settings for the connector.
	plugin   connect.SourceTask
	told     connect.RecordCommitter // Nil when the plugin does not want to know.
	chain    *chain
	faults   *faults
	topics   *topicCreator
	producer *kgo.Client
	log      *slog.Logger

	stopPolling context.CancelFunc
	commitNow   chan struct{} // Many records are finished: do not wait for the clock.
	arena       arena
	lastTopic   string // The topic last made sure of.

	mu        sync.Mutex // Guards what follows.
	submitted *submitted
	finished  int // Records finished since offsets were last taken.
	failure   error

	// reached are the offsets to be stored next; the committing goroutine's own.
	reached map[connect.SourcePartition]connect.Offset
	scratch []position
}

// inflight travels with a record through the producer, in the place of its context:
// it brings back the ticket without a closure for each record.
type inflight struct {
	context.Context
	ticket ticket
	record *toldRecord // Only for plugins that want to be told.
}

// toldRecord is a record whose plugin wants to be told where it was written. The
// offset is -1 until then, and when it is left out.
type toldRecord struct {
	connect.SourceRecord
	partition int32
	offset    int64
}

// run runs the task until ctx ends or something fails. life outlives ctx: it is what
// the plugin's own goroutines and the last acknowledgements live by, and ends when
// the task is abandoned.
func (t *sourceTask) run(ctx, life context.Context) error {
	ctx, t.stopPolling = context.WithCancel(ctx)
	defer t.stopPolling()
	if err := t.open(life); err != nil {
		return err
	}
	defer t.close()
	err := guard("start", func() error { return t.plugin.Start(life, t.env(life)) })
	if err == nil {
		t.report(stateRunning, "")
		err = t.work(ctx, life)
	}
	// The contract of Stop holds also after a Start that failed.
	stopErr := guard("stop", func() error { return t.plugin.Stop(life) })
	if err == nil && ctx.Err() == nil {
		err = stopErr
	}
	return err
}

// open makes everything but the plugin's own work ready.
func (t *sourceTask) open(life context.Context) error {
	var err error
	t.submitted, t.reached = newSubmitted(), map[connect.SourcePartition]connect.Offset{}
	t.commitNow = make(chan struct{}, 1)
	if t.settings, err = frameworkDef(true).Parse(t.config); err != nil {
		return err
	}
	t.faults = newFaults(t.id, t.settings, t.metrics, t.log)
	if t.chain, err = newChain(t.rt.plugins, t.rt.raw, t.config, t.faults); err != nil {
		return err
	}
	if err = t.openTopics(); err == nil {
		err = t.openProducer(life)
	}
	if err == nil {
		// Everything this connector ever stored must be known before the plugin asks.
		err = t.rt.offsets.journal.ReadToEnd(life)
	}
	if err != nil {
		t.close()
		return err
	}
	t.told, _ = t.plugin.(connect.RecordCommitter)
	return nil
}

func (t *sourceTask) openTopics() error {
	rules, err := newTopicRules(t.config)
	if err != nil {
		return err
	}
	opts, err := clientOptions(clientProps(t.rt.raw, adminClient, t.config), adminClient)
	if err != nil {
		return err
	}
	t.topics = &topicCreator{
		rules: rules, opts: opts, known: map[string]bool{}, log: t.log,
		enabled: t.rt.settings.Bool("topic.creation.enable"),
		declare: len(under(t.config, "topic.creation.")) > 0,
	}
	return nil
}

// openProducer makes the task's producer. A transactional one shuts out the task's
// former producer, and ends what that left open, before this returns.
func (t *sourceTask) openProducer(life context.Context) error {
	props := clientProps(t.rt.raw, producerClient, t.config)
	if props["client.id"] == "" {
		props["client.id"] = "connector-producer-" + t.id.String()
	}
	opts, err := clientOptions(props, producerClient)
	if err != nil {
		return err
	}
	// The buffer is what bounds the bytes in flight: records beyond it make send wait,
	// and Poll is not called meanwhile.
	opts = append([]kgo.Opt{
		kgo.MaxBufferedBytes(int(t.rt.settings.Int64("producer.buffer.bytes"))), kgo.MaxBufferedRecords(1 << 20),
	}, opts...)
	if !t.rt.settings.Bool("topic.creation.enable") {
		opts = append(opts, kgo.AllowAutoTopicCreation())
	}
	if t.rt.exactlyOnce {
		opts = append(opts, kgo.TransactionalID(transactionalID(t.rt.groupID, t.id)))
		if props["transaction.timeout.ms"] == "" {
			opts = append(opts, kgo.TransactionTimeout(defaultTransactionTimeout))
		}
	}
	if t.producer, err = kgo.NewClient(opts...); err != nil {
		return fmt.Errorf("make the producer: %w", err)
	}
	if !t.rt.exactlyOnce {
		return nil
	}
	if _, _, err := t.producer.ProducerID(life); err != nil {
		return brokerError("kafka.transaction", "the transactional producer cannot be started", err)
	}
	return nil
}

func (t *sourceTask) env(life context.Context) connect.SourceTaskEnv {
	return connect.SourceTaskEnv{
		Connector: t.id.Connector, Task: t.id.Task, Config: t.task, Log: t.log, Metrics: t.metrics,
		StoredOffset: func(ctx context.Context, p connect.SourcePartition) ([]byte, error) {
			return t.rt.offsets.get(t.id.Connector, p), ctx.Err()
		},
	}
}

func (t *sourceTask) close() {
	if t.producer != nil {
		t.producer.CloseAllowingRebalance()
	}
	if err := t.chain.close(); err != nil {
		t.log.Warn("closing transforms and converters", "error", err)
	}
}

// work polls and commits until ctx ends or something fails, and stores, as its last
// act, what was acknowledged in time.
func (t *sourceTask) work(ctx, life context.Context) error {
	drained := make(chan struct{})
	committed := make(chan struct{})
	go func() {
		defer close(committed)
		t.failOn(guard("commit", func() error { return t.commitLoop(life, drained) }))
	}()
	err := guard("poll", func() error {
		if t.rt.exactlyOnce {
			return t.pollTransactions(ctx, life)
		}
		return t.pollLoop(ctx, life)
	})
	flushing, cancel := context.WithTimeout(life, t.rt.settings.Duration("offset.flush.timeout.ms"))
	defer cancel()
	if flushErr := t.flush(flushing); flushErr != nil {
		t.log.Warn("some records were not acknowledged in time; they will be sent again", "error", flushErr)
	}
	close(drained)
	<-committed
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.failure != nil {
		return t.failure
	}
	return err
}

func (t *sourceTask) flush(ctx context.Context) error {
	if t.rt.exactlyOnce {
		return nil // Whatever belongs together was committed together, or not at all.
	}
	return t.producer.Flush(ctx)
}

// failOn ends the task with err, if it is one. The first failure is kept.
func (t *sourceTask) failOn(err error) {
	if err == nil {
		return
	}
	t.mu.Lock()
	if t.failure == nil {
		t.failure = err
	}
	t.mu.Unlock()
	t.stopPolling()
}

// pollLoop polls and sends until ctx ends.
func (t *sourceTask) pollLoop(ctx, life context.Context) error {
	for ctx.Err() == nil {
		polling, err := t.gate.open(ctx, t.report)
		if err != nil {
			return nil
		}
		records, err := t.poll(polling)
		if err == nil && len(records) > 0 {
			err = t.send(ctx, life, records)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// poll asks the plugin for records. Errors that may pass are waited out here.
func (t *sourceTask) poll(ctx context.Context) ([]connect.SourceRecord, error) {
	began := time.Now()
	records, err := t.plugin.Poll(ctx)
	if err != nil {
		if isDone(ctx, err) {
			return nil, nil
		}
		t.metrics.fail()
		e := connect.AsError(err)
		if e.Class != connect.ClassRetriable {
			return nil, err
		}
		t.metrics.retries.Add(1)
		t.log.Warn("poll failed, trying again", "error", err)
		wait := e.After
		if wait <= 0 {
			wait = time.Second
		}
		_ = sleep(ctx, wait) // An end of ctx is seen by the loop.
		return nil, nil
	}
	if len(records) > 0 {
		t.metrics.polled.Add(int64(len(records)))
		t.metrics.pollTime.since(began)
		t.metrics.batchSize.add(float64(len(records)))
	}
	return records, nil
}

// send hands a batch to the producer, in order.
func (t *sourceTask) send(ctx, life context.Context, records []connect.SourceRecord) error {
	slab := make([]kgo.Record, len(records))
	carriers := make([]inflight, len(records))
	t.mu.Lock()
	for i := range records {
		carriers[i] = inflight{Context: life, ticket: t.submitted.add(records[i].SourcePartition, records[i].SourceOffset)}
	}
	t.metrics.active.Store(int64(t.submitted.unfinished()))
	t.mu.Unlock()
	if t.told != nil {
		kept := make([]toldRecord, len(records))
		for i := range kept {
			kept[i] = toldRecord{SourceRecord: records[i], offset: -1}
			carriers[i].record = &kept[i]
		}
	}
	for i := range records {
		if ctx.Err() != nil {
			return nil // The rest will be polled again.
		}
		kept, err := t.prepare(ctx, &records[i], &slab[i])
		if err != nil {
			if isDone(ctx, err) {
				return nil
			}
			return err
		}
		if !kept {
			t.dropped(&carriers[i])
			continue
		}
		slab[i].Context = &carriers[i]
		t.producer.Produce(ctx, &slab[i], t.acked)
	}
	return nil
}

// prepare makes a Kafka record of r. It returns false for a record that is not sent:
// a position mark, or one left out by a transform or as a tolerated error.
func (t *sourceTask) prepare(ctx context.Context, r *connect.SourceRecord, out *kgo.Record) (bool, error) {
	if r.Topic == "" {
		return false, nil
	}
	keep, bad := t.chain.transform(ctx, &r.Record)
	if bad == nil && keep {
		out.Topic, out.Partition = r.Topic, r.Partition
		if r.Timestamp != connect.NoTimestamp && r.Timestamp != 0 {
			out.Timestamp = time.UnixMilli(r.Timestamp)
		}
		bad = t.chain.encode(ctx, &r.Record, &t.arena, out)
	}
	if bad != nil {
		return false, t.faults.skip(ctx, bad, nil, whereProduced(r))
	}
	if !keep {
		return false, nil
	}
	if r.Topic != t.lastTopic {
		if err := t.topics.ensure(ctx, r.Topic); err != nil {
			return false, err
		}
		t.rt.trackTopic(t.id, r.Topic)
		t.lastTopic = r.Topic
	}
	return true, nil
}

// dropped finishes a record that is not sent.
func (t *sourceTask) dropped(c *inflight) {
	t.finish(c.ticket)
	if c.record != nil {
		t.tell(c.record)
	}
}

// tell tells the plugin of one record. Position marks are no records.
func (t *sourceTask) tell(r *toldRecord) {
	if r.Topic == "" {
		return
	}
	tp := connect.TopicPartition{Topic: r.Topic, Partition: r.partition}
	t.failOn(guard("CommitRecord", func() error {
		t.told.CommitRecord(&r.SourceRecord, tp, r.offset)
		return nil
	}))
}

// acked is called by the producer for each record, in the order of acknowledgement
// within a partition.
func (t *sourceTask) acked(out *kgo.Record, err error) {
	c := out.Context.(*inflight)
	if err != nil && !t.tolerated(c, out, err) {
		return // Not finished: no offset passes this record.
	}
	if err == nil {
		t.metrics.written.Add(1)
	}
	t.finish(c.ticket)
	if c.record == nil {
		return
	}
	if err == nil {
		c.record.Topic, c.record.partition, c.record.offset = out.Topic, out.Partition, out.Offset
	}
	t.tell(c.record)
}

// tolerated tells whether a record the brokers refused may be left out; otherwise it
// fails the task.
func (t *sourceTask) tolerated(c *inflight, out *kgo.Record, err error) bool {
	if c.Err() != nil || errors.Is(err, kgo.ErrClientClosed) || errors.Is(err, context.Canceled) {
		return false
	}
	t.metrics.fail()
	err = produceError(out, err)
	bad := &fault{site: site{stageProduce, "producer"}, err: err}
	if err := t.faults.skip(c, bad, nil, "topic='"+out.Topic+"'"); err != nil {
		t.failOn(err)
		return false
	}
	return true
}

// finish marks a record as finished, and asks for a commit when there are many.
func (t *sourceTask) finish(k ticket) {
	t.mu.Lock()
	t.submitted.finish(k)
	t.finished++
	many := t.finished >= t.rt.commitRecords
	if many {
		t.finished = 0
	}
	t.metrics.active.Store(int64(t.submitted.unfinished()))
	t.mu.Unlock()
	if many {
		select {
		case t.commitNow <- struct{}{}:
		default:
		}
	}
}

// commitLoop stores offsets by the clock and when many records are finished, and a
// last time after drained is closed.
func (t *sourceTask) commitLoop(life context.Context, drained <-chan struct{}) error {
	ticker := time.NewTicker(t.rt.settings.Duration("offset.flush.interval.ms"))
	defer ticker.Stop()
	for {
		last := false
		select {
		case <-life.Done():
			return nil
		case <-ticker.C:
		case <-t.commitNow:
		case <-drained:
			last = true
		}
		if err := t.commit(life, last); err != nil {
			// The offsets stay to be stored with the next attempt.
			t.metrics.commitFailures.Add(1)
			t.log.Warn("storing offsets failed, trying again", "error", err)
		}
		if last {
			return nil
		}
	}
}

// commit stores how far the acknowledgements reach without a gap, waits until that
// is durable, and only then tells the source that it may let go.
func (t *sourceTask) commit(life context.Context, last bool) error {
	t.mu.Lock()
	t.scratch = t.submitted.committable(t.scratch[:0])
	t.mu.Unlock()
	for _, p := range t.scratch {
		t.reached[p.partition] = p.offset
	}
	clear(t.scratch)
	if len(t.reached) == 0 {
		return nil
	}
	began := time.Now()
	// In a transaction the offsets were stored with the records.
	if !t.rt.exactlyOnce {
		ctx, cancel := life, context.CancelFunc(func() {})
		if last {
			ctx, cancel = context.WithTimeout(life, t.rt.settings.Duration("offset.flush.timeout.ms"))
		}
		err := t.rt.offsets.write(ctx, t.id.Connector, t.reached)
		cancel()
		if err != nil {
			return err
		}
	}
	t.metrics.commits.Add(1)
	t.metrics.commitTime.since(began)
	stored := maps.Clone(t.reached)
	clear(t.reached)
	if c, ok := t.plugin.(connect.Committer); ok {
		if err := c.Commit(life, stored); err != nil {
			t.log.Warn("the source could not be told what is stored; the next commit tells it more", "error", err)
		}
	}
	return nil
}
