package live

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidemill/tidemill/connect"
	rows "github.com/tidemill/tidemill/streams/query"
	"github.com/tidemill/tidemill/streams/sql"
)

// source is a query whose rows the test gives, in one partition of one topic. Its rows have
// no columns: what they are is told by their keys and ids.
type source struct {
	table bool
	steps chan func(sql.Follower) error

	mu   sync.Mutex
	from []rows.Position // of each run
}

func newSource(table bool) *source {
	return &source{table: table, steps: make(chan func(sql.Follower) error)}
}

func (s *source) run(ctx context.Context, from rows.Position, to sql.Follower) error {
	s.mu.Lock()
	s.from = append(s.from, from)
	s.mu.Unlock()
	if err := to.Begin(sql.Header{}, s.table); err != nil {
		return err
	}
	if from != nil {
		if err := to.Current(from); err != nil {
			return err
		}
		for next := from["t"][0] + 1; next <= 40; next++ {
			if err := record(next)(to); err != nil {
				return err
			}
		}
	}
	for {
		select {
		case step := <-s.steps:
			if err := step(to); err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// record changes the row of one of three keys.
func record(next int64) func(sql.Follower) error {
	return func(to sql.Follower) error {
		if err := to.Row(sql.Row{}, fmt.Append(nil, next%3)); err != nil {
			return err
		}
		return to.Passed("t", 0, next)
	}
}

func current(next int64) func(sql.Follower) error {
	return func(to sql.Follower) error { return to.Current(rows.Position{"t": {0: next}}) }
}

func code(err error) any { return connect.AsError(err).Code }

// reader is a client. What it was sent is in words: the kinds of the events and their ids.
type reader struct {
	got  chan string
	gone context.CancelFunc
	end  chan error
}

func follow(t *testing.T, h *Hub, s *source, after string) *reader {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r := &reader{got: make(chan string, 10_000), gone: cancel, end: make(chan error, 1)}
	go func() {
		r.end <- h.Serve(ctx, Request{Key: "k", Run: s.run, After: after, Fault: code}, func(b []byte) error {
			for _, event := range strings.Split(strings.TrimSuffix(string(b), "\n\n"), "\n\n") {
				_, kind, _ := strings.Cut(event, "event: ")
				kind, _, _ = strings.Cut(kind, "\n")
				if _, id, has := strings.Cut(event, "\nid: "); has {
					kind += " " + id
				}
				r.got <- kind
			}
			return nil
		})
	}()
	t.Cleanup(cancel)
	return r
}

// want reads events until there are as many as are wanted.
func (r *reader) want(t *testing.T, want ...string) {
	t.Helper()
	for i, w := range want {
		select {
		case got := <-r.got:
			if got != w {
				t.Fatalf("event %d is %q and should be %q", i, got, w)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("event %d does not come, which should be %q", i, w)
		}
	}
}

// TestTable gives each client the rows there are, in the order they came, and what becomes
// of them; one that was here before gets what it has missed.
func TestTable(t *testing.T) {
	h, s := New(Limits{}), newSource(true)
	defer h.Close()
	one := follow(t, h, s, "")
	one.want(t, "begin")
	for next := range int64(4) {
		s.steps <- record(next + 1)
	}
	s.steps <- current(4)
	one.want(t, "reset", "row", "row", "row", "current 4")
	s.steps <- record(5)
	one.want(t, "row 5")
	two := follow(t, h, s, "")
	two.want(t, "begin", "reset", "row", "row", "row", "current 5")
	s.steps <- func(to sql.Follower) error {
		if err := to.Row(sql.Row{Tombstone: true}, []byte("1")); err != nil {
			return err
		}
		return record(6)(to)
	}
	for _, r := range []*reader{one, two} {
		r.want(t, "delete", "row 6")
	}
	two.gone()
	s.steps <- record(7)
	s.steps <- record(9)
	one.want(t, "row 7", "row 9")
	follow(t, h, s, "6").want(t, "begin", "row 7", "row 9")
	follow(t, h, s, "8").want(t, "begin", "row 9") // The position of another process.
	follow(t, h, s, "3").want(t, "begin", "reset", "row", "row", "row", "current 9")
	follow(t, h, s, "12").want(t, "begin", "reset", "row", "row", "row", "current 9")
	follow(t, h, s, "5/3").want(t, "begin", "reset", "row", "row", "row", "current 9")
	if len(s.from) != 1 {
		t.Errorf("the query runs %d times", len(s.from))
	}
}

// TestSlow cuts off a client that is behind by more than the ring has, and nobody waits for
// it. With the id it has seen it begins with all rows.
func TestSlow(t *testing.T) {
	h, s := New(Limits{Ring: 1 << 10}), newSource(true)
	defer h.Close()
	s2 := make(chan struct{})
	var last string
	end := make(chan error, 1)
	go func() {
		end <- h.Serve(t.Context(), Request{Key: "k", Run: s.run, Fault: code}, func(b []byte) error {
			if strings.Contains(string(b), "event: current") {
				<-s2
			}
			last = string(b)
			return nil
		})
	}()
	quick := follow(t, h, s, "")
	s.steps <- current(0)
	quick.want(t, "begin", "reset", "current 0")
	for next := range int64(200) {
		s.steps <- record(next + 1)
		quick.want(t, fmt.Sprintf("row %d", next+1))
	}
	close(s2)
	if err := <-end; connect.AsError(err).Code != "live.slow" || !strings.Contains(last, "live.slow") {
		t.Errorf("the slow one is told %v, %s", err, last)
	}
	follow(t, h, s, "0").want(t, "begin", "reset", "row", "row", "row", "current 200")
}

// TestStream gives what is new, and to one that was here before, also long ago, what it has
// missed: the query runs for it alone, at its pace, from where it was.
func TestStream(t *testing.T) {
	h, s := New(Limits{Ring: 100}), newSource(false)
	defer h.Close()
	one := follow(t, h, s, "")
	one.want(t, "begin")
	s.steps <- current(30)
	one.want(t, "current 30")
	for next := int64(31); next <= 40; next++ {
		s.steps <- record(next)
		one.want(t, fmt.Sprintf("row %d", next))
	}
	want := []string{"begin"}
	for next := 11; next <= 40; next++ {
		want = append(want, fmt.Sprintf("row %d", next))
	}
	follow(t, h, s, "10").want(t, want...)
	if len(s.from) != 2 || s.from[1]["t"][0] != 10 {
		t.Errorf("the query runs from %v", s.from)
	}
	if err := <-follow(t, h, s, "x").end; connect.AsError(err).Code != "live.id" {
		t.Errorf("an id that is none gives %v", err)
	}
}

// TestLimits bounds the rows of a query and the number of queries; a query ends with its last
// client, after a while.
func TestLimits(t *testing.T) {
	h, s := New(Limits{Rows: 2 * (rowOverhead + 100), Queries: 1, Linger: time.Millisecond}), newSource(true)
	defer h.Close()
	r := follow(t, h, s, "")
	r.want(t, "begin")
	if err := h.Serve(t.Context(), Request{Key: "another", Run: s.run}, nil); connect.AsError(err).Code != "live.too_many_queries" {
		t.Errorf("a second query gives %v", err)
	}
	for next := range int64(3) {
		s.steps <- record(next + 1)
	}
	r.want(t, "fault")
	if err := <-r.end; connect.AsError(err).Code != "live.too_many_rows" {
		t.Errorf("too many rows give %v", err)
	}
	r = follow(t, h, s, "")
	r.want(t, "begin")
	r.gone()
	<-r.end
	for left := 1; left > 0; {
		h.mu.Lock()
		left = len(h.feeds)
		h.mu.Unlock()
	}
}

// TestPaces has clients that come and go at any time see the same last state.
func TestPaces(t *testing.T) {
	h, s := New(Limits{Ring: 8 << 10}), newSource(true)
	defer h.Close()
	first := follow(t, h, s, "")
	s.steps <- current(0)
	const last = 3000
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			after := ""
			for {
				ctx, cancel := context.WithCancel(t.Context())
				n := 0
				_ = h.Serve(ctx, Request{Key: "k", Run: s.run, After: after, Fault: code}, func(b []byte) error {
					if at := strings.LastIndex(string(b), "\nid: "); at >= 0 {
						was := after
						after, _, _ = strings.Cut(string(b)[at+5:], "\n")
						if len(after) < len(was) || len(after) == len(was) && after < was {
							t.Errorf("after %s comes %s", was, after)
						}
					}
					if n++; n > 3+i || after == fmt.Sprint(last) {
						cancel()
					}
					return nil
				})
				cancel()
				if after == fmt.Sprint(last) {
					return
				}
			}
		})
	}
	for next := range int64(last) {
		s.steps <- record(next + 1)
	}
	all.Wait()
	first.gone()
}
