package worker

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/worker/otel"
)

// tracedBatch is a batch of records that is traced, from its poll to the last
// acknowledgement of its records.
type tracedBatch struct {
	of            *tracing
	root, produce *otel.Span
	began         time.Time // Of its transforms.
	header        []byte
	left          atomic.Int64 // Records on their way, and one more until all are handed over.
	fault         atomic.Pointer[string]
}

// polled begins the trace of a batch, if it is to have one.
func (g *tracing) polled(began time.Time, records []connect.SourceRecord) *tracedBatch {
	if g == nil || !g.Sample() {
		return nil
	}
	now := time.Now()
	b := &tracedBatch{of: g, root: g.Span("source batch", otel.Internal, began), began: now}
	b.root.Set(g.about...)
	b.root.Set(otel.Attribute{Name: "tidemill.records", Value: int64(len(records))})
	poll := b.root.Child("poll", otel.Internal, began)
	poll.Set(whence(records, now)...)
	poll.End(now, "")
	b.produce = b.root.Child("produce", otel.Producer, now)
	b.header = []byte(b.produce.Context.String())
	b.left.Store(1)
	g.watch.start(g.chain)
	return b
}

// offsetMost is how many bytes of an offset are told: those of some sources are long.
const offsetMost = 1000

// whence are the attributes of where records come from, and how old they are.
func whence(records []connect.SourceRecord, now time.Time) (list []otel.Attribute) {
	last := len(records) - 1
	for _, p := range []struct {
		name   string
		offset connect.Offset
	}{{"first", records[0].SourceOffset}, {"last", records[last].SourceOffset}} {
		if p.offset != nil {
			text := p.offset.AppendJSON(nil)
			list = append(list, otel.Attribute{Name: "tidemill.offset." + p.name, Value: string(text[:min(len(text), offsetMost)])})
		}
	}
	for i := last; i >= 0; i-- { // The newest transaction that ends here.
		if micros := committedAt(records[i].SourceOffset); micros > 0 {
			at := time.UnixMicro(micros)
			return append(list, otel.Attribute{Name: "tidemill.committed", Value: at.UTC().Format("2006-01-02T15:04:05.000000Z")},
				otel.Attribute{Name: "tidemill.lag.seconds", Value: now.Sub(at).Seconds()})
		}
	}
	return list
}

// expect says that records of the batch will be handed to the producer.
func (b *tracedBatch) expect(room []outgoing) {
	if b == nil {
		return
	}
	for i := range room {
		if room[i].sent {
			b.left.Add(1)
		}
	}
}

// converted says that all records of the batch that is traced, if one is, are transformed and
// converted, and handed over or expected; or with an error that one could not be.
func (t *sourceTask) converted(err error) {
	if b := t.parcels.batch; b != nil {
		t.parcels.batch = nil
		b.produce.From(b.of.plugins(b.root, b.began, true))
		b.arrived(err)
	}
}

// arrived says that a record has arrived, or that the producer has given it up.
func (b *tracedBatch) arrived(err error) {
	if err != nil {
		code := faultOf(err)
		b.fault.CompareAndSwap(nil, &code)
	}
	if b.left.Add(-1) > 0 {
		return
	}
	now, fault := time.Now(), ""
	if p := b.fault.Load(); p != nil {
		fault = *p
	} else {
		b.of.wrote(b.root.Context, now)
	}
	b.produce.End(now, fault)
	b.root.End(now, fault)
}

// recordHooks sees the records of traced batches come and go in the producer.
type recordHooks struct {
	headers bool // Records carry the context.
	expects bool // They are expected before they come.
}

// hooks adds to a producer's options what traces need.
func (t *sourceTask) hooks(opts []kgo.Opt) []kgo.Opt {
	if t.traces == nil {
		return opts
	}
	return append(opts, kgo.WithHooks(&recordHooks{headers: t.rt.settings.Bool("tracing.record.headers"), expects: t.rt.exactlyOnce}))
}

// OnProduceRecordBuffered implements kgo.HookProduceRecordBuffered.
func (h *recordHooks) OnProduceRecordBuffered(r *kgo.Record) {
	b := batchOf(r.Context)
	if b == nil {
		return
	}
	if !h.expects {
		b.left.Add(1)
	}
	if !h.headers {
		return
	}
	for _, header := range r.Headers {
		if header.Key != otel.Header {
			continue
		}
		if c, ok := otel.Parse(header.Value); ok {
			b.produce.Link(c)
		}
		return
	}
	r.Headers = append(r.Headers, kgo.RecordHeader{Key: otel.Header, Value: b.header})
}

// OnProduceRecordUnbuffered implements kgo.HookProduceRecordUnbuffered: it is called before
// acked.
func (h *recordHooks) OnProduceRecordUnbuffered(r *kgo.Record, err error) {
	if b := batchOf(r.Context); b != nil {
		if err != nil {
			err = produceError(r, err)
		}
		b.arrived(err)
	}
}

func batchOf(ctx context.Context) *tracedBatch {
	if c, ok := ctx.(*inflight); ok {
		return c.batch
	}
	return nil
}
