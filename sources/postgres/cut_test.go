package postgres

import (
	"io"
	"net"
	"sync/atomic"
	"testing"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/connect/connecttest"
)

// cutter stands between the task and the server. It cuts the first connection on which
// the server says more bytes than the first of limits, then one after the second, and
// so on.
type cutter struct {
	listener net.Listener
	limits   []int64
	cuts     atomic.Int64
}

// newCutter listens until the test ends.
func newCutter(tb testing.TB, server string, limits ...int64) *cutter {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	c := &cutter{listener: l, limits: limits}
	tb.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			go c.pass(in, server)
		}
	}()
	return c
}

func (c *cutter) port() string {
	_, port, _ := net.SplitHostPort(c.listener.Addr().String())
	return port
}

func (c *cutter) pass(in net.Conn, server string) {
	defer func() { _ = in.Close() }()
	out, err := net.Dial("tcp", server)
	if err != nil {
		return
	}
	defer func() { _ = out.Close() }()
	go func() {
		_, _ = io.Copy(out, in)
		_ = out.Close()
	}()
	buf, passed := make([]byte, 4096), int64(0)
	for {
		n, err := out.Read(buf)
		if _, werr := in.Write(buf[:n]); err != nil || werr != nil {
			return
		}
		passed += int64(n)
		if cut := int(c.cuts.Load()); cut < len(c.limits) && passed > c.limits[cut] {
			c.cuts.Add(1)
			return
		}
	}
}

// TestCutAgainWhileSkipping loses the connection in the middle of a transaction, and
// then again while what was sent of it is passed over: nothing comes twice.
func TestCutAgainWhileSkipping(t *testing.T) {
	d := newTestDB(t)
	// A row is told in about 80 bytes.
	c := newCutter(t, net.JoinHostPort(d.url.Hostname(), d.url.Port()), 200_000, 60_000)
	d.exec(`CREATE TABLE a (id int PRIMARY KEY, v text)`)
	run := d.start(&connecttest.Offsets{}, "database.port", c.port(), "snapshot.mode", "no_data", "max.batch.size", "50")
	eventually(t, "the slot", func() bool { return d.get("SELECT count(*) FROM pg_replication_slots WHERE active") == "1" })
	const rows = 4000
	d.exec(`INSERT INTO a SELECT g, 'a row that is long enough for this' FROM generate_series(1, $1) g`, rows)
	for i, r := range run.Take(rows) {
		if id := after(&r, "id").Int(); id != int64(i+1) {
			t.Fatalf("row %d came, want %d (%s)", id, i+1, r.SourceOffset.AppendJSON(nil))
		}
	}
	if c.cuts.Load() != 2 {
		t.Errorf("%d cuts", c.cuts.Load())
	}
}

// TestNewSnapshotForgetsTheFormerPosition takes a snapshot because the stored offset
// belongs to another history and is ahead of this one: it says nothing of what is
// safe here.
func TestNewSnapshotForgetsTheFormerPosition(t *testing.T) {
	d := newTestDB(t)
	d.exec(`CREATE TABLE a (id int PRIMARY KEY, v text)`)
	var offsets connecttest.Offsets
	p, err := partition("shop")
	if err != nil {
		t.Fatal(err)
	}
	const ahead = uint64(0x7fff_0000_0000)
	former := position{lsn: ahead, end: ahead, lineage: &lineage{systemID: "1", slot: d.slot}}
	offsets.Put(p, former.AppendJSON(nil))
	run := d.start(&offsets, "snapshot.mode", "when_needed", "status.update.interval.ms", "100")
	eventually(t, "the stream", func() bool { return d.get("SELECT count(*) FROM pg_replication_slots WHERE active") == "1" })
	d.exec(`INSERT INTO a VALUES (1, 'one')`)
	var records []connect.SourceRecord
	eventually(t, "the row", func() bool {
		for _, r := range run.Poll(0) {
			if r.Topic != "" {
				records = append(records, r)
			}
		}
		return len(records) == 1
	})
	// Nothing was committed: the slot must stay before the row.
	for range 20 {
		run.Poll(0)
		if d.get(`SELECT confirmed_flush_lsn > pg_current_wal_lsn() FROM pg_replication_slots`) == "true" {
			t.Fatalf("%s was confirmed", d.get(`SELECT confirmed_flush_lsn::text FROM pg_replication_slots`))
		}
		d.exec(`SELECT pg_sleep(0.1)`)
	}
}
