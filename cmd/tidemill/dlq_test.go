package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/internal/devstack"
	"github.com/tidemill/tidemill/worker"
)

// TestLettersComeIntoTheirTable has rows that PostgreSQL refuses and records that are no
// JSON go to the dead letter queue, mends the table, and has them written after all: by the
// commands, and also where the target keeps the positions of its topics.
func TestLettersComeIntoTheirTable(t *testing.T) {
	t.Parallel()
	ctx := timeout(t, 4*time.Minute)
	dsn := devstack.TestPostgres(t)
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	execAll(t, dsn, "CREATE TABLE orders (id bigint PRIMARY KEY, city text CHECK (length(city) < 6))")
	ports := freePorts(t, 2)
	base, broker := fmt.Sprintf("http://127.0.0.1:%d", ports[0]), fmt.Sprintf("127.0.0.1:%d", ports[1])
	launch(t, "dev-kafka", "--port", fmt.Sprint(ports[1]), "--data-dir", t.TempDir())
	w := launch(t, "worker", "-c", exactlyOnceSettings(t, broker, base))
	w.waitHealthy(ctx, base)
	kafka, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.AllowAutoTopicCreation(), kgo.MetadataMinAge(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer kafka.Close()
	row := func(id int, city string) *kgo.Record {
		const schema = `{"type":"struct","fields":[{"field":"id","type":"int64"},{"field":"city","type":"string"}]}`
		return &kgo.Record{
			Topic: "orders", Key: fmt.Appendf(nil, `{"schema":{"type":"struct","fields":[{"field":"id","type":"int64"}]},"payload":{"id":%d}}`, id),
			Value: fmt.Appendf(nil, `{"schema":%s,"payload":{"id":%d,"city":%q}}`, schema, id, city),
		}
	}
	broken := row(3, "Bern")
	broken.Value = []byte("{no json")
	err = until(ctx, "the records to be written", func() (bool, error) {
		return kafka.ProduceSync(ctx, row(1, "Basel"), row(2, "Winterthur"), broken, row(4, "Chur"), row(5, "Schaffhausen")).FirstErr() == nil, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	c := newClient(base)
	err = c.createConnector(ctx, "orders-sink", map[string]string{
		"connector.class": "tidemill.PostgresSink", "topics": "orders", "connection.url": dsn, "offsets.table": "positions", "errors.tolerance": "all",
		"errors.deadletterqueue.topic.name": "orders-dead", "errors.deadletterqueue.topic.replication.factor": "1", "errors.deadletterqueue.context.headers.enable": "true",
	})
	if err != nil {
		t.Fatal(err)
	}
	// tidemill runs a command and returns its exit code and what it printed as JSON.
	tidemill := func(into any, args ...string) int {
		t.Helper()
		var out, errs bytes.Buffer
		code := run(append([]string{"dlq"}, append(args, "--url", base, "-o", "json")...), &out, &errs)
		if into != nil {
			if err := json.Unmarshal(out.Bytes(), into); err != nil {
				t.Fatalf("%v: %v\n%s%s", args, err, out.String(), errs.String())
			}
		}
		return code
	}
	type list struct{ Letters []worker.Letter }
	err = until(ctx, "three letters", func() (bool, error) {
		var found list
		code := tidemill(&found, "list", "orders-sink")
		return code == exitOK && len(found.Letters) == 3, nil
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, w.stderr.String())
	}
	var found list
	tidemill(&found, "list", "orders-sink", "--error", "pgsink.*")
	if len(found.Letters) != 2 || found.Letters[0].Origin.Topic != "orders" || found.Letters[0].Stage != "TASK_PUT" {
		t.Fatalf("of the table's refusals there are %+v", found.Letters)
	}
	var letter worker.Letter
	if code := tidemill(&letter, "show", "orders-sink", fmt.Sprint(found.Letters[0].Partition), fmt.Sprint(found.Letters[0].Offset)); code != exitOK || !strings.Contains(*letter.Value, "Winterthur") {
		t.Errorf("shown is %+v, %d", letter, code)
	}
	// Nothing was mended: all fail again, and the exit code says so.
	var p worker.Replay
	if code := tidemill(&p, "replay", "orders-sink"); code != exitNo || p.Failed != 3 || p.Replayed != 0 {
		t.Errorf("in vain: %d, %+v", code, p)
	}
	execAll(t, dsn, "ALTER TABLE orders DROP CONSTRAINT orders_city_check")
	p = worker.Replay{}
	if code := tidemill(&p, "replay", "orders-sink", "--dry-run"); code != exitNo || p.Failed != 1 || p.Replayed != 2 {
		t.Errorf("the dry run: %d, %+v", code, p)
	}
	p = worker.Replay{}
	if code := tidemill(&p, "replay", "orders-sink", "--error", "pgsink.*"); code != exitOK || p.Replayed != 2 || p.Failed != 0 {
		t.Errorf("of the mended ones: %d, %+v\n%s", code, p, w.stderr.String())
	}
	var cities string
	if err := conn.QueryRow(ctx, "SELECT string_agg(id || city, ' ' ORDER BY id) FROM orders").Scan(&cities); err != nil {
		t.Fatal(err)
	}
	if cities != "1Basel 2Winterthur 4Chur 5Schaffhausen" {
		t.Errorf("the table has %s", cities)
	}
	// The positions are those of the tasks that read the topic.
	var next int64
	if err := conn.QueryRow(ctx, "SELECT sum(next_offset) FROM positions").Scan(&next); err != nil || next != 5 {
		t.Errorf("the positions add up to %d, %v", next, err)
	}
	found = list{}
	tidemill(&found, "list", "orders-sink")
	if len(found.Letters) != 1 || found.Letters[0].Stage != "VALUE_CONVERTER" {
		t.Errorf("left are %+v", found.Letters)
	}
	var out, errs bytes.Buffer
	if code := run([]string{"dlq", "list", "orders-sink", "--state", "all", "--url", base}, &out, &errs); code != exitOK || strings.Count(out.String(), "replayed") != 2 {
		t.Errorf("%d\n%s%s", code, out.String(), errs.String())
	}
	for _, args := range [][]string{{"list", "nobody"}, {"list", "orders-sink", "--from", "3"}, {"replay", "orders-sink", "--since", "soon"}, {"show", "orders-sink", "0", "999"}} {
		if code := run(append([]string{"dlq", "--url", base}, args...), &out, &errs); code != exitBadInput {
			t.Errorf("%v: exit code %d", args, code)
		}
	}
}
