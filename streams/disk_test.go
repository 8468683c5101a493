package streams

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams/serde"
	"github.com/tidemill/tidemill/streams/state"
)

// startOn is start with a say in how the database is opened.
func (w *world) startOn(dir string, app App, tune func(*state.DiskOptions), change ...func(*Engine)) *running {
	w.t.Helper()
	e, err := openEngine(Config{
		Brokers: w.brokers, Dir: dir, Remote: asking(), Client: w.options, BlockCacheBytes: -1, // What is read is read from the disk.
		Logger: slog.New(slog.NewTextHandler(w.t.Output(), nil)),
	}, tune)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, c := range change {
		c(e)
	}
	if err := e.Add(app); err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.ctx)
	r := &running{Engine: e, t: w.t, stop: cancel, done: make(chan error, 1)}
	go func() { r.done <- e.Run(ctx) }()
	w.t.Cleanup(cancel)
	return r
}

// TestFullDisk runs an application whose disk becomes full: it says so, with a code and a
// mend, stands still, and goes on once there is room; and it can be stopped while the disk
// is full, and goes on from there in another life. Every count is there once.
func TestFullDisk(t *testing.T) {
	for name, stopped := range map[string]bool{"until there is room": false, "stopped meanwhile": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.drop("wc-counts-changelog")
			var full atomic.Bool
			disk := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
				if full.Load() && (op.Kind == errorfs.OpFileWrite || op.Kind == errorfs.OpCreate || op.Kind == errorfs.OpFilePreallocate) {
					return &os.PathError{Op: "write", Path: op.Path, Err: syscall.ENOSPC}
				}
				return nil
			}))
			// Small tables make the database need room often.
			tune := func(o *state.DiskOptions) { o.FS, o.MemTableBytes, o.Sync = disk, 64<<10, true }
			topology, counts := keyCount(t, With{Uncached: true})
			app, dir := App{ID: "wc", Topology: topology, ExactlyOnce: true, CommitInterval: 10 * time.Millisecond}, t.TempDir()
			e := w.startOn(dir, app, tune)
			w.put(300)
			w.waitOutput()
			full.Store(true)
			w.wait("the disk to be full", func() bool {
				w.put(20)
				_, err := e.State("wc")
				return err != nil && connect.AsError(err).Code == "streams.state.full"
			})
			if _, err := e.State("wc"); connect.AsError(err).Mend == "" {
				t.Errorf("it is not said what to do about %v", err)
			}
			w.put(200)
			if stopped {
				e.end()
				full.Store(false)
				e = w.startOn(dir, app, tune)
			}
			full.Store(false)
			w.waitCounted(e, "wc", counts)
			w.wait("the error to be gone", func() bool { s, err := e.State("wc"); return s == Running && err == nil })
			e.end()
			w.checkExact()
		})
	}
}

// ruin flips a bit in the middle of every table of a database.
func ruin(t *testing.T, dir string) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "state", "*.sst"))
	if err != nil || len(names) == 0 {
		t.Fatalf("there are no tables: %v", err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		b[len(b)/3] ^= 4
		if err := os.WriteFile(name, b, 0o640); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDamagedDisk flips bits in the database of two applications, while they are stopped
// and then while they run: the database is set aside and restored from the changelogs,
// and every count is there once.
func TestDamagedDisk(t *testing.T) {
	w := newWorld(t)
	w.drop("wc-counts-changelog", "other-counts-changelog")
	topology, counts := keyCount(t, With{Uncached: true})
	other, _ := newOther(t)
	app, dir := App{ID: "wc", Topology: topology, ExactlyOnce: true, CommitInterval: 10 * time.Millisecond}, t.TempDir()
	var e *running
	begin := func() {
		t.Helper()
		e = w.startOn(dir, app, nil)
		if err := e.Add(App{ID: "other", Topology: other, ExactlyOnce: true}); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // What is in the log the first time is in tables the second time.
		begin()
		w.put(300)
		w.waitCounted(e, "wc", counts)
		e.end()
	}
	for _, running := range []bool{false, true} { // The second time there is one that was set aside before.
		if running {
			begin()
			w.put(50)
			w.waitCounted(e, "wc", counts)
			e.end()
			begin()
			w.waitContents(e, "wc", counts)
			ruin(t, dir)
			w.wait("the damage to be met", func() bool {
				rows, err := e.Rows(w.ctx, "wc", "counts")
				if err == nil {
					err = counts.View(rows).All(w.ctx, func(Record[string, int64]) error { return nil })
				}
				return errors.Is(err, state.ErrDamaged) || e.repairs.Load() > 0
			})
		} else {
			ruin(t, dir)
			begin()
		}
		w.put(300)
		w.wait("the repair", func() bool { return e.repairs.Load() == 1 })
		w.waitCounted(e, "wc", counts)
		w.wait("both to run", func() bool {
			s, _ := e.State("wc")
			o, _ := e.State("other")
			return s == Running && o == Running
		})
		if n := e.apps["wc"].metrics.Restored.Load(); n == 0 {
			t.Error("nothing was restored")
		}
		w.put(100)
		w.waitCounted(e, "wc", counts)
		e.end()
		if names, err := filepath.Glob(filepath.Join(dir, "state*")); err != nil || len(names) != 2 {
			t.Errorf("there are %v: %v", names, err)
		}
	}
	w.checkExact()
}

// newOther counts words too, for itself.
func newOther(t *testing.T) (*Topology, *Table[string, int64]) {
	t.Helper()
	b := NewBuilder()
	counts := From(b, "in", serde.Text{}, serde.Text{}).GroupByKey(serde.Text{}, serde.Text{}).Count(With{Store: "counts"})
	topology, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return topology, counts
}
