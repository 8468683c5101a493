package join_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/join"
	"github.com/tidemill/tidemill/streams/streamstest"
)

// TestKeylessBehindTopics has records without key where keys may have changed: they come
// through repartition topics to joins that have results of them, and to nothing else.
func TestKeylessBehindTopics(t *testing.T) {
	type stream = *streams.Stream[string, string]
	within := join.Within[string, string, string]{Before: time.Second, After: time.Second, Key: text{}, Left: text{}, Right: text{}}
	named := streams.With{Name: "j"}
	to := streams.With{Name: "r"}
	withTable := func(how joiner) func(*streams.Builder, stream) stream {
		return func(b *streams.Builder, in stream) stream {
			return join.StreamTable(in, streams.TableFrom(b, "rows", text{}, text{}), how, text{}, named)
		}
	}
	withStream := func(how joiner, swap bool) func(*streams.Builder, stream) stream {
		return func(b *streams.Builder, in stream) stream {
			other := streams.From(b, "rows", text{}, text{})
			if swap {
				return join.Streams(other, in, within, how, named)
			}
			return join.Streams(in, other, within, how, named)
		}
	}
	none := func(string, string) (string, bool) { return "", false }
	for name, c := range map[string]struct {
		op            func(*streams.Builder, stream) stream
		topic, result string
	}{
		"stream with table, inner":  {withTable(join.Inner(glue)), "j-left-repartition a", "a=1+row"},
		"stream with table, left":   {withTable(join.Left(glue)), "j-left-repartition a ∅", "a=1+row ∅=2+-"},
		"stream with stream, inner": {withStream(join.Inner(glue), false), "j-left-repartition a", "a=1+row"},
		"stream with stream, left":  {withStream(join.Left(glue), false), "j-left-repartition a ∅", "a=1+row ∅=2+-"},
		"stream with stream, other": {withStream(join.Left(glue), true), "j-right-repartition a ∅", "a=row+1"},
		"stream with stream, outer": {withStream(join.Outer(glue), true), "j-right-repartition a ∅", "a=row+1 ∅=-+2"},
		"global behind another step": {func(b *streams.Builder, in stream) stream {
			in = in.Repartition(text{}, text{}, to).Filter(func(string, string) bool { return true })
			return join.Global(in, streams.GlobalFrom(b, "rows", text{}, text{}), none, join.Left(glue), named)
		}, "r-repartition a ∅", "a=1+- ∅=2+-"},
		"nothing": {func(_ *streams.Builder, in stream) stream { return in.Repartition(text{}, text{}, to) }, "r-repartition a", "a=1"},
		"something by hand": {func(_ *streams.Builder, in stream) stream {
			return streams.Process(in.Repartition(text{}, text{}, to), func(c *streams.Context[string, string]) (func(*streams.Record[string, string]) error, error) {
				return c.Forward, nil
			}, streams.With{Keyless: true})
		}, "r-repartition a ∅", "a=1 ∅=2"},
	} {
		t.Run(name, func(t *testing.T) {
			b := streams.NewBuilder()
			in := streams.Map(streams.From(b, "in", text{}, text{}), func(r streams.Record[string, string]) streams.Record[string, string] { return r })
			c.op(b, in).To("out", text{}, text{})
			topology, err := b.Build()
			if err != nil {
				t.Fatal(err)
			}
			d := streamstest.New(t, topology)
			if strings.Contains(c.result, "row") {
				streamstest.In(d, "rows", text{}, text{}).At(1000, "a", "row")
			}
			records := streamstest.In(d, "in", text{}, text{})
			records.Record(streams.Record[string, string]{Key: "a", Value: "1", Time: 1000})
			records.Record(streams.Record[string, string]{NoKey: true, Value: "2", Time: 1000})
			topic, _, _ := strings.Cut(c.topic, " ")
			got := topic
			for _, r := range streamstest.Out(d, "test-"+topic, text{}, text{}).Read() {
				got += " " + keyOf(r)
			}
			if got != c.topic {
				t.Errorf("the topic got %s, want %s", got, c.topic)
			}
			got = ""
			for _, r := range streamstest.Out(d, "out", text{}, text{}).Read() {
				got += fmt.Sprintf(" %s=%s", keyOf(r), r.Value)
			}
			if got = strings.TrimPrefix(got, " "); got != c.result {
				t.Errorf("the results are %s, want %s", got, c.result)
			}
		})
	}
}

// keyOf writes the key of a record, or that it has none.
func keyOf(r streams.Record[string, string]) string {
	if r.NoKey {
		return "∅"
	}
	return r.Key
}
