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

// TestPatternTopicsAppear runs two processes that count the records of topics by pattern,
// first of none, and makes one topic after the other while they run, the last with more
// partitions than the others: no record is lost and none counted twice.
func TestPatternTopicsAppear(t *testing.T) {
	w := newWorld(t)
	names := []string{"pattern-a", "pattern-bb", "pattern-ccc"}
	if err := w.client.Delete(w.ctx, append(names, "pattern-1", "pattern-out")...); err != nil {
		t.Fatal(err)
	}
	b := NewBuilder()
	MapValues(From(b, "pattern-[a-c]+", serde.Text{}, serde.Text{}, With{Pattern: true}), func(_, v string) string { return v + "!" }).To("pattern-out", serde.Text{}, serde.Text{})
	topology, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	w.create("pattern-out", 1)
	open := func(name string) *running {
		e, err := OpenEngine(Config{
			Brokers: w.brokers, Instance: name, Client: []kgo.Opt{kgo.MetadataMinAge(50 * time.Millisecond), kgo.MetadataMaxAge(200 * time.Millisecond)},
			Logger: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})).With("instance", name),
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Add(App{ID: "pattern", Topology: topology, ExactlyOnce: true}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(w.ctx)
		r := &running{Engine: e, t: t, stop: cancel, done: make(chan error, 1)}
		go func() { r.done <- e.Run(ctx) }()
		return r
	}
	all := []*running{open("one"), open("two")}
	for _, r := range all {
		w.wait("the application to wait for a topic", func() bool {
			_, err := r.State("pattern")
			return err != nil && connect.AsError(err).Code == "streams.topic.missing"
		})
	}
	reader, err := kgo.NewClient(kgo.SeedBrokers(w.brokers...), kgo.ConsumeTopics("pattern-out"), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
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
