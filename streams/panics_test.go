package streams

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams/fault"
	"github.com/tidemill/tidemill/streams/serde"
)

// waitFailed waits until an application has failed, and returns why.
func (w *world) waitFailed(r *running, app string) *connect.Error {
	w.t.Helper()
	var err error
	w.wait("the failure", func() bool {
		var s State
		s, err = r.State(app)
		return s == Failed
	})
	return connect.AsError(err)
}

// waitCounted waits until an application has committed, and what it counted is the model's.
func (w *world) waitCounted(r *running, app string, counts *Table[string, int64]) {
	w.t.Helper()
	w.waitOutput()
	w.waitContents(r, app, counts)
}

// panicky counts words, and panics on one of them for as long as it is to.
func panicky(t *testing.T, word string, on *atomic.Bool) (*Topology, *Table[string, int64]) {
	t.Helper()
	b := NewBuilder()
	in := MapValues(From(b, "in", serde.Text{}, serde.Text{}), func(_, v string) string {
		if v == word && on.Load() {
			panic("the word is " + word)
		}
		return v
	}, With{Name: "mapper"})
	counts := in.GroupByKey(serde.Text{}, serde.Text{}).Count(With{Store: "counts", Uncached: true})
	counts.ToStream().To("out", serde.Text{}, serde.Int64{})
	topology, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return topology, counts
}

// TestPanicFails has an application whose code panics beside one that does not know of
// it: the one fails and commits nothing of the record, the other goes on, and once the
// code is mended the first one goes on where it was.
func TestPanicFails(t *testing.T) {
	for name, eos := range guarantees {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.drop("other-counts-changelog", "wc-counts-changelog")
			var on atomic.Bool
			on.Store(true)
			topology, counts := panicky(t, "word7", &on)
			e := w.start(t.TempDir(), App{ID: "wc", Topology: topology, ExactlyOnce: eos, CommitInterval: 10 * time.Millisecond})
			b := NewBuilder()
			From(b, "in", serde.Text{}, serde.Text{}).GroupByKey(serde.Text{}, serde.Text{}).Count(With{Store: "counts"})
			if err := e.Add(App{ID: "other", Topology: w.built(b), ExactlyOnce: eos}); err != nil {
				t.Fatal(err)
			}
			w.put(400)
			err := w.waitFailed(e, "wc")
			if err.Code != "streams.panic" || err.Class != connect.ClassRecord ||
				!strings.HasPrefix(err.Place, "operator mapper, topic in, partition ") || !strings.Contains(err.Error(), "the word is word7, at github.com/tidemill/tidemill/streams.panicky") {
				t.Errorf("failed with %v", err)
			}
			if last, _ := w.output(); last["word7"] != 0 {
				t.Errorf("the record was counted %d times", last["word7"])
			}
			w.put(100)
			w.wait("the other application", func() bool {
				s, err := e.State("other")
				return s == Running && err == nil && len(w.all("other-counts-changelog")) >= len(w.model) && e.apps["other"].metrics.Lag.Load() == 0
			})
			on.Store(false)
			if err := e.Resume("wc"); err != nil {
				t.Fatal(err)
			}
			w.waitCounted(e, "wc", counts)
			e.end()
			if eos {
				w.checkExact()
			}
		})
	}
}

// TestPanicIsPassedOver has records whose mapper panics go to the dead letters, with
// place and stack, and everything else be counted, exactly once.
func TestPanicIsPassedOver(t *testing.T) {
	w := newWorld(t)
	w.drop("dead", "wc-counts-changelog")
	var on atomic.Bool
	on.Store(true)
	topology, counts := panicky(t, "word7", &on)
	app := App{ID: "wc", Topology: topology, ExactlyOnce: true, CommitInterval: 10 * time.Millisecond, DeadLetters: "dead", OnFault: fault.Skip}
	e := w.start(t.TempDir(), app)
	for range 5 {
		w.put(100)
	}
	letters := int(w.model["word7"])
	delete(w.model, "word7")
	w.waitCounted(e, "wc", counts)
	w.wait("the dead letters", func() bool { return len(w.all("dead")) >= letters })
	m, err := e.Metrics("wc")
	if err != nil {
		t.Fatal(err)
	}
	if n := int(m.Restarts.Load()); n < 1 || n >= letters/2 {
		t.Errorf("%d restarts for %d records: one is enough to find out whose they are", n, letters)
	}
	e.end()
	w.checkExact()
	if n := len(w.all("dead")); n != letters {
		t.Errorf("%d dead letters, want %d", n, letters)
	}
	for _, r := range w.all("dead") {
		told := ""
		for _, h := range r.Headers {
			told += fmt.Sprintf("%s=%s\n", h.Key, h.Value)
		}
		if !strings.Contains(told, "streams.panic: operator mapper, topic in, partition ") || !strings.Contains(told, "panics_test.go:") {
			t.Fatalf("a dead letter tells %s", told)
		}
	}
}

// TestPanicOutsideOfOperators panics where an application is asked: about a fault, and
// about a partition, which is inside the producer.
func TestPanicOutsideOfOperators(t *testing.T) {
	w := newWorld(t)
	w.put(10)
	b := NewBuilder()
	From(b, "in", serde.Text{}, serde.Text{}).ForEach(func(Record[string, string]) error { return errors.New("refused") })
	e := w.start("", App{ID: "asked", Topology: w.built(b), OnFault: func(*fault.Fault) fault.Verdict { panic("do not ask me") }})
	b = NewBuilder()
	From(b, "in", serde.Text{}, serde.Text{}).PartitionBy(func(Record[string, string], int) int { panic("nowhere") }).To("out", serde.Text{}, serde.Text{})
	if err := e.Add(App{ID: "placed", Topology: w.built(b), ExactlyOnce: true}); err != nil {
		t.Fatal(err)
	}
	for app, want := range map[string]string{"asked": "App.OnFault, about topic in, partition ", "placed": "PartitionBy after operator in, topic out"} {
		if err := w.waitFailed(e, app); err.Code != "streams.panic" || !strings.HasPrefix(err.Place, want) {
			t.Errorf("%s failed with %v, want %s", app, err, want)
		}
	}
	e.end()
}
