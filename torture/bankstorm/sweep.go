package bankstorm

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tidemill/tidemill/internal/failpoint"
	"github.com/tidemill/tidemill/torture/chaos"
)

// Swept is what came of one failpoint.
type Swept struct {
	Mode, Point string
	Passed      bool // The worker has killed itself there.
	Anomalies   []string
}

// String is one line.
func (s Swept) String() string {
	switch {
	case len(s.Anomalies) > 0:
		return fmt.Sprintf("%s %-30s ANOMALY %s", s.Mode, s.Point, s.Anomalies[0])
	case !s.Passed:
		return fmt.Sprintf("%s %-30s not passed", s.Mode, s.Point)
	}
	return fmt.Sprintf("%s %-30s killed there, recovered", s.Mode, s.Point)
}

// startPoints begin the names of failpoints that a task passes before it streams: the
// worker kills itself at one after the other of them while it starts. Those of topics are
// passed then and later.
var startPoints = []string{"source.publication", "source.slot.", "source.snapshot.", "worker.config.", "kafkalog."}

// seldom begin the names of failpoints that a task passes once, or not often.
var seldom = []string{"source.stream.started", "source.stream.mark", "source.stream.relation", "source.spill.", "worker.source.", "worker.transaction.split", "worker.transaction.rollback"}

// absent begin the names of failpoints that a storm does not pass: it has no sink, no
// snapshot beside the log and no store of large values.
var absent = []string{"sink.", "worker.sink.", "source.incremental.", "source.fill."}

// only begin the names of failpoints that are passed in one mode alone.
var only = map[string][]string{
	ExactlyOnce: {"worker.transaction.", "kafkalog.commit"},
	AtLeastOnce: {"worker.produce", "worker.acked", "worker.offsets."},
}

func begins(name string, with []string) bool {
	return slices.ContainsFunc(with, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
}

// passes tells at which pass the worker is to kill itself while it streams: not the
// first, where there are many, so that something has been done before.
func passes(name string) int {
	if begins(name, seldom) {
		return 1
	}
	return 3
}

// reachable tells whether a failpoint can be passed in a mode.
func reachable(name, mode string) bool {
	other := map[string]string{ExactlyOnce: AtLeastOnce, AtLeastOnce: ExactlyOnce}[mode]
	return !begins(name, only[other]) && !begins(name, absent)
}

// Sweep kills the worker once at each failpoint that is named, "all" for all of them: one
// run for each mode in which it dies at those of the start, one after the other, and then
// at each of the others. The binary must have been built with the tag failpoint. say is
// told of each failpoint.
func Sweep(ctx context.Context, o Options, point string, say func(Swept)) ([]Swept, error) {
	var all []Swept
	modes := []string{ExactlyOnce, AtLeastOnce}
	if o.Mode != "" {
		modes = []string{o.Mode}
	}
	for _, mode := range modes {
		s := &sweep{mode: mode, say: say, seen: o.Seen}
		run := o
		run.Mode, run.Seen, run.Duration = mode, s.see, time.Hour
		if err := s.plan(&run, point); err != nil {
			return all, err
		}
		result, err := Run(ctx, run)
		if err != nil {
			return all, fmt.Errorf("sweeping in mode %s: %w", mode, err)
		}
		all = append(all, s.finish(result)...)
	}
	return all, nil
}

// sweep follows one run.
type sweep struct {
	mode string
	say  func(Swept)
	seen func(chaos.Entry)

	mu      sync.Mutex // guards the following
	start   []string
	current *Swept // The one whose fault is under way.
	done    []Swept
}

// plan has a run kill the worker at the named points.
func (s *sweep) plan(o *Options, point string) error {
	var points []string
	o.Plan = chaos.Plan{}
	for _, p := range failpoint.Points() {
		switch {
		case point != p.Name && (point != "all" || !reachable(p.Name, s.mode)):
		case begins(p.Name, startPoints):
			s.start, points = append(s.start, p.Name), append(points, p.Name+"=kill")
		default:
			f, err := chaos.AtPoint(p.Name, passes(p.Name), 6*time.Second)
			if err != nil {
				return err
			}
			o.Plan = append(o.Plan, f)
		}
	}
	o.Points = strings.Join(points, ";")
	if len(points)+len(o.Plan) == 0 {
		return fmt.Errorf("there is no failpoint %q", point)
	}
	return nil
}

// see takes in what happens in the run.
func (s *sweep) see(e chaos.Entry) {
	if s.seen != nil {
		s.seen(e)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch e.Kind {
	case "started":
		// What was passed before the storm began, in one go.
		passed := strings.Fields(e.Text)
		for _, name := range s.start {
			s.add(Swept{Mode: s.mode, Point: name, Passed: slices.Contains(passed, name)})
		}
	case "fault":
		name, _, _ := strings.Cut(strings.TrimPrefix(e.Text, "w.failpoint "), ",")
		s.flush()
		s.current = &Swept{Mode: s.mode, Point: name}
	case "failpoint":
		if s.current != nil {
			s.current.Passed = e.Text == s.current.Point
		}
	case "ANOMALY":
		if s.current != nil {
			s.current.Anomalies = append(s.current.Anomalies, e.Text)
		}
	case "phase":
		s.flush()
	}
}

// flush is done with the point of the last fault. The caller holds mu.
func (s *sweep) flush() {
	if s.current != nil {
		s.add(*s.current)
		s.current = nil
	}
}

func (s *sweep) add(one Swept) {
	s.done = append(s.done, one)
	s.say(one)
}

// finish returns what came of all points, and what was found when the run was verified.
func (s *sweep) finish(r Result) []Swept {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flush()
	var said []string
	for _, one := range s.done {
		said = append(said, one.Anomalies...)
	}
	rest := Swept{Mode: s.mode, Point: "the whole run", Passed: true}
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
