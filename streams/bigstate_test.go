package streams

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/streams/serde"
)

const (
	wideRows = 12_000
	wideSize = 1_000 // Bytes of a row.
)

// wideRow is the row that a value makes.
func wideRow(key, value string) []byte {
	row := fmt.Appendf(nil, "%s=%s ", key, value)
	return append(row, bytes.Repeat([]byte{'.', key[len(key)-1]}, (wideSize-len(row))/2)...)
}

// newWide keeps a wide row of each key: a state much larger than the caches.
func newWide() (*Topology, *Table[string, []byte], error) {
	b := NewBuilder()
	rows := MapValues(From(b, "wide", serde.Text{}, serde.Text{}), func(key, value string) []byte { return wideRow(key, value) }).
		ToTable(serde.Text{}, serde.Bytes{}, With{Store: "rows"})
	topology, err := b.Build()
	return topology, rows, err
}

func wideApp(topology *Topology) App {
	return App{ID: "wide", Topology: topology, ExactlyOnce: true, CommitInterval: 50 * time.Millisecond, Standbys: 1, AcceptableLag: 100}
}

// smallCaches are a twelfth of the state each.
func smallCaches(c *Config) { c.CacheBytes, c.BlockCacheBytes = 1<<20, 1<<20 }

// putWide writes values for the keys from first on, and waits until all that was ever
// written has been processed.
func (w *world) putWide(model map[string]string, first, n int, value string, all int64) {
	w.t.Helper()
	rs := make([]*kgo.Record, n)
	for i := range rs {
		key := fmt.Sprintf("key%06d", first+i)
		model[key] = value
		rs[i] = &kgo.Record{Topic: "wide", Key: []byte(key), Value: []byte(value)}
	}
	if err := w.client.Produce(w.ctx, rs...); err != nil {
		w.t.Fatal(err)
	}
	w.wait("the rows to be made", func() bool {
		at, err := w.client.GroupOffsets(w.ctx, "wide")
		if err != nil {
			w.t.Fatal(err)
		}
		return at["wide"][0] >= all
	})
}

// checkWide waits until all rows of an instance are what they must be: what is committed
// may be seen a moment before it is in the store.
func (w *world) checkWide(r *running, rows *Table[string, []byte], model map[string]string) {
	w.t.Helper()
	all, err := r.Rows(w.ctx, "wide", rows.StoreName())
	if err != nil {
		w.t.Fatal(err)
	}
	var wrong string
	defer func() {
		if w.t.Failed() {
			w.t.Log(wrong)
		}
	}()
	w.wait("the rows to be right", func() bool {
		n := 0
		wrong = ""
		err := rows.View(all).All(w.ctx, func(rec Record[string, []byte]) error {
			n++
			if !bytes.Equal(rec.Value, wideRow(rec.Key, model[rec.Key])) {
				wrong = fmt.Sprintf("the row of %s is %.40q, of value %q", rec.Key, rec.Value, model[rec.Key])
			}
			return nil
		})
		if err != nil || n != len(model) {
			wrong = fmt.Sprintf("%d rows of %d: %v", n, len(model), err)
		}
		return wrong == ""
	})
}

// TestLargeStateMoves builds a state larger than the caches in a process that is killed.
// Its standby takes it over without reading it again; then an instance with nothing on its
// disk restores all of it.
func TestLargeStateMoves(t *testing.T) {
	w, model := newWorld(t), map[string]string{}
	if err := w.client.Delete(w.ctx, "wide"); err != nil {
		t.Fatal(err)
	}
	w.create("wide", 1)
	topology, rows, err := newWide()
	if err != nil {
		t.Fatal(err)
	}
	owner := w.startChildOf("wide", t.TempDir())
	w.putWide(model, 0, wideRows, "first", wideRows)

	standby := w.startAsking(t.TempDir(), wideApp(topology), smallCaches)
	m := &standby.apps["wide"].metrics
	w.wait("a copy of the state", func() bool { return standby.copiesAreCurrent("wide", 1) && m.Copied.Load() >= wideRows })
	killNow(t, owner)
	w.putWide(model, wideRows/2, 500, "second", wideRows+500)
	if n := m.Restored.Load(); n > wideRows/10 {
		t.Errorf("%d records were read to take over a state of which there was a copy", n)
	}
	w.checkWide(standby, rows, model)
	standby.end()

	cold := w.startAsking(t.TempDir(), wideApp(topology), smallCaches)
	w.putWide(model, 0, 500, "third", wideRows+1000)
	if n := cold.apps["wide"].metrics.Restored.Load(); n < wideRows {
		t.Errorf("%d records were read to restore %d rows", n, wideRows)
	}
	w.checkWide(cold, rows, model)
	cold.end()
}

// killNow kills a process and waits until it is gone.
func killNow(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // It was killed, and says so.
}

// wideChild runs the application of wide rows until it is killed.
func wideChild(brokers []string, dir string) error {
	topology, _, err := newWide()
	if err != nil {
		return err
	}
	c := Config{Brokers: brokers, Dir: dir, Remote: asking(), Client: []kgo.Opt{kgo.SessionTimeout(childSession)}}
	smallCaches(&c)
	e, err := OpenEngine(c)
	if err != nil {
		return err
	}
	if err := e.Add(wideApp(topology)); err != nil {
		return err
	}
	return e.Run(context.Background())
}
