package line

import (
	"context"
	"errors"
	"sync"
)

// Stream is what a line is made over. Send is called by one goroutine at a time, and Recv
// by one goroutine. A body that was sent is not written to any more.
type Stream interface {
	Send(head, body []byte) error
	Recv() (head, body []byte, err error)
}

// Handler serves what the other end asks for.
type Handler interface {
	// Notified takes a message that has no answer. It is called in the order of sending, by
	// the goroutine that reads, and so must not wait for the other end.
	Notified(m Method, body []byte)
	// Called answers a call, in a goroutine of its own. ctx ends with the call or the line.
	Called(ctx context.Context, m Method, body []byte) ([]byte, error)
}

// Guarded is the ability of a [Handler] to refuse calls that no goroutine of its own waits
// to serve.
type Guarded interface {
	// Outside returns why a call is refused that comes while nothing is being called.
	Outside(m Method) error
}

// ErrEnded is the cause of errors of calls over a line that has ended.
var ErrEnded = errors.New("the other end is gone")

// Line is one end of a line. Its methods may be called from any goroutine.
type Line struct {
	stream  Stream
	handler Handler
	ctx     context.Context
	cancel  context.CancelFunc
	group   sync.WaitGroup // The calls being served.

	sending sync.Mutex

	mu      sync.Mutex // Guards what follows.
	next    uint64
	calls   map[uint64]*Pending
	serving map[uint64]context.CancelFunc
	waiter  *Pending // The call whose goroutine serves what comes back.
	ended   bool
}

// New returns a line, which does nothing before Run is called.
func New(stream Stream, handler Handler) *Line {
	l := &Line{stream: stream, handler: handler, calls: map[uint64]*Pending{}, serving: map[uint64]context.CancelFunc{}}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l
}

// Context returns a context that ends with the line.
func (l *Line) Context() context.Context { return l.ctx }

// Run reads until the stream ends, then ends all calls and waits for those being served.
func (l *Line) Run() error {
	var err error
	for {
		var head, body []byte
		if head, body, err = l.stream.Recv(); err != nil {
			break
		}
		if err = l.dispatch(head, body); err != nil {
			break
		}
	}
	l.end()
	l.group.Wait()
	return err
}

func (l *Line) end() {
	l.cancel()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	for id, p := range l.calls {
		p.err = ErrEnded
		close(p.done)
		delete(l.calls, id)
	}
}

func (l *Line) dispatch(head, body []byte) error {
	f, err := parseHead(head)
	if err != nil {
		return err
	}
	switch f.kind {
	case kindNotice:
		l.handler.Notified(f.method, body)
	case kindReply, kindFailure:
		l.answered(f, body)
	case kindCancel:
		l.mu.Lock()
		cancel := l.serving[f.id]
		l.mu.Unlock()
		if cancel != nil {
			cancel()
		}
	case kindCall:
		ctx, cancel := context.WithCancel(l.ctx)
		l.mu.Lock()
		l.serving[f.id] = cancel
		l.mu.Unlock()
		l.group.Go(func() { l.serveCall(ctx, f, body) })
	}
	return nil
}

func (l *Line) answered(f frame, body []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.calls[f.id]
	if p == nil {
		return // Nobody waits any more.
	}
	delete(l.calls, f.id)
	p.reply = body
	if f.kind == kindFailure {
		p.reply, p.err = nil, unpackError(body)
	}
	close(p.done)
}

// serveCall has a call of the other end served and answers it.
func (l *Line) serveCall(ctx context.Context, f frame, body []byte) {
	reply, err := l.served(ctx, f.method, body)
	l.mu.Lock()
	l.serving[f.id]()
	delete(l.serving, f.id)
	l.mu.Unlock()
	// That the stream has ended is noticed by the goroutine that reads.
	if err != nil {
		_ = l.send(frame{kind: kindFailure, method: f.method, id: f.id}, packError(err))
		return
	}
	_ = l.send(frame{kind: kindReply, method: f.method, id: f.id}, reply)
}

// served has a call served by the goroutine that waits, if there is one.
func (l *Line) served(ctx context.Context, m Method, body []byte) ([]byte, error) {
	l.mu.Lock()
	waiter := l.waiter
	l.mu.Unlock()
	if waiter == nil {
		return l.outside(ctx, m, body)
	}
	r := request{ctx: ctx, method: m, body: body, done: make(chan struct{})}
	select {
	case waiter.requests <- &r:
		<-r.done
		return r.reply, r.err
	case <-waiter.done:
		return l.outside(ctx, m, body)
	}
}

// outside has a call served here, by a goroutine of its own.
func (l *Line) outside(ctx context.Context, m Method, body []byte) ([]byte, error) {
	if g, guards := l.handler.(Guarded); guards {
		if err := g.Outside(m); err != nil {
			return nil, err
		}
	}
	return l.handler.Called(ctx, m, body)
}

func (l *Line) send(f frame, body []byte) error {
	l.sending.Lock()
	defer l.sending.Unlock()
	return l.stream.Send(f.head(), body)
}

// Notify sends a message that has no answer. That it cannot be sent any more shows in
// calls, and when Run ends.
func (l *Line) Notify(m Method, body []byte) { _ = l.send(frame{kind: kindNotice, method: m}, body) }
