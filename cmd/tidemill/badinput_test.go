package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tidemill/tidemill/internal/devstack"
)

// runDev runs a development stack in this process for the length of the test.
func runDev(t *testing.T) *client {
	t.Helper()
	stack, err := newDevStack(t.Context(), devOptions{dir: t.TempDir(), said: func(string, string, time.Duration) {}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- stack.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the stack ended: %v", err)
		}
		stack.stop()
	})
	if err := stack.ready(timeout(t, time.Minute)); err != nil {
		t.Fatal(err)
	}
	return newClient(stack.restURL)
}

// faults returns what PUT …/config/validate says of each setting at fault.
func faults(t *testing.T, c *client, class string, config map[string]string) map[string]string {
	t.Helper()
	var answer struct {
		Configs []struct {
			Value struct {
				Name   string
				Errors []string
			}
		}
	}
	if err := c.call(timeout(t, time.Minute), http.MethodPut, "/connector-plugins/"+class+"/config/validate", config, &answer); err != nil {
		return map[string]string{"": err.Error()}
	}
	found := map[string]string{}
	for _, one := range answer.Configs {
		if len(one.Value.Errors) > 0 {
			found[one.Value.Name] = strings.Join(one.Value.Errors, "\n")
		}
	}
	return found
}

// TestBadInput holds every kind of bad input against both doors: validation names
// the setting, the fault and the mend; creation is refused with the same words, and
// nothing is left behind in the worker or the database.
func TestBadInput(t *testing.T) {
	good := debeziumConfig(t, badInputDatabase(t))
	replica := devstack.NewTestPostgres(t, devstack.PostgresOptions{Settings: map[string]string{"wal_level": "replica"}})
	c := runDev(t)
	for name, bad := range map[string]struct {
		change  map[string]string
		setting string
		says    []string
	}{
		"unknown class":        {map[string]string{"connector.class": "io.debezium.connector.postgresql.PostgresConector"}, "", []string{"PostgresConector"}},
		"misspelt setting":     {map[string]string{"table.include.lst": "public.ledger"}, "table.include.lst", []string{"did you mean table.include.list?"}},
		"wrong type":           {map[string]string{"database.port": "many"}, "database.port", []string{"Not a number of type INT"}},
		"wrong word":           {map[string]string{"snapshot.mode": "inital"}, "snapshot.mode", []string{"initial"}},
		"unreachable database": {map[string]string{"database.port": "1"}, "database.hostname", []string{"pg.unreachable"}},
		"wal_level=replica":    {map[string]string{"database.port": fmt.Sprint(replica.Port()), "database.dbname": "postgres"}, "database.hostname", []string{"pg.wal_level", "ALTER SYSTEM SET wal_level = logical"}},
		"missing grants":       {map[string]string{"database.user": "weak"}, "database.user", []string{"pg.role.replication", "REPLICATION"}},
		"missing table":        {map[string]string{"table.include.list": "public.nowhere"}, "table.include.list", []string{"pg.table.missing"}},
		"unreachable registry": {map[string]string{"value.converter": "io.confluent.connect.avro.AvroConverter", "value.converter.schema.registry.url": "http://127.0.0.1:1"}, "value.converter.schema.registry.url", []string{"registry.unavailable"}},
		"unknown converter":    {map[string]string{"value.converter": "org.apache.kafka.connect.json.JsonConvertor"}, "value.converter", []string{"JsonConvert"}},
	} {
		t.Run(name, func(t *testing.T) {
			config := maps.Clone(good)
			maps.Copy(config, bad.change)
			found := faults(t, c, config["connector.class"], config)
			text, err := json.Marshal(found)
			if err != nil {
				t.Fatal(err)
			}
			said, ok := found[bad.setting]
			for _, want := range bad.says {
				if !ok || !strings.Contains(said, want) {
					t.Errorf("validate does not say %q of %q: %s", want, bad.setting, text)
				}
			}
			err = c.createConnector(timeout(t, time.Minute), "bad", config)
			if err == nil {
				t.Fatal("the connector was created")
			}
			for _, want := range bad.says {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the refusal does not say %q: %v", want, err)
				}
			}
			nothingLeft(t, c, good)
		})
	}
}

// badInputDatabase makes a database with a table and a role without rights.
func badInputDatabase(t *testing.T) string {
	t.Helper()
	dsn := devstack.TestPostgres(t)
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(t.Context(), "CREATE TABLE ledger (id bigint PRIMARY KEY, note text); DROP ROLE IF EXISTS weak; CREATE ROLE weak LOGIN"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn, err := pgx.Connect(context.Background(), dsn)
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close(context.Background())
		if _, err := conn.Exec(context.Background(), "DROP ROLE weak"); err != nil {
			t.Error(err)
		}
	})
	return dsn
}

// nothingLeft fails when a refused connector left something behind.
func nothingLeft(t *testing.T, c *client, good map[string]string) {
	t.Helper()
	var names []string
	if err := c.call(timeout(t, time.Minute), http.MethodGet, "/connectors", nil, &names); err != nil || len(names) > 0 {
		t.Errorf("connectors %v, %v", names, err)
	}
	conn, err := pgx.Connect(t.Context(), fmt.Sprintf("postgres://%s@%s:%s/%s", good["database.user"], good["database.hostname"], good["database.port"], good["database.dbname"]))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	var left int
	err = conn.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM pg_publication) +
		(SELECT count(*) FROM pg_replication_slots WHERE database = current_database())`).Scan(&left)
	if err != nil || left > 0 {
		t.Errorf("%d slots and publications left, %v", left, err)
	}
}
