package join_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/join"
	"github.com/tidemill/tidemill/streams/serde"
	"github.com/tidemill/tidemill/streams/streamstest"
)

// graceModel joins a stream with a table with a history by looking through lists.
type graceModel struct {
	grace, history int64
	rows           []seen // of the table, in the order in which they were put
	table, stream  int64  // the latest time of either
	waiting        []seen
	results        []string
}

func (m *graceModel) take(r seen) {
	switch {
	case r.right && r.ms >= m.table-m.history:
		m.table = max(m.table, r.ms)
		m.rows = append(m.rows, r)
	case r.right:
	case m.grace < 0 || r.ms < m.stream-m.grace:
		m.join(r)
	default:
		m.stream = max(m.stream, r.ms)
		m.waiting = append(m.waiting, r)
		slices.SortStableFunc(m.waiting, func(a, b seen) int {
			return cmp.Or(cmp.Compare(a.ms, b.ms), strings.Compare(a.key, b.key))
		})
		for len(m.waiting) > 0 && m.waiting[0].ms <= m.stream-m.grace {
			m.join(m.waiting[0])
			m.waiting = m.waiting[1:]
		}
	}
}

// join finds the row of the record's time: the last of those put of the latest time that
// is not later.
func (m *graceModel) join(r seen) {
	last, row := seen{ms: -1}, seen{ms: -1}
	for _, x := range m.rows {
		if x.key == r.key && x.ms >= last.ms {
			last = x
		}
		if x.key == r.key && x.ms <= r.ms && x.ms >= row.ms {
			row = x
		}
	}
	if row.value == "" || r.ms < m.table-m.history && row != last {
		row.value = "-"
	}
	m.results = append(m.results, fmt.Sprintf("%s=%s+%s@%d", r.key, r.value, row.value, r.ms))
}

// TestGraceAgainstModel joins random records of a stream, in no strict order, with a table
// with a history, with and without grace, and compares with the model. The application
// commits now and then, and is restarted, with and without its stores.
func TestGraceAgainstModel(t *testing.T) {
	for seed := range uint64(40) {
		rnd := rand.New(rand.NewPCG(seed, 9))
		m := &graceModel{grace: rnd.Int64N(40) - 1, history: 40 + rnd.Int64N(60), table: -1, stream: -1}
		b := streams.NewBuilder()
		with := streams.With{Name: "j"}
		if m.grace > 0 {
			with.Grace = time.Duration(m.grace) * time.Millisecond
		} else {
			m.grace = -1
		}
		table := streams.TableFrom(b, "R", text{}, text{}, streams.With{Name: "R", History: time.Duration(m.history) * time.Millisecond})
		join.StreamTable(streams.From(b, "L", text{}, text{}), table, join.Left(glue), text{}, with).To("out", text{}, text{})
		topology, err := b.Build()
		if err != nil {
			t.Fatal(err)
		}
		d := streamstest.New(t, topology)
		now := int64(0)
		for i := range 150 {
			now += rnd.Int64N(5) * rnd.Int64N(2)
			r := seen{right: rnd.IntN(2) == 0, key: fmt.Sprint("k", rnd.IntN(3)), value: fmt.Sprint(i), ms: max(now-rnd.Int64N(2*m.history)*rnd.Int64N(2), 0)}
			rec := streams.Record[string, string]{Key: r.key, Value: r.value, Time: r.ms}
			side := "L"
			if r.right {
				side = "R"
				if rnd.IntN(4) == 0 {
					rec.NoValue, r.value = true, ""
				}
			}
			streamstest.In(d, side, text{}, text{}).Record(rec)
			m.take(r)
			if rnd.IntN(15) == 0 {
				d.Restart(rnd.IntN(2) == 0)
			}
		}
		got := show(streamstest.Out(d, "out", text{}, text{}).Read())
		if !slices.Equal(got, m.results) {
			t.Fatalf("seed %d, grace %d, history %d:\n got %v\nwant %v", seed, m.grace, m.history, got, m.results)
		}
	}
}

// TestGraceKeepsRecordsWhole looks that a record that has waited is the one that came, with
// its headers and values of no bytes, also after the loss of the stores.
func TestGraceKeepsRecordsWhole(t *testing.T) {
	d := streamstest.New(t, build(t, "stream-table history=100 grace=20", join.Left(glue)))
	in := streamstest.In(d, "L", text{}, text{})
	in.Record(streams.Record[string, string]{Key: "k", Time: 1, Headers: []streams.Header{{Key: "a", Value: []byte("1")}, {Key: "", Value: []byte{}}}})
	d.Restart(true)
	in.At(50, "k", "next")
	rs := streamstest.Out(d, "out", text{}, text{}).Read()
	if got := fmt.Sprint(show(rs)); got != "[k=+-@1]" {
		t.Fatalf("got %s", got)
	}
	if h := rs[0].Headers; len(h) != 2 || h[0].Key != "a" || string(h[0].Value) != "1" || h[1].Key != "" || len(h[1].Value) != 0 {
		t.Errorf("its headers are %v", h)
	}
}

// TestGraceRefused builds the joins that cannot wait.
func TestGraceRefused(t *testing.T) {
	b := streams.NewBuilder()
	s := streams.From(b, "l", text{}, text{})
	plain := streams.TableFrom(b, "r", text{}, text{})
	past := streams.TableFrom(b, "v", text{}, text{}, streams.With{History: time.Second})
	try := func(name string, table *streams.Table[string, string], grace time.Duration, value serde.Serde[string]) {
		join.StreamTable(s, table, join.Left(glue), value, streams.With{Name: name, Grace: grace})
	}
	try("a", plain, time.Second, text{})
	try("b", past, 2*time.Second, text{})
	try("c", past, -1, text{})
	try("d", past, time.Second, nil)
	try("e", past.Filter(func(string, string) bool { return true }, streams.With{Store: "kept"}), time.Second, text{})
	try("ok", past.Filter(func(string, string) bool { return true }), time.Second, text{})
	_, err := b.Build()
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		if want := "streams.join.grace: " + name; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing from: %v", want, err)
		}
	}
	if err != nil && strings.Contains(err.Error(), "streams.join.grace: ok") {
		t.Error(err)
	}
}
