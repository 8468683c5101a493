package sim

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var (
	first = flag.Uint64("sim.seed", 1, "the first seed")
	seeds = flag.Int("sim.seeds", 4, "how many seeds")
	hours = flag.Float64("sim.hours", 0.3, "virtual hours for each seed")
	logs  = flag.String("sim.logs", "", "directory for the logs of simulations with anomalies; none are kept without it")
)

// tally adds up what the seeds came to.
type tally struct {
	mu                     sync.Mutex
	seeds, cuts, anomalies int
	faults, changes        int
}

var total tally

func (t *tally) add(r *Result) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.seeds++
	t.anomalies += len(r.Anomalies)
	t.changes += r.Changes
	for f, n := range r.Made {
		t.faults += n
		if f == CutPostgres || f == CutKafka || f == CutRegistry {
			t.cuts += n
		}
	}
}

// TestMain prints the line that tells what all seeds came to.
func TestMain(m *testing.M) {
	flag.Parse()
	began := time.Now()
	code := m.Run()
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	fmt.Printf("sim: seeds=%d hours=%g cuts=%d faults=%d changes=%d anomalies=%d memory_mb=%d in %.1fs\n", total.seeds, float64(total.seeds)**hours,
		total.cuts, total.faults, total.changes, total.anomalies, memory.Sys>>20, time.Since(began).Seconds())
	os.Exit(code)
}

// simulate runs one simulation and reports its anomalies.
func simulate(t *testing.T, o Options) (r *Result) {
	t.Helper()
	o.Dir = t.TempDir()
	name := filepath.Join(*logs, fmt.Sprintf("seed-%d.log", o.Seed))
	if *logs != "" {
		f, err := os.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		o.Log = f
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
	if *logs != "" && !t.Failed() {
		_ = os.Remove(name)
	}
	return r
}

// TestSeeds makes all faults: with and without exactly-once, with and without a first
// snapshot.
func TestSeeds(t *testing.T) {
	for seed := *first; seed < *first+uint64(*seeds); seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			o := Options{Seed: seed, For: time.Duration(*hours * float64(time.Hour)), Snapshot: []string{"initial", "no_data"}[seed/2%2], ExactlyOnce: seed%2 == 0, Tight: seed%3 == 0}
			if seed%4 != 0 {
				o.Heartbeat = 3 * time.Second // Kafka Connect's: a quarter of all work would go into the others.
			}
			r := simulate(t, o)
			total.add(r)
			t.Logf("%+v", r)
			if r.Changes < 100 || r.Records < r.Changes/2 || len(r.Made) < 5 {
				t.Errorf("too little happened: %+v", r)
			}
		})
	}
}

// TestFar has the brokers so far away that an answer takes more than a third of a worker's
// session in its group.
func TestFar(t *testing.T) {
	t.Parallel()
	r := simulate(t, Options{Seed: 1, For: 5 * time.Minute, Snapshot: "initial", ExactlyOnce: true, KafkaDelay: 1500 * time.Millisecond, Faults: []Fault{JumpClock}})
	t.Logf("%+v", r)
	if r.Changes < 20 || r.Records < r.Changes {
		t.Errorf("too little happened: %+v", r)
	}
}
