package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/internal/devstack"
)

// TestSecretsChangeInMidLife changes the password that a connector refers to, at the
// server and where it is kept: the connector that runs logs in with the new one when its
// connection is cut, and no task fails or is started anew for that.
func TestSecretsChangeInMidLife(t *testing.T) {
	t.Parallel()
	pg := devstack.NewTestPostgres(t, devstack.PostgresOptions{Password: "owner's"})
	for _, once := range []bool{false, true} {
		name := map[bool]string{false: "plain", true: "once"}[once]
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			secretsChange(t, pg, name, once)
		})
	}
}

func secretsChange(t *testing.T, pg *devstack.Postgres, name string, once bool) {
	ctx := timeout(t, 2*time.Minute)
	execAll(t, pg.DSN("postgres"), "CREATE DATABASE "+name)
	conn, err := pgx.Connect(ctx, pg.DSN(name))
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
	file := filepath.Join(t.TempDir(), "db.properties")
	keep := func(password string) {
		t.Helper()
		if err := os.WriteFile(file, []byte("password="+password+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	exec("CREATE ROLE " + name + "_reader LOGIN REPLICATION SUPERUSER PASSWORD 'geheim-1'; CREATE TABLE ledger (id int PRIMARY KEY); INSERT INTO ledger VALUES (0)")
	keep("geheim-1")

	ports := freePorts(t, 2)
	base, broker := fmt.Sprintf("http://127.0.0.1:%d", ports[0]), fmt.Sprintf("127.0.0.1:%d", ports[1])
	launch(t, "dev-kafka", "--port", fmt.Sprint(ports[1]), "--data-dir", t.TempDir())
	settings := exactlyOnceSettings(t, broker, base)
	config := debeziumConfig(t, pg.DSN(name))
	if config["exactly.once.support"] = "required"; !once {
		settings = withoutExactlyOnce(t, settings)
		delete(config, "exactly.once.support")
	}
	config["database.user"], config["database.password"] = name+"_reader", "${file:"+file+":password}"
	config["slot.name"], config["retriable.restart.connector.wait.ms"] = name+"_slot", "200"
	allowSecrets(t, settings, filepath.Dir(file))
	worker := launch(t, "worker", "-c", settings)
	worker.waitHealthy(ctx, base)
	c := newClient(base)
	if err := c.createConnector(ctx, "own", config); err != nil {
		t.Fatal(err)
	}
	if err := c.waitRunning(ctx, "own"); err != nil {
		t.Fatal(err)
	}
	reader, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.ConsumeTopics("own.public.ledger"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.MetadataMinAge(50*time.Millisecond), kgo.MetadataMaxAge(200*time.Millisecond), kgo.AllowAutoTopicCreation())
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	streaming := "SELECT active_pid FROM pg_replication_slots WHERE slot_name = '" + config["slot.name"] + "' AND active"
	arrived := func(id int) {
		t.Helper()
		for seen := false; !seen; {
			fetches := reader.PollFetches(ctx)
			if ctx.Err() != nil {
				s, _ := c.status(context.Background(), "own")
				t.Fatalf("row %d does not arrive; status: %+v\n%s", id, s, worker.stderr.String())
			}
			fetches.EachRecord(func(r *kgo.Record) { seen = seen || string(r.Key) == fmt.Sprintf(`{"id":%d}`, id) })
		}
	}
	arrives := func(id int) {
		t.Helper()
		exec(fmt.Sprintf("INSERT INTO ledger VALUES (%d)", id))
		arrived(id)
	}
	// cut ends the connection that reads the log, and waits until there is another.
	cut := func() {
		t.Helper()
		var was, is int
		if err := conn.QueryRow(ctx, streaming).Scan(&was); err != nil {
			t.Fatal(err)
		}
		exec(fmt.Sprintf("SELECT pg_terminate_backend(%d)", was))
		err := until(ctx, "another connection", func() (bool, error) {
			err := conn.QueryRow(ctx, streaming).Scan(&is)
			return err == nil && is != was, nil
		})
		if err != nil {
			s, _ := c.status(context.Background(), "own")
			t.Fatalf("%v; status: %+v\n%s", err, s, worker.stderr.String())
		}
	}
	arrived(0) // By the snapshot, so that the next one comes from the log.
	arrives(1)
	exec("ALTER ROLE " + name + "_reader PASSWORD 'geheim-2'") // The server first.
	arrives(2)
	keep("geheim-2")
	cut()
	arrives(3)
	keep("geheim-3") // The file first.
	arrives(4)
	exec("ALTER ROLE " + name + "_reader PASSWORD 'geheim-3'")
	cut()
	arrives(5)
	worker.kill() // What it has written is complete then.
	for _, never := range []string{"task failed", "geheim-"} {
		if said := worker.stderr.String(); strings.Contains(said, never) {
			t.Errorf("the worker says %q\n%s", never, said)
		}
	}
}

// allowSecrets lets references of connectors name the files in a folder.
func allowSecrets(t *testing.T, settings, dir string) {
	t.Helper()
	f, err := os.OpenFile(settings, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	_, err = fmt.Fprintf(f, "config.providers=file\nconfig.providers.file.class=org.apache.kafka.common.config.provider.FileConfigProvider\nconfig.providers.file.param.allowed.paths=%s\n", dir)
	if err != nil {
		t.Fatal(err)
	}
}
