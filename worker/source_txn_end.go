package worker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/internal/failpoint"
	"github.com/tidemill/tidemill/internal/kafkalog"
)

// commit has the open transaction end. The caller has handed over all its records.
func (x *transactions) commit() {
	x.ends <- x.open
	x.open, x.ending = nil, true
}

// awaitEnd waits until the transaction that ends has ended.
func (x *transactions) awaitEnd(ctx context.Context) error {
	if !x.ending {
		return nil
	}
	select {
	case err := <-x.ended:
		x.ending = false
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// end writes the offsets and ends a transaction. Then everything in it is finished,
// and the source may be told. An error ends the task: what became of the transaction
// is found out by its successor, which ends it if it is open and then reads the
// offsets that count.
func (x *transactions) end(life context.Context, tx *transaction) (err error) {
	defer func() { x.t.failOn(err) }()
	t := x.t
	began := time.Now()
	failpoint.At("worker.transaction.offsets")
	for p, o := range tx.offsets {
		if tx.part > 0 {
			o = partOffset{o, tx.part}
		}
		e := t.rt.offsets.entry(t.id.Connector, p, o.AppendJSON(nil))
		t.producer.Produce(life, &kgo.Record{Topic: t.rt.offsetsTopic, Key: e.Key, Value: e.Value, Partition: connect.AnyPartition}, x.stored)
	}
	if err := t.producer.Flush(life); err != nil {
		return err
	}
	if err := t.failed(); err != nil {
		return err
	}
	if err := failpoint.Fail("worker.transaction.flushed"); err != nil {
		return x.lost(tx, "committed", err)
	}
	if err := kafkalog.AwaitKnown(life, t.producer, append(tx.fresh, t.rt.offsetsTopic)...); err != nil {
		return err
	}
	if err := t.producer.EndTransaction(life, kgo.TryCommit); err != nil {
		return x.lost(tx, "committed", err)
	}
	failpoint.At("worker.transaction.committed")
	t.metrics.txnSize.Add(float64(tx.records))
	t.metrics.commitTime.Since(began)
	t.traces.committed(began, time.Now())
	t.metrics.active.Add(-int64(tx.taken))
	if tx.records > 0 {
		for _, o := range tx.offsets {
			t.metrics.acknowledged(committedAt(o))
		}
	}
	for _, r := range tx.told {
		t.tell(r)
	}
	failpoint.At("worker.transaction.told")
	t.ended(tx.offsets)
	return nil
}

// ended takes note of offsets that are stored.
func (t *sourceTask) ended(offsets map[connect.SourcePartition]connect.Offset) {
	t.mu.Lock()
	maps.Copy(t.stored, offsets)
	t.mu.Unlock()
	nudge(t.moved)
}

// failed returns the error that ends the task, if there is one.
func (t *sourceTask) failed() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.failure
}

// acked only looks for failures: within a transaction nothing is safe before its
// end.
func (x *transactions) acked(out *kgo.Record, err error) {
	c := out.Context.(*inflight)
	defer c.release(err == nil)
	x.t.arrived()
	switch {
	case err == nil:
		x.t.metrics.written.Add(1)
		if c.told != nil {
			c.told.Topic, c.told.partition, c.told.offset = out.Topic, out.Partition, out.Offset
		}
	case errors.Is(err, kgo.ErrAborting): // As rollback wants it.
	case !x.t.tolerated(out.Context, out, err):
		// Whatever the reason, what is missing here must not be committed.
		x.t.failOn(produceError(out, err))
	}
}

// stored is acked for offsets.
func (x *transactions) stored(_ *kgo.Record, err error) {
	if err != nil && !errors.Is(err, kgo.ErrAborting) {
		x.t.failOn(brokerError("offsets.store", "offsets cannot be stored", err))
	}
}

// shutOut tells whether err says that another producer has taken over this one's
// identity. Brokers turn away a producer in much the same words when its transaction
// has lasted for too long, and after a crash of theirs; then the task may try again.
// In doubt they are asked: another that is at work has moved the epoch far on.
func (x *transactions) shutOut(ctx context.Context, err error) bool {
	fenced := errors.Is(err, kerr.ProducerFenced) && time.Since(time.Unix(0, x.since.Load())) < x.t.txnTimeout
	if fenced || !errors.Is(err, kerr.ProducerFenced) && !errors.Is(err, kerr.InvalidProducerEpoch) && !errors.Is(err, kerr.InvalidTxnState) {
		return fenced
	}
	id := transactionalID(x.t.rt.groupID, x.t.id)
	list, err := kadm.NewClient(x.t.producer).DescribeTransactions(ctx, id)
	now := list[id]
	// The abort of a transaction that was open moves it on by one or two.
	return err == nil && now.Err == nil && now.ProducerID == x.producer && now.ProducerEpoch > x.epoch+2
}

// fencedError says that another one has this task's identity. Within a group the task
// starts again when the brokers confirm that it is this worker's to run; then the other
// one was wrong. Otherwise the error is final: trying again would shut out the other one in
// its turn.
func (x *transactions) fencedError(err error) error {
	class := connect.ClassFatal
	if x.t.rt.confirm != nil {
		class = connect.ClassRetriable
	}
	return &connect.Error{
		Code: "kafka.transaction.fenced", Class: class, Message: "another task with this one's identity has taken over",
		Cause: err, Mend: "look for a second worker with the same group.id; restart the task to take over again",
	}
}

// lost is the error of a transaction that could not be ended, or of which that is not
// known.
func (x *transactions) lost(tx *transaction, how string, err error) error {
	return &connect.Error{
		Code: "kafka.transaction", Class: connect.ClassRetriable,
		Message: fmt.Sprintf("a transaction of %d records, open for %s, could not be %s, or only the brokers know", tx.records, time.Since(tx.began).Round(time.Millisecond), how),
		Cause:   err, Mend: "the task starts again behind what was committed; if it was open for too long, raise producer.override.transaction.timeout.ms, or make parts smaller with transaction.max.records",
	}
}

// drop does what a connector asked for that aborts: what came since the last boundary
// is dropped. Its position counts all the same, or it would be polled again.
func (x *transactions) drop(life context.Context) error {
	tx := x.open
	x.held = nil
	if err := x.rollback(life, tx); err != nil {
		return err
	}
	x.over()
	if err := x.t.producer.BeginTransaction(); err != nil {
		return brokerError("kafka.transaction", "a transaction cannot be begun", err)
	}
	tx.amount = amount{}
	x.commit()
	return nil
}

func (x *transactions) rollback(life context.Context, tx *transaction) error {
	failpoint.At("worker.transaction.rollback")
	p := x.t.producer
	if err := p.AbortBufferedRecords(life); err != nil {
		return err
	}
	// A topic that could not be written to at all may never be known.
	short, cancel := context.WithTimeout(life, time.Second)
	defer cancel()
	if kafkalog.AwaitKnown(short, p, tx.fresh...) == nil {
		tx.fresh = nil
	}
	if err := p.EndTransaction(life, kgo.TryAbort); err != nil {
		return x.lost(tx, "aborted", err)
	}
	return nil
}

// finish ends what is open when the task stops: a unit that is not complete is polled
// again from its start. Nothing is left that would hold up readers, if the brokers
// can be reached; if not, the next producer of this identity ends it.
func (x *transactions) finish(life context.Context) error {
	ctx, cancel := context.WithTimeout(life, x.t.rt.settings.Duration("offset.flush.timeout.ms"))
	defer cancel()
	err := x.awaitEnd(ctx)
	failure := x.t.failed()
	switch {
	case x.ending: // It takes too long, and nothing else can be done meanwhile.
		return err
	case failure == nil && x.open == nil:
		return nil
	case failure == nil && !x.midway():
		x.commit()
		return x.awaitEnd(ctx)
	case failure != nil && x.shutOut(ctx, failure):
		x.t.mu.Lock()
		x.t.failure = x.fencedError(failure)
		x.t.mu.Unlock()
		return nil // What was open is no longer ours.
	}
	tx := x.open
	if tx == nil {
		tx = &transaction{began: time.Now()}
	}
	if err := x.rollback(ctx, tx); err != nil {
		x.t.log.Warn("a transaction was left open; the next start ends it", "error", err)
	}
	return nil
}
