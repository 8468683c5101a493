package proxy

import (
	"bufio"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// pieceSize bounds what one read of a socket takes.
const pieceSize = 64 << 10

// Conn is one connection of a client, and the one to the server that belongs to
// it.
type Conn struct {
	id             int64
	client, server net.Conn
	first          atomic.Pointer[[]byte]
	swallowed      atomic.Uint32 // A Direction.
	once           sync.Once
	done           chan struct{}
}

// ID numbers the connections of a Proxy from 1 in the order they were taken.
func (c *Conn) ID() int64 { return c.id }

// First returns what the client said first, as a rule what the connection is
// for; nil while it has said nothing.
func (c *Conn) First() []byte {
	if m := c.first.Load(); m != nil {
		return *m
	}
	return nil
}

// Cut ends the connection on both sides in the orderly way.
func (c *Conn) Cut() {
	c.once.Do(func() {
		close(c.done)
		_, _ = c.client.Close(), c.server.Close()
	})
}

// Reset ends the connection on both sides with a reset, which also loses what
// was sent and not yet read.
func (c *Conn) Reset() {
	c.once.Do(func() {
		close(c.done)
		abort(c.client)
		abort(c.server)
		_, _ = c.client.Close(), c.server.Close()
	})
}

// Swallow loses everything that goes in the directions d from now on. Not even
// the end of one side is told to the other.
func (c *Conn) Swallow(d Direction) { c.swallowed.Or(uint32(d)) }

func (c *Conn) swallows(d Direction) bool { return Direction(c.swallowed.Load())&d != 0 }

// abort has the closing of a TCP connection be a reset.
func abort(conn net.Conn) {
	if tcp, ok := conn.(interface{ SetLinger(sec int) error }); ok {
		_ = tcp.SetLinger(0)
	}
}

// ends returns where bytes of a direction come from and where they go.
func (c *Conn) ends(to Direction) (from, dest net.Conn) {
	if to == ToServer {
		return c.client, c.server
	}
	return c.server, c.client
}

// Message is what a Hook is asked about.
type Message struct {
	Conn *Conn
	// To is the direction it goes in: ToServer or ToClient.
	To Direction
	// Number counts the messages of the connection in this direction, from 1.
	Number int64
	// Offset is how many bytes of the connection went in this direction before.
	Offset int64
	// Data is the message, with its type and length where the protocol has
	// them. It belongs to the Proxy; a Hook may change it in place or set
	// another, and does not keep it.
	Data []byte
}

// Verdict is what becomes of a message and of its connection.
type Verdict int

// The verdicts. Cut and Reset pass Data first: a Hook that shortens it cuts in
// the middle of the message, one that sets nil before it.
const (
	// Pass passes Data on.
	Pass Verdict = iota
	// Drop leaves this message out.
	Drop
	// Cut passes Data on and ends the connection.
	Cut
	// Reset passes Data on and ends the connection with a reset.
	Reset
	// Swallow leaves this message out and all that follow in its direction; the
	// connection stays open.
	Swallow
)

// Nth returns a Hook that gives the verdict on the n-th message, from 1, that
// goes in the directions to, counted over all connections, and passes all
// others.
func Nth(to Direction, n int64, v Verdict) func(*Message) Verdict {
	var seen atomic.Int64
	return func(m *Message) Verdict {
		if m.To&to != 0 && seen.Add(1) == n {
			return v
		}
		return Pass
	}
}

// errSilent ends a relay whose direction is swallowed.
var errSilent = errors.New("proxy: nothing comes through")

// relay passes the messages of one direction until it ends.
func (p *Proxy) relay(c *Conn, to Direction, next Splitter) {
	from, dest := c.ends(to)
	r := bufio.NewReaderSize(&link{p: p, c: c, to: to, from: from}, pieceSize)
	m := Message{Conn: c, To: to}
	for {
		data, err := next(r)
		if err == nil && c.swallows(to) {
			continue // It was read before it was known.
		}
		if err == nil {
			m.Number, m.Data = m.Number+1, data
			if to == ToServer && m.Number == 1 {
				first := append([]byte(nil), data...)
				c.first.Store(&first)
			}
			size := int64(len(data))
			if !p.judge(&m, dest) {
				return
			}
			m.Offset += size
			continue
		}
		// A message whose end is missing goes as far as it came.
		if errors.Is(err, io.ErrUnexpectedEOF) && !c.swallows(to) {
			_, _ = dest.Write(data)
		}
		c.ended(err, dest)
		return
	}
}

// judge does with a message what the hook says, and reports whether the
// direction goes on.
func (p *Proxy) judge(m *Message, dest net.Conn) bool {
	v := (*p.hook.Load())(m)
	if v == Drop {
		return true
	}
	if v == Swallow {
		m.Conn.Swallow(m.To)
		return true // The link says when it is over.
	}
	if _, err := dest.Write(m.Data); err != nil || v == Cut {
		m.Conn.Cut()
		return false
	}
	if v == Reset {
		m.Conn.Reset()
		return false
	}
	return true
}

// ended tells one side how the other has ended: nothing when it is not to
// hear of it.
func (c *Conn) ended(err error, dest net.Conn) {
	half, ok := dest.(interface{ CloseWrite() error })
	switch {
	case errors.Is(err, errSilent):
	case (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)) && ok:
		_ = half.CloseWrite() // What goes the other way still comes.
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		c.Cut()
	default:
		c.Reset()
	}
}

// link reads one direction of a connection under the conditions of the moment.
type link struct {
	p    *Proxy
	c    *Conn
	to   Direction
	from net.Conn
}

// Read implements io.Reader.
func (l *link) Read(buf []byte) (int, error) {
	n, err := l.from.Read(buf)
	if gone := l.suffer(n); gone != nil {
		return 0, gone
	}
	if l.c.swallows(l.to) {
		_, _ = io.Copy(io.Discard, l.from)
		return 0, errSilent
	}
	return n, err
}

// suffer holds back n bytes for as long as the conditions ask.
func (l *link) suffer(n int) error {
	now, changed := l.p.now()
	for now.Stall&l.to != 0 {
		select {
		case <-changed:
		case <-l.c.done:
			return net.ErrClosed
		}
		now, changed = l.p.now()
	}
	if now.Swallow&l.to != 0 {
		l.c.Swallow(l.to)
	}
	wait := now.Delay
	if now.BytesPerSecond > 0 {
		wait += time.Duration(float64(n) / float64(now.BytesPerSecond) * float64(time.Second))
	}
	if wait <= 0 {
		return nil
	}
	over := time.NewTimer(wait)
	defer over.Stop()
	select {
	case <-over.C:
		return nil
	case <-l.c.done:
		return net.ErrClosed
	}
}
