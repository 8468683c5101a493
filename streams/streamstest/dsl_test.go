package streamstest_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/clock"
	"github.com/tidemill/tidemill/streams/serde"
)

type (
	rec    = streams.Record[string, int64]
	stream = *streams.Stream[string, int64]
)

// TestOperatorsOverMixedInput shows what each operator without state makes of
// records that are out of order, without key or without value.
func TestOperatorsOverMixedInput(t *testing.T) {
	for name, c := range map[string]struct {
		op   func(stream) stream
		want string
	}{
		"filter":    {func(s stream) stream { return s.Filter(func(_ string, v int64) bool { return v > 1 }) }, "b=2@5 ∅=3@7 a=∅@8 ∅=∅@20 b=5@1"},
		"filterNot": {func(s stream) stream { return s.FilterNot(func(_ string, v int64) bool { return v > 1 }) }, "a=1@10 a=∅@8 c=0@10 ∅=∅@20"},
		"flatMap, keys fixed": {func(s stream) stream {
			return streams.FlatMap(s, func(r rec, emit func(rec)) {
				for i := range max(min(r.Value, 2), 1) {
					emit(rec{Key: "other", Value: r.Value*10 + i, NoValue: r.NoValue, Time: r.Time})
				}
			}, streams.With{FixedKey: true})
		}, "a=10@10 b=20@5 b=21@5 ∅=30@7 ∅=31@7 a=∅@8 c=0@10 ∅=∅@20 b=50@1 b=51@1"},
		"mapValues": {func(s stream) stream {
			return streams.MapValues(s, func(k string, v int64) int64 { return v + int64(len(k)) })
		}, "a=2@10 b=3@5 ∅=3@7 a=∅@8 c=1@10 ∅=∅@20 b=6@1"},
		"selectKey": {func(s stream) stream {
			return streams.SelectKey(s, func(_ string, v int64) string { return fmt.Sprint("k", v) })
		}, "k1=1@10 k2=2@5 k3=3@7 k0=∅@8 k0=0@10 k0=∅@20 k5=5@1"},
		"merge of two parts": {func(s stream) stream {
			parts := s.Branch([]func(rec) bool{func(r rec) bool { return r.NoKey }})
			return parts[0].Merge(parts[1])
		}, mixed},
		"process values": {func(s stream) stream {
			return streams.Process(s, double, streams.With{FixedKey: true})
		}, "a=2@10 b=4@5 ∅=6@7 a=∅@8 c=0@10 ∅=∅@20 b=10@1"},
		"repartition": {func(s stream) stream { return s.Repartition(text{}, num{}, streams.With{Partitions: 3}) }, "a=1@10 b=2@5 a=∅@8 c=0@10 b=5@1"},
		"repartition, keyless": {func(s stream) stream {
			return s.Repartition(text{}, num{}, streams.With{Partitions: 3, Keyless: true})
		}, mixed},
		"partition by": {func(s stream) stream {
			return s.PartitionBy(func(r rec, n int) int { return int(r.Value) % n }).Repartition(text{}, num{}, streams.With{Keyless: true})
		}, mixed},
		"table filterNot": {func(s stream) stream {
			return s.ToTable(text{}, num{}).FilterNot(func(_ string, v int64) bool { return v == 0 }).ToStream()
		}, "a=1@10 b=2@5 a=∅@8 c=∅@10 b=5@1"},
		"table, other keys": {func(s stream) stream {
			return streams.SelectKey(s.ToTable(text{}, num{}).ToStream(), func(k string, _ int64) string { return k + k })
		}, "aa=1@10 bb=2@5 aa=∅@8 cc=0@10 bb=5@1"},
	} {
		t.Run(name, func(t *testing.T) {
			b := streams.NewBuilder()
			c.op(streams.From(b, "in", text{}, num{})).To("out", text{}, num{})
			d := build(t, b)
			feed(t, d, "in", mixed)
			gives(t, d, "out", c.want)
		})
	}
}

// double doubles values, and tries to change keys.
func double(c *streams.Context[string, int64]) (func(*rec) error, error) {
	return func(r *rec) error {
		return c.Forward(&rec{Key: "other", Value: r.Value * 2, NoValue: r.NoValue, Time: r.Time})
	}, nil
}

// TestFixedKeysNeedNoRepartition groups after operators that leave keys, and after
// one that may change them.
func TestFixedKeysNeedNoRepartition(t *testing.T) {
	b := streams.NewBuilder()
	in := streams.From(b, "in", text{}, num{})
	streams.FlatMap(in, func(r rec, emit func(rec)) { emit(r) }, streams.With{FixedKey: true}).GroupByKey(text{}, num{}).Count(streams.With{Store: "a"})
	streams.Process(in, double, streams.With{FixedKey: true}).GroupByKey(text{}, num{}).Count(streams.With{Store: "b"})
	in.Branch(nil)[0].GroupByKey(text{}, num{}).Count(streams.With{Store: "c"})
	streams.Process(in, double, streams.With{Name: "any"}).GroupByKey(text{}, num{}).Count(streams.With{Store: "d"})
	topology, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	want := "[x-a-changelog x-any-repartition-repartition x-b-changelog x-c-changelog x-d-changelog]"
	if got := fmt.Sprint(topology.InternalTopics("x")); got != want {
		t.Errorf("internal topics %s, want %s", got, want)
	}
}

// TestBranch sends each record to the first branch that takes it, and the rest to the
// default one.
func TestBranch(t *testing.T) {
	b := streams.NewBuilder()
	parts := streams.From(b, "in", text{}, num{}).Branch([]func(rec) bool{
		func(r rec) bool { return r.NoKey },
		func(r rec) bool { return r.Value > 1 },
		func(r rec) bool { return r.Value >= 1 },
	}, streams.With{Name: "split"})
	for i, topic := range []string{"nokey", "large", "one", "rest"} {
		parts[i].To(topic, text{}, num{})
	}
	d := build(t, b)
	feed(t, d, "in", mixed)
	gives(t, d, "nokey", "∅=3@7 ∅=∅@20")
	gives(t, d, "large", "b=2@5 b=5@1")
	gives(t, d, "one", "a=1@10")
	gives(t, d, "rest", "a=∅@8 c=0@10")
}

func TestToEach(t *testing.T) {
	b := streams.NewBuilder()
	streams.From(b, "in", text{}, num{}).
		PartitionBy(func(r rec, _ int) int { return int(r.Value) }).
		ToEach(func(r rec) string { return "out-" + strings.Repeat("x", int(r.Value)) }, text{}, num{})
	topology, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	if sinks := topology.Sinks(); len(sinks) > 0 {
		t.Errorf("sinks %v", sinks)
	}
	local, err := streams.NewLocal(topology, "x")
	if err != nil {
		t.Fatal(err)
	}
	for i, k := range []string{"a", "b", "c"} {
		v, _ := serde.Int64{}.Append(nil, int64(i))
		if err := local.Put("in", []byte(k), v, 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := local.Commit(); err != nil {
		t.Fatal(err)
	}
	for i, topic := range []string{"out-", "out-x", "out-xx"} {
		rs := local.Take(topic)
		if len(rs) != 1 || string(rs[0].Key) != string(rune('a'+i)) || rs[0].Partition != int32(i) {
			t.Errorf("%s got %v", topic, rs)
		}
	}
}

func TestForEachAndPrint(t *testing.T) {
	b := streams.NewBuilder()
	var lines bytes.Buffer
	var seen []rec
	in := streams.From(b, "in", text{}, num{})
	in.Print(&lines, "in")
	in.ForEach(func(r rec) error {
		seen = append(seen, r)
		return nil
	})
	d := build(t, b)
	feed(t, d, "in", "a=1@10 ∅=∅@3 b=2@2")
	if got := lines.String(); got != "[in]: a, 1\n[in]: null, null\n[in]: b, 2\n" {
		t.Errorf("printed %q", got)
	}
	if got := told(seen); got != "a=1@10 ∅=∅@3 b=2@2" {
		t.Errorf("seen %s", got)
	}
}

// TestMisuse lists what Build refuses.
func TestMisuse(t *testing.T) {
	b := streams.NewBuilder()
	in := streams.From(b, "in", text{}, num{})
	in.PartitionBy(func(rec, int) int { return 0 }).Filter(func(string, int64) bool { return true })
	in.Filter(func(string, int64) bool { return true }).TimedBy(func(rec, int64) int64 { return 0 })
	streams.From(b, "in", text{}, num{}, streams.With{Timestamps: clock.WallClockTime})
	streams.FlatMap(in, func(rec, func(streams.Record[int64, int64])) {}, streams.With{FixedKey: true})
	_, err := b.Build()
	for _, code := range []string{"streams.partitionby.unused: in", "streams.timestamps: in-filter-2", "streams.timestamps.differ: in", "streams.fixedkey: in-flatmap"} {
		if err == nil || !strings.Contains(err.Error(), code) {
			t.Errorf("%q is missing from: %v", code, err)
		}
	}
}

// TestTimeGoesOn starts over: what was committed counts for the time of records without
// one, and what was not does not, and comes again.
func TestTimeGoesOn(t *testing.T) {
	for _, wipe := range []bool{false, true} {
		b := streams.NewBuilder()
		processed(streams.From(b, "in", text{}, num{}, streams.With{Timestamps: clock.PartitionTime}), nil, func(p *scripted, r rec) error {
			return p.forward(rec{Key: r.Key, Value: p.c.StreamTime(), Time: r.Time})
		}).To("out", text{}, num{})
		d := build(t, b)
		feed(t, d, "in", "a=1@10")
		d.Commit()
		gives(t, d, "out", "a=10@10")
		d.Hold()
		feed(t, d, "in", "a=1@-1 b=1@20 c=1@-1")
		d.Restart(wipe)
		feed(t, d, "in", "d=1@4 e=1@-1")
		gives(t, d, "out", "a=10@10 b=20@20 c=20@20 d=20@4 e=20@20")
	}
}

// TestTimestamps reads records whose times are invalid, in each of the ways there are.
func TestTimestamps(t *testing.T) {
	byValue := func(r rec, partitionTime int64) int64 {
		if r.Value == 7 {
			return partitionTime + 1000
		}
		return r.Value
	}
	for name, c := range map[string]struct {
		with streams.With
		by   func(rec, int64) int64
		in   string
		want string
		code string
	}{
		"fail":                         {in: "a=1@10 a=2@-1", want: "a=1@10", code: "streams.timestamp.invalid"},
		"skip":                         {with: streams.With{Timestamps: clock.SkipInvalid}, in: "a=1@10 a=2@-1 b=3@-5 a=4@3", want: "a=1@10 a=4@3"},
		"partition time":               {with: streams.With{Timestamps: clock.PartitionTime}, in: "a=1@10 a=2@-1 a=3@4 a=4@-9", want: "a=1@10 a=2@10 a=3@4 a=4@10"},
		"partition time, none yet":     {with: streams.With{Timestamps: clock.PartitionTime}, in: "a=2@-1", code: "streams.timestamp.invalid"},
		"wall clock":                   {with: streams.With{Timestamps: clock.WallClockTime}, in: "a=1@10 a=2@-1", want: "a=1@946684800000 a=2@946684800000"},
		"out of the value":             {by: byValue, in: "a=100@1 a=50@2 a=7@3 a=7@4", want: "a=100@100 a=50@50 a=7@1100 a=7@2100"},
		"out of the value, or skipped": {with: streams.With{Timestamps: clock.SkipInvalid}, by: byValue, in: "a=-1@5 a=9@5", want: "a=9@9"},
	} {
		t.Run(name, func(t *testing.T) {
			b := streams.NewBuilder()
			in := streams.From(b, "in", text{}, num{}, c.with)
			if c.by != nil {
				in = in.TimedBy(c.by)
			}
			in.To("out", text{}, num{})
			topology, err := b.Build()
			if err != nil {
				t.Fatal(err)
			}
			err = runScript(t, topology, c.in, c.want)
			if got := code(err); got != c.code {
				t.Errorf("ended with %v, want %q", err, c.code)
			}
		})
	}
}

// TestTimesChooseBetweenTopics takes the record that comes first by the times the
// sources give, not by those of Kafka.
func TestTimesChooseBetweenTopics(t *testing.T) {
	b := streams.NewBuilder()
	times := func(r rec, _ int64) int64 { return r.Value }
	l := streams.From(b, "l", text{}, num{}).TimedBy(times)
	r := streams.From(b, "r", text{}, num{}).TimedBy(times)
	l.Merge(r).To("out", text{}, num{})
	topology, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	local, err := streams.NewLocal(topology, "x")
	if err != nil {
		t.Fatal(err)
	}
	put(t, local, "l", "a=10@1 b=30@2")
	put(t, local, "r", "c=20@9 d=5@8")
	if err := local.Commit(); err != nil {
		t.Fatal(err)
	}
	if got := taken(t, local, "out"); got != "a=10@10 c=20@20 d=5@5 b=30@30" {
		t.Errorf("the order is %s", got)
	}
}

// code returns the code of an error.
func code(err error) string {
	if err == nil {
		return ""
	}
	var coded interface{ Error() string }
	if errors.As(err, &coded) {
		text, _, _ := strings.Cut(coded.Error(), ":")
		return text
	}
	return err.Error()
}
