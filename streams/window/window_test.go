package window_test

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/serde"
	"github.com/tidemill/tidemill/streams/streamstest"
	"github.com/tidemill/tidemill/streams/window"
)

// TestKeys writes and reads windowed keys as Kafka Streams' serializers do.
func TestKeys(t *testing.T) {
	const start, end = "\x00\x00\x00\x00\x00\x00\x01\x02", "\x00\x00\x00\x00\x00\x00\x02\x02"
	for _, c := range []struct {
		name string
		keys serde.Serde[wkey]
		want string
	}{
		{"time", window.TimeKeys[string](text{}, 256*time.Millisecond), "k" + start},
		{"session", window.SessionKeys[string](text{}), "k" + end + start},
	} {
		k := wkey{"k", 258, 514}
		b, err := serde.Bind(c.keys, "topic", true).Append([]byte("x"), k)
		if err != nil || string(b) != "x"+c.want {
			t.Errorf("%s: %v is written as %q, %v", c.name, k, b, err)
		}
		if got, err := c.keys.Decode([]byte(c.want)); err != nil || got != k {
			t.Errorf("%s: it came back as %v, %v", c.name, got, err)
		}
		if got, err := c.keys.Decode([]byte("short")); err == nil {
			t.Errorf("%s: a short key was read as %v", c.name, got)
		}
	}
	far := wkey{"k", math.MaxInt64 - 1, math.MaxInt64}
	b, _ := window.TimeKeys[string](text{}, time.Hour).Append(nil, far)
	if got, err := window.TimeKeys[string](text{}, time.Hour).Decode(b); err != nil || got != far {
		t.Errorf("the window at the end of time came back as %v, %v", got, err)
	}
}

// TestFaults wants windows that cannot be to be refused when the topology is built.
func TestFaults(t *testing.T) {
	ms := time.Millisecond
	for name, w := range map[string]window.Windows{
		"no size":             window.Tumbling(0),
		"less than a moment":  window.Tumbling(time.Microsecond),
		"no advance":          window.Hopping(10*ms, 0),
		"gaps between":        window.Hopping(10*ms, 11*ms),
		"negative grace":      window.Tumbling(ms).Grace(-ms),
		"kept for too short":  window.Tumbling(10 * ms).Grace(10 * ms).Keep(ms),
		"unlimited that ends": window.Unlimited(time.UnixMilli(0)).OnClose(),
		"before the epoch":    window.Unlimited(time.UnixMilli(-1)),
	} {
		b := streams.NewBuilder()
		window.Count(streams.From(b, "in", text{}, text{}).GroupByKey(text{}, text{}), w)
		if _, err := b.Build(); err == nil || !strings.Contains(err.Error(), "streams.window") {
			t.Errorf("%s: %v", name, err)
		}
	}
	b := streams.NewBuilder()
	g := streams.From(b, "in", text{}, text{}).GroupByKey(text{}, text{})
	window.Aggregate(g, window.Session(ms), window.Aggregation[string, string, string]{Init: func() string { return "" }}, text{})
	window.UntilClosed(window.Count(g, window.Unlimited(time.UnixMilli(0))), window.Bounds{})
	window.UntilLimit(window.Count(g, window.Tumbling(ms)), -1, window.Bounds{})
	_, err := b.Build()
	for _, code := range []string{"streams.window.merge", "streams.suppress.window", "streams.suppress.limit"} {
		if err == nil || !strings.Contains(err.Error(), code) {
			t.Errorf("%s is missing in %v", code, err)
		}
	}
}

// TestUntilLimitOfTable holds the changes of a table that has no windows back, headers
// and deletes included.
func TestUntilLimitOfTable(t *testing.T) {
	b := streams.NewBuilder()
	table := streams.TableFrom(b, "in", text{}, num{}, streams.With{Uncached: true})
	held := window.UntilLimit(table, 10*time.Millisecond, window.Bounds{}, streams.With{Store: "kept", Uncached: true})
	held.ToStream().To("out", text{}, num{})
	counts := streams.GroupTable(held, func(_ string, v int64) (int64, int64) { return v, v }, num{}, num{}).Count(streams.With{Store: "counts"})
	topology, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	d := streamstest.New(t, topology)
	in, out := streamstest.In(d, "in", text{}, num{}), streamstest.Out(d, "out", text{}, num{})
	in.At(1, "a", 1)
	in.Record(streams.Record[string, int64]{Key: "a", Value: 2, Time: 5, Headers: []streams.Header{{Key: "h", Value: []byte("x")}}})
	in.At(9, "b", 3)
	if rs := out.Read(); len(rs) != 0 {
		t.Fatalf("passed on %v", rs)
	}
	in.At(11, "c", 2)
	if rs := out.Read(); len(rs) != 1 || rs[0].Value != 2 || rs[0].Time != 5 || len(rs[0].Headers) != 1 {
		t.Fatalf("passed on %v, want the second a with its header", rs)
	}
	in.Record(streams.Record[string, int64]{Key: "a", NoValue: true, Time: 12})
	d.Restart(true)
	in.At(40, "d", 9)
	if got := fmt.Sprint(streamstest.Table(d, held), streamstest.Table(d, counts)); got != "map[b:3 c:2] map[2:1 3:1]" {
		t.Errorf("the tables have %s", got)
	}
}

// TestSuppressStops fails when more waits than may, and says what to do.
func TestSuppressStops(t *testing.T) {
	b := streams.NewBuilder()
	g := streams.From(b, "in", text{}, text{}).GroupByKey(text{}, text{})
	window.UntilClosed(window.Count(g, window.Tumbling(time.Second), streams.With{Uncached: true}), window.Bounds{Rows: 1}, streams.With{Name: "final"})
	topology, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	local, err := streams.NewLocal(topology, "app")
	if err != nil {
		t.Fatal(err)
	}
	put := func(k string) error {
		if err := local.Put("in", []byte(k), []byte("v"), 1); err != nil {
			t.Fatal(err)
		}
		return local.Run()
	}
	if err := errors.Join(put("a"), put("a")); err != nil {
		t.Fatal(err)
	}
	full, ok := errors.AsType[*connect.Error](put("b"))
	if !ok || full.Code != "streams.suppress.full" || full.Place != "final" || full.Class == connect.ClassRetriable {
		t.Errorf("two rows wait where one may: %v", full)
	}
}
