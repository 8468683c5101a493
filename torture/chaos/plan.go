package chaos

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Plan is a list of faults, one after the other.
type Plan []Fault

// longestGap bounds a gap, as a multiple of the mean.
const longestGap = 4

// Also says which faults take part beside those of every run.
type Also struct {
	Loud   bool // Those that lose data by their nature.
	Fleet  bool // Those of a fleet's processes.
	Cables bool // Those of the cables of workers that have machines of their own.
}

// Random draws a plan from a seed, long enough for a storm of the given length. Each
// class takes part with even odds, so that every run has another mixture; with only, the
// named ones take part, and those alone. What also says takes part as well, all of it;
// otherwise such faults do only when they are named. Gaps are exponential with the given
// mean.
func Random(seed uint64, length, gap time.Duration, only []string, also Also) (Plan, error) {
	rng := rand.New(rand.NewPCG(seed, 0x746f7274757265))
	list, err := choose(rng, only)
	if err != nil {
		return nil, err
	}
	if also.Loud {
		list = slices.Concat(slices.DeleteFunc(list, func(c class) bool { return slices.Contains(LoudClasses(), c.name) }), loudFaults())
	}
	if also.Fleet && len(only) == 0 {
		list = slices.Concat(list, fleetFaults())
	}
	if also.Cables && len(only) == 0 {
		list = slices.Concat(list, cableFaults())
	}
	total := 0
	for _, c := range list {
		total += max(c.weight, 1)
	}
	const pressed = 4 // One of so many comes while the recovery from the one before may still go on.
	var plan Plan
	for at := time.Duration(0); at < length; {
		c := pick(list, rng.IntN(total))
		f := Fault{Class: c.name, Pick: rng.Uint64(), Press: rng.IntN(pressed) == 0, Hold: c.min}
		f.Gap = min(time.Duration(rng.ExpFloat64()*float64(gap)), longestGap*gap).Round(ms)
		if c.max > c.min {
			f.Hold += time.Duration(rng.Int64N(int64(c.max - c.min))).Round(ms)
		}
		at += f.Gap + f.Hold
		plan = append(plan, f)
	}
	return plan, nil
}

// choose returns the classes that take part: at least three, if not told which.
func choose(rng *rand.Rand, only []string) ([]class, error) {
	const fewest = 3
	if len(only) > 0 {
		for _, name := range only {
			if !slices.Contains(Classes(), name) {
				return nil, fmt.Errorf("there is no fault %q; there are %s", name, strings.Join(Classes(), ", "))
			}
		}
		return slices.DeleteFunc(classes(), func(c class) bool { return !slices.Contains(only, c.name) }), nil
	}
	for {
		list := slices.DeleteFunc(mild(), func(c class) bool { return rng.IntN(2) == 0 })
		if len(list) >= fewest {
			return list, nil
		}
	}
}

func pick(list []class, n int) class {
	for _, c := range list {
		if n < max(c.weight, 1) {
			return c
		}
		n -= max(c.weight, 1)
	}
	return list[0]
}

// Classes lists those that the plan has, sorted.
func (p Plan) Classes() []string {
	var names []string
	for _, f := range p {
		if !slices.Contains(names, f.Class) {
			names = append(names, f.Class)
		}
	}
	slices.Sort(names)
	return names
}
