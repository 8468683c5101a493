package fleet

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// group is a group of members as the leader's rounds make it, without brokers.
type group struct {
	t          *testing.T
	ledger     ledger
	completed  int32
	now        time.Time
	running    map[string][]Work // By member id.
	urls       map[string]string
	configured []Work
	delay      time.Duration
	moved      map[Work]bool // What was stopped somewhere.
	rounds     int
}

func newGroup(t *testing.T, maxDelay time.Duration) *group {
	return &group{
		t: t, ledger: ledger{maxDelay: maxDelay}, completed: -1, now: time.Unix(1_790_000_000, 0),
		running: map[string][]Work{}, urls: map[string]string{}, moved: map[Work]bool{},
	}
}

func (g *group) join(id string) {
	g.running[id] = nil
	g.urls[id] = "http://" + id + "/"
}

func (g *group) leave(id string) {
	delete(g.running, id)
	delete(g.urls, id)
}

func (g *group) configure(tasks map[string]int) {
	g.configured = nil
	for name, n := range tasks {
		g.configured = append(g.configured, Work{name, Itself})
		for i := range n {
			g.configured = append(g.configured, Work{name, int32(i)})
		}
	}
}

// round does one round and tells whether another must follow.
func (g *group) round() bool {
	g.rounds++
	r := round{generation: g.completed + 1, completed: g.completed, configured: g.configured, now: g.now}
	for id, runs := range g.running {
		r.members = append(r.members, runner{id: id, url: g.urls[id], runs: runs})
	}
	out, next := g.ledger.divide(r)
	g.ledger, g.completed, g.delay = next, r.generation, out.delay
	again := false
	for id := range g.running {
		for _, w := range out.revoked[id] {
			g.moved[w] = true
			again = true
		}
		former := g.running[id]
		g.running[id] = merge(former, out.revoked[id], out.assigned[id])
		if !slices.Equal(g.running[id], out.assigned[id]) {
			g.t.Fatalf("%s runs %v and was sent %v", id, g.running[id], out.assigned[id])
		}
	}
	for w, n := range g.counts() {
		if n > 1 {
			g.t.Fatalf("%v runs %d times", w, n)
		}
	}
	return again
}

func (g *group) counts() map[Work]int {
	counts := map[Work]int{}
	for _, runs := range g.running {
		for _, w := range runs {
			counts[w]++
		}
	}
	return counts
}

// settle does rounds until nothing is left to do, and checks that all runs once.
func (g *group) settle() {
	g.t.Helper()
	for i := 0; ; i++ {
		again := g.round()
		if g.delay > 0 {
			g.now = g.now.Add(g.delay)
			again = true
		}
		if !again {
			break
		}
		if i > 10 {
			g.t.Fatalf("it does not settle: %v", g.running)
		}
	}
	want := map[Work]int{}
	for _, w := range g.configured {
		want[w] = 1
	}
	if got := g.counts(); !maps.Equal(got, want) {
		g.t.Fatalf("runs %v, want %v", got, want)
	}
}

// even tells whether no member has two more than another.
func (g *group) even() bool {
	for _, connectors := range []bool{true, false} {
		var counts []int
		for _, runs := range g.running {
			n := 0
			for _, w := range runs {
				if (w.Task == Itself) == connectors {
					n++
				}
			}
			counts = append(counts, n)
		}
		if slices.Max(counts)-slices.Min(counts) > 1 {
			return false
		}
	}
	return true
}

// TestDivisionsConverge changes groups and configurations at random.
func TestDivisionsConverge(t *testing.T) {
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 1))
		g := newGroup(t, []time.Duration{0, time.Minute}[seed%2])
		tasks := map[string]int{}
		next := 0
		g.join("w0")
		for range 30 {
			config := random.IntN(3) > 0
			name := fmt.Sprintf("c%d", random.IntN(8))
			switch {
			case config && random.IntN(3) == 0:
				delete(tasks, name)
			case config:
				tasks[name] = random.IntN(7)
			case len(g.running) > 1 && random.IntN(2) == 0:
				g.leave(slices.Sorted(maps.Keys(g.running))[random.IntN(len(g.running))])
			default:
				next++
				g.join(fmt.Sprintf("w%d", next))
			}
			g.configure(tasks)
			before := maps.Clone(g.running)
			clear(g.moved)
			g.settle()
			if config {
				for id, runs := range before {
					for _, w := range runs {
						if w.Connector != name && !slices.Contains(g.running[id], w) {
							t.Fatalf("seed %d: a change of %s has moved %v", seed, name, w)
						}
					}
				}
				for w := range g.moved {
					if w.Connector != name {
						t.Fatalf("seed %d: a change of %s has stopped %v", seed, name, w)
					}
				}
			} else if !g.even() {
				t.Fatalf("seed %d: uneven: %v", seed, g.running)
			}
		}
	}
}

// TestTasksOfAConnectorAreSpread has members come to what one runs.
func TestTasksOfAConnectorAreSpread(t *testing.T) {
	g := newGroup(t, 0)
	g.join("a")
	g.configure(map[string]int{"x": 3, "y": 3, "z": 3})
	g.settle()
	g.join("b")
	g.join("c")
	g.settle()
	for id, runs := range g.running {
		names := map[string]int{}
		for _, w := range runs {
			if w.Task != Itself {
				names[w.Connector]++
			}
		}
		if !maps.Equal(names, map[string]int{"x": 1, "y": 1, "z": 1}) {
			t.Errorf("%s runs tasks of %v", id, names)
		}
	}
}

func TestLostWorkWaitsForItsOwner(t *testing.T) {
	g := newGroup(t, time.Minute)
	g.join("a")
	g.join("b")
	g.configure(map[string]int{"x": 4})
	g.settle()
	lost := g.running["b"]
	g.leave("b")
	g.round()
	if g.delay != time.Minute || len(g.running["a"])+len(lost) != 5 {
		t.Fatalf("after %s: %v", g.delay, g.running)
	}
	g.now = g.now.Add(20 * time.Second)
	g.round()
	if g.delay != 40*time.Second {
		t.Fatalf("waits for %s more", g.delay)
	}
	// It comes back as another member of the same worker.
	g.join("b2")
	g.urls["b2"] = "http://b/"
	g.round()
	if !slices.Equal(g.running["b2"], lost) || g.delay != 0 {
		t.Fatalf("it gets %v, want %v, after %s", g.running["b2"], lost, g.delay)
	}
}

func TestLostWorkGoesToThoseWhoCameMeanwhile(t *testing.T) {
	g := newGroup(t, time.Minute)
	g.join("a")
	g.join("b")
	g.configure(map[string]int{"x": 4})
	g.settle()
	lost := g.running["b"]
	g.leave("b")
	g.round()
	g.join("c")
	g.round()
	if len(g.running["c"]) > 0 || len(g.moved) > 0 {
		t.Fatalf("while it waits, nothing moves: %v", g.running)
	}
	g.now = g.now.Add(g.delay)
	g.settle()
	if !slices.Equal(g.running["c"], lost) {
		t.Fatalf("the new one runs %v, want %v", g.running["c"], lost)
	}
}

func TestLostWorkMovesAtOnceWithoutADelay(t *testing.T) {
	g := newGroup(t, 0)
	g.join("a")
	g.join("b")
	g.configure(map[string]int{"x": 4})
	g.settle()
	g.leave("b")
	if g.round() || len(g.running["a"]) != 5 {
		t.Fatalf("runs %v", g.running)
	}
}

// TestAnotherLeaderGoesOnFromWhatRuns loses the leader's memory.
func TestAnotherLeaderGoesOnFromWhatRuns(t *testing.T) {
	g := newGroup(t, time.Minute)
	g.join("a")
	g.join("b")
	g.configure(map[string]int{"x": 4, "y": 3})
	g.settle()
	before := maps.Clone(g.running)
	g.ledger = ledger{maxDelay: time.Minute}
	g.settle()
	if !maps.EqualFunc(g.running, before, slices.Equal) {
		t.Errorf("runs %v, want %v", g.running, before)
	}
	// One that was cut off runs what another was given meanwhile.
	clear(g.moved)
	g.running["b"] = append(g.running["b"], g.running["a"][0])
	twice := g.running["a"][0]
	g.round()
	if g.counts()[twice] != 0 || !g.moved[twice] {
		t.Errorf("what runs twice is not stopped: %v", g.running)
	}
	g.settle()
}

func TestRevocationsInARowArePutOff(t *testing.T) {
	g := newGroup(t, time.Minute)
	g.join("a")
	g.configure(map[string]int{"x": 12})
	g.settle()
	g.join("b")
	if !g.round() {
		t.Fatal("nothing was revoked")
	}
	g.join("c")
	if g.round(); g.delay == 0 {
		t.Fatal("the second revocation in a row is not put off")
	}
	g.settle()
	if !g.even() {
		t.Errorf("uneven: %v", g.running)
	}
}

func TestEagerDivision(t *testing.T) {
	g := newGroup(t, 0)
	g.configure(map[string]int{"x": 2, "y": 1})
	got := divideEagerly(g.configured, []string{"b", "a"})
	want := map[string][]Work{"a": {{"x", Itself}, {"x", 0}, {"y", 0}}, "b": {{"y", Itself}, {"x", 1}}}
	if !maps.EqualFunc(got, want, slices.Equal) {
		t.Errorf("divided as %v, want %v", got, want)
	}
}
