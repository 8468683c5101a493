package postgres

import (
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidemill/tidemill/connect/connecttest"
)

// hole passes everything until it is told to swallow: then the connections that are open
// stay open, and nothing comes through any more in the directions it swallows.
type hole struct {
	listener  net.Listener
	connected atomic.Int64
	// swallowed is the newest connection that nothing comes through.
	swallowed atomic.Int64
	oneWay    bool // The server still hears.
}

func newHole(tb testing.TB, server string, oneWay bool) *hole {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	h := &hole{listener: l, oneWay: oneWay}
	tb.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", server)
			if err != nil {
				_ = in.Close()
				return
			}
			id := h.connected.Add(1)
			go h.pass(id, in, out, false)
			go h.pass(id, out, in, oneWay)
		}
	}()
	return h
}

func (h *hole) pass(id int64, to, from net.Conn, always bool) {
	buf := make([]byte, 16<<10)
	for {
		n, err := from.Read(buf)
		if id <= h.swallowed.Load() && !always {
			// Not even the end comes through.
			_, _ = io.Copy(io.Discard, from)
			_ = from.Close()
			return
		}
		if _, werr := to.Write(buf[:n]); err != nil || werr != nil {
			_, _ = to.Close(), from.Close()
			return
		}
	}
}

// TestBlackHole lets the network swallow everything, in both directions and in that to
// us alone: the connection is taken for dead in time, and what was written meanwhile
// comes over another one.
func TestBlackHole(t *testing.T) {
	for name, oneWay := range map[string]bool{"both ways": false, "one way": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newTestDB(t)
			d.exec(`ALTER DATABASE ` + strings.TrimPrefix(d.url.Path, "/") + ` SET wal_sender_timeout = '1500ms'`)
			d.exec(`CREATE TABLE a (id int PRIMARY KEY)`)
			h := newHole(t, net.JoinHostPort(d.url.Hostname(), d.url.Port()), oneWay)
			run := d.start(&connecttest.Offsets{}, "database.port", strings.TrimPrefix(h.listener.Addr().String(), "127.0.0.1:"),
				"snapshot.mode", "no_data", "stream.silence.ms", "1000", "retriable.restart.connector.wait.ms", "50", "slot.retry.delay.ms", "2000")
			d.streaming()
			d.exec(`INSERT INTO a VALUES (1)`)
			run.Take(1)
			h.swallowed.Store(h.connected.Load())
			d.exec(`INSERT INTO a VALUES (2)`)
			began := time.Now()
			if r := run.Take(1)[0]; after(&r, "id").Int() != 2 {
				t.Error(r.Key)
			}
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}
