package bankstorm

import (
	"slices"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/internal/testenv/netns"
	"github.com/tidemill/tidemill/torture/chaos"
)

// TestShortest finds the faults that a failure needs among many, and tries no more often
// than it may.
func TestShortest(t *testing.T) {
	var plan chaos.Plan
	for i := range 20 {
		plan = append(plan, chaos.Fault{Class: string(rune('a' + i))})
	}
	names := func(p chaos.Plan) (text string) {
		for _, f := range p {
			text += f.Class
		}
		return text
	}
	for _, needs := range []string{"", "a", "t", "g", "ab", "at", "cgq", "abcdefghijklmnopqrst"} {
		tries := 0
		got := shortest(plan, 1000, func(p chaos.Plan) bool {
			tries++
			return !slices.ContainsFunc(strings.Split(needs, ""), func(name string) bool { return !strings.Contains(names(p), name) })
		})
		if names(got) != needs || tries > 600 {
			t.Errorf("a failure that needs %q is shown with %q, after %d tries", needs, names(got), tries)
		}
	}
	tries := 0
	got := shortest(plan, 3, func(p chaos.Plan) bool { tries++; return strings.Contains(names(p), "t") })
	if tries != 3 || !strings.Contains(names(got), "t") || len(got) != 10 {
		t.Errorf("after %d tries: %q", tries, names(got))
	}
	if got := shortest(plan, 5, func(chaos.Plan) bool { return false }); len(got) != len(plan) {
		t.Errorf("a failure that does not come again is shown with %q", names(got))
	}
}

// TestArguments names all that a run depends on.
func TestArguments(t *testing.T) {
	o := Options{Seed: 7, Mode: AtLeastOnce, Binary: "/a b/tidemill", Templates: []string{"big", "ddl"}, Points: "worker.acked=kill", Copies: true, Workers: 3, Lan: &netns.Lan{}}
	if err := o.complete(); err != nil {
		t.Fatal(err)
	}
	text := arguments("/out/it's", o)
	for _, want := range []string{"-seed 7 -mode alo -duration 1m0s -clients 4 -tps 100 -patience 30s ", "-binary '/a b/tidemill'", `-plan '/out/it'\''s/plan.json'`, "-templates 'big,ddl'", "-points 'worker.acked=kill'", " -copies=true -workers 3 -netns -repeat 5"} {
		if !strings.Contains(text, want) {
			t.Errorf("%s lacks %s", text, want)
		}
	}
}
