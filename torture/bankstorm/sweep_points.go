package bankstorm

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tidemill/tidemill/internal/failpoint"
)

// The actions at a failpoint, as TIDEMILL_FAILPOINT has them.
const (
	actKill  = "kill"
	actStop  = "stop"
	actError = "error"
)

// trial is one action at one failpoint.
type trial struct {
	point, action string
	pass          int
	hold          time.Duration // How long the worker stands still.
	by            way
}

// text is the trial as TIDEMILL_FAILPOINT has it.
func (t trial) text() string {
	action := t.action
	if action == actStop {
		action += ":" + t.hold.String()
	}
	return fmt.Sprintf("%s=%s@%d", t.point, action, t.pass)
}

// acted is the trial as chaos.World.Acted has it.
func (t trial) acted() string { return t.point + "=" + t.action }

// way is what leads the worker to a failpoint.
type way int

const (
	byStorm  way = iota // It comes there in the storm, or by the connector beside it.
	byStart             // When the connector of the storm begins.
	byAside             // When the connector beside the storm begins.
	byTask              // When a task starts or stops.
	byConfig            // When a configuration is changed.
	byLarge             // In large transactions.
	byRead              // When a table is read beside the log.
	byAbort             // When a Kafka transaction fails.
)

// ways say of failpoints whose names begin so what leads to them; for all others the
// storm does. Of several the first counts.
var ways = []struct {
	begins string
	by     way
}{
	{"source.publication", byTask}, {"source.stream.started", byTask}, {"worker.source.", byTask},
	{"source.snapshot.read", byAside}, {"source.slot.", byStart}, {"source.snapshot.", byStart},
	{"source.spill.", byLarge}, {"worker.transaction.split", byLarge},
	{"source.incremental.", byRead}, {"worker.config.", byConfig}, {"kafkalog.", byConfig},
	{"worker.transaction.rollback", byAbort},
}

// once begin the names of failpoints that are not passed often: the others are passed a
// few times before anything happens.
var seldom = []string{"source.stream.started", "source.stream.mark", "source.stream.relation", "source.spill.", "source.incremental.", "worker.source.", "worker.config.",
	"worker.transaction.split", "worker.transaction.rollback", "worker.sink.commit", "kafkalog.", "source.publication", "source.slot.", "source.snapshot."}

// only begin the names of failpoints that are passed in one mode alone.
var only = map[string][]string{
	ExactlyOnce: {"worker.transaction.", "kafkalog.commit"},
	AtLeastOnce: {"worker.produce", "worker.acked", "worker.offsets.store", "worker.offsets.write"},
}

func begins(name string, with []string) bool {
	return slices.ContainsFunc(with, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
}

// reachable tells whether a failpoint can be passed in a mode.
func reachable(name, mode string) bool {
	other := map[string]string{ExactlyOnce: AtLeastOnce, AtLeastOnce: ExactlyOnce}[mode]
	if mode == ExactlyOnce && name == "worker.offsets.stored" {
		return true
	}
	return !begins(name, only[other])
}

// trials returns what is done in a mode, in the order of the failpoints: at each the
// worker kills itself, at each it stands still where that is not at its start alone, and
// those that may fail do so.
func trials(mode string, span Span, chosen func(point string) bool) []trial {
	const often = 3
	var list []trial
	for _, p := range failpoint.Points() {
		if !reachable(p.Name, mode) || !chosen(p.Name) {
			continue
		}
		t := trial{point: p.Name, action: actKill, pass: often, hold: span.hold(), by: wayTo(p.Name)}
		if begins(p.Name, seldom) {
			t.pass = 1
		}
		list = append(list, t)
		if p.Name != "source.snapshot.read" { // The same process passes it once.
			t.action = actStop
			list = append(list, t)
		}
		if p.Fails {
			t.action = actError
			list = append(list, t)
		}
	}
	return list
}

func wayTo(point string) way {
	for _, w := range ways {
		if strings.HasPrefix(point, w.begins) {
			return w.by
		}
	}
	return byStorm
}

// hold is how long the worker stands still.
func (s Span) hold() time.Duration {
	if s.Hold > 0 {
		return s.Hold
	}
	return time.Second
}

// choice tells of each failpoint whether it is meant.
func (s Span) choice() (func(point string) bool, error) {
	names, listed, first := strings.Split(s.Points, ","), failpoint.Points(), 0
	if s.From != "" {
		first = slices.IndexFunc(listed, func(p failpoint.Point) bool { return p.Name == s.From })
	}
	chosen := map[string]bool{}
	for i, p := range listed {
		if first >= 0 && i >= first && (s.Points == "" || s.Points == "all" || begins(p.Name, names)) {
			chosen[p.Name] = true
		}
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("there is no failpoint %q from %q on", s.Points, s.From)
	}
	return func(point string) bool { return chosen[point] }, nil
}
