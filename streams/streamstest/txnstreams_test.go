package streamstest_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/join"
	"github.com/tidemill/tidemill/streams/query"
	"github.com/tidemill/tidemill/streams/serde"
	"github.com/tidemill/tidemill/streams/streamstest"
	"github.com/tidemill/tidemill/streams/txn/txntest"
)

// posting is an event of one of two tables, whose streams are joined.
type posting struct {
	right   bool
	key, id int64 // the account, and a number that no other has
	ms      int64
	met     bool
	alone   bool // its result alone was sent
}

// postings is a naive model of a join of two streams: after every transaction it compares
// all postings there have ever been with each other.
type postings struct {
	before, after, grace int64
	left, right          bool // postings of the side have results alone
	time                 int64
	all                  []posting
	at                   uint64
	// results are what each transaction leads to, by its position, and sums how many
	// results each account has as of it.
	results map[uint64][]string
	sums    map[uint64]map[int64]int64
}

func (m *postings) reach(p *posting) int64 {
	if p.right {
		return m.before + m.grace
	}
	return m.after + m.grace
}

// closed tells whether the window of p has closed by a time.
func (m *postings) closed(p *posting, by int64) bool { return p.ms+m.reach(p) < by }

// take takes in a transaction.
func (m *postings) take(at uint64, tx []posting) {
	sums, old := maps.Clone(m.sums[m.at]), len(m.all)
	if sums == nil {
		sums = map[int64]int64{}
	}
	before := m.time
	var out []string
	tell := func(key int64, result string) {
		out = append(out, result)
		sums[key]++
	}
	m.all = append(m.all, tx...)
	for j := old; j < len(m.all); j++ {
		m.time = max(m.time, m.all[j].ms)
		for i := range j {
			l, r := &m.all[i], &m.all[j]
			open := !m.closed(l, before) || i >= old && !m.closed(r, before)
			if l.right {
				l, r = r, l
			}
			if gap := r.ms - l.ms; l.right == r.right || l.key != r.key || gap < -m.before || gap > m.after || !open {
				continue
			}
			l.met, r.met = true, true
			tell(l.key, fmt.Sprintf("%d=%d+%d@%d", l.key, l.id, r.id, max(l.ms, r.ms)))
		}
	}
	for i := range m.all {
		p := &m.all[i]
		if p.met || p.alone || !m.closed(p, m.time) {
			continue
		}
		if p.alone = true; p.right && m.right {
			tell(p.key, fmt.Sprintf("%d=-+%d@%d", p.key, p.id, p.ms))
		} else if !p.right && m.left {
			tell(p.key, fmt.Sprintf("%d=%d+-@%d", p.key, p.id, p.ms))
		}
	}
	slices.Sort(out)
	m.at = at
	m.results[at], m.sums[at] = out, sums
}

// joined is a bank whose streams of debits and of credits are joined by account.
type joined struct {
	*bank
	model  *postings
	counts *streams.Table[int64, int64]
	next   int64
	now    int64
	times  timed
}

// newJoined joins the streams in one of the ways there are.
func newJoined(t *testing.T, name string, partitions int, rnd *rand.Rand, kind string) *joined {
	m := &postings{before: rnd.Int64N(40), after: rnd.Int64N(40), grace: rnd.Int64N(3) * 20, time: -1, results: map[uint64][]string{}, sums: map[uint64]map[int64]int64{}}
	if rnd.IntN(4) == 0 {
		m.before = -min(m.before, m.after) // Only later ones.
	}
	m.left, m.right = kind != "inner", kind == "outer"
	j := &joined{bank: newBankCalled(t, name, partitions), model: m, now: 1000, times: timed{}}
	glue := func(_ int64, p join.Pair[int64, int64]) string {
		side := func(id int64, has bool) string {
			if !has {
				return "-"
			}
			return fmt.Sprint(id)
		}
		return side(p.Left, p.HasLeft) + "+" + side(p.Right, p.HasRight)
	}
	how := map[string]join.Joiner[int64, int64, int64, string]{"inner": join.Inner(glue), "left": join.Left(glue), "outer": join.Outer(glue)}[kind]
	ms := func(n int64) time.Duration { return time.Duration(n) * time.Millisecond }
	results := join.Streams(j.flow("debits", 1), j.flow("credits", 1), join.Within[int64, int64, int64]{
		Before: ms(m.before), After: ms(m.after), Grace: ms(m.grace), Key: serde.Int64{}, Left: serde.Int64{}, Right: serde.Int64{},
	}, how, streams.With{Name: "met", Partitions: partitions})
	results.To("met", serde.Int64{}, serde.Text{})
	j.counts = results.GroupByKey(serde.Int64{}, serde.Text{}).Count(streams.With{Name: "counts", Store: "counts"})
	return j
}

// post returns the records of a transaction of some postings, at times that jump.
func (j *joined) post(rnd *rand.Rand, first bool) []txntest.Record {
	begin := j.db.Begin
	if first {
		begin = j.db.Snapshot
	}
	tx := begin()
	var all []posting
	for range 1 + rnd.IntN(6) {
		p := posting{right: rnd.IntN(2) == 0, key: rnd.Int64N(3), id: j.next, ms: max(j.now+20-rnd.Int64N(120), 0)}
		j.next++
		table := "debits"
		if p.right {
			table = "credits"
		}
		tx.Set(table, txntest.Row{ID: p.id, Ref: p.key, Amount: p.id})
		all = append(all, p)
	}
	j.now += rnd.Int64N(30)
	records := tx.Commit()
	for i, p := range all {
		j.times[string(records[i+1].Value)] = p.ms
	}
	j.model.take(j.db.LSN(), all)
	return records
}

// moment reads how many results each account has, and compares that with the model.
func (j *joined) moment(ctx context.Context, rows *query.Rows) (lsn uint64, err error) {
	m, err := rows.Moment()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	if lsn, err = m.LSN(); err != nil {
		return 0, err
	}
	view, got := j.counts.View(rows), map[int64]int64{}
	err = m.Scan(ctx, rows, nil, nil, func(r query.Row) error {
		rec, err := view.Decode(r)
		got[rec.Key] = rec.Value
		return err
	})
	if want := j.model.sums[lsn]; err == nil && !maps.Equal(got, want) {
		return 0, fmt.Errorf("as of %d there are %v results, want %v", lsn, got, want)
	}
	return lsn, err
}

// compare compares all results that were sent with those of the model.
func (j *joined) compare(sent map[uint64][]string) error {
	n := 0
	for at, want := range j.model.results {
		n += len(want)
		if slices.Sort(sent[at]); !slices.Equal(sent[at], want) {
			return fmt.Errorf("as of %d were sent\n%v, want\n%v", at, sent[at], want)
		}
		delete(sent, at)
	}
	if len(sent) > 0 || n == 0 {
		return fmt.Errorf("of %d results, these are of no transaction: %v", n, sent)
	}
	return nil
}

// TestTransactionsJoinStreams joins streams in all ways, whose records come in any order,
// some too late, with restarts in between. What a transaction leads to is what a naive
// model makes of all transactions until then, and nothing else can be read.
func TestTransactionsJoinStreams(t *testing.T) {
	for seed := range uint64(45) {
		rnd := rand.New(rand.NewPCG(seed, 21))
		kind := []string{"inner", "left", "outer"}[seed%3]
		j := newJoined(t, "bank", 1, rnd, kind)
		j.run(true)
		records := j.post(rnd, true)
		for range 40 {
			records = append(records, j.post(rnd, false)...)
		}
		var lsn uint64
		for _, r := range txntest.Mix(rnd, records) {
			j.putAt(r, j.times)
			if rnd.IntN(10) == 0 {
				j.d.Restart(rnd.IntN(2) == 0)
			}
			var err error
			if lsn, err = j.moment(t.Context(), j.d.Rows("counts")); err != nil {
				t.Fatalf("seed %d, %s, %+v: %v", seed, kind, j.model.window(), err)
			}
		}
		if lsn != j.db.LSN() {
			t.Errorf("seed %d: it came to %d of %d", seed, lsn, j.db.LSN())
		}
		sent := map[uint64][]string{}
		for _, r := range streamstest.Out(j.d, "met", serde.Int64{}, serde.Text{}).Read() {
			at := lsnIn(r.Headers)
			sent[at] = append(sent[at], fmt.Sprintf("%d=%s@%d", r.Key, r.Value, r.Time))
		}
		if err := j.compare(sent); err != nil {
			t.Fatalf("seed %d, %s, %+v: %v", seed, kind, j.model.window(), err)
		}
	}
}

// window is what the join was declared with.
func (m *postings) window() [3]int64 { return [3]int64{m.before, m.after, m.grace} }

// TestTransactionsJoinItself joins a stream with itself: in a transaction it does not matter
// which record comes first.
func TestTransactionsJoinItself(t *testing.T) {
	for _, turned := range []bool{false, true} {
		b := newBank(t)
		in := b.flow("debits", 1)
		join.Streams(in, in, join.Within[int64, int64, int64]{Before: 10 * time.Millisecond, After: 10 * time.Millisecond, Key: serde.Int64{}, Left: serde.Int64{}, Right: serde.Int64{}},
			join.Inner(func(_ int64, p join.Pair[int64, int64]) int64 { return 100*p.Left + p.Right })).To("met", serde.Int64{}, serde.Int64{})
		b.run(true)
		times := timed{}
		put := func(tx *txntest.Transaction, at ...int64) {
			for i, r := range tx.Commit() {
				if i > 0 && i <= len(at) {
					times[string(r.Value)] = at[i-1]
				}
				b.putAt(r, times)
			}
		}
		row := func(id int64) txntest.Row { return txntest.Row{ID: id, Ref: 1, Amount: id} }
		put(b.db.Snapshot().Set("debits", row(1)), 1000)
		// The window of 2 has closed, that of 3 has not.
		if turned {
			put(b.db.Begin().Set("debits", row(3)).Set("debits", row(2)), 991, 985)
		} else {
			put(b.db.Begin().Set("debits", row(2)).Set("debits", row(3)), 985, 991)
		}
		values, _ := b.out("met")
		if slices.Sort(values); fmt.Sprint(values) != "[101 103 203 301 302 303]" {
			t.Errorf("turned %v: got %v", turned, values)
		}
	}
}
