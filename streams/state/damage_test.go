package state_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/tidemill/tidemill/streams/state"
)

// tight is a file system that can be full.
func tight() (fs vfs.FS, full *atomic.Bool) {
	full = new(atomic.Bool)
	return errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		switch op.Kind {
		case errorfs.OpCreate, errorfs.OpFileWrite, errorfs.OpFileWriteAt, errorfs.OpFilePreallocate, errorfs.OpReuseForWrite:
			if full.Load() {
				return &os.PathError{Op: "write", Path: op.Path, Err: syscall.ENOSPC}
			}
		}
		return nil
	})), full
}

// filled is a DB to which numbers are committed, each with the newest beside it.
type filled struct {
	*state.Disk
	t  *testing.T
	id state.ID
}

func openFilled(t *testing.T, dir string, o state.DiskOptions) *filled {
	t.Helper()
	d := &filled{t: t}
	var err error
	if d.Disk, err = state.OpenDisk(dir, o); err != nil {
		t.Fatal(err)
	}
	if d.id, err = d.Open("s", 0); err != nil {
		t.Fatal(err)
	}
	return d
}

func number(i int) []byte { return fmt.Appendf(nil, "%08d", i) }

// blob is a value that does not compress.
func blob(i int) []byte {
	b := make([]byte, 0, 1000)
	for r := rand.New(rand.NewPCG(uint64(i), 0)); len(b) < 1000; {
		b = binary.BigEndian.AppendUint64(b, r.Uint64())
	}
	return b
}

func (d *filled) commit(i int) error {
	b := d.Batch()
	b.Put(d.id, number(i), blob(i))
	b.Put(d.id, []byte("last"), number(i))
	return b.Commit()
}

// check reads everything: the numbers up to the last one are there, as they were.
func (d *filled) check() (last int, err error) {
	d.t.Helper()
	r := d.Reader(d.id)
	v, found, err := r.Get(nil, []byte("last"))
	if err != nil {
		return 0, err
	}
	if found {
		if _, err := fmt.Sscan(strings.TrimLeft(string(v), "0"), &last); err != nil {
			d.t.Fatal(err)
		}
	}
	n, it := 0, r.Scan(state.Range{Hi: []byte("a")})
	for it.Next() {
		n++
		if !bytes.Equal(it.Key(), number(n)) || !bytes.Equal(it.Value(), blob(n)) {
			d.t.Errorf("entry %d is %q", n, it.Key())
			n = last
			break
		}
	}
	if err = it.Close(); err == nil && n != last {
		d.t.Errorf("%d numbers up to %d", n, last)
	}
	return last, err
}

// TestDiskFull fills the disk: commits wait, reads go on, and all is there when there is
// room again.
func TestDiskFull(t *testing.T) {
	fs, full := tight()
	d := openFilled(t, "state", state.DiskOptions{FS: fs, MemTableBytes: 256 << 10})
	const n = 3000
	var written atomic.Int64
	done := make(chan error, 1)
	go func() {
		for i := 1; i <= n; i++ {
			if err := d.commit(i); err != nil {
				done <- err
				return
			}
			written.Add(1)
			if i == n/3 {
				full.Store(true)
			}
		}
		done <- nil
	}()
	await(t, "the disk to be full", func() bool { return d.Full() != nil })
	if err := d.Full(); !errors.Is(err, state.ErrFull) || !strings.Contains(err.Error(), "no space left on device") {
		t.Errorf("the disk is full: %v", err)
	}
	for i := 1; i <= n/3; i++ {
		if v, found, err := d.Reader(d.id).Get(nil, number(i)); err != nil || !found || !bytes.Equal(v, blob(i)) {
			t.Fatalf("entry %d cannot be read: %v %v", i, found, err)
		}
	}
	select {
	case err := <-done:
		t.Fatalf("all was written to a full disk: %v", err)
	default:
	}
	full.Store(false)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	await(t, "nobody to wait", func() bool { return d.Full() == nil })
	for range 2 {
		if last, err := d.check(); last != n || err != nil {
			t.Errorf("%d numbers: %v", last, err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		d = openFilled(t, "state", state.DiskOptions{FS: fs})
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// TestDiskFullClose closes a DB whose disk is full, while commits wait: it does not wait
// itself, and what is there afterwards is the state as of some commit.
func TestDiskFullClose(t *testing.T) {
	for seed := range uint64(4) {
		fs, full := tight()
		d := openFilled(t, "state", state.DiskOptions{FS: fs, MemTableBytes: 256 << 10})
		rnd := rand.New(rand.NewPCG(seed, 1))
		at := 1 + rnd.IntN(1500)
		closing := make(chan struct{})
		done := make(chan error, 1)
		go func() {
			var err error
			for i := 1; err == nil; i++ {
				err = d.commit(i)
				if i == at {
					full.Store(true)
				}
				select {
				case <-closing:
					done <- err
					return
				default:
				}
			}
			done <- err
		}()
		await(t, "the disk to be full", func() bool { return d.Full() != nil })
		close(closing)
		d.Hurry()
		if err := <-done; err != nil {
			t.Errorf("a commit: %v", err)
		}
		if err := d.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
		full.Store(false)
		d = openFilled(t, "state", state.DiskOptions{FS: fs})
		last, err := d.check()
		if err != nil {
			t.Error(err)
		}
		t.Logf("full after %d, %d are left", at, last)
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestOpenFull opens a DB where there is no room for it, which does not wait.
func TestOpenFull(t *testing.T) {
	fs, full := tight()
	full.Store(true)
	if _, err := state.OpenDisk("state", state.DiskOptions{FS: fs}); !errors.Is(err, state.ErrFull) {
		t.Errorf("opened with %v", err)
	}
	full.Store(false)
	if err := openFilled(t, "state", state.DiskOptions{FS: fs}).Close(); err != nil {
		t.Error(err)
	}
}

// files returns the files of a DB with names such as *.sst, the largest first.
func files(t *testing.T, dir, pattern string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(names) == 0 {
		t.Fatalf("no file %s: %v", pattern, err)
	}
	return names
}

func rewrite(t *testing.T, name string, change func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err == nil {
		err = os.WriteFile(name, change(b), 0o640)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// flipped changes one bit at a part of the way through.
func flipped(part float64) func([]byte) []byte {
	return func(b []byte) []byte {
		if len(b) > 0 {
			b[int(part*float64(len(b)-1))] ^= 0x10
		}
		return b
	}
}

// TestDamage changes real files in many ways. Whatever is read afterwards is the state as
// of some commit; or else it is told that the DB is damaged, it is set aside, of which
// there is one at most, and an empty one takes its place.
func TestDamage(t *testing.T) {
	each := func(pattern string, change func([]byte) []byte) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			for _, name := range files(t, dir, pattern) {
				rewrite(t, name, change)
			}
		}
	}
	removed := func(pattern string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			for _, name := range files(t, dir, pattern) {
				if err := os.Remove(name); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	half := func(b []byte) []byte { return b[:len(b)/2] }
	for _, c := range []struct {
		name   string
		damage func(*testing.T, string)
		lost   bool // it is certain that the DB cannot be read
	}{
		{"a bit of the tables", each("*.sst", flipped(0.4)), true},
		{"a bit at the start of the tables", each("*.sst", flipped(0)), true},
		{"a bit at the end of the tables", each("*.sst", flipped(1)), true},
		{"tables cut in half", each("*.sst", half), true},
		{"no tables", removed("*.sst"), true},
		{"a bit of the manifest", each("MANIFEST-*", flipped(0.5)), false},
		{"a bit at the start of the manifest", each("MANIFEST-*", flipped(0)), false},
		{"a torn manifest", each("MANIFEST-*", half), false},
		{"an empty manifest", each("MANIFEST-*", func([]byte) []byte { return nil }), false},
		{"no manifest", removed("MANIFEST-*"), true},
		{"no marker of the manifest", removed("marker.manifest.*"), false},
		{"no markers", removed("marker.*"), false},
		{"a bit of the log", each("*.log", flipped(0.5)), false},
		{"a torn log", each("*.log", half), false},
		{"no log", removed("*.log"), false},
		{"nonsense for options", each("OPTIONS-*", func([]byte) []byte { return []byte("nonsense") }), false},
		{"everything", each("*", flipped(0.3)), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "state")
			fill(t, dir)
			for range 2 { // Two times: there is one that was set aside before.
				c.damage(t, dir)
				outlive(t, dir, c.lost)
				fill(t, dir)
			}
		})
	}
}

// fill puts numbers into an empty DB, in tables and in the log.
func fill(t *testing.T, dir string) {
	t.Helper()
	for part := range 3 {
		d := openFilled(t, dir, state.DiskOptions{MemTableBytes: 128 << 10})
		last, err := d.check()
		if err != nil {
			t.Fatal(err)
		}
		for i := last + 1; i <= last+40+part; i++ {
			if err := d.commit(i); err != nil {
				t.Fatal(err)
			}
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// outlive opens a damaged DB and reads it.
func outlive(t *testing.T, dir string, lost bool) {
	t.Helper()
	told := ""
	d := openFilled(t, dir, state.DiskOptions{CacheBytes: -1, Damaged: func(err error, aside string) {
		if !errors.Is(err, state.ErrDamaged) {
			t.Errorf("set aside for %v", err)
		}
		told = aside
	}})
	last, err := d.check()
	switch {
	case err == nil && lost && last != 0:
		t.Errorf("%d numbers are there all the same", last)
	case err == nil:
		if d.Damage() != nil && told == "" {
			t.Errorf("damage that nobody met: %v", d.Damage())
		}
	case !errors.Is(err, state.ErrDamaged):
		t.Errorf("reading it gave %v", err)
	default:
		<-d.Damaged()
		if told, err = d.Renew(); err != nil {
			t.Fatal(err)
		}
		if d.id, err = d.Open("s", 0); err != nil {
			t.Fatal(err)
		}
		if last, err = d.check(); last != 0 || err != nil || d.Damage() != nil {
			t.Errorf("the new one has %d numbers: %v, %v", last, err, d.Damage())
		}
	}
	if told != "" {
		if names, err := filepath.Glob(dir + "*"); err != nil || len(names) != 2 || names[1] != told {
			t.Errorf("set aside to %s: there are %v, %v", told, names, err)
		}
	}
	if err := d.Close(); err != nil && d.Damage() == nil {
		t.Error(err)
	}
}

// TestInUse has a second one open what is in use: that is nothing to repair.
func TestInUse(t *testing.T) {
	dir := t.TempDir()
	d := openFilled(t, dir, state.DiskOptions{})
	_, err := state.OpenDisk(dir, state.DiskOptions{Damaged: func(error, string) { t.Error("it was set aside") }})
	if err == nil || errors.Is(err, state.ErrDamaged) {
		t.Errorf("opened with %v", err)
	}
	if err := d.commit(1); err != nil {
		t.Error(err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}
