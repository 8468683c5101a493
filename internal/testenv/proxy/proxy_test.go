package proxy

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long a test waits for what must come.
const patience = 2 * time.Minute

// server answers each connection by itself.
func server(tb testing.TB, answer func(net.Conn)) string {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer func() { _ = c.Close() }()
				answer(c)
			})
		}
	})
	tb.Cleanup(func() {
		_ = l.Close()
		running.Wait()
	})
	return l.Addr().String()
}

func echo(c net.Conn) { _, _ = io.Copy(c, c) }

func start(tb testing.TB, target string, o Options) *Proxy {
	tb.Helper()
	p, err := New(target, o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = p.Close() })
	return p
}

func dial(tb testing.TB, p *Proxy) net.Conn {
	tb.Helper()
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		tb.Fatal(err)
	}
	return c
}

func say(tb testing.TB, c net.Conn, m []byte) {
	tb.Helper()
	if _, err := c.Write(m); err != nil {
		tb.Fatal(err)
	}
}

func hear(tb testing.TB, c net.Conn, want []byte) {
	tb.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, want) {
		tb.Fatalf("%q came (%v), want %q", got[:n], err, want)
	}
}

// hearEnd reads until the end and returns what came and how it ended.
func hearEnd(c net.Conn) (string, error) {
	all, err := io.ReadAll(c)
	return string(all), err
}

func TestPasses(t *testing.T) {
	p := start(t, server(t, func(c net.Conn) {
		all, _ := io.ReadAll(c) // Until the client has said everything.
		_, _ = c.Write(bytes.ToUpper(all))
	}), Options{})
	c := dial(t, p)
	say(t, c, []byte("half a "))
	say(t, c, []byte("close"))
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := hearEnd(c); got != "HALF A CLOSE" || err != nil {
		t.Errorf("%q %v", got, err)
	}
	if n := p.Accepted(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

func TestEndsAllConnections(t *testing.T) {
	p := start(t, server(t, echo), Options{})
	for _, reset := range []bool{false, true} {
		c := dial(t, p)
		say(t, c, []byte("x"))
		hear(t, c, []byte("x"))
		if reset {
			p.Reset()
		} else {
			p.Cut()
		}
		if got, err := hearEnd(c); got != "" || reset != errors.Is(err, syscall.ECONNRESET) || !reset && err != nil {
			t.Errorf("reset %v: %q %v", reset, got, err)
		}
	}
}

func TestRefusesAndFindsNobody(t *testing.T) {
	p := start(t, "127.0.0.1:1", Options{})
	for range 2 {
		c, err := net.Dial("tcp", p.Addr())
		if err == nil {
			_ = c.SetDeadline(time.Now().Add(patience))
			_, err = c.Read(make([]byte, 1))
			_ = c.Close()
		}
		if !errors.Is(err, syscall.ECONNRESET) {
			t.Error(err)
		}
		p.SetTarget(server(t, echo))
		p.Set(Conditions{Refuse: true})
	}
	p.Set(Conditions{})
	c := dial(t, p)
	say(t, c, []byte("x"))
	hear(t, c, []byte("x"))
}

func TestStallKeepsWhatWasSaid(t *testing.T) {
	p := start(t, server(t, echo), Options{})
	c := dial(t, p)
	say(t, c, []byte("before"))
	hear(t, c, []byte("before"))
	p.Set(Conditions{Stall: ToClient})
	say(t, c, []byte("meanwhile"))
	silent(t, c)
	p.Set(Conditions{})
	hear(t, c, []byte("meanwhile"))
}

// silent checks that nothing comes for a moment. It can only fail to notice.
func silent(tb testing.TB, c net.Conn) {
	tb.Helper()
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		tb.Errorf("%d bytes came, %v", n, err)
	}
	_ = c.SetReadDeadline(time.Now().Add(patience))
}

func TestSwallow(t *testing.T) {
	heard := make(chan string, 10)
	target := server(t, func(c net.Conn) {
		for buf := make([]byte, 100); ; {
			n, err := c.Read(buf)
			if n > 0 {
				heard <- string(buf[:n])
			}
			if _, werr := c.Write(buf[:n]); err != nil || werr != nil {
				return
			}
		}
	})
	p := start(t, target, Options{})
	c := dial(t, p)
	say(t, c, []byte("1"))
	hear(t, c, []byte("1"))
	p.Swallow(ToClient)
	say(t, c, []byte("2"))
	for _, want := range []string{"1", "2"} {
		if got := <-heard; got != want {
			t.Errorf("the server heard %q, want %q", got, want)
		}
	}
	silent(t, c)
	other := dial(t, p) // Newer ones are not concerned.
	say(t, other, []byte("3"))
	hear(t, other, []byte("3"))
	<-heard
	p.Set(Conditions{Swallow: ToServer})
	say(t, other, []byte("lost"))
	silent(t, other)
	p.Set(Conditions{})
	say(t, other, []byte("4")) // Lost as well: the connection is broken for good.
	silent(t, other)
	if len(heard) != 0 {
		t.Errorf("the server heard %q", <-heard)
	}
}

// TestSlow only says that what is slow is slow: how slow is the machine's affair.
func TestSlow(t *testing.T) {
	p := start(t, server(t, echo), Options{})
	c := dial(t, p)
	for _, conditions := range []Conditions{{Delay: 30 * time.Millisecond}, {BytesPerSecond: 10_000}} {
		p.Set(conditions)
		began := time.Now()
		m := bytes.Repeat([]byte("x"), 300)
		say(t, c, m)
		hear(t, c, m)
		if took := time.Since(began); took < 60*time.Millisecond {
			t.Errorf("%+v: it took only %v", conditions, took)
		}
	}
}

// pgSays frames messages of PostgreSQL.
func pgSays(kind byte, body string) []byte {
	m := []byte{kind}
	if kind == 0 {
		m = nil
	}
	return append(binary.BigEndian.AppendUint32(m, uint32(len(body)+4)), body...)
}

func TestPostgresMessages(t *testing.T) {
	var mu sync.Mutex
	var seen []string
	hook := func(m *Message) Verdict {
		mu.Lock()
		defer mu.Unlock()
		if m.To == ToServer {
			seen = append(seen, string(m.Data))
		}
		if bytes.HasPrefix(m.Conn.First(), []byte("\x00\x00\x00\x08")) == (m.Conn.ID() == 1) {
			t.Errorf("connection %d begins with %q", m.Conn.ID(), m.Conn.First())
		}
		return Pass
	}
	p := start(t, server(t, echo), Options{Framing: Postgres, Hook: hook})
	c := dial(t, p)
	startup, query := pgSays(0, "\x00\x03\x00\x00user\x00a\x00\x00"), pgSays('Q', strings.Repeat("select", 50_000))
	for _, m := range [][]byte{startup, query} {
		say(t, c, m[:len(m)/2])
		say(t, c, m[len(m)/2:])
	}
	_ = c.(*net.TCPConn).CloseWrite()
	if _, err := hearEnd(c); err != nil {
		t.Error(err)
	}
	mu.Lock()
	if want := []string{string(startup), string(query)}; len(seen) != 2 || seen[0] != want[0] || seen[1] != want[1] {
		t.Errorf("%d messages", len(seen))
	}
	seen = nil
	mu.Unlock()

	p.SetTarget(server(t, func(c net.Conn) {
		for _, answer := range []string{"N", "S"} {
			_, _ = io.ReadFull(c, make([]byte, 8))
			_, _ = c.Write([]byte(answer))
		}
		echo(c)
	}))
	c = dial(t, p)
	ask := pgSays(0, "\x04\xd2\x16\x2f")
	for _, answer := range []string{"N", "S"} {
		say(t, c, ask)
		hear(t, c, []byte(answer))
	}
	say(t, c, []byte("\x16encrypted")) // By its first bytes it would be a message of gigabytes.
	hear(t, c, []byte("\x16encrypted"))
}

func TestVerdicts(t *testing.T) {
	frame := func(s string) []byte {
		return append(binary.BigEndian.AppendUint32(nil, uint32(len(s))), s...)
	}
	for _, c := range []struct {
		name  string
		hook  func(*Message) Verdict
		want  []byte
		reset bool
		open  bool
	}{
		{name: "cut behind the second", hook: Nth(ToClient, 2, Cut), want: append(frame("one"), frame("two")...)},
		{name: "dropped", hook: Nth(ToServer, 2, Drop), want: append(frame("one"), frame("three")...), open: true},
		{name: "swallowed", hook: Nth(ToServer, 2, Swallow), want: frame("one"), open: true},
		{name: "reset within the second", reset: true, hook: func(m *Message) Verdict {
			if m.To == ToServer || m.Number < 2 {
				return Pass
			}
			m.Data = m.Data[:5]
			return Reset
		}},
		{name: "changed at a byte", open: true, want: bytes.Join([][]byte{frame("one"), frame("Two"), frame("three")}, nil),
			hook: func(m *Message) Verdict {
				if at := 11 - m.Offset; m.To == ToServer && at >= 0 && at < int64(len(m.Data)) {
					m.Data[at] = 'T'
				}
				return Pass
			}},
	} {
		p := start(t, server(t, echo), Options{Framing: Kafka, Hook: c.hook})
		conn := dial(t, p)
		say(t, conn, bytes.Join([][]byte{frame("one"), frame("two"), frame("three")}, nil))
		if !c.reset { // A reset loses what was not read yet.
			hear(t, conn, c.want)
		}
		if c.open {
			silent(t, conn)
			continue
		}
		if got, err := hearEnd(conn); c.reset != errors.Is(err, syscall.ECONNRESET) || !c.reset && got != "" {
			t.Errorf("%s: %q %v", c.name, got, err)
		}
	}
}
