package streams

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/internal/devstack"
	"github.com/tidemill/tidemill/streams/serde"
	"github.com/tidemill/tidemill/streams/topics"
	"github.com/tidemill/tidemill/streams/txn/txntest"
)

// accountsWorld is a broker with the topics of a table of accounts, between which every
// transaction moves money.
type accountsWorld struct {
	*world
	db       *txntest.Database
	balances [6]int64
	cl       *kgo.Client
}

// perAccount is what each account has at first.
const perAccount = 1000

func newAccountsWorld(t *testing.T) *accountsWorld {
	t.Helper()
	w := &accountsWorld{world: newWorldOn(t, devstack.TestKafka(t)), db: txntest.New("bank", 3)}
	if err := w.client.Delete(w.ctx, w.db.Topic("accounts"), w.db.Source().Topic, "totals", "bank-accounts-changelog", "bank-total-changelog"); err != nil {
		t.Fatal(err)
	}
	w.create(w.db.Topic("accounts"), 3)
	w.create(w.db.Source().Topic, 1)
	w.create("totals", 1)
	var err error
	if w.cl, err = kgo.NewClient(kgo.SeedBrokers(w.brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.cl.Close)
	first := w.db.Snapshot()
	for id := range w.balances {
		w.balances[id] = perAccount
		first.Set("accounts", txntest.Row{ID: int64(id), Amount: perAccount})
	}
	w.send(first.Commit())
	return w
}

func (w *accountsWorld) send(records []txntest.Record) {
	w.t.Helper()
	for _, r := range txntest.Mix(w.rnd, records) {
		if err := w.cl.ProduceSync(w.ctx, &kgo.Record{Topic: r.Topic, Partition: r.Partition, Key: r.Key, Value: r.Value}).FirstErr(); err != nil {
			w.t.Fatal(err)
		}
	}
}

// move writes n transactions.
func (w *accountsWorld) move(n int) {
	w.t.Helper()
	var records []txntest.Record
	for range n {
		from, to, amount := w.rnd.IntN(6), w.rnd.IntN(6), w.rnd.Int64N(10)
		tx := w.db.Begin()
		w.balances[from] -= amount
		tx.Set("accounts", txntest.Row{ID: int64(from), Amount: w.balances[from]})
		w.balances[to] += amount
		tx.Set("accounts", txntest.Row{ID: int64(to), Amount: w.balances[to]})
		records = append(records, tx.Commit()...)
	}
	w.send(records)
}

// app sums up all accounts.
func (w *accountsWorld) app() (App, *Table[int64, int64]) {
	w.t.Helper()
	b := NewBuilder()
	accounts := CDC{Topic: w.db.Topic("accounts"), Key: serde.Row(w.db.Key), Envelope: serde.Row(w.db.Envelope), Row: w.db.Row}.
		Table(b, With{Name: "accounts", Store: "accounts"})
	all := GroupTable(accounts, func(_, row connect.Value) (int64, int64) { return 0, txntest.RowOf(row).Amount }, serde.Int64{}, serde.Int64{}, With{Name: "all", Partitions: 2})
	total := Aggregate(all, Aggregation[int64, int64, int64]{
		Init:     func() int64 { return 0 },
		Add:      func(_, v, sum int64) int64 { return sum + v },
		Subtract: func(_, v, sum int64) int64 { return sum - v },
	}, serde.Int64{}, With{Name: "total", Store: "total"})
	total.ToStream().To("totals", serde.Int64{}, serde.Int64{})
	topology, err := b.Build()
	if err != nil {
		w.t.Fatal(err)
	}
	return App{ID: "bank", Topology: topology, ExactlyOnce: true, CommitInterval: 5 * time.Millisecond, Transactions: w.db.Source()}, total
}

// waitStands waits until the application is as of the last transaction, and checks the
// total then and all that were sent.
func (w *accountsWorld) waitStands(r *running, total *Table[int64, int64]) {
	w.t.Helper()
	lsn := uint64(0)
	defer func() { w.t.Logf("it came to %d of %d", lsn, w.db.LSN()) }()
	w.wait("the last transaction", func() bool {
		rows, err := r.Rows(w.ctx, "bank", "total")
		if err != nil {
			w.t.Fatal(err)
		}
		m, err := rows.Moment()
		if err == nil {
			lsn, err = m.LSN()
		}
		if err != nil {
			w.t.Fatal(err)
		}
		if err := m.Close(); err != nil {
			w.t.Fatal(err)
		}
		return lsn == w.db.LSN()
	})
	rows, err := r.Rows(w.ctx, "bank", "total")
	if err != nil {
		w.t.Fatal(err)
	}
	if rec, _, err := total.View(rows).Lookup(w.ctx, 0); err != nil || rec.Value != 6*perAccount {
		w.t.Errorf("the total is %d: %v", rec.Value, err)
	}
	sent := 0
	err = w.client.Read(w.ctx, "totals", topics.ToEnd, func(rec *kgo.Record) (bool, error) {
		sent++
		if v := int64(binary.BigEndian.Uint64(rec.Value)); v != 6*perAccount {
			w.t.Errorf("total %d is %d, as of %v", sent, v, rec.Headers)
		}
		return true, nil
	})
	if err != nil || sent == 0 {
		w.t.Errorf("%d totals were sent, %v", sent, err)
	}
}

// TestCrashInTransactions ends an application in transaction mode at every point of a
// commit, and goes on with what it left behind, or without it.
func TestCrashInTransactions(t *testing.T) {
	for _, point := range []string{"before flush", "written", "offsets committed", "committed"} {
		for _, keep := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, state kept %v", point, keep), func(t *testing.T) {
				w := newAccountsWorld(t)
				app, total := w.app()
				dir := t.TempDir()
				var passed atomic.Int32
				died := make(chan struct{})
				e := w.start(dir, app, func(e *Engine) {
					e.instance = "again"
					e.crash = func(at string) error {
						if at != point {
							return nil
						}
						switch n := passed.Add(1); {
						case n < 3:
							return nil
						case n == 3:
							close(died)
						}
						return errCrash
					}
				})
				w.wait("the crash", func() bool {
					select {
					case <-died:
						return true
					default:
						w.move(3)
						return false
					}
				})
				e.end()
				w.move(5)
				if !keep {
					dir = t.TempDir()
				}
				e = w.start(dir, app, func(e *Engine) { e.instance = "again" })
				w.move(5)
				w.waitStands(e, total)
				e.end()
			})
		}
	}
}

// gather truncates the accounts and gives everything to the first one: of the partitions of
// most accounts the transaction has no event.
func (w *accountsWorld) gather() {
	w.t.Helper()
	w.balances = [6]int64{6 * perAccount}
	w.send(w.db.Begin().Truncate("accounts").Set("accounts", txntest.Row{Amount: w.balances[0]}).Commit())
}

// TestCrashAtTruncate ends an application when a truncate is committed and not yet on its
// disk: partitions of which the transaction has no event have lost their rows all the same.
func TestCrashAtTruncate(t *testing.T) {
	w := newAccountsWorld(t)
	app, total := w.app()
	dir := t.TempDir()
	var armed atomic.Bool
	died := make(chan struct{})
	e := w.start(dir, app, func(e *Engine) {
		e.instance = "again"
		e.crash = func(at string) error {
			if at != "offsets committed" || !armed.Load() {
				return nil
			}
			close(died)
			return errCrash
		}
	})
	w.move(5)
	w.waitStands(e, total)
	armed.Store(true)
	w.gather()
	<-died
	e.end()
	e = w.start(dir, app, func(e *Engine) { e.instance = "again" })
	w.waitStands(e, total)
	w.gather()
	w.move(5)
	w.waitStands(e, total)
	e.end()
}

// TestTransactionsStandBy has a second process take over when the first one stops.
func TestTransactionsStandBy(t *testing.T) {
	w := newAccountsWorld(t)
	app, total := w.app()
	one := w.start(t.TempDir(), app)
	w.move(5)
	w.waitStands(one, total)
	two := w.start(t.TempDir(), app)
	w.move(5)
	one.end()
	w.move(5)
	w.waitStands(two, total)
	two.end()
}

// TestCommitTakesTooLong has a commit take longer than CommitTimeout, which brokers know of:
// they abort it, the application says so by name, and does everything again.
func TestCommitTakesTooLong(t *testing.T) {
	w := newAccountsWorld(t)
	app, total := w.app()
	app.Transactions.CommitTimeout = 1500 * time.Millisecond
	adm, told := kadm.NewClient(w.cl), &ears{}
	var slow sync.Once
	state := func() (state string, timeout int32) {
		all, err := adm.DescribeTransactions(w.ctx, "bank-slow")
		if err != nil {
			t.Error(err)
		}
		return all["bank-slow"].State, all["bank-slow"].TimeoutMillis
	}
	e := w.start(t.TempDir(), app, func(e *Engine) {
		e.instance = "slow"
		e.cfg.Logger = slog.New(slog.NewTextHandler(told, nil))
		e.crash = func(point string) error {
			if point != "written" {
				return nil
			}
			slow.Do(func() {
				if now, timeout := state(); now != "Ongoing" || timeout != 1500 {
					t.Errorf("the transaction is %s, and may take %d ms", now, timeout)
				}
				w.wait("brokers to abort the transaction", func() bool {
					now, _ := state()
					return now != "Ongoing"
				})
			})
			return nil
		}
	})
	w.move(5)
	w.waitStands(e, total)
	if !told.heard("streams.transaction.timeout") || !told.heard("raise CommitTimeout") {
		t.Errorf("nobody is told why: %s", told)
	}
	e.end()
}

// ears listen to what is logged.
type ears struct {
	mu   sync.Mutex
	text strings.Builder
}

func (e *ears) Write(b []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.text.Write(b)
}

func (e *ears) String() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.text.String()
}

func (e *ears) heard(what string) bool { return strings.Contains(e.String(), what) }

// TestTransactionsRefused has an application that cannot be run in transaction mode.
func TestTransactionsRefused(t *testing.T) {
	w := newAccountsWorld(t)
	app, _ := w.app()
	e, err := OpenEngine(Config{Brokers: w.brokers})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}()
	app.ExactlyOnce = false
	if err := e.Add(app); err == nil || connect.AsError(err).Code != "streams.transaction.guarantee" {
		t.Errorf("got %v", err)
	}
	app.ExactlyOnce, app.FromLatest = true, true
	if err := e.Add(app); err == nil || connect.AsError(err).Code != "streams.transaction.latest" {
		t.Errorf("got %v", err)
	}
}
