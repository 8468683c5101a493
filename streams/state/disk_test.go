package state

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// crashed is a DB whose machine can die.
type crashed struct {
	*Disk
	fs *vfs.MemFS
	id ID
}

func openCrashable(tb testing.TB, o DiskOptions) *crashed {
	tb.Helper()
	c := &crashed{fs: vfs.NewCrashableMem()}
	o.FS = c.fs
	var err error
	if c.Disk, err = OpenDisk("state", o); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.Close() })
	if c.id, err = c.Open("s", 0); err != nil {
		tb.Fatal(err)
	}
	return c
}

// commit commits the numbers from…to one by one, each with the newest beside it.
func (c *crashed) commit(tb testing.TB, from, to int) {
	tb.Helper()
	for i := from; i <= to; i++ {
		b := c.Batch()
		b.Put(c.id, fmt.Append(nil, i), []byte("v"))
		b.Put(c.id, []byte("last"), fmt.Append(nil, i))
		if err := b.Commit(); err != nil {
			tb.Fatal(err)
		}
	}
}

// after returns the newest number that is left when so many of a hundred blocks that
// were not flushed reach the disk all the same: of 0 what a dead machine leaves at
// least, of 100 what a killed process does. All before it have to be there.
func (c *crashed) after(tb testing.TB, percent int, seed uint64) (last int) {
	tb.Helper()
	fs := c.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rand.New(rand.NewPCG(seed, seed))})
	db, err := OpenDisk("state", DiskOptions{FS: fs})
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	r := db.Reader(c.id)
	v, found, err := r.Get(nil, []byte("last"))
	if err != nil {
		tb.Fatal(err)
	}
	if found {
		if _, err := fmt.Sscan(string(v), &last); err != nil {
			tb.Fatal(err)
		}
	}
	for i := 1; i <= last+1; i++ {
		if _, found, err := r.Get(nil, fmt.Append(nil, i)); err != nil || found != (i <= last) {
			tb.Errorf("%d%% of what was not flushed: the last is %d, and %d is there: %v (%v)", percent, last, i, found, err)
		}
	}
	return last
}

// TestDiskCrash has the process killed and the machine die: what was synced is there,
// and of what was not a part that ends with one commit.
func TestDiskCrash(t *testing.T) {
	c := openCrashable(t, DiskOptions{})
	c.commit(t, 1, 50)
	if err := c.Sync(); err != nil {
		t.Fatal(err)
	}
	c.commit(t, 51, 5000)
	for _, percent := range []int{0, 50, 100} {
		for seed := range uint64(5) {
			if last := c.after(t, percent, seed); last < 50 || last > 5000 {
				t.Errorf("%d%%: the last is %d", percent, last)
			}
		}
	}
	if err := c.Sync(); err != nil {
		t.Fatal(err)
	}
	if last := c.after(t, 0, 1); last != 5000 {
		t.Errorf("after Sync the last is %d", last)
	}
}

// TestDiskCommitsLast has every commit wait for the disk.
func TestDiskCommitsLast(t *testing.T) {
	c := openCrashable(t, DiskOptions{Sync: true})
	for i := 1; i <= 20; i++ {
		c.commit(t, i, i)
		if last := c.after(t, 0, 1); last != i {
			t.Errorf("the last is %d of %d", last, i)
		}
	}
}
