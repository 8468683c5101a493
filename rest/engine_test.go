package rest_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
	jsonconv "github.com/tidemill/tidemill/converters/json"
	"github.com/tidemill/tidemill/internal/devstack"
	"github.com/tidemill/tidemill/internal/kafkalog"
	"github.com/tidemill/tidemill/rest"
	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/sql"
	"github.com/tidemill/tidemill/streams/topics"
)

// openEngine opens an SQL engine on a broker of its own until the test ends.
func openEngine(t *testing.T) *sql.Engine {
	t.Helper()
	brokers := devstack.TestKafka(t)
	runner, err := streams.OpenEngine(streams.Config{Brokers: brokers, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- runner.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	client, err := topics.Open(brokers)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	log, err := sql.OpenKafkaLog(t.Context(), kafkalog.Config{Client: []kgo.Opt{kgo.SeedBrokers(brokers...)}, Topic: "_sql_statements", Replication: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	json := func(key bool) (connect.Converter, error) {
		c := &jsonconv.Converter{}
		return c, c.Configure(connect.Config{"schemas.enable": "false"}, key)
	}
	engine, err := sql.Open(t.Context(), sql.Config{Service: "rest", Topics: client, Records: client, Runner: runner, Log: log, Formats: map[string]sql.Format{"JSON": json}})
	if err != nil {
		t.Fatal(err)
	}
	return engine
}

// post sends a body and returns the answer's.
func post(t *testing.T, url, body string) string {
	t.Helper()
	resp, err := http.Post(url, "application/vnd.ksql.v1+json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d %s", resp.StatusCode, data)
}

// A table is derived, looked up and watched over HTTP, as ksqlDB's clients do.
func TestEngineOverHTTP(t *testing.T) {
	engine := openEngine(t)
	base := serve(t, nil, func(o *rest.Options) { o.SQL = engine })
	for _, statement := range []string{
		"CREATE STREAM orders (id INT KEY, city STRING, price DOUBLE) WITH (KAFKA_TOPIC='orders', FORMAT='JSON', PARTITIONS=1);",
		"CREATE TABLE cities AS SELECT city, COUNT(*) AS n, SUM(price) AS total FROM orders GROUP BY city EMIT CHANGES;",
		"INSERT INTO orders VALUES (1, 'Basel', 2.5); INSERT INTO orders VALUES (2, 'Bern', 1); INSERT INTO orders VALUES (3, 'Basel', 1);",
	} {
		if got := post(t, base+"/ksql", fmt.Sprintf(`{"ksql":%q}`, statement)); !strings.HasPrefix(got, "200 [") {
			t.Fatal(statement, got)
		}
	}
	deadline := time.Now().Add(20 * time.Second)
	for tick := time.NewTicker(20 * time.Millisecond); ; <-tick.C {
		got := post(t, base+"/query", `{"ksql":"SELECT * FROM cities;"}`)
		if strings.Contains(got, `["Basel",2,3.5]`) && strings.Contains(got, `["Bern",1,1.0]`) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(got)
		}
	}
	play(t, filepath.Join("testdata", "engine.http"), base)
}
