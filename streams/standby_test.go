package streams

import (
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams/query"
)

// copiesAreCurrent tells whether an instance keeps n tasks' copies that lack nothing.
func (r *running) copiesAreCurrent(app string, n int) bool {
	a := r.apps[app]
	c := a.copies.Load()
	if c == nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.kept) == n && c.lagOfAll() == 0 && c.hears()
}

// TestStandbyTakesOver counts in one instance while another keeps copies: queries within
// a bound are answered from these, and when the first is gone, the second goes on without
// restoring what it has.
func TestStandbyTakesOver(t *testing.T) {
	for name, eos := range guarantees {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			topology, counts := keyCount(t)
			app := App{ID: "wc", Topology: topology, ExactlyOnce: eos, CommitInterval: 20 * time.Millisecond, Standbys: 1}
			w.put(500)
			keys := slices.Sorted(maps.Keys(w.model))
			first := w.startAsking(t.TempDir(), app)
			w.waitOutput()
			second := w.startAsking(t.TempDir(), app)
			w.wait("the tasks to be shared, and copied", func() bool {
				return first.tasks("wc") == 2 && second.tasks("wc") == 2 && first.copiesAreCurrent("wc", 2) && second.copiesAreCurrent("wc", 2)
			})
			w.put(500)
			w.waitOutput()
			w.waitContents(first, "wc", counts)
			checkStaleReads(t, w, second, counts, keys)
			w.wait("the copies to catch up", func() bool { return second.copiesAreCurrent("wc", 2) })
			restored := second.apps["wc"].metrics.Restored.Load()
			first.end()
			w.wait("the second instance to run all", func() bool { return second.tasks("wc") == 4 })
			w.waitContents(second, "wc", counts)
			// What was committed last may have come after the copies were looked at: at most
			// the changes of the words in the two partitions.
			if n := second.apps["wc"].metrics.Restored.Load() - restored; n > 40 {
				t.Errorf("%d records were restored after a take-over by copies", n)
			}
			w.put(100)
			w.waitOutput()
			second.end()
		})
	}
}

// checkStaleReads reads from the copies of an instance alone.
func checkStaleReads(t *testing.T, w *world, r *running, counts *Table[string, int64], keys []string) {
	t.Helper()
	rows, err := r.Rows(w.ctx, "wc", "counts")
	if err != nil {
		t.Fatal(err)
	}
	alone := counts.View(rows.Local())
	refused := 0
	for _, key := range keys {
		_, _, err := alone.Lookup(w.ctx, key)
		if e, ok := errors.AsType[*connect.Error](err); ok && e.Code == "streams.store.elsewhere" {
			refused++
		}
	}
	if refused == 0 || refused == len(keys) {
		t.Errorf("%d of %d keys are elsewhere", refused, len(keys))
	}
	w.wait("the copies to have every count", func() bool {
		stale := counts.View(rows.Local().Within(query.Bounds{MaxLag: 1 << 40}))
		for _, key := range keys {
			rec, found, err := stale.Lookup(w.ctx, key)
			if !settledIn(t, err) {
				return false
			}
			if !found {
				t.Fatalf("the copy of %s: %v, %v", key, found, err)
			}
			if rec.Value != w.model[key] {
				return false
			}
		}
		return true
	})
}

// TestReadYourWrites writes a record, and reads at least as of it, from whichever
// instance.
func TestReadYourWrites(t *testing.T) {
	w := newWorld(t)
	topology, counts := keyCount(t)
	app := App{ID: "wc", Topology: topology, CommitInterval: 20 * time.Millisecond, Standbys: 1}
	w.put(200)
	first, second := w.startAsking(t.TempDir(), app), w.startAsking(t.TempDir(), app)
	w.wait("the tasks to be shared", func() bool { return first.tasks("wc") == 2 && second.tasks("wc") == 2 })
	for range 20 {
		w.put(1)
		spans, err := w.client.Spans(w.ctx, "in")
		if err != nil {
			t.Fatal(err)
		}
		written := query.Position{"in": {}}
		for p, s := range spans["in"] {
			if s.End > 0 {
				written["in"][p] = s.End
			}
		}
		keys, seen := slices.Sorted(maps.Keys(w.model)), query.Position{}
		for _, e := range []*running{first, second} {
			got, err := e.lookups(w.ctx, "wc", counts, keys, query.Bounds{AtLeast: written, Seen: seen, Patience: time.Minute})
			if err != nil || !maps.Equal(got, w.model) {
				t.Fatalf("read %v, %v, want %v", got, err, w.model)
			}
		}
		// What was seen bounds what copies may answer.
		got, err := second.lookups(w.ctx, "wc", counts, keys, query.Bounds{AtLeast: seen, MaxLag: 1 << 40, Patience: time.Minute})
		if err != nil || !maps.Equal(got, w.model) {
			t.Fatalf("copies answer %v, %v, want %v", got, err, w.model)
		}
	}
	first.end()
	second.end()
}

// TestWarmUpThenTakeOver has an instance without state join one that has all: tasks go
// over one after another, when they are warm, and those that stay never stop.
func TestWarmUpThenTakeOver(t *testing.T) {
	w := newWorld(t)
	topology, counts := keyCount(t, With{Uncached: true})
	app := App{ID: "wc", Topology: topology, ExactlyOnce: true, CommitInterval: 20 * time.Millisecond, AcceptableLag: 3, MaxWarmups: 1}
	w.put(2000)
	first := w.startAsking(t.TempDir(), app)
	w.waitOutput()
	second := w.startAsking(t.TempDir(), app)
	w.wait("the tasks to be shared", func() bool { return first.tasks("wc") == 2 && second.tasks("wc") == 2 })
	m := &second.apps["wc"].metrics
	if n := m.Restored.Load(); n > 2*3+2 {
		t.Errorf("%d records restored by tasks that were warm", n)
	}
	if m.Copied.Load() == 0 {
		t.Error("nothing was copied")
	}
	if n := first.apps["wc"].metrics.Restored.Load(); n != 0 {
		t.Errorf("%d records restored by who had everything", n)
	}
	w.put(200)
	w.waitOutput()
	w.checkExact()
	w.waitContents(second, "wc", counts)
	first.end()
	second.end()
}

// TestKilledOwner kills a process. Who keeps copies of its stores answers from them, and
// takes its tasks over once the group knows, which is when its session is over.
func TestKilledOwner(t *testing.T) {
	w := newWorld(t)
	topology, counts := keyCount(t, With{Uncached: true})
	app := killed(topology)
	w.put(300)
	here := w.startAsking(t.TempDir(), app)
	w.waitOutput()
	cmd := w.startChild(t.TempDir())
	w.wait("the tasks to be shared, and copied", func() bool { return here.tasks("wc") == 2 && here.copiesAreCurrent("wc", 2) })
	keys := slices.Sorted(maps.Keys(w.model))
	w.wait("every key to be found at the other process", func() bool {
		got, err := here.lookups(w.ctx, "wc", counts, keys, query.Bounds{})
		return err == nil && maps.Equal(got, w.model)
	})
	w.wait("the copies to have it all", func() bool {
		got, err := here.lookups(w.ctx, "wc", counts, keys, query.Bounds{MaxLag: 1 << 40})
		return err == nil && maps.Equal(got, w.model)
	})
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // It was killed, and says so.
	got, err := here.lookups(w.ctx, "wc", counts, keys, query.Bounds{MaxLag: 1 << 40, Patience: time.Minute})
	if err != nil || !maps.Equal(got, w.model) {
		t.Errorf("the copies answer %v, %v, want %v", got, err, w.model)
	}
	// Until the group knows of the death, nobody answers for the keys; then the copies take
	// their place, by themselves.
	_, err = here.lookups(w.ctx, "wc", counts, keys, query.Bounds{Patience: time.Millisecond})
	if e, ok := errors.AsType[*connect.Error](err); err == nil && here.tasks("wc") < 4 || err != nil && (!ok || e.Class != connect.ClassRetriable) {
		t.Errorf("keys whose owner is dead give %v", err)
	}
	w.wait("the tasks to be taken over", func() bool { return here.tasks("wc") == 4 })
	w.put(100)
	w.waitOutput()
	w.checkExact()
	w.waitContents(here, "wc", counts)
	here.end()
}
