package chaos

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Fault is one thing that goes wrong, as data that can be written down and done again.
type Fault struct {
	// Gap is how long nothing is done before it, after the fault before has been
	// recovered from; with Press after that one was merely undone.
	Gap   time.Duration `json:"gap"`
	Press bool          `json:"press,omitempty"`
	// Class names what goes wrong: one of Classes.
	Class string `json:"class"`
	// Hold is how long it lasts, where it lasts.
	Hold time.Duration `json:"hold"`
	// Pick decides what else there is to choose.
	Pick uint64 `json:"pick"`
}

// String is one line.
func (f Fault) String() string {
	return fmt.Sprintf("%s for %v", f.Class, f.Hold.Round(time.Millisecond))
}

// class is a kind of fault: do makes it and undoes it.
type class struct {
	name     string
	weight   int
	min, max time.Duration // Bounds of Hold.
	do       func(*World, context.Context, Fault) error
}

const ms = time.Millisecond

// classes is the table of faults: to add one, add a line.
func classes() []class { return slices.Concat(mild(), loudFaults(), fleetFaults(), cableFaults()) }

// mild are those after which everything must go on without anybody's help.
func mild() []class {
	return slices.Concat(workerFaults(), postgresFaults(), kafkaFaults(), registryFaults(), restFaults(), networkFaults(), comboFaults(), signalFaults())
}

// OfFleet tells whether the fault is one of a fleet's.
func (f Fault) OfFleet() bool { return f.among(fleetFaults()) }

// OfCable tells whether the fault is one of the cable of a worker's own machine.
func (f Fault) OfCable() bool { return f.among(cableFaults()) }

func (f Fault) among(list []class) bool {
	return slices.ContainsFunc(list, func(c class) bool { return c.name == f.Class })
}

// Classes lists the kinds of faults.
func Classes() []string {
	var names []string
	for _, c := range classes() {
		names = append(names, c.name)
	}
	return names
}

// Inject does a fault and undoes it: when it returns, all is well again but for the
// recovery. The error tells that the fault could not be done.
func (w *World) Inject(ctx context.Context, f Fault) error {
	for _, c := range classes() {
		if c.name == f.Class {
			w.o.Journal.enter(Entry{Kind: "fault", Text: f.String(), Fault: &f})
			err := c.do(w, ctx, f)
			w.o.Journal.Say("healed", "%s", f.Class)
			return err
		}
	}
	return fmt.Errorf("there is no fault %q", f.Class)
}
