package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/tidemill/tidemill/connect"
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
	// External returns plugins that are no part of the program: those known, or with look
	// those there are now. It is called from any goroutine; nil for none. A class has an
	// entry for each of its versions. Header converters in it are not looked at.
	//
	// A transform, predicate or converter of it whose code is in another process has the
	// methods Open(life, log), called before Configure; ApplyAll(ctx, records) or, of a
	// converter, EncodeAll and DecodeAll, which take the records of a batch in one call; and
	// Close. See plugin/host.
	External func(look bool) connect.Plugins
	// Resolve turns references to secrets into their values, as late as possible;
	// nil leaves configurations as they are.
	Resolve func(connect.Config) (connect.Config, error)
	Log     *slog.Logger
	// Level is told of a logger's level, under Kafka Connect's name for it, that was set for
	// the whole group; nil when there is nothing to set. It must not wait.
	Level func(logger, level string)
	// Metrics takes the worker's figures; nil for none.
	Metrics prometheus.Registerer
	// WorkerID is host:port of the worker's REST interface, as statuses show it.
	// Empty takes it from rest.advertised.* and listeners.
	WorkerID        string
	Version, Commit string
	// Dial opens the connections of Kafka's clients; nil opens them over TCP. With one
	// of its own, encryption is its own task as well.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Peers sends requests to the other workers of the group; nil sends them with the
	// system's certificates.
	Peers *http.Client
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
	id := o.WorkerID
	if id == "" {
		id = workerID(o.Config)
	}
	tracer, bad := newTracer(o, raw, id)
	if err := append(faults, bad...).OrNil(); err != nil {
		return nil, err
	}
	rt := &runtime{
		settings: o.Config, raw: raw, plugins: o.Plugins, external: o.External, resolve: o.Resolve, log: o.Log, dial: o.Dial,
		offsets: newOffsetStore(), statuses: newStatusStore(id, o.Log), metrics: newWorkerMetrics(o.Config), tracer: tracer,
		exactlyOnce: exactlyOnce(o.Config) && !o.Standalone, groupID: o.Config.String("group.id"),
		offsetsTopic: o.Config.String("offset.storage.topic"), commitRecords: o.Config.Int("offset.flush.records"),
	}
	w := &Worker{options: o, rt: rt, herder: newHerder(o, rt)}
	if o.Metrics != nil {
		if err := o.Metrics.Register(newCollector(w.herder)); err != nil {
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
	if w.rt.tracer != nil {
		journals.Go(func() error { return w.rt.tracer.Run(storing) })
	}
	working, stop := context.WithCancel(ctx)
	defer stop()
	w.herder.opened(working, cluster)
	w.rt.log.Info("worker is ready", "worker", w.rt.statuses.workerID, "connectors", len(w.herder.Connectors()), "took", time.Since(began).Round(time.Millisecond))
	var running, belonging errgroup.Group
	running.Go(func() error { return w.herder.run(working) })
	running.Go(func() error {
		w.herder.keepReplays(working)
		return nil
	})
	// The place in the group is given up when everything has stopped.
	staying, leave := context.WithCancel(storing)
	defer leave()
	if !w.options.Standalone {
		w.herder.awaits(w.herder.stages.enter("ensuring membership in the cluster"))
		running.Go(func() error {
			w.herder.keepKey(working)
			return nil
		})
		belonging.Go(func() error {
			defer stop()
			return w.runGroup(staying)
		})
	}
	if err = w.createGiven(ctx); err != nil {
		stop()
	}
	err = errors.Join(err, running.Wait())
	leave()
	err = errors.Join(err, belonging.Wait())
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
