package kafkalog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
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

	writing sync.Mutex // Held through a transaction, and guards what follows.
	writer  *kgo.Client
	// unsure is set when the end of a transaction is not known: only a new writer can
	// tell, by ending it.
	unsure bool

	mu        sync.Mutex      // Guards what follows.
	positions map[int32]int64 // The next offset to be read of each partition.
	moved     chan struct{}   // Closed, and replaced, when positions move.
	fault     error           // The newest fault of reading, nil when reading goes well.
}

// Open creates or checks the topic, shuts out a former writer of the same
// transactional identity, and reads the topic to its end. ctx bounds the opening
// only. The caller runs Run afterwards and closes the log at the end.
func Open(ctx context.Context, config Config) (*Log, error) {
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	l := &Log{config: config, positions: map[int32]int64{}, moved: make(chan struct{})}
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

// newWriter returns a producer. A transactional one has taken over its identity
// when this returns.
func (l *Log) newWriter(ctx context.Context) (*kgo.Client, error) {
	opts := append([]kgo.Opt{}, l.config.Client...)
	opts = append(opts, kgo.DefaultProduceTopic(l.config.Topic), kgo.RequiredAcks(kgo.AllISRAcks()), kgo.ProducerLinger(0))
	if l.config.TransactionalID != "" {
		opts = append(opts, kgo.TransactionalID(l.config.TransactionalID))
	}
	writer, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, fmt.Errorf("log %s: make a producer: %w", l.config.Topic, err)
	}
	if l.config.TransactionalID != "" {
		if _, _, err = writer.ProducerID(ctx); err != nil {
			writer.Close()
			return nil, fmt.Errorf("log %s: take over transactional id %s: %w", l.config.Topic, l.config.TransactionalID, err)
		}
	}
	return writer, nil
}

// openReader starts reading every partition at its start and reads to what is
// committed now.
func (l *Log) openReader(ctx context.Context) error {
	admin := kadm.NewClient(l.writer)
	ends, err := admin.ListCommittedOffsets(ctx, l.config.Topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return fmt.Errorf("ask for its end: %w", err)
	}
	starts := map[int32]kgo.Offset{}
	targets := map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		starts[o.Partition] = kgo.NewOffset().AtStart()
		targets[o.Partition] = o.Offset
	})
	begins, err := admin.ListStartOffsets(ctx, l.config.Topic)
	if err == nil {
		err = begins.Error()
	}
	if err != nil {
		return fmt.Errorf("ask for its start: %w", err)
	}
	begins.Each(func(o kadm.ListedOffset) { l.positions[o.Partition] = o.Offset })
	// Control records are kept so that the position passes the markers that end
	// transactions: the last record of a transactional topic is always one.
	reading, stop := context.WithCancel(context.Background())
	l.stopReading = stop
	opts := append([]kgo.Opt{}, l.config.Client...)
	opts = append(opts,
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{l.config.Topic: starts}),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(), kgo.WithContext(reading))
	if l.reader, err = kgo.NewClient(opts...); err != nil {
		stop()
		return fmt.Errorf("make a consumer: %w", err)
	}
	l.admin = kadm.NewClient(l.reader)
	for !l.reached(targets) {
		if err := l.poll(ctx); err != nil {
			return fmt.Errorf("read to its end: %w", err)
		}
	}
	return nil
}

// Run follows the topic until ctx is done, and returns nil then. Faults of reading
// are retried for ever: a log that falls behind is better than a worker that stops.
func (l *Log) Run(ctx context.Context) error {
	for {
		err := l.poll(ctx)
		if ctx.Err() != nil || errors.Is(err, kgo.ErrClientClosed) {
			return nil
		}
		if err == nil {
			continue
		}
		l.config.Log.Warn("reading an internal topic", "topic", l.config.Topic, "error", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Second):
		}
	}
}

// poll waits for records and applies them.
func (l *Log) poll(ctx context.Context) error {
	fetches := l.reader.PollFetches(ctx)
	if fetches.IsClientClosed() {
		return kgo.ErrClientClosed
	}
	next := map[int32]int64{}
	fetches.EachRecord(func(r *kgo.Record) {
		next[r.Partition] = r.Offset + 1
		if !r.Attrs.IsControl() {
			l.config.Apply(Record{Key: r.Key, Value: r.Value, Partition: r.Partition, Offset: r.Offset})
		}
	})
	err := fetches.Err()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fault = err
	for p, o := range next {
		l.positions[p] = max(l.positions[p], o)
	}
	close(l.moved)
	l.moved = make(chan struct{})
	return err
}

// reached tells whether everything before the targets has been applied.
func (l *Log) reached(targets map[int32]int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for p, end := range targets {
		if l.positions[p] < end {
			return false
		}
	}
	return true
}

// ReadToEnd returns when everything that is in the topic now has been applied.
// Records of a transaction still open are waited for, until it ends: otherwise an
// offset committed behind somebody's open transaction would be overlooked. Run
// must be running.
func (l *Log) ReadToEnd(ctx context.Context) error {
	ends, err := l.admin.ListEndOffsets(ctx, l.config.Topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return fmt.Errorf("log %s: ask for its end: %w", l.config.Topic, err)
	}
	targets := map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) { targets[o.Partition] = o.Offset })
	for {
		l.mu.Lock()
		moved, fault := l.moved, l.fault
		l.mu.Unlock()
		if l.reached(targets) {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return fmt.Errorf("log %s: read to its end: %w", l.config.Topic, errors.Join(ctx.Err(), fault))
		}
	}
}

// Position returns the next offset to be read from the given partition.
func (l *Log) Position(partition int32) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.positions[partition]
}

// Put writes the entries in order and returns when the brokers have acknowledged
// all. When ctx ends first the outcome is unknown, and the error says so. A writer
// that was shut out by a newer one gets [ErrFenced]; see [Log.TakeOver].
func (l *Log) Put(ctx context.Context, entries ...Entry) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	if l.config.TransactionalID == "" {
		return l.written(l.produce(ctx, entries))
	}
	if l.unsure {
		if err := l.renew(ctx); err != nil {
			return err
		}
	}
	return l.written(l.transact(ctx, entries))
}

// transact writes the entries in one transaction. The caller holds writing.
func (l *Log) transact(ctx context.Context, entries []Entry) error {
	if err := l.writer.BeginTransaction(); err != nil {
		return err
	}
	err := l.produce(ctx, entries)
	if err == nil {
		err = l.writer.EndTransaction(ctx, kgo.TryCommit)
	}
	// Rather than abort, which may itself fail, the next Put starts with a new writer,
	// unless somebody else is the writer now.
	l.unsure = err != nil && !fenced(err)
	return err
}

// renew makes a new writer, which ends what the former left open. The caller holds
// writing.
func (l *Log) renew(ctx context.Context) error {
	writer, err := l.newWriter(ctx)
	if err != nil {
		return err
	}
	l.writer.Close()
	l.writer, l.unsure = writer, false
	return nil
}

// Delete removes keys, as Put with nil values does.
func (l *Log) Delete(ctx context.Context, keys ...[]byte) error {
	entries := make([]Entry, len(keys))
	for i, k := range keys {
		entries[i].Key = k
	}
	return l.Put(ctx, entries...)
}

// produce sends the entries and waits for all of them, or for ctx: a record the
// brokers may have is not given up by the client, so waiting for it could take as
// long as they are away.
func (l *Log) produce(ctx context.Context, entries []Entry) error {
	done := make(chan error, len(entries))
	for _, e := range entries {
		l.writer.Produce(ctx, &kgo.Record{Key: e.Key, Value: e.Value}, func(_ *kgo.Record, err error) { done <- err })
	}
	var first error
	for range entries {
		select {
		case err := <-done:
			if first == nil {
				first = err
			}
		case <-ctx.Done():
			return fmt.Errorf("no acknowledgement yet, it may still come: %w", ctx.Err())
		}
	}
	return first
}

// ErrFenced is what a writer gets whose transactional identity a newer one has
// taken over.
var ErrFenced = errors.New("another writer has taken over")

func (l *Log) written(err error) error {
	if err == nil {
		return nil
	}
	if fenced(err) {
		return fmt.Errorf("write to log %s: %w (%w)", l.config.Topic, ErrFenced, err)
	}
	return fmt.Errorf("write to log %s: %w", l.config.Topic, err)
}

// fenced tells whether err is one of those by which brokers of different versions
// turn away a writer that another has replaced.
func fenced(err error) bool {
	for _, fence := range []error{kerr.ProducerFenced, kerr.InvalidProducerEpoch, kerr.InvalidTxnState, kerr.InvalidProducerIDMapping} {
		if errors.Is(err, fence) {
			return true
		}
	}
	return false
}

// TakeOver makes this log the writer again after ErrFenced, shutting out the other.
func (l *Log) TakeOver(ctx context.Context) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	return l.renew(ctx)
}

// Close ends the clients. Run returns.
func (l *Log) Close() {
	if l.reader != nil {
		l.stopReading()
		l.reader.Close()
	}
	l.writing.Lock()
	defer l.writing.Unlock()
	l.writer.Close()
}
