package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/internal/devstack"
)

// signalledRows is how many rows the tables a and b have at first.
const signalledRows = 2000

// The function keeps whoever reads row 1000 waiting while the test holds a lock. It costs
// so much that rows are read in the order of the key and not sorted after it was called.
const signalledTables = `
CREATE SEQUENCE v;
CREATE TABLE a (id int PRIMARY KEY, v bigint NOT NULL DEFAULT nextval('v'));
CREATE TABLE b (id int PRIMARY KEY, v bigint NOT NULL DEFAULT nextval('v'));
CREATE TABLE signals (id varchar(42) PRIMARY KEY, type varchar(32) NOT NULL, data varchar(2048));
INSERT INTO a SELECT g FROM generate_series(1, 2000) g;
INSERT INTO b SELECT g FROM generate_series(1, 2000) g;
CREATE FUNCTION gate(id int) RETURNS boolean LANGUAGE plpgsql COST 100000 AS $$ BEGIN IF id = 1000 THEN PERFORM pg_advisory_xact_lock_shared(77); END IF; RETURN true; END $$;
ANALYZE;`

const gated = `,"additional-conditions":[{"data-collection":"public.a","filter":"gate(id)"}]`

// TestSnapshotsBySignalsThroughKills has tables read while a writer goes on, by each way
// in which signals come and with the worker killed in the middle of it: the topics come
// to what the tables say, and with exactly-once no change and no row comes twice.
func TestSnapshotsBySignalsThroughKills(t *testing.T) {
	t.Parallel()
	for _, once := range []bool{false, true} {
		t.Run(map[bool]string{false: "at least once", true: "exactly once"}[once], func(t *testing.T) {
			t.Parallel()
			s := newSignalScene(t, once)
			stop := s.write()
			s.killedInTheMiddle()
			s.killedWithSignalsUnread()
			s.stopped()
			s.blocking()
			stop()
			s.compare()
			s.deleted()
		})
	}
}

// signalScene is a worker with one connector, its database and what came in its topics.
type signalScene struct {
	t      *testing.T
	ctx    context.Context
	once   bool
	conn   *pgx.Conn
	dsn    string
	worker *process
	base   string
	rest   *client
	kafka  *kgo.Client
	tables map[string]*signalledTable
	notes  []string // Type and request of each notification.
}

// signalledTable is a table as its topic tells it.
type signalledTable struct {
	rows    map[int64]int64
	newest  map[int64]int64
	changes map[int64]int // How often each version came as a change.
	reads   map[int64]int // How often each row was read.
}

func newSignalScene(t *testing.T, once bool) *signalScene {
	s := &signalScene{t: t, ctx: timeout(t, 4*time.Minute), once: once, dsn: devstack.TestPostgres(t), tables: map[string]*signalledTable{}}
	for _, name := range []string{"a", "b"} {
		s.tables["own.public."+name] = &signalledTable{rows: map[int64]int64{}, newest: map[int64]int64{}, changes: map[int64]int{}, reads: map[int64]int{}}
	}
	var err error
	if s.conn, err = pgx.Connect(s.ctx, s.dsn); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.conn.Close(context.Background()) })
	s.exec(signalledTables)
	ports := freePorts(t, 2)
	s.base = fmt.Sprintf("http://127.0.0.1:%d", ports[0])
	broker := fmt.Sprintf("127.0.0.1:%d", ports[1])
	launch(t, "dev-kafka", "--port", fmt.Sprint(ports[1]), "--data-dir", t.TempDir())
	config := debeziumConfig(t, s.dsn)
	config["slot.name"] = "signals_" + config["database.dbname"]
	path := exactlyOnceSettings(t, broker, s.base)
	if once {
		config["exactly.once.support"] = "required"
	} else {
		path = withoutExactlyOnce(t, path)
	}
	s.worker = launch(t, "worker", "-c", path)
	s.worker.waitHealthy(s.ctx, s.base)
	for name, text := range map[string]string{
		"table.include.list": "public.a,public.b", "snapshot.mode": "no_data", "signal.data.collection": "public.signals", "signal.enabled.channels": "source,kafka",
		"signal.poll.interval.ms": "50", "incremental.snapshot.chunk.size": "50", "notification.enabled.channels": "sink", "notification.sink.topic.name": "own-notes",
	} {
		config[name] = text
	}
	s.rest = newClient(s.base)
	if err := s.rest.createConnector(s.ctx, "own", config); err != nil {
		t.Fatal(err)
	}
	if err := s.rest.waitRunning(s.ctx, "own"); err != nil {
		t.Fatal(err)
	}
	s.kafka, err = kgo.NewClient(kgo.SeedBrokers(broker), kgo.ConsumeTopics("own.public.a", "own.public.b", "own-notes"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.MetadataMinAge(50*time.Millisecond), kgo.MetadataMaxAge(200*time.Millisecond), kgo.AllowAutoTopicCreation())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.kafka.Close)
	return s
}

// withoutExactlyOnce takes the setting out of a worker's properties.
func withoutExactlyOnce(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "plain.properties")
	if err := os.WriteFile(path, []byte(strings.Replace(string(text), "exactly.once.source.support=enabled\n", "", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func (s *signalScene) exec(sql string, args ...any) {
	s.t.Helper()
	if _, err := s.conn.Exec(s.ctx, sql, args...); err != nil {
		s.t.Fatalf("%s: %v", sql, err)
	}
}

// write changes rows of both tables until the function it returns is called.
func (s *signalScene) write() (stop func()) {
	ctx, cancel := context.WithCancel(s.ctx)
	done := make(chan error, 1)
	go func() { done <- writeSignalled(ctx, s.dsn) }()
	return func() {
		s.t.Helper()
		cancel()
		if err := <-done; err != nil {
			s.t.Fatal(err)
		}
	}
}

func writeSignalled(ctx context.Context, dsn string) error {
	conn, err := pgx.Connect(context.WithoutCancel(ctx), dsn)
	if err != nil {
		return err
	}
	defer conn.Close(context.Background())
	random := rand.New(rand.NewPCG(3, 7))
	for ctx.Err() == nil {
		id := 1 + random.IntN(signalledRows)
		sql := fmt.Sprintf("BEGIN; UPDATE a SET v = nextval('v') WHERE id BETWEEN %[1]d AND %[1]d + 3; UPDATE b SET v = nextval('v') WHERE id = %[1]d; COMMIT; SELECT pg_sleep(0.004)", id)
		switch random.IntN(8) {
		case 0:
			sql = fmt.Sprintf("BEGIN; DELETE FROM a WHERE id = %[1]d; DELETE FROM b WHERE id = %[1]d; COMMIT", id)
		case 1:
			sql = fmt.Sprintf("INSERT INTO a VALUES (%d) ON CONFLICT (id) DO UPDATE SET v = nextval('v')", id)
		}
		if _, err := conn.Exec(context.WithoutCancel(ctx), sql); err != nil {
			return err
		}
	}
	return nil
}

// signal sends a signal over REST, once the task takes any.
func (s *signalScene) signal(id, kind, data string) {
	s.t.Helper()
	err := until(s.ctx, "the task to take a signal", func() (bool, error) {
		body := map[string]any{"id": id, "type": kind, "data": json.RawMessage(data)}
		err := s.rest.call(s.ctx, http.MethodPost, "/connectors/own/signals", body, nil)
		if e, ok := err.(*restError); ok && (e.status == http.StatusConflict || e.status == http.StatusServiceUnavailable) {
			return false, nil
		}
		return err == nil, err
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

// stored waits until the stored offset has something in it.
func (s *signalScene) stored(what string) {
	s.t.Helper()
	err := until(s.ctx, "the offset to hold "+what, func() (bool, error) {
		var all json.RawMessage
		err := s.rest.call(s.ctx, http.MethodGet, "/connectors/own/offsets", nil, &all)
		return strings.Contains(string(all), what), err
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

// kill ends the worker as a power cut would, and starts it again.
func (s *signalScene) kill() {
	s.t.Helper()
	s.worker.kill()
	s.worker.start()
	s.worker.waitHealthy(s.ctx, s.base)
}

// await reads the topics until something holds.
func (s *signalScene) await(what string, holds func() bool) {
	s.t.Helper()
	for !holds() {
		fetches := s.kafka.PollFetches(s.ctx)
		if s.ctx.Err() != nil {
			status, _ := s.rest.status(context.Background(), "own")
			s.t.Fatalf("waiting for %s; notifications: %v\nstatus: %+v\n%s", what, s.notes, status, s.worker.stderr.String())
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if err := s.take(r); err != nil {
				s.t.Fatalf("offset %d of %s: %v", r.Offset, r.Topic, err)
			}
		})
	}
}

// told waits for a notification.
func (s *signalScene) told(note string) {
	s.t.Helper()
	s.await(note, func() bool {
		for _, n := range s.notes {
			if n == note {
				return true
			}
		}
		return false
	})
}

func (s *signalScene) take(r *kgo.Record) error {
	if r.Topic == "own-notes" {
		var note struct {
			Type string
			More map[string]string `json:"additional_data"`
		}
		err := json.Unmarshal(r.Value, &note)
		s.notes = append(s.notes, note.Type+" "+note.More["request_id"])
		return err
	}
	var key struct{ ID int64 }
	var value struct {
		Op    string
		After struct{ V int64 }
	}
	if err := json.Unmarshal(r.Key, &key); err != nil || r.Value == nil {
		return err
	}
	if err := json.Unmarshal(r.Value, &value); err != nil {
		return err
	}
	return s.tables[r.Topic].take(key.ID, value.Op, value.After.V, s.once)
}

func (t *signalledTable) take(id int64, op string, v int64, once bool) error {
	switch {
	case op == "d":
		delete(t.rows, id)
		return nil
	case op == "r":
		t.reads[id]++
	default:
		t.changes[v]++
		if once && t.changes[v] > 1 {
			return fmt.Errorf("version %d of row %d comes twice", v, id)
		}
	}
	if once && v < t.newest[id] {
		return fmt.Errorf("row %d goes from version %d back to %d (%s)", id, t.newest[id], v, op)
	}
	t.rows[id], t.newest[id] = v, max(v, t.newest[id])
	return nil
}

// killedInTheMiddle asks over REST, has the snapshot stand still at a row, and kills the
// worker there; then pauses it, kills again, and lets it go on.
func (s *signalScene) killedInTheMiddle() {
	s.t.Helper()
	s.exec("SELECT pg_advisory_lock(77)")
	s.signal("rest", "execute-snapshot", `{"data-collections":["public.a","public.b"]`+gated+`}`)
	s.told("STARTED rest")
	s.await("the first rows", func() bool { return len(s.tables["own.public.a"].reads) > 0 })
	s.stored(`\"last\":[`)
	s.kill()
	s.told("TABLE_SCAN_COMPLETED rest") // Of b.
	s.signal("rest", "pause-snapshot", `{}`)
	s.told("PAUSED rest")
	s.stored(`\"paused\":true`)
	s.kill()
	s.exec("SELECT pg_advisory_unlock(77)")
	s.signal("rest", "resume-snapshot", `{}`)
	s.told("RESUMED rest")
	s.told("COMPLETED rest")
	s.readOnce("rest", "a", 1)
}

// readOnce checks that with exactly-once no row was read more often than it was asked for.
func (s *signalScene) readOnce(when, table string, most int) {
	s.t.Helper()
	for id, n := range s.tables["own.public."+table].reads {
		if s.once && n > most {
			s.t.Errorf("%s: row %d of %s was read %d times", when, id, table, n)
		}
	}
}

// killedWithSignalsUnread sends signals through Kafka and the table, and kills the
// worker at once: they are not lost.
func (s *signalScene) killedWithSignalsUnread() {
	s.t.Helper()
	record := &kgo.Record{Topic: "own-signal", Key: []byte("own"), Value: []byte(`{"id":"kafka","type":"execute-snapshot","data":{"data-collections":["public.b"]}}`)}
	if err := s.kafka.ProduceSync(s.ctx, record).FirstErr(); err != nil {
		s.t.Fatal(err)
	}
	s.exec(`INSERT INTO signals VALUES ('table', 'execute-snapshot', '{"data-collections":["public.a"]}')`)
	s.kill()
	s.told("COMPLETED table")
	s.told("COMPLETED kafka")
	s.readOnce("table", "a", 2)
}

// stopped gives a snapshot up that stands still.
func (s *signalScene) stopped() {
	s.t.Helper()
	s.exec("SELECT pg_advisory_lock(77)")
	s.signal("halted", "execute-snapshot", `{"data-collections":["public.a"]`+gated+`}`)
	s.told("IN_PROGRESS halted")
	s.exec(`INSERT INTO signals VALUES ('stop', 'stop-snapshot', '{"data-collections":["public.a"]}')`)
	s.told("ABORTED stop")
	s.exec("SELECT pg_advisory_unlock(77)")
}

// blocking reads b as of one moment.
func (s *signalScene) blocking() {
	s.t.Helper()
	s.exec(`INSERT INTO signals VALUES ('block', 'execute-snapshot', '{"type":"blocking","data-collections":["public.b"]}')`)
	s.told("COMPLETED block")
}

// compare compares what the topics say with the tables.
func (s *signalScene) compare() {
	s.t.Helper()
	s.exec("INSERT INTO a VALUES (-1); INSERT INTO b VALUES (-1)")
	s.await("the last changes", func() bool { return s.tables["own.public.a"].rows[-1] > 0 && s.tables["own.public.b"].rows[-1] > 0 })
	for topic, t := range s.tables {
		rows, err := s.conn.Query(s.ctx, "SELECT id, v FROM "+strings.TrimPrefix(topic, "own.public."))
		if err != nil {
			s.t.Fatal(err)
		}
		var n int
		var id, v int64
		_, err = pgx.ForEachRow(rows, []any{&id, &v}, func() error {
			if n++; t.rows[id] != v {
				s.t.Errorf("%s: row %d has version %d, the topic leaves %d", topic, id, v, t.rows[id])
			}
			return nil
		})
		if err != nil {
			s.t.Fatal(err)
		}
		if n != len(t.rows) {
			s.t.Errorf("%s: the table has %d rows, the topic leaves %d", topic, n, len(t.rows))
		}
	}
}

// deleted deletes the connector with what it keeps on the server.
func (s *signalScene) deleted() {
	s.t.Helper()
	var answer struct{ Message string }
	if err := s.rest.call(s.ctx, http.MethodDelete, "/connectors/own?drop_slot=true", nil, &answer); err != nil {
		s.t.Fatal(err)
	}
	if want := "The slot signals_" + s.conn.Config().Database + " was dropped. The publication dbz_publication was dropped."; answer.Message != want {
		s.t.Errorf("it says %q", answer.Message)
	}
	var left int
	if err := s.conn.QueryRow(s.ctx, "SELECT count(*) FROM pg_replication_slots WHERE database = current_database()").Scan(&left); err != nil || left != 0 {
		s.t.Errorf("%d slots are left, %v", left, err)
	}
}
