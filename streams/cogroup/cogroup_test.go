package cogroup_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/cogroup"
	"github.com/tidemill/tidemill/streams/serde"
	"github.com/tidemill/tidemill/streams/streamstest"
	"github.com/tidemill/tidemill/streams/window"
)

// grouped are a stream of numbers and one of texts, which both lengthen a text.
func grouped(b *streams.Builder) *streams.Grouped[string, cogroup.Fold[string, string]] {
	numbers := streams.From(b, "numbers", serde.Text{}, serde.Int64{}).GroupByKey(serde.Text{}, serde.Int64{})
	words := streams.GroupBy(streams.From(b, "words", serde.Text{}, serde.Text{}),
		func(_, v string) string { return v[:1] }, serde.Text{}, serde.Text{}, streams.With{Name: "by-letter"})
	return cogroup.Together(
		cogroup.Of(numbers, func(_ string, v int64, agg string) string { return agg + fmt.Sprint(v) }),
		cogroup.Of(words, func(_, v, agg string) string { return agg + v }),
	)
}

// show reads a topic as text: key=value@time.
func show[K any](d *streamstest.Driver, topic string, key serde.Serde[K]) string {
	var out []string
	for _, r := range streamstest.Out(d, topic, key, serde.Text{}).Read() {
		out = append(out, fmt.Sprintf("%v=%s@%d", r.Key, r.Value, r.Time))
	}
	return strings.Join(out, " ")
}

// TestOneStoreForAll folds both streams, out of order and with records that cannot be
// used, into one table.
func TestOneStoreForAll(t *testing.T) {
	b := streams.NewBuilder()
	table := streams.Aggregate(grouped(b), cogroup.From[string](func() string { return ">" }), serde.Text{}, streams.With{Store: "all"})
	table.ToStream().To("out", serde.Text{}, serde.Text{})
	topology, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(topology.Stores(), topology.InternalTopics("x")); got != "[all] [x-all-changelog x-by-letter-repartition]" {
		t.Errorf("stores and topics %s", got)
	}
	d := streamstest.New(t, topology)
	numbers, words := streamstest.In(d, "numbers", serde.Text{}, serde.Int64{}), streamstest.In(d, "words", serde.Text{}, serde.Text{})
	numbers.At(10, "a", 1)
	words.At(5, "x", "ab")
	numbers.Record(streams.Record[string, int64]{NoKey: true, Value: 7, Time: 6})
	numbers.Record(streams.Record[string, int64]{Key: "a", NoValue: true, Time: 6})
	words.At(30, "y", "b")
	numbers.At(2, "a", 9)
	numbers.At(3, "b", 4)
	if got := show(d, "out", serde.Text{}); got != "a=>1@10 a=>1ab@10 b=>b@30 a=>1ab9@10 b=>b4@30" {
		t.Errorf("got %s", got)
	}
	if n := d.Metrics().Dropped.Load(); n != 2 {
		t.Errorf("%d dropped, want 2", n)
	}
	if rows := streamstest.Table(d, table); fmt.Sprint(rows) != "map[a:>1ab9 b:>b4]" {
		t.Errorf("the table has %v", rows)
	}
}

// TestWindowed folds both streams into windows, which close for each by its own time.
func TestWindowed(t *testing.T) {
	b := streams.NewBuilder()
	cogroup.Windowed(grouped(b), window.Tumbling(10*time.Millisecond).Grace(5*time.Millisecond), cogroup.Windows[string, string]{
		Init: func() string { return ">" },
	}, serde.Text{}).ToStream().To("out", window.TimeKeys(serde.Text{}, 10*time.Millisecond), serde.Text{})
	topology, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	d := streamstest.New(t, topology)
	numbers, words := streamstest.In(d, "numbers", serde.Text{}, serde.Int64{}), streamstest.In(d, "words", serde.Text{}, serde.Text{})
	numbers.At(13, "a", 1)
	words.At(15, "x", "ab")
	words.At(5, "x", "ac") // It is too late, and the next one is not.
	numbers.At(9, "a", 2)
	numbers.At(40, "b", 3)
	numbers.At(19, "a", 4) // It is too late,
	d.Restart(true)
	words.At(19, "x", "ad") // and this is not.
	numbers.At(24, "a", 5)  // It is too late still, after the loss of the stores.
	words.At(45, "x", "bb")
	words.At(19, "x", "ae")
	if n := d.Metrics().Dropped.Load(); n != 4 {
		t.Errorf("%d dropped, want 4", n)
	}
	var got []string
	for _, r := range streamstest.Out(d, "out", window.TimeKeys(serde.Text{}, 10*time.Millisecond), serde.Text{}).Read() {
		got = append(got, fmt.Sprintf("%s%d=%s", r.Key.Key, r.Key.Start, r.Value))
	}
	if s := strings.Join(got, " "); s != "a10=>1 a10=>1ab a0=>2 b40=>3 a10=>1abad b40=>3bb" {
		t.Errorf("got %s", s)
	}
}

// TestRefused builds what there is none of.
func TestRefused(t *testing.T) {
	b := streams.NewBuilder()
	in := cogroup.Of(streams.From(b, "in", serde.Text{}, serde.Text{}).GroupByKey(serde.Text{}, serde.Text{}),
		func(_, v, agg string) string { return agg + v }, streams.With{Name: "twice"})
	how := cogroup.Windows[string, string]{Init: func() string { return "" }}
	cogroup.Windowed(cogroup.Together(in), window.Tumbling(time.Second).OnClose(), how, serde.Text{}, streams.With{Name: "w"})
	cogroup.Windowed(cogroup.Together(in), window.Session(time.Second), how, serde.Text{}, streams.With{Name: "s"})
	_, err := b.Build()
	for _, want := range []string{"streams.cogroup.input: twice", "streams.window.close", "streams.window.merge"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing from: %v", want, err)
		}
	}
}

// TestAgainstModel folds random records of three streams and compares with a loop.
func TestAgainstModel(t *testing.T) {
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		b := streams.NewBuilder()
		var inputs []cogroup.Input[string, int64]
		for i := range int64(3) {
			g := streams.From(b, fmt.Sprint("in", i), serde.Text{}, serde.Int64{}).GroupByKey(serde.Text{}, serde.Int64{})
			inputs = append(inputs, cogroup.Of(g, func(_ string, v, agg int64) int64 { return agg*3 + v*(i+1) }))
		}
		table := streams.Aggregate(cogroup.Together(inputs[0], inputs[1:]...), cogroup.From[string](func() int64 { return 1 }), serde.Int64{}, streams.With{Store: "s"})
		topology, err := b.Build()
		if err != nil {
			t.Fatal(err)
		}
		d := streamstest.New(t, topology)
		model := map[string]int64{}
		for range 50 {
			i, key, v := rnd.Int64N(3), fmt.Sprint("k", rnd.IntN(4)), rnd.Int64N(10)
			if _, had := model[key]; !had {
				model[key] = 1
			}
			model[key] = model[key]*3 + v*(i+1)
			streamstest.In(d, fmt.Sprint("in", i), serde.Text{}, serde.Int64{}).At(rnd.Int64N(100), key, v)
		}
		if got := streamstest.Table(d, table); fmt.Sprint(got) != fmt.Sprint(model) {
			t.Fatalf("seed %d: got %v, want %v", seed, got, model)
		}
	}
}
