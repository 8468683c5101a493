package worker

import (
	"context"
	"log/slog"
	"net"
	"net/http"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/worker/otel"
)

// runtime is what all connectors of a worker share.
type runtime struct {
	settings    connect.Settings
	raw         connect.Config
	plugins     connect.Plugins
	external    func(look bool) connect.Plugins // Nil for none.
	resolve     func(connect.Config) (connect.Config, error)
	log         *slog.Logger
	dial        func(ctx context.Context, network, address string) (net.Conn, error)
	offsets     *offsetStore
	statuses    *statusStore
	metrics     *workerMetrics
	tracer      *otel.Tracer // Nil for no traces.
	doors       doors
	strays      strays
	brokers     int // How many there were when the worker started.
	exactlyOnce bool
	// confirm returns when the brokers say that this worker belongs to its group, so that
	// what it was given is its own; nil when it has no group.
	confirm      func(context.Context) error
	http         *http.Client // To other workers.
	groupID      string
	offsetsTopic string
	// commitRecords is after how many finished records offsets are stored.
	commitRecords int
}

// trackTopic records that a task uses a topic, unless tracking is off.
func (rt *runtime) trackTopic(id TaskID, topic string) {
	if rt.settings.Bool("topic.tracking.enable") {
		rt.statuses.useTopic(id, topic)
	}
}

// taskSetup is what a source or sink task is made from.
type taskSetup struct {
	rt      *runtime
	id      TaskID
	config  connect.Config                 // The connector's, secrets resolved.
	task    connect.Config                 // The task's, secrets resolved.
	refresh func() (connect.Config, error) // Resolves the task's anew; nil when it has no secrets to resolve.
	gate    *gate
	report  func(state, trace string)
	metrics *taskMetrics
	memory  int64 // Bytes of records the task may hold.
	// abandoned tells whether the task was given up, and another may have its place.
	abandoned func() bool
}

// startable returns a life for a task that ends early when the task is stopped before
// it has started: a stop need not wait for a Start that blocks. started is called
// when it has; its error says that it was stopped first.
func startable(ctx, life context.Context) (during context.Context, started func() error, end context.CancelFunc) {
	during, end = context.WithCancel(life)
	unhook := context.AfterFunc(ctx, end)
	return during, func() error {
		if unhook() {
			return nil
		}
		return context.Cause(ctx)
	}, end
}
