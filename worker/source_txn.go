package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/internal/kafkalog"
)

// Exactly-once: records and the offset behind them are one Kafka transaction, under
// an identity of the task's own. Whoever reads with isolation.level=read_committed
// sees all of it or nothing; a task that starts shuts out its predecessor and ends
// what that left open, and only then reads its offset. The protocol is KIP-618's.

// defaultTransactionTimeout is long enough for big source transactions, and within
// what brokers allow by default (transaction.max.timeout.ms, 15 minutes).
const defaultTransactionTimeout = 5 * time.Minute

// transactionalID returns the identity Kafka Connect gives to a task's producer.
func transactionalID(group string, id TaskID) string { return group + "-" + id.String() }

// transactions is the state of a task's transaction.
type transactions struct {
	t        *sourceTask
	boundary string        // poll, interval or connector.
	interval time.Duration // Of the boundary interval.
	open     bool
	began    time.Time
	size     int
	// offsets are the positions behind the records of the open transaction.
	offsets  map[connect.SourcePartition]connect.Offset
	carriers []*inflight
	// known are the topics that were written to, fresh those of them that no transaction
	// has ended with yet.
	known     map[string]bool
	fresh     []string
	lastTopic string
}

// pollTransactions is pollLoop with transactions.
func (t *sourceTask) pollTransactions(ctx, life context.Context) error {
	x := &transactions{
		t: t, boundary: t.settings.String("transaction.boundary"), interval: t.settings.Duration("transaction.boundary.interval.ms"),
		offsets: map[connect.SourcePartition]connect.Offset{}, known: map[string]bool{},
	}
	if x.interval <= 0 {
		x.interval = t.rt.settings.Duration("offset.flush.interval.ms")
	}
	err := x.loop(ctx, life)
	// A connector's transaction that is not complete is polled again from its start;
	// all others may end anywhere.
	if err == nil && x.open && x.boundary != "connector" {
		err = x.commit(life)
	}
	if x.open {
		x.abandon(life)
	}
	return err
}

func (x *transactions) loop(ctx, life context.Context) error {
	for ctx.Err() == nil {
		polling, err := x.t.gate.open(ctx, x.paused(life))
		if err != nil {
			return nil
		}
		records, err := x.poll(polling)
		if err == nil && len(records) > 0 {
			err = x.send(ctx, life, records)
		}
		if err == nil && x.due() {
			err = x.commit(life)
		}
		if err != nil {
			if isDone(ctx, err) {
				return nil
			}
			return err
		}
	}
	return nil
}

// paused commits what is open before the task waits.
func (x *transactions) paused(life context.Context) func(state, trace string) {
	return func(state, trace string) {
		if state == statePaused && x.open && x.boundary != "connector" {
			x.t.failOn(x.commit(life))
		}
		x.t.report(state, trace)
	}
}

// poll returns in time to commit by the interval.
func (x *transactions) poll(ctx context.Context) ([]connect.SourceRecord, error) {
	if x.boundary == "interval" && x.open {
		bounded, cancel := context.WithDeadline(ctx, x.began.Add(x.interval))
		defer cancel()
		return x.t.poll(bounded)
	}
	return x.t.poll(ctx)
}

// due tells whether the transaction ends between two polls.
func (x *transactions) due() bool {
	if !x.open {
		return false
	}
	return x.boundary == "poll" || x.boundary == "interval" && time.Since(x.began) >= x.interval
}

// begin opens a transaction unless one is open.
func (x *transactions) begin() error {
	if x.open {
		return nil
	}
	if err := x.t.producer.BeginTransaction(); err != nil {
		return brokerError("kafka.transaction", "a transaction cannot be begun", err)
	}
	x.open, x.began, x.size = true, time.Now(), 0
	return nil
}

// send produces a batch within transactions, and ends them where the connector says.
func (x *transactions) send(ctx, life context.Context, records []connect.SourceRecord) error {
	t := x.t
	slab := make([]kgo.Record, len(records))
	carriers := make([]inflight, len(records))
	for i := range records {
		if err := t.awaitRoom(ctx); err != nil {
			return err
		}
		r := &records[i]
		if err := x.begin(); err != nil {
			return err
		}
		t.mu.Lock()
		carriers[i] = inflight{Context: life, ticket: t.submitted.add(r.SourcePartition, r.SourceOffset)}
		t.mu.Unlock()
		if t.told != nil {
			carriers[i].record = &toldRecord{SourceRecord: *r, offset: -1}
		}
		sent, err := t.prepare(ctx, r, &slab[i])
		if err != nil {
			return err
		}
		if r.SourceOffset != nil {
			x.offsets[r.SourcePartition] = r.SourceOffset
		}
		x.carriers = append(x.carriers, &carriers[i])
		if sent {
			x.size++
			x.wrote(slab[i].Topic)
			slab[i].Context = &carriers[i]
			// Not ctx: a record given up when the task stops would be missing from the
			// transaction its offset is committed in.
			t.producer.Produce(life, &slab[i], x.acked)
		}
		if x.boundary == "connector" && r.Boundary != connect.BoundaryNone {
			if err := x.end(life, r.Boundary); err != nil {
				return err
			}
		}
	}
	return nil
}

// wrote takes note of a topic that was written to.
func (x *transactions) wrote(topic string) {
	if topic == x.lastTopic {
		return
	}
	x.lastTopic = topic
	if !x.known[topic] {
		x.known[topic] = true
		x.fresh = append(x.fresh, topic)
	}
}

// acked only looks for failures: within a transaction nothing is safe before its
// end.
func (x *transactions) acked(out *kgo.Record, err error) {
	c, ours := out.Context.(*inflight)
	x.t.arrived()
	switch {
	case err == nil && ours:
		x.t.metrics.written.Add(1)
		if c.record != nil {
			c.record.partition, c.record.offset = out.Partition, out.Offset
		}
	case errors.Is(err, kgo.ErrAborting): // As rollback wants it.
	case err != nil && !ours:
		x.t.failOn(brokerError("offsets.store", "offsets cannot be stored", err))
	case err != nil && !x.t.tolerated(c, out, err):
		// Whatever the reason, what is missing here must not be committed.
		x.t.failOn(produceError(out, err))
	}
}

// end does what the connector asked for at a boundary.
func (x *transactions) end(life context.Context, b connect.Boundary) error {
	if b == connect.BoundaryAbort {
		// What came since the last boundary is dropped; its position counts all the same,
		// or it would be polled again.
		if err := x.rollback(life); err != nil {
			return err
		}
		if err := x.begin(); err != nil {
			return err
		}
	}
	return x.commit(life)
}

func (x *transactions) rollback(life context.Context) error {
	p := x.t.producer
	if err := p.AbortBufferedRecords(life); err != nil {
		return err
	}
	// A topic that could not be written to at all may never be known.
	short, cancel := context.WithTimeout(life, time.Second)
	defer cancel()
	if kafkalog.AwaitKnown(short, p, x.fresh...) == nil {
		x.fresh = nil
	}
	if err := p.EndTransaction(life, kgo.TryAbort); err != nil {
		return x.lost("aborted", err)
	}
	x.open = false
	return nil
}

// abandon leaves nothing open that would hold up readers, if the brokers can be
// reached. If not, the next producer of this identity ends it.
func (x *transactions) abandon(life context.Context) {
	ctx, cancel := context.WithTimeout(life, x.t.rt.settings.Duration("offset.flush.timeout.ms"))
	defer cancel()
	if err := x.rollback(ctx); err != nil {
		x.t.log.Warn("a transaction was left open; the next start ends it", "error", err)
	}
}

// commit writes the offsets and ends the transaction. Then everything in it is
// finished, and the source may be told.
func (x *transactions) commit(life context.Context) error {
	t := x.t
	began := time.Now()
	for _, e := range t.rt.offsets.entries(t.id.Connector, x.offsets) {
		x.wrote(t.rt.offsetsTopic)
		t.producer.Produce(life, &kgo.Record{Topic: t.rt.offsetsTopic, Key: e.Key, Value: e.Value, Partition: connect.AnyPartition, Context: life}, x.acked)
	}
	if err := t.producer.Flush(life); err != nil {
		return err
	}
	t.mu.Lock()
	failure := t.failure
	t.mu.Unlock()
	if failure != nil {
		return failure
	}
	if err := kafkalog.AwaitKnown(life, t.producer, x.fresh...); err != nil {
		return err
	}
	x.fresh = nil
	if err := t.producer.EndTransaction(life, kgo.TryCommit); err != nil {
		return x.lost("committed", err)
	}
	x.open = false
	t.metrics.txnSize.add(float64(x.size))
	t.metrics.commitTime.since(began)
	for _, c := range x.carriers {
		t.finish(c.ticket)
		if c.record != nil {
			t.tell(c.record)
		}
	}
	clear(x.carriers)
	x.carriers = x.carriers[:0]
	x.offsets = map[connect.SourcePartition]connect.Offset{}
	return nil
}

// lost is the error of a transaction that could not be ended. A task shut out by
// another one must not start again by itself: the other is the right one.
func (x *transactions) lost(how string, err error) error {
	e := &connect.Error{
		Code: "kafka.transaction", Class: connect.ClassRetriable,
		Message: fmt.Sprintf("a transaction of %d records, open for %s, could not be %s", x.size, time.Since(x.began).Round(time.Millisecond), how),
		Cause:   err, Mend: "if it was open for too long, raise producer.override.transaction.timeout.ms, or make transactions smaller with transaction.boundary",
	}
	if errors.Is(err, kerr.ProducerFenced) {
		e.Class = connect.ClassFatal
		e.Message, e.Mend = "another task with this one's identity has taken over", "look for a second worker with the same group.id"
	}
	return e
}
