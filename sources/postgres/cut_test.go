package postgres

import (
	"sync/atomic"
	"testing"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/connect/connecttest"
	"github.com/tidemill/tidemill/internal/testenv/proxy"
)

// cutter cuts the first connection on which the server says more bytes than the first of
// limits, then one after the second, and so on.
type cutter struct {
	limits []int64
	cuts   atomic.Int64
}

// newCutter listens until the test ends, at the port it returns.
func newCutter(tb testing.TB, d *testDB, limits ...int64) (c *cutter, port string) {
	c = &cutter{limits: limits}
	return c, d.through(tb, proxy.Options{Hook: c.hook}).Port()
}

func (c *cutter) hook(m *proxy.Message) proxy.Verdict {
	n := c.cuts.Load()
	if m.To != proxy.ToClient || n >= int64(len(c.limits)) || m.Offset+int64(len(m.Data)) <= c.limits[n] || !c.cuts.CompareAndSwap(n, n+1) {
		return proxy.Pass
	}
	return proxy.Cut
}

// TestCutAgainWhileSkipping loses the connection in the middle of a transaction, and
// then again while what was sent of it is passed over: nothing comes twice.
func TestCutAgainWhileSkipping(t *testing.T) {
	d := newTestDB(t)
	// A row is told in about 80 bytes.
	c, port := newCutter(t, d, 200_000, 60_000)
	d.exec(`CREATE TABLE a (id int PRIMARY KEY, v text)`)
	run := d.start(&connecttest.Offsets{}, "database.port", port, "snapshot.mode", "no_data", "max.batch.size", "50")
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
