package devstack_test

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/internal/devstack"
)

func query(t *testing.T, dsn, sql string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }()
	rows, err := conn.Query(ctx, sql, pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		t.Fatal(err)
	}
	texts, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (string, error) {
		var cols []string
		for _, raw := range row.RawValues() {
			cols = append(cols, string(raw))
		}
		return strings.Join(cols, "|"), nil
	})
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return strings.Join(texts, "\n")
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("waited too long: %s", what)
		}
	}
}

// TestLogicalDecoding shows that a slot can be made and read at once.
func TestLogicalDecoding(t *testing.T) {
	dsn := devstack.TestPostgres(t)
	query(t, dsn, "CREATE TABLE c (id int PRIMARY KEY)")
	query(t, dsn, "SELECT pg_create_logical_replication_slot('s', 'pgoutput'); CREATE PUBLICATION p FOR TABLE c")
	query(t, dsn, "INSERT INTO c VALUES (1)")
	n := query(t, dsn, "SELECT count(*) FROM pg_logical_slot_peek_binary_changes('s', NULL, NULL, 'proto_version', '1', 'publication_names', 'p')")
	if n != "4" {
		t.Fatalf("got %s messages, want begin, relation, insert, commit", n)
	}
}

// TestDatabasesAreSeparate runs two tests at once; the second leaves a slot in
// use and an open session, which must not hold up the end of the test.
func TestDatabasesAreSeparate(t *testing.T) {
	for _, name := range []string{"a", "b"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn := devstack.TestPostgres(t)
			query(t, dsn, "CREATE TABLE same_name (id int)")
			db := query(t, dsn, "SELECT current_database()")
			query(t, dsn, "SELECT pg_create_logical_replication_slot('slot_"+db+"', 'pgoutput')")
			conn, err := pgx.Connect(context.Background(), dsn+"&replication=database")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = conn.Close(context.Background()) })
			query(t, dsn, "CREATE PUBLICATION p FOR ALL TABLES")
			conn.PgConn().Exec(t.Context(), "START_REPLICATION SLOT slot_"+db+" LOGICAL 0/0 (proto_version '1', publication_names 'p')")
			eventually(t, "the slot is in use", func() bool {
				return query(t, dsn, "SELECT active FROM pg_replication_slots WHERE slot_name = 'slot_"+db+"'") == "t"
			})
		})
	}
}

// TestCrashKeepsCommittedRows crashes the server in both ways.
func TestCrashKeepsCommittedRows(t *testing.T) {
	pg := devstack.NewTestPostgres(t, devstack.PostgresOptions{Settings: map[string]string{"application_name": "it's set"}})
	port := pg.Port()
	query(t, pg.DSN("postgres"), "CREATE TABLE c (id int)")
	for i, sig := range []syscall.Signal{syscall.SIGQUIT, syscall.SIGKILL} {
		query(t, pg.DSN("postgres"), "INSERT INTO c VALUES (1)")
		pg.Crash(sig)
		if _, err := pgx.Connect(t.Context(), pg.DSN("postgres")); err == nil && sig == syscall.SIGQUIT {
			t.Fatal("the server still answers")
		}
		if err := pg.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got, want := query(t, pg.DSN("postgres"), "SELECT count(*) FROM c"), string(rune('1'+i)); got != want {
			t.Fatalf("%s rows after %v, want %s", got, sig, want)
		}
	}
	if pg.Port() != port {
		t.Fatalf("port changed from %d to %d", port, pg.Port())
	}
	if got := query(t, pg.DSN("postgres"), "SHOW application_name"); got != "it's set" {
		t.Fatalf("setting is %q", got)
	}
}

// TestDirIsKept stops and starts a cluster in a directory of the caller.
func TestDirIsKept(t *testing.T) {
	dir := openTempDir(t)
	pg := devstack.NewTestPostgres(t, devstack.PostgresOptions{Dir: dir, User: "shop", Password: "s3cret?/#"})
	query(t, pg.DSN("postgres"), "CREATE TABLE c AS SELECT current_user::text AS who")
	if err := pg.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := pg.Restart(t.Context()); err == nil {
		t.Fatal("a stopped cluster restarted")
	}
	pg = devstack.NewTestPostgres(t, devstack.PostgresOptions{Dir: dir, User: "shop", Password: "s3cret?/#"})
	if got := query(t, pg.DSN("postgres"), "SELECT who FROM c"); got != "shop" {
		t.Fatalf("got %q", got)
	}
	if _, err := pgx.Connect(t.Context(), strings.Replace(pg.DSN("postgres"), "s3cret", "wrong", 1)); err == nil {
		t.Fatal("a wrong password was accepted")
	}
}

// openTempDir makes a directory that an unprivileged server can reach, which
// t.TempDir is not when the tests run as root.
func openTempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "devstack-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, strings.Repeat("long", 25))
}

// TestStopRemovesEverything looks for what a stopped cluster left behind.
func TestStopRemovesEverything(t *testing.T) {
	pg := devstack.NewTestPostgres(t, devstack.PostgresOptions{})
	dir, dsn := pg.Dir(), pg.DSN("postgres")
	if err := pg.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("%s is still there: %v", dir, err)
	}
	if _, err := pgx.Connect(t.Context(), dsn); err == nil {
		t.Fatal("the server still answers")
	}
}

// TestBadOptions wants a coded error with a mend.
func TestBadOptions(t *testing.T) {
	taken := devstack.NewTestPostgres(t, devstack.PostgresOptions{})
	for _, test := range []struct {
		name, code string
		opts       devstack.PostgresOptions
	}{
		{"no programs there", "devstack.postgres.bindir", devstack.PostgresOptions{BinDir: t.TempDir()}},
		{"port taken", "devstack.postgres.start", devstack.PostgresOptions{Port: taken.Port()}},
		{"unknown setting", "devstack.postgres.start", devstack.PostgresOptions{Settings: map[string]string{"wal_levle": "logical"}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := devstack.StartPostgres(t.Context(), test.opts)
			var coded *connect.Error
			if !errors.As(err, &coded) || coded.Code != test.code || coded.Mend == "" {
				t.Fatalf("got %v, want code %s and a mend", err, test.code)
			}
		})
	}
}

// TestKilledOwnerLeavesNothing kills the process that started a cluster and
// looks for the server and its directory.
func TestKilledOwnerLeavesNothing(t *testing.T) {
	if os.Getenv("DEVSTACK_TEST_OWNER") == "1" {
		pg, err := devstack.StartPostgres(context.Background(), devstack.PostgresOptions{NoSync: true})
		if err != nil {
			t.Fatal(err)
		}
		_, _ = os.Stdout.WriteString("READY " + pg.Dir() + " " + pg.DSN("postgres") + "\n")
		select {}
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilledOwnerLeavesNothing$")
	cmd.Env = append(os.Environ(), "DEVSTACK_TEST_OWNER=1")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	var dir, dsn string
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) == 3 && fields[0] == "READY" {
			dir, dsn = fields[1], fields[2]
			break
		}
	}
	if dir == "" {
		t.Fatal("the owner did not start a cluster")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	eventually(t, "the directory of a killed owner is removed", func() bool {
		_, err := os.Stat(dir)
		return errors.Is(err, os.ErrNotExist)
	})
	if _, err := pgx.Connect(t.Context(), dsn); err == nil {
		t.Fatal("the server outlived its owner")
	}
}
