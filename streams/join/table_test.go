package join_test

import (
	"testing"

	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/join"
	"github.com/tidemill/tidemill/streams/serde"
	"github.com/tidemill/tidemill/streams/streamstest"
)

type num = serde.Int64

// TestJoinedTableAggregates changes both sides of a join within one commit; the
// aggregate of the result must not take away what was never added.
func TestJoinedTableAggregates(t *testing.T) {
	b := streams.NewBuilder()
	l, r := streams.TableFrom(b, "l", text{}, num{}), streams.TableFrom(b, "r", text{}, num{})
	joined := join.Tables(l, r, join.Inner(func(_ string, p join.Pair[int64, int64]) int64 { return p.Left * p.Right }), num{})
	total := streams.Aggregate(streams.GroupTable(joined, func(_ string, v int64) (string, int64) { return "all", v }, text{}, num{}),
		streams.Aggregation[string, int64, int64]{
			Init:     func() int64 { return 0 },
			Add:      func(_ string, v, sum int64) int64 { return sum + v },
			Subtract: func(_ string, v, sum int64) int64 { return sum - v },
		}, num{}, streams.With{Store: "total"})
	topology, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	d := streamstest.New(t, topology)
	d.Hold()
	left, right := streamstest.In(d, "l", text{}, num{}), streamstest.In(d, "r", text{}, num{})
	for _, step := range []struct{ l, r int64 }{{2, 3}, {4, 5}, {7, 7}} {
		left.Pipe("k", step.l)
		right.Pipe("k", step.r)
		left.Pipe("j", 1)
		right.Pipe("j", step.r)
		d.Commit()
		if got := streamstest.Table(d, total)["all"]; got != step.l*step.r+step.r {
			t.Errorf("the total is %d, want %d", got, step.l*step.r+step.r)
		}
	}
}

// TestDerivedTables joins tables that keep no rows of their own, one of them twice.
func TestDerivedTables(t *testing.T) {
	b := streams.NewBuilder()
	l := streams.TableFrom(b, "l", text{}, num{}).Filter(func(_ string, v int64) bool { return v > 1 })
	r := streams.MapTable(streams.TableFrom(b, "r", text{}, num{}), func(_ string, v int64) int64 { return -v }, num{})
	sum := func(_ string, p join.Pair[int64, int64]) int64 { return p.Left + p.Right }
	join.Tables(l, r, join.Outer(sum), num{}).ToStream().To("tables", text{}, num{})
	join.StreamTable(streams.From(b, "s", text{}, num{}), l, join.Left(sum), num{}).To("stream", text{}, num{})
	topology, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	if n := len(topology.Stores()); n != 3 {
		t.Errorf("the topology has the stores %v", topology.Stores())
	}
	d := streamstest.New(t, topology)
	left, right, s := streamstest.In(d, "l", text{}, num{}), streamstest.In(d, "r", text{}, num{}), streamstest.In(d, "s", text{}, num{})
	left.At(1, "k", 5)
	right.At(2, "k", 3)
	s.At(3, "k", 100)
	left.At(4, "k", 1) // The filter takes it out.
	s.At(5, "k", 100)
	right.Record(streams.Record[string, int64]{Key: "k", NoValue: true, Time: 6})
	got := [][]streams.Record[string, int64]{streamstest.Out(d, "tables", text{}, num{}).Read(), streamstest.Out(d, "stream", text{}, num{}).Read()}
	for i, want := range [][]int64{{5, 2, -3, 0}, {105, 100}} {
		if len(got[i]) != len(want) {
			t.Fatalf("got %v, want %v", got[i], want)
		}
		for j, w := range want {
			if got[i][j].Value != w || got[i][j].NoValue != (w == 0) {
				t.Errorf("result %d is %v, want %d", j, got[i][j], w)
			}
		}
	}
}
