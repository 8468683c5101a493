package plugin

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/plugin/internal/block"
	"github.com/tidemill/tidemill/plugin/internal/line"
)

// stepSide is a transform or predicate and its worker's place.
type stepSide struct {
	class    string
	apply    func(r *connect.Record) (bool, error)
	close    func() error
	log      *slog.Logger
	panicked bool // A trace was logged.
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
	if c.config == nil {
		c.config = connect.NewConfigDef().OpenTo(func(string) bool { return true })
	}
	settings, err := c.config.Parse(start.Config)
	if err != nil {
		return err
	}
	side := &stepSide{class: c.class, log: s.log(start), close: func() error { return nil }}
	switch {
	case c.transform != nil:
		side.apply, side.close = c.transform.Apply, c.transform.Close
		err = c.transform.Configure(settings)
	case c.predicate != nil:
		side.apply = func(r *connect.Record) (bool, error) {
			tested := *r
			return c.predicate.Test(&tested), nil
		}
		err = c.predicate.Configure(settings)
	default:
		err = misused(line.StartStep)
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.step = side
	s.mu.Unlock()
	return nil
}

// called serves what the worker asks of the transform or predicate.
func (t *stepSide) called(ctx context.Context, m line.Method, body []byte) ([]byte, error) {
	if m != line.Apply {
		return nil, misused(m)
	}
	var err error
	if t.records, err = t.decoder.Records(body, t.records[:0]); err != nil {
		return nil, err
	}
	t.verdicts = t.verdicts[:0]
	for i := range t.records {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		t.verdicts = append(t.verdicts, t.judge(&t.records[i]))
	}
	return t.encoder.Verdicts(t.verdicts), nil
}

// judge takes one record. What is wrong with it is the record's own fault, also a panic.
func (t *stepSide) judge(r *connect.Record) block.Verdict {
	before := *r
	yes, err := t.guarded(r)
	switch {
	case err != nil:
		return block.Verdict{Failure: line.PackError(err)}
	case !yes:
		return block.Verdict{}
	}
	return block.Verdict{Yes: true, Changed: !same(&before, r), Record: *r}
}

func (t *stepSide) guarded(r *connect.Record) (yes bool, err error) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		err = &connect.Error{
			Code: "task.panic", Place: t.class, Message: fmt.Sprint(p),
			Mend: "this is a fault of the plugin; report it with the trace in the worker's log",
		}
		if !t.panicked {
			t.panicked = true
			t.log.Error("the plugin's code panicked", "panic", fmt.Sprint(p), "trace", string(debug.Stack()))
		}
	}()
	return t.apply(r)
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
