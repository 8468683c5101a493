package window_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/serde"
	"github.com/tidemill/tidemill/streams/window"
)

// BenchmarkCount counts records of a thousand keys, ten to a millisecond, over windows of
// every kind, with a commit after every ten thousand. What a record costs to be put in is
// part of it; "none" is a count without windows.
func BenchmarkCount(b *testing.B) {
	type grouped = *streams.Grouped[[]byte, []byte]
	final := func(w window.Windows) func(grouped) {
		return func(g grouped) { window.UntilClosed(window.Count(g, w), window.Bounds{}) }
	}
	count := func(w window.Windows) func(grouped) {
		return func(g grouped) { window.Count(g, w) }
	}
	tumbling := window.Tumbling(time.Second).Grace(time.Second)
	for _, c := range []struct {
		name string
		op   func(grouped)
	}{
		{"none", func(g grouped) { g.Count() }},
		{"tumbling", count(tumbling)},
		{"tumbling on close", count(tumbling.OnClose())},
		{"tumbling until closed", final(tumbling)},
		{"hopping of five", count(window.Hopping(time.Second, 200*time.Millisecond))},
		{"sliding", count(window.Sliding(500 * time.Millisecond))},
		{"session", count(window.Session(50 * time.Millisecond).Grace(time.Second))},
	} {
		b.Run("windows="+c.name, func(b *testing.B) {
			builder := streams.NewBuilder()
			c.op(streams.From(builder, "in", serde.Bytes{}, serde.Bytes{}).GroupByKey(serde.Bytes{}, serde.Bytes{}))
			benchLocal(b, builder)
		})
	}
}

func benchLocal(b *testing.B, builder *streams.Builder) {
	topology, err := builder.Build()
	if err != nil {
		b.Fatal(err)
	}
	local, err := streams.NewLocal(topology, "bench")
	if err != nil {
		b.Fatal(err)
	}
	keys := make([][]byte, 1000)
	for i := range keys {
		keys[i] = fmt.Appendf(nil, "key-%09d", i)
	}
	value := []byte("0123456789012345678901234567890123456789")
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		if err := local.Put("in", keys[n*7919%len(keys)], value, 1_000_000_000+int64(n/10)); err != nil {
			b.Fatal(err)
		}
		if n++; n%10_000 == 0 {
			if err := local.Commit(); err != nil {
				b.Fatal(err)
			}
			for _, topic := range topology.InternalTopics("bench") {
				local.Take(topic)
			}
		}
	}
}
