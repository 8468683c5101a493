package bankstorm

import (
	"fmt"
	"slices"
	"time"

	"github.com/tidemill/tidemill/internal/testenv/netns"
	"github.com/tidemill/tidemill/torture/chaos"
)

// The modes: what the worker promises.
const (
	ExactlyOnce = "eos"
	AtLeastOnce = "alo"
)

// Options say what run to make. Zero values stand for what is said with each.
type Options struct {
	Seed     uint64
	Duration time.Duration // Of the storm; setting up, healing and verifying come on top. 60 s.
	Mode     string        // ExactlyOnce or AtLeastOnce. ExactlyOnce.
	Gap      time.Duration // The mean time between the recovery from a fault and the next one. 0.5 s.
	Clients  int           // Sessions that write. 4.
	TPS      float64       // Transactions a second of all of them together. 100, with Streams 50.
	// Templates are the kinds of transactions that are written; none for all of them.
	Templates []string
	// Faults are the classes that take part. Each of chaos.Classes with even odds.
	Faults []string
	// Loud has those take part too that lose data by their nature: the connector must fail
	// then, say what is missing, and go on after the remedy that it names.
	Loud bool
	// Plan is done instead of one that is drawn from the seed.
	Plan chaos.Plan
	// Copies has a sink and derived tables made of the topics, and verified; not in a run
	// with faults that lose data.
	Copies bool
	// Streams has a streams application run in three processes that fail too, and recounts
	// what it derives; not in a run with faults that lose data.
	Streams bool
	// Fleet is the program that those processes run, with the command "fleet". Default:
	// the one that runs.
	Fleet string
	// Workers is how many workers share the work as a fleet; faults befall one of them at a
	// time. One with faults that lose data. 1.
	Workers int
	// Lan has each of several workers run on a machine of its own, as far as networks go,
	// whose cable fails too. Default: all are on the loopback.
	Lan *netns.Lan
	// Connector is added to the source connector's configuration.
	Connector map[string]string
	// Binary is the tidemill that is tortured; Env is added to its environment.
	Binary string
	Env    []string
	// Points is what a binary with failpoints does at them while it starts, as
	// TIDEMILL_FAILPOINT says it, once at each.
	Points string
	// PGBin is the folder of PostgreSQL's server programs. Default: search.
	PGBin string
	// Out is the directory that bundles of failures are left in. "torture-out".
	Out string
	// Keep leaves the bundle of a run without anomalies, too.
	Keep bool
	// Patience is how long it may take until a change made after a fault is in Kafka. 30 s.
	Patience time.Duration
	// Memory is how many bytes the worker may take; below 0 as many as it wants. 400 MB.
	Memory int64
	// Recovery is how long 99 of 100 recoveries may take at most. 0 for Patience alone.
	Recovery time.Duration
	// Shrink is how often a failing run is tried again with fewer faults. 0.
	Shrink int
	// Seen is told what happens; nil for nobody.
	Seen func(chaos.Entry)

	sweep *sweep // Does its own faults instead of those of the plan.
	repro string // The arguments of torture that do the run again, other than with its plan.
}

func (o *Options) complete() error {
	if o.Duration == 0 {
		o.Duration = time.Minute
	}
	if o.Mode == "" {
		o.Mode = ExactlyOnce
	}
	if o.Gap == 0 {
		o.Gap = 500 * time.Millisecond
	}
	if o.Clients == 0 {
		o.Clients = 4
	}
	if o.TPS == 0 {
		o.TPS = 100
		if o.Streams {
			o.TPS = 50
		}
	}
	if o.Patience == 0 {
		o.Patience = 30 * time.Second
	}
	if o.Memory == 0 {
		o.Memory = 400 << 20
	}
	if o.Out == "" {
		o.Out = "torture-out"
	}
	switch {
	case o.Mode != ExactlyOnce && o.Mode != AtLeastOnce:
		return fmt.Errorf("the mode %q is neither %s nor %s", o.Mode, ExactlyOnce, AtLeastOnce)
	case o.Workers < 0 || o.Workers > 1 && o.Loud:
		return fmt.Errorf("faults that lose data are done to one worker alone, the others to one or more")
	case o.Workers < 2 && o.Lan != nil:
		return fmt.Errorf("machines of their own are for two workers or more: others do the work of one that is cut off")
	case o.Binary == "":
		return fmt.Errorf("no tidemill to torture is named")
	case o.Duration < 0 || o.Gap < 0 || o.Clients < 0 || o.Patience < 0 || o.Recovery < 0 || o.Shrink < 0:
		return fmt.Errorf("a duration or a number is negative")
	}
	if o.Plan == nil {
		plan, err := chaos.Random(o.Seed, o.Duration, o.Gap, o.Faults, chaos.Also{Loud: o.Loud, Fleet: o.Streams, Cables: o.Lan != nil})
		if o.Plan = plan; err != nil {
			return err
		}
	}
	if slices.ContainsFunc(o.Plan, chaos.Fault.Loud) {
		o.Copies = false // They do not hear of rows that are deleted in a gap.
		if o.Streams {
			return fmt.Errorf("a streams application does not hear of what is lost in a gap: there is none beside faults that lose data")
		}
	}
	if !o.Streams && slices.ContainsFunc(o.Plan, chaos.Fault.OfFleet) {
		return fmt.Errorf("the faults of a streams application need one")
	}
	if o.Lan == nil && slices.ContainsFunc(o.Plan, chaos.Fault.OfCable) {
		return fmt.Errorf("the faults of cables need workers on machines of their own")
	}
	return nil
}
