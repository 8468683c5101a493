package window_test

import (
	"fmt"
	"time"

	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/serde"
	"github.com/tidemill/tidemill/streams/window"
)

// show runs a topology over a few orders and prints what it writes to the topic out.
func show(b *streams.Builder, keys serde.Serde[window.Windowed[string]]) {
	topology, err := b.Build()
	if err != nil {
		fmt.Println(err)
		return
	}
	local, err := streams.NewLocal(topology, "shop")
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, o := range []struct {
		who    string
		second int64
	}{{"ada", 1}, {"ada", 4}, {"bob", 8}, {"ada", 12}, {"bob", 9}, {"bob", 31}} {
		if err := local.Put("orders", []byte(o.who), []byte("order"), o.second*1000); err != nil {
			fmt.Println(err)
			return
		}
		if err := local.Commit(); err != nil {
			fmt.Println(err)
			return
		}
	}
	for _, r := range local.Take("out") {
		k, _ := keys.Decode(r.Key)
		fmt.Printf("%s, %d to %d s: %d\n", k.Key, k.Start/1000, k.End/1000, r.Value[7])
	}
}

// Every change of a window is a result.
func ExampleCount() {
	b := streams.NewBuilder()
	orders := streams.From(b, "orders", serde.Text{}, serde.Text{}).GroupByKey(serde.Text{}, serde.Text{})
	keys := window.TimeKeys[string](serde.Text{}, 10*time.Second)
	window.Count(orders, window.Tumbling(10*time.Second).Grace(5*time.Second)).ToStream().To("out", keys, serde.Int64{})
	show(b, keys)
	// Output:
	// ada, 0 to 10 s: 1
	// ada, 0 to 10 s: 2
	// bob, 0 to 10 s: 1
	// ada, 10 to 20 s: 1
	// bob, 0 to 10 s: 2
	// bob, 30 to 40 s: 1
}

// One result of each session, when nothing can change it any more.
func ExampleSession() {
	b := streams.NewBuilder()
	orders := streams.From(b, "orders", serde.Text{}, serde.Text{}).GroupByKey(serde.Text{}, serde.Text{})
	keys := window.SessionKeys[string](serde.Text{})
	window.Count(orders, window.Session(5*time.Second).OnClose().EmitEvery(0)).ToStream().To("out", keys, serde.Int64{})
	show(b, keys)
	// Output:
	// ada, 1 to 4 s: 2
	// bob, 8 to 9 s: 2
	// ada, 12 to 12 s: 1
}

// The same of a table of windows, also after other operators.
func ExampleUntilClosed() {
	b := streams.NewBuilder()
	orders := streams.From(b, "orders", serde.Text{}, serde.Text{}).GroupByKey(serde.Text{}, serde.Text{})
	keys := window.TimeKeys[string](serde.Text{}, 10*time.Second)
	busy := window.Count(orders, window.Tumbling(10*time.Second).Grace(5*time.Second)).
		Filter(func(_ window.Windowed[string], n int64) bool { return n > 1 })
	window.UntilClosed(busy, window.Bounds{Rows: 1000}).ToStream().To("out", keys, serde.Int64{})
	show(b, keys)
	// Output:
	// ada, 0 to 10 s: 2
	// bob, 0 to 10 s: 2
}
