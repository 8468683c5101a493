package postgres

import (
	"context"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/connect/connecttest"
	"github.com/tidemill/tidemill/internal/devstack"
)

// TestPasswordChangesInMidLife changes the password on the server and then where the
// secret is kept: the live connection stays, the next one reads the new secret, and
// when it never comes the task fails after a few attempts.
func TestPasswordChangesInMidLife(t *testing.T) {
	t.Parallel()
	pg := devstack.NewTestPostgres(t, devstack.PostgresOptions{Password: "first"})
	d := openTestDB(t, pg.DSN("postgres"))
	d.exec(`CREATE TABLE a (id int PRIMARY KEY); CREATE ROLE reader LOGIN REPLICATION SUPERUSER PASSWORD 'first'`)
	config := d.config("database.user", "reader", "database.password", "first", "snapshot.mode", "no_data", "retriable.restart.connector.wait.ms", "50")
	file := filepath.Join(t.TempDir(), "secret")
	put := func(secret string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(secret), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("first")
	var asked atomic.Int64
	task := Plugin().New().NewTask()
	var offsets connecttest.Offsets
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err := task.Start(ctx, connect.SourceTaskEnv{Connector: "test", Config: config, StoredOffset: offsets.Get, Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Refresh: func() (connect.Config, error) {
		asked.Add(1)
		secret, err := os.ReadFile(file)
		now := maps.Clone(config)
		now["database.password"] = string(secret)
		return now, err
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := task.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	next := func() (connect.SourceRecord, error) {
		for {
			records, err := task.Poll(ctx)
			if ctx.Err() != nil {
				t.Fatal("not in time")
			}
			if e := connect.AsError(err); e != nil && e.Class != connect.ClassRetriable {
				return connect.SourceRecord{}, err
			}
			for _, r := range records {
				if r.Topic != "" {
					return r, nil
				}
			}
		}
	}
	expect := func(id int64) {
		t.Helper()
		d.exec(`INSERT INTO a VALUES ($1)`, id)
		r, err := next()
		if err != nil || after(&r, "id").Int() != id {
			t.Fatal(err)
		}
	}
	d.streaming()
	expect(1)
	d.exec(`ALTER ROLE reader PASSWORD 'second'`)
	expect(2)
	put("second")
	cut := func() { d.get(`SELECT count(pg_terminate_backend(active_pid)) FROM pg_replication_slots WHERE active`) }
	cut()
	expect(3)
	d.exec(`ALTER ROLE reader PASSWORD 'third'`)
	before := asked.Load()
	cut()
	if _, err := next(); err == nil || connect.AsError(err).Code != "pg.auth" {
		t.Fatal(err)
	}
	if n := asked.Load() - before; n > 8 {
		t.Errorf("%d attempts", n)
	}
	log, err := os.ReadFile(pg.LogFile())
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(log), "password authentication failed"); n < 1 || n > 10 {
		t.Errorf("the server refused %d logins", n)
	}
}
