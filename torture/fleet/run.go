package fleet

import (
	"context"
	"log/slog"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/torture/recount"
)

// Options say what a process needs.
type Options struct {
	Broker   string // As it names itself.
	Via      string // Where its connections go instead.
	Registry string // The schema registry's address, http://…
	Prefix   string // Of the topics of changes.
	Dir      string // Where the state is kept.
	Instance string // Its name, which it has again when it is started again.
	Logger   *slog.Logger
}

const (
	// sessionTimeout is after how long of silence others take a process's place.
	sessionTimeout = 6 * time.Second
	// rebalanceTimeout is how long others wait for a process when work is divided anew. The
	// embedded broker counts wrongly when one leaves, or comes back, while it waits for its
	// share: then all wait as long as this, which would be a minute.
	rebalanceTimeout = 15 * time.Second
)

// Run runs a process of the application until ctx is done.
func Run(ctx context.Context, o Options) error {
	topology, err := Topology(o.Prefix, o.Registry)
	if err != nil {
		return err
	}
	var d net.Dialer
	e, err := streams.OpenEngine(streams.Config{
		Brokers: []string{o.Broker}, Dir: o.Dir, Instance: o.Instance, Logger: o.Logger,
		Client: []kgo.Opt{
			kgo.SessionTimeout(sessionTimeout), kgo.RebalanceTimeout(rebalanceTimeout), kgo.MetadataMinAge(100 * time.Millisecond),
			kgo.Dialer(func(ctx context.Context, network, _ string) (net.Conn, error) {
				return d.DialContext(ctx, network, o.Via)
			}),
		},
	})
	if err != nil {
		return err
	}
	if err := e.Add(streams.App{ID: recount.App, Topology: topology, ExactlyOnce: true}); err != nil {
		return err
	}
	return e.Run(ctx)
}
