package streams

import (
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

// TestFailingDisk runs applications whose disk begins to fail: the one with a store fails
// with a code and a mend, the one without goes on, and so does the process. When the disk is
// well again another life goes on from there, and every count is there once.
func TestFailingDisk(t *testing.T) {
	for name, sync := range map[string]bool{"at a commit": true, "in the background": false} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.drop("wc-counts-changelog", "copies")
			w.create("copies", 1)
			var fails atomic.Bool
			disk := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
				if fails.Load() && op.Kind != errorfs.OpFileClose {
					return &os.PathError{Op: "of a failing disk", Path: op.Path, Err: syscall.EIO}
				}
				return nil
			}))
			tune := func(o *state.DiskOptions) { o.FS, o.MemTableBytes, o.Sync = disk, 64<<10, sync }
			topology, counts := keyCount(t, With{Uncached: true})
			app, dir := App{ID: "wc", Topology: topology, ExactlyOnce: true, CommitInterval: 10 * time.Millisecond}, t.TempDir()
			b := NewBuilder()
			From(b, "in", serde.Text{}, serde.Text{}).To("copies", serde.Text{}, serde.Text{})
			plain := App{ID: "plain", Topology: w.built(b), ExactlyOnce: true}
			e := w.startOn(dir, app, tune)
			if err := e.Add(plain); err != nil {
				t.Fatal(err)
			}
			w.put(300)
			w.waitOutput()
			fails.Store(true)
			w.wait("the application to fail", func() bool {
				w.put(20)
				s, _ := e.State("wc")
				return s == Failed
			})
			_, err := e.State("wc")
			failed := connect.AsError(err)
			if failed.Code != "streams.state.failing" || failed.Place != dir || failed.Mend == "" {
				t.Errorf("it fails with %+v", failed)
			}
			w.put(200)
			all := 0
			for _, n := range w.model {
				all += int(n)
			}
			w.wait("the other one to go on", func() bool { return len(w.all("copies")) == all })
			if s, err := e.State("plain"); s != Running || err != nil {
				t.Errorf("the other one is %s: %v", s, err)
			}
			if s := w.doing(e, "wc"); s.Disk == nil || !s.Disk.Failing || s.Error == nil || s.Error.Code != failed.Code {
				t.Errorf("it says %+v of the disk, and %+v", s.Disk, s.Error)
			}
			if err := e.Resume("wc"); err != nil {
				t.Fatal(err)
			}
			w.wait("the application to fail again", func() bool { s, err := e.State("wc"); return s == Failed && err != nil })
			e.end()
			fails.Store(false)
			e = w.startOn(dir, app, tune)
			w.waitCounted(e, "wc", counts)
			e.end()
			w.checkExact()
			if names, err := filepath.Glob(filepath.Join(dir, "state.damaged")); err != nil || len(names) > 0 {
				t.Errorf("set aside: %v, %v", names, err)
			}
		})
	}
}
