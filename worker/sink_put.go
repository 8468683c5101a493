package worker

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/internal/failpoint"
)

// take converts the records of one partition into the batch.
func (t *sinkTask) take(ctx context.Context, p kgo.FetchTopicPartition) error {
	tp := connect.TopicPartition{Topic: p.Topic, Partition: p.Partition}
	state := t.assigned[tp]
	if len(p.Records) == 0 || state == nil {
		return nil
	}
	t.rt.trackTopic(t.id, p.Topic) // Each time: what is known may have been reset.
	if state.first < 0 {
		state.first = p.Records[0].Offset
	}
	t.metrics.read.Add(int64(len(p.Records)))
	t.metrics.reads.Add(float64(len(p.Records)))
	t.chain.readAhead(ctx, p.Records)
	var size int64
	for _, in := range p.Records {
		size += int64(len(in.Key) + len(in.Value))
		keep, err := t.convert(ctx, in)
		if err != nil {
			return err
		}
		if !keep {
			t.batch = t.batch[:len(t.batch)-1]
		}
	}
	t.metrics.holds.batch.Add(size)
	t.next[tp] = p.Records[len(p.Records)-1].Offset + 1
	state.lag = max(p.HighWatermark-t.next[tp], 0)
	return nil
}

// convert puts a record at the end of the batch, and returns whether it stays there.
func (t *sinkTask) convert(ctx context.Context, in *kgo.Record) (bool, error) {
	t.batch = append(t.batch, sinkRecord(in))
	r := &t.batch[len(t.batch)-1]
	if t.faults.letters != nil {
		r.RawHeaders = rawHeaders(in.Headers)
	}
	keep, bad := t.chain.read(ctx, in, r)
	if bad != nil {
		return false, t.faults.skip(ctx, bad, r, whereConsumed(r))
	}
	return keep, nil
}

func rawHeaders(headers []kgo.RecordHeader) []connect.Header {
	raw := make([]connect.Header, len(headers))
	for i, h := range headers {
		raw[i].Key = h.Key
		if h.Value != nil {
			raw[i].Value = connect.Bytes(h.Value)
		}
	}
	return raw
}

// put hands the batch to the plugin, again and again while it says that this may
// help. While it waits, partitions may be taken away; their records are then left
// out.
func (t *sinkTask) put(ctx context.Context) error {
	for attempt := 0; ; attempt++ {
		began := time.Now()
		failpoint.At("worker.sink.put")
		err := t.plugin.Put(t.life, t.batch)
		if err == nil {
			failpoint.At("worker.sink.written")
			t.metrics.sent.Add(int64(len(t.batch)))
			if len(t.batch) > 0 {
				t.metrics.putTime.Since(began)
				t.metrics.batchSize.Add(float64(len(t.batch)))
			}
			break
		}
		t.metrics.fail()
		e := connect.AsError(err)
		if e.Class != connect.ClassRetriable || taskGone(e) {
			return err
		}
		t.metrics.retries.Add(1)
		t.log.Warn("put failed, trying again", "error", err, "records", len(t.batch))
		wait := e.After
		if wait <= 0 {
			wait = min(time.Second<<min(attempt, 6), time.Minute)
		}
		if err := t.wait(ctx, wait); err != nil {
			return err
		}
	}
	for tp, next := range t.next {
		if s := t.assigned[tp]; s != nil {
			s.put = next
		}
	}
	t.countActive()
	return nil
}

// wait lets others go on for a while: rebalances, above all. The caller holds mu, and
// holds it again when this returns.
func (t *sinkTask) wait(ctx context.Context, d time.Duration) error {
	t.mu.Unlock()
	t.client.AllowRebalance()
	err := sleep(ctx, d)
	if err == nil {
		_, err = t.gate.open(ctx, t.report)
	}
	t.mu.Lock()
	if t.failure != nil {
		return t.failure
	}
	return err
}

// countActive counts the records that are put and not committed.
func (t *sinkTask) countActive() {
	var n, lag int64
	for _, s := range t.assigned {
		lag = max(lag, s.lag)
		if s.put >= 0 {
			n += s.put - max(s.committed, s.first)
		}
	}
	t.metrics.active.Store(n)
	t.metrics.activity.Add(float64(n))
	t.metrics.lagMax.Store(lag)
	t.metrics.partitions.Store(int64(len(t.assigned)))
}
