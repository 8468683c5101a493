package streams

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams/query"
)

// asking is how instances of a test ask each other.
func asking() *query.Remote { return &query.Remote{Secret: "between us"} }

// startAsking starts an engine that answers others.
func (w *world) startAsking(dir string, app App, change ...func(*Config)) *running {
	w.t.Helper()
	c := Config{
		Brokers: w.brokers, Dir: dir, Remote: asking(),
		Logger: slog.New(slog.NewTextHandler(w.t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, do := range change {
		do(&c)
	}
	e, err := OpenEngine(c)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := e.Add(app); err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.ctx)
	r := &running{Engine: e, t: w.t, stop: cancel, done: make(chan error, 1)}
	go func() { r.done <- e.Run(ctx) }()
	w.t.Cleanup(cancel)
	return r
}

// lookups reads every row of the model by its key.
func (r *running) lookups(ctx context.Context, app string, t *Table[string, int64], keys []string, b query.Bounds) (map[string]int64, error) {
	rows, err := r.Rows(ctx, app, t.StoreName())
	if err != nil {
		return nil, err
	}
	view, got := t.View(rows.Within(b)), map[string]int64{}
	for _, key := range keys {
		rec, found, err := view.Lookup(ctx, key)
		if err != nil {
			return got, fmt.Errorf("looking up %s: %w", key, err)
		}
		if found {
			got[key] = rec.Value
		}
	}
	return got, nil
}

// listed reads all rows of a table.
func (r *running) listed(ctx context.Context, app string, t *Table[string, int64]) (map[string]int64, error) {
	rows, err := r.Rows(ctx, app, t.StoreName())
	if err != nil {
		return nil, err
	}
	got := map[string]int64{}
	return got, t.View(rows).All(ctx, func(rec Record[string, int64]) error {
		got[rec.Key] = rec.Value
		return nil
	})
}

// settledIn tells whether an answer came: on a busy machine tasks may move for longer than
// an answer is waited for, and then the error says that it may be asked again.
func settledIn(t *testing.T, err error) bool {
	t.Helper()
	if e, ok := errors.AsType[*connect.Error](err); err != nil && (!ok || e.Class != connect.ClassRetriable) {
		t.Fatal(err)
	}
	return err == nil
}

// TestEveryInstanceAnswersForAll asks each of three instances for every key and for all
// rows, while each has a part of them, and again after one has left.
func TestEveryInstanceAnswersForAll(t *testing.T) {
	w := newWorld(t)
	topology, counts := keyCount(t)
	app := App{ID: "wc", Topology: topology, ExactlyOnce: true, CommitInterval: 20 * time.Millisecond}
	w.put(400)
	var all []*running
	for range 3 {
		all = append(all, w.startAsking(t.TempDir(), app))
	}
	w.wait("the tasks to be shared", func() bool {
		return all[0].tasks("wc") > 0 && all[1].tasks("wc") > 0 && all[2].tasks("wc") > 0 &&
			all[0].tasks("wc")+all[1].tasks("wc")+all[2].tasks("wc") == 4
	})
	w.put(100)
	w.waitOutput()
	check := func(engines []*running) {
		keys := slices.Sorted(maps.Keys(w.model))
		for i, e := range engines {
			w.wait(fmt.Sprintf("instance %d to find every key", i), func() bool {
				got, err := e.lookups(w.ctx, "wc", counts, keys, query.Bounds{})
				return settledIn(t, err) && maps.Equal(got, w.model)
			})
			w.wait(fmt.Sprintf("instance %d to list all rows", i), func() bool {
				got, err := e.listed(w.ctx, "wc", counts)
				return settledIn(t, err) && maps.Equal(got, w.model)
			})
		}
	}
	check(all)
	rows, err := all[0].Rows(w.ctx, "wc", "counts")
	if err != nil {
		t.Fatal(err)
	}
	w.wait("the picture to be whole", func() bool {
		var had []int32
		for _, in := range rows.Instances() {
			if had = append(had, in.Active...); in.Address == "" {
				t.Errorf("%s has no address", in.Name)
			}
		}
		slices.Sort(had)
		return slices.Equal(had, []int32{0, 1, 2, 3})
	})
	for key := range w.model {
		o := rows.Owners([]byte(key))
		if o.Active == nil || o.Partition != partitionOf([]byte(key), 4) || !slices.Contains(o.Active.Active, o.Partition) {
			t.Errorf("%s belongs to %+v", key, o)
		}
	}
	all[1].end()
	w.put(50)
	w.waitOutput()
	check([]*running{all[0], all[2]})
	all[0].end()
	all[2].end()
}

// TestWrongSecret has an instance that does not know the secret ask another: it is
// refused, with a code, and at once.
func TestWrongSecret(t *testing.T) {
	w := newWorld(t)
	topology, counts := keyCount(t)
	app := App{ID: "wc", Topology: topology, CommitInterval: 20 * time.Millisecond}
	w.put(200)
	one := w.startAsking(t.TempDir(), app)
	other := w.startAsking(t.TempDir(), app, func(c *Config) { c.Remote.Secret = "a guess" })
	w.wait("the tasks to be shared", func() bool { return one.tasks("wc") == 2 && other.tasks("wc") == 2 })
	_, err := other.lookups(w.ctx, "wc", counts, slices.Sorted(maps.Keys(w.model)), query.Bounds{})
	if e, ok := errors.AsType[*connect.Error](err); !ok || e.Code != "streams.remote.refused" {
		t.Errorf("asked with a wrong secret: %v", err)
	}
	one.end()
	other.end()
}
