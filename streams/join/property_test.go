package join_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/join"
	"github.com/tidemill/tidemill/streams/streamstest"
)

// seen is a record that came in, as a model remembers it.
type seen struct {
	right      bool
	key, value string
	ms         int64
	met        bool
}

// windowModel joins streams by comparing every record with every other.
type windowModel struct {
	before, after, grace int64
	time                 int64
	records              []seen
	results              []string
	disorder             int64 // how far behind time a record has come at most

	since []seen       // what came since the last commit
	saved *windowModel // what was then
}

func (m *windowModel) closed(r *seen) bool {
	if r.right {
		return r.ms+m.before+m.grace < m.time
	}
	return r.ms+m.after+m.grace < m.time
}

// restart goes back to the last commit and takes in what came since in the order in
// which the task does: of what waits in both topics, the older first.
func (m *windowModel) restart() {
	var waiting [2][]seen
	for _, r := range m.since {
		side := 0
		if r.right {
			side = 1
		}
		waiting[side] = append(waiting[side], r)
	}
	*m = *m.saved
	m.commit()
	for l, r := waiting[0], waiting[1]; len(l)+len(r) > 0; {
		next := &l
		if len(l) == 0 || len(r) > 0 && r[0].ms < l[0].ms {
			next = &r
		}
		m.take((*next)[0])
		*next = (*next)[1:]
	}
}

// commit remembers what restart goes back to.
func (m *windowModel) commit() {
	m.since = nil
	saved := *m
	saved.records, saved.results = slices.Clone(m.records), slices.Clone(m.results)
	m.saved = &saved
}

func (m *windowModel) take(r seen) {
	m.since = append(m.since, r)
	m.time = max(m.time, r.ms)
	m.disorder = max(m.disorder, m.time-r.ms)
	for i := range m.records {
		o := &m.records[i]
		l, w := &r, o
		if r.right {
			l, w = o, &r
		}
		gap := w.ms - l.ms
		if o.right == r.right || o.key != r.key || gap < -m.before || gap > m.after || m.closed(o) {
			continue
		}
		r.met, o.met = true, true
		m.results = append(m.results, fmt.Sprintf("%s=%s+%s@%d", r.key, l.value, w.value, max(l.ms, w.ms)))
	}
	m.records = append(m.records, r)
}

// alone adds the results of records that met nobody.
func (m *windowModel) alone(left, right bool) []string {
	out := slices.Clone(m.results)
	for _, r := range m.records {
		switch {
		case r.met || r.right && !right || !r.right && !left:
		case r.right:
			out = append(out, fmt.Sprintf("%s=-+%s@%d", r.key, r.value, r.ms))
		default:
			out = append(out, fmt.Sprintf("%s=%s+-@%d", r.key, r.value, r.ms))
		}
	}
	slices.Sort(out)
	return out
}

// relational is what the join of all records is, whatever order they came in.
func (m *windowModel) relational() (n int) {
	for _, l := range m.records {
		for _, r := range m.records {
			if gap := r.ms - l.ms; !l.right && r.right && l.key == r.key && gap >= -m.before && gap <= m.after {
				n++
			}
		}
	}
	return n
}

// TestWindowsAgainstModel joins random records that come out of order, some later than
// grace allows, with restarts in between, and compares all results with a model. Where
// nothing came too late, the pairs are those of the relational join.
func TestWindowsAgainstModel(t *testing.T) {
	for seed := range uint64(60) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		m := &windowModel{before: rnd.Int64N(12), after: rnd.Int64N(12), grace: rnd.Int64N(3) * 15}
		if rnd.IntN(4) == 0 {
			m.before = -min(m.before, m.after) // Only later ones.
		}
		kind := []string{"inner", "left", "outer"}[seed%3]
		spec := fmt.Sprintf("streams before=%d after=%d grace=%d", m.before, m.after, m.grace)
		t.Run(fmt.Sprintf("%d %s %s", seed, kind, spec), func(t *testing.T) { windowRun(t, rnd, m, kind, spec) })
	}
}

func windowRun(t *testing.T, rnd *rand.Rand, m *windowModel, kind, spec string) {
	d := streamstest.New(t, build(t, spec, kinds[kind](glue)))
	d.Hold()
	out := streamstest.Out(d, "out", text{}, text{})
	var got []string
	disorder := rnd.Int64N(20)
	m.commit()
	put := func(r seen) {
		topic := "L"
		if r.right {
			topic = "R"
		}
		streamstest.In(d, topic, text{}, text{}).At(r.ms, r.key, r.value)
		m.take(r)
	}
	for i := range 250 {
		at := 1000 + int64(i)*2 - rnd.Int64N(disorder+1)
		put(seen{right: rnd.IntN(2) == 0, key: string(rune('a' + rnd.IntN(3))), value: fmt.Sprint("v", i), ms: at})
		switch rnd.IntN(20) {
		case 0:
			d.Advance(time.Second)
		case 1:
			d.Restart(rnd.IntN(2) == 0)
			m.restart()
		case 2, 3:
			d.Commit()
			m.commit()
			got = append(got, show(out.Read())...)
		}
	}
	if pairs := m.relational(); m.disorder <= m.grace && len(m.results) != pairs {
		t.Errorf("nothing was late, and there are %d pairs instead of %d", len(m.results), pairs)
	}
	// Time moves on until every window has closed.
	d.Advance(time.Second)
	for i := range int64(2) {
		d.Advance(2 * time.Second)
		put(seen{key: "end", value: fmt.Sprint("end", i), ms: 100_000 + i*1000})
	}
	d.Commit()
	got = append(got, show(out.Read())...)
	m.records = slices.DeleteFunc(m.records, func(r seen) bool { return r.value == "end1" })
	want := m.alone(kind != "inner", kind == "outer")
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("got  %s\nwant %s", difference(got, want), difference(want, got))
	}
}

// difference lists what a has more of than b, both sorted.
func difference(a, b []string) []string {
	var out []string
	left := map[string]int{}
	for _, x := range b {
		left[x]++
	}
	for _, x := range a {
		if left[x]--; left[x] < 0 {
			out = append(out, x)
		}
	}
	return out
}

// TestTablesAgainstModel changes two tables at random, many changes to a commit, with
// restarts in between, and compares the results with the relational joins: by key, and
// by foreign key. What was sent last for each key has to say the same as the table.
func TestTablesAgainstModel(t *testing.T) {
	for seed := range uint64(40) {
		kind := []string{"inner", "left", "outer"}[seed%3]
		t.Run(fmt.Sprint("tables ", seed, kind), func(t *testing.T) { tablesRun(t, "tables", kind, seed) })
		if kind != "outer" {
			t.Run(fmt.Sprint("foreign ", seed, kind), func(t *testing.T) { tablesRun(t, "foreign", kind, seed) })
		}
	}
}

func tablesRun(t *testing.T, family, kind string, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 11))
	b := streams.NewBuilder()
	l, r := streams.TableFrom(b, "L", text{}, text{}), streams.TableFrom(b, "R", text{}, text{}, streams.With{Uncached: seed%4 == 0})
	how := kinds[kind](glue)
	var joined *streams.Table[string, string]
	if family == "tables" {
		joined = join.Tables(l, r, how, text{}, streams.With{Store: "joined"})
	} else {
		joined = join.ForeignKey(l, join.On(r, reference), how, text{}, streams.With{Store: "joined", Uncached: seed%2 == 0})
	}
	joined.ToStream().To("out", text{}, text{})
	topology, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	d := streamstest.New(t, topology)
	d.Hold()
	out := streamstest.Out(d, "out", text{}, text{})
	model := map[string]map[string]string{"L": {}, "R": {}}
	last := map[string]string{}
	read := func() {
		for _, rec := range out.Read() {
			if last[rec.Key] = rec.Value; rec.NoValue {
				delete(last, rec.Key)
			}
		}
	}
	for i := range 300 {
		side := []string{"L", "R"}[rnd.IntN(2)]
		rec := streams.Record[string, string]{Key: fmt.Sprint("k", rnd.IntN(5)), NoValue: rnd.IntN(4) == 0, Time: int64(i)}
		if rec.Value = fmt.Sprint("v", i); family == "foreign" && side == "L" {
			rec.Value = fmt.Sprintf("%s/%d", []string{"", "k0", "k1", "k2", "k3"}[rnd.IntN(5)], rnd.IntN(3))
		}
		streamstest.In(d, side, text{}, text{}).Record(rec)
		if model[side][rec.Key] = rec.Value; rec.NoValue {
			delete(model[side], rec.Key)
		}
		switch rnd.IntN(8) {
		case 0:
			d.Restart(rnd.IntN(2) == 0)
		case 1, 2:
			d.Commit()
			read()
		}
	}
	d.Commit()
	read()
	rows := map[string]string{}
	err = joined.View(d.Rows("joined")).All(context.Background(), func(rec streams.Record[string, string]) error {
		rows[rec.Key] = rec.Value
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := relation(family, kind, model)
	if fmt.Sprint(rows) != fmt.Sprint(want) || fmt.Sprint(last) != fmt.Sprint(want) {
		t.Errorf("the table is %v\nand was sent as %v\nwant %v", rows, last, want)
	}
}

// relation joins the rows of two tables.
func relation(family, kind string, rows map[string]map[string]string) map[string]string {
	out := map[string]string{}
	for k, v := range rows["L"] {
		to, ok := k, true
		if family == "foreign" {
			to, ok = reference(k, v)
		}
		p := pair{Left: v, HasLeft: true}
		if ok {
			p.Right, p.HasRight = rows["R"][to]
		}
		if p.HasRight || kind != "inner" {
			out[k] = glue(k, p)
		}
	}
	for k, w := range rows["R"] {
		if _, both := rows["L"][k]; kind == "outer" && !both {
			out[k] = glue(k, pair{Right: w, HasRight: true})
		}
	}
	return out
}
