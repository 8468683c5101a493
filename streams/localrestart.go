package streams

import (
	"errors"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/streams/state"
	"github.com/tidemill/tidemill/streams/txn"
)

// history is what a Local keeps to be able to start over.
type history struct {
	logs    map[string][]*kgo.Record // what the changelogs have, as of the last commit
	unsaved []*kgo.Record            // written to changelogs since then
	inputs  []*kgo.Record            // put in since then
	marks   map[string]int           // how much of each output is from before it
}

// KeepHistory makes Restart possible. It keeps everything that is ever written to the
// changelogs, from the start on.
func (l *Local) KeepHistory() {
	l.history = &history{logs: map[string][]*kgo.Record{}, marks: map[string]int{}}
}

func (h *history) logged(r *kgo.Record) {
	if h != nil {
		h.unsaved = append(h.unsaved, r)
	}
}

func (h *history) input(r *kgo.Record) {
	if h != nil {
		h.inputs = append(h.inputs, r)
	}
}

func (h *history) taken(topic string) {
	if h != nil {
		h.marks[topic] = 0
	}
}

// mark notes that everything so far is committed, but for what waits for the rest of its
// transaction.
func (h *history) mark(out map[string][]*kgo.Record, e *epochs) {
	if h == nil {
		return
	}
	for _, r := range h.unsaved {
		h.logs[r.Topic] = append(h.logs[r.Topic], r)
	}
	h.unsaved, h.inputs = nil, slices.DeleteFunc(h.inputs, func(r *kgo.Record) bool {
		return e == nil || r.Offset < e.gate.Position(txn.Part{Topic: r.Topic})
	})
	clear(h.marks)
	for topic, rs := range out {
		h.marks[topic] = len(rs)
	}
}

// Restart ends the topology as the death of its process would, and starts it again:
// what was done since the last commit is undone and done again by the next Run, outputs
// that were not taken yet included. With wipe the stores are lost too, and are rebuilt
// from the changelogs.
func (l *Local) Restart(wipe bool) error {
	if l.history == nil {
		return errors.New("streams: nothing is known of what came before: KeepHistory was not called")
	}
	for topic, rs := range l.out {
		l.out[topic] = rs[:min(l.history.marks[topic], len(rs))]
	}
	l.pending, l.history.unsaved = slices.Clone(l.history.inputs), nil
	times := map[string]int64{}
	for _, t := range l.tasks {
		for _, q := range t.queues {
			times[q.topic] = q.savedHigh
		}
	}
	if wipe {
		if err := errors.Join(l.env.db.Close(), l.wipe()); err != nil {
			return err
		}
	}
	if err := l.openTasks(); err != nil {
		return err
	}
	for _, t := range l.tasks {
		for _, q := range t.queues {
			q.savedHigh = times[q.topic]
		}
		t.resume()
	}
	return nil
}

// wipe opens empty stores and fills them from the changelogs.
func (l *Local) wipe() error {
	l.env.db = state.NewMemory()
	if err := l.openTasks(); err != nil {
		return err
	}
	b := l.env.db.Batch()
	for _, t := range l.tasks {
		for _, st := range t.ordered {
			if _, err := t.replay(b, st, l.history.logs[st.changelog], nil); err != nil {
				return err
			}
		}
	}
	if l.env.epochs != nil {
		l.env.epochs.write(b)
	}
	return b.Commit()
}
