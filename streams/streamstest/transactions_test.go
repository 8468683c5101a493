package streamstest_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/join"
	"github.com/tidemill/tidemill/streams/serde"
	"github.com/tidemill/tidemill/streams/streamstest"
	"github.com/tidemill/tidemill/streams/txn/txntest"
	"github.com/tidemill/tidemill/streams/window"
)

// bank is a database and a topology over it.
type bank struct {
	t  *testing.T
	db *txntest.Database
	b  *streams.Builder
	d  *streamstest.Driver
	// rows are what the tables have in the end, and want is what that makes of accounts.
	rows map[string]txntest.Row
	want map[int64]int64
	// inTransactions tells the mode.
	inTransactions bool
}

func newBank(t *testing.T) *bank {
	return newBankOf(t, 1)
}

// newBankOf has topics of so many partitions.
func newBankOf(t *testing.T, partitions int) *bank { return newBankCalled(t, "bank", partitions) }

// newBankCalled has topics whose names begin with name.
func newBankCalled(t *testing.T, name string, partitions int) *bank {
	return &bank{t: t, db: txntest.New(name, partitions), b: streams.NewBuilder(), rows: map[string]txntest.Row{}, want: map[int64]int64{}}
}

func (b *bank) cdc(table string) streams.CDC {
	return streams.CDC{Topic: b.db.Topic(table), Key: serde.Row(b.db.Key), Envelope: serde.Row(b.db.Envelope), Row: b.db.Row}
}

func (b *bank) table(name string) *streams.Table[connect.Value, connect.Value] {
	return b.cdc(name).Table(b.b, streams.With{Store: name})
}

func (b *bank) run(inTransactions bool) {
	b.t.Helper()
	b.d, b.inTransactions = build(b.t, b.b), inTransactions
	if inTransactions {
		b.d.InTransactions(b.db.Source())
	}
}

func (b *bank) put(records ...txntest.Record) {
	b.t.Helper()
	for _, r := range records {
		if !b.inTransactions && r.Topic == b.db.Source().Topic {
			continue
		}
		streamstest.In(b.d, r.Topic, serde.Bytes{}, serde.Bytes{}).Record(streams.Record[[]byte, []byte]{
			Key: r.Key, Value: r.Value, NoKey: r.Key == nil, NoValue: r.Value == nil,
		})
	}
}

// out reads a topic of numbers.
func (b *bank) out(topic string) (values []int64, lsns []string) {
	for _, r := range streamstest.Out(b.d, topic, serde.Bytes{}, serde.Int64{}).Read() {
		values = append(values, r.Value)
		for _, h := range r.Headers {
			if h.Key == "__tidemill.lsn" {
				lsns = append(lsns, string(h.Value))
			}
		}
	}
	return values, lsns
}

// balances has a row for each account with what came in and went out by two tables of
// which every transaction writes both, and the total of all accounts, which is 0 whenever
// it is that of a state that was ever committed.
func (b *bank) balances() (balances, total *streams.Table[int64, int64]) {
	sum := func(table string) *streams.Table[int64, int64] {
		grouped := streams.GroupTable(b.table(table), func(_, row connect.Value) (int64, int64) {
			r := txntest.RowOf(row)
			return r.Ref, r.Amount
		}, serde.Int64{}, serde.Int64{}, streams.With{Name: table + "-by-account", Partitions: 2})
		return streams.Aggregate(grouped, summed[int64](), serde.Int64{}, streams.With{Store: table + "-sums"})
	}
	balances = join.Tables(sum("credits"), sum("debits"), join.Outer(func(_ int64, p join.Pair[int64, int64]) int64 {
		return p.Left - p.Right
	}), serde.Int64{}, streams.With{Name: "balances", Store: "balances"})
	all := streams.GroupTable(balances, func(_, balance int64) (int64, int64) { return 0, balance }, serde.Int64{}, serde.Int64{}, streams.With{Name: "all", Partitions: 1})
	total = streams.Aggregate(all, summed[int64](), serde.Int64{}, streams.With{Name: "total", Store: "total"})
	total.ToStream().To("totals", serde.Int64{}, serde.Int64{})
	return balances, total
}

func summed[K any]() streams.Aggregation[K, int64, int64] {
	return streams.Aggregation[K, int64, int64]{
		Init:     func() int64 { return 0 },
		Add:      func(_ K, v, sum int64) int64 { return sum + v },
		Subtract: func(_ K, v, sum int64) int64 { return sum - v },
	}
}

// transfers returns the records of a snapshot and of some transactions, each of which
// moves money between accounts, corrects an earlier transfer or takes one back.
func (b *bank) transfers(rnd *rand.Rand, n int) (records []txntest.Record) {
	first := b.db.Snapshot()
	for id := range int64(5) {
		first.Set("debits", txntest.Row{ID: id, Ref: id, Amount: 10}).Set("credits", txntest.Row{ID: id, Ref: id + 1, Amount: 10})
		b.model("debits", id, id, -10)
		b.model("credits", id, id+1, 10)
	}
	records = append(records, first.Commit()...)
	for id := int64(5); id < int64(n); id++ {
		records = append(records, b.transfer(rnd, id)...)
	}
	return records
}

// transfer returns the records of one transaction.
func (b *bank) transfer(rnd *rand.Rand, id int64) []txntest.Record {
	t := b.db.Begin()
	set := func(id int64) {
		from, to, amount := rnd.Int64N(10), rnd.Int64N(10), 1+rnd.Int64N(100)
		t.Set("debits", txntest.Row{ID: id, Ref: from, Amount: amount}).Set("credits", txntest.Row{ID: id, Ref: to, Amount: amount})
		b.model("debits", id, from, -amount)
		b.model("credits", id, to, amount)
	}
	switch rnd.IntN(4) {
	case 0:
		set(rnd.Int64N(id))
	case 1:
		gone := rnd.Int64N(id)
		t.Delete("debits", gone).Delete("credits", gone)
		b.model("debits", gone, 0, 0)
		b.model("credits", gone, 0, 0)
	case 2:
		set(id)
		set(id) // Nobody is to see the first one.
	}
	set(id)
	return t.Commit()
}

// model sets what a row of a table adds to an account.
func (b *bank) model(table string, id, account, amount int64) {
	key := fmt.Sprint(table, id)
	old := b.rows[key]
	b.want[old.Ref] -= old.Amount
	b.want[account] += amount
	b.rows[key] = txntest.Row{Ref: account, Amount: amount}
}

// TestTransactionsBalance has records of tables arrive in any order, with restarts: every
// total that is sent, and every one that can be read, is that of a committed state. By
// records, the same topology shows others, so the totals are worth looking at.
func TestTransactionsBalance(t *testing.T) {
	for seed := range uint64(6) {
		b := newBank(t)
		balances, total := b.balances()
		b.run(true)
		rnd := rand.New(rand.NewPCG(seed, 7))
		records := txntest.Mix(rnd, b.transfers(rnd, 30))
		for _, r := range records {
			b.put(r)
			if rnd.IntN(10) == 0 {
				b.d.Restart(rnd.IntN(2) == 0)
			}
			sum := int64(0)
			for _, balance := range streamstest.Table(b.d, balances) {
				sum += balance
			}
			if told := streamstest.Table(b.d, total)[0]; sum != 0 || told != 0 {
				t.Fatalf("seed %d: the balances add up to %d, and the total is %d", seed, sum, told)
			}
		}
		values, lsns := b.out("totals")
		for _, v := range values {
			if v != 0 {
				t.Fatalf("seed %d: totals %v", seed, values)
			}
		}
		if len(values) == 0 || len(lsns) != len(values) {
			t.Errorf("seed %d: %d totals and %d positions", seed, len(values), len(lsns))
		}
		if lsn, err := b.lsn("balances"); err != nil || lsn != b.db.LSN() {
			t.Errorf("seed %d: the state is as of %d, want %d (%v)", seed, lsn, b.db.LSN(), err)
		}
		b.check(streamstest.Table(b.d, balances))
	}
}

// check compares balances with those of the model; accounts without money may be missing.
func (b *bank) check(got map[int64]int64) {
	b.t.Helper()
	for account := range int64(11) {
		if got[account] != b.want[account] {
			b.t.Errorf("account %d has %d, want %d", account, got[account], b.want[account])
		}
	}
}

// lsn is what a store says it is true for.
func (b *bank) lsn(store string) (uint64, error) {
	m, err := b.d.Rows(store).Moment()
	if err != nil {
		return 0, err
	}
	lsn, err := m.LSN()
	if cerr := m.Close(); err == nil {
		err = cerr
	}
	return lsn, err
}

// TestRecordsDoNotBalance is the same by records.
func TestRecordsDoNotBalance(t *testing.T) {
	b := newBank(t)
	b.balances()
	b.run(false)
	b.put(b.transfers(rand.New(rand.NewPCG(1, 7)), 30)...)
	values, lsns := b.out("totals")
	if !slices.ContainsFunc(values, func(v int64) bool { return v != 0 }) {
		t.Error("no total was torn: the other test cannot fail")
	}
	if len(lsns) > 0 {
		t.Error("records tell of transactions")
	}
	if lsn, err := b.lsn("balances"); lsn != 0 || err != nil {
		t.Errorf("the state is as of %d: %v", lsn, err)
	}
}

// TestTransactionsStreamTable joins the events of orders with customers as of the same
// transaction, whichever arrives first and in whatever order they were changed.
func TestTransactionsStreamTable(t *testing.T) {
	for seed := range uint64(20) {
		b := newBank(t)
		orders := b.cdc("orders").Stream(b.b)
		named := streams.SelectKey(orders, func(_ connect.Value, c streams.Change[connect.Value]) int64 {
			return txntest.RowOf(c.New).Ref
		})
		customers := streams.GroupTable(b.table("customers"), func(_, row connect.Value) (int64, int64) {
			r := txntest.RowOf(row)
			return r.ID, r.Amount
		}, serde.Int64{}, serde.Int64{})
		discounts := streams.Aggregate(customers, summed[int64](), serde.Int64{}, streams.With{Store: "discounts"})
		amounts := streams.MapValues(named, func(_ int64, c streams.Change[connect.Value]) int64 { return txntest.RowOf(c.New).Amount })
		join.StreamTable(amounts, discounts, join.Left(func(_ int64, p join.Pair[int64, int64]) int64 {
			return p.Left*1000 + p.Right
		}), serde.Int64{}).To("priced", serde.Int64{}, serde.Int64{})
		b.run(true)

		records := b.db.Snapshot().Set("customers", txntest.Row{ID: 1, Amount: 5}).Commit()
		order := func(id, amount int64) txntest.Row { return txntest.Row{ID: id, Ref: 1, Amount: amount} }
		tx := b.db.Begin().Set("customers", txntest.Row{ID: 1, Amount: 6}).Set("orders", order(1, 10)).Set("customers", txntest.Row{ID: 1, Amount: 7})
		records = append(records, tx.Commit()...)
		records = append(records, b.db.Begin().Set("orders", order(2, 20)).Set("customers", txntest.Row{ID: 1, Amount: 8}).Commit()...)
		records = append(records, b.db.Begin().Set("orders", order(3, 30)).Commit()...)
		b.put(txntest.Mix(rand.New(rand.NewPCG(seed, 8)), records)...)
		values, lsns := b.out("priced")
		if got := fmt.Sprint(values, lsns); got != "[10007 20008 30008] [1016 1024 1032]" {
			t.Fatalf("seed %d: got %s", seed, got)
		}
	}
}

// TestTransactionsTruncate empties a table in the midst of a transaction.
func TestTransactionsTruncate(t *testing.T) {
	b := newBank(t)
	rows := b.table("orders")
	counts := streams.GroupTable(rows, func(_, row connect.Value) (int64, int64) { return 0, 1 }, serde.Int64{}, serde.Int64{}).Count(streams.With{Store: "count"})
	counts.ToStream().To("counts", serde.Int64{}, serde.Int64{})
	b.run(true)
	b.put(b.db.Snapshot().Set("orders", txntest.Row{ID: 1}).Set("orders", txntest.Row{ID: 2}).Commit()...)
	b.put(b.db.Begin().Set("orders", txntest.Row{ID: 3}).Truncate("orders").Set("orders", txntest.Row{ID: 4}).Commit()...)
	values, _ := b.out("counts")
	if got := fmt.Sprint(values); got != "[2 1]" {
		t.Errorf("counted %s", got)
	}
}

// TestTransactionsRefuse names what transaction mode cannot do.
func TestTransactionsRefuse(t *testing.T) {
	for name, c := range map[string]struct {
		build func(*bank)
		code  string
	}{
		"a table that is not kept": {func(b *bank) {
			b.cdc("a").Table(b.b).ToStream().To("out", serde.Row(b.db.Key), serde.Row(b.db.Row))
		}, "streams.transaction.unkept"},
		"an uncached table": {func(b *bank) {
			b.cdc("a").Table(b.b, streams.With{Store: "a", Uncached: true})
		}, "streams.transaction.uncached"},
		"a table with a history": {func(b *bank) {
			b.cdc("a").Table(b.b, streams.With{Store: "a", History: time.Hour})
		}, "streams.transaction.history"},
		"a topic without envelopes": {func(b *bank) {
			streams.TableFrom(b.b, "a", serde.Text{}, serde.Int64{}, streams.With{Store: "a"})
		}, "streams.transaction.source"},
		"an operator by hand": {func(b *bank) {
			in := b.cdc("a").Stream(b.b)
			streams.Process(in, func(c *streams.Context[connect.Value, int64]) (func(*streams.Record[connect.Value, streams.Change[connect.Value]]) error, error) {
				return func(*streams.Record[connect.Value, streams.Change[connect.Value]]) error { return nil }, nil
			})
		}, "streams.transaction.operator"},
		"windows that are passed on as they close": {func(b *bank) {
			b.flows(window.Tumbling(time.Minute).OnClose())
		}, "streams.transaction.uncached"},
		"rows that wait for a limit": {func(b *bank) {
			window.UntilLimit(b.table("a"), time.Minute, window.Bounds{})
		}, "streams.transaction.operator"},
		"a global table": {func(b *bank) {
			b.table("a")
			streams.GlobalFrom(b.b, "g", serde.Text{}, serde.Int64{})
		}, "streams.transaction.operator"},
	} {
		b := newBank(t)
		c.build(b)
		topology, err := b.b.Build()
		if err != nil {
			t.Fatal(err)
		}
		local, err := streams.NewLocal(topology, "x")
		if err != nil {
			t.Fatal(err)
		}
		if err := local.InTransactions(b.db.Source()); err == nil || !strings.Contains(err.Error(), c.code) {
			t.Errorf("%s: got %v, want %s", name, err, c.code)
		}
	}
}
