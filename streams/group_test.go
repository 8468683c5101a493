package streams

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams/query"
	"github.com/tidemill/tidemill/streams/serde"
	"github.com/tidemill/tidemill/streams/topics"
)

// sequences reads the committed output: all counts of each word, in order.
func (w *world) sequences() map[string][]int64 {
	w.t.Helper()
	all := map[string][]int64{}
	err := w.client.Read(w.ctx, "out", topics.ToEnd, func(r *kgo.Record) (bool, error) {
		all[string(r.Key)] = append(all[string(r.Key)], int64(binary.BigEndian.Uint64(r.Value)))
		return true, nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return all
}

// checkExact wants each word's counts to be 1, 2, 3 … up to the model's: nothing
// twice, nothing left out, nothing out of order.
func (w *world) checkExact() {
	w.t.Helper()
	for word, counts := range w.sequences() {
		for i, n := range counts {
			if n != int64(i+1) {
				w.t.Fatalf("the counts of %s are %v", word, counts)
			}
		}
		if int64(len(counts)) != w.model[word] {
			w.t.Errorf("%s was counted to %d, want %d", word, len(counts), w.model[word])
		}
	}
}

// TestRebalance has a second engine join, the first one leave and come back,
// while words keep coming.
func TestRebalance(t *testing.T) {
	for name, eos := range guarantees {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			topology, counts := keyCount(t, With{Uncached: true})
			app := App{ID: "wc", Topology: topology, ExactlyOnce: eos, CommitInterval: 20 * time.Millisecond}
			dirs := []string{t.TempDir(), t.TempDir()}
			w.put(100)
			first := w.start(dirs[0], app)
			w.waitOutput()

			second := w.start(dirs[1], app)
			w.wait("the tasks to be shared", func() bool {
				w.put(20)
				return first.tasks("wc") == 2 && second.tasks("wc") == 2
			})
			w.put(100)
			w.waitOutput()
			first.end()
			w.wait("the second engine to have all tasks", func() bool {
				w.put(20)
				return second.tasks("wc") == 4
			})
			w.waitOutput()
			if got := second.contents(w.ctx, "wc", counts); len(got) != len(w.model) {
				t.Errorf("the second engine has %d words, want %d", len(got), len(w.model))
			}
			first = w.start(dirs[0], app)
			w.wait("the tasks to be shared again", func() bool {
				w.put(20)
				return first.tasks("wc") == 2 && second.tasks("wc") == 2
			})
			w.put(100)
			w.waitOutput()
			if eos {
				w.checkExact()
			}
			first.end()
			second.end()
		})
	}
}

func (r *running) tasks(app string) int64 {
	m, err := r.Metrics(app)
	if err != nil {
		r.t.Fatal(err)
	}
	return m.Tasks.Load()
}

// TestExactlyOnceThroughCrashes crashes one engine after another at random points
// and wants every count in the output exactly once.
func TestExactlyOnceThroughCrashes(t *testing.T) {
	w := newWorld(t)
	topology, _ := keyCount(t, With{Uncached: true})
	app, dir := App{ID: "wc", Topology: topology, ExactlyOnce: true, CommitInterval: 10 * time.Millisecond}, t.TempDir()
	for range 6 {
		var mu sync.Mutex
		left, dead := 3+w.rnd.IntN(20), false
		e := w.start(dir, app, func(e *Engine) {
			e.crash = func(string) error {
				mu.Lock()
				defer mu.Unlock()
				if left--; left > 0 {
					return nil
				}
				dead = true
				return errCrash
			}
		})
		w.wait("the crash", func() bool {
			w.put(5)
			mu.Lock()
			defer mu.Unlock()
			return dead
		})
		e.end()
	}
	e := w.start(dir, app)
	w.waitOutput()
	w.checkExact()
	e.end()
}

// TestCacheMakesNoDifference compares the final tables with and without cache.
func TestCacheMakesNoDifference(t *testing.T) {
	w := newWorld(t)
	cached, a := wordCount(t)
	w.put(1000)
	e := w.start(t.TempDir(), App{ID: "cached", Topology: cached})
	uncached, b := wordCount(t, With{Uncached: true})
	if err := e.Add(App{ID: "uncached", Topology: uncached, ExactlyOnce: true}); err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		app   string
		table *Table[string, int64]
	}{{"cached", a}, {"uncached", b}} {
		w.wait(x.app+" to have counted all", func() bool {
			got := e.contents(w.ctx, x.app, x.table)
			return fmt.Sprint(got) == fmt.Sprint(w.model)
		})
	}
	if got := fmt.Sprint(e.Apps()); got != "[cached uncached]" {
		t.Errorf("the engine runs %s", got)
	}
	e.end()
}

// TestSubscriptionHasNoGap subscribes with a snapshot while counts go on; what is
// received, row by row, comes to the model.
func TestSubscriptionHasNoGap(t *testing.T) {
	w := newWorld(t)
	topology, counts := wordCount(t)
	w.put(200)
	e := w.start(t.TempDir(), App{ID: "wc", Topology: topology, CommitInterval: 5 * time.Millisecond})
	rows, err := e.Rows(w.ctx, "wc", "counts")
	if err != nil {
		t.Fatal(err)
	}
	var subs []*query.Subscription
	for range 5 {
		w.put(50)
		s, err := rows.Subscribe(true, 0)
		if err != nil {
			t.Fatal(err)
		}
		subs = append(subs, s)
	}
	w.put(100)
	view := counts.View(rows)
	for i, s := range subs {
		got := map[string]int64{}
		for fmt.Sprint(got) != fmt.Sprint(w.model) {
			row, err := s.Next(w.ctx)
			if err != nil {
				t.Fatalf("subscriber %d: %v; it has %v, want %v", i, err, got, w.model)
			}
			rec, err := view.Decode(row)
			if err != nil {
				t.Fatal(err)
			}
			if rec.Value < got[rec.Key] {
				t.Errorf("subscriber %d: %s goes back from %d to %d", i, rec.Key, got[rec.Key], rec.Value)
			}
			got[rec.Key] = rec.Value
		}
	}
	if rec, found, err := view.Lookup(w.ctx, "word1"); err != nil || !found || rec.Value != w.model["word1"] {
		t.Errorf("word1 is %v, %v, %v", rec.Value, found, err)
	}
	e.end()
	if _, err := subs[0].Next(w.ctx); err == nil {
		t.Error("a subscription outlives its engine")
	}
	for _, s := range subs {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestPauseRemoveReset pauses an application, removes it with everything it has,
// and starts over.
func TestPauseRemoveReset(t *testing.T) {
	w := newWorld(t)
	topology, counts := wordCount(t)
	app := App{ID: "wc", Topology: topology}
	w.put(100)
	e := w.start(t.TempDir(), app)
	w.waitOutput()
	if err := e.Pause("wc"); err != nil {
		t.Fatal(err)
	}
	w.wait("the pause", func() bool { s, _ := e.State("wc"); return s == Paused })
	before := e.apps["wc"].metrics.Processed.Load()
	w.put(100)
	w.wait("records to arrive", func() bool { return e.apps["wc"].metrics.Commits.Load() > 0 })
	if n := e.apps["wc"].metrics.Processed.Load(); n != before {
		t.Errorf("%d records processed while paused", n-before)
	}
	if err := e.Resume("wc"); err != nil {
		t.Fatal(err)
	}
	w.waitOutput()
	if err := e.Remove(w.ctx, "wc", true); err != nil {
		t.Fatal(err)
	}
	names, err := w.client.List(w.ctx)
	if err != nil || fmt.Sprint(names) != "[in out]" {
		t.Errorf("topics left: %v, %v", names, err)
	}
	if _, err := e.State("wc"); err == nil {
		t.Error("a removed application has a state")
	}
	if err := e.Add(app); err != nil {
		t.Fatal(err)
	}
	w.wait("everything to be counted anew", func() bool {
		return fmt.Sprint(e.contents(w.ctx, "wc", counts)) == fmt.Sprint(w.model)
	})
	e.end()
}

// TestBadRecordFails stops the application with the place of the record, and goes
// on once records like it are skipped.
func TestBadRecordFails(t *testing.T) {
	w := newWorld(t)
	b := NewBuilder()
	From(b, "in", serde.Text{}, serde.Int64{}).To("out", serde.Text{}, serde.Int64{})
	topology, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.client.Produce(w.ctx, &kgo.Record{Topic: "in", Key: []byte("k"), Value: []byte("bad")}); err != nil {
		t.Fatal(err)
	}
	e := w.start("", App{ID: "a", Topology: topology})
	w.wait("the failure", func() bool { s, _ := e.State("a"); return s == Failed })
	_, err = e.State("a")
	if ce, ok := errors.AsType[*connect.Error](err); !ok || ce.Code != "streams.unreadable" {
		t.Errorf("failed with %v", err)
	}
	if _, err := e.Rows(w.ctx, "a", "none"); err == nil {
		t.Error("an unknown store was found")
	}
	e.end()
}

// TestRefusedRecordFails stops the application when the broker will never take a
// record, rather than trying for ever.
func TestRefusedRecordFails(t *testing.T) {
	w := newWorld(t)
	if err := w.client.Create(w.ctx, topics.Spec{Name: "narrow", Partitions: 1, Config: map[string]string{"max.message.bytes": "2000"}}); err != nil {
		t.Fatal(err)
	}
	for name, eos := range guarantees {
		b := NewBuilder()
		From(b, "in", serde.Text{}, serde.Text{}).To("narrow", serde.Text{}, serde.Text{})
		topology, err := b.Build()
		if err != nil {
			t.Fatal(err)
		}
		noise := make([]byte, 10_000) // Compression does not help.
		for i := range noise {
			noise[i] = byte(w.rnd.IntN(256))
		}
		if err := w.client.Produce(w.ctx, &kgo.Record{Topic: "in", Key: []byte("k"), Value: noise}); err != nil {
			t.Fatal(err)
		}
		id := "refused-" + name[:2]
		e := w.start("", App{ID: id, Topology: topology, ExactlyOnce: eos})
		w.wait("the failure", func() bool { s, _ := e.State(id); return s == Failed })
		_, err = e.State(id)
		if ce, ok := errors.AsType[*connect.Error](err); !ok || ce.Code != "streams.write" {
			t.Errorf("%s: failed with %v", name, err)
		}
		e.end()
	}
}

// TestMissingTopicIsWaitedFor starts before its source exists.
func TestMissingTopicIsWaitedFor(t *testing.T) {
	w := newWorld(t)
	b := NewBuilder()
	From(b, "late", serde.Text{}, serde.Text{}).To("out", serde.Text{}, serde.Text{})
	topology, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	e := w.start("", App{ID: "a", Topology: topology})
	w.wait("the complaint", func() bool { _, err := e.State("a"); return err != nil })
	w.create("late", 1)
	if err := w.client.Produce(w.ctx, &kgo.Record{Topic: "late", Value: []byte("v")}); err != nil {
		t.Fatal(err)
	}
	n := 0
	ctx, cancel := context.WithCancel(w.ctx)
	defer cancel()
	err = w.client.Read(ctx, "out", topics.FromStart, func(*kgo.Record) (bool, error) { n++; return false, nil })
	if n != 1 || err != nil {
		t.Errorf("%d records came out, %v", n, err)
	}
	e.end()
}

// TestRepartitionTopicIsPurged checks that processed records are removed and that
// nothing is lost by it.
func TestRepartitionTopicIsPurged(t *testing.T) {
	w := newWorld(t)
	topology, _ := wordCount(t)
	w.put(300)
	e := w.start("", App{ID: "wc", Topology: topology, ExactlyOnce: true}, func(e *Engine) { e.purgeEvery = time.Millisecond })
	w.waitOutput()
	w.wait("processed records to go", func() bool {
		w.put(10)
		spans, err := w.client.Spans(w.ctx, "wc-words-repartition")
		if err != nil {
			t.Fatal(err)
		}
		gone := int64(0)
		for _, s := range spans["wc-words-repartition"] {
			gone += s.Start
		}
		return gone > 300
	})
	w.waitOutput()
	e.end()
	e = w.start("", App{ID: "wc", Topology: topology, ExactlyOnce: true})
	w.put(10)
	w.waitOutput()
	e.end()
}

func TestAssignTasks(t *testing.T) {
	var tasks []taskID
	for p := range int32(7) {
		tasks = append(tasks, taskID{0, p})
	}
	share := func(members []string, had map[taskID]string) map[string][]taskID {
		slices.Sort(members)
		return (&census{tasks: tasks, members: members, had: had, stateful: []bool{false}}).place().active
	}
	placed := share([]string{"b", "a"}, nil)
	if len(placed["a"]) != 4 || len(placed["b"]) != 3 {
		t.Fatalf("placed %v", placed)
	}
	had := map[taskID]string{}
	for m, ids := range placed {
		for _, id := range ids {
			had[id] = m
		}
	}
	again := share([]string{"a", "b"}, had)
	if fmt.Sprint(again) != fmt.Sprint(placed) {
		t.Errorf("nothing changed, but tasks moved from %v to %v", placed, again)
	}
	three := share([]string{"a", "b", "c"}, had)
	moved := 0
	for m, ids := range three {
		if len(ids) < 2 || len(ids) > 3 {
			t.Errorf("%s has %d tasks", m, len(ids))
		}
		for _, id := range ids {
			if had[id] != m {
				moved++
			}
		}
	}
	if moved != 2 {
		t.Errorf("%d tasks moved to make room for a third member, 2 are enough", moved)
	}
	gone := share([]string{"c"}, had)
	if len(gone["c"]) != 7 {
		t.Errorf("the last member has %d tasks", len(gone["c"]))
	}
}

func TestPlanPartitions(t *testing.T) {
	b := NewBuilder()
	left := SelectKey(From(b, "l", serde.Text{}, serde.Text{}), func(_, v string) string { return v })
	table := TableFrom(b, "r", serde.Text{}, serde.Text{})
	lookedUp(left, table).To("o", serde.Text{}, serde.Text{})
	GroupBy(From(b, "w", serde.Text{}, serde.Text{}), func(_, v string) string { return v }, serde.Text{}, serde.Text{}, With{Name: "g", Partitions: 9}).Count()
	topology, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	plan, err := planPartitions(topology, map[string]int{"l": 3, "r": 5, "w": 2}, nil)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(plan.tasks)
	if fmt.Sprint(plan.tasks) != "[2 3 5 9]" || plan.topics["@g-repartition"] != 9 || plan.topics["@l-selectkey-repartition-repartition"] != 5 {
		t.Errorf("planned %v", plan)
	}

	b = NewBuilder()
	lookedUp(From(b, "l", serde.Text{}, serde.Text{}), TableFrom(b, "r", serde.Text{}, serde.Text{})).To("o", serde.Text{}, serde.Text{})
	if topology, err = b.Build(); err != nil {
		t.Fatal(err)
	}
	if _, err = planPartitions(topology, map[string]int{"l": 3, "r": 5}, nil); err == nil {
		t.Error("a join of topics with 3 and 5 partitions was planned")
	}

	// Both sides go through topics of the application's own, which get one size.
	b = NewBuilder()
	text := func(s *Stream[string, string]) *Stream[string, string] {
		return s.Repartition(serde.Text{}, serde.Text{})
	}
	lookedUp(text(From(b, "l", serde.Text{}, serde.Text{})), text(From(b, "r", serde.Text{}, serde.Text{})).ToTable(serde.Text{}, serde.Text{})).To("o", serde.Text{}, serde.Text{})
	if topology, err = b.Build(); err != nil {
		t.Fatal(err)
	}
	for _, sizes := range []map[string]int{{"l": 3, "r": 5}, {"l": 5, "r": 3}} {
		if plan, err = planPartitions(topology, sizes, nil); err != nil {
			t.Fatal(err)
		}
		slices.Sort(plan.tasks)
		if fmt.Sprint(plan.tasks) != "[3 5 5]" {
			t.Errorf("planned %v for %v", plan, sizes)
		}
	}
}
