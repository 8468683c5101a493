package reset_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/internal/devstack"
	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/reset"
	"github.com/tidemill/tidemill/streams/serde"
	"github.com/tidemill/tidemill/streams/topics"
)

// shop is a broker with an application that counts what is in topic reset-in.
type shop struct {
	t       *testing.T
	ctx     context.Context
	brokers []string
	client  *topics.Client
	dir     string
	began   time.Time // The time of the records, which brokers take away when it is old.
}

func newShop(t *testing.T) *shop {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	s := &shop{t: t, ctx: ctx, brokers: devstack.TestKafka(t), dir: t.TempDir(), began: time.Now().Truncate(time.Millisecond)}
	var err error
	if s.client, err = topics.Open(s.brokers); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.client.Close)
	s.ok(s.client.Delete(ctx, "reset-in", "reset-out", "shop-words-repartition", "shop-counts-changelog"))
	s.ok(s.client.DeleteGroup(ctx, "shop"))
	s.ok(s.client.Create(ctx, topics.Spec{Name: "reset-in", Partitions: 2}))
	s.ok(s.client.Create(ctx, topics.Spec{Name: "reset-out", Partitions: 1}))
	return s
}

func (s *shop) ok(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *shop) put(words ...string) {
	s.t.Helper()
	for i, w := range words {
		s.ok(s.client.Produce(s.ctx, &topics.Record{Topic: "reset-in", Key: []byte(fmt.Sprint(i)), Value: []byte(w), Timestamp: s.began}))
	}
}

// counted runs the application until word has been counted to n.
func (s *shop) counted(word string, n int64, while func()) {
	s.t.Helper()
	b := streams.NewBuilder()
	in := streams.From(b, "reset-in", serde.Text{}, serde.Text{})
	streams.GroupBy(in, func(_, w string) string { return w }, serde.Text{}, serde.Text{}, streams.With{Name: "words"}).
		Count(streams.With{Store: "counts"}).ToStream().To("reset-out", serde.Text{}, serde.Int64{})
	topology, err := b.Build()
	s.ok(err)
	e, err := streams.OpenEngine(streams.Config{Brokers: s.brokers, Dir: s.dir})
	s.ok(err)
	s.ok(e.Add(streams.App{ID: "shop", Topology: topology}))
	ctx, cancel := context.WithCancel(s.ctx)
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	for s.last(word) != n {
		s.ok(s.ctx.Err())
	}
	if while != nil {
		while()
	}
	cancel()
	s.ok(<-done)
}

// last is what a word was counted to last.
func (s *shop) last(word string) (n int64) {
	s.t.Helper()
	s.ok(s.client.Read(s.ctx, "reset-out", topics.ToEnd, func(r *topics.Record) (bool, error) {
		if string(r.Key) == word {
			n = int64(binary.BigEndian.Uint64(r.Value))
		}
		return true, nil
	}))
	return n
}

func (s *shop) plan(o reset.Options) *reset.Plan {
	s.t.Helper()
	o.App, o.Brokers, o.Dir = "shop", s.brokers, s.dir
	p, err := reset.Prepare(s.ctx, o)
	s.ok(err)
	return p
}

// TestReset looks, changes nothing by looking, and takes an application back so that it
// counts everything anew.
func TestReset(t *testing.T) {
	s := newShop(t)
	s.put("a", "b", "a")
	s.counted("a", 2, func() {
		// While it runs neither its directory nor its group can be touched.
		if _, err := reset.Prepare(s.ctx, reset.Options{App: "shop", Brokers: s.brokers, Dir: s.dir}); code(err) != "streams.dir" {
			t.Errorf("looking into a directory in use gave %v", err)
		}
		p, err := reset.Prepare(s.ctx, reset.Options{App: "shop", Brokers: s.brokers})
		s.ok(err)
		if err := p.Run(s.ctx); code(err) != "streams.reset.running" || len(p.Members) != 1 {
			t.Errorf("a reset of what runs gave %v; members %v", err, p.Members)
		}
	})
	p := s.plan(reset.Options{})
	text := p.String()
	for _, want := range []string{
		"offset   reset-in, partition 0: ", "offset   reset-in, partition 1: ", "topic    shop-counts-changelog: deleted",
		"topic    shop-words-repartition: deleted", "state    shop/: deleted", "state    shop/counts: deleted",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing from\n%s", want, text)
		}
	}
	if len(p.Offsets) != 2 || p.Offsets[0].To != -1 || len(p.InternalTopics) != 2 || len(p.Stores) != 2 {
		t.Errorf("the plan is %+v", p)
	}
	s.put("a")
	s.counted("a", 3, nil) // Nothing was changed.
	s.ok(s.plan(reset.Options{}).Run(s.ctx))
	if p := s.plan(reset.Options{}); !strings.Contains(p.String(), "there is nothing of it") {
		t.Errorf("left is\n%s", p)
	}
	s.put("b")
	s.counted("b", 2, nil)
	if n := s.last("a"); n != 3 {
		t.Errorf("a was counted to %d, want 3 again", n)
	}
}

// TestResetTo goes on from the end, and from points in time.
func TestResetTo(t *testing.T) {
	s := newShop(t)
	s.put("a", "a", "a")
	s.counted("a", 3, nil)
	p := s.plan(reset.Options{From: reset.Latest})
	if got := p.Offsets[0].To + p.Offsets[1].To; got != 3 {
		t.Errorf("to latest moves to %+v", p.Offsets)
	}
	s.ok(p.Run(s.ctx))
	s.put("a")
	s.counted("a", 1, nil)
	if got := s.plan(reset.Options{From: reset.At, Time: time.UnixMilli(1)}).Offsets; got[0].To != 0 || got[1].To != 0 {
		t.Errorf("to the epoch moves to %+v", got)
	}
	if got := s.plan(reset.Options{From: reset.At, Time: s.began.Add(time.Millisecond)}).Offsets; got[0].To+got[1].To != 4 {
		t.Errorf("to a time after all records moves to %+v", got)
	}
}

func code(err error) string {
	if e, ok := errors.AsType[*connect.Error](err); ok {
		return e.Code
	}
	return fmt.Sprint(err)
}
