package worker

import (
	"context"
	"log/slog"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
)

// far is what transforms and predicates also are whose code is in another process. A call
// of them costs the same for one record as for many, so that those of a batch share one.
type far interface {
	opener
	many
	Close() error
}

// farConverter is the same for converters, which have keys or values in the places of the
// records' values: bad and err are as from many.
type farConverter interface {
	opener
	// EncodeAll puts bytes, or null, in the place of values with their schemas.
	EncodeAll(ctx context.Context, records []*connect.Record) (bad []error, err error)
	// DecodeAll does the opposite.
	DecodeAll(ctx context.Context, records []*connect.Record) (bad []error, err error)
}

// opener is a plugin that is told of its task.
type opener interface {
	// Open is called before Configure. life is how long the task lives, log is its log.
	Open(life context.Context, log *slog.Logger)
}

// many is a transform or predicate that takes records together.
type many interface {
	// ApplyAll tells of each record whether it is kept or, from a predicate, whether that
	// holds, and what is wrong with it; bad is nil when nothing is wrong with any. The error
	// is no record's: nothing can be done any more.
	ApplyAll(ctx context.Context, records []*connect.Record) (yes []bool, bad []error, err error)
}

// oneByOne takes records together by taking one after another.
type oneByOne func(r *connect.Record) (bool, error)

// ApplyAll implements many.
func (f oneByOne) ApplyAll(_ context.Context, records []*connect.Record) (yes []bool, bad []error, err error) {
	yes, bad = make([]bool, len(records)), make([]error, len(records))
	for i, r := range records {
		bad[i] = guard(string(stageTransform), func() (err error) {
			yes[i], err = f(r)
			return err
		})
	}
	return yes, bad, nil
}

func manyOf(t connect.Transform) many {
	if m, ok := t.(many); ok {
		return m
	}
	return oneByOne(t.Apply)
}

func manyTests(p connect.Predicate) many {
	if m, ok := p.(many); ok {
		return m
	}
	return oneByOne(func(r *connect.Record) (bool, error) { return p.Test(r), nil })
}

// brokenStep is the error of a plugin that no record is to blame for. It says nothing more.
type brokenStep struct{ error }

// Unwrap returns the error.
func (b *brokenStep) Unwrap() error { return b.error }

// ahead are records that went through the steps together, before each has its turn.
type ahead struct {
	outcomes []outcome
	next     int
	turn     *outcome // Of the record whose turn it is.
}

// outcome is what has become of a record.
type outcome struct {
	record *connect.Record
	in     *kgo.Record // What was consumed; nil for a source's.
	topic  string      // Before the steps.
	keep   bool
	bad    *fault
	// key and value are what far converters have made of a source's record.
	key, value []byte
}

// begin forgets the records of the batch before.
func (a *ahead) begin() {
	clear(a.outcomes)
	a.outcomes, a.next, a.turn = a.outcomes[:0], 0, nil
}

func (a *ahead) add(r *connect.Record, bad *fault) {
	a.outcomes = append(a.outcomes, outcome{record: r, topic: r.Topic, keep: bad == nil, bad: bad})
}

// pop returns the outcome of the record whose turn it is, nil when none went ahead.
func (a *ahead) pop() *outcome {
	if a == nil || a.next == len(a.outcomes) {
		return nil
	}
	a.turn = &a.outcomes[a.next]
	a.next++
	return a.turn
}

// kept are the records that are still to go on, none of them behind one that ends the task.
func (c *chain) kept() (of []*outcome) {
	for i := range c.ahead.outcomes {
		switch o := &c.ahead.outcomes[i]; {
		case o.bad != nil && c.faults.ends(o.bad):
			return of
		case o.keep && o.bad == nil:
			of = append(of, o)
		}
	}
	return of
}

// readAhead converts consumed records and transforms them together, when a plugin is far.
// read then has each of them, in the same order.
func (c *chain) readAhead(ctx context.Context, records []*kgo.Record) {
	if c.ahead == nil {
		return
	}
	c.ahead.begin()
	decoded := make([]connect.Record, len(records))
	for i, in := range records {
		r := &decoded[i]
		*r = sinkRecord(in).Record
		bad := c.decodeGuarded(ctx, in, r)
		c.ahead.add(r, bad)
		c.ahead.outcomes[i].in = in
		if bad != nil && c.faults.ends(bad) {
			break
		}
	}
	c.decodeFar(ctx, &c.key, func(o *outcome) ([]byte, **connect.Schema, *connect.Value) {
		return o.in.Key, &o.record.KeySchema, &o.record.Key
	})
	c.decodeFar(ctx, &c.value, func(o *outcome) ([]byte, **connect.Schema, *connect.Value) {
		return o.in.Value, &o.record.ValueSchema, &o.record.Value
	})
	c.applyAhead(ctx)
}

// decodeFar has a far converter read a part of all records: part tells its bytes, and where
// what they mean belongs.
func (c *chain) decodeFar(ctx context.Context, conv *converter, part func(o *outcome) ([]byte, **connect.Schema, *connect.Value)) {
	if conv.far == nil {
		return
	}
	of := c.kept()
	records := make([]*connect.Record, len(of))
	for i, o := range of {
		records[i] = &connect.Record{Topic: o.in.Topic}
		if data, _, _ := part(o); data != nil {
			records[i].Value = connect.Bytes(data)
		}
	}
	_, bad := c.each(ctx, conv.at, records, converting(conv.far.DecodeAll))
	for i, o := range of {
		_, schema, value := part(o)
		*schema, *value, o.bad = records[i].ValueSchema, records[i].Value, bad[i]
	}
}

// sendAhead transforms the records that go ahead, and has far converters write them.
func (c *chain) sendAhead(ctx context.Context) {
	c.applyAhead(ctx)
	c.encodeFar(ctx, &c.key, func(o *outcome) (piece, *[]byte) {
		return piece{o.record.Topic, o.record.KeySchema, o.record.Key}, &o.key
	})
	c.encodeFar(ctx, &c.value, func(o *outcome) (piece, *[]byte) {
		return piece{o.record.Topic, o.record.ValueSchema, o.record.Value}, &o.value
	})
}

// encodeFar has a far converter write a part of all records.
func (c *chain) encodeFar(ctx context.Context, conv *converter, part func(o *outcome) (piece, *[]byte)) {
	if conv.far == nil {
		return
	}
	of := c.kept()
	records := make([]*connect.Record, len(of))
	for i, o := range of {
		p, _ := part(o)
		records[i] = &connect.Record{Topic: p.topic, ValueSchema: p.schema, Value: p.value}
	}
	_, bad := c.each(ctx, conv.at, records, converting(conv.far.EncodeAll))
	for i, o := range of {
		if o.bad = bad[i]; o.bad == nil && !records[i].Value.IsNull() {
			_, data := part(o)
			*data = records[i].Value.Bytes()
		}
	}
}

// converting is a converter's call as one of [many].
func converting(all func(context.Context, []*connect.Record) ([]error, error)) applying {
	return func(ctx context.Context, records []*connect.Record) ([]bool, []error, error) {
		bad, err := all(ctx, records)
		return make([]bool, len(records)), bad, err
	}
}

func (c *chain) decodeGuarded(ctx context.Context, in *kgo.Record, r *connect.Record) (bad *fault) {
	defer c.rescue(&bad)
	return c.decode(ctx, in, r)
}

// transformed returns what becomes of a source's record in a chain with a far plugin: what
// is known since it went ahead, or what becomes of it by itself.
func (c *chain) transformed(ctx context.Context, r *connect.Record) (bool, *fault) {
	o := c.ahead.pop()
	if o == nil || o.record != r {
		c.ahead.begin()
		c.ahead.add(r, nil)
		c.sendAhead(ctx)
		o = c.ahead.pop()
	}
	return o.keep, o.bad
}

// applyAhead takes the records that go ahead through the steps, all through one before the
// next.
func (c *chain) applyAhead(ctx context.Context) {
	for i := range c.steps {
		s := &c.steps[i]
		of := c.kept()
		if s.predicate != nil {
			holds := c.ask(ctx, s, manyTests(s.predicate), of)
			applies := make([]*outcome, 0, len(of))
			for i, o := range of {
				if o.bad == nil && holds[i] != s.negate {
					applies = append(applies, o)
				}
			}
			of = applies
		}
		keeps := c.ask(ctx, s, manyOf(s.transform), of)
		for i, o := range of {
			o.keep = o.bad == nil && keeps[i]
			if o.record.Topic != "" {
				continue
			}
			// Without a topic it would pass for a mark of the source's position.
			o.record.Topic = o.topic
			if o.keep {
				o.keep, o.bad = false, &fault{s.at, &connect.Error{Code: "transform.topic", Class: connect.ClassRecord, Message: "the transform has left the record without a topic"}}
			}
		}
	}
}

// ask has a step look at records. What is wrong with one is put beside it.
func (c *chain) ask(ctx context.Context, s *step, m many, of []*outcome) []bool {
	records := make([]*connect.Record, len(of))
	for i, o := range of {
		records[i] = o.record
	}
	yes, bad := c.each(ctx, s.at, records, m.ApplyAll)
	for i, o := range of {
		o.bad = bad[i]
	}
	return yes
}

// applying is the method of [many].
type applying func(ctx context.Context, records []*connect.Record) (yes []bool, bad []error, err error)

// each has records looked at together, and those by themselves again with which something
// is wrong that may pass. Behind one that ends the task none is tried again: what is to be
// told of that one must not wait for them.
func (c *chain) each(ctx context.Context, at site, records []*connect.Record, all applying) ([]bool, []*fault) {
	faults := make([]*fault, len(records))
	if len(records) == 0 {
		return nil, faults
	}
	yes, bad, err := all(ctx, records)
	if err != nil {
		c.faults.metrics.fail()
		for i := range faults {
			faults[i] = &fault{at, &brokenStep{err}}
		}
		return nil, faults
	}
	over := false
	for i := range records {
		if bad == nil || bad[i] == nil {
			continue
		}
		if over {
			faults[i] = &fault{at, bad[i]}
			continue
		}
		faults[i] = c.faults.retry(ctx, at, bad[i], func() error {
			again, bad, err := all(ctx, records[i:i+1])
			switch {
			case err != nil:
				return &brokenStep{err}
			case bad != nil && bad[0] != nil:
				return bad[0]
			}
			yes[i] = again[0]
			return nil
		})
		over = faults[i] != nil && c.faults.ends(faults[i])
	}
	return yes, faults
}
