package line

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/tidemill/tidemill/connect"
)

// pipe is one end of a stream in memory.
type pipe struct {
	in, out chan [2][]byte
	ctx     context.Context
}

func (p *pipe) Send(head, body []byte) error {
	select {
	case p.out <- [2][]byte{head, body}:
		return nil
	case <-p.ctx.Done():
		return io.EOF
	}
}

func (p *pipe) Recv() (head, body []byte, err error) {
	select {
	case m := <-p.in:
		return m[0], m[1], nil
	case <-p.ctx.Done():
		return nil, nil, io.EOF
	}
}

// end is a handler made of functions.
type end struct {
	called   func(ctx context.Context, m Method, body []byte) ([]byte, error)
	notified func(m Method, body []byte)
}

func (e *end) Called(ctx context.Context, m Method, body []byte) ([]byte, error) {
	return e.called(ctx, m, body)
}
func (e *end) Notified(m Method, body []byte) { e.notified(m, body) }

// guarded is an end that serves nothing by itself.
type guarded struct{ end }

func (*guarded) Outside(m Method) error { return fmt.Errorf("%s outside", m) }

// lines returns two ends that run until the test ends.
func lines(t *testing.T, a, b Handler) (*Line, *Line, context.CancelFunc) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	there, back := make(chan [2][]byte), make(chan [2][]byte)
	one, other := New(&pipe{in: back, out: there, ctx: ctx}, a), New(&pipe{in: there, out: back, ctx: ctx}, b)
	done := make(chan error, 2)
	for _, l := range []*Line{one, other} {
		go func() { done <- l.Run() }()
	}
	t.Cleanup(func() {
		cancel()
		<-done
		<-done
	})
	return one, other, cancel
}

func TestCallsGoBothWays(t *testing.T) {
	var near, far *Line
	heard := make(chan string, 1)
	worker := &guarded{}
	worker.called = func(_ context.Context, m Method, body []byte) ([]byte, error) {
		return append(body, m.String()...), nil
	}
	plugin := &end{
		notified: func(_ Method, body []byte) { heard <- string(body) },
		called: func(ctx context.Context, m Method, body []byte) ([]byte, error) {
			if m == Put { // Asks for something on its way.
				return far.Call(ctx, Assignment, body)
			}
			<-ctx.Done()
			return nil, ctx.Err()
		},
	}
	near, far, _ = lines(t, worker, plugin)
	near.Notify(End, []byte("first"))
	if got := <-heard; got != "first" {
		t.Errorf("heard %q", got)
	}
	if got, err := near.CallServing(t.Context(), Put, []byte("x")); string(got) != "xassignment" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := far.Call(t.Context(), Pause, nil); err == nil || err.Error() != "pause outside" {
		t.Errorf("a call from outside: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := near.Call(ctx, Poll, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("a call whose context ends: %v", err)
	}
}

func TestCallsEndWithTheStream(t *testing.T) {
	began := make(chan bool)
	plugin := &end{called: func(ctx context.Context, _ Method, _ []byte) ([]byte, error) {
		close(began)
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	near, _, cut := lines(t, &end{}, plugin)
	p := near.Begin(Poll, nil)
	<-began
	cut()
	<-p.Done()
	if _, err := p.Result(); !errors.Is(err, ErrEnded) {
		t.Errorf("%v", err)
	}
	<-near.Context().Done()
	if _, err := near.Call(t.Context(), Poll, nil); !errors.Is(err, ErrEnded) {
		t.Errorf("a later call: %v", err)
	}
}

// TestErrorsTravel shows that an error is the same at the other end, for people and for
// programs.
func TestErrorsTravel(t *testing.T) {
	coded := &connect.Error{Code: "a.b", Class: connect.ClassRetriable, Place: "here", Message: "no", Mend: "do", After: time.Second, Cause: fmt.Errorf("why: %w", context.DeadlineExceeded)}
	for _, err := range []error{
		errors.New("plain"), coded, fmt.Errorf("wrapped: %w", coded), context.Canceled, fmt.Errorf("x: %w", context.DeadlineExceeded),
		connect.Errors{coded, connect.ConfigError("setting", "is wrong")}, errors.Join(errors.New("one"), coded),
	} {
		got := UnpackError(PackError(err))
		if got.Error() != err.Error() {
			t.Errorf("%q came as %q", err, got)
		}
		for _, cause := range []error{context.Canceled, context.DeadlineExceeded} {
			if errors.Is(got, cause) != errors.Is(err, cause) {
				t.Errorf("%q: is it %v?", err, cause)
			}
		}
		want, have := connect.AsError(err), connect.AsError(got)
		if want.Code != have.Code || want.Class != have.Class || want.Place != have.Place || want.Message != have.Message || want.Mend != have.Mend || want.After != have.After {
			t.Errorf("%q: %+v came as %+v", err, want, have)
		}
	}
	list, ok := errors.AsType[connect.Errors](UnpackError(PackError(connect.Errors{coded, coded})))
	if !ok || len(list) != 2 {
		t.Errorf("two faults came as %v", list)
	}
}

func TestHeadsThatAreNone(t *testing.T) {
	for _, head := range [][]byte{nil, make([]byte, headSize), make([]byte, headSize-1), append([]byte{99}, make([]byte, headSize-1)...)} {
		if f, err := parseHead(head); err == nil {
			t.Errorf("%v is understood as %+v", head, f)
		}
	}
}
