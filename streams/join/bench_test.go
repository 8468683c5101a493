package join_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/join"
	"github.com/tidemill/tidemill/streams/serde"
)

// raw are 100-byte records without a format, so that the joins themselves are measured.
type raw = serde.Bytes

type rawPair = join.Pair[[]byte, []byte]

func rawLeft(_ []byte, p rawPair) []byte { return p.Left }

// benchJoin runs a topology over records that go to the topics in turn, with keys in an
// order that no cache likes, and a commit for every thousand.
func benchJoin(b *testing.B, builder *streams.Builder, keys int, inputs ...string) {
	topology, err := builder.Build()
	if err != nil {
		b.Fatal(err)
	}
	local, err := streams.NewLocal(topology, "bench")
	if err != nil {
		b.Fatal(err)
	}
	value := make([]byte, 100)
	names := make([][]byte, keys)
	for i := range names {
		names[i] = fmt.Appendf(nil, "key-%09d", i)
	}
	outputs := append([]string{"out"}, topology.InternalTopics("bench")...)
	commit := func() {
		if err := local.Commit(); err != nil {
			b.Fatal(err)
		}
		for _, topic := range outputs {
			local.Take(topic)
		}
	}
	done := 0
	b.ReportAllocs()
	for b.Loop() {
		done++
		key := names[done/len(inputs)*7919%keys]
		if err := local.Put(inputs[done%len(inputs)], key, value, int64(done)); err != nil {
			b.Fatal(err)
		}
		if done%1000 == 0 {
			local.Advance(time.Second)
			commit()
		}
	}
	commit()
	b.ReportMetric(float64(done)/b.Elapsed().Seconds(), "records/s")
}

func BenchmarkStreamTable(b *testing.B) {
	builder := streams.NewBuilder()
	table := streams.TableFrom(builder, "table", raw{}, raw{})
	join.StreamTable(streams.From(builder, "in", raw{}, raw{}), table, join.Left(rawLeft), raw{}).To("out", raw{}, raw{})
	benchJoin(b, builder, 10_000, "in", "in", "in", "table")
}

func BenchmarkGlobal(b *testing.B) {
	builder := streams.NewBuilder()
	table := streams.GlobalFrom(builder, "table", raw{}, raw{})
	join.Global(streams.From(builder, "in", raw{}, raw{}), table, func(k, _ []byte) ([]byte, bool) { return k, true }, join.Left(rawLeft)).To("out", raw{}, raw{})
	benchJoin(b, builder, 10_000, "in", "in", "in", "table")
}

func BenchmarkStreams(b *testing.B) {
	for name, how := range map[string]join.Joiner[[]byte, []byte, []byte, []byte]{"inner": join.Inner(rawLeft), "outer": join.Outer(rawLeft)} {
		b.Run(name, func(b *testing.B) {
			builder := streams.NewBuilder()
			join.Streams(streams.From(builder, "l", raw{}, raw{}), streams.From(builder, "r", raw{}, raw{}), join.Within[[]byte, []byte, []byte]{
				Before: 10 * time.Second, After: 10 * time.Second, Key: raw{}, Left: raw{}, Right: raw{},
			}, how).To("out", raw{}, raw{})
			benchJoin(b, builder, 10_000, "l", "r")
		})
	}
}

func BenchmarkTables(b *testing.B) {
	builder := streams.NewBuilder()
	l, r := streams.TableFrom(builder, "l", raw{}, raw{}), streams.TableFrom(builder, "r", raw{}, raw{})
	join.Tables(l, r, join.Inner(rawLeft), raw{}).ToStream().To("out", raw{}, raw{})
	benchJoin(b, builder, 10_000, "l", "r")
}

func BenchmarkForeignKey(b *testing.B) {
	builder := streams.NewBuilder()
	l, r := streams.TableFrom(builder, "l", raw{}, raw{}), streams.TableFrom(builder, "r", raw{}, raw{})
	join.ForeignKey(l, join.On(r, func(k, _ []byte) ([]byte, bool) { return k, true }), join.Inner(rawLeft), raw{}).ToStream().To("out", raw{}, raw{})
	benchJoin(b, builder, 10_000, "l", "r")
}
