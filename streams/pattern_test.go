package streams

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams/serde"
)

// watching starts a process that soon sees which topics there are.
func (w *world) watching(name string, app App) *running {
	w.t.Helper()
	e, err := OpenEngine(Config{
		Brokers: w.brokers, Instance: name, Client: []kgo.Opt{kgo.MetadataMinAge(50 * time.Millisecond), kgo.MetadataMaxAge(200 * time.Millisecond)},
		Logger: slog.New(slog.NewTextHandler(w.t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})).With("instance", name),
	})
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

// forget removes what a test before has left on a broker that tests share.
func (w *world) forget(group string, topics ...string) {
	w.t.Helper()
	if err := w.client.Delete(w.ctx, topics...); err != nil {
		w.t.Fatal(err)
	}
	if err := w.client.DeleteGroup(w.ctx, group); err != nil {
		w.t.Fatal(err)
	}
}

// TestPatternTopicsAppear runs two processes that count the records of topics by pattern,
// first of none, and makes one topic after the other while they run, the last with more
// partitions than the others: no record is lost and none counted twice.
func TestPatternTopicsAppear(t *testing.T) {
	w := newWorld(t)
	names := []string{"pattern-a", "pattern-bb", "pattern-ccc"}
	w.forget("pattern", append(names, "pattern-1", "pattern-out")...)
	b := NewBuilder()
	MapValues(From(b, "pattern-[a-c]+", serde.Text{}, serde.Text{}, With{Pattern: true}), func(_, v string) string { return v + "!" }).To("pattern-out", serde.Text{}, serde.Text{})
	topology, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	w.create("pattern-out", 1)
	app := App{ID: "pattern", Topology: topology, ExactlyOnce: true}
	all := []*running{w.watching("one", app), w.watching("two", app)}
	for _, r := range all {
		w.wait("the application to wait for a topic", func() bool {
			_, err := r.State("pattern")
			return err != nil && connect.AsError(err).Code == "streams.topic.missing"
		})
	}
	reader, err := kgo.NewClient(kgo.SeedBrokers(w.brokers...), kgo.ConsumeTopics("pattern-out"), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxWait(100*time.Millisecond), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	want, got := map[string]int{}, map[string]int{}
	write := func(topic string) {
		t.Helper()
		for i := range 20 {
			v := fmt.Sprint(topic, " ", len(want), " ", i)
			want[v+"!"] = 1
			if err := w.client.Produce(w.ctx, &kgo.Record{Topic: topic, Key: fmt.Append(nil, i), Value: []byte(v)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	w.create("pattern-1", 2) // It does not match.
	write1 := []*kgo.Record{{Topic: "pattern-1", Value: []byte("nothing")}}
	if err := w.client.Produce(w.ctx, write1...); err != nil {
		t.Fatal(err)
	}
	for i, name := range names {
		w.create(name, 1+i)
		for _, written := range names[:i+1] {
			write(written)
		}
		for !maps.Equal(got, want) {
			fetches := reader.PollFetches(w.ctx)
			if w.ctx.Err() != nil {
				t.Fatalf("with %d topics %d of %d records came", i+1, len(got), len(want))
			}
			fetches.EachRecord(func(r *kgo.Record) {
				got[string(r.Value)]++
				if want[string(r.Value)] < got[string(r.Value)] {
					t.Errorf("record %s came %d times", r.Value, got[string(r.Value)])
				}
			})
		}
	}
	tasks := 0
	for _, r := range all {
		s, err := r.Status(w.ctx, "pattern")
		if err != nil {
			t.Fatal(err)
		}
		tasks += len(s.Tasks)
		for _, k := range s.Tasks {
			for _, p := range k.Partitions {
				if !strings.HasPrefix(p.Topic, "pattern-") || p.Node != "pattern-_a-c__" {
					t.Errorf("task %s reads %+v", k.ID, p)
				}
			}
		}
	}
	if tasks != 3 {
		t.Errorf("there are %d tasks, as many as the partitions of the largest topic are 3", tasks)
	}
	for _, r := range all {
		r.end()
	}
}

// TestPatternCounts counts the records of topics by pattern by their keys, with two
// processes, while topics come and a third process takes tasks over: every record counts, and
// with exactly once every count comes, in its order, and none twice.
func TestPatternCounts(t *testing.T) {
	for name, eos := range guarantees {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			names := []string{"counted-a", "counted-bb", "counted-ccc", "counted-dddd"}
			id := "counting-" + name[:2]
			w.forget(id, append(names, id+"-counts-changelog")...)
			b := NewBuilder()
			From(b, "counted-.*", serde.Text{}, serde.Text{}, With{Pattern: true}).GroupByKey(serde.Text{}, serde.Text{}).
				Count(With{Store: "counts", Uncached: true}).ToStream().To("out", serde.Text{}, serde.Int64{})
			topology, err := b.Build()
			if err != nil {
				t.Fatal(err)
			}
			app := App{ID: id, Topology: topology, ExactlyOnce: eos, CommitInterval: 20 * time.Millisecond}
			write := func(topic string) {
				t.Helper()
				for range 30 {
					key := fmt.Sprint("key", w.rnd.IntN(12))
					w.model[key]++
					if err := w.client.Produce(w.ctx, &kgo.Record{Topic: topic, Key: []byte(key), Value: []byte(key)}); err != nil {
						t.Fatal(err)
					}
				}
			}
			w.create(names[0], 4)
			write(names[0])
			all := []*running{w.watching("one", app), w.watching("two", app)}
			for i, name := range names[1:] {
				w.create(name, 4)
				if i == 1 {
					all = append(all, w.watching("three", app))
				}
				for _, written := range names[:i+2] {
					write(written)
				}
			}
			if eos {
				w.waitOutput()
				w.checkExact()
			} else {
				w.wait("no record to be missing", func() bool {
					last, _ := w.output()
					for key, n := range w.model {
						if last[key] < n {
							return false
						}
					}
					return true
				})
			}
			for _, r := range all {
				r.end()
			}
		})
	}
}

// TestPatternTopicGoes deletes one of two topics that a task reads: the application goes on
// with the other one, of which nothing is left out.
func TestPatternTopicGoes(t *testing.T) {
	w := newWorld(t)
	w.forget("going", "going-a", "going-b", "going-counts-changelog")
	b := NewBuilder()
	From(b, "going-.*", serde.Text{}, serde.Text{}, With{Pattern: true}).GroupByKey(serde.Text{}, serde.Text{}).
		Count(With{Store: "counts", Uncached: true}).ToStream().To("out", serde.Text{}, serde.Int64{})
	topology, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	write := func(topic string) {
		t.Helper()
		w.model[topic]++
		if err := w.client.Produce(w.ctx, &kgo.Record{Topic: topic, Key: []byte(topic), Value: []byte("v")}); err != nil {
			t.Fatal(err)
		}
	}
	w.create("going-a", 1)
	w.create("going-b", 1)
	app := App{ID: "going", Topology: topology, ExactlyOnce: true, CommitInterval: 10 * time.Millisecond}
	all := []*running{w.watching("one", app), w.watching("two", app)}
	for range 5 {
		write("going-a")
		write("going-b")
	}
	w.waitOutput()
	if err := w.client.Delete(w.ctx, "going-b"); err != nil {
		t.Fatal(err)
	}
	w.wait("both processes to read one topic", func() bool {
		write("going-a")
		for _, r := range all {
			a := r.apps["going"]
			a.mu.Lock()
			plan := a.plan
			a.mu.Unlock()
			if plan == nil || fmt.Sprint(plan.matched) != "map[~going-.*:[going-a]]" {
				return false
			}
		}
		return true
	})
	write("going-a")
	w.waitOutput()
	w.checkExact()
	for _, r := range all {
		r.end()
	}
}

// TestLatestStaysWhereItBegan has an application begin at the ends of topics and stop before
// anything comes: the process after it reads what came meanwhile, and nothing from before.
func TestLatestStaysWhereItBegan(t *testing.T) {
	for name, eos := range guarantees {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			topology, _ := keyCount(t, With{Uncached: true})
			app := App{ID: "latest-" + name[:2], Topology: topology, ExactlyOnce: eos, FromLatest: true}
			w.forget(app.ID, app.ID+"-counts-changelog")
			w.put(50)
			clear(w.model)
			first := w.start(t.TempDir(), app)
			w.wait("the group to have offsets", func() bool {
				offsets, err := w.client.GroupOffsets(w.ctx, app.ID)
				if err != nil {
					t.Fatal(err)
				}
				return len(offsets["in"]) == 4
			})
			first.end()
			w.put(50)
			second := w.start(t.TempDir(), app)
			w.waitOutput()
			if eos {
				w.checkExact()
			}
			second.end()
		})
	}
}

// TestPatternPlans works out partitions of topics by pattern.
func TestPatternPlans(t *testing.T) {
	b := NewBuilder()
	in := From(b, "p.*", serde.Text{}, serde.Text{}, With{Pattern: true, Name: "in"})
	in.ToTable(serde.Text{}, serde.Text{}, With{Store: "rows"})
	GroupBy(in, func(_, v string) string { return v }, serde.Text{}, serde.Text{}, With{Name: "g"}).Count(With{Store: "counts"})
	topology, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	matched, err := topology.match("app", []string{"app-g-repartition", "p1", "p2", "q", "papp"})
	if err != nil {
		t.Fatal(err)
	}
	plan, err := planPartitions(topology, map[string]int{"p1": 2, "p2": 5, "papp": 1}, matched)
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(matched, plan.tasks, plan.topics["@g-repartition"]); got != "map[~p.*:[p1 p2 papp]] [5 5] 5" {
		t.Errorf("the plan is %s", got)
	}
	together := NewBuilder()
	from := From(together, "p.*", serde.Text{}, serde.Text{}, With{Pattern: true})
	Process(from.Merge(From(together, "q", serde.Text{}, serde.Text{})), func(*Context[string, string]) (func(*Record[string, string]) error, error) {
		return func(*Record[string, string]) error { return nil }, nil
	}, With{CoPartitioned: true})
	if topology, err = together.Build(); err != nil {
		t.Fatal(err)
	}
	matched = map[string][]string{"~p.*": {"p1", "p2"}}
	if _, err = planPartitions(topology, map[string]int{"p1": 5, "p2": 2, "q": 5}, matched); connect.AsError(err).Code != "streams.copartition" {
		t.Errorf("topics of different sizes that are joined: %v", err)
	}
	if _, err = planPartitions(topology, map[string]int{"p1": 5, "p2": 5, "q": 5}, matched); err != nil {
		t.Error(err)
	}
}
