package streamstest_test

import (
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/internal/devstack"
	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/join"
	"github.com/tidemill/tidemill/streams/query"
	"github.com/tidemill/tidemill/streams/serde"
	"github.com/tidemill/tidemill/streams/topics"
	"github.com/tidemill/tidemill/streams/txn/txntest"
)

// largeTransfers is how many transfers, of two rows each, the transactions of TestLarge
// have.
var largeTransfers = flag.Int("large.transfers", 3000, "transfers in each transaction of TestLarge, of two rows each")

// largeAccounts is between how many accounts they are, and largeCache what the application
// has in memory for the rows of one commit.
const (
	largeAccounts = 500
	largeCache    = 64 << 10
)

// large is an application over transactions that are much larger than its memory: what
// every account has, the total, what the account of each debit has, and each credit beside
// what its account had then.
type large struct {
	*bank
	app             streams.App
	balances, total *streams.Table[int64, int64]
	shown           *streams.Table[connect.Value, int64]
}

func newLarge() (*large, error) {
	l := &large{bank: newBankOf(nil, 3)}
	l.balances, l.total = l.bank.balances()
	b := l.bank.b
	l.shown = join.ForeignKey(l.cdc("cards").Table(b, streams.With{Store: "cards"}),
		join.On(l.balances, func(_, card connect.Value) (int64, bool) { return txntest.RowOf(card).Ref, true }),
		join.Left(func(_ connect.Value, p join.Pair[connect.Value, int64]) int64 { return p.Right }),
		serde.Int64{}, streams.With{Name: "shown", Store: "shown"})
	credited := streams.SelectKey(streams.MapValues(l.cdc("credits").Stream(b), func(_ connect.Value, c streams.Change[connect.Value]) int64 {
		if !c.HasNew {
			return -1
		}
		return txntest.RowOf(c.New).Ref
	}), func(_ connect.Value, account int64) int64 { return account })
	join.StreamTable(credited, l.balances, join.Left(func(_ int64, p join.Pair[int64, int64]) int64 { return p.Right }), serde.Int64{}, streams.With{Name: "credited", Partitions: 2}).
		To("credited", serde.Int64{}, serde.Int64{})
	topology, err := b.Build()
	source := l.db.Source()
	source.MaxBytes, source.CommitTimeout = largeCache, 5*time.Minute
	l.app = streams.App{ID: "large", Topology: topology, ExactlyOnce: true, CommitInterval: 5 * time.Millisecond, Transactions: source}
	return l, err
}

func (l *large) engine(brokers []string, dir string, logger *slog.Logger) (*streams.Engine, error) {
	e, err := streams.OpenEngine(streams.Config{
		Brokers: brokers, Dir: dir, Logger: logger, CacheBytes: largeCache, BlockCacheBytes: 4 << 20,
		Client: []kgo.Opt{kgo.SessionTimeout(10 * time.Second)},
	})
	if err != nil {
		return nil, err
	}
	return e, e.Add(l.app)
}

// runLarge is a process of TestLarge.
func (p place) runLarge(logger *slog.Logger) error {
	l, err := newLarge()
	if err != nil {
		return err
	}
	e, err := l.engine(p.Brokers, p.Dir, logger)
	if err != nil {
		return err
	}
	return e.Run(context.Background())
}

// largeWorld is a broker, and what every state of the database was.
type largeWorld struct {
	*capturedWorld
	large *large
	rnd   *rand.Rand
	cl    *kgo.Client
	// states are the accounts' balances by position; events are how many credits there
	// were at it.
	states map[uint64]map[int64]int64
	events map[uint64]int
	cards  map[int64]int64 // the account of each card, from the snapshot on
}

func newLargeWorld(t *testing.T) *largeWorld {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
	t.Cleanup(cancel)
	w := &largeWorld{
		capturedWorld: &capturedWorld{t: t, ctx: ctx, place: place{Brokers: devstack.TestKafka(t)}},
		rnd:           rand.New(rand.NewPCG(3, 4)), states: map[uint64]map[int64]int64{0: {}}, events: map[uint64]int{}, cards: map[int64]int64{},
	}
	var err error
	w.large, err = newLarge()
	w.must(err)
	w.large.t = t
	w.client, err = topics.Open(w.place.Brokers)
	w.must(err)
	t.Cleanup(w.client.Close)
	for _, topic := range []string{w.large.db.Topic("debits"), w.large.db.Topic("credits"), w.large.db.Topic("cards")} {
		w.must(w.client.Create(ctx, topics.Spec{Name: topic, Partitions: 3}))
	}
	w.must(w.client.Create(ctx, topics.Spec{Name: w.large.db.Source().Topic, Partitions: 1}))
	for _, topic := range []string{"totals", "credited"} {
		w.must(w.client.Create(ctx, topics.Spec{Name: topic, Partitions: 2}))
	}
	w.cl, err = kgo.NewClient(kgo.SeedBrokers(w.place.Brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	w.must(err)
	t.Cleanup(w.cl.Close)
	return w
}

// commit writes a transaction of so many transfers, which are those from first on.
func (w *largeWorld) commit(tx *txntest.Transaction, first, n int64) {
	w.t.Helper()
	for id := first; id < first+n; id++ {
		from, to, amount := w.rnd.Int64N(largeAccounts), w.rnd.Int64N(largeAccounts), 1+w.rnd.Int64N(100)
		tx.Set("debits", txntest.Row{ID: id, Ref: from, Amount: amount}).Set("credits", txntest.Row{ID: id, Ref: to, Amount: amount})
		w.large.model("debits", id, from, -amount)
		w.large.model("credits", id, to, amount)
	}
	w.send(tx, int(n))
}

// send writes the records of a transaction as they may arrive.
func (w *largeWorld) send(tx *txntest.Transaction, credits int) {
	w.t.Helper()
	lsn := w.large.db.LSN()
	w.states[lsn], w.events[lsn] = maps.Clone(w.large.want), credits
	for _, r := range txntest.Mix(w.rnd, tx.Commit()) {
		w.cl.Produce(w.ctx, &kgo.Record{Topic: r.Topic, Partition: r.Partition, Key: r.Key, Value: r.Value}, func(_ *kgo.Record, err error) {
			if err != nil {
				w.t.Error(err)
			}
		})
	}
	w.must(w.cl.Flush(w.ctx))
}

// TestLarge has transactions that are many times as large as the memory there is for the
// rows of a commit. The process is killed in their midst; what is read and what is sent is
// of whole transactions, once.
func TestLarge(t *testing.T) {
	w := newLargeWorld(t)
	n := int64(*largeTransfers)
	first := w.large.db.Snapshot()
	for id := range int64(50) {
		w.cards[id] = w.rnd.Int64N(largeAccounts)
		first.Set("cards", txntest.Row{ID: id, Ref: w.cards[id]})
	}
	w.commit(first, 0, 10)
	dir := t.TempDir()
	child := w.place.launch(t, "large", dir)
	w.until("the snapshot", func() bool { return w.records("credited") > 0 })
	w.commit(w.large.db.Begin(), 5, n)
	changes := filepath.Join(dir, "transactions", "large-changes")
	w.until("changes on the disk", func() bool { return w.some(changes, "rows", "*") })
	child.kill()
	child = w.place.launch(t, "large", dir)
	w.until("a commit", func() bool { return w.some(changes, "*.sst") || w.sent() == w.large.db.LSN() })
	w.t.Logf("it is killed in the second attempt, peak of memory %s", peakOf(child.cmd.Process.Pid))
	child.kill()

	w.look(dir, n)
	w.look(t.TempDir(), 0)
	w.checkSent()
}

// some tells whether there are such files.
func (w *largeWorld) some(path ...string) bool {
	w.t.Helper()
	files, err := filepath.Glob(filepath.Join(path...))
	w.must(err)
	return len(files) > 0
}

// peakOf is the most memory that a process has ever had.
func peakOf(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return "unknown"
	}
	_, rest, _ := strings.Cut(string(b), "VmHWM:")
	line, _, _ := strings.Cut(rest, "\n")
	return strings.TrimSpace(line)
}

// look runs the application in this process and reads its tables while transactions of n
// transfers are written.
func (w *largeWorld) look(dir string, n int64) {
	w.t.Helper()
	l, err := newLarge()
	w.must(err)
	e, err := l.engine(w.place.Brokers, dir, slog.New(slog.NewTextHandler(w.t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})))
	w.must(err)
	ctx, cancel := context.WithCancel(w.ctx)
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	last := w.moment(l, e, 0)
	if n > 0 {
		w.commit(w.large.db.Begin(), 5, n) // All of them anew, to and from other accounts.
		gone := w.large.db.Begin()
		for id := int64(0); id < n; id += 2 {
			gone.Delete("debits", id).Delete("credits", id)
			w.large.model("debits", id, 0, 0)
			w.large.model("credits", id, 0, 0)
		}
		w.send(gone, 0)
		none := w.large.db.Begin().Truncate("debits").Truncate("credits")
		for id := range n + 5 {
			w.large.model("debits", id, 0, 0)
			w.large.model("credits", id, 0, 0)
		}
		w.commit(none, 1, 20)
	}
	w.until("the last transaction", func() bool {
		if s, err := e.State(l.app.ID); s == streams.Failed {
			w.t.Fatal(err)
		}
		last = w.moment(l, e, last)
		return last == w.large.db.LSN()
	})
	m, err := e.Metrics(l.app.ID)
	w.must(err)
	peak, staged := m.Transactions.PeakBytes.Load(), m.Transactions.StagedBytes.Load()
	w.t.Logf("%d bytes of changes were in memory at most, %d went to the disk", peak, staged)
	if n > 0 && (peak > 16*largeCache || staged < 8*largeCache) {
		w.t.Errorf("%d bytes of changes were in memory at once, and %d went to the disk", peak, staged)
	}
	cancel()
	w.must(<-done)
}

// moment reads all tables at once, and compares them with the state that they are of.
func (w *largeWorld) moment(l *large, e *streams.Engine, last uint64) uint64 {
	w.t.Helper()
	rows, err := e.Rows(w.ctx, l.app.ID, "balances")
	w.must(err)
	m, err := rows.Moment()
	w.must(err)
	defer func() { w.must(m.Close()) }()
	lsn, err := m.LSN()
	w.must(err)
	want, known := w.states[lsn]
	if lsn < last || !known {
		w.t.Fatalf("the tables are as of %d, after %d", lsn, last)
	}
	scan := func(store string, visit func(query.Row)) {
		rows, err := e.Rows(w.ctx, l.app.ID, store)
		w.must(err)
		w.must(m.Scan(w.ctx, rows, nil, nil, func(r query.Row) error {
			visit(r)
			return nil
		}))
	}
	got := map[int64]int64{}
	scan("balances", func(r query.Row) { got[number(r.Key)] = number(r.Value) })
	for account := range int64(largeAccounts) {
		if got[account] != want[account] {
			w.t.Fatalf("as of %d, account %d has %d, and not %d", lsn, account, got[account], want[account])
		}
	}
	scan("total", func(r query.Row) {
		if number(r.Value) != 0 {
			w.t.Fatalf("as of %d, the total is %d", lsn, number(r.Value))
		}
	})
	shown := 0
	scan("shown", func(r query.Row) {
		key, err := serde.Row(l.db.Key).Decode(r.Key)
		w.must(err)
		if account := w.cards[key.Struct().At(0).Int()]; number(r.Value) != want[account] {
			w.t.Fatalf("as of %d, a card shows %d, and account %d has %d", lsn, number(r.Value), account, want[account])
		}
		shown++
	})
	if lsn > 0 && shown != len(w.cards) {
		w.t.Fatalf("as of %d, %d of %d cards show something", lsn, shown, len(w.cards))
	}
	return lsn
}

func number(b []byte) int64 { return int64(binary.BigEndian.Uint64(b)) }

// sent is the last position that anything was sent for.
func (w *largeWorld) sent() (last uint64) {
	w.t.Helper()
	w.must(w.client.Read(w.ctx, "totals", topics.ToEnd, func(r *kgo.Record) (bool, error) {
		last = max(last, lsnIn(r.Headers))
		return true, nil
	}))
	return last
}

// checkSent reads everything that was ever sent.
func (w *largeWorld) checkSent() {
	w.t.Helper()
	w.must(w.client.Read(w.ctx, "totals", topics.ToEnd, func(r *kgo.Record) (bool, error) {
		if number(r.Value) != 0 {
			return false, fmt.Errorf("the total as of %d is %d", lsnIn(r.Headers), number(r.Value))
		}
		return true, nil
	}))
	got := map[uint64]int{}
	w.must(w.client.Read(w.ctx, "credited", topics.ToEnd, func(r *kgo.Record) (bool, error) {
		lsn, account := lsnIn(r.Headers), number(r.Key)
		if account < 0 {
			return true, nil
		}
		if want := w.states[lsn][account]; number(r.Value) != want {
			return false, fmt.Errorf("as of %d, a credit to %d has %d beside it, and not %d", lsn, account, number(r.Value), want)
		}
		got[lsn]++
		return true, nil
	}))
	for lsn, n := range w.events {
		if got[lsn] != n {
			w.t.Errorf("%d credits of %d were sent for %d", got[lsn], n, lsn)
		}
	}
}
