package worker

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/internal/kafkalog"
)

// open makes everything but the plugin's own work ready.
func (t *sourceTask) open(life context.Context) error {
	var err error
	t.stored = map[connect.SourcePartition]connect.Offset{}
	t.submitted, t.reached, t.names = newSubmitted(), map[connect.SourcePartition]connect.Offset{}, map[string]string{}
	t.commitNow, t.moved = make(chan struct{}, 1), make(chan struct{}, 1)
	if t.settings, err = frameworkDef(true).Parse(t.config); err != nil {
		return err
	}
	t.faults = newFaults(t.id, t.settings, t.metrics, t.log)
	if t.chain, err = newChain(life, t.rt, t.config, t.faults); err != nil {
		return err
	}
	t.traces = newTracing(t.taskSetup, t.chain)
	if err = t.openTopics(); err == nil {
		err = t.openProducer(life)
	}
	if err == nil {
		// Everything this connector ever stored must be known before the plugin asks.
		err = t.knowOffsets(life)
	}
	if err != nil {
		t.close()
		return err
	}
	t.told, _ = t.plugin.(connect.RecordCommitter)
	return nil
}

// knowOffsets waits until every offset that was stored before now is known. Brokers that
// are away come back; what they have lost does not.
func (t *sourceTask) knowOffsets(life context.Context) error {
	err := t.rt.offsets.journal.ReadToEnd(life)
	if err == nil || errors.Is(err, kafkalog.ErrLost) {
		return err
	}
	return brokerError("kafka.offsets", "the stored offsets cannot be read", err)
}

func (t *sourceTask) openTopics() error {
	rules, err := newTopicRules(t.config)
	if err != nil {
		return err
	}
	opts, err := t.rt.client(adminClient, clientProps(t.rt.raw, adminClient, t.config), t.log)
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
	opts, err := t.rt.client(producerClient, props, t.log)
	if err != nil {
		return err
	}
	// The bytes in flight are bounded by awaitRoom; the client's own bound only stands
	// behind it, since it costs more when it is reached.
	room, behind := t.producing(props)
	t.room, t.roomy = room, make(chan struct{}, 1)
	opts = append(behind, opts...)
	if !t.rt.settings.Bool("topic.creation.enable") {
		opts = append(opts, kgo.AllowAutoTopicCreation())
	}
	if t.rt.exactlyOnce {
		opts = append(opts, kgo.TransactionalID(transactionalID(t.rt.groupID, t.id)))
		t.txnTimeout = defaultTransactionTimeout
		if ms, err := strconv.Atoi(strings.TrimSpace(props["transaction.timeout.ms"])); err == nil && ms > 0 {
			t.txnTimeout = time.Duration(ms) * time.Millisecond
		}
		opts = append(opts, kgo.TransactionTimeout(t.txnTimeout))
	}
	if t.producer, err = kgo.NewClient(t.hooks(opts)...); err != nil {
		return fmt.Errorf("make the producer: %w", err)
	}
	t.metrics.holds.producer.Store(t.producer)
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
			offset := t.rt.offsets.get(t.id.Connector, p)
			t.storedPart = max(t.storedPart, nextPart(offset))
			return offset, ctx.Err()
		},
		Refresh: t.refresh, Signals: t.door.signals, Show: t.door.show, Consume: t.consume, StateDir: t.rt.stateDir(t.id),
	}
}

func (t *sourceTask) close() {
	t.metrics.holds.over()
	if t.producer != nil {
		t.producer.CloseAllowingRebalance()
	}
	if err := t.chain.close(); err != nil {
		t.log.Warn("closing transforms and converters", "error", err)
	}
}
