package storm

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"
)

// Options are what a storm is made of. Zero values stand for what is said with each.
type Options struct {
	Seed    int64
	Clients int     // Sessions that write side by side. 8.
	TPS     float64 // Transactions a second of all of them together; below 0 as many as go. 200.
	// Abort is the share of transactions that are rolled back at their end, Die that of
	// those whose client is cut off in their middle, DDL that of those that change the
	// schema. 0.15, 0.02, 0.02; below 0 none.
	Abort, Die, DDL float64
	// BigTx is the number of rows of a large transaction. 5,000; below 0 there are none.
	BigTx int
	// Hold is how long a long transaction is open. 2 s.
	Hold time.Duration
	// Accounts is the number of accounts, Balance what each has at first. 200, 1,000.
	Accounts, Balance int
	// Templates are the names of those to use, all if there are none.
	Templates []string
	// Connect opens a connection, directly to the server. The account must be allowed to
	// make tables and a publication of all tables.
	Connect func(context.Context) (*pgx.Conn, error)
}

// Stats are counts of what a storm has done.
type Stats struct {
	Committed, RolledBack, Failed, Died int64
	// Unsure are commits whose answer was lost, Settled those of them of which the
	// database told that they had been.
	Unsure, Settled int64
	Events          int64 // Of transactions that were committed.
	Connections     int64
	Templates       map[string]int64 // Committed transactions.
}

// Storm writes. Its methods may be called by any goroutine; Run by one at a time.
type Storm struct {
	opts      Options
	templates []template

	mu    sync.Mutex
	stats Stats
	fault error // The newest that was no lost connection nor meant.
}

// New returns a storm; nothing is written yet.
func New(o Options) *Storm {
	number := func(n *int, def int) {
		if *n == 0 {
			*n = def
		}
	}
	share := func(f *float64, def float64) {
		if *f == 0 {
			*f = def
		}
	}
	number(&o.Clients, 8)
	number(&o.BigTx, 5000)
	number(&o.Accounts, 200)
	number(&o.Balance, 1000)
	share(&o.TPS, 200)
	share(&o.Abort, 0.15)
	share(&o.Die, 0.02)
	share(&o.DDL, 0.02)
	if o.Hold == 0 {
		o.Hold = 2 * time.Second
	}
	return &Storm{opts: o, templates: o.templates(), stats: Stats{Templates: map[string]int64{}}}
}

// Setup makes the tables and their publication in an empty database, and has the server
// stream every transaction of more than 64 kB while it is in progress, and write values
// in a way of its own to whoever does not ask for another. It also writes the first rows.
func (s *Storm) Setup(ctx context.Context) error {
	conn, err := s.opts.Connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for _, sql := range []string{
		schemaSQL,
		`DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET logical_decoding_work_mem = ''64kB''', current_database()); END $$`,
		`DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET datestyle = ''German''; ALTER DATABASE %1$I SET extra_float_digits = -3; ALTER DATABASE %1$I SET bytea_output = ''escape''', current_database()); END $$`,
	} {
		if err := conn.PgConn().Exec(ctx, sql).Close(); err != nil {
			return fmt.Errorf("making the tables of the storm: %w", err)
		}
	}
	t, err := begin(ctx, conn)
	if err != nil {
		return err
	}
	if err := s.fill(ctx, t); err != nil {
		return fmt.Errorf("filling the tables of the storm: %w", err)
	}
	if err := t.manifest(ctx, KindSetup); err != nil {
		return err
	}
	return t.exec(ctx, "COMMIT")
}

// fill writes the first rows, in one transaction like any other.
func (s *Storm) fill(ctx context.Context, t *transaction) error {
	return t.all(ctx,
		change{"c", "acct", fmt.Sprintf(`INSERT INTO acct SELECT g, %d, CASE WHEN g %% 10 = 0 THEN repeat(md5(g::text), 280) END FROM generate_series(1, %d) g`, s.opts.Balance, s.opts.Accounts)},
		change{"c", "part", `INSERT INTO part SELECT g * 10, 'p' || g FROM generate_series(0, 399) g`},
		change{"c", "mix", `INSERT INTO "Mix é""d ""T""" SELECT md5(g::text)::uuid, jsonb_build_object('g', g, 'é', '"'), ARRAY[g, NULL, -g], g / 7.0, '2024-01-01'::timestamp + g * interval '1.000001 s',
			'm1', g % 2 = 0, decode(md5(g::text), 'hex'), g / 2.0 FROM generate_series(1, 100) g`},
		change{"c", "big", `INSERT INTO big (v) SELECT 'b' || g || repeat('.', 50) FROM generate_series(1, 12000) g`},
		change{"c", "nokey", `INSERT INTO nokey SELECT g % 20, 'y' FROM generate_series(1, 100) g`},
	)
}

// Run writes until ctx is done. A server that is not there, or that ends connections, is
// waited for. The error is that of a transaction that failed for a reason of its own,
// which is a fault of the storm.
func (s *Storm) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for i := range s.opts.Clients {
		group.Go(func() error { return newClient(s, i).run(ctx) })
	}
	return group.Wait()
}

// Finish writes the last transaction and returns its number: when its manifest is seen,
// all has been. It tries again until ctx is done.
func (s *Storm) Finish(ctx context.Context) (txid int64, err error) {
	c := newClient(s, -1)
	defer c.close()
	for {
		if txid, err = c.finish(ctx); err == nil || ctx.Err() != nil || !passing(err) {
			return txid, err
		}
		c.drop()
		if rest(ctx, 20*time.Millisecond) != nil {
			return 0, err
		}
	}
}

// Stats returns what was done so far.
func (s *Storm) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	stats := s.stats
	stats.Templates = maps.Clone(stats.Templates)
	return stats
}

// Settings returns what the storm was made of, with the values that stand for zero.
func (s *Storm) Settings() Options { return s.opts }

func (s *Storm) count(f func(*Stats)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.stats)
}

// rest waits, or returns the error of ctx when that is done before.
func rest(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
