package connect

import (
	"context"
	"log/slog"
)

// Config is a configuration as users write it: setting to text. Whoever is given
// one must not write to it.
type Config map[string]string

// Connector plans the work of one configured connector: it looks at the other
// system and says how the work is divided among tasks. Its methods are called by
// one goroutine.
type Connector interface {
	// Start hands over the checked configuration. It must not do the tasks' work,
	// and returns soon; ctx ends with the connector, not with the call.
	Start(ctx context.Context, env ConnectorEnv) error
	// TaskConfigs returns a configuration for each task, at most max.
	TaskConfigs(ctx context.Context, max int) ([]Config, error)
	// Stop releases what Start took. It is called once, also after a Start that
	// failed, and returns when ctx is done at the latest.
	Stop(ctx context.Context) error
}

// ConnectorEnv is what a connector is given at its start.
type ConnectorEnv struct {
	Name   string // The connector's name.
	Config Config // With defaults not filled in; use the plugin's ConfigDef.
	Log    *slog.Logger
	// Reconfigure asks for TaskConfigs to be called anew, because the other system
	// has changed. It returns at once and may be called from any goroutine.
	Reconfigure func()
	// Fail puts the connector in the FAILED state, for faults found later by a
	// goroutine of its own. It may be called from any goroutine.
	Fail func(error)
}

// SourceConnector brings records from elsewhere into Kafka.
type SourceConnector interface {
	Connector
	// NewTask returns a task that has not started.
	NewTask() SourceTask
}

// SinkConnector brings records from Kafka elsewhere.
type SinkConnector interface {
	Connector
	// NewTask returns a task that has not started.
	NewTask() SinkTask
}

// Validator is the ability of a connector, transform or predicate to check more than
// each setting by itself: that the other system can be reached, that rights suffice.
// Validate may be called on one that was never started or configured, and from any
// goroutine. It returns when ctx is done at the latest.
//
// values holds the result of the ConfigDef's own checks; Validate adds errors and
// recommended values to them with [ConfigValues.AddError] and returns. Nothing is
// created or changed in the other system.
type Validator interface {
	Validate(ctx context.Context, config Config, values ConfigValues)
}

// OffsetAlterer is the ability to have a say when offsets are changed from
// outside, while the connector is stopped, and when it is deleted.
type OffsetAlterer interface {
	// AlterOffsets checks the new offsets (null JSON resets one) and changes what
	// the connector keeps elsewhere. It returns false when the worker's own offsets
	// are all there is. An error forbids the change.
	AlterOffsets(ctx context.Context, config Config, offsets map[SourcePartition][]byte) (bool, error)
	// Remedy returns the offsets that a named remedy asks for, such as "resnapshot", in
	// the place of the stored ones, and a sentence that tells what was done. It may
	// change the other system, while the connector is stopped. The worker stores what is
	// returned (null JSON resets a partition) and starts the connector again. An error
	// lists the remedies there are when the name is not one of them.
	Remedy(ctx context.Context, config Config, name string, offsets map[SourcePartition][]byte) (map[SourcePartition][]byte, string, error)
	// Retire is called when the connector is deleted and nothing of it runs any more. It
	// returns sentences that tell what the connector leaves behind in the other system,
	// empty for nothing. With drop it removes that, the sentences tell what was removed
	// and what was not, and an error forbids the deletion.
	Retire(ctx context.Context, config Config, drop bool) (string, error)
}

// ExactlyOnceSource is the ability to say whether a source, with a given
// configuration, can be run with exactly-once delivery. A source without it cannot.
type ExactlyOnceSource interface {
	// ExactlyOnce tells whether every record's offset is a position from which the
	// source resumes exactly behind that record.
	ExactlyOnce(config Config) bool
	// DefinesBoundaries tells whether records carry a [Boundary].
	DefinesBoundaries(config Config) bool
}
