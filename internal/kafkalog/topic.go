package kafkalog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TopicError is a topic that cannot serve as a log.
type TopicError struct {
	Topic   string
	Problem string
	Mend    string // What puts it right.
	Cause   error  // May be nil.
}

// Error implements error.
func (e *TopicError) Error() string {
	text := "topic " + e.Topic + " " + e.Problem
	if e.Cause != nil {
		text += ": " + e.Cause.Error()
	}
	return text + " → " + e.Mend
}

// Unwrap returns the cause.
func (e *TopicError) Unwrap() error { return e.Cause }

// preparation creates or checks a log's topic. It has a client of its own: one that
// has once heard that the topic is missing believes it for seconds.
type preparation struct {
	config Config
	admin  *kadm.Client
}

// prepare creates the topic, or checks the one that is there.
func (l *Log) prepare(ctx context.Context) error {
	client, err := kgo.NewClient(append(slices.Clone(l.config.Client), kgo.MetadataMinAge(20*time.Millisecond))...)
	if err != nil {
		return fmt.Errorf("make a client: %w", err)
	}
	defer client.Close()
	return preparation{config: l.config, admin: kadm.NewClient(client)}.run(ctx)
}

func (p preparation) run(ctx context.Context) error {
	detail, err := p.describe(ctx)
	if errors.Is(err, kerr.UnknownTopicOrPartition) {
		if err := p.create(ctx); err != nil {
			return err
		}
		detail, err = p.awaitTopic(ctx)
	}
	if err != nil {
		return err
	}
	if n := len(detail.Partitions); p.config.ExactPartitions && n != int(p.config.Partitions) {
		return &TopicError{
			Topic: p.config.Topic, Problem: fmt.Sprintf("has %d partitions and must have %d", n, p.config.Partitions),
			Mend: "name another topic, or delete this one if nothing of it is needed",
		}
	}
	return p.checkPolicy(ctx)
}

func (p preparation) describe(ctx context.Context) (kadm.TopicDetail, error) {
	topics, err := p.admin.ListTopics(ctx, p.config.Topic)
	if err != nil {
		return kadm.TopicDetail{}, fmt.Errorf("describe the topic: %w", err)
	}
	detail, ok := topics[p.config.Topic]
	if !ok {
		return detail, kerr.UnknownTopicOrPartition
	}
	return detail, detail.Err
}

func (p preparation) create(ctx context.Context) error {
	compact := "compact"
	settings := map[string]*string{"cleanup.policy": &compact}
	for k, v := range p.config.Settings {
		if k != "cleanup.policy" {
			settings[k] = &v
		}
	}
	r, err := p.admin.CreateTopic(ctx, p.config.Partitions, p.config.Replication, settings, p.config.Topic)
	if err == nil {
		err = r.Err
	}
	switch {
	case err == nil, errors.Is(err, kerr.TopicAlreadyExists):
		return nil
	case errors.Is(err, kerr.InvalidReplicationFactor):
		return &TopicError{
			Topic: p.config.Topic, Problem: fmt.Sprintf("cannot be created with replication factor %d", p.config.Replication),
			Mend: "there are fewer brokers than that: set a smaller factor", Cause: err,
		}
	case errors.Is(err, kerr.TopicAuthorizationFailed), errors.Is(err, kerr.ClusterAuthorizationFailed):
		return &TopicError{
			Topic: p.config.Topic, Problem: "is missing and this user may not create it",
			Mend: "create it with cleanup.policy=compact, or grant Create", Cause: err,
		}
	}
	return fmt.Errorf("create the topic: %w", err)
}

// awaitTopic waits until the brokers know a topic that was just created.
func (p preparation) awaitTopic(ctx context.Context) (detail kadm.TopicDetail, err error) {
	err = whenKnown(ctx, func() (err error) {
		detail, err = p.describe(ctx)
		return err
	})
	return detail, err
}

// knownWithin is how long brokers have to tell each other of a topic.
const knownWithin = 30 * time.Second

// whenKnown asks something about a topic that is there, until the broker that is asked
// knows of it, and who leads it: each may be another one, and they take a moment to tell
// each other.
func whenKnown(ctx context.Context, ask func() error) error {
	ctx, cancel := context.WithTimeout(ctx, knownWithin)
	defer cancel()
	for {
		err := ask()
		if !kerr.IsRetriable(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the topic: %w", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// checkPolicy refuses a topic whose records would be deleted by age. A user who may
// not see the settings is trusted to have made them right.
func (p preparation) checkPolicy(ctx context.Context) error {
	var configs kadm.ResourceConfigs
	err := whenKnown(ctx, func() (err error) {
		if configs, err = p.admin.DescribeTopicConfigs(ctx, p.config.Topic); err == nil && len(configs) == 1 {
			err = unknown(configs[0].Err)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("describe the topic's settings: %w", err)
	}
	for _, rc := range configs {
		if errors.Is(rc.Err, kerr.TopicAuthorizationFailed) || errors.Is(rc.Err, kerr.ClusterAuthorizationFailed) {
			return nil
		}
		if rc.Err != nil {
			return fmt.Errorf("describe the topic's settings: %w", rc.Err)
		}
		for _, c := range rc.Configs {
			if c.Key != "cleanup.policy" || c.Value == nil || strings.TrimSpace(*c.Value) == "compact" {
				continue
			}
			return &TopicError{
				Topic: p.config.Topic, Problem: fmt.Sprintf("has cleanup.policy=%s and would lose state", *c.Value),
				Mend: "kafka-configs.sh --alter --topic " + p.config.Topic + " --add-config cleanup.policy=compact",
			}
		}
	}
	return nil
}

// unknown returns err if it says that the broker does not know the topic.
func unknown(err error) error {
	if errors.Is(err, kerr.UnknownTopicOrPartition) {
		return err
	}
	return nil
}
