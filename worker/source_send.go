package worker

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/internal/failpoint"
)

// send hands a batch to the producer, in order.
func (t *sourceTask) send(ctx context.Context, records []connect.SourceRecord) error {
	t.now, t.lastTopic = time.Now(), "" // Which topics are used may have been reset.
	failpoint.At("worker.produce")
	defer t.topics.rest()
	committed := committedAt(records[len(records)-1].SourceOffset)
	for len(records) > 0 {
		room := t.parcels.take(len(records))
		t.note(records[:len(room)], room)
		t.transformAhead(ctx, records[:len(room)])
		if len(room) == len(records) {
			room[len(room)-1].way.committed = committed
		}
		for i := range room {
			if t.awaitRoom(ctx) != nil {
				return nil // The rest will be polled again.
			}
			if err := t.sendOne(ctx, &records[i], &room[i]); err != nil {
				if isDone(ctx, err) {
					return nil
				}
				return err
			}
		}
		records = records[len(room):]
	}
	failpoint.At("worker.produced")
	return nil
}

// note takes note of records that are about to be sent.
func (t *sourceTask) note(records []connect.SourceRecord, room []outgoing) {
	t.mu.Lock()
	for i := range records {
		room[i].way.ticket = t.submitted.add(records[i].SourcePartition, records[i].SourceOffset)
	}
	active := t.submitted.unfinished()
	t.metrics.active.Store(int64(active))
	t.mu.Unlock()
	t.metrics.activity.Add(float64(active))
	t.remember(records, room)
}

// remember keeps records as they came, for a plugin that wants to be told of them.
func (t *sourceTask) remember(records []connect.SourceRecord, room []outgoing) {
	if t.told == nil {
		return
	}
	kept := make([]toldRecord, len(records))
	for i := range kept {
		kept[i] = toldRecord{SourceRecord: records[i], offset: -1}
		room[i].way.told = &kept[i]
	}
}

// transformAhead transforms records together, when a plugin is far.
func (t *sourceTask) transformAhead(ctx context.Context, records []connect.SourceRecord) {
	ahead := t.chain.ahead
	if ahead == nil {
		return
	}
	ahead.begin()
	for i := range records {
		if records[i].Topic != "" {
			ahead.add(&records[i].Record, nil)
		}
	}
	t.chain.sendAhead(ctx)
}

func (t *sourceTask) sendOne(ctx context.Context, r *connect.SourceRecord, o *outgoing) error {
	kept, err := t.prepare(ctx, r, o)
	if err != nil {
		return err
	}
	if !kept {
		t.dropped(&o.way)
		return nil
	}
	t.unasked += int64(o.size())
	// Not ctx: a record given up when the task stops, while later ones arrive in other
	// partitions, would have those repeated.
	t.producer.Produce(o.way.Context, &o.Record, t.promise)
	return nil
}

// awaitRoom waits while there is more on its way than the task may have, and then
// until half of it has arrived: this is what bounds the bytes in flight, and makes
// Poll wait for a slow broker.
func (t *sourceTask) awaitRoom(ctx context.Context) error {
	if t.sent++; t.sent%64 != 0 && t.unasked < t.room/4 {
		return ctx.Err() // Asking takes a lock; 64 small records more or less do not matter.
	}
	t.unasked = 0
	if t.producer.BufferedProduceBytes() <= t.room {
		return ctx.Err()
	}
	// The producer counts a record until after it has told of it, so nobody tells of the
	// room that the last one of all leaves.
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for ctx.Err() == nil {
		t.waiting.Store(true)
		if t.producer.BufferedProduceBytes() <= t.room/2 {
			break
		}
		select {
		case <-t.roomy:
		case <-again.C:
		case <-ctx.Done():
		}
	}
	return ctx.Err()
}

// arrived lets send go on when there is room again. It is called by the producer.
func (t *sourceTask) arrived() {
	if t.waiting.Load() && t.producer.BufferedProduceBytes() <= t.room/2 {
		t.waiting.Store(false)
		nudge(t.roomy)
	}
}

// prepare makes a Kafka record of r. It returns false for a record that is not sent:
// a position mark, or one left out by a transform or as a tolerated error.
func (t *sourceTask) prepare(ctx context.Context, r *connect.SourceRecord, out *outgoing) (bool, error) {
	if r.Topic == "" {
		return false, nil
	}
	keep, bad := t.convert(ctx, r, out)
	if bad != nil {
		return false, t.faults.skip(ctx, bad, nil, whereProduced(r))
	}
	if !keep {
		return false, nil
	}
	if r.Topic != t.lastTopic {
		if err := t.topics.ensure(ctx, r.Topic); err != nil {
			return false, err
		}
		t.rt.trackTopic(t.id, r.Topic)
		t.lastTopic = r.Topic
	}
	return true, nil
}

// convert transforms and converts r.
func (t *sourceTask) convert(ctx context.Context, r *connect.SourceRecord, out *outgoing) (keep bool, bad *fault) {
	defer t.chain.rescue(&bad)
	if keep, bad = t.chain.transform(ctx, &r.Record); bad != nil || !keep {
		return keep, bad
	}
	t.nameTopic(&r.Record)
	// The client would look at the clock for each record.
	out.Topic, out.Partition, out.Timestamp, out.Context = r.Topic, r.Partition, t.now, &out.way
	if r.Timestamp != connect.NoTimestamp && r.Timestamp != 0 {
		out.Timestamp = time.UnixMilli(r.Timestamp)
	}
	return true, t.chain.encode(ctx, &r.Record, &out.way.arena, &out.Record)
}

// nameTopic gives the record's topic a name of the task's own. One that a transform took
// from the record is in the plugin's memory, which is used again, while producers keep
// the names of topics.
func (t *sourceTask) nameTopic(r *connect.Record) {
	if r.Topic == t.lastTopic {
		r.Topic = t.lastTopic
		return
	}
	name, ok := t.names[r.Topic]
	if !ok {
		name = strings.Clone(r.Topic)
		t.names[name] = name
	}
	r.Topic = name
}

// dropped finishes a record that is not sent.
func (t *sourceTask) dropped(c *inflight) {
	t.finish(c.ticket)
	if c.told != nil {
		t.tell(c.told)
	}
	c.release(true)
}

// tell tells the plugin of one record. Position marks are no records.
func (t *sourceTask) tell(r *toldRecord) {
	if r.Topic == "" {
		return
	}
	tp := connect.TopicPartition{Topic: r.Topic, Partition: r.partition}
	t.failOn(guard("CommitRecord", func() error {
		t.told.CommitRecord(&r.SourceRecord, tp, r.offset)
		return nil
	}))
}

// acked is called by the producer for each record, in the order of acknowledgement
// within a partition.
func (t *sourceTask) acked(out *kgo.Record, err error) {
	c := out.Context.(*inflight)
	defer c.release(err == nil)
	t.arrived()
	if err != nil && !t.tolerated(c, out, err) {
		return // Not finished: no offset passes this record.
	}
	if err == nil {
		t.metrics.written.Add(1)
		t.metrics.acknowledged(c.committed)
	}
	failpoint.At("worker.acked")
	t.finish(c.ticket)
	if c.told == nil {
		return
	}
	if err == nil {
		c.told.Topic, c.told.partition, c.told.offset = out.Topic, out.Partition, out.Offset
	}
	t.tell(c.told)
}

// tolerated tells whether a record the brokers refused may be left out; otherwise it
// fails the task.
func (t *sourceTask) tolerated(c context.Context, out *kgo.Record, err error) bool {
	if c.Err() != nil || errors.Is(err, kgo.ErrClientClosed) || errors.Is(err, context.Canceled) {
		return false
	}
	t.metrics.fail()
	if refusedTogether(err) {
		t.failOn(refusedError(out, err))
		return false
	}
	err = produceError(out, err)
	bad := &fault{site: site{stageProduce, "producer"}, err: err}
	if err := t.faults.skip(c, bad, nil, "topic='"+out.Topic+"'"); err != nil {
		t.failOn(err)
		return false
	}
	return true
}

// refusedTogether tells whether the brokers found a batch too large: the client gives
// that error to all records of the partition that it has, and which of them is too large
// by itself is not known. A record that the client finds too large is refused alone, and
// never has a compressed size.
func refusedTogether(err error) bool {
	return errors.Is(err, kerr.MessageTooLarge) && (err == error(kerr.MessageTooLarge) || strings.Contains(err.Error(), " compressed_bytes="))
}

// refusedError ends a task even if it tolerates errors: leaving out all that was refused
// together would lose records that nothing is wrong with.
func refusedError(out *kgo.Record, err error) error {
	e := produceError(out, err).(*connect.Error)
	e.Mend = "raise the topic's max.message.bytes, or set producer.override.max.request.size to no more than that: then errors.tolerance=all leaves out just the records that are too large by themselves"
	return e
}

// finish marks a record as finished, and asks for a commit when there are many.
func (t *sourceTask) finish(k ticket) {
	t.mu.Lock()
	t.submitted.finish(k)
	t.finished++
	first, many := t.finished == 1, t.finished == t.rt.commitRecords
	unfinished := t.submitted.unfinished()
	t.metrics.active.Store(int64(unfinished))
	t.mu.Unlock()
	switch {
	case many:
		nudge(t.commitNow)
	case first:
		nudge(t.moved)
	}
}
