package worker

import (
	"context"
	"time"

	"github.com/tidemill/tidemill/connect"
)

// stopwatch adds up how long the plugins of a chain take. While it is not in the chain, the
// chain is as it is without one.
type stopwatch struct {
	transform, convert time.Duration
	in                 bool
	// timed and plain are the chain with and without it.
	timed, plain chain
}

// newStopwatch returns one for a chain.
func newStopwatch(c *chain) *stopwatch {
	w := &stopwatch{plain: *c, timed: *c}
	w.timed.steps = make([]step, len(c.steps))
	for i, s := range c.steps {
		timed := timedTransform{s.transform, &w.transform}
		if m, ok := s.transform.(many); ok {
			s.transform = timedMany{timed, m}
		} else {
			s.transform = timed
		}
		w.timed.steps[i] = s
	}
	for _, conv := range []*converter{&w.timed.key, &w.timed.value} {
		conv.Converter = timedConverter{conv.Converter, &w.convert}
		if conv.far != nil {
			conv.far = timedFar{conv.far, &w.convert}
		}
	}
	w.timed.headers = timedHeaders{c.headers, &w.convert}
	return w
}

// start puts it into the chain, at nought.
func (w *stopwatch) start(c *chain) {
	*c, w.in, w.transform, w.convert = w.timed, true, 0, 0
}

// stop takes it out.
func (w *stopwatch) stop(c *chain) {
	if w.in {
		*c, w.in = w.plain, false
	}
}

func spend(on *time.Duration, since time.Time) { *on += time.Since(since) }

type timedTransform struct {
	connect.Transform
	spent *time.Duration
}

// Apply implements connect.Transform.
func (t timedTransform) Apply(r *connect.Record) (bool, error) {
	defer spend(t.spent, time.Now())
	return t.Transform.Apply(r)
}

type timedMany struct {
	timedTransform
	many many
}

// ApplyAll implements many.
func (t timedMany) ApplyAll(ctx context.Context, records []*connect.Record) (yes []bool, bad []error, err error) {
	defer spend(t.spent, time.Now())
	return t.many.ApplyAll(ctx, records)
}

type timedConverter struct {
	connect.Converter
	spent *time.Duration
}

// FromConnect implements connect.Converter.
func (c timedConverter) FromConnect(ctx context.Context, dst []byte, topic string, s *connect.Schema, v connect.Value) ([]byte, error) {
	defer spend(c.spent, time.Now())
	return c.Converter.FromConnect(ctx, dst, topic, s, v)
}

// ToConnect implements connect.Converter.
func (c timedConverter) ToConnect(ctx context.Context, topic string, data []byte) (*connect.Schema, connect.Value, error) {
	defer spend(c.spent, time.Now())
	return c.Converter.ToConnect(ctx, topic, data)
}

type timedFar struct {
	farConverter
	spent *time.Duration
}

// EncodeAll implements farConverter.
func (f timedFar) EncodeAll(ctx context.Context, records []*connect.Record) (bad []error, err error) {
	defer spend(f.spent, time.Now())
	return f.farConverter.EncodeAll(ctx, records)
}

// DecodeAll implements farConverter.
func (f timedFar) DecodeAll(ctx context.Context, records []*connect.Record) (bad []error, err error) {
	defer spend(f.spent, time.Now())
	return f.farConverter.DecodeAll(ctx, records)
}

type timedHeaders struct {
	connect.HeaderConverter
	spent *time.Duration
}

// FromConnectHeader implements connect.HeaderConverter.
func (h timedHeaders) FromConnectHeader(dst []byte, topic string, header connect.Header) ([]byte, error) {
	defer spend(h.spent, time.Now())
	return h.HeaderConverter.FromConnectHeader(dst, topic, header)
}

// ToConnectHeader implements connect.HeaderConverter.
func (h timedHeaders) ToConnectHeader(topic, key string, data []byte) (connect.Header, error) {
	defer spend(h.spent, time.Now())
	return h.HeaderConverter.ToConnectHeader(topic, key, data)
}
