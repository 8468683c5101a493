package worker

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"testing"

	"github.com/tidemill/tidemill/connect"
)

// childProps is the variable by which a test's second process is told what to be.
const childProps = "TIDEMILL_TEST_WORKER_PROPS"

// TestMain lets the test binary be a worker in a process of its own, to be killed.
func TestMain(m *testing.M) {
	props := os.Getenv(childProps)
	if props == "" {
		os.Exit(m.Run())
	}
	var raw connect.Config
	if err := json.Unmarshal([]byte(props), &raw); err != nil {
		panic(err)
	}
	settings, err := ConfigDef().Parse(raw)
	if err != nil {
		panic(err)
	}
	l := &lab{release: make(chan struct{}), safe: map[string][]string{}, kept: map[string][]string{}, happen: map[string]int{}}
	w, err := New(Options{Config: settings, Raw: raw, Plugins: l.plugins()})
	if err != nil {
		panic(err)
	}
	if err := w.Run(context.Background()); err != nil {
		panic(err)
	}
}

// TestKilledWorkersLoseNothing kills workers in the middle of their work, one after
// another, without a warning.
func TestKilledWorkersLoseNothing(t *testing.T) {
	for name, over := range map[string]connect.Config{"at least once": nil, "exactly once": exact} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			w := l.start(over)
			w.create("c", counter("numbers", "pace.ms", "1", "batch", "3", "transaction.boundary", "connector", "txn.size", "5"))
			w.waitState("c", "RUNNING RUNNING")
			w.stop()
			props := l.props()
			for k, v := range over {
				props[k] = v
			}
			env, err := json.Marshal(props)
			must(t, err)
			for range 5 {
				before := len(l.values("numbers"))
				child := exec.Command(os.Args[0])
				child.Env = append(os.Environ(), childProps+"="+string(env))
				child.Stderr = os.Stderr
				must(t, child.Start())
				wait(t, "the worker writes", func() bool { return len(l.values("numbers")) > before+40 })
				must(t, child.Process.Kill())
				_ = child.Wait() // It was killed, and says so.
			}
			w = l.start(over)
			before := len(l.values("numbers"))
			wait(t, "the last worker writes", func() bool { return len(l.values("numbers")) > before+40 })
			w.stop()
			got := l.values("numbers")
			distinct := slices.Compact(slices.Sorted(slices.Values(got)))
			if !same(distinct, numbers(1, len(distinct))) {
				t.Errorf("of %d values some are missing", len(distinct))
			}
			if over != nil && len(distinct) != len(got) {
				t.Errorf("%d of %d values are there twice", len(got)-len(distinct), len(got))
			}
			t.Logf("%d values, %d of them repeated", len(distinct), len(got)-len(distinct))
		})
	}
}
