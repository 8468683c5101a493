package main

import (
	"context"
	"encoding/json"
	"time"

	"github.com/tidemill/tidemill/connect"
)

// counterPlugin is the entry for the list of plugins: the class that users write, its
// version, its settings, and how to make one.
func counterPlugin() connect.Plugin[connect.SourceConnector] {
	return connect.Plugin[connect.SourceConnector]{
		Class: "example.CounterSource", Version: "1.0.0", Doc: "Counts, one number at a time.",
		Config: settings(),
		New:    func() connect.SourceConnector { return &counter{} },
	}
}

// settings declares what users may set. The worker checks, documents and lists it.
func settings() *connect.ConfigDef {
	return connect.NewConfigDef(
		connect.ConfigKey{Name: "topic", Required: true, Importance: connect.High, Doc: "The topic to write to."},
		connect.ConfigKey{Name: "interval.ms", Type: connect.TypeDuration, Default: "1000", Check: connect.Between(0, 86400000), Importance: connect.Medium, Doc: "The wait between two numbers, in milliseconds."},
	)
}

// counter plans the work, which is one task's.
type counter struct{ config connect.Config }

// Start implements connect.Connector. The settings of the worker itself, such as name,
// are in the configuration too, so the table is opened to them.
func (c *counter) Start(_ context.Context, env connect.ConnectorEnv) error {
	c.config = env.Config
	_, err := settings().OpenTo(func(string) bool { return true }).Parse(env.Config)
	return err
}

// TaskConfigs implements connect.Connector.
func (c *counter) TaskConfigs(context.Context, int) ([]connect.Config, error) {
	return []connect.Config{c.config}, nil
}

// Stop implements connect.Connector.
func (c *counter) Stop(context.Context) error { return nil }

// NewTask implements connect.SourceConnector.
func (c *counter) NewTask() connect.SourceTask { return &task{} }

// ExactlyOnce implements connect.ExactlyOnceSource: a stored number leads to the next one.
func (c *counter) ExactlyOnce(connect.Config) bool { return true }

// DefinesBoundaries implements connect.ExactlyOnceSource.
func (c *counter) DefinesBoundaries(connect.Config) bool { return false }

// task counts.
type task struct {
	settings  connect.Settings
	partition connect.SourcePartition
	last      int64
	log       func(message string, args ...any)
}

// Start implements connect.SourceTask: it goes on behind the number stored last.
func (t *task) Start(ctx context.Context, env connect.SourceTaskEnv) (err error) {
	t.log = env.Log.Info
	if t.settings, err = settings().OpenTo(func(string) bool { return true }).Parse(env.Config); err != nil {
		return err
	}
	if t.partition, err = connect.NewSourcePartition(map[string]any{"counter": "main"}); err != nil {
		return err
	}
	stored, err := env.StoredOffset(ctx, t.partition)
	if err != nil || stored == nil {
		return err
	}
	var offset struct{ Last int64 }
	if err := json.Unmarshal(stored, &offset); err != nil {
		return &connect.Error{Code: "counter.offset", Place: string(stored), Message: "the stored offset cannot be read", Cause: err, Mend: "reset the connector's offsets"}
	}
	t.last = offset.Last
	t.log("counting goes on", "behind", t.last)
	return nil
}

// Poll implements connect.SourceTask.
func (t *task) Poll(ctx context.Context) ([]connect.SourceRecord, error) {
	wait := time.NewTimer(t.settings.Duration("interval.ms"))
	defer wait.Stop()
	select {
	case <-ctx.Done():
		return nil, nil
	case <-wait.C:
	}
	t.last++
	return []connect.SourceRecord{{
		Record: connect.Record{
			Topic: t.settings.String("topic"), Partition: connect.AnyPartition, Timestamp: connect.NoTimestamp,
			ValueSchema: connect.Of(connect.KindInt64), Value: connect.Int64(t.last),
		},
		SourcePartition: t.partition,
		SourceOffset:    connect.OffsetMap{"last": t.last},
	}}, nil
}

// Stop implements connect.SourceTask.
func (t *task) Stop(context.Context) error { return nil }
