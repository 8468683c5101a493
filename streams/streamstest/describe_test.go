package streamstest_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/tidemill/tidemill/streams"
)

var rewrite = flag.Bool("rewrite", false, "renew the golden files")

// described is a topology with something of everything.
func described(t *testing.T) *streams.Topology {
	t.Helper()
	b := streams.NewBuilder()
	in := streams.From(b, "in", text{}, text{})
	parts := in.Branch([]func(streams.Record[string, string]) bool{
		func(r streams.Record[string, string]) bool { return r.NoKey },
	}, streams.With{Name: "split"})
	parts[0].ForEach(func(streams.Record[string, string]) error { return nil }, streams.With{Name: "unkeyed"})
	streams.GroupBy(parts[1], func(_, v string) string { return v }, text{}, text{}, streams.With{Name: "g"}).
		Count(streams.With{Name: "c"}).ToStream().To("out", text{}, num{})
	parts[1].ToEach(func(r streams.Record[string, string]) string { return r.Key }, text{}, text{}, streams.With{Name: "routed"})
	streams.GlobalFrom(b, "rates", text{}, num{})
	topology, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return topology
}

// TestDescribe compares both drawings of a topology with golden files; -rewrite renews
// them.
func TestDescribe(t *testing.T) {
	topology := described(t)
	for file, got := range map[string]string{"describe.txt": topology.Describe(), "describe.dot": topology.DOT()} {
		file = filepath.Join("testdata", file)
		if *rewrite {
			if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s: got\n%s\nwant\n%s", file, got, want)
		}
	}
	if got := fmt.Sprint(topology.InternalTopics("app"), topology.Sources(), topology.Sinks()); got != "[app-c-changelog app-g-repartition] [in rates] [out]" {
		t.Errorf("topics %s", got)
	}
}
