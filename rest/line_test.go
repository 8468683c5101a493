package rest_test

import (
	"context"
	"net"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// line is what a worker's connections to its brokers run over. When it is cut nothing goes
// through any more and nobody is told, as when a cable is pulled; when it is mended, all
// goes on.
type line struct {
	mu     sync.Mutex
	mended chan struct{} // Closed while nothing is cut.
}

func newLine() *line {
	l := &line{mended: make(chan struct{})}
	close(l.mended)
	return l
}

func (l *line) whole() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mended
}

// obey cuts the line at SIGUSR1 and mends it at SIGUSR2, until ctx ends.
func (l *line) obey(ctx context.Context) {
	orders := make(chan os.Signal, 1)
	signal.Notify(orders, syscall.SIGUSR1, syscall.SIGUSR2)
	defer signal.Stop(orders)
	cut := false
	for {
		select {
		case <-ctx.Done():
			return
		case order := <-orders:
			if want := order == syscall.SIGUSR1; want != cut {
				l.mu.Lock()
				if cut = want; cut {
					l.mended = make(chan struct{})
				} else {
					close(l.mended)
				}
				l.mu.Unlock()
			}
		}
	}
}

// dial opens a connection over the line.
func (l *line) dial(ctx context.Context, network, address string) (net.Conn, error) {
	select {
	case <-l.whole():
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &end{Conn: conn, line: l, closed: make(chan struct{})}, nil
}

// end is a connection over a line.
type end struct {
	net.Conn
	line   *line
	closed chan struct{}
	once   sync.Once

	mu          sync.Mutex
	read, write time.Time // Deadlines.
}

func (e *end) Close() error {
	e.once.Do(func() { close(e.closed) })
	return e.Conn.Close()
}

func (e *end) SetDeadline(t time.Time) error {
	e.mu.Lock()
	e.read, e.write = t, t
	e.mu.Unlock()
	return e.Conn.SetDeadline(t)
}

func (e *end) SetReadDeadline(t time.Time) error {
	e.mu.Lock()
	e.read = t
	e.mu.Unlock()
	return e.Conn.SetReadDeadline(t)
}

func (e *end) SetWriteDeadline(t time.Time) error {
	e.mu.Lock()
	e.write = t
	e.mu.Unlock()
	return e.Conn.SetWriteDeadline(t)
}

// pass returns when the line is whole.
func (e *end) pass(deadline *time.Time) error {
	e.mu.Lock()
	at := *deadline
	e.mu.Unlock()
	var late <-chan time.Time
	if !at.IsZero() {
		timer := time.NewTimer(time.Until(at))
		defer timer.Stop()
		late = timer.C
	}
	select {
	case <-e.line.whole():
		return nil
	default:
	}
	select {
	case <-e.line.whole():
		return nil
	case <-e.closed:
		return net.ErrClosed
	case <-late:
		return os.ErrDeadlineExceeded
	}
}

func (e *end) Read(b []byte) (int, error) {
	n, err := e.Conn.Read(b)
	if late := e.pass(&e.read); late != nil {
		return 0, late
	}
	return n, err
}

func (e *end) Write(b []byte) (int, error) {
	if err := e.pass(&e.write); err != nil {
		return 0, err
	}
	return e.Conn.Write(b)
}
