package postgres

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/connect/connecttest"
)

// ledger folds events into rows, and checks their order.
type ledger struct {
	tb   testing.TB
	rows map[int64]int64
	// The position of the newest change; after a restart that of the stored offset.
	end, commit uint64
	ordinal     int64
	changes     int
}

func (l *ledger) take(r *connect.SourceRecord) {
	p := r.SourceOffset.(*position)
	if r.Topic == "" || r.Value.IsNull() {
		return
	}
	if op(r) != "r" && len(r.Headers) == 0 && p.snapshot == snapshotNone {
		l.order(p)
	}
	l.changes++
	id := r.Key.Struct().Get("id").Int()
	if op(r) == "d" {
		delete(l.rows, id)
		return
	}
	l.rows[id] = after(r, "n").Int()
}

// order checks that transactions come in the order of their commits and their
// changes one after another: nothing twice within one life of a task.
func (l *ledger) order(p *position) {
	var good bool
	switch {
	case p.commit == 0: // The last of its transaction.
		good = p.end > l.end
	case p.commit == l.commit:
		good = p.end == l.end && p.ordinal >= l.ordinal
	default:
		good = p.commit >= l.end && p.end >= l.end
	}
	if !good {
		l.tb.Errorf("%s came after end %d, commit %d, ordinal %d", p.AppendJSON(nil), l.end, l.commit, l.ordinal)
	}
	l.end, l.commit, l.ordinal = p.end, p.commit, p.ordinal
}

// TestChaos writes from several sessions while connections are killed and the task
// is restarted from what was committed: in the end the events fold into the table.
func TestChaos(t *testing.T) {
	d := newTestDB(t)
	d.streamEarly()
	d.exec(`CREATE TABLE a (id int PRIMARY KEY, n int, pad text); INSERT INTO a SELECT g, 0, 'p' FROM generate_series(1, 300) g`)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var writers sync.WaitGroup
	for w := range 4 {
		conn := d.session()
		random := rand.New(rand.NewPCG(uint64(w), 7))
		writers.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				_, err := conn.Exec(context.Background(), randomTransaction(random, w*100000+i))
				if err != nil && strings.Contains(err.Error(), "deadlock") {
					_, err = conn.Exec(context.Background(), "ROLLBACK")
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	var offsets connecttest.Offsets
	l := &ledger{tb: t, rows: map[int64]int64{}}
	random := rand.New(rand.NewPCG(1, 2))
	settings := []string{"max.batch.size", "13", "max.queue.size", "26", "snapshot.max.threads", "2"}
	run := d.start(&offsets, settings...)
	streamed := int64(0)
	for round := range 30 {
		for _, r := range run.Take(20 + random.IntN(300)) {
			l.take(&r)
		}
		switch {
		case round%3 == 0:
			d.get(`SELECT count(pg_terminate_backend(active_pid)) FROM pg_replication_slots WHERE slot_name = $1 AND active`, d.slot)
		case round%5 == 1:
			run.Commit()
			l.end, l.commit, l.ordinal = 0, 0, 0
			run.Stop()
			streamed += run.Metrics.Counter("transactions_streamed_total")
			run = d.start(&offsets, settings...)
		case round%2 == 0:
			run.Commit()
		}
	}
	stop()
	writers.Wait()
	d.exec(`INSERT INTO a VALUES (-1, 77, 'end')`)
	for deadline := time.Now().Add(patience); l.rows[-1] != 77; {
		if time.Now().After(deadline) {
			t.Fatal("the end did not come")
		}
		for _, r := range run.Take(1) {
			l.take(&r)
		}
	}
	compareTable(t, d, l)
	if streamed += run.Metrics.Counter("transactions_streamed_total"); streamed == 0 {
		t.Error("no transaction came while it was in progress")
	}
	t.Logf("%d changes, %d transactions came while they were in progress", l.changes, streamed)
}

func randomTransaction(random *rand.Rand, next int) string {
	sql := "BEGIN;"
	for range 1 + random.IntN(6) {
		id := 1 + random.IntN(300)
		switch random.IntN(8) {
		case 0:
			sql += fmt.Sprintf("INSERT INTO a VALUES (%d, 1, 'x') ON CONFLICT DO NOTHING;", 1000+next*10+random.IntN(10))
		case 1:
			sql += fmt.Sprintf("DELETE FROM a WHERE id = %d;", id)
		case 2:
			sql += fmt.Sprintf("INSERT INTO a VALUES (%d, 5, 'again') ON CONFLICT (id) DO UPDATE SET n = a.n + 1;", id)
		case 3:
			sql += fmt.Sprintf("UPDATE a SET n = n + 1 WHERE id BETWEEN %d AND %d;", id, id+random.IntN(30))
		case 4:
			sql += fmt.Sprintf("SAVEPOINT s; UPDATE a SET n = n + 7, pad = repeat('y', 2000) WHERE id BETWEEN %d AND %d; ROLLBACK TO s;", id, id+random.IntN(60))
		case 5:
			sql += fmt.Sprintf("UPDATE a SET n = n + 1, pad = repeat('z', 1500) WHERE id BETWEEN %d AND %d;", id, id+random.IntN(100))
		default:
			sql += fmt.Sprintf("UPDATE a SET n = n + 1, pad = repeat('x', %d) WHERE id = %d;", random.IntN(3000), id)
		}
	}
	if random.IntN(10) == 0 {
		return sql + "ROLLBACK"
	}
	return sql + "COMMIT"
}

func compareTable(t *testing.T, d *testDB, l *ledger) {
	t.Helper()
	rows, err := d.conn.Query(context.Background(), `SELECT id, n FROM a`)
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for rows.Next() {
		var id, n int64
		if err := rows.Scan(&id, &n); err != nil {
			t.Fatal(err)
		}
		seen++
		if got, ok := l.rows[id]; !ok || got != n {
			t.Errorf("row %d is %d, the events say %d (%v)", id, n, got, ok)
		}
	}
	if seen != len(l.rows) {
		t.Errorf("the table has %d rows, the events leave %d", seen, len(l.rows))
	}
}
