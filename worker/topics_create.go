package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

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
	client  *kgo.Client // While the topics of a batch are made; nil otherwise.
	log     *slog.Logger
}

// ensure creates the topic if it is missing. What it needs for that stays at hand until
// rest is called.
func (c *topicCreator) ensure(ctx context.Context, topic string) error {
	if !c.enabled || c.known[topic] {
		return nil
	}
	if c.client == nil {
		client, err := kgo.NewClient(c.opts...)
		if err != nil {
			return fmt.Errorf("make a client: %w", err)
		}
		c.client = client
	}
	there, err := hasTopic(ctx, c.client, topic)
	if err != nil {
		return brokerError("kafka.unreachable", "the brokers cannot be asked for topic "+topic, err)
	}
	if there {
		c.known[topic] = true
		return nil
	}
	rule := c.rules.rule(topic)
	if err := createTopic(ctx, c.client, topic, rule); err != nil {
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

// rest gives back what ensure needed.
func (c *topicCreator) rest() {
	if c.client != nil {
		c.client.Close()
		c.client = nil
	}
}

// hasTopic asks a broker whether it knows a topic. A client would say what it was told
// some time ago.
func hasTopic(ctx context.Context, client *kgo.Client, topic string) (bool, error) {
	req := kmsg.NewPtrMetadataRequest()
	asked := kmsg.NewMetadataRequestTopic()
	asked.Topic = &topic
	req.Topics = append(req.Topics, asked)
	r, err := req.RequestWith(ctx, client)
	if err != nil || len(r.Topics) == 0 {
		return false, err
	}
	err = kerr.ErrorForCode(r.Topics[0].ErrorCode)
	if errors.Is(err, kerr.TopicAuthorizationFailed) {
		return false, err
	}
	return !errors.Is(err, kerr.UnknownTopicOrPartition), nil
}

// createTopic creates a topic and waits until the brokers know it.
func createTopic(ctx context.Context, client *kgo.Client, topic string, rule topicRule) error {
	settings := map[string]*string{}
	for k, v := range rule.settings {
		settings[k] = &v
	}
	r, err := kadm.NewClient(client).CreateTopic(ctx, rule.partitions, rule.replication, settings, topic)
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
		if there, err := hasTopic(ctx, client, topic); err == nil && there {
			return nil
		}
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

// isBrokerError tells whether a broker answered, rather than not answering.
func isBrokerError(err error) bool {
	_, ok := errors.AsType[*kerr.Error](err)
	return ok
}
