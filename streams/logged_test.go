package streams

import (
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/streams/serde"
	"github.com/tidemill/tidemill/streams/state"
)

// keeping puts each record into a store that logs at once, and passes it on.
func keeping(c *Context[string, string]) (func(*Record[string, string]) error, error) {
	store, err := c.Store("kept")
	return func(r *Record[string, string]) error {
		if err := store.Put([]byte(r.Key), []byte(r.Value)); err != nil {
			return err
		}
		return c.Forward(r)
	}, err
}

// putOnce writes n records, each with a key of its own.
func (w *world) putOnce(model map[string]string, n int) {
	w.t.Helper()
	rs := make([]*kgo.Record, n)
	for i := range rs {
		key := fmt.Sprint("key", len(model))
		model[key] = fmt.Sprint("value", len(model))
		rs[i] = &kgo.Record{Topic: "in", Key: []byte(key), Value: []byte(model[key])}
	}
	if err := w.client.Produce(w.ctx, rs...); err != nil {
		w.t.Fatal(err)
	}
}

// uncommitted counts the records of a topic from its start, of any transaction, until
// there are n.
func (w *world) uncommitted(topic string, n int) {
	w.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(w.brokers...), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		w.t.Fatal(err)
	}
	defer cl.Close()
	for n > 0 {
		n -= cl.PollFetches(w.ctx).NumRecords()
		if w.ctx.Err() != nil {
			w.t.Fatalf("%d more records of %s are not there", n, topic)
		}
	}
}

// TestLogAtOnce crashes before the first commit, which has a long time: everything put is
// in the changelog by then, within a transaction where there is one. What goes on has the
// same rows in its store and its changelog, with the local state and without.
func TestLogAtOnce(t *testing.T) {
	for name, eos := range guarantees {
		for _, keep := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, state kept %v", name, keep), func(t *testing.T) { logAtOnce(t, eos, keep) })
		}
	}
}

func logAtOnce(t *testing.T, eos, keep bool) {
	w := newWorld(t)
	changelog := changelogName("logged", "kept")
	w.drop(changelog)
	b := NewBuilder()
	Process(From(b, "in", serde.Text{}, serde.Text{}), keeping, With{Stores: []state.Spec{{Name: "kept", LogAtOnce: true}}}).
		To("out", serde.Text{}, serde.Text{})
	app, dir, model := App{ID: "logged", Topology: w.built(b), ExactlyOnce: eos, CommitInterval: 10 * time.Millisecond}, t.TempDir(), map[string]string{}
	instance := func(e *Engine) { e.instance = "logged" }
	const first, before, after = 50, 300, 100
	w.putOnce(model, first)
	e := w.start(dir, app, instance)
	w.wait("the first results", func() bool { return len(w.all(changelog)) == first })
	e.end()

	app.CommitInterval = time.Hour
	w.putOnce(model, before)
	e = w.start(dir, app, instance, func(e *Engine) { e.crash = func(string) error { return errCrash } })
	w.uncommitted(changelog, first+before)
	committed, err := w.client.Committed(w.ctx, "logged", map[string][]int32{"in": {0, 1, 2, 3}})
	if err != nil {
		t.Fatal(err)
	}
	var done int64
	for _, c := range committed["in"] {
		done += max(c.Offset, 0)
	}
	if done != first {
		t.Errorf("%d records are committed, want %d", done, first)
	}
	e.end()

	w.putOnce(model, after)
	if !keep {
		dir = t.TempDir()
	}
	app.CommitInterval = 10 * time.Millisecond
	e = w.start(dir, app, instance)
	folded := func(topic string) (rows map[string]string, n int) {
		rows = map[string]string{}
		for _, r := range w.all(topic) {
			rows[string(r.Key)] = string(r.Value)
			n++
		}
		return rows, n
	}
	var logged, sent int
	w.wait("all rows in the changelog and the output", func() bool {
		rows, n := folded(changelog)
		results, m := folded("out")
		logged, sent = n, m
		return maps.Equal(rows, model) && maps.Equal(results, model)
	})
	rows, err := e.Rows(w.ctx, "logged", "kept")
	if err != nil {
		t.Fatal(err)
	}
	w.wait("all rows in the store", func() bool {
		n := 0
		for key, value := range model {
			if row, found, err := rows.Get(w.ctx, []byte(key)); err == nil && found && string(row.Value) == value {
				n++
			}
		}
		return n == len(model)
	})
	restored := e.apps["logged"].metrics.Restored.Load()
	e.end()
	want := first + before + after
	if !eos {
		want += before // What was not committed is processed again.
	}
	if logged != want || sent != want {
		t.Errorf("%d rows were logged and %d results sent, want %d", logged, sent, want)
	}
	wantRestored := int64(0)
	if !keep {
		wantRestored = first
		if !eos {
			wantRestored += before
		}
	}
	if restored != wantRestored {
		t.Errorf("%d records were restored, want %d", restored, wantRestored)
	}
}
