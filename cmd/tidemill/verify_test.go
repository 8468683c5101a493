package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/internal/devstack"
)

const verifiedTables = `
CREATE TYPE mood AS ENUM ('low', 'high');
CREATE TABLE ledger (id bigint, part "char", amount numeric(12,2), loose numeric, at timestamptz, day date, tags text[], doc jsonb, m mood, f float8, b bytea,
  large text, PRIMARY KEY (part, id));
CREATE TABLE heap (a int, b text);
ALTER TABLE heap REPLICA IDENTITY FULL;
CREATE TABLE emptied (id int PRIMARY KEY, v text);
INSERT INTO ledger SELECT g, 'a', g / 7.0, g / 3.0, now() + g * interval '1 min', current_date + g, ARRAY['x', NULL, g::text], jsonb_build_object('n', g),
  CASE WHEN g % 2 = 0 THEN 'low' ELSE 'high' END::mood, CASE WHEN g % 10 = 0 THEN 'NaN' ELSE g / 11.0 END, decode(lpad(to_hex(g), 8, '0'), 'hex'),
  (SELECT string_agg(md5(g::text || i), '') FROM generate_series(1, 200) i) FROM generate_series(1, 300) g;
INSERT INTO heap SELECT g % 50, 'b' FROM generate_series(1, 200) g;
INSERT INTO emptied SELECT g, 'gone' FROM generate_series(1, 100) g;`

var verifiedChanges = []string{
	"UPDATE ledger SET amount = amount + 1 WHERE id % 3 = 0",              // The large text does not change and is not in the log.
	"UPDATE ledger SET part = 'b', large = large || '.' WHERE id % 7 = 0", // Under its new key a row has only what the log holds.
	"DELETE FROM ledger WHERE id % 11 = 0",
	"UPDATE heap SET b = 'c' WHERE a < 20",
	"DELETE FROM heap WHERE a > 40",
	"TRUNCATE emptied",
	"INSERT INTO emptied VALUES (1, 'new')",
	"ALTER TABLE emptied ADD COLUMN extra int",
	"UPDATE ledger SET large = 'short' WHERE id = 1",
}

// TestVerifyEndsBehindWhatWasAborted reads a topic whose end is told by no record.
func TestVerifyEndsBehindWhatWasAborted(t *testing.T) {
	ctx := timeout(t, time.Minute)
	brokers := devstack.TestKafka(t)
	topic := "verify-aborted"
	opts := []kgo.Opt{kgo.SeedBrokers(brokers...)}
	client, err := kgo.NewClient(opts...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := kadm.NewClient(client).CreateTopic(ctx, 1, 1, nil, topic); err != nil {
		t.Fatal(err)
	}
	defer devstack.TestAborted(t, brokers, topic)()
	var f fold
	if err := f.read(ctx, opts, []string{topic}, func(string) {}); err != nil || f.records != 0 {
		t.Errorf("%d records are read, %v", f.records, err)
	}
}

// TestVerify compares topics with tables of many types while a writer goes on, then
// with a topic that somebody has written to.
func TestVerify(t *testing.T) {
	ctx := timeout(t, 2*time.Minute)
	dsn := devstack.TestPostgres(t)
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	exec := func(sql string) {
		t.Helper()
		if _, err := conn.Exec(ctx, sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	exec(verifiedTables)
	ports := freePorts(t, 3)
	base, broker := fmt.Sprintf("http://127.0.0.1:%d", ports[0]), fmt.Sprintf("127.0.0.1:%d", ports[1])
	dev := launch(t, "dev", "--data-dir", t.TempDir(), "--rest-port", fmt.Sprint(ports[0]), "--kafka-port", fmt.Sprint(ports[1]), "--registry-port", fmt.Sprint(ports[2]), "--pgwire-port", "0")
	dev.waitHealthy(ctx, base)
	config := debeziumConfig(t, dsn)
	for _, role := range []string{"key.converter", "value.converter"} {
		delete(config, role+".schemas.enable")
		config[role], config[role+".schema.registry.url"] = "io.confluent.connect.avro.AvroConverter", fmt.Sprintf("http://127.0.0.1:%d", ports[2])
	}
	config["table.include.list"], config["skipped.operations"] = "public.ledger,public.heap,public.emptied", "none"
	c := newClient(base)
	if err := c.createConnector(ctx, "own", config); err != nil {
		t.Fatal(err)
	}
	if err := c.waitRunning(ctx, "own"); err != nil {
		t.Fatal(err)
	}
	stop := keepWriting(t, dsn)
	result, text := runVerify(t, ctx, base, broker)
	if !result.OK || len(result.Tables) != 3 || result.Tables[2].Rows != 300 {
		t.Errorf("while the snapshot is taken: %s\n%s", text, dev.stderr.String())
	}
	for _, sql := range verifiedChanges {
		exec(sql)
	}
	result, text = runVerify(t, ctx, base, broker)
	stop()
	if !result.OK || len(result.Tables) != 3 || result.Tables[2].Rows < 250 || result.Tables[1].Rows != 164 || result.Tables[0].Rows != 1 {
		t.Errorf("while somebody writes: %s\n%s", text, dev.stderr.String())
	}

	repeatFirst(t, ctx, broker, "own.public.heap")
	exec("SET session_replication_role = replica; UPDATE pg_publication SET pubinsert = false WHERE pubname = 'dbz_publication'; INSERT INTO emptied VALUES (2, 'unseen')")
	exec("UPDATE ledger SET part = 'c' WHERE id = 2") // Its large text is not in the log, and not under its new key.
	result, text = runVerify(t, ctx, base, broker)
	heap, emptied, ledger := result.Tables[1], result.Tables[0], result.Tables[2]
	if result.OK || heap.Extra != 1 || heap.Missing != 0 || emptied.Missing != 1 || len(emptied.Examples) != 1 ||
		ledger.Different != 1 || ledger.Missing+ledger.Extra != 0 || !strings.Contains(ledger.Examples[0], "in column large") {
		t.Errorf("after somebody meddled: %s", text)
	}
}

// keepWriting changes rows until the returned function is called.
func keepWriting(t *testing.T, dsn string) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() {
		conn, err := pgx.Connect(ctx, dsn)
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close(context.Background())
		for n := 0; ctx.Err() == nil; n++ {
			if _, err := conn.Exec(context.Background(), "UPDATE ledger SET f = $1, day = day + 1 WHERE id = 1 + $1 % 300", n); err != nil {
				t.Error(err)
				return
			}
		}
	})
	return func() { cancel(); done.Wait() }
}

// runVerify runs the command and returns what it says.
func runVerify(t *testing.T, ctx context.Context, base, broker string) (verification, string) {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, path, "verify", "own", "--url", base, "--bootstrap-servers", broker, "-o", "json")
	var out, fault bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &fault
	err = cmd.Run()
	var said struct{ Verification verification }
	if json.Unmarshal(out.Bytes(), &said) != nil || (err == nil) != said.Verification.OK {
		t.Fatalf("verify: %v: %s %s", err, out.String(), fault.String())
	}
	return said.Verification, out.String() + fault.String()
}

// repeatFirst writes the first record of a topic again.
func repeatFirst(t *testing.T, ctx context.Context, broker, topic string) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	records := client.PollFetches(ctx).Records()
	if len(records) == 0 {
		t.Fatal("the topic is empty")
	}
	again := &kgo.Record{Topic: topic, Key: records[0].Key, Value: records[0].Value}
	if err := client.ProduceSync(ctx, again).FirstErr(); err != nil {
		t.Fatal(err)
	}
}
