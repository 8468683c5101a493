package window_test

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/cogroup"
	"github.com/tidemill/tidemill/streams/streamstest"
	"github.com/tidemill/tidemill/streams/window"
)

type (
	wkey   = window.Windowed[string]
	input  = streams.Record[string, string]
	change = streams.Record[wkey, streams.Change[string]]
)

// row is what a window comes to.
type row struct {
	value string
	time  int64
}

// model is the plain meaning of windows: what each of them comes to, and which have
// closed.
type model struct {
	shape
	observed int64
	times    [2]int64 // of the streams that are grouped together
	rows     map[wkey]row
	dropped  int64
	records  []input // those taken, for models that begin from them
}

// shape is windows as a model knows them.
type shape struct {
	kind             string
	size, advance    int64
	grace            int64
	windows          window.Windows
	noValue, onClose bool
	// together says that two streams are grouped together, each with a time of its own.
	together bool
}

// inputOf tells of which of the two streams that are grouped together a value is.
func inputOf(value string) int {
	if value < "n" {
		return 0
	}
	return 1
}

// over aggregates a stream, or the two that it is made of, over windows.
func (s shape) over(in *streams.Stream[string, string], w window.Windows, with streams.With) *streams.Table[wkey, string] {
	add := func(_, v, agg string) string { return agg + v }
	merge := func(_, a, b string) string { return a + b }
	none := func() string { return "" }
	if !s.together {
		return window.Aggregate(in.GroupByKey(text{}, text{}), w, window.Aggregation[string, string, string]{Init: none, Add: add, Merge: merge}, text{}, with)
	}
	part := func(i int) cogroup.Input[string, string] {
		some := streams.FlatMap(in, func(r input, emit func(input)) {
			if inputOf(r.Value) == i {
				emit(r)
			}
		}, streams.With{FixedKey: true})
		return cogroup.Of(some.GroupByKey(text{}, text{}), add)
	}
	return cogroup.Windowed(cogroup.Together(part(0), part(1)), w, cogroup.Windows[string, string]{Init: none, Merge: merge}, text{}, with)
}

func (s shape) String() string {
	return fmt.Sprintf("%s %d %d grace %d", s.kind, s.size, s.advance, s.grace)
}

// last is the last moment of a window.
func (s shape) last(k wkey) int64 {
	if s.kind == "fixed" {
		return k.End - 1
	}
	return k.End
}

func (s shape) wait() int64 {
	if s.kind == "session" {
		return s.grace + s.size
	}
	return s.grace
}

func randomShape(rnd *rand.Rand, kind string) shape {
	s := shape{kind: kind, size: 1 + rnd.Int64N(30), grace: rnd.Int64N(3) * rnd.Int64N(40)}
	ms := func(n int64) time.Duration { return time.Duration(n) * time.Millisecond }
	switch kind {
	case "fixed":
		s.advance = 1 + rnd.Int64N(s.size)
		if rnd.IntN(2) == 0 {
			s.advance = s.size
		}
		s.windows = window.Hopping(ms(s.size), ms(s.advance))
	case "sliding":
		s.windows = window.Sliding(ms(s.size))
	case "session":
		s.windows = window.Session(ms(s.size))
	}
	s.windows = s.windows.Grace(ms(s.grace)).EmitEvery(0)
	return s
}

// add adds a record.
func (m *model) add(r input) {
	if r.NoKey || r.NoValue {
		m.dropped++
		return
	}
	m.observed = max(m.observed, r.Time)
	closed := m.observed - m.wait()
	if m.together {
		own := &m.times[inputOf(r.Value)]
		*own = max(*own, r.Time)
		closed = *own - m.wait()
	}
	switch m.kind {
	case "fixed":
		for start := max(r.Time-m.size, 0) / m.advance * m.advance; start <= r.Time; start += m.advance {
			if k := (wkey{Key: r.Key, Start: start, End: start + m.size}); r.Time < k.End {
				m.put(k, r, closed)
			}
		}
	case "session":
		m.join(r, closed)
	case "sliding":
		m.records = append(m.records, r)
	}
}

func (m *model) put(k wkey, r input, closed int64) {
	if m.last(k) < closed {
		m.dropped++
		return
	}
	old := m.rows[k]
	m.rows[k] = row{old.value + r.Value, max(old.time, r.Time)}
}

// join adds a record to the sessions that are open.
func (m *model) join(r input, closed int64) {
	whole, near := wkey{r.Key, r.Time, r.Time}, []wkey{}
	for k := range m.rows {
		if k.Key == r.Key && k.End >= closed && k.End >= r.Time-m.size && k.Start <= r.Time+m.size {
			near = append(near, k)
			whole.Start, whole.End = min(whole.Start, k.Start), max(whole.End, k.End)
		}
	}
	if whole.End < closed {
		m.dropped++
		return
	}
	slices.SortFunc(near, func(a, b wkey) int { return cmp.Compare(a.End, b.End) })
	var agg string
	for _, k := range near {
		agg += m.rows[k].value
		delete(m.rows, k)
	}
	m.rows[whole] = row{agg + r.Value, whole.End}
}

// slide works sliding windows out of the records that were taken: one ends at each, one
// starts after each that has others, and each has all records between its ends.
func (m *model) slide() {
	for _, r := range m.records {
		for _, k := range []wkey{{r.Key, max(r.Time-m.size, 0), max(r.Time, m.size)}, {r.Key, r.Time + 1, r.Time + 1 + m.size}} {
			var agg row
			for _, x := range m.records {
				if x.Key == k.Key && x.Time >= k.Start && x.Time <= k.End {
					agg = row{agg.value + x.Value, max(agg.time, x.Time)}
				}
			}
			if agg.value != "" {
				m.rows[k] = agg
			}
		}
	}
}

// randomInputs are records in no strict order of time, of few keys, some without key or
// value, each with a letter of its own.
func randomInputs(rnd *rand.Rand, n int, late int64) (rs []input) {
	now := rnd.Int64N(50)
	for range n {
		now += rnd.Int64N(8) * rnd.Int64N(2)
		if rnd.IntN(40) == 0 {
			now += rnd.Int64N(300)
		}
		r := input{Key: string(rune('a' + rnd.IntN(3))), Value: string(rune('a' + rnd.IntN(26))), Time: max(now-rnd.Int64N(late+1), 0)}
		switch rnd.IntN(30) {
		case 0:
			r.Key, r.NoKey = "", true
		case 1:
			r.Value, r.NoValue = "", true
		}
		rs = append(rs, r)
	}
	return rs
}

// outcome is what a run gives: the table, and what was passed on.
type outcome struct {
	rows    map[wkey]row
	passed  []change
	dropped int64
}

// play runs inputs through windows; every so often it commits, or is restarted, with or
// without its stores.
func play(t *testing.T, s shape, rs []input, rnd *rand.Rand, held bool) outcome {
	t.Helper()
	b := streams.NewBuilder()
	w := s.windows.Keep(time.Hour)
	if s.onClose {
		w = s.windows.OnClose()
	}
	table := s.over(streams.From(b, "in", text{}, text{}), w, streams.With{Store: "rows", Uncached: rnd.IntN(2) == 0})
	out := table
	if held {
		out = window.UntilClosed(table, window.Bounds{})
	}
	var o outcome
	var since []change // the last commit, to be undone by a restart
	streams.Process(streams.Changes(out, true), func(*streams.Context[string, string]) (func(*change) error, error) {
		return func(r *change) error { since = append(since, *r); return nil }, nil
	})
	topology, err := b.Build()
	if err != nil {
		t.Fatal(s, err)
	}
	d := streamstest.New(t, topology)
	d.Hold()
	in := streamstest.In(d, "in", text{}, text{})
	commit := func() { d.Commit(); o.passed = append(o.passed, since...); since = nil }
	for _, r := range rs {
		in.Record(r)
		switch rnd.IntN(12) {
		case 0:
			since = nil
			d.Restart(rnd.IntN(2) == 0)
		case 1, 2, 3:
			commit()
		}
	}
	commit()
	o.dropped = d.Metrics().Dropped.Load()
	o.rows = map[wkey]row{}
	err = table.View(d.Rows("rows")).All(context.Background(), func(r streams.Record[wkey, string]) error {
		o.rows[r.Key] = row{r.Value, r.Time}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// never is a source of chance that restarts nothing and commits at the end.
type never struct{}

func (never) Uint64() uint64 { return 1<<64 - 1 }

// follow checks that changes begin where those before them ended, and returns what they
// come to.
func follow(t *testing.T, changes []change) map[wkey]row {
	t.Helper()
	rows := map[wkey]row{}
	for _, r := range changes {
		old, had := rows[r.Key]
		if c := r.Value; c.HasOld != had || c.Old != old.value {
			t.Fatalf("%v was %q, %v, and is changed from %q, %v", r.Key, old.value, had, c.Old, c.HasOld)
		}
		if r.Value.HasNew {
			rows[r.Key] = row{r.Value.New, r.Time}
		} else {
			delete(rows, r.Key)
		}
	}
	return rows
}

func sameRows(t *testing.T, what string, got, want map[wkey]row) {
	t.Helper()
	for k, w := range want {
		if got[k] != w {
			t.Errorf("%s: %v is %v, want %v", what, k, got[k], w)
		}
	}
	for k, g := range got {
		if _, ok := want[k]; !ok {
			t.Errorf("%s: %v is %v and should not be there", what, k, g)
		}
	}
}

const seeds = 25

// TestWindowsEqualModel runs random records through windows of every kind, with commits
// and restarts in between, and compares the table, the changes and what was dropped with
// the plain meaning of the windows.
func TestWindowsEqualModel(t *testing.T) {
	for _, kind := range []string{"fixed", "session", "sliding", "fixed together", "session together", "sliding together"} {
		t.Run(kind, func(t *testing.T) {
			for seed := range uint64(seeds) {
				rnd := rand.New(rand.NewPCG(seed, 7))
				kind, together := strings.CutSuffix(kind, " together")
				s := randomShape(rnd, kind)
				s.together = together
				late := rnd.Int64N(60)
				if kind == "sliding" {
					// What late records come to depends on which windows there are.
					late = min(late, s.grace)
				}
				rs := randomInputs(rnd, 120, late)
				m := &model{shape: s, observed: -1, times: [2]int64{-1, -1}, rows: map[wkey]row{}}
				for _, r := range rs {
					m.add(r)
				}
				m.slide()
				o := play(t, s, rs, rnd, false)
				what := fmt.Sprintf("seed %d, %v", seed, s)
				sameRows(t, what, o.rows, m.rows)
				sameRows(t, what+", changes", follow(t, o.passed), m.rows)
				straight := play(t, s, rs, rand.New(never{}), false)
				if kind != "sliding" && straight.dropped != m.dropped {
					t.Errorf("%s: %d dropped, want %d", what, straight.dropped, m.dropped)
				}
				if t.Failed() {
					return
				}
			}
		})
	}
}

// TestRestartsMakeNoDifference plays the same late and early records once straight and
// once with restarts, and, window by window, compares one result on close with what a
// buffer behind every change gives.
func TestRestartsMakeNoDifference(t *testing.T) {
	for _, kind := range []string{"fixed", "session", "sliding"} {
		t.Run(kind, func(t *testing.T) {
			for seed := range uint64(seeds) {
				rnd := rand.New(rand.NewPCG(seed, 8))
				s := randomShape(rnd, kind)
				rs := append(randomInputs(rnd, 120, 80), input{Key: "z", Value: "z", Time: 1_000_000})
				straight := play(t, s, rs, rand.New(never{}), false)
				what := fmt.Sprintf("seed %d, %v", seed, s)
				sameRows(t, what, play(t, s, rs, rnd, false).rows, straight.rows)
				final := map[wkey]row{}
				for k, r := range straight.rows {
					if k.Key != "z" {
						final[k] = r
					}
				}
				held := play(t, s, rs, rnd, true)
				sameRows(t, what+", held back", follow(t, held.passed), final)
				s.onClose = true
				closed := play(t, s, rs, rnd, false)
				sameRows(t, what+", on close", follow(t, closed.passed), final)
				if t.Failed() {
					return
				}
			}
		})
	}
}
