package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/internal/kafkalog"
)

// Options are what a worker is made from. Config, Raw and Plugins are needed; the
// rest may be left zero.
type Options struct {
	// Config are the parsed worker settings: ConfigDef().Parse(Raw).
	Config connect.Settings
	// Raw are the same settings as written, from which clients (producer.,
	// consumer., admin.) and converters (key.converter.) take theirs.
	Raw connect.Config
	// Standalone keeps configurations and states in memory and offsets in the file
	// offset.storage.file.filename. Otherwise all are kept in Kafka's topics.
	Standalone bool
	// Connectors are created at the start of a standalone worker.
	Connectors []CreateRequest
	Plugins    connect.Plugins
	// Resolve turns references to secrets into their values, as late as possible;
	// nil leaves configurations as they are.
	Resolve func(connect.Config) (connect.Config, error)
	Log     *slog.Logger
	// Metrics takes the worker's figures; nil for none.
	Metrics prometheus.Registerer
	// WorkerID is host:port of the worker's REST interface, as statuses show it.
	// Empty takes it from rest.advertised.* and listeners.
	WorkerID        string
	Version, Commit string
}

// Worker runs connectors.
type Worker struct {
	options Options
	rt      *runtime
	herder  *Herder
}

// New checks the settings and returns a worker that does nothing yet. The error
// lists all faults.
func New(o Options) (*Worker, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Resolve == nil {
		o.Resolve = func(c connect.Config) (connect.Config, error) { return c, nil }
	}
	faults := checkMode(o.Config, o.Standalone)
	raw, err := o.Resolve(o.Raw)
	if err != nil {
		return nil, fmt.Errorf("resolve the worker's secrets: %w", err)
	}
	if _, err := clientOptions(workerProps(raw), adminClient); err != nil {
		if list, ok := errors.AsType[connect.Errors](err); ok {
			faults = append(faults, list...)
		}
	}
	if err := faults.OrNil(); err != nil {
		return nil, err
	}
	id := o.WorkerID
	if id == "" {
		id = workerID(o.Config)
	}
	rt := &runtime{
		settings: o.Config, raw: raw, plugins: o.Plugins, resolve: o.Resolve, log: o.Log,
		offsets: newOffsetStore(), statuses: newStatusStore(id, o.Log), metrics: newWorkerMetrics(),
		exactlyOnce: exactlyOnce(o.Config) && !o.Standalone, groupID: o.Config.String("group.id"),
		offsetsTopic: o.Config.String("offset.storage.topic"), commitRecords: o.Config.Int("offset.flush.records"),
	}
	w := &Worker{options: o, rt: rt, herder: newHerder(o, rt, id)}
	if o.Metrics != nil {
		if err := o.Metrics.Register(&collector{h: w.herder}); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return w, nil
}

// Herder returns what answers REST. It may be used at once; until the worker is
// ready its answers are errors with the code "worker.starting".
func (w *Worker) Herder() *Herder { return w.herder }

// Run runs the worker until ctx is done, and then stops everything in order. It
// returns nil after an orderly stop, and an error when the worker cannot start or
// go on. It is called once.
func (w *Worker) Run(ctx context.Context) error {
	began := time.Now()
	leave := w.herder.stages.enter("initializing and reading to the end of internal topics")
	cluster, err := w.open(ctx)
	leave()
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	defer w.closeJournals()
	// The journals outlive the connectors, whose last acts they store.
	storing, stopStoring := context.WithCancel(context.WithoutCancel(ctx))
	defer stopStoring()
	var journals errgroup.Group
	for _, j := range []journal{w.herder.configs, w.rt.offsets.journal, w.rt.statuses.journal} {
		journals.Go(func() error { return j.Run(storing) })
	}
	journals.Go(func() error { return w.rt.statuses.Run(storing) })
	w.herder.opened(cluster)
	w.rt.log.Info("worker is ready", "worker", w.rt.statuses.workerID, "connectors", len(w.herder.Connectors()), "took", time.Since(began).Round(time.Millisecond))
	working, stop := context.WithCancel(ctx)
	defer stop()
	var running errgroup.Group
	running.Go(func() error { return w.herder.run(working) })
	if err = w.createGiven(ctx); err != nil {
		stop()
	}
	err = errors.Join(err, running.Wait())
	flushing, cancel := context.WithTimeout(storing, 5*time.Second)
	defer cancel()
	w.rt.statuses.flush(flushing)
	stopStoring()
	return errors.Join(err, journals.Wait())
}

// createGiven creates the connectors a standalone worker was started with.
func (w *Worker) createGiven(ctx context.Context) error {
	for _, r := range w.options.Connectors {
		if _, err := w.herder.Create(ctx, r); err != nil && ctx.Err() == nil {
			return fmt.Errorf("create connector %s: %w", r.Name, err)
		}
	}
	return nil
}

func (w *Worker) closeJournals() {
	for _, j := range []journal{w.herder.configs, w.rt.offsets.journal, w.rt.statuses.journal} {
		if j != nil {
			j.Close()
		}
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
	if err := w.openTopics(ctx); err != nil {
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
	client, err := kgo.NewClient(opts...)
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
	opts, err := clientOptions(props, adminClient)
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
	configs, err := open("config.storage.", 1, w.herder.apply)
	if err != nil {
		return err
	}
	w.herder.configs = configs
	offsets, err := open("offset.storage.", int32(s.Int("offset.storage.partitions")), w.rt.offsets.apply)
	if err != nil {
		return err
	}
	w.rt.offsets.journal = offsets
	statuses, err := open("status.storage.", int32(s.Int("status.storage.partitions")), w.rt.statuses.apply)
	if err != nil {
		return err
	}
	w.rt.statuses.journal = statuses
	return nil
}
