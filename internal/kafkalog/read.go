package kafkalog

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// listed asks for offsets of all partitions, until the brokers that lead them know of them.
func (l *Log) listed(ctx context.Context, list func(context.Context, ...string) (kadm.ListedOffsets, error)) (found kadm.ListedOffsets, err error) {
	err = whenKnown(ctx, func() (err error) {
		if found, err = list(ctx, l.config.Topic); err == nil {
			err = found.Error()
		}
		return err
	})
	return found, err
}

// openReader starts reading every partition at its start and reads to what is
// committed now.
func (l *Log) openReader(ctx context.Context) error {
	admin := kadm.NewClient(l.writer)
	ends, err := l.listed(ctx, admin.ListCommittedOffsets)
	if err != nil {
		return fmt.Errorf("ask for its end: %w", err)
	}
	starts := map[int32]kgo.Offset{}
	targets := map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		starts[o.Partition] = kgo.NewOffset().AtStart()
		targets[o.Partition] = o.Offset
	})
	begins, err := l.listed(ctx, admin.ListStartOffsets)
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
		soon, cancel := context.WithTimeout(ctx, quiet)
		err := l.poll(soon)
		cancel()
		switch {
		case err == nil:
		case ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded):
			l.pass(ctx, targets)
		default:
			return fmt.Errorf("read to its end: %w", err)
		}
	}
	return nil
}

// pass moves positions that are before the targets over what is no record to be applied.
func (l *Log) pass(ctx context.Context, targets map[int32]int64) {
	at := map[int32]int64{}
	l.mu.Lock()
	for p, end := range targets {
		if l.positions[p] < end {
			at[p] = l.positions[p]
		}
	}
	l.mu.Unlock()
	next, err := Beyond(ctx, l.reader, map[string]map[int32]int64{l.config.Topic: at})
	if err != nil {
		l.config.Log.Warn("asking how far an internal topic reaches, trying again", "topic", l.config.Topic, "error", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for p, o := range next[l.config.Topic] {
		l.positions[p] = max(l.positions[p], o)
	}
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
	next, applied := map[int32]int64{}, map[int32]int64{}
	fetches.EachRecord(func(r *kgo.Record) {
		next[r.Partition] = r.Offset + 1
		if !r.Attrs.IsControl() {
			applied[r.Partition] = r.Offset + 1
			l.config.Apply(Record{Key: r.Key, Value: r.Value, Partition: r.Partition, Offset: r.Offset})
		}
	})
	err := fetches.Err()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fault = err; errors.Is(err, context.DeadlineExceeded) {
		l.fault = nil // Nothing has come in time, which is no fault.
	}
	for p, o := range next {
		l.positions[p] = max(l.positions[p], o)
	}
	maps.Copy(l.applied, applied)
	l.tell()
	return err
}

// tell wakes those that wait for something to change. The caller holds mu.
func (l *Log) tell() {
	close(l.moved)
	l.moved = make(chan struct{})
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
// offset committed behind somebody's open transaction would be overlooked. What this
// log has put must have been applied itself: it is not enough that reading has gone
// past it, and an error says so if it has. Run must be running.
func (l *Log) ReadToEnd(ctx context.Context) error {
	if err := l.certain(ctx); err != nil {
		return fmt.Errorf("log %s: read to its end: what was written before is not acknowledged: %w", l.config.Topic, err)
	}
	ends, err := l.admin.ListEndOffsets(ctx, l.config.Topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return fmt.Errorf("log %s: ask for its end: %w", l.config.Topic, err)
	}
	l.mu.Lock()
	own := maps.Clone(l.ownEnds)
	l.mu.Unlock()
	// A broker that is behind must not make an end of what comes before our own records.
	targets := maps.Clone(own)
	ends.Each(func(o kadm.ListedOffset) { targets[o.Partition] = max(targets[o.Partition], o.Offset) })
	again := time.NewTicker(quiet)
	defer again.Stop()
	for {
		l.mu.Lock()
		moved, fault := l.moved, l.fault
		l.mu.Unlock()
		if l.reached(targets) {
			return l.checkOwn(own)
		}
		select {
		case <-moved:
		case <-again.C:
			l.pass(ctx, targets)
		case <-ctx.Done():
			return fmt.Errorf("log %s: read to its end: %w", l.config.Topic, errors.Join(ctx.Err(), fault))
		}
	}
}

// certain waits until it is known of all writes what became of them.
func (l *Log) certain(ctx context.Context) error {
	for {
		l.mu.Lock()
		doubtful, moved := l.doubtful, l.moved
		l.mu.Unlock()
		if doubtful == 0 {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// ErrLost says that the brokers have lost what they had acknowledged. Waiting does not
// bring it back.
var ErrLost = errors.New("a record was acknowledged, but the topic does not hold it")

// checkOwn tells whether the last own records before ends, or later ones, were
// applied. Compaction takes a record away only for a later one.
func (l *Log) checkOwn(ends map[int32]int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for p, end := range ends {
		if l.applied[p] < end {
			return fmt.Errorf("log %s: %w: partition %d, offset %d", l.config.Topic, ErrLost, p, end-1)
		}
	}
	return nil
}

// Position returns the next offset to be read from the given partition.
func (l *Log) Position(partition int32) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.positions[partition]
}
