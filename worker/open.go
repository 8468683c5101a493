package worker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/internal/kafkalog"
)

func (w *Worker) closeJournals() {
	for _, j := range []journal{w.herder.configs, w.rt.offsets.journal, w.rt.statuses.journal} {
		if j != nil {
			j.Close()
		}
	}
	if client := w.herder.group.client; client != nil {
		client.Close()
	}
}

// open opens the journals and reads them, and returns the cluster's id.
func (w *Worker) open(ctx context.Context) (cluster string, err error) {
	if cluster, err = w.reachBrokers(ctx); err != nil {
		return "", err
	}
	if w.options.Standalone {
		w.herder.configs = &memoryJournal{apply: w.herder.apply}
		w.rt.statuses.journal = &memoryJournal{apply: w.rt.statuses.apply}
		file, err := openFile(w.options.Config.String("offset.storage.file.filename"), w.rt.offsets.apply)
		if err != nil {
			return "", err
		}
		w.rt.offsets.journal = file
		return cluster, nil
	}
	err = w.openTopics(ctx)
	if err == nil {
		err = w.openGroup()
	}
	if err != nil {
		w.closeJournals()
		return "", err
	}
	return cluster, nil
}

// reachLimit is how long the brokers may be away when a worker starts.
const reachLimit = time.Minute

// reachBrokers waits until the brokers answer.
func (w *Worker) reachBrokers(ctx context.Context) (cluster string, err error) {
	opts, err := clientOptions(workerProps(w.rt.raw), adminClient)
	if err != nil {
		return "", err
	}
	client, err := kgo.NewClient(w.rt.over(opts)...)
	if err != nil {
		return "", fmt.Errorf("make a client: %w", err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	ctx, cancel := context.WithTimeout(ctx, reachLimit)
	defer cancel()
	for {
		asking, stop := context.WithTimeout(ctx, 10*time.Second)
		meta, asked := admin.BrokerMetadata(asking)
		stop()
		if asked == nil {
			w.rt.brokers = len(meta.Brokers)
			return meta.Cluster, nil
		}
		lasting := errors.Is(asked, kerr.SaslAuthenticationFailed) || errors.Is(asked, kerr.UnsupportedSaslMechanism)
		if lasting || sleep(ctx, time.Second) != nil {
			return "", &connect.Error{
				Code: "kafka.unreachable", Place: "bootstrap.servers " + w.rt.raw["bootstrap.servers"], Message: "the brokers cannot be reached", Cause: asked,
				Mend: "check host, port and security.protocol, and that the brokers' advertised.listeners can be reached from here",
			}
		}
		w.rt.log.Warn("the brokers do not answer, trying again", "error", asked)
	}
}

// openTopics opens the three internal topics.
func (w *Worker) openTopics(ctx context.Context) error {
	s := w.options.Config
	props := maps.Clone(workerProps(w.rt.raw))
	opts, err := w.rt.client(adminClient, props, w.rt.log)
	if err != nil {
		return err
	}
	open := func(prefix string, partitions int32, apply func(kafkalog.Record)) (*kafkalog.Log, error) {
		c := kafkalog.Config{
			Client: opts, Topic: s.String(prefix + "topic"), Partitions: partitions, Replication: int16(s.Int(prefix + "replication.factor")),
			Settings: storageSettings(w.rt.raw, prefix), Apply: apply, Log: w.rt.log,
		}
		if prefix == "config.storage." {
			c.ExactPartitions = true
			if w.rt.exactlyOnce {
				c.TransactionalID = "connect-cluster-" + w.rt.groupID
			}
		}
		l, err := kafkalog.Open(ctx, c)
		if t, ok := errors.AsType[*kafkalog.TopicError](err); ok {
			return nil, &connect.Error{
				Code: "worker.internal_topic", Class: connect.ClassConfig, Place: prefix + "topic=" + t.Topic,
				Message: "the topic " + t.Problem, Cause: t.Cause, Mend: t.Mend,
			}
		}
		return l, err
	}
	// Together they take as long as the slowest.
	var opening errgroup.Group
	for _, topic := range []struct {
		prefix     string
		partitions int32
		apply      func(kafkalog.Record)
		journal    *journal
	}{
		{"config.storage.", 1, w.herder.apply, &w.herder.configs},
		{"offset.storage.", int32(s.Int("offset.storage.partitions")), w.rt.offsets.apply, &w.rt.offsets.journal},
		{"status.storage.", int32(s.Int("status.storage.partitions")), w.rt.statuses.apply, &w.rt.statuses.journal},
	} {
		opening.Go(func() error {
			l, err := open(topic.prefix, topic.partitions, topic.apply)
			if err == nil {
				*topic.journal = l
			}
			return err
		})
	}
	return opening.Wait()
}
