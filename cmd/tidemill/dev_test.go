package main

import (
	"context"
	"fmt"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/internal/devstack"
)

// debeziumConfig is a connector configuration as Debezium's users have it.
func debeziumConfig(t *testing.T, dsn string) map[string]string {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]string{
		"connector.class":                "io.debezium.connector.postgresql.PostgresConnector",
		"tasks.max":                      "1",
		"plugin.name":                    "pgoutput",
		"database.hostname":              u.Hostname(),
		"database.port":                  u.Port(),
		"database.user":                  u.User.Username(),
		"database.password":              "unused",
		"database.dbname":                u.Path[1:],
		"topic.prefix":                   "own",
		"table.include.list":             "public.ledger",
		"slot.name":                      "own_slot",
		"key.converter":                  "org.apache.kafka.connect.json.JsonConverter",
		"value.converter":                "org.apache.kafka.connect.json.JsonConverter",
		"key.converter.schemas.enable":   "false",
		"value.converter.schemas.enable": "false",
	}
}

// TestKillNineLosesNothing kills `tidemill dev` twice in mid-stream and starts it
// again on its data: every committed row must be in the topic, those of one
// transaction in their order.
func TestKillNineLosesNothing(t *testing.T) {
	ctx := timeout(t, 2*time.Minute)
	dsn := devstack.TestPostgres(t)
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(ctx, "CREATE TABLE ledger (id bigint PRIMARY KEY, note text); INSERT INTO ledger SELECT g, 'early' FROM generate_series(1, 1000) g"); err != nil {
		t.Fatal(err)
	}
	ports := freePorts(t, 3)
	base := fmt.Sprintf("http://127.0.0.1:%d", ports[0])
	broker := fmt.Sprintf("127.0.0.1:%d", ports[1])
	dev := launch(t, "dev", "--data-dir", t.TempDir(), "--rest-port", fmt.Sprint(ports[0]), "--kafka-port", fmt.Sprint(ports[1]), "--registry-port", fmt.Sprint(ports[2]), "--pgwire-port", "0")
	dev.waitHealthy(ctx, base)
	c := newClient(base)
	if err := c.createConnector(ctx, "own", debeziumConfig(t, dsn)); err != nil {
		t.Fatal(err)
	}
	if err := c.waitRunning(ctx, "own"); err != nil {
		t.Fatal(err)
	}

	var written atomic.Int64
	written.Store(1000)
	writing, stopWriting := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- writeLedger(writing, dsn, &written) }()
	for range 2 {
		if err := flowing(ctx, broker, 1500); err != nil {
			t.Fatal(err)
		}
		dev.kill()
		dev.start()
		dev.waitHealthy(ctx, base)
	}
	stopWriting()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	last := written.Load()
	if err := readLedger(ctx, broker, last); err != nil {
		s, _ := c.status(ctx, "own")
		t.Fatalf("%v\nstatus: %+v\n%s", err, s, dev.stderr.String())
	}
}

// flowing waits until n more records have arrived in the topic, so that what happens
// next happens in mid-stream.
func flowing(ctx context.Context, broker string, n int64) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(broker))
	if err != nil {
		return err
	}
	defer client.Close()
	first := int64(-1)
	return until(ctx, fmt.Sprintf("%d more records", n), func() (bool, error) {
		ends, err := kadm.NewClient(client).ListEndOffsets(ctx, "own.public.ledger")
		if err != nil {
			return false, nil // The broker is only about to start.
		}
		end, ok := ends.Lookup("own.public.ledger", 0)
		if !ok || end.Err != nil {
			return false, nil // Nothing was written there yet.
		}
		if first < 0 {
			first = end.Offset
		}
		return end.Offset >= first+n, nil
	})
}

// writeLedger inserts rows in transactions of ten until ctx is done.
func writeLedger(ctx context.Context, dsn string, written *atomic.Int64) error {
	conn, err := pgx.Connect(context.WithoutCancel(ctx), dsn)
	if err != nil {
		return err
	}
	defer conn.Close(context.Background())
	for ctx.Err() == nil {
		from := written.Load() + 1
		_, err := conn.Exec(context.WithoutCancel(ctx), "INSERT INTO ledger SELECT g, 'late' FROM generate_series($1::bigint, $1::bigint + 9) g", from)
		if err != nil {
			return err
		}
		written.Store(from + 9)
	}
	return nil
}

// readLedger reads the topic until it holds rows 1 to last, and checks that the
// first occurrences of the streamed rows are in their order.
func readLedger(ctx context.Context, broker string, last int64) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.ConsumeTopics("own.public.ledger"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return err
	}
	defer client.Close()
	seen := make(map[int64]bool, last)
	highest := int64(1000)
	for int64(len(seen)) < last {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			ends, _ := kadm.NewClient(client).ListEndOffsets(context.Background(), "own.public.ledger")
			return fmt.Errorf("%d of %d rows arrived; the topic ends at %v", len(seen), last, ends)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			var id int64
			if _, e := fmt.Sscanf(string(r.Key), `{"id":%d}`, &id); e != nil && err == nil {
				err = fmt.Errorf("key %s: %w", r.Key, e)
			}
			if id > highest+1 && err == nil {
				err = fmt.Errorf("row %d came before row %d", id, highest+1)
			}
			highest = max(highest, id)
			seen[id] = true
		})
		if err != nil {
			return err
		}
	}
	if int64(len(seen)) != last {
		return fmt.Errorf("%d rows, %d were written", len(seen), last)
	}
	return nil
}
