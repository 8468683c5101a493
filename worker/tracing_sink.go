package worker

import (
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/worker/otel"
)

// sinkBatch is what a sink task has read and is traced, from its poll until it is put.
type sinkBatch struct {
	*tracing
	root  *otel.Span
	began time.Time // Of the work in hand.
}

// read begins the trace of what a poll brought, if it is to have one: by chance, or because
// of a trace that a record belongs to.
func (g *tracing) read(began time.Time, fetches kgo.Fetches) *sinkBatch {
	if g == nil || fetches.Empty() {
		return nil
	}
	g.watch.stop(g.chain)
	root := g.Span("sink batch", otel.Consumer, began)
	records, sampled := int64(0), g.Sample()
	fetches.EachRecord(func(r *kgo.Record) {
		records++
		for _, h := range r.Headers {
			if h.Key != otel.Header {
				continue
			}
			if c, ok := otel.Parse(h.Value); ok && c.Sampled {
				sampled = true
				root.Link(c)
			}
		}
	})
	if records == 0 || !sampled {
		return nil
	}
	now := time.Now()
	root.Set(g.about...)
	root.Set(otel.Attribute{Name: "tidemill.records", Value: records})
	root.Child("poll", otel.Consumer, began).End(now, "")
	g.watch.start(g.chain)
	return &sinkBatch{g, root, now}
}

// converted says that the records are converted and transformed, or that one could not be:
// then the batch is over, and nil comes back.
func (b *sinkBatch) converted(err error) *sinkBatch {
	if b == nil {
		return nil
	}
	b.plugins(b.root, b.began, false)
	b.began = time.Now()
	if err != nil {
		b.root.End(b.began, faultOf(err))
		return nil
	}
	return b
}

// put says that the plugin has taken the records, or not.
func (b *sinkBatch) put(err error) {
	if b == nil {
		return
	}
	now, fault := time.Now(), faultOf(err)
	b.root.Child("put", otel.Internal, b.began).End(now, fault)
	b.root.End(now, fault)
	if err == nil {
		b.wrote(b.root.Context, now)
	}
}
