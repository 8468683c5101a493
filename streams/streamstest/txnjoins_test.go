package streamstest_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"strconv"
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
	"github.com/tidemill/tidemill/streams/streamstest"
	"github.com/tidemill/tidemill/streams/topics"
	"github.com/tidemill/tidemill/streams/txn/txntest"
)

// ordersDB is a database of orders, which refer to customers, which refer to regions, and
// what all joins of tables make of it: by the operators and by a naive model.
type ordersDB struct {
	db   *txntest.Database
	b    *streams.Builder
	rows map[string]map[int64]txntest.Row
	// joined are the tables of results, by name, and results what the model has for them
	// after each transaction, by its position.
	joined  map[string]*streams.Table[connect.Value, string]
	results map[uint64]map[string]map[int64]string
}

type (
	row   = connect.Value
	pairs = join.Pair[row, row]
	glued = join.Pair[string, row]
	made  = join.Joiner[row, row, row, string]
	more  = join.Joiner[row, string, row, string]
)

func newOrdersDB(partitions int) *ordersDB {
	s := &ordersDB{
		db: txntest.New("orders", partitions), b: streams.NewBuilder(), rows: map[string]map[int64]txntest.Row{"orders": {}, "customers": {}, "regions": {}},
		joined: map[string]*streams.Table[row, string]{}, results: map[uint64]map[string]map[int64]string{0: {}},
	}
	return s
}

func (s *ordersDB) table(name string) *streams.Table[row, row] {
	return streams.CDC{Topic: s.db.Topic(name), Key: serde.Row(s.db.Key), Envelope: serde.Row(s.db.Envelope), Row: s.db.Row}.
		Table(s.b, streams.With{Name: name, Store: name})
}

// key is the key of a row that is referred to; 0 refers to nothing.
func (s *ordersDB) key(id int64) (row, bool) {
	return connect.StructValue(s.db.Key.StructOf([]connect.Value{connect.Int64(id)})), id != 0
}

// side writes one side of a result.
func side(r txntest.Row, has bool) string {
	if !has {
		return "-"
	}
	return fmt.Sprintf("%d>%d:%d", r.ID, r.Ref, r.Amount)
}

func glue(_ row, p pairs) string {
	var l, r txntest.Row
	if p.HasLeft {
		l = txntest.RowOf(p.Left)
	}
	if p.HasRight {
		r = txntest.RowOf(p.Right)
	}
	return side(l, p.HasLeft) + " " + side(r, p.HasRight)
}

// build joins the tables in every way.
func (s *ordersDB) build(t *testing.T) *streams.Topology {
	t.Helper()
	orders, customers, regions := s.table("orders"), s.table("customers"), s.table("regions")
	reference := func(_, r row) (row, bool) { return s.key(txntest.RowOf(r).Ref) }
	keep := func(name string, t *streams.Table[row, string]) *streams.Table[row, string] {
		s.joined[name] = t
		t.ToStream().To(name, serde.Row(s.db.Key), serde.Text{})
		return t
	}
	with := func(name string) streams.With { return streams.With{Name: name, Store: name} }
	for name, how := range map[string]made{"inner": join.Inner(glue), "left": join.Left(glue), "outer": join.Outer(glue)} {
		keep(name, join.Tables(orders, customers, how, serde.Text{}, with(name)))
	}
	keep("references", join.ForeignKey(orders, join.On(customers, reference), join.Inner(glue), serde.Text{}, with("references")))
	keep("manager", join.ForeignKey(customers, join.On(customers, reference), join.Left(glue), serde.Text{}, with("manager")))
	both := keep("referrers", join.ForeignKey(orders, join.On(customers, reference), join.Left(glue), serde.Text{}, with("referrers")))
	// Those of a join refer to others in turn.
	keep("chain", join.ForeignKey(both, join.On(regions, func(_ row, v string) (row, bool) { return s.key(lastRef(v)) }),
		more(join.Left(func(_ row, p glued) string {
			var r txntest.Row
			if p.HasRight {
				r = txntest.RowOf(p.Right)
			}
			return p.Left + " " + side(r, p.HasRight)
		})), serde.Text{}, with("chain")))
	topology, err := s.b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return topology
}

// lastRef is what the last side of a result refers to, 0 for nothing.
func lastRef(v string) int64 {
	var id, ref, amount int64
	if n, err := fmt.Sscanf(v[strings.LastIndexByte(v, ' ')+1:], "%d>%d:%d", &id, &ref, &amount); n != 3 || err != nil {
		return 0
	}
	return ref
}

// note has the model join everything, for the state as of the last transaction.
func (s *ordersDB) note() {
	orders, customers, regions := s.rows["orders"], s.rows["customers"], s.rows["regions"]
	out := map[string]map[int64]string{}
	for name := range s.joined {
		out[name] = map[int64]string{}
	}
	for id, o := range orders {
		c, has := customers[id]
		if has {
			out["inner"][id] = side(o, true) + " " + side(c, true)
		}
		out["left"][id] = side(o, true) + " " + side(c, has)
		out["outer"][id] = out["left"][id]
		c, has = customers[o.Ref]
		if has {
			out["references"][id] = side(o, true) + " " + side(c, true)
		}
		out["referrers"][id] = side(o, true) + " " + side(c, has)
		r, known := regions[c.Ref]
		out["chain"][id] = out["referrers"][id] + " " + side(r, has && known)
	}
	for id, c := range customers {
		if _, has := orders[id]; !has {
			out["outer"][id] = "- " + side(c, true)
		}
		m, has := customers[c.Ref]
		out["manager"][id] = side(c, true) + " " + side(m, has)
	}
	s.results[s.db.LSN()] = out
}

// change returns the records of a transaction of random changes, or of a snapshot.
func (s *ordersDB) change(rnd *rand.Rand, snapshot bool) []txntest.Record {
	tx := s.db.Begin
	if snapshot {
		tx = s.db.Snapshot
	}
	t := tx()
	seen := map[string]bool{}
	for range 1 + rnd.IntN(7) {
		table := []string{"orders", "customers", "regions"}[rnd.IntN(3)]
		id := 1 + rnd.Int64N(9)
		name := fmt.Sprint(table, id)
		_, had := s.rows[table][id]
		switch {
		case snapshot && seen[name]:
		case !snapshot && rnd.IntN(40) == 0:
			t.Truncate(table)
			clear(s.rows[table])
		case !snapshot && had && rnd.IntN(3) == 0:
			t.Delete(table, id)
			delete(s.rows[table], id)
		default:
			r := txntest.Row{ID: id, Ref: rnd.Int64N(10), Amount: rnd.Int64N(100)}
			t.Set(table, r)
			s.rows[table][id] = r
		}
		seen[name] = true
	}
	records := t.Commit()
	s.note()
	return records
}

// tale checks what was written to a topic of results: each record is a row of the state
// that it says it is true for, and the last ones of all rows are that state.
type tale struct {
	name string
	rows map[int64]string
	at   uint64
}

func (s *ordersDB) tale(name string) *tale { return &tale{name: name, rows: map[int64]string{}} }

func (s *ordersDB) tell(w *tale, id int64, value string, gone bool, at uint64) error {
	if at < w.at {
		return fmt.Errorf("%s goes from %d back to %d", w.name, w.at, at)
	}
	if at > w.at {
		if err := s.compare(w); err != nil {
			return err
		}
	}
	w.at = at
	want, has := s.results[at][w.name][id]
	if gone == has || value != want {
		return fmt.Errorf("%s tells %q (deleted: %v) for %d as of %d, and it is %q (there: %v)", w.name, value, gone, id, at, want, has)
	}
	if w.rows[id] = value; gone {
		delete(w.rows, id)
	}
	return nil
}

// compare compares what was told until now with the state of then.
func (s *ordersDB) compare(w *tale) error {
	if want := s.results[w.at][w.name]; !maps.Equal(w.rows, want) {
		return fmt.Errorf("%s has told as of %d\n%v, and it is\n%v", w.name, w.at, w.rows, want)
	}
	return nil
}

func lsnIn(headers []streams.Header) uint64 {
	for _, h := range headers {
		if h.Key == "__tidemill.lsn" {
			lsn, _ := strconv.ParseUint(string(h.Value), 10, 64)
			return lsn
		}
	}
	return 0
}

// moment reads all tables of results at once and compares them with the model.
func (s *ordersDB) moment(ctx context.Context, rowsOf func(store string) (*query.Rows, error)) (lsn uint64, err error) {
	first, err := rowsOf("inner")
	if err != nil {
		return 0, err
	}
	m, err := first.Moment()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	if lsn, err = m.LSN(); err != nil {
		return 0, err
	}
	for name, table := range s.joined {
		rows, err := rowsOf(name)
		if err != nil {
			return 0, err
		}
		view, got := table.View(rows), map[int64]string{}
		err = m.Scan(ctx, rows, nil, nil, func(r query.Row) error {
			rec, err := view.Decode(r)
			if err == nil {
				got[rec.Key.Struct().At(0).Int()] = rec.Value
			}
			return err
		})
		if err != nil {
			return 0, err
		}
		if want := s.results[lsn][name]; !maps.Equal(got, want) {
			return 0, fmt.Errorf("%s as of %d is\n%v, want\n%v", name, lsn, got, want)
		}
	}
	return lsn, nil
}

// TestTransactionsJoinTables runs random transactions over tables that are joined in all
// ways, in any order of arrival and with restarts, and compares what is stored and what
// is sent with a model of each transaction.
func TestTransactionsJoinTables(t *testing.T) {
	for seed := range uint64(6) {
		s := newOrdersDB(1)
		d := streamstest.New(t, s.build(t))
		d.InTransactions(s.db.Source())
		rnd := rand.New(rand.NewPCG(seed, 11))
		records := s.change(rnd, true)
		for range 40 {
			records = append(records, s.change(rnd, false)...)
		}
		rowsOf := func(store string) (*query.Rows, error) { return d.Rows(store), nil }
		var lsn uint64
		for _, r := range txntest.Mix(rnd, records) {
			streamstest.In(d, r.Topic, serde.Bytes{}, serde.Bytes{}).Record(streams.Record[[]byte, []byte]{
				Key: r.Key, Value: r.Value, NoKey: r.Key == nil, NoValue: r.Value == nil,
			})
			if rnd.IntN(20) == 0 {
				d.Restart(rnd.IntN(2) == 0)
			}
			var err error
			if lsn, err = s.moment(t.Context(), rowsOf); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
		if lsn != s.db.LSN() {
			t.Errorf("seed %d: it came to %d of %d", seed, lsn, s.db.LSN())
		}
		for name := range s.joined {
			w := s.tale(name)
			for _, r := range streamstest.Out(d, name, serde.Row(s.db.Key), serde.Text{}).Read() {
				if err := s.tell(w, r.Key.Struct().At(0).Int(), r.Value, r.NoValue, lsnIn(r.Headers)); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
			}
			if err := s.compare(w); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
	}
}

// TestTransactionsJoinPartitions does so over a broker, with tables in several
// partitions, and a process that goes on with what another has left.
func TestTransactionsJoinPartitions(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	s, brokers := newOrdersDB(3), devstack.TestKafka(t)
	topology := s.build(t)
	client, err := topics.Open(brokers)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for topic, n := range map[string]int{s.db.Source().Topic: 1, s.db.Topic("orders"): 3, s.db.Topic("customers"): 3, s.db.Topic("regions"): 3} {
		if err := client.Create(ctx, topics.Spec{Name: topic, Partitions: n}); err != nil {
			t.Fatal(err)
		}
	}
	for name := range s.joined {
		if err := client.Create(ctx, topics.Spec{Name: name, Partitions: 1}); err != nil {
			t.Fatal(err)
		}
	}
	rnd := rand.New(rand.NewPCG(5, 12))
	write := func(n int) {
		var records []txntest.Record
		for range n {
			records = append(records, s.change(rnd, s.db.LSN() == 1000)...)
		}
		// A join by foreign key finds rows by the bytes of their keys, which is how
		// producers cut topics.
		cut := kgo.StickyKeyPartitioner(nil).ForTopic("")
		for i, r := range records {
			if r.Key != nil && r.Topic != s.db.Source().Topic {
				records[i].Partition = int32(cut.Partition(&kgo.Record{Key: r.Key}, 3))
			}
		}
		for _, r := range txntest.Mix(rnd, records) {
			cl.Produce(ctx, &kgo.Record{Topic: r.Topic, Partition: r.Partition, Key: r.Key, Value: r.Value}, nil)
		}
		if err := cl.Flush(ctx); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	for range 2 {
		e, err := streams.OpenEngine(streams.Config{Brokers: brokers, Dir: dir, Logger: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))})
		if err == nil {
			err = e.Add(streams.App{ID: "joins", Topology: topology, ExactlyOnce: true, CommitInterval: 5 * time.Millisecond, Transactions: s.db.Source()})
		}
		if err != nil {
			t.Fatal(err)
		}
		running, stop := context.WithCancel(ctx)
		done := make(chan error, 1)
		go func() { done <- e.Run(running) }()
		rowsOf := func(store string) (*query.Rows, error) { return e.Rows(ctx, "joins", store) }
		for range 10 {
			write(10)
			if _, err := s.moment(ctx, rowsOf); err != nil {
				t.Fatal(err)
			}
		}
		for lsn := uint64(0); lsn < s.db.LSN(); {
			if lsn, err = s.moment(ctx, rowsOf); err != nil {
				t.Fatal(err)
			}
		}
		stop()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		dir = t.TempDir() // Everything is restored.
	}
	for name := range s.joined {
		w, keys := s.tale(name), serde.Row(s.db.Key)
		err := client.Read(ctx, name, topics.ToEnd, func(r *kgo.Record) (bool, error) {
			k, err := keys.Decode(r.Key)
			if err != nil {
				return false, err
			}
			return true, s.tell(w, k.Struct().At(0).Int(), string(r.Value), r.Value == nil, lsnIn(r.Headers))
		})
		if err == nil {
			err = s.compare(w)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
