package live

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tidemill/tidemill/connect"
	rows "github.com/tidemill/tidemill/streams/query"
	"github.com/tidemill/tidemill/streams/sql"
)

// Limits bound what subscriptions take.
type Limits struct {
	// Rows is how many bytes the rows of one query may take, 64 MiB when zero; Ring how many
	// its last changes do, 4 MiB when zero.
	Rows, Ring int64
	// Queries is how many different ones may run at a time, 100 when zero.
	Queries int
	// Linger is how long a query goes on whose last client has gone, so that one which comes
	// back finds what it has missed; 30 seconds when zero.
	Linger time.Duration
}

// Hub runs each query that is subscribed to once. It is used by any number of goroutines.
type Hub struct {
	limits Limits

	mu    sync.Mutex
	feeds map[string]*feed
}

// New returns a Hub that runs nothing yet.
func New(l Limits) *Hub {
	if l.Rows == 0 {
		l.Rows = 64 << 20
	}
	if l.Ring == 0 {
		l.Ring = 4 << 20
	}
	if l.Queries == 0 {
		l.Queries = 100
	}
	if l.Linger == 0 {
		l.Linger = 30 * time.Second
	}
	return &Hub{limits: l, feeds: map[string]*feed{}}
}

// Request is what a client wants.
type Request struct {
	// Key is the same for clients that may share a run of their query.
	Key string
	// Run runs the query, of streams from a position on where one is given.
	Run func(ctx context.Context, from rows.Position, to sql.Follower) error
	// Fault is what the event of an error says, as JSON.
	Fault func(error) any
	// After is the id of the last event that the client has seen; empty: it has none.
	After string
}

// beat is how often a client is written to that nothing happens for.
const beat = 15 * time.Second

// Serve sends a client its rows and what becomes of them, until ctx is done or writing
// fails, which are no errors, or the query ends. write gets whole events, sends them at once
// and must not keep them. When it was never called, the error says why the query cannot be
// run; later errors are sent as events too.
func (h *Hub) Serve(ctx context.Context, r Request, write func([]byte) error) error {
	f, err := h.join(r)
	if err != nil {
		return err
	}
	defer func() { h.leave(r.Key, f) }()
	if !wait(ctx, f.begun) {
		return nil
	}
	c := &client{f: f, write: write, fault: r.Fault}
	if len(f.begin) > 0 && r.After == "" {
		// Reading all rows of a table may take a while: the client knows that it is heard.
		if c.send(f.begin) != nil {
			return nil
		}
	}
	if !wait(ctx, f.current) {
		return nil
	}
	behind, err := c.place(r.After)
	if err == nil && behind != nil {
		h.leave(r.Key, f)
		f = h.alone(r, behind)
		if !wait(ctx, f.current) {
			return nil
		}
		c.f = f
		_, err = c.place(r.After)
	}
	if err != nil {
		return c.end(err)
	}
	return c.follow(ctx)
}

// wait tells whether c was closed before ctx was done.
func wait(ctx context.Context, c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	case <-ctx.Done():
		return false
	}
}

// join returns the feed of a query and counts a client of it.
func (h *Hub) join(r Request) (*feed, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f := h.feeds[r.Key]
	if f == nil || f.over() {
		if len(h.feeds) >= h.limits.Queries {
			return nil, &connect.Error{
				Code: "live.too_many_queries", Class: connect.ClassRetriable, Place: "a subscription",
				Message: fmt.Sprintf("%d different queries are subscribed to", len(h.feeds)), Mend: "share queries, or end some",
			}
		}
		f = h.start(r, nil, newFeed(h.limits, false))
		h.feeds[r.Key] = f
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.clients++
	return f, nil
}

// alone returns a feed for one client.
func (h *Hub) alone(r Request, from rows.Position) *feed {
	f := newFeed(h.limits, true)
	f.clients = 1
	return h.start(r, from, f)
}

func (h *Hub) start(r Request, from rows.Position, f *feed) *feed {
	ctx, cancel := context.WithCancel(context.Background())
	f.cancel = cancel
	go f.run(ctx, func(ctx context.Context, to sql.Follower) error { return r.Run(ctx, from, to) })
	return f
}

func (f *feed) over() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err != nil
}

// leave counts a client less. A feed without clients ends, after a while where others may come.
func (h *Hub) leave(key string, f *feed) {
	f.mu.Lock()
	f.clients--
	none := f.clients == 0
	f.mu.Unlock()
	switch {
	case !none:
	case f.alone:
		f.stop()
	case f.over():
		h.idle(key, f)
	default:
		time.AfterFunc(h.limits.Linger, func() { h.idle(key, f) })
	}
}

// idle ends a feed that nobody has come to meanwhile.
func (h *Hub) idle(key string, f *feed) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f.mu.Lock()
	used := f.clients > 0
	f.mu.Unlock()
	if used {
		return
	}
	if h.feeds[key] == f {
		delete(h.feeds, key)
	}
	f.stop()
}

// stop ends the run.
func (f *feed) stop() {
	f.cancel()
	select {
	case f.read <- struct{}{}: // It may wait for its client.
	default:
	}
}

// Close ends all queries, and with them what clients are sent.
func (h *Hub) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for key, f := range h.feeds {
		delete(h.feeds, key)
		f.stop()
	}
}

// client is one of those who follow a feed.
type client struct {
	f     *feed
	write func([]byte) error
	fault func(error) any
	begun bool
	next  int           // the number of the next page
	seen  rows.Position // how far it had come, as long as it reads pages from before it came
	upTo  int           // the first page that it sees whole
	rows  [][]byte      // that it is sent first
	id    []byte        // of what they are; nil: there is no need to say
}

// place decides where a client begins that has seen the event with an id. behind is how far
// it had come when that is further back than the ring of a stream reaches.
func (c *client) place(after string) (behind rows.Position, err error) {
	f := c.f
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return nil, f.err
	}
	f.publish() // What is in no page yet is in the rows.
	if after != "" {
		at, err := readID(after, f.at)
		switch {
		case err == nil && f.reaches(at):
			c.seen, c.next, c.upTo = at, f.first, f.first+len(f.ring)
			return nil, nil
		case err != nil && !f.table:
			return nil, &connect.Error{Code: "live.id", Class: connect.ClassConfig, Place: "Last-Event-ID", Message: "the id is not one of an event of this query",
				Mend: "begin without an id"}
		case err == nil && !f.table:
			return at, nil
		}
	}
	c.next = f.first + len(f.ring)
	for e := f.order.Front(); e != nil; e = e.Next() {
		c.rows = append(c.rows, e.Value.(*folded).data)
	}
	c.id = appendID(nil, f.at)
	return nil, nil
}

// reaches tells whether the ring has all that came after a position.
func (f *feed) reaches(at rows.Position) bool {
	for topic, ps := range f.since {
		for p, first := range ps {
			if at[topic][p] < first || at[topic][p] > f.at[topic][p] {
				return false
			}
		}
	}
	return true
}

func (c *client) send(b []byte) error {
	c.begun = true
	return c.write(b)
}

// end tells a client what is wrong.
func (c *client) end(err error) error {
	if errors.Is(err, errEnded) {
		return nil
	}
	if c.begun {
		_ = c.write(fault(c.fault(err))) // The client may be gone.
	}
	return err
}

// follow sends the rows, and then the pages, as they come.
func (c *client) follow(ctx context.Context) error {
	if err := c.sendRows(); err != nil {
		return nil //nolint:nilerr // The client is gone.
	}
	for {
		pages, news, err := c.take()
		for _, b := range pages {
			if len(b) > 0 && c.send(b) != nil {
				return nil
			}
		}
		switch {
		case len(pages) > 0:
			continue
		case err != nil:
			return c.end(err)
		}
		timer := time.NewTimer(beat)
		select {
		case <-news:
		case <-timer.C:
			if c.send([]byte(":\n\n")) != nil {
				return nil
			}
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
		timer.Stop()
	}
}

// sendRows sends what comes before any page.
func (c *client) sendRows() error {
	if !c.begun {
		if err := c.send(c.f.begin); err != nil {
			return err
		}
	}
	if c.id == nil {
		return nil
	}
	var out []byte
	if c.f.table {
		out = append(out, "event: reset\ndata: {}\n\n"...)
	}
	for _, row := range c.rows {
		if out = append(out, row...); len(out) >= pageBytes {
			if err := c.send(out); err != nil {
				return err
			}
			out = out[:0]
		}
	}
	c.rows = nil
	out = append(append(append(out, "event: current\ndata: {}\nid: "...), c.id...), "\n\n"...)
	return c.send(out)
}

// take returns the pages that are there, or what to wait for.
func (c *client) take() (pages [][]byte, news <-chan struct{}, err error) {
	f := c.f
	f.mu.Lock()
	defer f.mu.Unlock()
	if c.next < f.first {
		return nil, nil, &connect.Error{Code: "live.slow", Class: connect.ClassRetriable, Place: "a subscription", Message: "the changes came faster than they were read",
			Mend: "subscribe again with the id of the last event"}
	}
	for ; c.next < f.first+len(f.ring); c.next++ {
		p := f.ring[c.next-f.first]
		if c.next >= c.upTo {
			c.seen = nil
		}
		pages = append(pages, p.after(c.seen))
	}
	if f.alone {
		for len(f.ring) > 0 {
			f.drop()
		}
		select {
		case f.read <- struct{}{}:
		default:
		}
	}
	return pages, f.news, f.err
}
