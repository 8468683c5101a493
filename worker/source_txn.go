package worker

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/internal/failpoint"
)

// Exactly-once: records and the offset behind them are one Kafka transaction, under
// an identity of the task's own. Whoever reads with isolation.level=read_committed
// sees all of it or nothing; a task that starts shuts out its predecessor and ends
// what that left open, and only then reads its offset. The protocol is KIP-618's.
//
// The task's goroutine polls, transforms, converts and produces; while a transaction
// ends, it goes on with what comes next, up to where that would be produced.

// transactionalID returns the identity Kafka Connect gives to a task's producer.
func transactionalID(group string, id TaskID) string { return group + "-" + id.String() }

// transactions is what a task that writes in transactions does with its records. It
// belongs to the task's goroutine, but for what end and acked use.
type transactions struct {
	t *sourceTask
	transactionRules

	waiting []([]outgoing) // What is prepared and not produced, in order.
	ready   amount
	commits int // Of the waiting units, those that are to be committed,
	aborts  int // and those that are to be dropped.

	open *transaction // Nil when there is none.
	// held is the last record put into the open transaction: it is produced once it is
	// known whether it ends a part.
	held *outgoing
	// last is the offset of the last record of the unit under way, previous that of the
	// record before it. part counts the transactions of that unit, from 1.
	last, previous connect.Offset
	part           int
	unit           amount    // What of the unit is in the open transaction.
	finishBy       time.Time // Until when a task that is paused may finish a unit.

	ends   chan *transaction // What is to be committed, for the goroutine that does so.
	ended  chan error
	ending bool
	brisk  bool // The last poll was.
	// producer and epoch are the producer's identity in the newest transaction.
	producer int64
	epoch    int16
	// since is when the newest transaction was begun, in nanoseconds since the epoch.
	since atomic.Int64

	known     map[string]bool // Topics that were written to.
	lastTopic string
}

// transaction is a Kafka transaction.
type transaction struct {
	began time.Time
	amount
	// offsets are the positions behind its records.
	offsets map[connect.SourcePartition]connect.Offset
	told    []*toldRecord
	taken   int      // Records and marks, also those that were left out.
	fresh   []string // Topics no transaction of this producer has ended with before.
	part    int      // Not 0: it ends inside of a source transaction, with this part of it.
}

// amount is a number of records and their bytes.
type amount struct{ records, bytes int }

// reaches tells whether a is as much as most, in one respect.
func (a amount) reaches(most amount) bool { return a.records >= most.records || a.bytes >= most.bytes }

// pollTransactions is pollLoop with transactions.
func (t *sourceTask) pollTransactions(ctx, life context.Context) error {
	x := &transactions{
		t: t, transactionRules: t.transactionRules(), known: map[string]bool{}, part: max(1, t.storedPart),
		ends: make(chan *transaction, 1), ended: make(chan error, 1),
	}
	t.promise = x.acked
	t.metrics.active.Store(0)
	go func() {
		defer close(x.ended)
		for tx := range x.ends {
			x.ended <- guard("commit", func() error { return x.end(life, tx) })
		}
	}()
	err := x.loop(ctx, life)
	if last := x.finish(life); err == nil {
		err = last
	}
	close(x.ends)
	for range x.ended { // Until the goroutine is over.
	}
	return err
}

func (x *transactions) loop(ctx, life context.Context) error {
	for ctx.Err() == nil {
		polling, err := x.gate(ctx, life)
		if err != nil {
			return nil
		}
		records, err := x.poll(polling)
		var bad error
		if err == nil {
			bad = x.take(ctx, records)
		}
		if more := len(records) > 0 && bad == nil && x.gathers(); err == nil && !more {
			err = x.send(ctx, life)
		}
		if err == nil {
			err = x.divide(life)
		}
		if err == nil {
			err = bad
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

// poll asks for what is at hand while something waits to be produced, and otherwise
// until there is something, but not for longer than the open transaction may last.
func (x *transactions) poll(ctx context.Context) ([]connect.SourceRecord, error) {
	if x.ready.records > 0 {
		if !x.gathers() {
			return nil, nil
		}
		ctx = spent
	}
	now, until := time.Now(), x.finishBy
	if x.open != nil {
		if end := x.open.began.Add(x.longest); until.IsZero() || end.Before(until) {
			until = end
		}
	}
	if now.Before(until) { // There is one, and it has not passed in vain.
		bounded, cancel := context.WithDeadline(ctx, until)
		defer cancel()
		ctx = bounded
	}
	records, err := x.t.poll(ctx)
	x.brisk = time.Since(now) < briskPoll
	return records, err
}

// briskPoll is how long a poll may take at most for another to be tried while records
// wait to be produced.
const briskPoll = 5 * time.Millisecond

// gathers tells whether more is asked for before what waits is produced: while it
// cannot be produced, because a transaction ends, and the source gives quickly.
func (x *transactions) gathers() bool { return x.ending && x.brisk && !x.ready.reaches(groupMost) }

// spent is a context that is done: a task asked with it gives what it has.
var spent = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// take prepares records for Kafka. On an error those before the bad one are taken.
func (x *transactions) take(ctx context.Context, records []connect.SourceRecord) (err error) {
	x.t.now, x.t.lastTopic = time.Now(), ""
	defer x.t.topics.rest()
	if len(records) > 0 {
		x.t.metrics.activity.Add(float64(x.t.metrics.active.Load() + int64(len(records))))
	}
	for len(records) > 0 && err == nil {
		room := x.t.parcels.take(len(records))
		x.t.remember(records[:len(room)], room)
		x.t.transformAhead(ctx, records[:len(room)])
		for i := range room {
			if err = x.takeOne(ctx, &records[i], &room[i]); err != nil {
				room = room[:i]
				break
			}
		}
		x.t.parcels.batch.expect(room)
		records = records[len(room):]
		if x.byPoll && len(records) == 0 && len(room) > 0 {
			room[len(room)-1].boundary = connect.BoundaryCommit
			x.commits++
		}
		if len(room) > 0 {
			x.waiting = append(x.waiting, room)
			x.t.metrics.active.Add(int64(len(room)))
		}
	}
	x.t.converted(err)
	return err
}

func (x *transactions) takeOne(ctx context.Context, r *connect.SourceRecord, o *outgoing) (err error) {
	o.partition, o.offset, o.boundary = r.SourcePartition, r.SourceOffset, r.Boundary
	if x.byPoll {
		o.boundary = connect.BoundaryNone // Where a poll ends is known by take.
	}
	if o.sent, err = x.t.prepare(ctx, r, o); err != nil {
		return err
	}
	x.ready.records++
	x.ready.bytes += o.size()
	switch o.boundary {
	case connect.BoundaryCommit:
		x.commits++
	case connect.BoundaryAbort:
		x.aborts++
	}
	return nil
}

// send produces what waits, up to where a transaction ends: the rest waits on.
func (x *transactions) send(ctx, life context.Context) error {
	for len(x.waiting) > 0 {
		batch := x.waiting[0]
		for i := range batch {
			if err := x.begin(ctx); err != nil {
				return err
			}
			if err := x.put(ctx, life, &batch[i]); err != nil {
				return err
			}
			if err := x.after(life, batch[i].boundary); err != nil {
				return err
			}
			if x.open == nil && i < len(batch)-1 {
				x.waiting[0] = batch[i+1:]
				return nil
			}
		}
		x.waiting = x.waiting[1:]
		if x.open == nil {
			return nil
		}
	}
	x.waiting = nil
	return nil
}

// begin opens a transaction unless one is open, when the one before has ended.
func (x *transactions) begin(ctx context.Context) error {
	if x.open != nil {
		return nil
	}
	if err := x.awaitEnd(ctx); err != nil {
		return err
	}
	if err := x.t.producer.BeginTransaction(); err != nil {
		return brokerError("kafka.transaction", "a transaction cannot be begun", err)
	}
	var err error
	if x.producer, x.epoch, err = x.t.producer.ProducerID(ctx); err != nil {
		return brokerError("kafka.transaction", "a transaction cannot be begun", err)
	}
	failpoint.At("worker.transaction.begun")
	now := time.Now()
	x.since.Store(now.UnixNano())
	x.open = &transaction{began: now, offsets: map[connect.SourcePartition]connect.Offset{}}
	return nil
}

// put puts the next waiting record into the open transaction.
func (x *transactions) put(ctx, life context.Context, o *outgoing) error {
	if err := x.t.awaitRoom(ctx); err != nil {
		return err
	}
	size := o.size()
	x.ready.records--
	x.ready.bytes -= size
	tx := x.open
	tx.taken++
	if o.offset != nil {
		tx.offsets[o.partition] = o.offset
		x.previous, x.last = x.last, o.offset
	}
	if o.way.told != nil {
		tx.told = append(tx.told, o.way.told)
	}
	if !o.sent {
		o.way.release(true)
		return nil
	}
	tx.records, tx.bytes = tx.records+1, tx.bytes+size
	x.unit.records, x.unit.bytes = x.unit.records+1, x.unit.bytes+size
	x.t.unasked += int64(size)
	x.wrote(o.Topic)
	x.produceHeld(life)
	x.held = o
	return nil
}

// produceHeld hands the record that was held back to the producer.
func (x *transactions) produceHeld(life context.Context) {
	o := x.held
	if o == nil {
		return
	}
	x.held = nil
	if x.part > 1 {
		o.Headers = append(o.Headers, partHeader(x.part))
	}
	// Not the context of polling: a record given up when the task stops would be missing
	// from the transaction its offset is committed in.
	x.t.producer.Produce(life, &o.Record, x.t.promise)
}

// wrote takes note of a topic that was written to.
func (x *transactions) wrote(topic string) {
	if topic == x.lastTopic {
		return
	}
	x.lastTopic = topic
	if !x.known[topic] {
		x.known[topic] = true
		x.open.fresh = append(x.open.fresh, topic)
	}
}
