package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
)

// topicCreator makes sure that the topics a source task writes to exist, rather than
// leave it to the brokers' auto-creation, which may be off and makes sends wait.
type topicCreator struct {
	rules   topicRules
	enabled bool
	declare bool // The connector says how topics are to be made.
	opts    []kgo.Opt
	known   map[string]bool
	log     *slog.Logger
}

// ensure creates the topic if it is missing.
func (c *topicCreator) ensure(ctx context.Context, topic string) error {
	if !c.enabled || c.known[topic] {
		return nil
	}
	client, err := kgo.NewClient(append(slices.Clone(c.opts), kgo.MetadataMinAge(20*time.Millisecond))...)
	if err != nil {
		return fmt.Errorf("make a client: %w", err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	topics, err := admin.ListTopics(ctx, topic)
	if err != nil {
		return brokerError("kafka.unreachable", "the brokers cannot be asked for topic "+topic, err)
	}
	if topics.Has(topic) {
		c.known[topic] = true
		return nil
	}
	rule := c.rules.rule(topic)
	if err := createTopic(ctx, admin, topic, rule); err != nil {
		if !c.declare && (errors.Is(err, kerr.TopicAuthorizationFailed) || errors.Is(err, kerr.ClusterAuthorizationFailed)) {
			c.log.Warn("no right to create the topic, the brokers may do it", "topic", topic)
			c.known[topic] = true
			return nil
		}
		return err
	}
	c.known[topic] = true
	c.log.Info("created topic", "topic", topic, "partitions", rule.partitions, "replication.factor", rule.replication)
	return nil
}

// createTopic creates a topic and waits until the brokers know it.
func createTopic(ctx context.Context, admin *kadm.Client, topic string, rule topicRule) error {
	settings := map[string]*string{}
	for k, v := range rule.settings {
		settings[k] = &v
	}
	r, err := admin.CreateTopic(ctx, rule.partitions, rule.replication, settings, topic)
	if err == nil {
		err = r.Err
	}
	if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		e := &connect.Error{
			Code: "topic.create", Place: "topic " + topic, Message: "Task failed to create new topic", Cause: err,
			Mend: "create it by hand, or see topic.creation.* and the connector's rights",
		}
		if kerr.IsRetriable(err) || !isBrokerError(err) {
			e.Class = connect.ClassRetriable
		}
		return e
	}
	for {
		topics, err := admin.ListTopics(ctx, topic)
		if err == nil && topics.Has(topic) {
			return nil
		}
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

// isBrokerError tells whether a broker answered, rather than not answering.
func isBrokerError(err error) bool {
	_, ok := errors.AsType[*kerr.Error](err)
	return ok
}
