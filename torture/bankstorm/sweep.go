package bankstorm

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tidemill/tidemill/torture/chaos"
)

// Swept is what came of one action at one failpoint.
type Swept struct {
	Mode, Point, Action string
	Reached             bool          // The worker has acted there.
	Took                time.Duration // From the end of the action until all was well.
	Anomalies           []string
}

// String is one line.
func (s Swept) String() string {
	what := fmt.Sprintf("%s %-30s %-5s", s.Mode, s.Point, s.Action)
	switch {
	case len(s.Anomalies) > 0:
		return what + " ANOMALY " + s.Anomalies[0]
	case !s.Reached:
		return what + " NOT REACHED"
	case s.Took == 0:
		return what + " done at the start"
	}
	return fmt.Sprintf("%s recovered in %v", what, s.Took.Round(time.Millisecond))
}

// Sweeping is what came of a sweep.
type Sweeping []Swept

// counts returns how many failpoints there were, in each mode, how many of them were
// reached with all their actions, and how much was wrong.
func (s Sweeping) counts() (points, reached, anomalies int) {
	missed := map[string]bool{}
	for _, one := range s {
		if one.Action != "" {
			name := one.Mode + " " + one.Point
			missed[name] = missed[name] || !one.Reached
		}
		anomalies += len(one.Anomalies)
	}
	for _, m := range missed {
		points++
		if !m {
			reached++
		}
	}
	return points, reached, anomalies
}

// OK tells that every failpoint was reached and nothing was wrong.
func (s Sweeping) OK() bool {
	points, reached, anomalies := s.counts()
	return reached == points && anomalies == 0
}

// Line is the result in one line. Recovery is from the end of an action until a change
// made after it is in Kafka, and in the table of a sink.
func (s Sweeping) Line() string {
	points, reached, anomalies := s.counts()
	var r Result
	for _, one := range s {
		if one.Took > 0 {
			r.recoveries = append(r.recoveries, recovered{took: one.Took})
		}
	}
	r.summarize()
	return fmt.Sprintf("sweep points=%d reached=%d anomalies=%d actions=%d recovered_p50=%.2fs recovered_p99=%.2fs", points, reached, anomalies, len(r.recoveries), r.RecoveredP50, r.RecoveredP99)
}

// Span says which failpoints are swept over.
type Span struct {
	Points string // Names, or their beginnings, divided by commas; "all" or nothing is every one.
	From   string // The one to begin with; nothing is the first.
	// Hold is how long the worker stands still at each. 1 s.
	Hold time.Duration
}

// Sweep has the worker kill itself, stand still and fail at one failpoint after the other,
// in a run for each mode. The binary must have been built with the tag failpoint. say is
// told of each action.
func Sweep(ctx context.Context, o Options, span Span, say func(Swept)) (Sweeping, error) {
	var all Sweeping
	chosen, err := span.choice()
	if err != nil {
		return nil, err
	}
	modes := []string{ExactlyOnce, AtLeastOnce}
	if o.Mode != "" {
		modes = []string{o.Mode}
	}
	for _, mode := range modes {
		s := &sweep{mode: mode, say: say, seen: o.Seen, trials: trials(mode, span, chosen)}
		if len(s.trials) == 0 {
			continue // What was chosen is not passed in this mode.
		}
		run := o
		run.Mode, run.Seen, run.sweep, run.Plan = mode, s.see, s, chaos.Plan{}
		run.repro = fmt.Sprintf("sweep -mode %s -seed %d -point %s -hold %v", mode, o.Seed, shellQuote(span.Points), span.hold())
		// It is light, so that a recovery shows the worker and not the load of the machine.
		run.TPS, run.Points = 40, s.startText(byStart)
		result, err := Run(ctx, run)
		all = append(all, s.finish(result)...)
		if err != nil {
			return all, fmt.Errorf("sweeping in mode %s: %w", mode, err)
		}
	}
	return all, nil
}

// sweep follows one run.
type sweep struct {
	mode   string
	say    func(Swept)
	seen   func(chaos.Entry)
	trials []trial
	run    *run
	aside  *aside

	mu      sync.Mutex // guards the following
	current *Swept     // The one that is under way.
	done    Sweeping
}

// startText is what is to happen while a connector begins.
func (s *sweep) startText(by way) string {
	var list []string
	for _, t := range s.trials {
		if t.by == by {
			list = append(list, t.text())
		}
	}
	return strings.Join(list, ";")
}

// see takes in what happens in the run.
func (s *sweep) see(e chaos.Entry) {
	if s.seen != nil {
		s.seen(e)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.Kind == "ANOMALY" && s.current != nil {
		s.current.Anomalies = append(s.current.Anomalies, e.Text)
	}
}

// begin notes that a trial is under way; what it returns, that it is over.
func (s *sweep) begin(t trial) func(change func(*Swept)) {
	one := &Swept{Mode: s.mode, Point: t.point, Action: t.action}
	s.mu.Lock()
	s.current = one
	s.mu.Unlock()
	return func(change func(*Swept)) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.current = nil
		change(one)
		s.add(*one)
	}
}

// add notes what came of a trial. The caller holds mu.
func (s *sweep) add(one Swept) {
	s.done = append(s.done, one)
	s.say(one)
}

// finish returns what came of all trials, and what was found besides.
func (s *sweep) finish(r Result) Sweeping {
	s.mu.Lock()
	defer s.mu.Unlock()
	var said []string
	for _, one := range s.done {
		said = append(said, one.Anomalies...)
	}
	rest := Swept{Mode: s.mode, Point: "the whole run", Reached: true}
	for _, a := range r.Anomalies {
		if text := a.Name + ": " + a.Text; !slices.Contains(said, text) {
			rest.Anomalies = append(rest.Anomalies, text)
		}
	}
	if len(rest.Anomalies) > 0 {
		s.add(rest)
	}
	return s.done
}
