package sim

import (
	"flag"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

var verbose = flag.Bool("sim.log", false, "write the logs of the simulation")

// simulate runs one simulation and reports its anomalies.
func simulate(t *testing.T, o Options) (r *Result) {
	t.Helper()
	o.Dir = t.TempDir()
	if *verbose {
		o.Log = os.Stderr
	}
	synctest.Test(t, func(t *testing.T) {
		var err error
		if r, err = Run(t.Context(), o); err != nil {
			t.Error(err)
		}
	})
	if r == nil {
		t.FailNow()
	}
	for _, a := range r.Anomalies {
		t.Errorf("seed %d: %s", o.Seed, a)
	}
	return r
}

// TestCuts cuts connections to the server for an hour, without and with exactly-once.
func TestCuts(t *testing.T) {
	for _, exactly := range []bool{false, true} {
		r := simulate(t, Options{Seed: 1, For: time.Hour, Snapshot: "no_data", ExactlyOnce: exactly, Faults: []Fault{CutPostgres}})
		t.Logf("exactly-once %t: %+v", exactly, r)
		if r.Made[CutPostgres] < 100 || r.Changes < 1000 || r.Records < r.Changes {
			t.Errorf("too little happened: %+v", r)
		}
	}
}
