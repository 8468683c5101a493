package bankstorm

import (
	"context"
	"os"
	"slices"

	"github.com/tidemill/tidemill/torture/chaos"
)

// shrink tries a failed run again with fewer faults, and returns the shortest list of
// them that failed in the same way.
func shrink(ctx context.Context, o Options, failed Result) chaos.Plan {
	quiet := o
	quiet.Keep, quiet.Shrink = false, 0
	return shortest(failed.Plan, o.Shrink, func(p chaos.Plan) bool {
		if ctx.Err() != nil {
			return false
		}
		quiet.Plan = p
		result, err := once(ctx, quiet)
		if result.Bundle != "" {
			_ = os.RemoveAll(result.Bundle) // That of the whole run stays.
		}
		return err == nil && sameAnomaly(failed, result)
	})
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

// sameAnomaly tells whether two runs have an anomaly of one name.
func sameAnomaly(a, b Result) bool {
	return slices.ContainsFunc(a.Anomalies, func(x chaos.Anomaly) bool {
		return slices.ContainsFunc(b.Anomalies, func(y chaos.Anomaly) bool { return x.Name == y.Name })
	})
}
