package worker

import (
	"fmt"
	"slices"
	"testing"

	"github.com/tidemill/tidemill/connect"
)

// TestReplayGoesOnElsewhere ends a worker in the middle of a replay: the next one goes on
// with it by itself, from where it was, and tells of the whole.
func TestReplayGoesOnElsewhere(t *testing.T) {
	l := newLab(t)
	var values []string
	for n := range 40 {
		values = append(values, fmt.Sprintf("errant %02d", n))
	}
	l.produce("in", 1, values...)
	over := connect.Config{"task.shutdown.graceful.timeout.ms": "50"}
	w := l.start(over, l.more, l.mending)
	w.create("s", refuser("in", "stall", "errant 25"))
	wait(t, "all are letters", func() bool { return len(w.letters("s", LetterQuery{})) == 40 })
	l.allow("errant")
	_, err := w.StartReplay(t.Context(), "s", LetterQuery{Batch: 10})
	must(t, err)
	wait(t, "it stands at the 26th letter", func() bool { return l.noted("stalled errant 25") == 1 })
	_, err = w.StartReplay(t.Context(), "s", LetterQuery{})
	failing(t, err, "request.conflict", "Letters of connector s are being replayed")
	w.stop()
	l.allow("stall")
	w = l.start(nil, l.more, l.mending)
	var p Replay
	wait(t, "it has come to its end", func() bool {
		p, err = w.ReplayOf(t.Context(), "s")
		must(t, err)
		return p.State != "running"
	})
	if p.State != "done" || p.Chosen != 40 || p.Replayed != 40 || p.Failed != 0 || p.Repeated != 10 || p.Resumed != 1 || p.Ended == nil {
		t.Errorf("%+v", p)
	}
	if got := w.letters("s", LetterQuery{}); len(got) != 0 {
		t.Errorf("%v are left", got)
	}
	kept := l.keptBy("s")
	for i, v := range values {
		n := len(slices.DeleteFunc(slices.Clone(kept), func(k string) bool { return k != v }))
		if n == 0 || n > 1 && (i < 20 || i >= 30) {
			t.Errorf("%s was put %d times", v, n)
		}
	}
	// What is ended stays so, and a connector that may not write ends a replay.
	w.stop()
	w = l.start(nil, l.more, l.mending)
	w.waitState("s", "RUNNING RUNNING")
	if p, err := w.ReplayOf(t.Context(), "s"); err != nil || p.State != "done" || p.Resumed != 1 {
		t.Errorf("later: %+v, %v", p, err)
	}
}

// TestReplayOfAStoppedConnectorIsNotGoneOnWith ends a worker that replays into a connector
// which is then stopped.
func TestReplayOfAStoppedConnectorIsNotGoneOnWith(t *testing.T) {
	l := newLab(t)
	l.produce("in", 1, "errant one", "errant two")
	w := l.start(connect.Config{"task.shutdown.graceful.timeout.ms": "50"}, l.more, l.mending)
	w.create("s", refuser("in", "stall", "errant two"))
	wait(t, "both are letters", func() bool { return len(w.letters("s", LetterQuery{})) == 2 })
	l.allow("errant")
	_, err := w.StartReplay(t.Context(), "s", LetterQuery{})
	must(t, err)
	wait(t, "it stands at the second letter", func() bool { return l.noted("stalled errant two") == 1 })
	must(t, w.SetState(t.Context(), "s", Stopped))
	w.stop()
	l.allow("stall")
	w = l.start(nil, l.more, l.mending)
	var p Replay
	wait(t, "it has ended", func() bool {
		p, err = w.ReplayOf(t.Context(), "s")
		must(t, err)
		return p.State != "running"
	})
	if p.State != "failed" || p.Error != notStarted("s", Stopped).Error() || p.Ended == nil {
		t.Errorf("%+v", p)
	}
	if got := w.letters("s", LetterQuery{}); !slices.Equal(got, []string{"0 unsure test.errant", "1 unsure test.errant"}) {
		t.Errorf("%v", got)
	}
}

// TestReplayNeverSeemsToGoBack asks how far a replay is of which a worker that was lost had
// stored the newest marks, and not yet the figures, before the next one goes on with it.
func TestReplayNeverSeemsToGoBack(t *testing.T) {
	l := newLab(t)
	l.produce("in", 1, "errant one", "errant two", "errant three", "errant four")
	w := l.start(nil, l.more, l.mending)
	w.create("s", refuser("in"))
	wait(t, "all are letters", func() bool { return len(w.letters("s", LetterQuery{})) == 4 })
	l.allow("errant")
	q, err := w.openQueue(t.Context(), "s")
	must(t, err)
	figures := storedReplay{TopicID: q.id, At: map[int32]int64{0: 1}, Replay: Replay{Connector: "s", Topic: q.topic, State: "running", Chosen: 1, Replayed: 1}}
	for offset := range int64(3) {
		q.marks[0].written(offset)
	}
	must(t, q.store(t.Context(), map[int32]bool{0: true}, appendJSON(nil, figures)))
	p, err := w.ReplayOf(t.Context(), "s")
	must(t, err)
	if p.State != "running" || p.Chosen != 3 || p.Replayed != 3 || p.Resumed != 0 {
		t.Errorf("before it is gone on with: %+v", p)
	}
	nudge(w.resuming)
	wait(t, "it has come to its end", func() bool {
		p, err = w.ReplayOf(t.Context(), "s")
		must(t, err)
		return p.State != "running"
	})
	if p.State != "done" || p.Chosen != 4 || p.Replayed != 4 || p.Resumed != 1 {
		t.Errorf("at the end: %+v", p)
	}
}
