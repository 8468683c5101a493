package postgres

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/connect/connecttest"
)

// signalled is the connector with the doors of a worker: signals in, documents out.
type signalled struct {
	connect.SourceConnector
	signals chan []byte
	consume func(ctx context.Context, settings connect.Config, topic, group string, each func(key, value []byte) error) error
	mu      sync.Mutex
	shown   map[string]string
}

type signalledTask struct {
	connect.SourceTask
	c *signalled
}

func newSignalled() *signalled {
	return &signalled{SourceConnector: Plugin().New(), signals: make(chan []byte, 10), shown: map[string]string{}}
}

func (c *signalled) NewTask() connect.SourceTask {
	return &signalledTask{SourceTask: c.SourceConnector.NewTask(), c: c}
}

func (t *signalledTask) Start(ctx context.Context, env connect.SourceTaskEnv) error {
	env.Signals, env.Consume = t.c.signals, t.c.consume
	env.Show = func(name string, document []byte) {
		t.c.mu.Lock()
		defer t.c.mu.Unlock()
		t.c.shown[name] = string(document)
	}
	return t.SourceTask.Start(ctx, env)
}

func (t *signalledTask) Commit(ctx context.Context, offsets map[connect.SourcePartition]connect.Offset) error {
	return t.SourceTask.(connect.Committer).Commit(ctx, offsets)
}

func (c *signalled) send(kind, data string) {
	c.signals <- []byte(`{"id":"s1","type":"` + kind + `","data":` + data + `}`)
}

func (d *testDB) startSignalled(c *signalled, offsets *connecttest.Offsets, pairs ...string) *connecttest.SourceRun {
	d.tb.Helper()
	c.SourceConnector = Plugin().New()
	return connecttest.StartSource(d.tb, c, d.config(pairs...), offsets)
}

// versions folds events into the version and the large value of each row, and fails
// when a key goes back to an older version.
type versions struct {
	tb    testing.TB
	table string
	rows  map[string]int64
	big   map[string]string
	seen  map[string]int64 // The newest version ever; versions only grow, also across deletions.
	reads map[string]int   // How often a row was read.
	ops   map[string]int
	// moving are the large values of rows on their way to another key.
	moving map[string]string
	// kept is what was stored when the offsets were; a restart goes back there.
	kept *versions
}

// snapshot returns a copy of the state.
func (v *versions) snapshot() *versions {
	return &versions{rows: maps.Clone(v.rows), big: maps.Clone(v.big), seen: maps.Clone(v.seen), moving: maps.Clone(v.moving)}
}

// restore goes back to what was kept.
func (v *versions) restore() {
	v.rows, v.big, v.seen, v.moving = maps.Clone(v.kept.rows), maps.Clone(v.kept.big), maps.Clone(v.kept.seen), maps.Clone(v.kept.moving)
}

func newVersions(tb testing.TB, table string) *versions {
	return &versions{tb: tb, table: table, rows: map[string]int64{}, big: map[string]string{}, seen: map[string]int64{}, reads: map[string]int{}, ops: map[string]int{}, moving: map[string]string{}}
}

func (v *versions) take(r *connect.SourceRecord, anew bool) {
	if !strings.HasSuffix(r.Topic, "."+v.table) || r.Value.IsNull() {
		return
	}
	key := r.Key.String()
	v.ops[op(r)]++
	if op(r) == "d" {
		if to, moves := r.Header("__debezium.newkey"); moves {
			if big, known := v.big[key]; known {
				v.moving[to.Value.String()] = big
			}
		}
		delete(v.rows, key)
		delete(v.big, key)
		return
	}
	n := after(r, "n").Int()
	if n < v.seen[key] && !anew {
		v.tb.Errorf("%s went from version %d back to %d (%s)", key, v.seen[key], n, op(r))
	}
	v.seen[key] = max(n, v.seen[key])
	if op(r) == "r" {
		v.reads[key]++
	}
	v.rows[key] = n
	if b := after(r, "big").Str(); b != "__debezium_unavailable_value" {
		v.big[key] = b
	} else if big, moved := v.moving[key]; moved && op(r) == "c" {
		v.big[key] = big
	}
	delete(v.moving, key)
}

// compare compares with the table, whose key as JSON the expression gives.
func (v *versions) compare(d *testDB, key string) {
	v.tb.Helper()
	rows, err := d.conn.Query(context.Background(), `SELECT `+key+`, n::bigint, big FROM `+v.table)
	if err != nil {
		v.tb.Fatal(err)
	}
	count := 0
	for rows.Next() {
		var k, big string
		var n int64
		if err := rows.Scan(&k, &n, &big); err != nil {
			v.tb.Fatal(err)
		}
		count++
		if got, ok := v.rows[k]; !ok || got != n {
			v.tb.Errorf("%s has version %d, the events say %d (%v)", k, n, got, ok)
		}
		if v.big[k] != big {
			v.tb.Errorf("%s: the large value has %d bytes, the events left %d (%.20q, want %.20q)", k, len(big), len(v.big[k]), v.big[k], big)
		}
	}
	if count != len(v.rows) {
		v.tb.Errorf("the table has %d rows, the events leave %d", count, len(v.rows))
	}
}

const jsonID = `'{"id":' || id || '}'`

func TestIncrementalSnapshotBySignalTable(t *testing.T) {
	t.Parallel()
	d := newTestDB(t)
	d.exec(`CREATE TABLE signals (id varchar(42) PRIMARY KEY, type varchar(32) NOT NULL, data varchar(2048));
		CREATE TABLE a (id int PRIMARY KEY, n int, big text);
		INSERT INTO a SELECT g, 1, 'x' FROM generate_series(1, 5000) g`)
	var offsets connecttest.Offsets
	c := newSignalled()
	run := d.startSignalled(c, &offsets, "snapshot.mode", "no_data", "table.include.list", "public.a", "signal.data.collection", "public.signals", "incremental.snapshot.chunk.size", "100")
	d.streaming()
	d.exec(`INSERT INTO signals VALUES ('one', 'execute-snapshot', '{"data-collections": ["public.a", "public.none"], "type": "incremental"}')`)
	v := newVersions(t, "a")
	for _, r := range run.Take(5000) {
		v.take(&r, false)
		if s := source(&r, "snapshot").Str(); s != "incremental" {
			t.Fatal(s)
		}
		if !source(&r, "lsn").IsNull() || !source(&r, "txId").IsNull() {
			t.Fatal("a row that was read has a place in the log")
		}
	}
	v.compare(d, jsonID)
	eventually(t, "the snapshot ends", func() bool {
		run.Poll(20 * time.Millisecond)
		c.mu.Lock()
		defer c.mu.Unlock()
		return run.Metrics.Counter("incremental_rows_total") == 5000 && c.shown["incremental"] == ""
	})
	d.exec(`UPDATE a SET n = 2 WHERE id = 7`)
	if got := brief(&run.Take(1)[0]); got != `a u {"id":7} null {"id":7,"n":2,"big":"x"}` {
		t.Error(got)
	}
}

// storm changes rows until stop is called: versions only grow, also when a row is
// deleted and comes back, keys move, and large values mostly stay as they are.
func storm(t *testing.T, d *testDB, table string, sessions, rows int) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var writers sync.WaitGroup
	for w := range sessions {
		conn := d.session()
		random := rand.New(rand.NewPCG(uint64(w), 7))
		writers.Go(func() {
			for ctx.Err() == nil {
				if _, err := conn.Exec(context.Background(), stormStatement(random, table, rows)); err != nil {
					_, _ = conn.Exec(context.Background(), "ROLLBACK")
					if !strings.Contains(err.Error(), "deadlock") && !strings.Contains(err.Error(), "duplicate") {
						t.Error(err)
						return
					}
				}
				pause(ctx, 4*time.Millisecond)
			}
		})
	}
	return func() { cancel(); writers.Wait() }
}

func stormStatement(random *rand.Rand, table string, rows int) string {
	id, other := 1+random.IntN(rows), 1+random.IntN(rows)
	switch random.IntN(10) {
	case 0:
		return fmt.Sprintf("DELETE FROM %s WHERE id = %d", table, id)
	case 1, 2:
		return fmt.Sprintf("INSERT INTO %s VALUES (%d, nextval('v'), repeat('new%d', 2000)) ON CONFLICT (id) DO UPDATE SET n = nextval('v')", table, id, id)
	case 3:
		return fmt.Sprintf("UPDATE %s SET id = %d, n = nextval('v') WHERE id = %d", table, other, id)
	case 4:
		return fmt.Sprintf("BEGIN; UPDATE %[1]s SET n = nextval('v') WHERE id BETWEEN %[2]d AND %[2]d + 20; UPDATE %[1]s SET n = nextval('v'), big = repeat('big%[3]d', 1000) WHERE id = %[3]d; COMMIT", table, id, other)
	case 5:
		return fmt.Sprintf("BEGIN; UPDATE %s SET n = nextval('v') WHERE id = %d; ROLLBACK", table, id)
	}
	return fmt.Sprintf("UPDATE %s SET n = nextval('v') WHERE id = %d", table, id)
}

func stormTable(d *testDB, table string, rows int) {
	d.exec(`CREATE SEQUENCE IF NOT EXISTS v START 10`)
	d.exec(`CREATE TABLE ` + table + ` (id int PRIMARY KEY, n bigint, big text); ALTER TABLE ` + table + ` ALTER big SET STORAGE EXTERNAL`)
	d.exec(`INSERT INTO ` + table + ` SELECT g, 1, repeat('first' || g, 600) FROM generate_series(1, ` + strconv.Itoa(rows) + `) g`)
}

// TestIncrementalSnapshotInAStorm reads a table while it is changed from all sides.
func TestIncrementalSnapshotInAStorm(t *testing.T) {
	for _, kind := range []string{"messages", "read.only", "binary"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			var settings []string
			switch kind {
			case "read.only":
				settings = append(settings, "read.only", "true")
			case "binary":
				settings = append(settings, "stream.format", "binary")
			}
			readInAStorm(t, newTestDB(t), 3000, 4, settings...)
		})
	}
}

// readInAStorm has a table of so many rows read because a signal asks for it, while so
// many sessions change it, and compares what came with it.
func readInAStorm(t *testing.T, d *testDB, rows, sessions int, settings ...string) {
	t.Helper()
	stormTable(d, "storm", rows)
	c := newSignalled()
	run := d.startSignalled(c, &connecttest.Offsets{}, append(settings, "snapshot.mode", "no_data", "incremental.snapshot.chunk.size", "50", "table.include.list", "public.storm")...)
	d.streaming()
	stop := storm(t, d, "storm", sessions, rows)
	defer stop()
	v := newVersions(t, "storm")
	c.send("execute-snapshot", `{"data-collections":["public.storm"]}`)
	readBeside(t, c, run, v)
	stop()
	drainUntil(t, d, run, v)
	v.compare(d, jsonID)
	t.Logf("%v, superseded %d", v.ops, run.Metrics.Counter("incremental_rows_superseded_total"))
	run.Stop()
}

// readBeside takes what comes until a snapshot beside the log has begun and ended.
func readBeside(t *testing.T, c *signalled, run *connecttest.SourceRun, v *versions) {
	t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for running := false; ; {
		for _, r := range run.Poll(100 * time.Millisecond) {
			v.take(&r, false)
		}
		c.mu.Lock()
		doc := c.shown["incremental"]
		c.mu.Unlock()
		running = running || doc != ""
		if running && doc == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the snapshot does not end: ", doc)
		}
	}
}

// drainUntil takes everything up to a marker row, which it deletes again.
func drainUntil(t *testing.T, d *testDB, run *connecttest.SourceRun, v *versions, others ...*versions) {
	t.Helper()
	d.exec(`INSERT INTO ` + v.table + ` VALUES (-1, 1, 'end')`)
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); {
		for _, r := range run.Take(1) {
			if strings.HasSuffix(r.Topic, "."+v.table) && !r.Key.IsNull() && strings.Contains(r.Key.String(), "-1") {
				d.exec(`DELETE FROM ` + v.table + ` WHERE id = -1`)
				return
			}
			v.take(&r, false)
			for _, o := range others {
				o.take(&r, false)
			}
		}
	}
	t.Fatal("the end did not come")
}
