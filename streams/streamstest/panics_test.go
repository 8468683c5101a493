package streamstest_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/clock"
	"github.com/tidemill/tidemill/streams/fault"
	"github.com/tidemill/tidemill/streams/serde"
)

// brittle panics on what it is not to read or write.
type brittle struct {
	serde.Int64
	read, write int64
}

func (s brittle) Decode(b []byte) (int64, error) {
	v, err := s.Int64.Decode(b)
	if err == nil && v == s.read {
		panic("unreadable")
	}
	return v, err
}

func (s brittle) Append(dst []byte, v int64) ([]byte, error) {
	if v == s.write {
		panic("unwritable")
	}
	return s.Int64.Append(dst, v)
}

// fragile has a panic of each kind of the user's code, each at a value of its own.
func fragile(t *testing.T) *streams.Topology {
	t.Helper()
	b := streams.NewBuilder()
	in := streams.From(b, "in", text{}, brittle{read: 1, write: -1})
	var none []int
	streams.MapValues(in, func(_ string, v int64) int64 {
		if v == 2 {
			return int64(none[v])
		}
		return v
	}, streams.With{Name: "mapper"}).To("out", text{}, brittle{read: -1, write: 3}, streams.With{Name: "sink"})
	streams.Aggregate(in.GroupByKey(text{}, num{}), streams.Aggregation[string, int64, int64]{
		Init: func() int64 { return 0 },
		Add: func(_ string, v, sum int64) int64 {
			if v == 4 {
				panic(fmt.Errorf("four"))
			}
			return sum + v
		},
	}, brittle{read: -1, write: 5}, streams.With{Store: "sums", Name: "adder", Uncached: true}).ToStream().To("sums", text{}, num{})
	processed(in, func(p *scripted) error {
		_, err := p.c.Schedule(time.Second, clock.WallClock, func(int64) error { panic("tick") })
		return err
	}, func(p *scripted, r rec) error {
		if r.Value == 6 {
			panic("six")
		}
		return p.forward(r)
	}, streams.With{Name: "processor"}).To("processed", text{}, num{})
	topology, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return topology
}

// TestPanicsAreJudged panics in mappers, aggregators, processors, punctuators and Serdes:
// each is a fault of its record at its operator, and what others make of the record stays.
func TestPanicsAreJudged(t *testing.T) {
	local, err := streams.NewLocal(fragile(t), "x")
	if err != nil {
		t.Fatal(err)
	}
	var met []string
	local.OnFault(func(f *fault.Fault) fault.Verdict {
		met = append(met, fmt.Sprintf("%s at %s: %s", f.Stage, f.Node, f.Err))
		return fault.Continue
	}, "dead")
	put(t, local, "in", "a=1@1 b=2@2 c=3@3 d=4@4 e=5@5 f=6@6 g=7@7")
	if err := local.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := local.Advance(time.Second); err != nil {
		t.Fatal(err)
	}
	const here = "github.com/tidemill/tidemill/streams/streamstest_test."
	for i, want := range []string{
		"reading at in: streams.panic: operator in, topic in, partition 0, offset 0: the code of the application panicked: unreadable, at " + here + "brittle.Decode (panics_test.go:",
		"processing at mapper: streams.panic: operator mapper, topic in, partition 0, offset 1: the code of the application panicked: runtime error: index out of range [2] with length 0, at " + here + "fragile.func1 (panics_test.go:",
		"writing at sink: streams.panic: operator sink, topic in, partition 0, offset 2: the code of the application panicked: unwritable, at " + here + "brittle.Append (",
		"processing at adder: streams.panic: operator adder, topic in, partition 0, offset 3: the code of the application panicked: four, at ",
		"processing at adder: streams.panic: operator adder, topic in, partition 0, offset 4: the code of the application panicked: unwritable, at ",
		"processing at processor: streams.panic: operator processor, topic in, partition 0, offset 5: the code of the application panicked: six, at ",
		"processing at processor: streams.panic: operator processor, task 0_0: the code of the application panicked: tick, at ",
	} {
		if i >= len(met) || !strings.HasPrefix(met[i], want) {
			t.Errorf("fault %d of\n%s\nis not\n%s", i, strings.Join(met, "\n"), want)
		}
	}
	if len(met) != 7 {
		t.Errorf("%d faults", len(met))
	}
	if got := taken(t, local, "out"); len(strings.Fields(got)) != 4 || !strings.HasPrefix(got, "d=4@") {
		t.Errorf("out has %s", got)
	}
	if got := fmt.Sprint(len(strings.Fields(taken(t, local, "sums"))), len(strings.Fields(taken(t, local, "processed"))), len(local.Take("dead"))); got != "4 5 7" {
		t.Errorf("sums, records processed and dead letters are %s", got)
	}
}

// TestPanicsStop is what becomes of a panic without anybody who decides.
func TestPanicsStop(t *testing.T) {
	err := runScript(t, fragile(t), "a=2@1", "")
	if code(err) != "streams.panic" || !strings.Contains(err.Error(), "operator mapper, topic in, partition 0, offset 0") {
		t.Errorf("got %v", err)
	}
}

// TestPanicWhenBeginning is an operator that panics before its first record.
func TestPanicWhenBeginning(t *testing.T) {
	b := streams.NewBuilder()
	processed(streams.From(b, "in", text{}, num{}), func(*scripted) error { panic("no") }, pass, streams.With{Name: "early"})
	topology, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	if _, err = streams.NewLocal(topology, "x"); code(err) != "streams.panic" || !strings.Contains(err.Error(), "operator early, task 0_0") {
		t.Errorf("got %v", err)
	}
}

// TestPanicAtCommit is one below a cached table, of which no record is to blame.
func TestPanicAtCommit(t *testing.T) {
	b := streams.NewBuilder()
	counts := streams.From(b, "in", text{}, num{}).GroupByKey(text{}, num{}).Count(streams.With{Store: "counts"})
	streams.MapValues(counts.ToStream(), func(string, int64) int64 { panic("late") }, streams.With{Name: "after"}).To("out", text{}, num{})
	d := build(t, b)
	var met []string
	d.OnFault(func(f *fault.Fault) fault.Verdict {
		met = append(met, f.Node+" "+f.Place())
		return fault.Continue
	}, "")
	feed(t, d, "in", "a=1 b=2")
	gives(t, d, "out", "")
	if got := strings.Join(met, ", "); got != "after operator after, task 0_0, after operator after, task 0_0" {
		t.Errorf("met %s", got)
	}
}
