package streams

import (
	"errors"
	"fmt"
	"testing"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams/serde"
)

// TestPatternRefused wants an application that reads topics by pattern refused by name.
func TestPatternRefused(t *testing.T) {
	w := newWorld(t)
	b := NewBuilder()
	From(b, "pattern-[a-c]+", serde.Text{}, serde.Text{}, With{Pattern: true}).To("out", serde.Text{}, serde.Text{})
	topology, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	e, err := OpenEngine(Config{Brokers: w.brokers})
	if err != nil {
		t.Fatal(err)
	}
	err = e.Add(App{ID: "pattern", Topology: topology})
	if told, ok := errors.AsType[*connect.Error](err); !ok || told.Code != "streams.pattern" || told.Place != "pattern-[a-c]+" || told.Mend == "" {
		t.Errorf("it gave %v", err)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
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
