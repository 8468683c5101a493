package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/internal/devstack"
)

// TestKillNineExactlyOnce kills a worker three times in mid-stream with exactly-once
// on: a reader of committed records finds every row once and in its order, and never
// a part of a transaction.
func TestKillNineExactlyOnce(t *testing.T) {
	ctx := timeout(t, 3*time.Minute)
	dsn := devstack.TestPostgres(t)
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(ctx, "CREATE TABLE ledger (id bigint PRIMARY KEY, note text)"); err != nil {
		t.Fatal(err)
	}
	ports := freePorts(t, 2)
	base, broker := fmt.Sprintf("http://127.0.0.1:%d", ports[0]), fmt.Sprintf("127.0.0.1:%d", ports[1])
	launch(t, "dev-kafka", "--port", fmt.Sprint(ports[1]), "--data-dir", t.TempDir())
	settings := filepath.Join(t.TempDir(), "connect-distributed.properties")
	text := fmt.Sprintf(`bootstrap.servers=%s
group.id=once
listeners=%s
exactly.once.source.support=enabled
key.converter=org.apache.kafka.connect.json.JsonConverter
value.converter=org.apache.kafka.connect.json.JsonConverter
config.storage.topic=once-configs
offset.storage.topic=once-offsets
status.storage.topic=once-status
config.storage.replication.factor=1
offset.storage.replication.factor=1
status.storage.replication.factor=1
`, broker, base)
	if err := os.WriteFile(settings, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	worker := launch(t, "worker", "-c", settings)
	worker.waitHealthy(ctx, base)
	c := newClient(base)
	config := debeziumConfig(t, dsn)
	config["exactly.once.support"] = "required"
	config["transaction.boundary"] = "connector"
	if err := c.createConnector(ctx, "own", config); err != nil {
		t.Fatal(err)
	}
	if err := c.waitRunning(ctx, "own"); err != nil {
		t.Fatal(err)
	}

	var written atomic.Int64
	writing, stopWriting := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- writeLedger(writing, dsn, &written) }()
	for range 3 {
		if err := flowing(ctx, broker, 700); err != nil {
			t.Fatal(err)
		}
		worker.kill()
		worker.start()
		worker.waitHealthy(ctx, base)
	}
	stopWriting()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if err := readOnce(ctx, broker, written.Load()); err != nil {
		s, _ := c.status(ctx, "own")
		t.Fatalf("%v\nstatus: %+v\n%s", err, s, worker.stderr.String())
	}
}

// readOnce reads committed records until row last: they must be rows 1 to last, each
// once, one after another, and the topic must not go on.
func readOnce(ctx context.Context, broker string, last int64) error {
	client, err := kgo.NewClient(
		kgo.SeedBrokers(broker), kgo.ConsumeTopics("own.public.ledger"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
	)
	if err != nil {
		return err
	}
	defer client.Close()
	for next := int64(1); next <= last; {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			return fmt.Errorf("row %d of %d did not arrive", next, last)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if want := fmt.Sprintf(`{"id":%d}`, next); string(r.Key) != want && err == nil {
				err = fmt.Errorf("offset %d holds %s, not %s", r.Offset, r.Key, want)
			}
			next++
		})
		if err != nil {
			return err
		}
		if next > last+1 {
			return fmt.Errorf("%d records for %d rows", next-1, last)
		}
	}
	return nil
}
