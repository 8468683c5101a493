package main

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"

	"github.com/tidemill/tidemill/config"
	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/pgwire"
	"github.com/tidemill/tidemill/plugin/host"
	"github.com/tidemill/tidemill/rest"
	"github.com/tidemill/tidemill/streams/status"
	"github.com/tidemill/tidemill/worker"
)

// settingFileDirs lists the directories, separated by commas, below which file sinks
// may write. Without it that is the working directory.
const settingFileDirs = "file.sink.allowed.paths"

func splitPaths(text string) (paths []string) {
	for path := range strings.SplitSeq(text, ",") {
		if path = strings.TrimSpace(path); path != "" {
			paths = append(paths, path)
		}
	}
	return paths
}

// nodeOptions say what a node is made from.
type nodeOptions struct {
	raw        connect.Config // Worker settings as users write them, references unresolved.
	standalone bool
	connectors []worker.CreateRequest
	log        slog.Handler // Nil: nothing is logged.
}

// node is a worker with its REST interface and, when its settings ask for it, its SQL
// engine, in this process.
type node struct {
	worker  *worker.Worker
	plugins *host.Host // Those that are no part of the program.
	server  *rest.Server
	sql     *sqlNode
	pgwire  *pgwire.Server // Nil: PostgreSQL's clients are not listened to.
	log     *slog.Logger
	close   func() error // Closes the audit log.
}

// newNode puts the rooms together. Its errors list all faults of the settings.
func newNode(o nodeOptions) (*node, error) {
	if o.log == nil {
		o.log = slog.DiscardHandler
	}
	redactor := config.NewRedactor()
	redactor.AddConfig(o.raw, worker.ConfigDef())
	loggers, logs := rest.NewLoggers(slog.LevelInfo), rest.NewLogs()
	kept := logs.Handler(o.log) // The audit log is not for whoever may look at a connector.
	n := &node{log: loggers.Logger("tidemill", redactor.Handler(o.log))}
	resolver, err := config.NewResolver(o.raw, redactor)
	if err != nil {
		return nil, badInput(err)
	}
	for _, w := range resolver.Warnings() {
		n.log.Warn(w)
	}
	resolved, err := resolver.Resolve(o.raw)
	if err != nil {
		return nil, badInput(err)
	}
	settings, err := n.workerSettings(resolved)
	if err != nil {
		return nil, badInput(err)
	}
	restSettings, err := rest.ConfigDef().Parse(resolved)
	if err != nil {
		return nil, badInput(err)
	}
	peers := rest.Peers(restSettings)
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	n.plugins = host.New(host.Options{Dirs: splitPaths(resolved["plugin.path"]), Log: loggers.Logger("tidemill.plugins", redactor.Handler(kept))})
	n.worker, err = worker.New(worker.Options{
		Config: settings, Raw: resolved, Standalone: o.standalone, Connectors: o.connectors, Plugins: plugins(splitPaths(resolved[settingFileDirs])),
		External: n.plugins.Plugins, Resolve: resolver.Resolve, Log: loggers.Logger("tidemill.worker", redactor.Handler(kept)), Metrics: metrics, Peers: peers, Level: loggers.Set, Version: version, Commit: commit(),
	})
	if err != nil {
		return nil, badInput(err)
	}
	if n.sql, err = newSQLNode(resolved, sqlConnectors{n.worker.Herder(), peers}, loggers.Logger("tidemill.sql", redactor.Handler(o.log))); err != nil {
		return nil, badInput(err)
	}
	options := rest.Options{
		Settings: restSettings, Herder: n.worker.Herder(), Metrics: metricsHandler(metrics), Loggers: loggers, Logs: logs, Redactor: redactor, Log: n.log,
	}
	if n.sql != nil {
		options.SQL, options.Streams = n.sql, status.Handler(n.sql.applications)
		metrics.MustRegister(n.sql)
	}
	if options.Audit, n.close, err = auditLog(restSettings, redactor, o.log); err != nil {
		return nil, badInput(err)
	}
	n.server, err = rest.New(options)
	if err != nil {
		return nil, badInput(errors.Join(err, n.close()))
	}
	if n.sql != nil {
		n.sql.asked = n.server.Asks()
	}
	if n.pgwire, err = n.newPgwire(resolved, restSettings, pgwire.Options{
		Redactor: redactor, Log: loggers.Logger("tidemill.pgwire", redactor.Handler(o.log)), Audit: options.Audit,
	}); err != nil {
		return nil, badInput(errors.Join(err, n.close()))
	}
	return n, nil
}

// newPgwire returns what answers PostgreSQL's clients, nil when the settings ask for none.
func (n *node) newPgwire(raw connect.Config, rests connect.Settings, o pgwire.Options) (_ *pgwire.Server, err error) {
	if o.Settings, err = pgwire.ConfigDef().Parse(raw); err != nil || len(o.Settings.List("pgwire.listeners")) == 0 {
		return nil, err
	}
	if n.sql == nil {
		return nil, &connect.Error{Code: "config.invalid", Class: connect.ClassConfig, Place: "pgwire.listeners", Message: "there is no SQL engine that PostgreSQL's clients could ask", Mend: "set " + settingService}
	}
	report := func(message string, err error) { o.Log.Error(message, "err", err) }
	if o.TLS, err = rest.ServerTLS(rests, "the listener of pgwire.listeners", report); err != nil {
		return nil, err
	}
	o.SQL, o.Gate, o.Insecure, o.Learn, o.Version = n.sql, n.server.Gate(), rests.Bool("rest.insecure"), n.server.LearnSQL, version
	return pgwire.New(o)
}

// workerSettings checks the settings. One that is not known and looks like a misspelt
// one is an error; others belong to the surroundings the file came from (logging, a
// distribution's own), and are warned of, as Kafka Connect does.
func (n *node) workerSettings(all connect.Config) (connect.Settings, error) {
	own := maps.Clone(all)
	_, err := worker.ConfigDef().Parse(own)
	for _, e := range config.Faults(err) {
		if e.Code == "config.unknown" && e.Mend == "" {
			n.log.Warn("the setting " + e.Place + " is not known and has no effect")
			delete(own, e.Place)
		}
	}
	return worker.ConfigDef().Parse(own)
}

func metricsHandler(metrics *prometheus.Registry) http.Handler {
	// One figure that two plugins mean differently must not hide all others.
	return promhttp.HandlerFor(metrics, promhttp.HandlerOpts{EnableOpenMetrics: true, ErrorHandling: promhttp.ContinueOnError})
}

// Run runs everything until ctx is done or a part fails. The REST interface listens
// first, so that it can say how far the worker is.
func (n *node) Run(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, n.close()) }()
	if err := n.server.Listen(ctx); err != nil {
		return environment(err)
	}
	if n.pgwire != nil {
		if err := n.pgwire.Listen(ctx); err != nil {
			return environment(err)
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return n.server.Run(ctx) })
	group.Go(func() error { return n.worker.Run(ctx) })
	group.Go(func() error {
		n.plugins.Plugins(true) // What is found is logged now, and known when it is wanted.
		return nil
	})
	if n.sql != nil {
		group.Go(func() error { return n.sql.Run(ctx) })
	}
	if n.pgwire != nil {
		group.Go(func() error { return n.pgwire.Run(ctx) })
	}
	return group.Wait()
}
