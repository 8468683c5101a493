package streamstest_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/fault"
	"github.com/tidemill/tidemill/streams/serde"
	"github.com/tidemill/tidemill/streams/streamstest"
)

// picky refuses to write odd numbers.
type picky struct{ serde.Int64 }

func (picky) Append(dst []byte, v int64) ([]byte, error) {
	if v%2 == 1 {
		return nil, errors.New("odd")
	}
	return serde.Int64{}.Append(dst, v)
}

// faulty is a topology that meets faults of every stage.
func faulty(t *testing.T) *streams.Topology {
	t.Helper()
	b := streams.NewBuilder()
	in := processed(streams.From(b, "in", text{}, num{}), nil, failing, streams.With{Name: "shop"})
	in.To("picky", text{}, picky{}, streams.With{Name: "sink"})
	in.To("out", text{}, num{})
	topology, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return topology
}

// TestFaultsStop is the default, and tells what, where and how to mend it.
func TestFaultsStop(t *testing.T) {
	for in, want := range map[string]string{
		"a=-1@7": "streams.processing: operator shop, topic in, partition 0, offset 0: the record cannot be processed: negative",
		"a=-2@7": "db.down: the database is away",
		"a=-3@7": "streams.processing: operator shop, topic in, partition 0, offset 0: the record cannot be processed: shop.closed: the shop is closed",
		"a=1@7":  "streams.unwritable: picky, task 0_0: the value cannot be written: odd",
	} {
		err := runScript(t, faulty(t), in, "")
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s gave %v, want %s", in, err, want)
		}
	}
}

// TestFaultsAreJudged passes over what the application says, at the operator where it
// failed: what others make of the record stays.
func TestFaultsAreJudged(t *testing.T) {
	local, err := streams.NewLocal(faulty(t), "x")
	if err != nil {
		t.Fatal(err)
	}
	var met []string
	local.OnFault(func(f *fault.Fault) fault.Verdict {
		met = append(met, fmt.Sprintf("%s at %q, task %s: %s@%d of %s at %s", f.Stage, f.Node, f.Task, f.Key, f.Time, f.Place(), code(f.Err)))
		return fault.Continue
	}, "dead")
	put(t, local, "in", "a=-1@7 b=2@5 c=1@9 d=-3@3")
	if err := local.Put("in", []byte("e"), []byte("text"), 11, streams.Header{Key: "own", Value: []byte("x")}); err != nil {
		t.Fatal(err)
	}
	if err := local.Commit(); err != nil {
		t.Fatal(err)
	}
	want := `processing at "shop", task 0_0: a@7 of topic in, partition 0, offset 0 at streams.processing
writing at "sink", task 0_0: c@9 of topic in, partition 0, offset 2 at streams.unwritable
processing at "shop", task 0_0: d@3 of topic in, partition 0, offset 3 at streams.processing
reading at "in", task 0_0: e@11 of topic in, partition 0, offset 4 at streams.unreadable`
	if got := strings.Join(met, "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := taken(t, local, "out") + ", " + taken(t, local, "picky"); got != "b=2@5 c=1@9, b=2@5" {
		t.Errorf("what is left is %s", got)
	}
	m := local.Metrics()
	if got := fmt.Sprint(m.Unreadable.Load(), m.Unprocessed.Load(), m.Unwritten.Load(), m.DeadLetters.Load()); got != "1 2 1 4" {
		t.Errorf("unreadable, unprocessed, unwritten, dead letters are %s", got)
	}
	letters := local.Take("dead")
	if len(letters) != 4 {
		t.Fatalf("%d dead letters", len(letters))
	}
	last := letters[3]
	var headers []string
	for _, h := range last.Headers {
		headers = append(headers, h.Key+"="+string(h.Value))
	}
	full := "streams.unreadable: topic in, partition 0, offset 4: the value cannot be read: a 64-bit integer has 8 bytes, not 4 → check the format the topic is declared with, or pass over such records with App.OnFault"
	want = "own=x\n" + fault.HeaderException + "=" + full + "\n" +
		fault.HeaderMessage + "=the value cannot be read\n" +
		fault.HeaderStacktrace + "=" + full + "\na 64-bit integer has 8 bytes, not 4\n" +
		"__streams.errors.topic=in\n__streams.errors.partition=0\n__streams.errors.offset=4"
	if got := strings.Join(headers, "\n"); got != want {
		t.Errorf("headers\n%s\nwant\n%s", got, want)
	}
	if string(last.Key) != "e" || string(last.Value) != "text" || last.Timestamp.UnixMilli() != 11 {
		t.Errorf("the dead letter is %v", last)
	}
}

// TestRetry asks for another try, which is for the engine to make.
func TestRetry(t *testing.T) {
	local, err := streams.NewLocal(faulty(t), "x")
	if err != nil {
		t.Fatal(err)
	}
	local.OnFault(func(*fault.Fault) fault.Verdict { return fault.Retry }, "")
	put(t, local, "in", "a=-1@7")
	if err := local.Commit(); code(err) != "streams.fault.retry" {
		t.Errorf("got %v", err)
	}
}

// TestJudgedOnce asks once about each fault, even when it goes
// up through processors that hand errors on.
func TestJudgedOnce(t *testing.T) {
	b := streams.NewBuilder()
	in := processed(streams.From(b, "in", text{}, num{}), nil, func(p *scripted, r rec) error {
		if err := p.forward(r); err != nil {
			return fmt.Errorf("outer: %w", err)
		}
		return nil
	}, streams.With{Name: "outer"})
	processed(in, nil, failing, streams.With{Name: "inner"}).To("out", text{}, num{})
	topology, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	asked := 0
	d := streamstest.New(t, topology)
	d.OnFault(func(f *fault.Fault) fault.Verdict {
		asked++
		if f.Node != "inner" {
			t.Errorf("operator %s is blamed", f.Node)
		}
		return fault.Continue
	}, "")
	feed(t, d, "in", "a=-1 b=1 c=-3")
	gives(t, d, "out", "b=1@1")
	if asked != 2 {
		t.Errorf("asked %d times", asked)
	}
}
