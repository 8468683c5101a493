package txn_test

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams/serde"
	"github.com/tidemill/tidemill/streams/txn"
	"github.com/tidemill/tidemill/streams/txn/txntest"
)

// feeder puts records into a gate as a consumer of their topics does.
type feeder struct {
	t       testing.TB
	db      *txntest.Database
	gate    *txn.Gate[string]
	reader  txn.Reader
	offsets map[txn.Part]int64
	logs    map[txn.Part][]txntest.Record
}

const partitions = 3

func newFeeder(t testing.TB, source func(*txn.Source)) *feeder {
	f := &feeder{t: t, db: txntest.New("shop", partitions), offsets: map[txn.Part]int64{}, logs: map[txn.Part][]txntest.Record{}}
	var parts []txn.Part
	for _, table := range []string{"orders", "lines"} {
		for p := range int32(partitions) {
			parts = append(parts, txn.Part{Topic: f.db.Topic(table), Partition: p})
		}
	}
	s := f.db.Source()
	if source != nil {
		source(s)
	}
	f.gate = txn.NewGate[string](s, parts)
	if s.MaxDiskBytes > 0 {
		if err := f.gate.PutAside(filepath.Join(t.TempDir(), "aside"), plain{}); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// aside has every other gate put everything on the disk.
func aside(seed uint64) func(*txn.Source) {
	return func(s *txn.Source) {
		if seed%10 == 1 {
			s.MaxBytes, s.MaxDiskBytes = 1, 1<<20
		}
	}
}

// plain is the Codec of these tests.
type plain struct{}

func (plain) Append(dst []byte, r string) []byte { return append(dst, r...) }

func (plain) Decode(b []byte) (string, error) { return string(b), nil }

// holdsNothing checks that all is given out, and gone.
func (f *feeder) holdsNothing() {
	f.t.Helper()
	if got := f.gate.Figures(); got.Events != 0 || got.InMemory != 0 || got.OnDisk != 0 || got.Waiting != 0 {
		f.t.Errorf("the gate holds %+v", got)
	}
}

// put takes records in and returns what comes out, one text for each transaction.
func (f *feeder) put(records ...txntest.Record) (out []string) {
	f.t.Helper()
	for _, r := range records {
		p := txn.Part{Topic: r.Topic, Partition: r.Partition}
		f.logs[p] = append(f.logs[p], r)
		if err := f.arrive(p, f.offsets[p], r); err != nil {
			f.t.Fatal(err)
		}
		f.offsets[p]++
		out = append(out, f.drain()...)
	}
	return out
}

func (f *feeder) drain() (out []string) {
	for {
		at, n, ok := f.gate.Next()
		if !ok {
			return out
		}
		var texts []string
		err := f.gate.Each(func(h *txn.Held[string]) error {
			texts = append(texts, h.Record)
			return nil
		})
		if err != nil || int64(len(texts)) != n {
			f.t.Fatalf("%d of %d events: %v", len(texts), n, err)
		}
		out = append(out, fmt.Sprintf("%d:%s", at.LSN(), strings.Join(texts, " ")))
	}
}

func (f *feeder) arrive(p txn.Part, offset int64, r txntest.Record) error {
	if r.Value == nil {
		return f.gate.Pass(p, offset)
	}
	if p.Topic == "shop.transaction" {
		v, err := f.db.Source().Value.Decode(r.Value)
		if err != nil {
			return err
		}
		end, ok, err := f.reader.End(v)
		if err != nil || !ok {
			return f.gate.Pass(p, offset)
		}
		return f.gate.End(end, offset)
	}
	v, err := serde.Row(f.db.Envelope).Decode(r.Value)
	if err != nil {
		return err
	}
	e, err := f.reader.Event(v, func() string { return "here" })
	if err != nil {
		return err
	}
	return f.gate.Arrive(txn.Held[string]{Event: e, Part: p, Offset: offset, Record: name(e, v)}, r.Key, len(r.Value))
}

// name is an event in short: the table and the row.
func name(e txn.Event, v connect.Value) string {
	after := v.Struct().At(1)
	if after.IsNull() {
		return e.Collection[7:8] + "-"
	}
	row := txntest.RowOf(after)
	return fmt.Sprintf("%s%d=%d", e.Collection[7:8], row.ID, row.Amount)
}

func expect(t *testing.T, got []string, want ...string) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("got %q, want %q", got, want)
	}
}

// TestGateGivesOutWholeTransactions lets the records of some transactions arrive in many
// orders: they always come out whole and in order.
func TestGateGivesOutWholeTransactions(t *testing.T) {
	for seed := range uint64(50) {
		f := newFeeder(t, aside(seed))
		var records []txntest.Record
		records = append(records, f.db.Snapshot().Set("orders", txntest.Row{ID: 1, Amount: 1}).Set("orders", txntest.Row{ID: 2, Amount: 1}).Commit()...)
		records = append(records, f.db.Begin().Set("orders", txntest.Row{ID: 1, Amount: 2}).Set("lines", txntest.Row{ID: 5, Amount: 2}).Set("orders", txntest.Row{ID: 1, Amount: 3}).Commit()...)
		records = append(records, f.db.Begin().Delete("orders", 2).Set("lines", txntest.Row{ID: 6, Amount: 4}).Commit()...)
		mixed := txntest.Mix(rand.New(rand.NewPCG(seed, 0)), records)
		got := f.put(mixed...)
		if len(got) != 3 || !strings.Contains(got[0], "o1=1") || !strings.Contains(got[0], "o2=1") {
			t.Fatalf("seed %d: got %q", seed, got)
		}
		expect(t, got[1:], "1016:o1=2 l5=2 o1=3", "1024:o- l6=4")
		f.holdsNothing()
	}
}

// TestGateTakesWhatIsSentAgain has a source that sends from an earlier transaction on
// again, at any moment.
func TestGateTakesWhatIsSentAgain(t *testing.T) {
	for seed := range uint64(50) {
		f := newFeeder(t, aside(seed))
		rnd := rand.New(rand.NewPCG(seed, 1))
		var all, sent [][]txntest.Record
		for i := range int64(6) {
			all = append(all, f.db.Begin().Set("orders", txntest.Row{ID: i, Amount: i}).Set("lines", txntest.Row{ID: i + 1, Amount: i}).Commit())
		}
		sent = append(sent, all[:4]...)
		sent = append(sent, all[rnd.IntN(4):]...)
		var records []txntest.Record
		for _, tx := range sent {
			records = append(records, tx...)
		}
		got := f.put(txntest.Mix(rnd, records)...)
		expect(t, got, "1008:o0=0 l1=0", "1016:o1=1 l2=1", "1024:o2=2 l3=2", "1032:o3=3 l4=3", "1040:o4=4 l5=4", "1048:o5=5 l6=5")
	}
}

// TestGateGoesOnFromItsPositions begins anew after any record, from the positions it had.
func TestGateGoesOnFromItsPositions(t *testing.T) {
	for seed := range uint64(100) {
		f := newFeeder(t, aside(seed))
		rnd := rand.New(rand.NewPCG(seed, 2))
		var records []txntest.Record
		for i := range int64(8) {
			records = append(records, f.db.Begin().Set("orders", txntest.Row{ID: i % 3, Amount: i}).Set("lines", txntest.Row{ID: i % 2, Amount: i}).Delete("orders", 1).Commit()...)
		}
		mixed := txntest.Mix(rnd, records)
		cut := rnd.IntN(len(mixed))
		got := f.put(mixed[:cut]...)
		at := map[txn.Part]int64{}
		for p := range f.logs {
			at[p] = f.gate.Position(p)
		}
		f.gate.Reset(f.gate.Done(), true)
		for p, log := range f.logs {
			for i := at[p]; i < int64(len(log)); i++ {
				if err := f.arrive(p, i, log[i]); err != nil {
					t.Fatal(err)
				}
			}
		}
		got = append(got, f.drain()...)
		got = append(got, f.put(mixed[cut:]...)...)
		if len(got) != 8 {
			t.Fatalf("seed %d: %d transactions: %q", seed, len(got), got)
		}
	}
}

// TestGateBeginsWithAWholeSnapshot passes over a snapshot that was given up, and what the
// log told before the next one.
func TestGateBeginsWithAWholeSnapshot(t *testing.T) {
	for seed := range uint64(2) {
		beginsWithAWholeSnapshot(t, newFeeder(t, aside(seed)))
	}
}

func beginsWithAWholeSnapshot(t *testing.T, f *feeder) {
	given := f.db.Snapshot().Set("orders", txntest.Row{ID: 1, Amount: 1}).Commit()
	expect(t, f.put(given[1])) // It has no end.
	expect(t, f.put(f.db.Begin().Set("orders", txntest.Row{ID: 1, Amount: 2}).Commit()...))
	expect(t, f.put(f.db.Snapshot().Set("orders", txntest.Row{ID: 3, Amount: 3}).Commit()...), "1024:o3=3")
	expect(t, f.put(f.db.Begin().Set("orders", txntest.Row{ID: 4, Amount: 4}).Commit()...), "1032:o4=4")
	f.holdsNothing()
	// One later, of which something is there already, only brings rows.
	expect(t, f.put(f.db.Snapshot().Set("orders", txntest.Row{ID: 5, Amount: 5}).Commit()[1]))
	expect(t, f.put(f.db.Begin().Set("orders", txntest.Row{ID: 6, Amount: 6}).Commit()...), "1048:o6=6")
}

// TestGatePassesOverWhatIsBeforeItsSnapshot has some of a transaction arrive when the end
// of the snapshot is known before which nothing counts, and not yet all of its rows.
func TestGatePassesOverWhatIsBeforeItsSnapshot(t *testing.T) {
	f := newFeeder(t, nil)
	given := f.db.Snapshot().Set("orders", txntest.Row{ID: 1, Amount: 1}).Commit()
	tx := f.db.Begin().Set("orders", txntest.Row{ID: 1, Amount: 2}).Set("lines", txntest.Row{ID: 1, Amount: 2}).Commit()
	second := f.db.Snapshot().Set("orders", txntest.Row{ID: 1, Amount: 2}).Set("lines", txntest.Row{ID: 1, Amount: 2}).Commit()
	expect(t, f.put(given[1], tx[0], tx[1], tx[3], second[0], second[1], second[3], tx[2]))
	if err := f.gate.Check(); err != nil {
		t.Error(err)
	}
	expect(t, f.put(second[2]), "1024:o1=2 l1=2")
	f.holdsNothing()
}

// TestGateRefusesANewBeginning has the source begin anew behind the application's back.
func TestGateRefusesANewBeginning(t *testing.T) {
	f := newFeeder(t, nil)
	expect(t, f.put(f.db.Snapshot().Initial().Set("orders", txntest.Row{ID: 1, Amount: 1}).Commit()...), "1008:o1=1")
	expect(t, f.put(f.db.Begin().Delete("orders", 1).Commit()...), "1016:o-")
	expect(t, f.put(f.db.Snapshot().Initial().Set("orders", txntest.Row{ID: 2, Amount: 1}).Commit()...))
	if err := f.gate.Check(); code(err) != "streams.transaction.anew" {
		t.Errorf("got %v", err)
	}
}

// TestGateOtherTables moves on with transactions of tables that nobody asked for.
func TestGateOtherTables(t *testing.T) {
	f := newFeeder(t, nil)
	tx := f.db.Begin().Set("others", txntest.Row{ID: 1}).Set("orders", txntest.Row{ID: 1, Amount: 1}).Commit()
	expect(t, f.put(tx[0], tx[2], tx[3]), "1008:o1=1")
	tx = f.db.Begin().Set("others", txntest.Row{ID: 2}).Commit()
	expect(t, f.put(tx[0], tx[2]), "1016:")
}

func code(err error) string {
	if err == nil {
		return ""
	}
	return connect.AsError(err).Code
}

// TestGateTellsWhatIsMissing loses an event, and the end of a transaction.
func TestGateTellsWhatIsMissing(t *testing.T) {
	f := newFeeder(t, nil)
	tx := f.db.Begin().Set("orders", txntest.Row{ID: 1}).Set("orders", txntest.Row{ID: 2}).Commit()
	f.put(tx[0], tx[1], tx[3])
	if err := f.gate.Check(); err != nil {
		t.Fatal(err) // The other one may come.
	}
	for id := range int64(partitions) {
		f.put(f.db.Begin().Set("orders", txntest.Row{ID: id}).Commit()...)
	}
	err := f.gate.Check()
	if code(err) != "streams.transaction.incomplete" || !strings.Contains(err.Error(), "2 events of table public.orders, of which 1") {
		t.Errorf("got %v", err)
	}

	f = newFeeder(t, nil)
	tx = f.db.Begin().Set("orders", txntest.Row{ID: 1}).Commit()
	f.put(tx[:2]...)
	f.put(f.db.Begin().Set("orders", txntest.Row{ID: 2}).Commit()...)
	if err := f.gate.Check(); code(err) != "streams.transaction.incomplete" {
		t.Errorf("got %v", err)
	}
}

// TestGateIsBounded holds no more than it may, and says so; partitions that are ahead
// are told.
func TestGateIsBounded(t *testing.T) {
	f := newFeeder(t, func(s *txn.Source) { s.MaxBytes = 3000 })
	tx := f.db.Begin()
	for id := range int64(20) {
		tx.Set("orders", txntest.Row{ID: 3 * id})
	}
	records := tx.Commit()
	f.put(records[:15]...)
	orders := txn.Part{Topic: f.db.Topic("orders")}
	if err := f.gate.Check(); err != nil || !f.gate.Ahead(orders) {
		t.Fatalf("before its end: %v", err)
	}
	f.put(records[len(records)-1])
	if f.gate.Ahead(orders) {
		t.Error("the partition has more of the transaction that is waited for")
	}
	if err := f.gate.Check(); code(err) != "streams.transaction.size" {
		t.Errorf("got %v", err)
	}
}

// TestGatePutsAside has transactions that do not fit into memory, of which some is sent
// twice, and a bound on the disk.
func TestGatePutsAside(t *testing.T) {
	for seed := range uint64(10) {
		f := newFeeder(t, func(s *txn.Source) { s.MaxBytes, s.MaxDiskBytes = 20_000, 1<<20 })
		rnd := rand.New(rand.NewPCG(seed, 3))
		var records []txntest.Record
		want := map[uint64]int{}
		for i := range 6 {
			tx := f.db.Begin
			if i == 0 {
				tx = f.db.Snapshot
			}
			n := []int{400, 3, 300, 1, 2, 500}[i]
			t := tx()
			for id := range int64(n) {
				t.Set("orders", txntest.Row{ID: id, Amount: int64(i)})
			}
			want[f.db.LSN()] = n
			all := t.Commit()
			records = append(append(records, all[:rnd.IntN(len(all))]...), all...)
		}
		most := txn.Figures{}
		for _, r := range txntest.Mix(rnd, records) {
			for _, out := range f.put(r) {
				lsn, events, _ := strings.Cut(out, ":")
				n, err := strconv.ParseUint(lsn, 10, 64)
				if rows := strings.Fields(events); err != nil || len(rows) != want[n] {
					t.Fatalf("seed %d: transaction %s has %d rows, want %d", seed, lsn, len(rows), want[n])
				} else if n > 1008 {
					for id, row := range rows {
						if !strings.HasPrefix(row, fmt.Sprintf("o%d=", id)) {
							t.Fatalf("seed %d: row %d of transaction %s is %s", seed, id, lsn, row)
						}
					}
				}
				delete(want, n)
			}
			got := f.gate.Figures()
			most.InMemory, most.OnDisk = max(most.InMemory, got.InMemory), max(most.OnDisk, got.OnDisk)
		}
		if len(want) > 0 || most.InMemory > 22_000 || most.OnDisk == 0 {
			t.Errorf("seed %d: %v did not come, and at most %+v was held", seed, want, most)
		}
		f.holdsNothing()
	}

	f := newFeeder(t, func(s *txn.Source) { s.MaxBytes, s.MaxDiskBytes = 1, 1000 })
	tx := f.db.Begin()
	for id := range int64(50) {
		tx.Set("orders", txntest.Row{ID: id})
	}
	var err error
	for i, r := range tx.Commit() {
		if err == nil {
			err = f.arrive(txn.Part{Topic: r.Topic, Partition: r.Partition}, int64(i), r)
		}
	}
	if code(err) != "streams.transaction.size" {
		t.Errorf("got %v", err)
	}
	if err := f.gate.Close(); err != nil {
		t.Error(err)
	}
	f.holdsNothing()
}

// TestReaderRefuses has events that are of no transaction.
func TestReaderRefuses(t *testing.T) {
	f := newFeeder(t, nil)
	r := f.db.Snapshot().Set("orders", txntest.Row{ID: 1}).Commit()[1]
	event := func(mark string) error {
		v, err := serde.Row(f.db.Envelope).Decode(r.Value)
		if err != nil {
			t.Fatal(err)
		}
		v.Struct().At(2).Struct().Set(0, connect.String(mark))
		_, err = f.reader.Event(v, func() string { return "here" })
		return err
	}
	for mark, want := range map[string]string{"true": "", "last": "", "incremental": "streams.transaction.incremental", "false": "streams.transaction.event"} {
		if got := code(event(mark)); got != want {
			t.Errorf("%s: %q, want %q", mark, got, want)
		}
	}
	if _, err := f.reader.Event(connect.String("x"), func() string { return "here" }); code(err) != "streams.transaction.event" {
		t.Errorf("got %v", err)
	}
	if err := f.gate.Arrive(txn.Held[string]{Event: txn.Event{Epoch: 9, Collection: "public.orders"}, Part: txn.Part{Topic: f.db.Topic("lines")}}, nil, 1); code(err) != "streams.transaction.collection" {
		t.Errorf("got %v", err)
	}
	if err := f.gate.End(txn.End{Epoch: 9}, 0); err != nil {
		t.Error(err)
	}
	if err := f.gate.End(txn.End{Epoch: 7}, 1); code(err) != "streams.transaction.order" {
		t.Errorf("got %v", err)
	}
}
