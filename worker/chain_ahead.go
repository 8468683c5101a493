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
	many
	// Open is called before Configure. life is how long the task lives, log is its log.
	Open(life context.Context, log *slog.Logger)
	Close() error
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

// brokenStep is the error of a step that no record is to blame for. It says nothing more.
type brokenStep struct{ error }

// Unwrap returns the error.
func (b *brokenStep) Unwrap() error { return b.error }

// ahead are records that went through the steps together, before each has its turn.
type ahead struct {
	outcomes []outcome
	next     int
}

// outcome is what has become of a record.
type outcome struct {
	record *connect.Record
	topic  string // Before the steps.
	keep   bool
	bad    *fault
}

// begin forgets the records of the batch before.
func (a *ahead) begin() {
	clear(a.outcomes)
	a.outcomes, a.next = a.outcomes[:0], 0
}

func (a *ahead) add(r *connect.Record, bad *fault) {
	a.outcomes = append(a.outcomes, outcome{record: r, topic: r.Topic, keep: bad == nil, bad: bad})
}

// pop returns the outcome of the record whose turn it is, nil when none went ahead.
func (a *ahead) pop() *outcome {
	if a == nil || a.next == len(a.outcomes) {
		return nil
	}
	a.next++
	return &a.outcomes[a.next-1]
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

// readAhead converts consumed records and transforms them together, when a step is far.
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
		if bad != nil && c.faults.ends(bad) {
			break
		}
	}
	c.applyAhead(ctx)
}

func (c *chain) decodeGuarded(ctx context.Context, in *kgo.Record, r *connect.Record) (bad *fault) {
	defer c.rescue(&bad)
	return c.decode(ctx, in, r)
}

// transformed returns what becomes of a record in a chain with a far step: what is known
// since it went ahead, or what becomes of it by itself.
func (c *chain) transformed(ctx context.Context, r *connect.Record) (bool, *fault) {
	o := c.ahead.pop()
	if o == nil || o.record != r {
		c.ahead.begin()
		c.ahead.add(r, nil)
		c.applyAhead(ctx)
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

// ask has a step look at records. What is wrong with one is put beside it. Behind one that
// ends the task none is tried again: what is to be told of that one must not wait for them.
func (c *chain) ask(ctx context.Context, s *step, m many, of []*outcome) []bool {
	if len(of) == 0 {
		return nil
	}
	records := make([]*connect.Record, len(of))
	for i, o := range of {
		records[i] = o.record
	}
	yes, bad, err := m.ApplyAll(ctx, records)
	if err != nil {
		c.faults.metrics.fail()
		for _, o := range of {
			o.bad = &fault{s.at, &brokenStep{err}}
		}
		return nil
	}
	over := false
	for i, o := range of {
		if bad == nil || bad[i] == nil {
			continue
		}
		if over {
			o.bad = &fault{s.at, bad[i]}
			continue
		}
		o.bad = c.faults.retry(ctx, s.at, bad[i], func() error {
			again, bad, err := m.ApplyAll(ctx, records[i:i+1])
			switch {
			case err != nil:
				return &brokenStep{err}
			case bad != nil && bad[0] != nil:
				return bad[0]
			}
			yes[i] = again[0]
			return nil
		})
		over = o.bad != nil && c.faults.ends(o.bad)
	}
	return yes
}
