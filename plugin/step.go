package plugin

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/plugin/internal/block"
	"github.com/tidemill/tidemill/plugin/internal/line"
)

// stepSide is a transform, predicate or converter and its worker's place.
type stepSide struct {
	class string
	log   *slog.Logger
	told  sync.Once // A panic was logged with its trace.
	lanes map[line.Method]*lane
	probe func(context.Context) error
	close func() error
}

// lane takes batches of records through one method of the plugin.
type lane struct {
	side     *stepSide
	take     func(ctx context.Context, r *connect.Record) (bool, error)
	decoder  block.Decoder
	encoder  block.Encoder
	records  []connect.Record
	verdicts []block.Verdict
}

func (s *session) startStep(body []byte) error {
	start, err := line.Unpack[line.Start](body)
	if err != nil {
		return err
	}
	c, err := find(s.plugins, start.Target)
	if err != nil {
		return err
	}
	side := &stepSide{class: c.class, log: s.log(start), lanes: map[line.Method]*lane{}, close: func() error { return nil }}
	if c.converter != nil {
		err = side.startConverter(c.converter, start)
	} else {
		err = side.startStep(c, start.Config)
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.step = side
	s.mu.Unlock()
	return nil
}

// startStep configures a transform or predicate.
func (t *stepSide) startStep(c target, config connect.Config) error {
	if c.config == nil {
		c.config = connect.NewConfigDef().OpenTo(func(string) bool { return true })
	}
	settings, err := c.config.Parse(config)
	switch {
	case err != nil:
		return err
	case c.transform != nil:
		t.close = c.transform.Close
		t.serve(line.Apply, func(_ context.Context, r *connect.Record) (bool, error) { return c.transform.Apply(r) })
		return c.transform.Configure(settings)
	case c.predicate != nil:
		t.serve(line.Apply, func(_ context.Context, r *connect.Record) (bool, error) {
			tested := *r
			return c.predicate.Test(&tested), nil
		})
		return c.predicate.Configure(settings)
	}
	return misused(line.StartStep)
}

// startConverter configures a converter. It has keys or values in the place of a record's
// value, and their bytes.
func (t *stepSide) startConverter(c connect.Converter, start line.Start) error {
	t.close = c.Close
	if p, can := c.(connect.Prober); can {
		t.probe = p.Probe
	}
	t.serve(line.Encode, func(ctx context.Context, r *connect.Record) (bool, error) {
		data, err := c.FromConnect(ctx, []byte{}, r.Topic, r.ValueSchema, r.Value)
		r.ValueSchema, r.Value = nil, connect.Value{}
		if data != nil {
			r.Value = connect.Bytes(data)
		}
		return true, err
	})
	t.serve(line.Decode, func(ctx context.Context, r *connect.Record) (_ bool, err error) {
		var data []byte
		if !r.Value.IsNull() {
			data = r.Value.Bytes()
		}
		r.ValueSchema, r.Value, err = c.ToConnect(ctx, r.Topic, data)
		return true, err
	})
	return c.Configure(start.Config, start.Key)
}

func (t *stepSide) serve(m line.Method, take func(ctx context.Context, r *connect.Record) (bool, error)) {
	t.lanes[m] = &lane{side: t, take: take}
}

// called serves what the worker asks of the plugin.
func (t *stepSide) called(ctx context.Context, m line.Method, body []byte) ([]byte, error) {
	if m == line.Probe && t.probe != nil {
		return nil, t.probe(ctx)
	}
	l := t.lanes[m]
	if l == nil {
		return nil, misused(m)
	}
	var err error
	if l.records, err = l.decoder.Records(body, l.records[:0]); err != nil {
		return nil, err
	}
	l.verdicts = l.verdicts[:0]
	for i := range l.records {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		l.verdicts = append(l.verdicts, l.judge(ctx, &l.records[i]))
	}
	return l.encoder.Verdicts(l.verdicts), nil
}

// judge takes one record. What is wrong with it is the record's own fault, also a panic.
func (l *lane) judge(ctx context.Context, r *connect.Record) block.Verdict {
	before := *r
	yes, err := l.guarded(ctx, r)
	switch {
	case err != nil:
		return block.Verdict{Failure: line.PackError(err)}
	case !yes:
		return block.Verdict{}
	}
	return block.Verdict{Yes: true, Changed: !same(&before, r), Record: *r}
}

func (l *lane) guarded(ctx context.Context, r *connect.Record) (yes bool, err error) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		err = &connect.Error{
			Code: "task.panic", Place: l.side.class, Message: fmt.Sprint(p),
			Mend: "this is a fault of the plugin; report it with the trace in the worker's log",
		}
		l.side.told.Do(func() {
			l.side.log.Error("the plugin's code panicked", "panic", fmt.Sprint(p), "trace", string(debug.Stack()))
		})
	}()
	return l.take(ctx, r)
}

// same tells whether a record has not changed.
func same(a, b *connect.Record) bool {
	if a.Topic != b.Topic || a.Partition != b.Partition || a.Timestamp != b.Timestamp ||
		a.KeySchema != b.KeySchema || a.ValueSchema != b.ValueSchema || len(a.Headers) != len(b.Headers) {
		return false
	}
	for i := range a.Headers {
		h, g := &a.Headers[i], &b.Headers[i]
		if h.Key != g.Key || h.Schema != g.Schema || !h.Value.Equal(g.Value) {
			return false
		}
	}
	return a.Key.Equal(b.Key) && a.Value.Equal(b.Value)
}
