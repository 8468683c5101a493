package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/bench/apps"
	"github.com/tidemill/tidemill/internal/devstack"
)

// beApplication is the variable by which a test's second process is told what to be.
const beApplication = "TIDEMILL_TEST_APPLICATION"

// TestMain lets the test binary be an application in a process of its own, to be killed.
func TestMain(m *testing.M) {
	if os.Getenv(beApplication) == "" {
		os.Exit(m.Run())
	}
	if err := apps.Run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// TestTakeover measures a small state as a large one is measured: a standby takes it over
// from an owner that is killed, an instance that has nothing restores it, and both have
// every row.
func TestTakeover(t *testing.T) {
	t.Setenv(beApplication, "yes")
	s, err := startStack(t.Context(), "", strings.Join(devstack.TestKafka(t), ","))
	if err != nil {
		t.Fatal(err)
	}
	defer s.stop()
	b := &streamsBed{stack: s, application: os.Args[0]}
	if b.Formats, err = apps.NewFormats(s.registry.URL()); err != nil {
		t.Fatal(err)
	}
	var names []string
	o := options{stateMB: 20, run: &run{}, show: func(f figure) {
		names = append(names, f.Name)
		if f.Value <= 0 || f.RSS <= 0 {
			t.Errorf("%+v", f)
		}
	}}
	if err := b.benchTakeover(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	want := []string{"built_s", "copied", "answers_ms", "after_session_ms", "ms", "cold"}
	for i, name := range want {
		want[i] = "streams.takeover." + name
	}
	if !slices.Equal(names, want) {
		t.Errorf("figures of %v", names)
	}
}

// TestSum tells rows apart that differ in one byte, or in where a key ends.
func TestSum(t *testing.T) {
	sums := map[string]bool{}
	for _, rows := range [][][2]string{{}, {{"a", "bc"}}, {{"ab", "c"}}, {{"a", "bd"}}, {{"a", "bc"}, {"", ""}}} {
		sum := apps.NewSum()
		for _, row := range rows {
			sum.Add([]byte(row[0]), []byte(row[1]))
		}
		sums[sum.String()] = true
	}
	if len(sums) != 5 {
		t.Errorf("%v", sums)
	}
}
