package state_test

import (
	"errors"
	"os"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/tidemill/tidemill/streams/state"
)

// ill is a file system that fails from some operation of a kind on, after which nothing
// works: neither is anything written nor, if reading ends too, is anything read.
type ill struct {
	vfs.FS
	left  atomic.Int64 // operations until then; negative: none has failed yet and none will
	first errorfs.OpReadWrite
	reads bool
	fails atomic.Bool
}

func newIll(number syscall.Errno) *ill {
	f := &ill{first: errorfs.OpIsWrite}
	f.left.Store(-1)
	f.FS = errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		kind := op.Kind.ReadOrWrite()
		if op.Kind == errorfs.OpFileClose || kind == errorfs.OpIsRead && !f.reads {
			return nil
		}
		if !f.fails.Load() && kind == f.first && f.left.Load() >= 0 && f.left.Add(-1) < 0 {
			f.fails.Store(true)
		}
		if !f.fails.Load() {
			return nil
		}
		return &os.PathError{Op: "of a failing disk", Path: op.Path, Err: number}
	}))
	return f
}

// well ends the illness.
func (f *ill) well() {
	f.left.Store(-1)
	f.fails.Store(false)
}

// TestFailingDisk has the disk fail at operations of all kinds: nothing panics and no
// commit gives an error, it is told once, the DB is usable from then on, and what is on the
// disk when it is well again is the state as of some commit.
func TestFailingDisk(t *testing.T) {
	for _, number := range []syscall.Errno{syscall.EIO, syscall.EROFS} {
		for after := int64(0); after < 60; after += 3 {
			disk := newIll(number)
			d := openFilled(t, "state", state.DiskOptions{FS: disk, MemTableBytes: 64 << 10, Sync: after%2 == 0})
			written := 0
			for i := 1; d.Damage() == nil; i++ {
				if i == 20 {
					disk.left.Store(after)
				}
				if err := d.commit(i); err != nil {
					t.Fatalf("after %d writes: commit %d: %v", after, i, err)
				}
				written = i
			}
			<-d.Damaged()
			if err := d.Damage(); !errors.Is(err, state.ErrFailing) || errors.Is(err, state.ErrDamaged) || !errors.Is(err, number) {
				t.Fatalf("the disk fails: %v", err)
			}
			if err := d.commit(written + 1); err != nil {
				t.Errorf("a commit when it was known: %v", err)
			}
			aside, err := d.Renew()
			if err != nil || aside != "" || d.Damage() != nil {
				t.Fatalf("set aside to %q: %v, %v", aside, err, d.Damage())
			}
			if d.id, err = d.Open("s", 0); err != nil {
				t.Fatal(err)
			}
			if err = d.commit(1); err != nil {
				t.Error(err)
			}
			if last, err := d.check(); last != 1 || err != nil {
				t.Errorf("the one in memory has %d numbers: %v", last, err)
			}
			if err := d.Close(); err != nil {
				t.Error(err)
			}
			disk.well()
			d = openFilled(t, "state", state.DiskOptions{FS: disk})
			last, err := d.check()
			if err != nil || last > written || after%2 == 0 && last < 19 {
				t.Errorf("after %d writes: %d of %d numbers: %v", after, last, written, err)
			}
			if err := d.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestFailingReads has the disk fail at a read: the reader gets an error that says so.
func TestFailingReads(t *testing.T) {
	disk := newIll(syscall.EIO)
	disk.first, disk.reads = errorfs.OpIsRead, true
	d := openFilled(t, "state", state.DiskOptions{FS: disk, MemTableBytes: 64 << 10, CacheBytes: -1})
	for i := 1; i <= 300; i++ {
		if err := d.commit(i); err != nil {
			t.Fatal(err)
		}
	}
	disk.left.Store(0)
	if _, err := d.check(); !errors.Is(err, state.ErrFailing) {
		t.Errorf("reading gave %v", err)
	}
	<-d.Damaged()
	if _, err := d.Renew(); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	disk.well()
	d = openFilled(t, "state", state.DiskOptions{FS: disk})
	if last, err := d.check(); last == 0 || err != nil {
		t.Errorf("%d numbers are left: %v", last, err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}

// TestOpenFailing opens a DB on a disk that fails.
func TestOpenFailing(t *testing.T) {
	disk := newIll(syscall.EIO)
	disk.fails.Store(true)
	_, err := state.OpenDisk("state", state.DiskOptions{FS: disk, Damaged: func(error, string) { t.Error("it was set aside") }})
	if !errors.Is(err, state.ErrFailing) {
		t.Errorf("opened with %v", err)
	}
}
