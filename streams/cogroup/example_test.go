package cogroup_test

import (
	"fmt"
	"time"

	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/cogroup"
	"github.com/tidemill/tidemill/streams/serde"
	"github.com/tidemill/tidemill/streams/window"
)

// Two streams of different types, of what was sold and what was sent back, become one
// table of windows, with one store.
func ExampleWindowed() {
	b := streams.NewBuilder()
	sold := streams.From(b, "sold", serde.Text{}, serde.Int64{}).GroupByKey(serde.Text{}, serde.Int64{})
	sentBack := streams.From(b, "sent-back", serde.Text{}, serde.Text{}).GroupByKey(serde.Text{}, serde.Text{})
	baskets := cogroup.Together(
		cogroup.Of(sold, func(_ string, pieces, sum int64) int64 { return sum + pieces }),
		cogroup.Of(sentBack, func(_, _ string, sum int64) int64 { return sum - 1 }),
	)
	keys := window.TimeKeys[string](serde.Text{}, time.Minute)
	cogroup.Windowed(baskets, window.Tumbling(time.Minute).Grace(time.Hour), cogroup.Windows[string, int64]{
		Init: func() int64 { return 0 },
	}, serde.Int64{}).ToStream().To("out", keys, serde.Int64{})
	topology, err := b.Build()
	if err != nil {
		fmt.Println(err)
		return
	}
	local, err := streams.NewLocal(topology, "example")
	if err != nil {
		fmt.Println(err)
		return
	}
	two := []byte{0, 0, 0, 0, 0, 0, 0, 2}
	for _, r := range []struct {
		topic  string
		value  []byte
		second int64
	}{{"sold", two, 10}, {"sold", two, 70}, {"sent-back", []byte("broken"), 50}, {"sold", two, 20}} {
		err := local.Put(r.topic, []byte("pen"), r.value, r.second*1000)
		if err == nil {
			err = local.Commit()
		}
		if err != nil {
			fmt.Println(err)
			return
		}
	}
	for _, r := range local.Take("out") {
		k, _ := keys.Decode(r.Key)
		fmt.Printf("%s, from second %d: %d\n", k.Key, k.Start/1000, r.Value[7])
	}
	// Output:
	// pen, from second 0: 2
	// pen, from second 60: 2
	// pen, from second 0: 1
	// pen, from second 0: 3
}
