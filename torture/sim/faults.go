package sim

import (
	"context"
	"math/rand/v2"
	"time"
)

// Fault is something that is done to a part of the simulation.
type Fault string

// The faults.
const (
	// CutPostgres cuts a connection to the server, at once or in the middle of a message.
	CutPostgres Fault = "cut-postgres"
)

// Faults returns all there are.
func Faults() []Fault { return []Fault{CutPostgres} }

// disturb makes faults until the time is over, and then mends everything.
func (w *world) disturb(ctx context.Context) error {
	rng := rand.New(rand.NewPCG(w.Seed, 3))
	for end := w.began.Add(w.For); time.Now().Before(end); {
		if !rest(ctx, time.Duration(rng.ExpFloat64()*float64(20*time.Second))) {
			return nil
		}
		f := w.Faults[rng.IntN(len(w.Faults))]
		if w.make(ctx, f, rng) {
			w.mu.Lock()
			w.made[f]++
			w.mu.Unlock()
			w.log.Info("FAULT", "kind", f)
		}
	}
	return nil
}

// make makes a fault and tells whether there was anything to do it to.
func (w *world) make(ctx context.Context, f Fault, rng *rand.Rand) bool {
	switch f {
	case CutPostgres:
		return w.cut(hostPostgres, rng)
	}
	return false
}

// cut cuts one connection of the worker to a host.
func (w *world) cut(host string, rng *rand.Rand) bool {
	w.plant.mu.Lock()
	l := w.plant.life
	w.plant.mu.Unlock()
	if l == nil {
		return false
	}
	links := w.net.between(l.host, host)
	if len(links) == 0 {
		return false
	}
	// They come in no order, and the same seed must do the same.
	victim := links[0]
	for _, l := range links {
		if l.number < victim.number {
			victim = l
		}
	}
	for range rng.IntN(len(links)) {
		next := victim
		for _, l := range links {
			if l.number > victim.number && (next == victim || l.number < next.number) {
				next = l
			}
		}
		victim = next
	}
	way := victim.cut
	if rng.IntN(2) == 0 {
		way = victim.finish
	}
	switch rng.IntN(3) {
	case 0:
		way()
	case 1:
		victim.up.allow(rng.IntN(400), way)
	default:
		victim.down.allow(rng.IntN(2000), way)
	}
	return true
}
