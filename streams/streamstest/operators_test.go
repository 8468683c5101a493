package streamstest_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/fault"
	"github.com/tidemill/tidemill/streams/serde"
	"github.com/tidemill/tidemill/streams/streamstest"
)

type (
	text = serde.Text
	num  = serde.Int64
)

func build(t *testing.T, b *streams.Builder) *streamstest.Driver {
	t.Helper()
	topology, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return streamstest.New(t, topology)
}

// show writes records as text: key=value, key=∅ for a delete.
func show[V any](rs []streams.Record[string, V]) string {
	var out []string
	for _, r := range rs {
		if r.NoValue {
			out = append(out, r.Key+"=∅")
		} else {
			out = append(out, fmt.Sprintf("%s=%v", r.Key, r.Value))
		}
	}
	return strings.Join(out, " ")
}

func expect[V any](t *testing.T, o *streamstest.Output[string, V], want string) {
	t.Helper()
	if got := show(o.Read()); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestStateless runs each operator without state over the same records.
func TestStateless(t *testing.T) {
	type s = *streams.Stream[string, int64]
	for _, c := range []struct {
		name string
		op   func(s) s
		want string
	}{
		{"filter", func(x s) s { return x.Filter(func(_ string, v int64) bool { return v > 1 }) }, "b=2 c=3 a=∅"},
		{"filterNot", func(x s) s { return x.FilterNot(func(_ string, v int64) bool { return v > 1 }) }, "a=1 a=∅"},
		{"mapValues", func(x s) s { return streams.MapValues(x, func(_ string, v int64) int64 { return v * 10 }) }, "a=10 b=20 c=30 a=∅"},
		{"selectKey", func(x s) s { return streams.SelectKey(x, func(k string, v int64) string { return k + fmt.Sprint(v) }) }, "a1=1 b2=2 c3=3 a0=∅"},
		{"map", func(x s) s {
			return streams.Map(x, func(r streams.Record[string, int64]) streams.Record[string, int64] {
				r.Key += "!"
				return r
			})
		}, "a!=1 b!=2 c!=3 a!=∅"},
		{"flatMap", func(x s) s {
			return streams.FlatMap(x, func(r streams.Record[string, int64], emit func(streams.Record[string, int64])) {
				for i := range r.Value {
					emit(streams.Record[string, int64]{Key: r.Key, Value: i})
				}
			})
		}, "a=0 b=0 b=1 c=0 c=1 c=2"},
		{"merge", func(x s) s { return x.Merge(x.Filter(func(string, int64) bool { return false })) }, "a=1 b=2 c=3 a=∅ a=∅"},
		{"repartition", func(x s) s { return x.Repartition(text{}, num{}) }, "a=1 b=2 c=3 a=∅"},
		{"toTable and back", func(x s) s { return x.ToTable(text{}, num{}, streams.With{Store: "t"}).ToStream() }, "a=1 b=2 c=3 a=∅"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := streams.NewBuilder()
			peeked := 0
			in := streams.From(b, "in", text{}, num{}).Peek(func(streams.Record[string, int64]) { peeked++ })
			c.op(in).To("out", text{}, num{})
			d := build(t, b)
			input := streamstest.In(d, "in", text{}, num{})
			for i, k := range []string{"a", "b", "c"} {
				input.Pipe(k, int64(i+1))
			}
			input.Delete("a")
			expect(t, streamstest.Out(d, "out", text{}, num{}), c.want)
			if peeked != 4 {
				t.Errorf("peek saw %d records, want 4", peeked)
			}
		})
	}
}

func TestHeadersAndTimesTravel(t *testing.T) {
	b := streams.NewBuilder()
	streams.MapValues(streams.From(b, "in", text{}, num{}), func(_ string, v int64) string { return fmt.Sprint(v) }).To("out", text{}, text{})
	d := build(t, b)
	streamstest.In(d, "in", text{}, num{}).Record(streams.Record[string, int64]{
		Key: "k", Value: 5, Time: 77, Headers: []streams.Header{{Key: "h", Value: []byte("x")}},
	})
	r := streamstest.Out(d, "out", text{}, text{}).Read()[0]
	if r.Time != 77 || len(r.Headers) != 1 || string(r.Headers[0].Value) != "x" || r.Value != "5" {
		t.Errorf("got %+v", r)
	}
}

// TestHeadersAndTimesOfTables follows the changes of a table through its cache and past it:
// they have the headers of the records they come from, and that a row is gone has the time
// of the record that says so.
func TestHeadersAndTimesOfTables(t *testing.T) {
	for _, uncached := range []bool{false, true} {
		b := streams.NewBuilder()
		rows := streams.TableFrom(b, "in", text{}, num{}, streams.With{Store: "rows", Uncached: uncached})
		streams.GroupTable(rows, func(k string, v int64) (string, int64) { return k, v }, text{}, num{}).
			Count(streams.With{Store: "counts", Uncached: uncached}).ToStream().To("counted", text{}, num{})
		rows.ToStream().To("out", text{}, num{})
		d := build(t, b)
		in := streamstest.In(d, "in", text{}, num{})
		header := func(value string) []streams.Header { return []streams.Header{{Key: "h", Value: []byte(value)}} }
		in.Record(streams.Record[string, int64]{Key: "a", Value: 1, Time: 10, Headers: header("x")})
		in.Record(streams.Record[string, int64]{Key: "b", Value: 2, Time: 30})
		in.Record(streams.Record[string, int64]{Key: "a", NoValue: true, Time: 20, Headers: header("y")})
		for topic, want := range map[string]string{"out": "a=1@10 x, b=2@30, a=0@20 y, ", "counted": "a=1@10 x, b=1@30, a=0@20 y, "} {
			got := ""
			for _, r := range streamstest.Out(d, topic, text{}, num{}).Read() {
				got += fmt.Sprintf("%s=%d@%d", r.Key, r.Value, r.Time)
				for _, h := range r.Headers {
					got += " " + string(h.Value)
				}
				got += ", "
			}
			if got != want {
				t.Errorf("uncached %v: %s has %q, want %q", uncached, topic, got, want)
			}
		}
	}
}

// TestEmptyIsNotNull passes an empty key and value through a topic and a store.
func TestEmptyIsNotNull(t *testing.T) {
	b := streams.NewBuilder()
	in := streams.From(b, "in", text{}, text{})
	in.To("out", text{}, text{})
	table := in.ToTable(text{}, text{}, streams.With{Store: "t"})
	d := build(t, b)
	streamstest.In(d, "in", text{}, text{}).Pipe("", "")
	rs := streamstest.Out(d, "out", text{}, text{}).Read()
	if len(rs) != 1 || rs[0].NoKey || rs[0].NoValue {
		t.Errorf("got %+v", rs)
	}
	if rows := streamstest.Table(d, table); len(rows) != 1 {
		t.Errorf("the table has %v", rows)
	}
	if rs := streamstest.Out(d, "test-t-changelog", text{}, text{}).Read(); len(rs) != 1 || rs[0].NoValue {
		t.Errorf("the changelog has %+v", rs)
	}
}

func TestCountByNewKey(t *testing.T) {
	b := streams.NewBuilder()
	in := streams.From(b, "in", text{}, text{})
	counts := streams.GroupBy(in, func(_, city string) string { return city }, text{}, text{}, streams.With{Name: "by-city"}).
		Count(streams.With{Store: "counts"})
	counts.ToStream().To("out", text{}, num{})
	d := build(t, b)
	input, out := streamstest.In(d, "in", text{}, text{}), streamstest.Out(d, "out", text{}, num{})
	input.Pipe("1", "basel")
	input.Pipe("2", "bern")
	input.Pipe("1", "basel")
	input.Delete("1")
	expect(t, out, "basel=1 bern=1 basel=2")
	if got := fmt.Sprint(streamstest.Table(d, counts)); got != "map[basel:2 bern:1]" {
		t.Errorf("the store has %s", got)
	}
	if n := len(streamstest.Out(d, "test-by-city-repartition", text{}, text{}).Read()); n != 4 {
		t.Errorf("%d records in the repartition topic, want 4", n)
	}
	if got := show(streamstest.Out(d, "test-counts-changelog", text{}, num{}).Read()); got != "basel=1 bern=1 basel=2" {
		t.Errorf("the changelog has %q", got)
	}
	if n := d.Metrics().Dropped.Load(); n != 1 {
		t.Errorf("%d dropped, want the one without value", n)
	}
}

func TestReduce(t *testing.T) {
	b := streams.NewBuilder()
	streams.From(b, "in", text{}, num{}).GroupByKey(text{}, num{}).
		Reduce(func(a, b int64) int64 { return max(a, b) }, num{}).ToStream().To("out", text{}, num{})
	d := build(t, b)
	input := streamstest.In(d, "in", text{}, num{})
	for _, v := range []int64{3, 9, 4} {
		input.Pipe("k", v)
	}
	expect(t, streamstest.Out(d, "out", text{}, num{}), "k=3 k=9 k=9")
}

// TestEmptyAggregate aggregates a stream: an aggregate in which there is nothing is deleted,
// and the next one of its key begins anew.
func TestEmptyAggregate(t *testing.T) {
	b := streams.NewBuilder()
	grouped := streams.From(b, "in", text{}, num{}).GroupByKey(text{}, num{})
	sums := streams.Aggregate(grouped, streams.Aggregation[string, int64, int64]{
		Init:  func() int64 { return 100 },
		Add:   func(_ string, v, sum int64) int64 { return sum + v },
		Empty: func(sum int64) bool { return sum == 0 },
	}, num{}, streams.With{Store: "sums"})
	sums.ToStream().To("out", text{}, num{})
	d := build(t, b)
	in := streamstest.In(d, "in", text{}, num{})
	for _, v := range []int64{1, -101, -100, 5} {
		in.Pipe("a", v)
	}
	expect(t, streamstest.Out(d, "out", text{}, num{}), "a=101 a=∅ a=105")
	if got := fmt.Sprint(streamstest.Table(d, sums)); got != "map[a:105]" {
		t.Errorf("the table has %s", got)
	}
}

// TestCacheDedupes checks that updates of a key between two commits go out as
// one when the table is cached, and each for itself when it is not.
func TestCacheDedupes(t *testing.T) {
	for name, c := range map[string]struct {
		opts []streams.With
		want string
	}{
		"cached":   {nil, "a=3 b=1"},
		"uncached": {[]streams.With{streams.With{Uncached: true}}, "a=1 a=2 b=1 a=3"},
	} {
		t.Run(name, func(t *testing.T) {
			b := streams.NewBuilder()
			streams.From(b, "in", text{}, num{}).GroupByKey(text{}, num{}).Count(c.opts...).ToStream().To("out", text{}, num{})
			d := build(t, b)
			d.Hold()
			input := streamstest.In(d, "in", text{}, num{})
			for _, k := range []string{"a", "a", "b", "a"} {
				input.Pipe(k, 0)
			}
			d.Commit()
			expect(t, streamstest.Out(d, "out", text{}, num{}), c.want)
		})
	}
}

// TestTableAggregateUndo moves rows between groups and deletes them: the sums
// are always those of the rows there are.
func TestTableAggregateUndo(t *testing.T) {
	for name, opts := range map[string][]streams.With{"cached": nil, "uncached": {streams.With{Uncached: true}}} {
		t.Run(name, func(t *testing.T) {
			b := streams.NewBuilder()
			people := streams.TableFrom(b, "people", text{}, text{}, opts...)
			byCity := streams.GroupTable(people, func(_ string, v string) (string, int64) {
				city, money, _ := strings.Cut(v, " ")
				var n int64
				fmt.Sscan(money, &n)
				return city, n
			}, text{}, num{})
			sums := streams.Aggregate(byCity, streams.Aggregation[string, int64, int64]{
				Init:     func() int64 { return 0 },
				Add:      func(_ string, v, sum int64) int64 { return sum + v },
				Subtract: func(_ string, v, sum int64) int64 { return sum - v },
			}, num{}, append(opts, streams.With{Store: "sums"})...)
			counts := byCity.Count(append(opts, streams.With{Store: "counts"})...)
			d := build(t, b)
			in := streamstest.In(d, "people", text{}, text{})
			state := func() string {
				return fmt.Sprint(streamstest.Table(d, sums), streamstest.Table(d, counts))
			}
			for _, step := range []struct{ key, value, want string }{
				{"ada", "basel 5", "map[basel:5] map[basel:1]"},
				{"bob", "basel 7", "map[basel:12] map[basel:2]"},
				{"ada", "basel 6", "map[basel:13] map[basel:2]"},
				{"ada", "bern 6", "map[basel:7 bern:6] map[basel:1 bern:1]"},
				{"bob", "", "map[basel:0 bern:6] map[bern:1]"},
				{"cyd", "", "map[basel:0 bern:6] map[bern:1]"},
			} {
				if step.value == "" {
					in.Delete(step.key)
				} else {
					in.Pipe(step.key, step.value)
				}
				if got := state(); got != step.want {
					t.Errorf("after %s=%s: %s, want %s", step.key, step.value, got, step.want)
				}
			}
		})
	}
}

func TestTableFilterAndMap(t *testing.T) {
	b := streams.NewBuilder()
	in := streams.TableFrom(b, "in", text{}, num{}, streams.With{Store: "rows"})
	big := in.Filter(func(_ string, v int64) bool { return v >= 10 })
	streams.MapTable(big, func(_ string, v int64) string { return fmt.Sprint("v", v) }, text{}, streams.With{Store: "big"}).
		ToStream().To("out", text{}, text{})
	d := build(t, b)
	input, out := streamstest.In(d, "in", text{}, num{}), streamstest.Out(d, "out", text{}, text{})
	input.Pipe("a", 10)
	input.Pipe("a", 11)
	input.Pipe("a", 3)
	input.Pipe("b", 30)
	input.Delete("b")
	expect(t, out, "a=v10 a=v11 a=∅ b=v30 b=∅")
}

func TestBuildFaults(t *testing.T) {
	b := streams.NewBuilder()
	in := streams.From(b, "in", text{}, num{})
	in.Filter(func(string, int64) bool { return true }, streams.With{Name: "x"})
	in.Filter(func(string, int64) bool { return true }, streams.With{Name: "x"})
	in.GroupByKey(text{}, num{}).Count(streams.With{Store: "s"})
	in.GroupByKey(text{}, num{}).Count(streams.With{Store: "s"})
	_, err := b.Build()
	for _, code := range []string{"streams.name.taken: x", "streams.store.taken: s"} {
		if err == nil || !strings.Contains(err.Error(), code) {
			t.Errorf("%q is missing from: %v", code, err)
		}
	}
	if _, err := streams.NewBuilder().Build(); err == nil {
		t.Error("an empty topology was built")
	}
}

func TestUnreadableStops(t *testing.T) {
	b := streams.NewBuilder()
	streams.From(b, "in", text{}, num{}).To("out", text{}, num{})
	topology, _ := b.Build()
	for _, skip := range []bool{false, true} {
		local, err := streams.NewLocal(topology, "a")
		if err != nil {
			t.Fatal(err)
		}
		if skip {
			local.OnFault(fault.SkipUnreadable, "")
		}
		local.Put("in", []byte("k"), []byte("not eight"), 1)
		err = local.Commit()
		if skip && err != nil {
			t.Errorf("skipping, got %v", err)
		}
		if !skip && (err == nil || !strings.Contains(err.Error(), "topic in, partition 0, offset 0")) {
			t.Errorf("got %v", err)
		}
	}
}

func TestSubscription(t *testing.T) {
	b := streams.NewBuilder()
	table := streams.TableFrom(b, "in", text{}, num{}, streams.With{Store: "t"})
	d := build(t, b)
	in := streamstest.In(d, "in", text{}, num{})
	in.Pipe("a", 1)
	in.Pipe("b", 2)
	view := table.View(d.Rows("t"))
	sub, err := view.Subscribe(true, 0)
	if err != nil {
		t.Fatal(err)
	}
	tight, err := view.Subscribe(false, 200)
	if err != nil {
		t.Fatal(err)
	}
	in.Pipe("a", 3)
	in.Delete("b")
	in.Pipe("c", 4)
	var got []streams.Record[string, int64]
	for range 5 {
		row, err := sub.Next(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		rec, err := view.Decode(row)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, rec)
	}
	if s := show(got); s != "a=1 b=2 a=3 b=∅ c=4" {
		t.Errorf("the subscriber got %s", s)
	}
	if err := sub.Close(); err != nil {
		t.Error(err)
	}
	if _, err := tight.Next(context.Background()); err == nil || !strings.Contains(err.Error(), "streams.subscription.slow") {
		t.Errorf("the slow subscriber got %v", err)
	}
}

// TestNoKeyNoGroup groups records of which some have no key: they are dropped before they
// are written.
func TestNoKeyNoGroup(t *testing.T) {
	b := streams.NewBuilder()
	in := streams.Map(streams.From(b, "in", text{}, num{}), func(r rec) rec { return r })
	in.GroupByKey(text{}, num{}, streams.With{Name: "grouped"}).Count().ToStream().To("out", text{}, num{})
	in.ToTable(text{}, num{}, streams.With{Name: "rows"})
	in.Repartition(text{}, num{}, streams.With{Name: "all"})
	d := build(t, b)
	feed(t, d, "in", "a=1@1 ∅=2@2 a=3@3 a=∅@4")
	gives(t, d, "test-grouped-repartition", "a=1@1 a=3@3 a=∅@4")
	gives(t, d, "test-rows-in-repartition", "a=1@1 a=3@3 a=∅@4")
	gives(t, d, "test-all-repartition", "a=1@1 a=3@3 a=∅@4")
	gives(t, d, "out", "a=1@1 a=2@3")
	if n := d.Metrics().Dropped.Load(); n != 4 {
		t.Errorf("%d records dropped", n)
	}
}
