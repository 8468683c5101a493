package connect

import (
	"context"
	"log/slog"
)

// SinkTask writes to the other system. All its methods, those of its optional
// abilities included, are called by one goroutine.
type SinkTask interface {
	// Start hands over the configuration. ctx ends with the task.
	Start(ctx context.Context, env SinkTaskEnv) error
	// Put takes the next records, those of one partition in their order. When it
	// returns nil the task answers for them: they are written, or will be before the
	// next PreCommit returns. It is also called with no records, so that a
	// task can act on time passing. The slice is the worker's: it may be kept until
	// Put returns; what the records hold may be kept for ever.
	//
	// An error of [ClassRetriable] leads to the same records being put again after
	// a wait; any other fails the task.
	Put(ctx context.Context, records []SinkRecord) error
	// Stop releases everything. It is called once, also after a Start that failed.
	Stop(ctx context.Context) error
}

// SinkTaskEnv is what a sink task is given at its start.
type SinkTaskEnv struct {
	Connector string
	Task      int
	Config    Config
	Consumer  ConsumerControl
	// Errant takes records the task cannot write while others can. It is nil when
	// the connector has no dead letter queue and does not log errors.
	Errant ErrantRecordReporter
	// Replays tells that the task is given letters of the dead letter queue again, with the
	// topic, partition and offset they first had, and beside the tasks that read these
	// partitions. A task that keeps positions itself must neither leave out what lies
	// behind them nor move them.
	Replays bool
	Log     *slog.Logger
	Metrics Metrics
}

// ConsumerControl lets a sink task steer what it is given. It is for use from the
// task's own methods only.
type ConsumerControl interface {
	// Assignment returns the partitions the task reads.
	Assignment() []TopicPartition
	// Pause stops delivery from the partitions until Resume.
	Pause(partitions ...TopicPartition)
	// Resume starts delivery again.
	Resume(partitions ...TopicPartition)
	// Seek makes the next delivery from each partition start at the offset.
	Seek(offsets map[TopicPartition]int64)
	// RequestCommit asks for the offsets to be committed soon.
	RequestCommit()
}

// ErrantRecordReporter takes records that cannot be written.
type ErrantRecordReporter interface {
	// Report hands r to the dead letter queue. It waits until the letter is durable
	// when wait is called. It returns an error when errors are not tolerated.
	Report(ctx context.Context, r *SinkRecord, cause error) (wait func(context.Context) error, err error)
}

// PreCommitter is the ability of a sink task to say which offsets may be committed.
// offsets are the next offsets to be read of everything put so far. The task
// returns those it answers for, having written out what it held back; a partition it leaves
// out is not committed. Without this ability all of them are committed.
type PreCommitter interface {
	PreCommit(ctx context.Context, offsets map[TopicPartition]int64) (map[TopicPartition]int64, error)
}

// PartitionOpener is the ability of a sink task to be told of the partitions it
// gains, before their first record, and loses, after their last commit.
type PartitionOpener interface {
	Open(ctx context.Context, partitions []TopicPartition) error
	Close(ctx context.Context, partitions []TopicPartition) error
}
