package worker

import (
	"context"
	"log/slog"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
)

// clientLog lets Kafka's clients speak through the worker's log. What they can get
// over by themselves is of interest only to those who look for something.
type clientLog struct{ log *slog.Logger }

// Level implements kgo.Logger.
func (l clientLog) Level() kgo.LogLevel {
	if l.log.Enabled(context.Background(), slog.LevelDebug) {
		return kgo.LogLevelInfo
	}
	return kgo.LogLevelWarn
}

// Log implements kgo.Logger.
func (l clientLog) Log(level kgo.LogLevel, msg string, keyvals ...any) {
	at := slog.LevelDebug
	if level <= kgo.LogLevelWarn {
		at = slog.LevelWarn
	}
	l.log.Log(context.Background(), at, "kafka client: "+msg, keyvals...)
}

// client returns the options of a connector's client, which speaks through log.
func (rt *runtime) client(kind clientKind, props connect.Config, log *slog.Logger) ([]kgo.Opt, error) {
	opts, err := clientOptions(props, kind)
	return rt.over(append(opts, kgo.WithLogger(clientLog{log.With("client", string(kind))}), kgo.WithHooks(rt.metrics.traffic[kind]))), err
}

// over has a client open its connections as the worker was told to.
func (rt *runtime) over(opts []kgo.Opt) []kgo.Opt {
	if rt.dial == nil {
		return opts
	}
	return append(opts, kgo.Dialer(rt.dial))
}
