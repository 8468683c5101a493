package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/internal/devstack"
)

// The table of the stream benchmark: ten columns of common types, about 220 bytes
// a row as text, filled by transactions of 50,000 rows.
const streamTable = `
CREATE TABLE load (
  id bigint PRIMARY KEY, customer int NOT NULL, amount numeric(12,2) NOT NULL, quantity int NOT NULL, paid boolean NOT NULL,
  created timestamp(6) NOT NULL, name varchar(40) NOT NULL, email text NOT NULL, city text, note text);
CREATE PUBLICATION bench FOR TABLE load;`

const streamFill = `INSERT INTO load SELECT g, g % 5000, (g % 100000) / 100.0, g % 7, g % 3 = 0, timestamp '2026-01-01' + g * interval '1 s',
  'customer ' || g, 'customer' || g || '@example.com', CASE WHEN g % 5 = 0 THEN NULL ELSE 'city ' || g % 100 END, repeat('n', 90)
  FROM generate_series($1::bigint, $2::bigint) g`

// streamBench is the stage of the stream benchmark.
type streamBench struct {
	options
	pg     *devstack.Postgres
	conn   *pgx.Conn
	worker *workerUnderTest
	endLSN string
}

// benchStream alternates pg_recvlogical and the worker over copies of one slot.
func benchStream(ctx context.Context, o options) ([]figure, error) {
	b := &streamBench{options: o}
	if err := b.prepare(ctx); err != nil {
		return nil, err
	}
	defer b.pg.Stop(context.Background())
	defer b.conn.Close(context.Background())
	worker, err := startWorker(ctx, o.binary)
	if err != nil {
		return nil, err
	}
	defer worker.stop()
	b.worker = worker
	var ours, theirs, ratios, cpu []float64
	for round := range o.rounds {
		limit, err := b.receive(ctx, fmt.Sprintf("ref%d", round))
		if err != nil {
			return nil, err
		}
		before := worker.process.cpu()
		rate, err := b.stream(ctx, fmt.Sprintf("ours%d", round))
		if err != nil {
			return nil, err
		}
		cpu = append(cpu, float64((worker.process.cpu()-before).Microseconds())/float64(o.rows))
		ours, theirs, ratios = append(ours, rate), append(theirs, limit), append(ratios, rate/limit)
	}
	_, peak := worker.process.rss()
	return []figure{
		{Name: "stream.pg_recvlogical", Value: median(theirs), Unit: "changes/s", Note: "pgoutput over TCP to /dev/null, same WAL"},
		{Name: "stream.tidemill", Value: median(ours), Unit: "changes/s", Note: "slot to last record in Kafka, Avro with registry, connector start included"},
		figure{Name: "stream.ratio", Value: median(ratios), Unit: "×"}.held(true, 0.6),
		{Name: "stream.cpu", Value: median(cpu), Unit: "µs/change", Note: "worker process, user and system"},
		{Name: "stream.peak_rss", Value: peak, Unit: "MB"},
	}, nil
}

func median(of []float64) float64 {
	of = slices.Clone(of)
	slices.Sort(of)
	return of[len(of)/2]
}

// prepare starts PostgreSQL and writes the WAL both sides will read.
func (b *streamBench) prepare(ctx context.Context) (err error) {
	b.pg, err = devstack.StartPostgres(ctx, devstack.PostgresOptions{Settings: map[string]string{
		"max_wal_size": "8GB", "shared_buffers": "512MB", "logical_decoding_work_mem": "256MB",
	}})
	if err != nil {
		return err
	}
	if b.conn, err = pgx.Connect(ctx, b.pg.DSN("postgres")); err != nil {
		return err
	}
	if _, err = b.conn.Exec(ctx, streamTable); err != nil {
		return err
	}
	if _, err = b.conn.Exec(ctx, "SELECT pg_create_logical_replication_slot('origin', 'pgoutput')"); err != nil {
		return err
	}
	const step = 50_000
	for from := 1; from <= b.rows; from += step {
		if _, err = b.conn.Exec(ctx, streamFill, from, min(from+step-1, b.rows)); err != nil {
			return err
		}
	}
	if _, err = b.conn.Exec(ctx, "CHECKPOINT"); err != nil {
		return err
	}
	return b.conn.QueryRow(ctx, "SELECT pg_current_wal_lsn()::text").Scan(&b.endLSN)
}

func (b *streamBench) copySlot(ctx context.Context, name string) error {
	_, err := b.conn.Exec(ctx, "SELECT pg_copy_logical_replication_slot('origin', $1)", name)
	return err
}

// receive returns the rate of pg_recvlogical.
func (b *streamBench) receive(ctx context.Context, slot string) (float64, error) {
	if err := b.copySlot(ctx, slot); err != nil {
		return 0, err
	}
	u, err := url.Parse(b.pg.DSN("postgres"))
	if err != nil {
		return 0, err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(b.pg.BinDir(), "pg_recvlogical"), "-d", u.String(), "--slot", slot, "--start",
		"-o", "proto_version=1", "-o", "publication_names=bench", "--endpos", b.endLSN, "--no-loop", "-f", "/dev/null")
	began := time.Now()
	if out, err := cmd.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("pg_recvlogical: %w: %s", err, out)
	}
	rate := float64(b.rows) / time.Since(began).Seconds()
	_, err = b.conn.Exec(ctx, "SELECT pg_drop_replication_slot($1)", slot)
	return rate, err
}

// stream returns our rate: from the request that creates the connector to the last
// record's arrival in Kafka.
func (b *streamBench) stream(ctx context.Context, slot string) (float64, error) {
	if err := b.copySlot(ctx, slot); err != nil {
		return 0, err
	}
	u, err := url.Parse(b.pg.DSN("postgres"))
	if err != nil {
		return 0, err
	}
	config := map[string]string{
		"connector.class":   "io.debezium.connector.postgresql.PostgresConnector",
		"database.hostname": u.Hostname(), "database.port": u.Port(), "database.user": u.User.Username(), "database.dbname": "postgres",
		"topic.prefix": slot, "slot.name": slot, "plugin.name": "pgoutput", "snapshot.mode": "no_data",
		"publication.name": "bench", "publication.autocreate.mode": "disabled", "table.include.list": "public.load",
	}
	began := time.Now()
	if err := b.worker.post(ctx, "/connectors", map[string]any{"name": slot, "config": config}); err != nil {
		return 0, err
	}
	if err := b.worker.arrived(ctx, slot, slot+".public.load", int64(b.rows)); err != nil {
		return 0, err
	}
	rate := float64(b.rows) / time.Since(began).Seconds()
	return rate, b.worker.delete(ctx, "/connectors/"+slot)
}

// arrived waits until the topic holds n records.
func (w *workerUnderTest) arrived(ctx context.Context, connector, topic string, n int64) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(w.brokers))
	if err != nil {
		return err
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	for {
		offsets, err := admin.ListEndOffsets(ctx, topic)
		if err != nil {
			return err
		}
		var have int64
		offsets.Each(func(o kadm.ListedOffset) {
			if o.Err == nil {
				have += o.Offset
			}
		})
		if have >= n {
			return nil
		}
		if err := w.process.pause(ctx); err != nil {
			return err
		}
		if err := w.healthy(ctx, connector); err != nil {
			return err
		}
	}
}

// healthy fails when a task of the connector has failed.
func (w *workerUnderTest) healthy(ctx context.Context, connector string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url+"/connectors/"+connector+"/status", nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var s struct {
		Tasks []struct{ State, Trace string }
	}
	if err := json.NewDecoder(resp.Body).Decode(&s); err != nil {
		return err
	}
	for _, t := range s.Tasks {
		if t.State == "FAILED" {
			return fmt.Errorf("the connector failed: %s", t.Trace)
		}
	}
	return nil
}

func (w *workerUnderTest) post(ctx context.Context, path string, body any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	return w.do(ctx, http.MethodPost, path, text)
}

func (w *workerUnderTest) delete(ctx context.Context, path string) error {
	return w.do(ctx, http.MethodDelete, path, nil)
}

func (w *workerUnderTest) do(ctx context.Context, method, path string, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, method, w.url+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		var said bytes.Buffer
		_, _ = said.ReadFrom(resp.Body)
		return fmt.Errorf("%s %s: %d %s", method, path, resp.StatusCode, said.String())
	}
	return nil
}
