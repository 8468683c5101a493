package worker

import (
	"context"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
)

func newSinkTask(setup taskSetup, plugin connect.SinkTask, log *slog.Logger) *sinkTask {
	return &sinkTask{
		taskSetup: setup, plugin: plugin, log: log,
		assigned: map[connect.TopicPartition]*partitionState{},
		next:     map[connect.TopicPartition]int64{}, seeks: map[connect.TopicPartition]int64{},
	}
}

func (t *sinkTask) open(life context.Context) error {
	var err error
	if t.settings, err = frameworkDef(false).Parse(t.config); err != nil {
		return err
	}
	t.faults = newFaults(t.id, t.settings, t.metrics, t.log)
	if t.chain, err = newChain(life, t.rt, t.config, t.faults); err != nil {
		return err
	}
	t.traces = newTracing(t.taskSetup, t.chain)
	if t.faults.letters, err = openLetters(life, t); err != nil {
		t.close()
	}
	return err
}

func (t *sinkTask) close() {
	t.metrics.holds.over()
	if t.client != nil {
		t.member.leave(t.client, !t.abandoned(), t.log)
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
	t.member = t.memberOf(sinkGroup(t.rt.raw, t.config), props)
	opts, err := t.rt.client(consumerClient, props, t.log)
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
		if props["metadata.max.age.ms"] == "" {
			// New topics are found when the brokers are next asked what there is.
			opts = append(opts, kgo.MetadataMaxAge(5*time.Second))
		}
	}
	opts = append(opts,
		kgo.ConsumerGroup(t.member.group), kgo.ConsumeTopics(topics...),
		kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(), kgo.AdjustFetchOffsetsFn(t.adjust),
		kgo.OnPartitionsAssigned(t.onAssigned), kgo.OnPartitionsRevoked(t.onRevoked), kgo.OnPartitionsLost(t.onLost))
	opts = append(opts, t.fetching(props)...)
	if t.client, err = kgo.NewClient(opts...); err != nil {
		return fmt.Errorf("make the consumer: %w", err)
	}
	t.metrics.holds.consumer.Store(t.client)
	return nil
}
