package streamstest_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// ledger is a bank in a real database. Each of its transactions leaves three things true:
// the entries of all accounts add up to 0, those of each account to its balance, and each
// card has seen what its account has been through. Some of what is in its tables is not
// captured, and some transactions are rolled back, in parts or whole.
type ledger struct {
	dsn   string
	next  atomic.Int64 // transfer
	fees  atomic.Bool  // the table of fees is there
	rough atomic.Bool  // tables are truncated; before, that would keep a snapshot from its end
	count atomic.Int64 // transactions
}

// ledgerTables are made before anything is captured. Decoding spills and streams early.
const ledgerTables = `
CREATE TABLE accounts (id bigint PRIMARY KEY, balance bigint NOT NULL, version bigint NOT NULL, secret text);
CREATE TABLE debits (id bigserial PRIMARY KEY, transfer bigint NOT NULL, account bigint NOT NULL, amount bigint NOT NULL);
CREATE TABLE credits (id bigserial PRIMARY KEY, transfer bigint NOT NULL, account bigint NOT NULL, amount bigint NOT NULL);
CREATE TABLE cards (id bigint PRIMARY KEY, account bigint NOT NULL, seen bigint NOT NULL);
CREATE TABLE audit (id bigserial PRIMARY KEY, what text);
CREATE INDEX ON debits (transfer); CREATE INDEX ON credits (transfer);
INSERT INTO accounts SELECT i, 0, 0, 'secret' FROM generate_series(1, 9) i;
INSERT INTO cards SELECT i, 1 + i % 9, 0 FROM generate_series(1, 20) i;
DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET logical_decoding_work_mem = ''64kB''', current_database()); END $$`

const feesTable = `CREATE TABLE fees (id bigserial PRIMARY KEY, account bigint NOT NULL, amount bigint NOT NULL)`

func openLedger(ctx context.Context, dsn string) (*ledger, error) {
	l := &ledger{dsn: dsn}
	err := l.session(ctx, func(conn *pgx.Conn) error {
		if _, err := conn.Exec(ctx, ledgerTables); err != nil {
			return err
		}
		rnd := rand.New(rand.NewPCG(1, 1))
		for range 30 {
			if err := l.commit(ctx, conn, func(tx pgx.Tx) error { return l.transfer(ctx, tx, rnd) }); err != nil {
				return err
			}
		}
		return nil
	})
	return l, err
}

func (l *ledger) session(ctx context.Context, do func(*pgx.Conn) error) error {
	conn, err := pgx.Connect(ctx, l.dsn)
	if err != nil {
		return err
	}
	return errors.Join(do(conn), conn.Close(context.WithoutCancel(ctx)))
}

// exec runs a statement.
func (l *ledger) exec(ctx context.Context, sql string) error {
	return l.session(ctx, func(conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, sql)
		return err
	})
}

func (l *ledger) commit(ctx context.Context, conn *pgx.Conn, do func(pgx.Tx) error) error {
	l.count.Add(1)
	return pgx.BeginFunc(ctx, conn, do)
}

// run writes transactions until stop is closed, and then a transfer, so that something is
// in the tables. What the server undoes of its own accord is let be.
func (l *ledger) run(ctx context.Context, seed uint64, stop <-chan struct{}) error {
	rnd := rand.New(rand.NewPCG(seed, 9))
	return l.session(ctx, func(conn *pgx.Conn) error {
		for last := false; ; {
			if !breathe(ctx) { // What is read here runs behind what can be written.
				return ctx.Err()
			}
			select {
			case <-stop:
				last = true
			default:
			}
			err := l.commit(ctx, conn, func(tx pgx.Tx) error {
				if last {
					return l.lastTransfer(ctx, tx, rnd)
				}
				return l.change(ctx, tx, rnd)
			})
			var refused *pgconn.PgError
			if err != nil && !errors.Is(err, errTakenBack) && !(errors.As(err, &refused) && (refused.Code == "40P01" || refused.Code == "40001")) {
				return err
			}
			if err == nil && last {
				return nil
			}
		}
	})
}

// lastTransfer waits for who truncates, as all others do.
func (l *ledger) lastTransfer(ctx context.Context, tx pgx.Tx, rnd *rand.Rand) error {
	if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock_shared(7)"); err != nil {
		return err
	}
	return l.transfer(ctx, tx, rnd)
}

var errTakenBack = errors.New("the transaction is taken back")

// change is one transaction.
func (l *ledger) change(ctx context.Context, tx pgx.Tx, rnd *rand.Rand) error {
	kind := rnd.IntN(24)
	lock := "SELECT pg_advisory_xact_lock_shared(7)"
	if kind < 3 {
		lock = "SELECT pg_advisory_xact_lock(7)" // Nobody else writes meanwhile.
	}
	if _, err := tx.Exec(ctx, lock); err != nil {
		return err
	}
	switch kind {
	case 0, 1:
		if !l.rough.Load() {
			return l.transfer(ctx, tx, rnd)
		}
		_, err := tx.Exec(ctx, "TRUNCATE debits, credits; UPDATE accounts SET balance = 0; INSERT INTO audit (what) VALUES ('truncate')")
		return err
	case 2:
		return l.rename(ctx, tx, rnd)
	case 3:
		if _, err := tx.Exec(ctx, "UPDATE debits SET id = id + 1000000000 WHERE id = (SELECT max(id) FROM debits WHERE id < 1000000000)"); err != nil {
			return err
		}
	case 4, 5:
		return l.takeBack(ctx, tx, rnd)
	case 6, 7:
		if err := l.undone(ctx, tx, rnd, 1); err != nil {
			return err
		}
	case 8:
		if err := l.undone(ctx, tx, rnd, 400); err != nil {
			return err
		}
		if err := l.many(ctx, tx, 60); err != nil {
			return err
		}
	case 9:
		if err := l.transfer(ctx, tx, rnd); err != nil {
			return err
		}
		return errTakenBack
	}
	return l.transfer(ctx, tx, rnd)
}

// two chooses two accounts, which nobody else changes then.
func (l *ledger) two(ctx context.Context, tx pgx.Tx, rnd *rand.Rand) (from, to int64, err error) {
	rows, err := tx.Query(ctx, "SELECT id FROM accounts ORDER BY id")
	if err != nil {
		return 0, 0, err
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return 0, 0, err
	}
	rnd.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	from, to = ids[0], ids[1]
	_, err = tx.Exec(ctx, "SELECT FROM accounts WHERE id IN ($1, $2) ORDER BY id FOR UPDATE", from, to)
	return from, to, err
}

func (l *ledger) transfer(ctx context.Context, tx pgx.Tx, rnd *rand.Rand) error {
	from, to, err := l.two(ctx, tx, rnd)
	if err != nil {
		return err
	}
	amount, transfer := 1+rnd.Int64N(1000), l.next.Add(1)
	b := &pgx.Batch{}
	b.Queue("INSERT INTO debits (transfer, account, amount) VALUES ($1, $2, $3)", transfer, from, amount)
	b.Queue("UPDATE accounts SET balance = balance - $2, version = version + 1 WHERE id = $1", from, amount)
	b.Queue("INSERT INTO audit (what) VALUES ('transfer')")
	b.Queue("UPDATE accounts SET balance = balance + $2, version = version + 1, secret = 'another' WHERE id = $1", to, amount)
	b.Queue("UPDATE cards SET seen = seen + 1 WHERE account IN ($1, $2)", from, to)
	b.Queue("INSERT INTO credits (transfer, account, amount) VALUES ($1, $2, $3)", transfer, to, amount)
	if l.fees.Load() {
		b.Queue("INSERT INTO fees (account, amount) VALUES ($1::bigint, $3::bigint), ($2::bigint, -$3::bigint)", from, to, amount)
	}
	return tx.SendBatch(ctx, b).Close()
}

// many writes so many transfers at once.
func (l *ledger) many(ctx context.Context, tx pgx.Tx, n int64) error {
	first := l.next.Add(n) - n
	b := &pgx.Batch{}
	b.Queue("INSERT INTO debits (transfer, account, amount) SELECT $1::bigint + i, (SELECT min(id) FROM accounts), i FROM generate_series(1, $2::bigint) i", first, n)
	b.Queue("INSERT INTO credits (transfer, account, amount) SELECT $1::bigint + i, (SELECT max(id) FROM accounts), i FROM generate_series(1, $2::bigint) i", first, n)
	b.Queue("UPDATE accounts SET balance = balance - $1 WHERE id = (SELECT min(id) FROM accounts)", n*(n+1)/2)
	b.Queue("UPDATE accounts SET balance = balance + $1 WHERE id = (SELECT max(id) FROM accounts)", n*(n+1)/2)
	return tx.SendBatch(ctx, b).Close()
}

// undone writes what does not add up, and rolls that back, and a part of it before.
func (l *ledger) undone(ctx context.Context, tx pgx.Tx, rnd *rand.Rand, n int64) error {
	sql := fmt.Sprintf(`SAVEPOINT a; INSERT INTO debits (transfer, account, amount) SELECT -i, 1, 77 FROM generate_series(1, %[1]d) i;
		SAVEPOINT b; UPDATE accounts SET balance = balance + 5, version = version + 3; ROLLBACK TO b;
		DELETE FROM credits WHERE id %% 2 = %[2]d; ROLLBACK TO a; RELEASE a`, n, rnd.IntN(2))
	_, err := tx.Exec(ctx, sql)
	return err
}

// takeBack deletes a transfer.
func (l *ledger) takeBack(ctx context.Context, tx pgx.Tx, rnd *rand.Rand) error {
	transfer := 1 + rnd.Int64N(l.next.Load())
	var accounts []int64
	rows, err := tx.Query(ctx, "SELECT account FROM debits WHERE transfer = $1 UNION SELECT account FROM credits WHERE transfer = $1", transfer)
	if err == nil {
		accounts, err = pgx.CollectRows(rows, pgx.RowTo[int64])
	}
	if err != nil {
		return err
	}
	slices.Sort(accounts)
	if _, err := tx.Exec(ctx, "SELECT FROM accounts WHERE id = ANY($1) ORDER BY id FOR UPDATE", accounts); err != nil {
		return err
	}
	b := &pgx.Batch{}
	b.Queue("WITH gone AS (DELETE FROM debits WHERE transfer = $1 RETURNING account, amount) UPDATE accounts a SET balance = balance + g.amount FROM gone g WHERE a.id = g.account", transfer)
	b.Queue("WITH gone AS (DELETE FROM credits WHERE transfer = $1 RETURNING account, amount) UPDATE accounts a SET balance = balance - g.amount FROM gone g WHERE a.id = g.account", transfer)
	return tx.SendBatch(ctx, b).Close()
}

// rename gives an account another key.
func (l *ledger) rename(ctx context.Context, tx pgx.Tx, rnd *rand.Rand) error {
	from, _, err := l.two(ctx, tx, rnd)
	if err != nil {
		return err
	}
	b := &pgx.Batch{}
	to := 100 + l.next.Add(1)
	b.Queue("UPDATE accounts SET id = $2 WHERE id = $1", from, to)
	for _, table := range []string{"debits", "credits", "cards"} {
		b.Queue("UPDATE "+table+" SET account = $2 WHERE account = $1", from, to)
	}
	return tx.SendBatch(ctx, b).Close()
}

// sums reads a sum for each account.
func (l *ledger) sums(ctx context.Context, sql string) (sums map[int64]int64, err error) {
	sums = map[int64]int64{}
	err = l.session(ctx, func(conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, sql)
		if err != nil {
			return err
		}
		var id, sum int64
		_, err = pgx.ForEachRow(rows, []any{&id, &sum}, func() error {
			sums[id] = sum
			return nil
		})
		return err
	})
	return sums, err
}
