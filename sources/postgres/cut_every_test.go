package postgres

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidemill/tidemill/connect/connecttest"
)

// messageCutter stands between a task and the server and knows the protocol's messages:
// in the middle of the at-th that one side says, it cuts the connection, once. On
// connections for questions about the catalogue, of which there are hundreds, it counts
// some of the messages only.
type messageCutter struct {
	at       int64
	ofClient bool
	said     atomic.Int64
	asides   atomic.Int64 // Messages on other connections than those for replication.
	passing  sync.WaitGroup
	listener net.Listener
}

func newMessageCutter(tb testing.TB, server string, at int64, ofClient bool) *messageCutter {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	c := &messageCutter{at: at, ofClient: ofClient, listener: l}
	c.passing.Go(func() {
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
			replication := new(atomic.Bool)
			c.passing.Go(func() { c.relay(out, in, true, replication) })
			c.passing.Go(func() { c.relay(in, out, false, replication) })
		}
	})
	return c
}

func (c *messageCutter) close() {
	_ = c.listener.Close()
	c.passing.Wait()
}

// counts tells whether a message is the one to be cut.
func (c *messageCutter) counts(client, replication bool) bool {
	const some = 7
	return client == c.ofClient && (replication || c.asides.Add(1)%some == 0) && c.said.Add(1) == c.at
}

// relay passes whole messages. The client's first has no type, and says what the
// connection is for.
func (c *messageCutter) relay(to, from net.Conn, client bool, replication *atomic.Bool) {
	defer func() { _, _ = to.Close(), from.Close() }()
	for typed := !client; ; typed = true {
		head := make([]byte, 4, 5)
		if typed {
			head = head[:5]
		}
		if _, err := io.ReadFull(from, head); err != nil {
			return
		}
		size := int(binary.BigEndian.Uint32(head[len(head)-4:])) - 4
		m := append(head, make([]byte, size)...)
		if _, err := io.ReadFull(from, m[len(head):]); err != nil {
			return
		}
		if !typed {
			replication.Store(bytes.Contains(m, []byte("\x00replication\x00")))
		}
		if c.counts(client, replication.Load()) {
			_, _ = to.Write(m[:len(m)/2])
			if c.at%2 == 0 {
				_ = to.(*net.TCPConn).SetLinger(0) // With a reset instead of an end.
			}
			return
		}
		if _, err := to.Write(m); err != nil {
			return
		}
	}
}

// TestCutAtEveryMessage cuts the connection in the middle of each message of a task's
// life, of either side: logins, checks, the publication, the slot, the snapshot and the
// stream. What the log holds comes once, what the snapshot read may come again when it
// was cut, and no slot is left over.
func TestCutAtEveryMessage(t *testing.T) {
	t.Parallel()
	d := newTestDB(t)
	const workers = 6
	for _, ofClient := range []bool{false, true} {
		var over atomic.Bool
		var next, last atomic.Int64
		var running sync.WaitGroup
		for range workers {
			running.Go(func() {
				session := &testDB{tb: t, url: d.url, conn: d.session()}
				for !over.Load() && !t.Failed() {
					at := next.Add(1)
					if !session.cutAt(t, at, ofClient) {
						over.Store(true)
						last.Store(at)
					}
				}
			})
		}
		running.Wait()
		t.Logf("%d messages", last.Load())
	}
}

// cutAt tells whether there was so late a message.
func (d *testDB) cutAt(t *testing.T, at int64, ofClient bool) bool {
	name := fmt.Sprintf("cut_%d_of_client_%v", at, ofClient)
	d.slot = name
	d.exec(`CREATE TABLE ` + name + ` (id int PRIMARY KEY); INSERT INTO ` + name + ` VALUES (1), (2)`)
	c := newMessageCutter(t, net.JoinHostPort(d.url.Hostname(), d.url.Port()), at, ofClient)
	defer c.close()
	run := d.start(&connecttest.Offsets{}, "database.port", strings.TrimPrefix(c.listener.Addr().String(), "127.0.0.1:"),
		"table.include.list", "public."+name, "publication.name", name, "retriable.restart.connector.wait.ms", "10",
		"slot.retry.delay.ms", "50", "status.update.interval.ms", "50")
	seen, last := map[int64]string{}, int64(0)
	take := func(until int64) {
		for deadline := time.Now().Add(20 * time.Second); seen[until] == ""; {
			if time.Now().After(deadline) {
				t.Errorf("cut at %d: row %d did not come", at, until)
				return
			}
			for _, r := range run.Poll(50 * time.Millisecond) {
				if r.Topic == "" {
					continue
				}
				id := after(&r, "id").Int()
				if op(&r) == "c" && (seen[id] != "" || id != last+1) {
					t.Errorf("cut at %d: row %d came after %d, or again after %q", at, id, last, seen[id])
				}
				seen[id], last = op(&r), id
			}
			run.Commit()
		}
	}
	take(2)
	d.exec(`INSERT INTO ` + name + ` VALUES (3)`)
	take(3)
	d.exec(`INSERT INTO ` + name + ` VALUES (4), (5), (6)`)
	take(6)
	run.Stop()
	if n := d.get(`SELECT count(*) FROM pg_replication_slots WHERE slot_name IN ($1, $2)`, name, name+"_snapshot"); n != "1" {
		t.Errorf("cut at %d: %s slots", at, n)
	}
	eventually(t, "the slot is free", func() bool {
		return d.get(`SELECT count(pg_drop_replication_slot(slot_name)) FROM pg_replication_slots WHERE slot_name = $1 AND NOT active`, name) == "1"
	})
	d.exec(`DROP TABLE ` + name + `; DROP PUBLICATION ` + name)
	return c.said.Load() >= at
}
