package kafkalog

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/semaphore"
)

// Config says which topic a log is and how it is reached.
type Config struct {
	// Client are the options of every client: brokers, encryption, authentication.
	Client []kgo.Opt
	Topic  string
	// Partitions and Replication are what a missing topic is created with; -1 takes
	// the brokers' defaults.
	Partitions  int32
	Replication int16
	// ExactPartitions refuses an existing topic with another number of partitions.
	ExactPartitions bool
	// Settings are further topic settings to create with. cleanup.policy is always
	// compact.
	Settings map[string]string
	// TransactionalID makes each Put a transaction under this identity. Empty writes
	// without transactions, idempotently.
	TransactionalID string
	// Apply is given every record in the order of its partition, by one goroutine at
	// a time. It may keep the record's bytes and must not block for long.
	Apply func(Record)
	// Log is told of faults that go away by themselves; nil for nobody.
	Log *slog.Logger
}

// Record is one record of a log. A nil Value removes the key. Records are sparse:
// offsets may have gaps.
type Record struct {
	Key, Value []byte
	Partition  int32
	Offset     int64
}

// Entry is what Put writes: a nil Value removes the key.
type Entry struct {
	Key, Value []byte
}

// Log is a compacted topic being followed. Its methods may be called from any
// number of goroutines.
type Log struct {
	config Config
	reader *kgo.Client
	// stopReading abandons a fetch that waits for records, which Close would wait for.
	stopReading func()
	admin       *kadm.Client

	writing *semaphore.Weighted // Held through a transaction, and guards what follows.
	writer  *kgo.Client
	// unsure is set when the end of a transaction is not known: only a new writer can
	// tell, by ending it.
	unsure bool
	// shutOut is set when another writer has taken over, until this one does.
	shutOut bool

	mu        sync.Mutex      // Guards what follows.
	positions map[int32]int64 // The next offset to be read of each partition.
	applied   map[int32]int64 // Behind the last record applied of each partition.
	ownEnds   map[int32]int64 // Behind the last record this log wrote to each partition for good.
	doubtful  int             // Writes that were given up, and may still reach the brokers.
	moved     chan struct{}   // Closed, and replaced, when positions move and when a doubt ends.
	fault     error           // The newest fault of reading, nil when reading goes well.
}

// Open creates or checks the topic, shuts out a former writer of the same
// transactional identity, and reads the topic to its end. ctx bounds the opening
// only. The caller runs Run afterwards and closes the log at the end.
func Open(ctx context.Context, config Config) (*Log, error) {
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	l := &Log{config: config, writing: semaphore.NewWeighted(1), positions: map[int32]int64{}, applied: map[int32]int64{}, ownEnds: map[int32]int64{}, moved: make(chan struct{})}
	var err error
	if l.writer, err = l.newWriter(ctx); err != nil {
		return nil, err
	}
	if err = l.prepare(ctx); err == nil {
		err = l.openReader(ctx)
	}
	if err != nil {
		l.Close()
		return nil, fmt.Errorf("open log %s: %w", config.Topic, err)
	}
	return l, nil
}

// Close ends the clients. Run returns.
func (l *Log) Close() {
	if l.reader != nil {
		l.stopReading()
		l.reader.Close()
	}
	_ = l.writing.Acquire(context.Background(), 1) // It cannot fail.
	defer l.writing.Release(1)
	l.writer.Close()
}
