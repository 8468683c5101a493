package worker

import (
	"context"
	"errors"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
)

// chain is what a record goes through between its plugin and Kafka: transforms with
// their predicates, and the converters. One chain serves one task and one goroutine.
type chain struct {
	steps   []step
	key     converter
	value   converter
	headers connect.HeaderConverter
	header  site
	faults  *faults
	at      *site  // Whose code runs.
	ahead   *ahead // Nil while no plugin is far.
}

// rescue makes a fault of a panic in the code of a transform, predicate or converter: it is
// to be dealt with as any other error of that code. It is for deferring.
func (c *chain) rescue(bad **fault) {
	if p := recover(); p != nil {
		at := site{stage: stageTransform}
		if c.at != nil {
			at = *c.at
		}
		c.faults.metrics.fail()
		*bad = &fault{site: at, err: panicError(string(at.stage), p)}
	}
}

// step is one transform and when it applies.
type step struct {
	transform connect.Transform
	predicate connect.Predicate // Nil: always.
	negate    bool
	at        site
}

// closePredicate ends a predicate that is far; others have nothing to close.
func (s *step) closePredicate() error {
	if p, ok := s.predicate.(far); ok {
		return p.Close()
	}
	return nil
}

type converter struct {
	connect.Converter
	far farConverter // The same, when it is far; nil otherwise.
	at  site
}

// transform applies the steps in order. It returns false when one dropped the
// record.
func (c *chain) transform(ctx context.Context, r *connect.Record) (bool, *fault) {
	if c.ahead != nil {
		return c.transformed(ctx, r)
	}
	for i := range c.steps {
		s := &c.steps[i]
		c.at = &s.at
		if s.predicate != nil && s.predicate.Test(r) == s.negate {
			continue
		}
		keep, err := s.transform.Apply(r)
		if err != nil {
			bad := c.faults.retry(ctx, s.at, err, func() (err error) {
				keep, err = s.transform.Apply(r)
				return err
			})
			if bad != nil {
				return false, bad
			}
		}
		if !keep {
			return false, nil
		}
	}
	return true, nil
}

// encode converts a record into out, with its bytes in the arena.
func (c *chain) encode(ctx context.Context, r *connect.Record, a *arena, out *kgo.Record) *fault {
	var bad *fault
	if out.Key, bad = c.encodePart(ctx, &c.key, a, piece{r.Topic, r.KeySchema, r.Key}); bad != nil {
		return bad
	}
	if out.Value, bad = c.encodePart(ctx, &c.value, a, piece{r.Topic, r.ValueSchema, r.Value}); bad != nil {
		return bad
	}
	if len(r.Headers) > 0 {
		return c.encodeHeaders(ctx, r, a, out)
	}
	return nil
}

// piece is a key or value with what its converter needs to know.
type piece struct {
	topic  string
	schema *connect.Schema
	value  connect.Value
}

func (c *chain) encodePart(ctx context.Context, conv *converter, a *arena, p piece) ([]byte, *fault) {
	c.at = &conv.at
	if conv.far != nil {
		if conv == &c.key {
			return c.ahead.turn.key, nil
		}
		return c.ahead.turn.value, nil
	}
	data, err := conv.FromConnect(ctx, a.tail(), p.topic, p.schema, p.value)
	if err != nil {
		bad := c.faults.retry(ctx, conv.at, err, func() (err error) {
			data, err = conv.FromConnect(ctx, a.tail(), p.topic, p.schema, p.value)
			return err
		})
		if bad != nil {
			return nil, bad
		}
	}
	return a.keep(data), nil
}

func (c *chain) encodeHeaders(ctx context.Context, r *connect.Record, a *arena, out *kgo.Record) *fault {
	c.at = &c.header
	out.Headers = make([]kgo.RecordHeader, len(r.Headers))
	for i, h := range r.Headers {
		data, err := c.headers.FromConnectHeader(a.tail(), r.Topic, h)
		if err != nil {
			bad := c.faults.retry(ctx, c.header, err, func() (err error) {
				data, err = c.headers.FromConnectHeader(a.tail(), r.Topic, h)
				return err
			})
			if bad != nil {
				return bad
			}
		}
		out.Headers[i] = kgo.RecordHeader{Key: h.Key, Value: a.keep(data)}
	}
	return nil
}

// read converts and transforms a consumed record. It returns false when a transform
// dropped it.
func (c *chain) read(ctx context.Context, in *kgo.Record, r *connect.SinkRecord) (keep bool, bad *fault) {
	defer c.rescue(&bad)
	if c.ahead != nil {
		o := c.ahead.pop()
		if o == nil {
			c.readAhead(ctx, []*kgo.Record{in})
			o = c.ahead.pop()
		}
		r.Record = *o.record
		return o.keep, o.bad
	}
	if bad = c.decode(ctx, in, &r.Record); bad != nil {
		return false, bad
	}
	return c.transform(ctx, &r.Record)
}

// decode converts a consumed record, but for what is left to far converters.
func (c *chain) decode(ctx context.Context, in *kgo.Record, r *connect.Record) *fault {
	var bad *fault
	if r.KeySchema, r.Key, bad = c.decodePart(ctx, &c.key, in.Topic, in.Key); bad != nil {
		return bad
	}
	if r.ValueSchema, r.Value, bad = c.decodePart(ctx, &c.value, in.Topic, in.Value); bad != nil {
		return bad
	}
	if len(in.Headers) == 0 {
		return nil
	}
	c.at = &c.header
	r.Headers = make([]connect.Header, len(in.Headers))
	for i, h := range in.Headers {
		header, err := c.headers.ToConnectHeader(in.Topic, h.Key, h.Value)
		if err != nil {
			bad = c.faults.retry(ctx, c.header, err, func() (err error) {
				header, err = c.headers.ToConnectHeader(in.Topic, h.Key, h.Value)
				return err
			})
			if bad != nil {
				return bad
			}
		}
		r.Headers[i] = header
	}
	return nil
}

func (c *chain) decodePart(ctx context.Context, conv *converter, topic string, data []byte) (*connect.Schema, connect.Value, *fault) {
	if conv.far != nil {
		return nil, connect.Value{}, nil
	}
	c.at = &conv.at
	s, v, err := conv.ToConnect(ctx, topic, data)
	if err != nil {
		bad := c.faults.retry(ctx, conv.at, err, func() (err error) {
			s, v, err = conv.ToConnect(ctx, topic, data)
			return err
		})
		if bad != nil {
			return nil, connect.Value{}, bad
		}
	}
	return s, v, nil
}

// close closes all plugins.
func (c *chain) close() error {
	var errs []error
	for _, s := range c.steps {
		errs = append(errs, s.transform.Close(), s.closePredicate())
	}
	for _, conv := range []connect.Converter{c.key.Converter, c.value.Converter} {
		if conv != nil {
			errs = append(errs, conv.Close())
		}
	}
	if c.headers != nil {
		errs = append(errs, c.headers.Close())
	}
	return errors.Join(errs...)
}
