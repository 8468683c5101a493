package storm_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tidemill/tidemill/internal/devstack"
	"github.com/tidemill/tidemill/torture/storm"
)

// TestStorm has clients write until every kind of transaction was committed, those that
// are rare in a storm of their own: the sum of the accounts is what it was, and there is
// a manifest for each transaction that the clients know to be committed.
func TestStorm(t *testing.T) {
	t.Run("common", func(t *testing.T) {
		write(t, "transfer", "key", "noop", "rebirth", "toast", "savepoints", "partition", "side", "values", "nokey", "message", "interleaved", "ddl")
	})
	t.Run("rare", func(t *testing.T) { write(t, "copy", "big", "bigdelete", "long", "truncate") })
}

// write runs a storm of some kinds of transactions.
func write(t *testing.T, kinds ...string) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	dsn := devstack.TestPostgres(t)
	connect := func(ctx context.Context) (*pgx.Conn, error) { return pgx.Connect(ctx, dsn) }
	s := storm.New(storm.Options{Seed: 1, Clients: 4, TPS: -1, BigTx: 500, DDL: 0.2, Hold: time.Millisecond, Connect: connect, Templates: kinds})
	if err := s.Setup(ctx); err != nil {
		t.Fatal(err)
	}
	running, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- s.Run(running) }()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for missing := kinds; len(missing) > 0; {
		select {
		case <-ticker.C:
		case err := <-done:
			t.Fatalf("%v; %+v", err, s.Stats())
		case <-ctx.Done():
			t.Fatalf("never committed: %v; %+v", missing, s.Stats())
		}
		committed := s.Stats().Templates
		for len(missing) > 0 && committed[missing[0]] > 0 {
			missing = missing[1:]
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	final, err := s.Finish(ctx)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := connect(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	var manifests, sum, rows int64
	var kind string
	err = conn.QueryRow(ctx, "SELECT (SELECT count(*) FROM manifest), (SELECT sum(bal) FROM acct), (SELECT count(*) FROM acct), (SELECT kind FROM manifest WHERE txid = $1)", final).Scan(&manifests, &sum, &rows, &kind)
	if err != nil {
		t.Fatal(err)
	}
	stats := s.Stats()
	if sum != 200*1000 || rows != 200 || kind != storm.KindFinal || manifests != stats.Committed+1 || stats.RolledBack == 0 {
		t.Errorf("%d accounts with %d, %d manifests, %s; %+v", rows, sum, manifests, kind, stats)
	}
}
