package line

import (
	"context"
	"fmt"
	"time"

	"github.com/tidemill/tidemill/connect"
)

// Pending is a call on its way.
type Pending struct {
	line     *Line
	id       uint64
	method   Method
	done     chan struct{}
	requests chan *request // Of the other end, to be served by the goroutine that waits.
	reply    []byte
	err      error
}

// request is a call of the other end on its way to the goroutine that serves it.
type request struct {
	ctx    context.Context
	method Method
	body   []byte
	done   chan struct{}
	reply  []byte
	err    error
}

// Begin sends a call and returns at once.
func (l *Line) Begin(m Method, body []byte) *Pending { return l.begin(m, body, false) }

func (l *Line) begin(m Method, body []byte, serves bool) *Pending {
	p := &Pending{line: l, method: m, done: make(chan struct{})}
	l.mu.Lock()
	l.next++
	p.id = l.next
	if l.ended {
		p.err = ErrEnded
		close(p.done)
		l.mu.Unlock()
		return p
	}
	l.calls[p.id] = p
	if serves {
		p.requests = make(chan *request)
		l.waiter = p
	}
	l.mu.Unlock()
	// An error shows when the goroutine that reads finds that the stream has ended.
	_ = l.send(frame{kind: kindCall, method: m, id: p.id}, body)
	return p
}

// Done is closed when the answer is there.
func (p *Pending) Done() <-chan struct{} { return p.done }

// Cancel ends the context of the call at the other end, which answers soon.
func (p *Pending) Cancel() { _ = p.line.send(frame{kind: kindCancel, method: p.method, id: p.id}, nil) }

// Result returns the answer. It is called after Done.
func (p *Pending) Result() ([]byte, error) { return p.reply, p.err }

// Patience is how long the other end may take to return from a call whose context is done.
const Patience = 15 * time.Second

// Call calls the other end. When ctx is done the call is ended there, and waited for a
// while; the error then is [connect.Error] with the code "plugin.blocked" if it does not
// return.
func (l *Line) Call(ctx context.Context, m Method, body []byte) ([]byte, error) {
	return l.await(ctx, l.begin(m, body, false), nil)
}

// CallServing is Call, and has all calls that come from the other end meanwhile served by
// the calling goroutine. There may be one such call at a time.
func (l *Line) CallServing(ctx context.Context, m Method, body []byte) ([]byte, error) {
	p := l.begin(m, body, true)
	defer func() {
		l.mu.Lock()
		l.waiter = nil
		l.mu.Unlock()
	}()
	return l.await(ctx, p, p.requests)
}

func (l *Line) await(ctx context.Context, p *Pending, requests <-chan *request) ([]byte, error) {
	over := ctx.Done()
	var late <-chan time.Time
	for {
		select {
		case <-p.done:
			return p.reply, p.err
		case r := <-requests:
			r.reply, r.err = l.handler.Called(r.ctx, r.method, r.body)
			close(r.done)
		case <-over:
			over = nil
			p.Cancel()
			timer := time.NewTimer(Patience)
			defer timer.Stop()
			late = timer.C
		case <-late:
			p.giveUp(ctx.Err())
		}
	}
}

// giveUp ends a call that does not return.
func (p *Pending) giveUp(cause error) {
	p.line.mu.Lock()
	defer p.line.mu.Unlock()
	if p.line.calls[p.id] != p {
		return // The answer has just come.
	}
	delete(p.line.calls, p.id)
	p.err = &connect.Error{
		Code: "plugin.blocked", Class: connect.ClassRetriable, Place: p.method.String(),
		Message: fmt.Sprintf("the plugin did not return within %s after its context was done", Patience), Cause: cause,
		Mend: "the plugin's methods must return soon after their context is done; report it to its author",
	}
	close(p.done)
}
