package bankstorm

import (
	"strings"
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/failpoint"
)

// TestSweepTriesEverything looks for each failpoint in the trials of both modes: the worker
// kills itself at each at least in one of them, and fails where it can.
func TestSweepTriesEverything(t *testing.T) {
	all, err := Span{}.choice()
	if err != nil {
		t.Fatal(err)
	}
	tried := map[string]bool{}
	if list := trials(ExactlyOnce, Span{Hold: 7 * time.Second}, all); !strings.HasPrefix(list[1].text(), "source.publication=stop:7s@1") {
		t.Errorf("the second of a sweep is %s", list[1].text())
	}
	for _, mode := range []string{ExactlyOnce, AtLeastOnce} {
		for _, one := range trials(mode, Span{}, all) {
			if tried[mode+one.acted()] {
				t.Errorf("%s: %s twice", mode, one.acted())
			}
			tried[one.acted()], tried[mode+one.acted()] = true, true
		}
	}
	for _, p := range failpoint.Points() {
		if !tried[p.Name+"=kill"] || tried[p.Name+"=error"] != p.Fails {
			t.Errorf("%s: killed there: %v, failed there: %v", p.Name, tried[p.Name+"=kill"], tried[p.Name+"=error"])
		}
	}
	for _, w := range ways {
		if !begins(w.begins, []string{"source.", "worker.", "sink.", "kafkalog."}) || wayTo(w.begins) != w.by {
			t.Errorf("nothing is led to by what stands for %q", w.begins)
		}
	}
}

// TestSpan chooses failpoints by their names.
func TestSpan(t *testing.T) {
	for _, c := range []struct {
		span Span
		want int
	}{{Span{Points: "source.spill.,sink.write"}, 6}, {Span{Points: "all", From: "worker.sink.commit"}, 2}, {Span{Points: "source.commit"}, 1}} {
		chosen, err := c.span.choice()
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, p := range failpoint.Points() {
			if chosen(p.Name) {
				n++
			}
		}
		if n != c.want {
			t.Errorf("%+v chooses %d failpoints, want %d", c.span, n, c.want)
		}
	}
	for _, bad := range []Span{{Points: "source.hug"}, {From: "source.hug"}, {Points: "source.commit", From: "worker.acked"}} {
		if _, err := bad.choice(); err == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
}

// TestSweepingCounts holds that a failpoint counts as reached when all that was to be done
// there was done, and that what was not makes the sweep fail.
func TestSweepingCounts(t *testing.T) {
	s := Sweeping{
		{Mode: "eos", Point: "source.commit", Action: "kill", Reached: true, Took: time.Second},
		{Mode: "eos", Point: "source.commit", Action: "stop", Reached: true, Took: 3 * time.Second},
		{Mode: "alo", Point: "source.commit", Action: "kill", Reached: true, Took: 2 * time.Second},
	}
	if !s.OK() || s.Line() != "sweep points=2 reached=2 anomalies=0 actions=3 recovered_p50=2.00s recovered_p99=3.00s" {
		t.Error(s.Line())
	}
	for _, bad := range []Swept{{Mode: "alo", Point: "source.commit", Action: "stop"}, {Mode: "alo", Point: "the whole run", Reached: true, Anomalies: []string{"lost: all"}}} {
		worse := append(Sweeping{}, append(s, bad)...)
		if worse.OK() || strings.Contains(worse.Line(), "reached=2 anomalies=0") {
			t.Error(worse.Line())
		}
	}
}
