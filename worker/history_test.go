package worker

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/connect"
)

// CanRewind refuses what is too long ago.
func (c *listening) CanRewind(_ context.Context, config connect.Config, offsets map[connect.SourcePartition][]byte) error {
	for _, text := range offsets {
		if string(text) == `{"n":1}` && config["name"] == "l" {
			return &connect.Error{Code: "ear.deaf", Class: connect.ClassConfig, Message: "nobody remembers what was said then"}
		}
	}
	return nil
}

// past returns a connector's, one text an entry.
func (r *rig) past(name string) (list []string) {
	r.l.t.Helper()
	history, err := r.OffsetHistory(r.l.t.Context(), name)
	must(r.l.t, err)
	for _, p := range history {
		text := fmt.Sprint(p.ID, " ", p.Change)
		for _, e := range p.Offsets {
			text += fmt.Sprintf(" %s%s", e.Partition, e.Offset)
		}
		list = append(list, text)
	}
	return list
}

// standStill stops a connector, until its offsets may be changed.
func (r *rig) standStill(name string) {
	r.l.t.Helper()
	must(r.l.t, r.SetState(r.l.t.Context(), name, Stopped))
	wait(r.l.t, name+" stands still", func() bool { _, err := r.offsetsMayChange(name); return err == nil })
}

// alter changes one offset of a connector.
func (r *rig) alter(name, partition, offset string) {
	r.l.t.Helper()
	var err error
	wait(r.l.t, "the offsets of "+name+" change", func() bool {
		_, err = r.AlterOffsets(r.l.t.Context(), name, []OffsetEntry{{[]byte(partition), []byte(offset)}})
		return err == nil
	})
}

// rewind goes back, and returns what has changed.
func (r *rig) rewind(name string, to int64, dry bool) (list []string) {
	r.l.t.Helper()
	changes, message, err := r.RewindOffsets(r.l.t.Context(), name, to, dry)
	if err != nil || message == "" {
		r.l.t.Fatalf("to %d: %v", to, err)
	}
	for _, c := range changes {
		list = append(list, fmt.Sprintf("%s %s %s", c.Partition, c.From, c.To))
	}
	return list
}

func (r *rig) expectPast(name string, want ...string) {
	r.l.t.Helper()
	if got := r.past(name); !slices.Equal(got, want) {
		r.l.t.Errorf("the history of %s is\n%s\nnot\n%s", name, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func (r *rig) expectOffsets(name string, want ...string) {
	r.l.t.Helper()
	offsets, err := r.Offsets(r.l.t.Context(), name)
	must(r.l.t, err)
	var got []string
	for _, e := range offsets {
		got = append(got, string(e.Partition)+string(e.Offset))
	}
	if !slices.Equal(got, want) {
		r.l.t.Errorf("the offsets of %s are %s, not %s", name, got, want)
	}
}

// Offsets of a source that were changed and reset by mistake come back, also by another
// worker, and that can be undone as well.
func TestOffsetsOfASourceAreRewound(t *testing.T) {
	l := newLab(t)
	w := l.start(nil)
	w.create("c", counter("history-numbers", "count", "20"))
	wait(t, "all is safe", func() bool { return l.lastSafe("c") == `{"part":"0"}{"n":20}` })
	w.expectPast("c")
	if _, _, err := w.RewindOffsets(t.Context(), "c", 1, true); connect.AsError(err) == nil || connect.AsError(err).Code != "request.invalid" {
		t.Errorf("a running connector: %v", err)
	}
	w.standStill("c")
	w.alter("c", `{ "part":"0" }`, `{"n": 10}`)
	w.alter("c", `{"part":"1"}`, `{"n":7}`)
	for range 2 { // The second one forgets nothing.
		_, err := w.ResetOffsets(t.Context(), "c")
		must(t, err)
	}
	was := []string{`3 reset {"part":"0"}{"n":10} {"part":"1"}{"n":7}`, `2 altered {"part":"0"}{"n":10}`, `1 altered {"part":"0"}{"n":20}`}
	w.expectPast("c", was...)
	w.stop()
	w = l.start(nil)
	w.expectPast("c", was...)
	if got := w.rewind("c", 3, true); !slices.Equal(got, []string{`{"part":"0"} null {"n":10}`, `{"part":"1"} null {"n":7}`}) {
		t.Errorf("a dry run: %s", got)
	}
	w.expectOffsets("c")
	w.expectPast("c", was...)
	w.rewind("c", 3, false)
	w.expectOffsets("c", `{"part":"0"}{"n":10}`, `{"part":"1"}{"n":7}`)
	if got := w.rewind("c", 1, false); !slices.Equal(got, []string{`{"part":"0"} {"n":10} {"n":20}`, `{"part":"1"} {"n":7} null`}) {
		t.Errorf("to the first: %s", got)
	}
	w.expectOffsets("c", `{"part":"0"}{"n":20}`)
	if got := w.rewind("c", 1, false); len(got) != 0 {
		t.Errorf("to where it is: %s", got)
	}
	w.expectPast("c", append([]string{`5 rewound {"part":"0"}{"n":10} {"part":"1"}{"n":7}`, `4 rewound`}, was...)...)
	for name, to := range map[string]int64{"c": 9, "nobody": 1} {
		if _, _, err := w.RewindOffsets(t.Context(), name, to, false); !slices.Contains([]string{"offsets.no_entry", "connector.not_found"}, connect.AsError(err).Code) {
			t.Errorf("%s to %d: %v", name, to, err)
		}
	}
	more := "25"
	_, err := w.PatchConfig(t.Context(), "c", map[string]*string{"count": &more})
	must(t, err)
	must(t, w.SetState(t.Context(), "c", Started))
	wait(t, "it goes on", func() bool { return len(l.values("history-numbers")) >= 25 })
	if got := l.values("history-numbers"); !same(got, numbers(1, 25)) {
		t.Errorf("%d values: %s", len(got), got)
	}
}

// Those of a sink are of its consumer group.
func TestOffsetsOfASinkAreRewound(t *testing.T) {
	l := newLab(t)
	l.produce("history-in", 1, numbers(1, 20)...)
	w := l.start(nil)
	w.create("history-s", keeper("history-in"))
	wait(t, "all is kept", func() bool { return len(l.keptBy("history-s")) == 20 })
	w.standStill("history-s")
	const at = `{"kafka_topic":"history-in","kafka_partition":0}{"kafka_offset":`
	w.expectOffsets("history-s", at+"20}")
	w.alter("history-s", `{"kafka_topic":"history-in","kafka_partition":"0"}`, `{"kafka_offset":"15"}`)
	_, err := w.ResetOffsets(t.Context(), "history-s")
	must(t, err)
	w.expectOffsets("history-s")
	w.rewind("history-s", 2, false)
	w.expectOffsets("history-s", at+"15}")
	w.rewind("history-s", 1, false)
	w.expectOffsets("history-s", at+"20}")
	w.expectPast("history-s", `4 rewound `+at+"15}", `3 rewound`, `2 reset `+at+"15}", `1 altered `+at+"20}")
	w.rewind("history-s", 3, false)
	w.expectOffsets("history-s")
}

// The history is bounded, asks the connector whether it can go back, and goes with it.
func TestHistoryOfOffsets(t *testing.T) {
	l := newLab(t)
	w := l.start(nil)
	for _, name := range []string{"l", "other"} {
		_, err := w.Create(t.Context(), CreateRequest{Name: name, Config: connect.Config{"connector.class": "org.example.Listening"}, InitialState: Stopped})
		must(t, err)
		w.standStill(name)
	}
	for n := range 25 {
		w.alter("l", `{}`, fmt.Sprintf(`{"n":%d}`, n%23))
	}
	w.alter("other", `{}`, `{"n":5}`)
	w.expectPast("other", "1 altered")
	got := w.past("l")
	if len(got) != 20 || got[0] != `25 altered {}{"n":0}` || got[19] != `6 altered {}{"n":4}` {
		t.Errorf("the history is %s", got)
	}
	w.alter("l", `{}`, `{"n":3}`) // It was 1 before.
	for _, dry := range []bool{true, false} {
		if _, _, err := w.RewindOffsets(t.Context(), "l", 26, dry); connect.AsError(err) == nil || connect.AsError(err).Code != "ear.deaf" {
			t.Errorf("to where the connector cannot go: %v", err)
		}
	}
	w.expectOffsets("l", `{}{"n":3}`)
	_, err := w.Delete(t.Context(), "l", true)
	must(t, err)
	if left := w.rt.offsets.list(historyOf("l")); len(left) != 0 {
		t.Errorf("of a connector that was deleted with what it kept stays %s", left)
	}
	w.expectPast("other", "1 altered")
}
