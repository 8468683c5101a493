package postgres

import (
	"context"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/internal/devstack"
)

// decodedLine is a line of test_decoding about a row of the table a.
var decodedLine = regexp.MustCompile(`^table public\.a: (INSERT|UPDATE|DELETE): id\[integer\]:(\d+)(?: n\[integer\]:(\d+))?`)

// TestCrashesAgainstOracle crashes the server again and again while sessions write, and
// compares what came with what test_decoding says of the same log: the same changes, in
// the same order and the same transactions, each once, although the slot is set back by
// crashes.
func TestCrashesAgainstOracle(t *testing.T) {
	t.Parallel()
	pg := devstack.NewTestPostgres(t, devstack.PostgresOptions{Settings: map[string]string{"logical_decoding_work_mem": "64kB", "checkpoint_timeout": "30s"}})
	d := openTestDB(t, pg.DSN("postgres"))
	d.exec(`CREATE TABLE a (id int PRIMARY KEY, n int, pad text); INSERT INTO a SELECT g, 0, 'p' FROM generate_series(1, 300) g`)
	d.get(`SELECT pg_create_logical_replication_slot('oracle', 'test_decoding')::text`)
	run := d.begun("tombstones.on.delete", "false", "max.batch.size", "31", "retriable.restart.connector.wait.ms", "100")
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var writers sync.WaitGroup
	for w := range 3 {
		writers.Go(func() { writeThroughCrashes(ctx, t, pg, w) })
	}
	var got []string
	take := func(n int) {
		for _, r := range run.Take(n) {
			got = append(got, fmt.Sprintf("%d %s %s", source(&r, "txId").Int(), op(&r), rowOf(&r)))
		}
	}
	for round := range 7 {
		take(100)
		if round%2 == 0 {
			run.Commit()
		}
		pg.Crash([]syscall.Signal{syscall.SIGQUIT, syscall.SIGKILL}[round%2])
		if err := pg.Restart(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	writers.Wait()
	d.conn = d.session()
	var want []string
	for _, line := range d.decoded("oracle") {
		want = append(want, line...)
	}
	take(len(want) - len(got))
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("change %d is %q, want %q", i, got[i], want[i])
		}
	}
	d.exec(`INSERT INTO a VALUES (5000000, 1, 'end')`)
	if r := run.Take(1)[0]; r.Key.String() != `{"id":5000000}` {
		t.Errorf("%s is one too many", r.Key)
	}
	t.Logf("%d changes, %d reconnects, %d transactions came while they were in progress",
		len(want), run.Metrics.Counter("reconnects_total"), run.Metrics.Counter("transactions_streamed_total"))
}

// rowOf is the row an event speaks of, as the oracle has it.
func rowOf(r *connect.SourceRecord) string {
	id := r.Key.Struct().Get("id").Int()
	if op(r) == "d" {
		return fmt.Sprint(id)
	}
	return fmt.Sprint(id, " ", after(r, "n").Int())
}

// decoded reads a slot of test_decoding: the changes of each transaction.
func (d *testDB) decoded(slot string) (txs [][]string) {
	d.tb.Helper()
	rows, err := d.conn.Query(context.Background(), `SELECT xid::text, data FROM pg_logical_slot_get_changes($1, NULL, NULL)`, slot)
	if err != nil {
		d.tb.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var xid, line string
		if err := rows.Scan(&xid, &line); err != nil {
			d.tb.Fatal(err)
		}
		if strings.HasPrefix(line, "BEGIN") {
			txs = append(txs, nil)
			continue
		}
		m := decodedLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		text := xid + " " + map[string]string{"INSERT": "c", "UPDATE": "u", "DELETE": "d"}[m[1]] + " " + m[2]
		if m[3] != "" {
			text += " " + m[3]
		}
		txs[len(txs)-1] = append(txs[len(txs)-1], text)
	}
	return txs
}

// writeThroughCrashes runs random transactions, connecting anew when the server went.
func writeThroughCrashes(ctx context.Context, t *testing.T, pg *devstack.Postgres, w int) {
	random := rand.New(rand.NewPCG(uint64(w), 11))
	var conn *pgx.Conn
	for i := 0; ctx.Err() == nil; i++ {
		if conn == nil || conn.IsClosed() {
			if conn, _ = pgx.Connect(ctx, pg.DSN("postgres")); conn == nil {
				pause(ctx, 20*time.Millisecond)
				continue
			}
		}
		if _, err := conn.Exec(context.Background(), randomTransaction(random, w*100000+i)); err != nil && !conn.IsClosed() {
			_, _ = conn.Exec(context.Background(), "ROLLBACK")
		}
	}
	if conn != nil {
		_ = conn.Close(context.Background())
	}
}
