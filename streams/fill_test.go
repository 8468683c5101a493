package streams

import (
	"fmt"
	"maps"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/streams/serde"
	"github.com/tidemill/tidemill/streams/state"
)

// filledWorld is an application with two stores of four partitions each, of which one
// keeps versions.
type filledWorld struct {
	*world
	app    App
	put    int64
	values []string // by key, "" for none
}

func newFilled(t *testing.T) *filledWorld {
	w := &filledWorld{world: newWorld(t), values: make([]string, 5000)}
	if err := w.client.Delete(w.ctx, "fill-rows", "fill-past", "fill-rows-changelog", "fill-past-changelog"); err != nil {
		t.Fatal(err)
	}
	w.create("fill-rows", 4)
	w.create("fill-past", 4)
	b := NewBuilder()
	TableFrom(b, "fill-rows", serde.Text{}, serde.Text{}, With{Store: "rows"})
	TableFrom(b, "fill-past", serde.Text{}, serde.Text{}, With{Store: "past", History: time.Hour})
	w.app = App{ID: "fill", Topology: w.built(b), ExactlyOnce: true, CommitInterval: 20 * time.Millisecond, AcceptableLag: 10}
	return w
}

// change writes n rows, some of which are deletions, and waits until they are processed.
func (w *filledWorld) change(n int) {
	w.t.Helper()
	var rs []*kgo.Record
	for range n {
		k := w.rnd.IntN(len(w.values))
		key := fmt.Appendf(nil, "key%d", k)
		value := fmt.Appendf(nil, "%0*d", 1+w.rnd.IntN(400), w.rnd.Int())
		if w.rnd.IntN(4) == 0 {
			value = nil
		}
		w.values[k] = string(value)
		rs = append(rs, &kgo.Record{Topic: "fill-rows", Key: key, Value: value})
		if w.rnd.IntN(4) == 0 {
			rs = append(rs, &kgo.Record{Topic: "fill-past", Key: key, Value: value})
		}
	}
	if err := w.client.Produce(w.ctx, rs...); err != nil {
		w.t.Fatal(err)
	}
	w.put += int64(len(rs))
	w.wait("the rows to be taken in", func() bool {
		at, err := w.client.GroupOffsets(w.ctx, "fill")
		if err != nil {
			w.t.Fatal(err)
		}
		var all int64
		for _, partitions := range at {
			for _, offset := range partitions {
				all += offset
			}
		}
		return all >= w.put
	})
}

// restored starts an instance, waits until it has restored everything and ends it.
func (w *filledWorld) restored(dir string, change func(*Engine)) (read int64) {
	w.t.Helper()
	r := w.startOn(dir, w.app, func(o *state.DiskOptions) { o.FillBytes = 4 << 10 }, change)
	w.wait("the stores to be restored", func() bool {
		s, _ := r.State("fill")
		return s == Running && r.tasks("fill") == 8
	})
	read = r.apps["fill"].metrics.Restored.Load()
	r.end()
	return read
}

// contents reads all that a state directory has: rows and positions.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	d, err := state.OpenDisk(filepath.Join(dir, "state"), state.DiskOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	all := map[string]string{}
	for _, name := range d.Names() {
		for p := range int32(4) {
			id, err := d.Open(name, p)
			if err != nil {
				t.Fatal(err)
			}
			it := d.Reader(id).Scan(state.Range{})
			for it.Next() {
				all[fmt.Sprintf("%s %d %q", name, p, it.Key())] = string(it.Value())
			}
			if err := it.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	return all
}

// check compares the rows with what was written last.
func (w *filledWorld) check(all map[string]string) {
	w.t.Helper()
	for k, value := range w.values {
		found := ""
		for p := range 4 {
			if row, ok := all[fmt.Sprintf("fill/rows %d %q", p, fmt.Sprintf("key%d", k))]; ok {
				_, raw := state.SplitTimed([]byte(row))
				found += string(raw)
			}
		}
		if found != value {
			w.t.Fatalf("the row of key%d is %q and not %q", k, found, value)
		}
	}
}

// TestStoresAreFilled restores the same changelogs by batches and by Fills: into nothing,
// over what an instance had before others went on, and after deaths before each commit of a
// Fill, which do not begin at zero. All of them have the same rows and positions.
func TestStoresAreFilled(t *testing.T) {
	w := newFilled(t)
	first := w.start(t.TempDir(), w.app)
	w.change(3000)
	first.end()
	behind := t.TempDir()
	w.restored(behind, func(*Engine) {})
	second := w.start(t.TempDir(), w.app)
	w.change(3000)
	second.end()

	plain := t.TempDir()
	w.restored(plain, func(e *Engine) { e.farBehind = 1 << 60 })
	want := contents(t, plain)
	w.check(want)
	var fills atomic.Int64
	filled := func(dir string, fatal int64) (read int64) {
		fills.Store(0)
		return w.restored(dir, func(e *Engine) {
			e.farBehind = 1
			e.crash = func(point string) error {
				if point == "filled" && fills.Add(1) == fatal {
					return errCrash
				}
				return nil
			}
		})
	}
	same := func(what, dir string) {
		t.Helper()
		if got := contents(t, dir); !maps.Equal(got, want) {
			t.Errorf("%s: %d rows and positions, and not the %d there are by batches", what, len(got), len(want))
		}
		if left, err := filepath.Glob(filepath.Join(dir, "state", "fill", "*")); err != nil || len(left) > 0 {
			t.Errorf("%s: there are still %v, %v", what, left, err)
		}
	}
	cold := t.TempDir()
	all := filled(cold, 0)
	same("into nothing", cold)
	commits := fills.Load()
	if commits < 3 {
		t.Errorf("there were only %d commits", commits)
	}
	if filled(behind, 0); fills.Load() == 0 {
		t.Error("what is behind is not filled")
	}
	same("over an earlier state", behind)
	for fatal := int64(1); fatal <= commits; fatal++ {
		dir := t.TempDir()
		w.dies(dir, fatal)
		if read := filled(dir, 0); fatal > 1 && read >= all {
			t.Errorf("after a death before commit %d all %d records are read again", fatal, read)
		}
		same(fmt.Sprintf("after a death before commit %d", fatal), dir)
	}
}

// dies starts an instance that dies before a commit of a Fill.
func (w *filledWorld) dies(dir string, fatal int64) {
	w.t.Helper()
	died := make(chan struct{})
	var fills atomic.Int64
	r := w.startOn(dir, w.app, func(o *state.DiskOptions) { o.FillBytes = 4 << 10 }, func(e *Engine) {
		e.farBehind = 1
		e.crash = func(point string) error {
			switch n := fills.Load(); {
			case n >= fatal:
				return errCrash
			case point == "filled" && fills.Add(1) == fatal:
				close(died)
				return errCrash
			}
			return nil
		}
	})
	w.wait("the death", func() bool {
		select {
		case <-died:
			return true
		default:
			return false
		}
	})
	r.end()
}

// TestCopiesAreFilled has an instance copy the stores of another one by Fills while rows
// change, and take them over in the midst of it or when it has all: it has the same rows.
func TestCopiesAreFilled(t *testing.T) {
	for name, whole := range map[string]bool{"whole": true, "in the midst": false} {
		t.Run(name, func(t *testing.T) {
			w := newFilled(t)
			w.app.Standbys = 1
			w.options = []kgo.Opt{kgo.FetchMaxPartitionBytes(1)} // One batch at a time.
			first := w.startOn(t.TempDir(), w.app, nil)
			w.change(4000)
			var fills atomic.Int64
			begun := make(chan struct{})
			dir := t.TempDir()
			second := w.startOn(dir, w.app, func(o *state.DiskOptions) { o.FillBytes = 4 << 10 }, func(e *Engine) {
				e.farBehind = 1
				e.crash = func(point string) error {
					if point == "filled" && fills.Add(1) == 1 {
						close(begun)
					}
					return nil
				}
			})
			w.wait("copies to be filled", func() bool {
				select {
				case <-begun:
					return true
				default:
					return false
				}
			})
			if whole {
				w.wait("the copies", func() bool {
					return second.tasks("fill") == 4 && second.copiesAreCurrent("fill", 4)
				})
				w.change(2000)
				w.wait("the copies", func() bool { return second.copiesAreCurrent("fill", 4) })
			}
			first.end()
			w.wait("the second instance to have all", func() bool {
				s, _ := second.State("fill")
				return s == Running && second.tasks("fill") == 8
			})
			w.change(500)
			second.end()
			plain := t.TempDir()
			w.restored(plain, func(e *Engine) { e.farBehind = 1 << 60 })
			want, got := contents(t, plain), contents(t, dir)
			for _, all := range []map[string]string{want, got} {
				w.check(all)
				maps.DeleteFunc(all, func(key, _ string) bool {
					return !strings.HasPrefix(key, "fill/rows") && !strings.HasPrefix(key, "fill/past")
				})
			}
			if !maps.Equal(got, want) {
				t.Errorf("%d rows, and not the %d there are by batches", len(got), len(want))
			}
		})
	}
}

// TestFewRecordsAreBatches restores what an instance lacks after a restart without a Fill.
func TestFewRecordsAreBatches(t *testing.T) {
	w := newFilled(t)
	first := w.start(t.TempDir(), w.app)
	w.change(500)
	first.end()
	read := w.restored(t.TempDir(), func(e *Engine) {
		e.crash = func(point string) error {
			if strings.HasPrefix(point, "fill") {
				t.Error("a Fill for a few records")
			}
			return nil
		}
	})
	if read == 0 {
		t.Error("nothing was restored")
	}
}
