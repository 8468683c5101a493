package postgres

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/internal/failpoint"
)

// task reads one database through one slot. Its life:
//
//	Start   parses the settings and starts run, the one goroutine that works
//	run     session after session, until one fails for good (session.go):
//	        connect → preflight → publication → slot → snapshot → stream
//	Poll    takes the batches that run hands over
//	Commit  notes what is safe; the stream confirms it to the server
//	Stop    ends run and waits for it
//
// A session that breaks is followed by another, which goes on behind the last
// record that was handed over: nothing is sent twice within one life of a task.
type task struct {
	dial      Dial
	set       *settings
	log       *slog.Logger
	metrics   connect.Metrics
	partition connect.SourcePartition
	env       connect.SourceTaskEnv

	batches chan *batch
	safe    atomic.Uint64
	figures figures
	// reader is the stream while there is one, for Commit to wake it.
	reader atomic.Pointer[stream]

	// pool has the batches that were handed over before; lent is the last one, which
	// belongs to the worker until it asks for the next.
	pool *pool
	lent *batch
	// given tells that the worker has had records.
	given atomic.Bool

	cancel context.CancelFunc
	done   chan struct{}
	failed error // Set before done is closed.
	// trouble is the last fault that may pass, told to the worker once.
	trouble atomic.Pointer[connect.Error]
}

// Start checks the configuration, reads the stored offset and begins to work.
func (t *task) Start(ctx context.Context, env connect.SourceTaskEnv) (err error) {
	if t.set, err = newSettings(env.Config); err != nil {
		return err
	}
	t.set.over(t.dial)
	if t.partition, err = partition(t.set.prefix); err != nil {
		return err
	}
	t.env, t.log, t.metrics = env, env.Log, env.Metrics
	if t.log == nil {
		t.log = slog.New(slog.DiscardHandler)
	}
	if t.metrics == nil {
		t.metrics = noMetrics{}
	}
	text, err := env.StoredOffset(ctx, t.partition)
	if err != nil {
		return err
	}
	stored, err := parsePosition(text)
	if err != nil {
		return err
	}
	t.batches = make(chan *batch, t.set.queueBatches)
	t.pool = newPool(t.set.queueBatches + 2)
	t.done = make(chan struct{})
	ctx, t.cancel = context.WithCancel(ctx)
	go func() {
		defer close(t.done)
		t.failed = t.run(ctx, stored)
	}()
	return nil
}

// run works until ctx is done, which is no error, or something fails for good.
func (t *task) run(ctx context.Context, stored *position) (err error) {
	w, err := newWork(t, stored)
	if err != nil {
		return err
	}
	defer w.release(ctx)
	if t.set.fills {
		if w.fill, err = openFill(t.env.StateDir, &t.safe); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, w.fill.close()) }()
	}
	wait := backoff{first: 200 * time.Millisecond, most: t.set.retryWait}
	for failures := 0; ; {
		err := w.relogin(w.remedied(w.session(ctx)))
		if ctx.Err() != nil {
			return nil
		}
		t.metrics.Set("connected", 0)
		if err = w.answer(err); w.deliberate(err) {
			continue
		}
		if err == nil || !isRetriable(err) {
			return err
		}
		if w.worked {
			failures, w.worked, wait.wait = 0, false, 0
		}
		failures++
		if w.exhausted(failures, err) {
			return giveUp(err)
		}
		t.trouble.Store(connect.AsError(err))
		t.metrics.Add("reconnects_total", 1)
		pausing := wait.next()
		if connect.AsError(err).Code == "pg.slot.in_use" {
			pausing = min(pausing, t.set.slotRetryWait)
		}
		t.log.Warn("The connection to PostgreSQL is lost or cannot be used; it is tried again.", "error", err, "in", pausing.Round(time.Millisecond))
		if !pause(ctx, pausing) {
			return nil
		}
	}
}

// giveUp makes an error final that did not pass.
func giveUp(err error) error {
	last := *connect.AsError(err)
	last.Class = connect.ClassFatal
	return &last
}

// Poll returns the next batch. It gives a fault that may pass as a retriable error,
// once, so that the worker can show it; run goes on by itself.
func (t *task) Poll(ctx context.Context) ([]connect.SourceRecord, error) {
	if t.lent != nil {
		t.pool.release(t.lent)
		t.lent = nil
	}
	select {
	case b := <-t.batches:
		return t.lend(b), nil
	default:
	}
	timer := time.NewTimer(t.set.pollInterval)
	defer timer.Stop()
	select {
	case b := <-t.batches:
		return t.lend(b), nil
	case <-ctx.Done():
		return nil, nil
	case <-timer.C:
		if e := t.trouble.Swap(nil); e != nil {
			told := *e
			told.After = time.Millisecond // The task has gone on by itself: a batch may be ready by then.
			return nil, &told
		}
		return nil, nil
	case <-t.done:
	}
	select {
	case b := <-t.batches: // Handed over before the end.
		return t.lend(b), nil
	default:
		if t.failed == nil {
			<-ctx.Done() // Stopping.
		}
		return nil, t.failed
	}
}

func (t *task) lend(b *batch) []connect.SourceRecord {
	t.lent = b
	t.given.Store(true)
	return t.figures.taken(b).records
}

// Commit notes how far everything is durable and stored. Invariant 1: only here
// does a position become one that may be confirmed.
func (t *task) Commit(_ context.Context, offsets map[connect.SourcePartition]connect.Offset) error {
	failpoint.At("source.commit")
	p, ok := offsets[t.partition].(*position)
	if !ok || p.snapshot == snapshotRunning {
		return nil
	}
	for {
		safe := t.safe.Load()
		if p.end <= safe || t.safe.CompareAndSwap(safe, p.end) {
			break
		}
	}
	if s := t.reader.Load(); s != nil {
		s.beside.stored.Store(p.backlog.version())
		if c := s.conn.Load(); c != nil {
			c.interrupt()
		}
	}
	return nil
}

// Stop ends the work and waits for it.
func (t *task) Stop(ctx context.Context) error {
	if t.cancel == nil {
		return nil
	}
	t.cancel()
	select {
	case <-t.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// noMetrics takes figures nobody wants.
type noMetrics struct{}

func (noMetrics) Add(string, int64)   {}
func (noMetrics) Set(string, float64) {}
