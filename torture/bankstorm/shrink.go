package bankstorm

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/tidemill/tidemill/torture/chaos"
)

// shrink tries a failed run again with fewer faults, and returns the shortest list of
// them that failed in the same way.
func shrink(ctx context.Context, o Options, failed Result) chaos.Plan {
	tries := 0
	return shortest(failed.Plan, o.Shrink, func(p chaos.Plan) bool {
		if ctx.Err() != nil {
			return false
		}
		tries++
		if o.Seen != nil {
			o.Seen(chaos.Entry{Kind: "shrink", Text: fmt.Sprintf("try %d of %d, with %d of %d faults", tries, o.Shrink, len(p), len(failed.Plan))})
		}
		o := o
		o.Plan = p
		return failsAgain(ctx, o, failed)
	})
}

// failsAgain makes a run, which ends as soon as it has failed as one before.
func failsAgain(ctx context.Context, o Options, failed Result) bool {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var again atomic.Bool
	seen := o.Seen
	o.Keep, o.Shrink = false, 0
	o.Seen = func(e chaos.Entry) {
		if seen != nil {
			seen(e)
		}
		name, _, _ := strings.Cut(e.Text, ": ")
		if e.Kind == "ANOMALY" && failed.has(name) {
			again.Store(true)
			stop()
		}
	}
	result, err := once(ctx, o)
	if result.Bundle != "" {
		_ = os.RemoveAll(result.Bundle) // That of the whole run stays.
	}
	return again.Load() || err == nil && slices.ContainsFunc(result.Anomalies, func(a chaos.Anomaly) bool { return failed.has(a.Name) })
}

// has tells whether a run has an anomaly of a name.
func (r Result) has(name string) bool {
	return slices.ContainsFunc(r.Anomalies, func(a chaos.Anomaly) bool { return a.Name == name })
}

// shortest looks for a part of a plan that still fails, in so many tries: first none of
// it, then parts of it and what is left without them, in pieces that become smaller. It is
// the algorithm ddmin of Zeller and Hildebrandt, "Simplifying and Isolating
// Failure-Inducing Input", IEEE Transactions on Software Engineering 28(2), 2002.
func shortest(plan chaos.Plan, tries int, fails func(chaos.Plan) bool) chaos.Plan {
	try := func(p chaos.Plan) bool {
		tries--
		return tries >= 0 && fails(p)
	}
	if len(plan) == 0 || try(chaos.Plan{}) {
		return chaos.Plan{}
	}
	for pieces := 2; len(plan) > 1 && tries > 0; {
		part, left, found := failing(plan, pieces, try)
		switch {
		case found && left:
			plan, pieces = part, max(2, pieces-1)
		case found:
			plan, pieces = part, 2
		case pieces == len(plan):
			return plan
		default:
			pieces = min(2*pieces, len(plan))
		}
	}
	return plan
}

// failing returns the first of the pieces of a plan that fails by itself, or what is left
// of the plan without one of them, if that fails.
func failing(plan chaos.Plan, pieces int, fails func(chaos.Plan) bool) (part chaos.Plan, left, found bool) {
	cut := func(i int) (from, to int) { return i * len(plan) / pieces, (i + 1) * len(plan) / pieces }
	for i := range pieces {
		from, to := cut(i)
		if part := plan[from:to]; fails(part) {
			return part, false, true
		}
	}
	for i := range pieces {
		if pieces == 2 {
			break // What is left is the other piece.
		}
		from, to := cut(i)
		if part := slices.Concat(plan[:from], plan[to:]); fails(part) {
			return part, true, true
		}
	}
	return nil, false, false
}
