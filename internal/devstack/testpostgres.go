package devstack

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

// TB is the part of testing.TB that is needed here; the demo, which links this
// package, then does not link the testing package.
type TB interface {
	Helper()
	Cleanup(func())
	Fatalf(format string, args ...any)
}

// testClusters holds the clusters that the tests of this process share, one
// for each version asked for. They end with the process, so nobody closes them.
var testClusters struct {
	sync.Mutex
	byVersion map[string]*Postgres
	databases atomic.Int64
}

// TestPostgres returns the URL of a fresh, empty database for one test, on a
// private cluster that all tests of the process share and that ends with the
// process. The user is a superuser; fsync is off; there is room for 100
// replication slots. At the end of the test the connections to the database
// are cut and its replication slots and the database itself are dropped.
//
// The environment variable TIDEMILL_TEST_PG_BIN names the folder of the server
// programs to use instead of the machine's own. Tests that stop, crash or
// reconfigure a server use [NewTestPostgres].
func TestPostgres(tb TB) string {
	tb.Helper()
	return testDatabase(tb, "", os.Getenv("TIDEMILL_TEST_PG_BIN"))
}

// NewTestPostgres starts a private cluster for one test alone, which may crash
// and restart it, and stops it at the end of the test. Synchronisation with
// the disk is off.
func NewTestPostgres(tb TB, opts PostgresOptions) *Postgres {
	tb.Helper()
	if opts.BinDir == "" {
		opts.BinDir = os.Getenv("TIDEMILL_TEST_PG_BIN")
	}
	opts.NoSync = true
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	pg, err := StartPostgres(ctx, opts)
	if err != nil {
		tb.Fatalf("starting PostgreSQL for this test: %v", err)
	}
	tb.Cleanup(func() {
		if err := pg.Stop(context.Background()); err != nil {
			tb.Fatalf("stopping PostgreSQL: %v", err)
		}
	})
	return pg
}

// testDatabase makes a database on the shared cluster of a version.
func testDatabase(tb TB, version, binDir string) string {
	tb.Helper()
	pg, err := sharedPostgres(version, binDir)
	if err != nil {
		tb.Fatalf("starting PostgreSQL for the tests: %v", err)
	}
	name := fmt.Sprintf("test_%d", testClusters.databases.Add(1))
	if err := administer(pg, "CREATE DATABASE "+name); err != nil {
		tb.Fatalf("making a database for this test: %v", err)
	}
	tb.Cleanup(func() {
		if err := dropDatabase(pg, name); err != nil {
			tb.Fatalf("dropping the test's database: %v", err)
		}
	})
	return pg.DSN(name)
}

// sharedPostgres returns the running cluster of a version, or starts it.
func sharedPostgres(version, binDir string) (*Postgres, error) {
	testClusters.Lock()
	defer testClusters.Unlock()
	if pg := testClusters.byVersion[version]; pg != nil {
		return pg, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	pg, err := StartPostgres(ctx, PostgresOptions{BinDir: binDir, NoSync: true, Settings: map[string]string{
		"max_connections":       "200",
		"max_wal_senders":       "100",
		"max_replication_slots": "100",
	}})
	if err != nil {
		return nil, err
	}
	if testClusters.byVersion == nil {
		testClusters.byVersion = map[string]*Postgres{}
	}
	testClusters.byVersion[version] = pg
	return pg, nil
}

// dropDatabase drops a database with all that would hold it: its sessions and
// its replication slots. A walsender lets go of its slot a moment after it was
// told to end, so the slots are dropped as they become free.
func dropDatabase(pg *Postgres, name string) error {
	const dropSlots = `SELECT count(pg_drop_replication_slot(slot_name)) FROM pg_replication_slots WHERE database = $1 AND NOT active`
	const endSessions = `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = $1`
	const left = `SELECT count(*) FROM pg_replication_slots WHERE database = $1`
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	conn, err := pgx.Connect(ctx, pg.DSN("postgres"))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	for {
		var slots int
		for _, query := range []string{endSessions, dropSlots, left} {
			if err = conn.QueryRow(ctx, query, name).Scan(&slots); err != nil {
				break
			}
		}
		if err == nil && slots == 0 {
			break
		}
		if !pause(ctx, 10*time.Millisecond) {
			return fmt.Errorf("%d replication slots are still in use: %w", slots, err)
		}
	}
	_, err = conn.Exec(ctx, "DROP DATABASE "+name+" WITH (FORCE)")
	return err
}

// administer runs one statement as the superuser.
func administer(pg *Postgres, statement string) error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	conn, err := pgx.Connect(ctx, pg.DSN("postgres"))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	_, err = conn.Exec(ctx, statement)
	return err
}

// TestPostgresVersion is [TestPostgres] on a server of a major version, as
// [DownloadPostgres] knows them, whose programs are downloaded on first use.
func TestPostgresVersion(tb TB, major int) string {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*startTimeout)
	defer cancel()
	binDir, err := DownloadPostgres(ctx, major)
	if err != nil {
		tb.Fatalf("getting the programs of PostgreSQL %d: %v", major, err)
	}
	return testDatabase(tb, strconv.Itoa(major), binDir)
}
