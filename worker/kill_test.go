package worker

import (
	"context"
	"encoding/json"
	"maps"
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
	l := emptyLab()
	w, err := New(Options{Config: settings, Raw: raw, Plugins: l.plugins()})
	if err != nil {
		panic(err)
	}
	if err := w.Run(context.Background()); err != nil {
		panic(err)
	}
}

// killed runs a worker in a process of its own until something holds, and kills it.
func (l *lab) killed(over connect.Config, what string, until func() bool) {
	l.t.Helper()
	props := l.props()
	maps.Copy(props, over)
	env, err := json.Marshal(props)
	must(l.t, err)
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childProps+"="+string(env))
	child.Stderr = os.Stderr
	must(l.t, child.Start())
	wait(l.t, what, until)
	must(l.t, child.Process.Kill())
	_ = child.Wait() // It was killed, and says so.
}

// TestSinkOfAKilledWorkerGoesOnAtOnce kills a worker whose sink is a member of its group.
// The next worker's takes its place without waiting for the group to give up the dead
// one, and gives it up when it stops.
func TestSinkOfAKilledWorkerGoesOnAtOnce(t *testing.T) {
	l := newLab(t)
	w := l.start(nil)
	l.produce("a", 1, "x1")
	// Longer than a test may take.
	w.create("s", keeper("a", "consumer.override.session.timeout.ms", "300000", "consumer.override.max.poll.interval.ms", "300000"))
	wait(t, "a record is kept", func() bool { return len(l.keptBy("s")) == 1 })
	w.stop()
	position := func() int64 {
		r, err := l.admin.FetchOffsets(t.Context(), "connect-s")
		must(t, err)
		at, _ := r.Lookup("a", 0)
		return at.At
	}
	members := func() int {
		r, err := l.admin.DescribeGroups(t.Context(), "connect-s")
		must(t, err)
		return len(r["connect-s"].Members)
	}
	if n := members(); n != 0 {
		t.Errorf("a worker that has stopped leaves %d members", n)
	}
	l.produce("a", 1, "x2")
	l.killed(nil, "the other worker's sink commits", func() bool { return position() == 2 })
	if n := members(); n != 1 {
		t.Errorf("a worker that was killed leaves %d members", n)
	}
	l.produce("a", 1, "x3")
	w = l.start(nil)
	wait(t, "the next one goes on", func() bool { return slices.Contains(l.keptBy("s"), "x3") })
	w.stop()
	if n := members(); n != 0 {
		t.Errorf("the next one leaves %d members", n)
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
			for range 5 {
				before := len(l.values("numbers"))
				l.killed(over, "the worker writes", func() bool { return len(l.values("numbers")) > before+40 })
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
