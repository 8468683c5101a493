package streamstest_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/clock"
)

// scripted is an operator made of functions.
type scripted struct {
	c *streams.Context[string, int64]
}

func (p *scripted) forward(r rec) error { return p.c.Forward(&r) }

func pass(p *scripted, r rec) error { return p.forward(r) }

func begins(init func(*scripted) error, process func(*scripted, rec) error) func(*streams.Context[string, int64]) (func(*rec) error, error) {
	return func(c *streams.Context[string, int64]) (func(*rec) error, error) {
		p := &scripted{c: c}
		if init != nil {
			if err := init(p); err != nil {
				return nil, err
			}
		}
		return func(r *rec) error { return process(p, *r) }, nil
	}
}

func processed(in stream, init func(*scripted) error, process func(*scripted, rec) error, opts ...streams.With) stream {
	return streams.Process(in, begins(init, process), opts...)
}

// TestStreamTimePunctuation is cut at multiples of the interval, begins with the first
// record, does what was missed once, and does not go back with a late record.
func TestStreamTimePunctuation(t *testing.T) {
	b := streams.NewBuilder()
	var cancel func()
	processed(streams.From(b, "in", text{}, num{}), func(p *scripted) (err error) {
		cancel, err = p.c.Schedule(10*time.Millisecond, clock.StreamTime, func(ms int64) error {
			if _, _, _, ok := p.c.RecordMetadata(); ok {
				return errors.New("there is a record in a punctuation")
			}
			return p.forward(rec{Key: "tick", Value: p.c.StreamTime(), Time: ms})
		})
		return err
	}, pass).To("out", text{}, num{})
	d := build(t, b)
	for _, step := range []struct{ in, want string }{
		{"a=1@3", "a=1@3 tick=3@3"},
		{"a=1@9", "a=1@9"},
		{"a=1@10", "a=1@10 tick=10@10"},
		{"a=1@2", "a=1@2"},
		{"a=1@47", "a=1@47 tick=47@47"}, // Three were missed.
		{"a=1@49", "a=1@49"},
		{"a=1@51", "a=1@51 tick=51@51"},
	} {
		feed(t, d, "in", step.in)
		gives(t, d, "out", step.want)
	}
	d.Advance(time.Hour)
	gives(t, d, "out", "")
	cancel()
	feed(t, d, "in", "a=1@100")
	gives(t, d, "out", "a=1@100")
}

// TestWallClockPunctuation waits one interval from the start, and does what was missed
// once.
func TestWallClockPunctuation(t *testing.T) {
	b := streams.NewBuilder()
	var cancel func()
	start := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()
	processed(streams.From(b, "in", text{}, num{}), func(p *scripted) (err error) {
		cancel, err = p.c.Schedule(10*time.Millisecond, clock.WallClock, func(ms int64) error {
			if p.c.Now().UnixMilli() != ms {
				return fmt.Errorf("the clock shows %d in the punctuation of %d", p.c.Now().UnixMilli(), ms)
			}
			return p.forward(rec{Key: "tick", Value: ms - start})
		})
		return err
	}, pass).To("out", text{}, num{})
	d := build(t, b)
	for _, step := range []struct {
		by   time.Duration
		want string
	}{{9, ""}, {1, "tick=10@0"}, {9, ""}, {2, "tick=21@0"}, {44, "tick=65@0"}, {4, ""}, {1, "tick=70@0"}} {
		d.Advance(step.by * time.Millisecond)
		gives(t, d, "out", step.want)
	}
	feed(t, d, "in", "a=1@1000000")
	gives(t, d, "out", "a=1@1000000")
	cancel()
	d.Advance(time.Hour)
	gives(t, d, "out", "")
}

// TestPunctuationCancelsItself stops from within, and starts another.
func TestPunctuationCancelsItself(t *testing.T) {
	b := streams.NewBuilder()
	processed(streams.From(b, "in", text{}, num{}), func(p *scripted) error {
		var cancel func()
		again := func(ms int64) error { return p.forward(rec{Key: "second", Value: ms}) }
		var err error
		cancel, err = p.c.Schedule(5*time.Millisecond, clock.StreamTime, func(ms int64) error {
			cancel()
			_, err := p.c.Schedule(100*time.Millisecond, clock.StreamTime, again)
			return errors.Join(err, p.forward(rec{Key: "first", Value: ms}))
		})
		return err
	}, func(*scripted, rec) error { return nil }).To("out", text{}, num{})
	d := build(t, b)
	feed(t, d, "in", "a=1@50 a=1@60 a=1@99 a=1@101")
	gives(t, d, "out", "first=50@0 second=50@0 second=101@0")
}

func TestScheduleRefuses(t *testing.T) {
	for _, every := range []time.Duration{0, -time.Second, time.Microsecond} {
		b := streams.NewBuilder()
		processed(streams.From(b, "in", text{}, num{}), func(p *scripted) error {
			_, err := p.c.Schedule(every, clock.WallClock, func(int64) error { return nil })
			return err
		}, pass)
		topology, err := b.Build()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := streams.NewLocal(topology, "x"); err == nil {
			t.Errorf("every %v was accepted", every)
		}
	}
}

// TestRecordMetadata asks where a record is, in both sub-topologies it passes.
func TestRecordMetadata(t *testing.T) {
	b := streams.NewBuilder()
	var seen []string
	note := func(p *scripted, r rec) error {
		topic, partition, offset, ok := p.c.RecordMetadata()
		seen = append(seen, fmt.Sprintf("%s/%d/%d/%v in task %s of %s with %d headers", topic, partition, offset, ok, p.c.TaskID(), p.c.ApplicationID(), len(r.Headers)))
		r.Headers = append(r.Headers, streams.Header{Key: "h"})
		return p.forward(r)
	}
	one := processed(streams.From(b, "in", text{}, num{}), nil, note, streams.With{Name: "one"})
	processed(one.Repartition(text{}, num{}, streams.With{Name: "again"}), nil, note)
	d := build(t, b)
	feed(t, d, "in", "a=1@3 b=2@1")
	want := []string{
		"in/0/0/true in task 0_0 of test with 0 headers", "test-again-repartition/0/0/true in task 1_0 of test with 1 headers",
		"in/0/1/true in task 0_0 of test with 0 headers", "test-again-repartition/0/1/true in task 1_0 of test with 1 headers",
	}
	if !reflect.DeepEqual(seen, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(seen, "\n"), strings.Join(want, "\n"))
	}
}

// TestForwardTo sends each record to one of several operators.
func TestForwardTo(t *testing.T) {
	b := streams.NewBuilder()
	out := processed(streams.From(b, "in", text{}, num{}), nil, func(p *scripted, r rec) error {
		return p.c.ForwardTo(r.Key, &r)
	}, streams.With{Name: "router"})
	out.Filter(func(string, int64) bool { return true }, streams.With{Name: "left"}).To("l", text{}, num{})
	out.To("r", text{}, num{}, streams.With{Name: "right"})
	topology, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	local, err := streams.NewLocal(topology, "x")
	if err != nil {
		t.Fatal(err)
	}
	put(t, local, "in", "left=1@5 right=2@1 left=3@7")
	if err := local.Commit(); err != nil {
		t.Fatal(err)
	}
	if got := taken(t, local, "l") + ", " + taken(t, local, "r"); got != "left=1@5 left=3@7, right=2@1" {
		t.Errorf("got %s", got)
	}
	put(t, local, "in", "middle=1@5")
	if err := local.Commit(); err == nil || !strings.Contains(err.Error(), `followed by left, right, not by "middle"`) {
		t.Errorf("an unknown operator gave %v", err)
	}
}

// TestRequestCommit makes what is cached leave without a commit from outside.
func TestRequestCommit(t *testing.T) {
	b := streams.NewBuilder()
	counts := processed(streams.From(b, "in", text{}, num{}), nil, func(p *scripted, r rec) error {
		if r.Value == 0 {
			p.c.RequestCommit()
		}
		return p.forward(r)
	}).GroupByKey(text{}, num{}).Count(streams.With{Store: "counts"})
	counts.ToStream().To("out", text{}, num{})
	d := build(t, b)
	d.Hold()
	feed(t, d, "in", "a=1 a=1")
	gives(t, d, "out", "")
	feed(t, d, "in", "a=0@2")
	gives(t, d, "out", "a=3@2")
}

// TestFixedKeyInPunctuation has no key to forward.
func TestFixedKeyInPunctuation(t *testing.T) {
	b := streams.NewBuilder()
	streams.Process(streams.From(b, "in", text{}, num{}), begins(func(p *scripted) error {
		_, err := p.c.Schedule(time.Second, clock.StreamTime, func(int64) error { return p.forward(rec{Key: "k"}) })
		return err
	}, pass), streams.With{FixedKey: true}).To("out", text{}, num{})
	topology, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	err = runScript(t, topology, "a=1@5", "a=1@5")
	if err == nil || !strings.Contains(err.Error(), "has none to pass on") {
		t.Errorf("got %v", err)
	}
}

// TestUnknownStore wants a store that was not declared.
func TestUnknownStore(t *testing.T) {
	b := streams.NewBuilder()
	processed(streams.From(b, "in", text{}, num{}), func(p *scripted) error {
		_, err := p.c.Store("none")
		return err
	}, pass)
	topology, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := streams.NewLocal(topology, "x"); err == nil {
		t.Error("a store that was not declared was found")
	}
}

// failing fails on some records, each in its way.
func failing(p *scripted, r rec) error {
	switch r.Value {
	case -1:
		return errors.New("negative")
	case -2:
		return &connect.Error{Code: "db.down", Class: connect.ClassRetriable, Message: "the database is away"}
	case -3:
		return &connect.Error{Code: "shop.closed", Class: connect.ClassRecord, Message: "the shop is closed"}
	}
	return p.forward(r)
}
