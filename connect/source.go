package connect

import (
	"context"
	"log/slog"
)

// SourceTask reads from the other system. Start, Poll and Stop are called by one
// goroutine.
type SourceTask interface {
	// Start hands over the configuration and the way to the stored offsets. ctx ends with the
	// task, not with the call: it may be kept for goroutines of the task's own.
	Start(ctx context.Context, env SourceTaskEnv) error
	// Poll returns the next records, in the order in which they are to be sent and
	// acknowledged. It blocks until there are some, and returns (nil, nil) now and
	// then when there are none, and when ctx is done. The records belong to the worker
	// until it calls Poll again: then the task may use the slice, and the memory of keys,
	// values and headers, anew. Whoever keeps a part of them longer, be it a transform
	// or a converter, copies it. Offsets stay as they are. An error of [ClassRetriable]
	// leads to another call.
	Poll(ctx context.Context) ([]SourceRecord, error)
	// Stop releases everything. It is called once, also after a Start that failed.
	Stop(ctx context.Context) error
}

// SourceTaskEnv is what a source task is given at its start.
type SourceTaskEnv struct {
	Connector string // The connector's name.
	Task      int    // The task's number, from 0.
	Config    Config // The task's configuration.
	// StoredOffset returns the offset last stored for a partition, as the JSON object
	// it was stored as, and nil when there is none.
	StoredOffset func(ctx context.Context, p SourcePartition) ([]byte, error)
	// Refresh returns the task's configuration anew, its references to secrets read
	// again, for a task that logs in anew somewhere. Nil when there are no references.
	Refresh func() (Config, error)
	Log     *slog.Logger
	Metrics Metrics
	// Signals brings what users send to the running task (POST
	// /connectors/<name>/signals): JSON objects with id, type and data. It is never
	// closed. Nil when the worker has no such door.
	Signals <-chan []byte
	// Show puts a JSON document beside the task's status, under a short name such as
	// "snapshot", for GET /connectors/<name>/details; a nil document takes it away. It
	// may be called from any goroutine and keeps no reference. Nil when nobody looks.
	Show func(name string, document []byte)
	// Consume reads a topic from where the consumer group stands, or from its start,
	// until ctx is done or each fails. What each has returned nil for is committed to
	// the group. settings are a consumer's, by Kafka's names; without bootstrap.servers
	// the worker's own are used. Nil when the worker cannot read topics for tasks.
	Consume func(ctx context.Context, settings Config, topic, group string, each func(key, value []byte) error) error
	// StateDir is a directory of the task's own on this machine, empty when there is
	// none. It need not exist yet. What is in it outlives the process, but not a move of
	// the task to another machine.
	StateDir string
}

// Committer is the ability of a source task to be told how far its records are
// safe: durable in Kafka, and their offset stored. Only then may the source let go
// of them at the other end.
//
// Commit is called with the newest stored offset of each partition that moved,
// exactly as the task gave it, and never goes back. It is called from another
// goroutine than Poll, one call at a time, and should return soon. An error is
// logged and reported; the next call comes with newer offsets.
type Committer interface {
	Commit(ctx context.Context, offsets map[SourcePartition]Offset) error
}

// RecordCommitter is the ability of a source task to be told of each record that
// was written, or dropped by a transform or a tolerated error (offset -1). It is
// called from the producer's goroutine in the order of acknowledgement, must not
// block, and must not keep r.
type RecordCommitter interface {
	CommitRecord(r *SourceRecord, to TopicPartition, offset int64)
}

// Metrics is where plugins put their figures. Names are snake_case with a unit and
// without a prefix, such as "snapshot_rows_total", and may have labels behind them, as in
// `events_total{table="public.orders",op="c"}`, whose number the worker bounds; the worker
// adds the connector and task. Methods may be called from any goroutine and allocate nothing after the
// first call with a name.
type Metrics interface {
	// Add moves a counter on.
	Add(name string, delta int64)
	// Set puts a gauge to a value.
	Set(name string, value float64)
}
