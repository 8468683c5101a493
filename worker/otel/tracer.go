package otel

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"time"
)

// Options are what a tracer is made from.
type Options struct {
	Endpoint string      // Where spans are sent to, whole: http://localhost:4318/v1/traces.
	Headers  http.Header // Of the requests.
	Ratio    float64     // How many of those who ask with Sample are to be traced, from 0 to 1.
	// Service, Instance and Version are who the spans are of.
	Service, Instance, Version string
	Log                        *slog.Logger
}

// Tracer sends spans to a collector. Nobody waits for it: what it has no room for, and what
// the collector does not take, is counted and forgotten.
type Tracer struct {
	o      Options
	queue  chan *Span
	client *http.Client
	ailing bool // The last batch was not taken. It belongs to Run.

	sent, dropped, failed atomic.Int64
}

const (
	queueLength = 4096                   // How many spans may wait.
	batchMost   = 512                    // How many are sent in one request.
	batchWait   = time.Second            // How long one waits for others.
	sendTimeout = 10 * time.Second       // Of a request.
	flushTime   = 3 * time.Second        // Of the last requests, when the tracer stops.
	retryWait   = 500 * time.Millisecond // Before the second attempt; then twice as long.
	attempts    = 4
)

// New returns a tracer, which sends nothing before Run.
func New(o Options) *Tracer {
	// Elsewhere, its headers are nobody's to know.
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	client := &http.Client{Timeout: sendTimeout, CheckRedirect: stay, Transport: http.DefaultTransport.(*http.Transport).Clone()}
	return &Tracer{o: o, queue: make(chan *Span, queueLength), client: client}
}

// Sample tells by chance whether something is to be traced.
func (t *Tracer) Sample() bool { return t.o.Ratio >= 1 || rand.Float64() < t.o.Ratio }

// Counts returns how many spans the collector has taken, how many there was no room for, and
// how many the collector did not take.
func (t *Tracer) Counts() (sent, dropped, failed int64) {
	return t.sent.Load(), t.dropped.Load(), t.failed.Load()
}

func (t *Tracer) take(s *Span) {
	select {
	case t.queue <- s:
	default:
		t.dropped.Add(1)
	}
}

// Run sends spans until ctx is done, and then, for a short while, what is left. It returns
// nil.
func (t *Tracer) Run(ctx context.Context) error {
	sending, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	unhook := context.AfterFunc(ctx, func() { time.AfterFunc(flushTime, cancel) })
	defer unhook()
	for ctx.Err() == nil || len(t.queue) > 0 {
		if batch := t.gather(ctx); len(batch) > 0 {
			t.deliver(ctx, sending, batch)
		}
	}
	t.client.CloseIdleConnections()
	return nil
}

// gather waits for spans, and a while for more of them. When ctx is done it takes what there
// is.
func (t *Tracer) gather(ctx context.Context) (batch []*Span) {
	select {
	case s := <-t.queue:
		batch = append(batch, s)
	case <-ctx.Done():
	}
	full := time.NewTimer(batchWait)
	defer full.Stop()
	for len(batch) < batchMost {
		select {
		case s := <-t.queue:
			batch = append(batch, s)
			continue
		default:
		}
		select {
		case s := <-t.queue:
			batch = append(batch, s)
		case <-full.C:
			return batch
		case <-ctx.Done():
			return batch
		}
	}
	return batch
}

// deliver sends a batch, again and again while that may help, and once when the tracer
// stops: ctx is done then, and sending a while later.
func (t *Tracer) deliver(ctx, sending context.Context, batch []*Span) {
	body, err := t.encode(batch)
	var refused int64
	for attempt, again := 1, true; again && err == nil; attempt++ {
		refused, again, err = t.post(sending, body)
		if again = again && attempt < attempts && sleep(ctx, retryWait<<(attempt-1)) == nil; again {
			err = nil
		}
	}
	if err != nil {
		t.failed.Add(int64(len(batch)))
		if !t.ailing {
			t.o.Log.Warn("spans cannot be sent; they are dropped until they can", "error", err)
		}
	} else {
		t.sent.Add(int64(len(batch)) - refused)
		t.failed.Add(refused)
		if t.ailing {
			t.o.Log.Info("spans can be sent again")
		}
	}
	t.ailing = err != nil
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
