package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
)

// topicRules are a connector's topic.creation.* settings: the groups in their
// order, and the default at the end.
type topicRules []topicRule

type topicRule struct {
	include, exclude []*regexp.Regexp
	partitions       int32
	replication      int16
	settings         map[string]string
}

// newTopicRules reads the settings. A connector without any gets the brokers'
// defaults for every topic.
func newTopicRules(config connect.Config) (topicRules, error) {
	var rules topicRules
	for _, group := range append(aliases(config, "topic.creation.groups"), "default") {
		own := under(config, "topic.creation."+group+".")
		rule := topicRule{partitions: -1, replication: -1, settings: map[string]string{}}
		for _, k := range slices.Sorted(maps.Keys(own)) {
			if err := rule.set(k, own[k]); err != nil {
				return nil, connect.ConfigError("topic.creation."+group+"."+k, "Invalid value %s: %s", own[k], err)
			}
		}
		rules = append(rules, rule)
	}
	return rules, nil
}

func (r *topicRule) set(name, value string) error {
	var n int64
	var err error
	switch name {
	case "include":
		r.include, err = patterns(value)
	case "exclude":
		r.exclude, err = patterns(value)
	case "partitions":
		n, err = strconv.ParseInt(strings.TrimSpace(value), 10, 32)
		r.partitions = int32(n)
	case "replication.factor":
		n, err = strconv.ParseInt(strings.TrimSpace(value), 10, 16)
		r.replication = int16(n)
	default:
		r.settings[name] = value
	}
	return err
}

// patterns compiles a list of regular expressions that match whole names.
func patterns(list string) ([]*regexp.Regexp, error) {
	var compiled []*regexp.Regexp
	for text := range strings.SplitSeq(list, ",") {
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		re, err := regexp.Compile("^(?:" + text + ")$")
		if err != nil {
			return nil, err
		}
		compiled = append(compiled, re)
	}
	return compiled, nil
}

// rule returns the first group that includes the topic and does not exclude it.
func (rules topicRules) rule(topic string) topicRule {
	matches := func(list []*regexp.Regexp) bool {
		return slices.ContainsFunc(list, func(re *regexp.Regexp) bool { return re.MatchString(topic) })
	}
	for _, r := range rules[:len(rules)-1] {
		if matches(r.include) && !matches(r.exclude) {
			return r
		}
	}
	return rules[len(rules)-1]
}

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
	client, err := kgo.NewClient(append([]kgo.Opt{kgo.MetadataMinAge(20 * time.Millisecond)}, c.opts...)...)
	if err != nil {
		return fmt.Errorf("make a client: %w", err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	topics, err := admin.ListTopics(ctx, topic)
	if err != nil {
		return connect.Retry(fmt.Errorf("look for topic %s: %w", topic, err), 0)
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
