package streamstest_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/join"
	"github.com/tidemill/tidemill/streams/serde"
	"github.com/tidemill/tidemill/streams/streamstest"
	"github.com/tidemill/tidemill/streams/txn/txntest"
)

// priced are orders whose events are joined with a global table of customers, and a model
// that has the customers as of the end of each transaction.
type priced struct {
	*bank
	customers *streams.GlobalTable[connect.Value, connect.Value]
	model     map[int64]int64
	results   map[string]map[uint64][]string // of each join, by position
	next      int64
}

func newPriced(t *testing.T, name string, partitions int) *priced {
	p := &priced{bank: newBankCalled(t, name, partitions), model: map[int64]int64{}, results: map[string]map[uint64][]string{"inner": {}, "left": {}}}
	orders := p.cdc("orders").Stream(p.b)
	p.customers = p.cdc("customers").Global(p.b, streams.With{Name: "customers"})
	for name, how := range map[string]func(func(connect.Value, join.Pair[streams.Change[connect.Value], connect.Value]) string) join.Joiner[connect.Value, streams.Change[connect.Value], connect.Value, string]{
		"inner": join.Inner[connect.Value, streams.Change[connect.Value], connect.Value, string], "left": join.Left[connect.Value, streams.Change[connect.Value], connect.Value, string],
	} {
		join.Global(orders, p.customers, func(_ connect.Value, c streams.Change[connect.Value]) (connect.Value, bool) {
			ref := txntest.RowOf(c.New).Ref
			return connect.StructValue(p.db.Key.StructOf([]connect.Value{connect.Int64(ref)})), ref > 0
		}, how(func(_ connect.Value, pair join.Pair[streams.Change[connect.Value], connect.Value]) string {
			of := int64(-1)
			if pair.HasRight {
				of = txntest.RowOf(pair.Right).Amount
			}
			return fmt.Sprint(txntest.RowOf(pair.Left.New).ID, " ", of)
		}), streams.With{Name: name}).To(name, serde.Row(p.db.Key), serde.Text{})
	}
	return p
}

// change returns the records of a transaction of some changes of both tables.
func (p *priced) change(rnd *rand.Rand, first bool) []txntest.Record {
	begin := p.db.Begin
	if first {
		begin = p.db.Snapshot
	}
	tx := begin()
	orders := map[int64]int64{} // what they refer to
	seen := map[int64]bool{}
	for range 1 + rnd.IntN(6) {
		id := 1 + rnd.Int64N(5)
		switch kind := rnd.IntN(12); {
		case kind < 6:
			p.next++
			orders[p.next] = rnd.Int64N(6)
			tx.Set("orders", txntest.Row{ID: p.next, Ref: orders[p.next]})
		case first && seen[id]:
		case kind < 9 || first:
			p.next++
			p.model[id], seen[id] = p.next, true
			tx.Set("customers", txntest.Row{ID: id, Amount: p.next})
		case kind < 11:
			delete(p.model, id)
			tx.Delete("customers", id)
		default:
			clear(p.model)
			tx.Truncate("customers")
		}
	}
	at := p.db.LSN()
	for id, ref := range orders {
		amount, has := p.model[ref]
		if !has {
			amount = -1
		} else {
			p.results["inner"][at] = append(p.results["inner"][at], fmt.Sprint(id, " ", amount))
		}
		p.results["left"][at] = append(p.results["left"][at], fmt.Sprint(id, " ", amount))
	}
	return tx.Commit()
}

// compare compares what was sent with the model.
func (p *priced) compare(name string, sent map[uint64][]string) error {
	for at, want := range p.results[name] {
		slices.Sort(want)
		if slices.Sort(sent[at]); !slices.Equal(sent[at], want) {
			return fmt.Errorf("%s as of %d has sent %v, want %v", name, at, sent[at], want)
		}
		delete(sent, at)
	}
	if len(sent) > 0 || len(p.results[name]) == 0 {
		return fmt.Errorf("%s has sent of no transaction: %v", name, sent)
	}
	return nil
}

// TestTransactionsGlobal joins events of orders with a global table of customers, which are
// as of the order's own transaction, in whatever order all of it comes.
func TestTransactionsGlobal(t *testing.T) {
	for seed := range uint64(20) {
		p := newPriced(t, "bank", 1)
		p.run(true)
		rnd := rand.New(rand.NewPCG(seed, 31))
		records := p.change(rnd, true)
		for range 30 {
			records = append(records, p.change(rnd, false)...)
		}
		for _, r := range txntest.Mix(rnd, records) {
			p.put(r)
			if rnd.IntN(10) == 0 {
				p.d.Restart(rnd.IntN(2) == 0)
			}
		}
		for name := range p.results {
			sent := map[uint64][]string{}
			for _, r := range streamstest.Out(p.d, name, serde.Row(p.db.Key), serde.Text{}).Read() {
				at := lsnIn(r.Headers)
				sent[at] = append(sent[at], r.Value)
			}
			if err := p.compare(name, sent); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
		got := map[int64]int64{}
		err := p.customers.View(p.d.Rows("customers")).All(t.Context(), func(r streams.Record[connect.Value, connect.Value]) error {
			row := txntest.RowOf(r.Value)
			got[row.ID] = row.Amount
			return nil
		})
		if err != nil || fmt.Sprint(got) != fmt.Sprint(p.model) {
			t.Fatalf("seed %d: the global table is %v, want %v (%v)", seed, got, p.model, err)
		}
	}
}

// TestRecordsGlobal has a global table of change events outside of transaction mode.
func TestRecordsGlobal(t *testing.T) {
	p := newPriced(t, "bank", 1)
	topology, err := p.b.Build()
	if err != nil {
		t.Fatal(err)
	}
	e, err := streams.OpenEngine(streams.Config{Brokers: []string{"127.0.0.1:1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := e.Add(streams.App{ID: "records", Topology: topology}); err == nil || !strings.Contains(err.Error(), "streams.global.records") {
		t.Errorf("got %v", err)
	}
}
