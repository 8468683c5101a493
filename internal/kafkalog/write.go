package kafkalog

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/internal/failpoint"
)

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

// Put writes the entries in order and returns when the brokers have acknowledged
// all. When ctx ends first the outcome is unknown, and the error says so. A writer
// that was shut out by a newer one gets [ErrFenced]; see [Log.TakeOver].
func (l *Log) Put(ctx context.Context, entries ...Entry) error {
	if err := l.writing.Acquire(ctx, 1); err != nil {
		return fmt.Errorf("write to log %s: nothing was written, another write is not over: %w", l.config.Topic, err)
	}
	defer l.writing.Release(1)
	if l.shutOut {
		return fmt.Errorf("write to log %s: %w", l.config.Topic, ErrFenced)
	}
	if l.config.TransactionalID != "" && l.unsure {
		if err := l.renew(ctx); err != nil {
			return err
		}
	}
	write := l.produce
	if l.config.TransactionalID != "" {
		write = l.transact
	}
	if err := failpoint.Fail("kafkalog.write"); err != nil {
		return l.failed(err)
	}
	ends, err := write(ctx, entries)
	if err != nil {
		return l.failed(err)
	}
	failpoint.At("kafkalog.written")
	l.wrote(ends)
	return nil
}

// transact writes the entries in one transaction. The caller holds writing.
func (l *Log) transact(ctx context.Context, entries []Entry) (map[int32]int64, error) {
	if err := l.writer.BeginTransaction(); err != nil {
		return nil, err
	}
	ends, err := l.produce(ctx, entries)
	if err == nil {
		err = AwaitKnown(ctx, l.writer, l.config.Topic)
	}
	if err == nil {
		failpoint.At("kafkalog.commit")
		err = l.writer.EndTransaction(ctx, kgo.TryCommit)
	}
	// Rather than abort, which may itself fail, the next Put starts with a new writer,
	// unless somebody else is the writer now.
	l.shutOut = fenced(err)
	l.unsure = err != nil && !l.shutOut
	return ends, err
}

// renew makes a new writer, which ends what the former left open. The caller holds
// writing.
func (l *Log) renew(ctx context.Context) error {
	writer, err := l.newWriter(ctx)
	if err != nil {
		return err
	}
	l.writer.Close()
	l.writer, l.unsure, l.shutOut = writer, false, false
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

// outcome is what became of a record that was sent.
type outcome struct {
	record *kgo.Record
	err    error
}

// produce sends the entries and waits for all of them, or for ctx: a record the
// brokers may have is not given up by the client, so waiting for it could take as
// long as they are away. It returns where the written records end in each partition.
func (l *Log) produce(ctx context.Context, entries []Entry) (map[int32]int64, error) {
	done := make(chan outcome, len(entries))
	for _, e := range entries {
		l.writer.Produce(ctx, &kgo.Record{Key: e.Key, Value: e.Value}, func(r *kgo.Record, err error) { done <- outcome{r, err} })
	}
	var first error
	ends := map[int32]int64{}
	for n := range entries {
		select {
		case o := <-done:
			if first == nil {
				first = o.err
			}
			if o.err == nil {
				ends[o.record.Partition] = max(ends[o.record.Partition], o.record.Offset+1)
			}
		case <-ctx.Done():
			l.doubt(done, len(entries)-n)
			return nil, fmt.Errorf("no acknowledgement yet, it may still come: %w", ctx.Err())
		}
	}
	return ends, first
}

// doubt keeps [Log.ReadToEnd] from returning before it is known what became of records
// that are no longer waited for: one that came behind it would undo what others write then.
// Those of a transaction are read by nobody, for the next writer ends it.
func (l *Log) doubt(outcomes <-chan outcome, left int) {
	if l.config.TransactionalID != "" {
		return
	}
	l.mu.Lock()
	l.doubtful++
	l.mu.Unlock()
	go func() { // It ends with the writer at the latest.
		for range left {
			<-outcomes
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		l.doubtful--
		l.tell()
	}()
}

// wrote notes how far this log has written for good: ReadToEnd waits for that.
func (l *Log) wrote(ends map[int32]int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for p, end := range ends {
		l.ownEnds[p] = max(l.ownEnds[p], end)
	}
}

// ErrFenced is what a writer gets whose transactional identity a newer one has
// taken over.
var ErrFenced = errors.New("another writer has taken over")

func (l *Log) failed(err error) error {
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
	if err := l.writing.Acquire(ctx, 1); err != nil {
		return fmt.Errorf("log %s: another write is not over: %w", l.config.Topic, err)
	}
	defer l.writing.Release(1)
	return l.renew(ctx)
}
