package streamstest_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/join"
	"github.com/tidemill/tidemill/streams/serde"
	"github.com/tidemill/tidemill/streams/streamstest"
)

// TestPattern puts records into topics that match a pattern and one that does not, with
// times that are taken from the records, and reads what is made of them back by the same
// pattern.
func TestPattern(t *testing.T) {
	b := streams.NewBuilder()
	in := streams.From(b, `orders-[a-z]+`, text{}, num{}, streams.With{Pattern: true}).
		TimedBy(func(r streams.Record[string, int64], _ int64) int64 { return r.Value })
	sums := in.GroupByKey(text{}, num{}).Reduce(func(sum, v int64) int64 { return sum + v }, num{}, streams.With{Store: "sums"})
	var order []int64
	three := in.Peek(func(r streams.Record[string, int64]) { order = append(order, r.Time) }).Filter(func(_ string, v int64) bool { return v == 3 })
	streams.MapValues(three, func(string, int64) int64 { return 7 }).To("orders-again", text{}, num{})
	topology, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	if text := topology.Describe(); !strings.Contains(text, "Source: orders-_a-z__ (topics: orders-[a-z]+)\n") {
		t.Errorf("the topology is described as\n%s", text)
	}
	if n := topology.Sources(); len(n) != 0 {
		t.Errorf("topics that are read by their names: %v", n)
	}
	local, err := streams.NewLocal(topology, "app")
	if err != nil {
		t.Fatal(err)
	}
	put := func(topic, key string, v int64) error {
		value, err := serde.Int64{}.Append(nil, v)
		if err != nil {
			return err
		}
		return local.Put(topic, []byte(key), value, 99)
	}
	// Both topics have records that wait, and the task takes the older ones first.
	for i, topic := range []string{"orders-a", "orders-b", "orders-b", "orders-a", "orders-b"} {
		if err := put(topic, "k", []int64{1, 2, 4, 5, 6}[i]); err != nil {
			t.Fatal(err)
		}
	}
	for _, topic := range []string{"orders", "orders-a1", "my-orders-a", "orders-a.more"} {
		if put(topic, "k", 1) == nil {
			t.Errorf("the topology reads %s", topic)
		}
	}
	if err := local.Commit(); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(order); got != "[1 2 4 5 6]" {
		t.Errorf("records were taken in with the times %s", got)
	}
	d := streamstest.New(t, topology)
	streamstest.In(d, "orders-x", text{}, num{}).Pipe("k", 3)
	streamstest.In(d, "orders-y", text{}, num{}).Pipe("k", 10)
	// The one that was written to a topic that matches came in again.
	if got := streamstest.Table(d, sums)["k"]; got != 3+7+10 {
		t.Errorf("the sum is %d", got)
	}
}

// TestPatternRefused builds topologies with patterns that cannot be.
func TestPatternRefused(t *testing.T) {
	pattern := streams.With{Pattern: true}
	for name, build := range map[string]func(*streams.Builder){
		"no expression": func(b *streams.Builder) { streams.From(b, "a(", text{}, num{}, pattern) },
		"a table":       func(b *streams.Builder) { streams.TableFrom(b, "a.*", text{}, num{}, pattern) },
		"a global table": func(b *streams.Builder) {
			streams.GlobalFrom(b, "a.*", text{}, num{}, pattern)
			streams.From(b, "b", text{}, num{})
		},
		"by name too": func(b *streams.Builder) {
			streams.From(b, "a.*", text{}, num{}, pattern)
			streams.From(b, "ab", text{}, num{})
		},
		"a global topic": func(b *streams.Builder) {
			streams.From(b, "a.*", text{}, num{}, pattern)
			streams.GlobalFrom(b, "ab", text{}, num{})
		},
	} {
		b := streams.NewBuilder()
		build(b)
		_, err := b.Build()
		if err == nil || !strings.Contains(err.Error(), "streams.pattern") && connect.AsError(err).Code != "streams.pattern" {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Whose a topic is that matches two patterns cannot be known before it is there.
	b := streams.NewBuilder()
	streams.From(b, "a.*", text{}, num{}, pattern)
	streams.From(b, ".*b", text{}, num{}, pattern)
	topology, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	local, err := streams.NewLocal(topology, "app")
	if err != nil {
		t.Fatal(err)
	}
	if err := local.Put("ab", nil, nil, 1); connect.AsError(err).Code != "streams.pattern" {
		t.Errorf("of a topic that matches two patterns: %v", err)
	}
}

// TestPatternJoins joins what comes from topics that match with a table.
func TestPatternJoins(t *testing.T) {
	b := streams.NewBuilder()
	prices := streams.TableFrom(b, "prices", text{}, num{})
	join.StreamTable(streams.From(b, "sales[.].*", text{}, num{}, streams.With{Pattern: true, Name: "sales"}), prices,
		join.Inner(func(_ string, p join.Pair[int64, int64]) int64 { return p.Left * p.Right }), num{}).To("paid", text{}, num{})
	topology, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	d := streamstest.New(t, topology)
	streamstest.In(d, "prices", text{}, num{}).Pipe("tea", 5)
	streamstest.In(d, "sales.north", text{}, num{}).Pipe("tea", 2)
	streamstest.In(d, "sales.south", text{}, num{}).Pipe("tea", 3)
	var got []int64
	for _, r := range streamstest.Out(d, "paid", text{}, num{}).Read() {
		got = append(got, r.Value)
	}
	if fmt.Sprint(got) != "[10 15]" {
		t.Errorf("paid %v", got)
	}
}
