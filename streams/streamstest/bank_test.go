package streamstest_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/internal/devstack"
	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/query"
	"github.com/tidemill/tidemill/streams/topics"
	"github.com/tidemill/tidemill/streams/txn/txntest"
)

// The test binary runs itself as the process that is killed.
const (
	childBrokers = "STREAMSTEST_CHILD_BROKERS"
	childDir     = "STREAMSTEST_CHILD_DIR"
)

func TestMain(m *testing.M) {
	if text := os.Getenv(childPlace); text != "" {
		if err := runPlace(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if brokers := os.Getenv(childBrokers); brokers != "" {
		if err := runBank(strings.Split(brokers, ","), os.Getenv(childDir)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// bankPartitions are those of the tables' topics.
const bankPartitions = 3

// bankApp is the application over the tables of a bank.
func bankApp(b *bank, inTransactions bool) (app streams.App, balances, total *streams.Table[int64, int64], err error) {
	balances, total = b.balances()
	app = streams.App{ID: "bank", ExactlyOnce: true, CommitInterval: 5 * time.Millisecond}
	if inTransactions {
		app.Transactions = b.db.Source()
	}
	app.Topology, err = b.b.Build()
	return app, balances, total, err
}

// runBank is the process that is killed.
func runBank(brokers []string, dir string) error {
	app, _, _, err := bankApp(newBankOf(nil, bankPartitions), true)
	if err != nil {
		return err
	}
	e, err := streams.OpenEngine(streams.Config{
		Brokers: brokers, Dir: dir,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err == nil {
		err = e.Add(app)
	}
	if err != nil {
		return err
	}
	return e.Run(context.Background())
}

// bankWorld is a broker to which transactions are written all the time.
type bankWorld struct {
	*bank
	ctx     context.Context
	brokers []string
	client  *topics.Client
	cl      *kgo.Client
	rnd     *rand.Rand
	written int64
}

func newBankWorld(t *testing.T) *bankWorld {
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	t.Cleanup(cancel)
	w := &bankWorld{bank: newBankOf(t, bankPartitions), ctx: ctx, brokers: devstack.TestKafka(t), rnd: rand.New(rand.NewPCG(3, 4)), written: 5}
	var err error
	if w.client, err = topics.Open(w.brokers); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.client.Close)
	if w.cl, err = kgo.NewClient(kgo.SeedBrokers(w.brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.cl.Close)
	for topic, n := range map[string]int{w.db.Topic("debits"): bankPartitions, w.db.Topic("credits"): bankPartitions, w.db.Source().Topic: 1, "totals": 1} {
		if err := w.client.Create(ctx, topics.Spec{Name: topic, Partitions: n}); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// write writes the records of some transactions, those of different partitions
// independently of each other.
func (w *bankWorld) write(n int) {
	w.t.Helper()
	var records []txntest.Record
	if w.written == 5 {
		records = w.transfers(w.rnd, 5)
	}
	for range n {
		records = append(records, w.transfer(w.rnd, w.written)...)
		w.written++
	}
	mixed := txntest.Mix(w.rnd, records)
	for len(mixed) > 0 {
		part := mixed[:min(len(mixed), 1+w.rnd.IntN(20))]
		mixed = mixed[len(part):]
		rs := make([]*kgo.Record, len(part))
		for i, r := range part {
			rs[i] = &kgo.Record{Topic: r.Topic, Partition: r.Partition, Key: r.Key, Value: r.Value}
		}
		if err := w.cl.ProduceSync(w.ctx, rs...).FirstErr(); err != nil {
			w.t.Fatal(err)
		}
	}
}

// outputs reads what is committed in the topic of totals.
func (w *bankWorld) outputs() (totals []int64, lsns []uint64) {
	w.t.Helper()
	err := w.client.Read(w.ctx, "totals", topics.ToEnd, func(r *kgo.Record) (bool, error) {
		totals = append(totals, int64(binary.BigEndian.Uint64(r.Value)))
		for _, h := range r.Headers {
			if h.Key == "__tidemill.lsn" {
				lsn, err := strconv.ParseUint(string(h.Value), 10, 64)
				if err != nil {
					return false, err
				}
				lsns = append(lsns, lsn)
			}
		}
		return true, nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return totals, lsns
}

// running is the application in this process.
type running struct {
	w               *bankWorld
	e               *streams.Engine
	app             streams.App
	balances, total *streams.Table[int64, int64]
	stop            context.CancelFunc
	done            chan error
}

func (w *bankWorld) start(dir string, inTransactions bool) *running {
	w.t.Helper()
	b := newBankOf(w.t, bankPartitions)
	r := &running{w: w, done: make(chan error, 1)}
	var err error
	if r.app, r.balances, r.total, err = bankApp(b, inTransactions); err != nil {
		w.t.Fatal(err)
	}
	logger := slog.New(slog.NewTextHandler(w.t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	if r.e, err = streams.OpenEngine(streams.Config{Brokers: w.brokers, Dir: dir, Logger: logger}); err == nil {
		err = r.e.Add(r.app)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.ctx)
	r.stop = cancel
	go func() { r.done <- r.e.Run(ctx) }()
	return r
}

func (r *running) end() {
	r.w.t.Helper()
	r.stop()
	if err := <-r.done; err != nil {
		r.w.t.Error(err)
	}
}

// read reads all balances and the total as of one moment.
func (r *running) read() (balances map[int64]int64, total int64, lsn uint64) {
	r.w.t.Helper()
	rows, err := r.e.Rows(r.w.ctx, "bank", "balances")
	if err != nil {
		r.w.t.Fatal(err)
	}
	totals, err := r.e.Rows(r.w.ctx, "bank", "total")
	if err != nil {
		r.w.t.Fatal(err)
	}
	m, err := rows.Moment()
	if err != nil {
		r.w.t.Fatal(err)
	}
	defer func() {
		if err := m.Close(); err != nil {
			r.w.t.Error(err)
		}
	}()
	balances = map[int64]int64{}
	view := r.balances.View(rows)
	err = m.Scan(r.w.ctx, rows, nil, nil, func(row query.Row) error {
		rec, err := view.Decode(row)
		balances[rec.Key] = rec.Value
		return err
	})
	if err == nil {
		err = m.Scan(r.w.ctx, totals, nil, nil, func(row query.Row) error {
			rec, err := r.total.View(totals).Decode(row)
			total = rec.Value
			return err
		})
	}
	if err == nil {
		lsn, err = m.LSN()
	}
	if err != nil {
		r.w.t.Fatal(err)
	}
	return balances, total, lsn
}

// TestBankBalances writes transfers all the time, while the application is killed,
// stopped and started: no total that it ever sends is another than 0, and neither is the
// sum of all balances at any moment at which they are read.
func TestBankBalances(t *testing.T) {
	w := newBankWorld(t)
	dir := t.TempDir()
	for range 3 {
		cmd := exec.CommandContext(w.ctx, os.Args[0])
		cmd.Env = append(os.Environ(), childBrokers+"="+strings.Join(w.brokers, ","), childDir+"="+dir)
		cmd.Stderr = t.Output()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		_, before := w.outputs()
		for more := before; len(more) < len(before)+2+w.rnd.IntN(6); _, more = w.outputs() {
			w.write(5)
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // It was killed, and says so.
	}
	last := uint64(0)
	for i := range 3 {
		if i == 2 {
			dir = t.TempDir() // Everything is restored.
		}
		r := w.start(dir, true)
		for range 15 {
			w.write(2)
			last = w.look(r, last)
		}
		for last < w.db.LSN() {
			last = w.look(r, last)
		}
		balances, _, _ := r.read()
		w.check(balances)
		r.end()
	}
	totals, lsns := w.outputs()
	for i, total := range totals {
		if total != 0 {
			t.Fatalf("total %d of %d, as of %d, is %d", i, len(totals), lsns[i], total)
		}
		if i > 0 && lsns[i] <= lsns[i-1] {
			t.Fatalf("the totals are as of %d and then of %d", lsns[i-1], lsns[i])
		}
	}
	t.Logf("%d totals of %d transactions", len(totals), w.written)
}

// look reads the state of a running application and returns what it is true for.
func (w *bankWorld) look(r *running, last uint64) uint64 {
	w.t.Helper()
	if err := w.ctx.Err(); err != nil {
		w.t.Fatalf("it came to %d of %d: %v", last, w.db.LSN(), err)
	}
	balances, total, lsn := r.read()
	sum := int64(0)
	for v := range maps.Values(balances) {
		sum += v
	}
	if sum != 0 || total != 0 || lsn < last {
		w.t.Fatalf("as of %d, after %d, the balances %v add up to %d and the total is %d", lsn, last, balances, sum, total)
	}
	return lsn
}

// TestBankByRecords runs the same application by records, which sends totals of states
// that never were: the other test can fail.
func TestBankByRecords(t *testing.T) {
	w := newBankWorld(t)
	r := w.start(t.TempDir(), false)
	for torn := false; !torn; {
		w.write(5)
		totals, _ := w.outputs()
		for _, total := range totals {
			torn = torn || total != 0
		}
		if err := w.ctx.Err(); err != nil {
			t.Fatal("no total was torn")
		}
	}
	r.end()
}
