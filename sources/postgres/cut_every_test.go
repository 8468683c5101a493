package postgres

import (
	"bytes"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidemill/tidemill/connect/connecttest"
	"github.com/tidemill/tidemill/internal/testenv/proxy"
)

// messageCutter cuts the connection in the middle of the at-th message that one side
// says, once. On connections for questions about the catalogue, of which there are
// hundreds, it counts some of the messages only.
type messageCutter struct {
	at     int64
	side   proxy.Direction
	said   atomic.Int64
	asides atomic.Int64 // Messages on other connections than those for replication.
}

func (c *messageCutter) hook(m *proxy.Message) proxy.Verdict {
	const some = 7
	replication := bytes.Contains(m.Conn.First(), []byte("\x00replication\x00"))
	if m.To != c.side || !replication && c.asides.Add(1)%some != 0 || c.said.Add(1) != c.at {
		return proxy.Pass
	}
	m.Data = m.Data[:len(m.Data)/2]
	if c.at%2 == 0 {
		return proxy.Reset
	}
	return proxy.Cut
}

// TestCutAtEveryMessage cuts the connection in the middle of each message of a task's
// life, of either side: logins, checks, the publication, the slot, the snapshot and the
// stream. What the log holds comes once, what the snapshot read may come again when it
// was cut, and no slot is left over.
func TestCutAtEveryMessage(t *testing.T) {
	t.Parallel()
	d := newTestDB(t)
	const workers = 6
	for _, side := range []proxy.Direction{proxy.ToClient, proxy.ToServer} {
		var over atomic.Bool
		var next, last atomic.Int64
		var running sync.WaitGroup
		for range workers {
			running.Go(func() {
				session := &testDB{tb: t, url: d.url, conn: d.session()}
				for !over.Load() && !t.Failed() {
					at := next.Add(1)
					if !session.cutAt(t, at, side) {
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
func (d *testDB) cutAt(t *testing.T, at int64, side proxy.Direction) bool {
	name := fmt.Sprintf("cut_%d_of_%d", at, side)
	d.slot = name
	d.exec(`CREATE TABLE ` + name + ` (id int PRIMARY KEY); INSERT INTO ` + name + ` VALUES (1), (2)`)
	c := &messageCutter{at: at, side: side}
	p := d.through(t, proxy.Options{Framing: proxy.Postgres, Hook: c.hook})
	defer func() { _ = p.Close() }()
	run := d.start(&connecttest.Offsets{}, "database.port", p.Port(),
		"table.include.list", "public."+name, "publication.name", name, "retriable.restart.connector.wait.ms", "10",
		"slot.retry.delay.ms", "50", "status.update.interval.ms", "50")
	seen, last := map[int64]string{}, int64(0)
	take := func(until int64) {
		for deadline := time.Now().Add(patience); seen[until] == ""; {
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
