package state_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/tidemill/tidemill/streams/state"
)

// change is one of a log of changes to stores.
type change struct {
	of         int // the store
	key, value string
	has        bool
}

// changes makes a log: keys that come again and again, of every length, and that are
// deleted, in several stores and partitions.
func changes(rnd *rand.Rand, n, keys int) []change {
	log := make([]change, n)
	for i := range log {
		c := &log[i]
		c.of = rnd.IntN(4)
		k := rnd.IntN(keys)
		switch k % 4 {
		case 0:
			c.key = fmt.Sprintf("a long key with much in common %d", k)
		case 1:
			c.key = string(binary.BigEndian.AppendUint64(nil, uint64(k)*0x9e3779b97f4a7c15))
		case 2:
			c.key = strings.Repeat("\x00", k%40)
		default:
			c.key = fmt.Sprint(k)
		}
		if c.has = rnd.IntN(4) > 0; c.has {
			c.value = fmt.Sprintf("%d %0*d", i, rnd.IntN(200), k)
			if rnd.IntN(20) == 0 {
				c.value = ""
			}
		}
	}
	return log
}

// logged is a DB that is made from a log, with how far it is beside the rows.
type logged struct {
	t   *testing.T
	db  state.DB
	ids [4]state.ID
	at  state.ID
}

func openLogged(t *testing.T, db state.DB) *logged {
	t.Helper()
	w := &logged{t: t, db: db}
	var err error
	if w.at, err = db.Open("at", 0); err != nil {
		t.Fatal(err)
	}
	for i := range w.ids {
		if w.ids[i], err = db.Open(fmt.Sprintf("s%d", i/2), int32(i%2)); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// put puts some of the log into a batch.
func (w *logged) put(b state.Batch, log []change, from, to int) {
	for _, c := range log[from:to] {
		if c.has {
			b.Put(w.ids[c.of], []byte(c.key), []byte(c.value))
		} else {
			b.Delete(w.ids[c.of], []byte(c.key))
		}
	}
	b.Put(w.at, []byte("at"), number(to))
}

// all is everything that is there, and how far that is.
func (w *logged) all() (rows [4]map[string]string, at int) {
	w.t.Helper()
	v, _, err := w.db.Reader(w.at).Get(nil, []byte("at"))
	if err == nil && v != nil {
		_, err = fmt.Sscanf(string(v), "%d", &at)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	for i, id := range w.ids {
		rows[i] = map[string]string{}
		it := w.db.Reader(id).Scan(state.Range{})
		for it.Next() {
			rows[i][string(it.Key())] = string(it.Value())
		}
		if err := it.Close(); err != nil {
			w.t.Fatal(err)
		}
	}
	return rows, at
}

// check compares the rows with what the log says as far as it is in.
func (w *logged) check(log []change) (at int) {
	w.t.Helper()
	got, at := w.all()
	var want [4]map[string]string
	for i := range want {
		want[i] = map[string]string{}
	}
	for _, c := range log[:at] {
		if delete(want[c.of], c.key); c.has {
			want[c.of][c.key] = c.value
		}
	}
	for i := range want {
		if !maps.Equal(got[i], want[i]) {
			w.t.Errorf("store %d has %d rows after %d changes, and not the %d of the log", i, len(got[i]), at, len(want[i]))
		}
	}
	return at
}

func openSmall(t *testing.T, fs vfs.FS, fill int64) *state.Disk {
	t.Helper()
	d, err := state.OpenDisk("state", state.DiskOptions{FS: fs, MemTableBytes: 256 << 10, FillBytes: fill})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// TestFill fills stores from a log, in turns with batches, and compares them with it, also
// when the DB is opened again. Nothing of a Fill is seen before its commit.
func TestFill(t *testing.T) {
	for seed := range uint64(6) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		log := changes(rnd, 20_000, []int{100, 5000, 1_000_000}[seed%3])
		fs := vfs.NewMem()
		d := openSmall(t, fs, 8<<10)
		w := openLogged(t, d)
		for at := 0; at < len(log); {
			if rnd.IntN(3) == 0 {
				to := min(at+rnd.IntN(300), len(log))
				b := d.Batch()
				w.put(b, log, at, to)
				must(t, b.Commit())
				at = to
			}
			f := d.Fill()
			for range 1 + rnd.IntN(2) {
				before := w.check(log)
				for n := rnd.IntN(8000); n > 0 && at < len(log) && !f.Due(); n -= 100 {
					to := min(at+100, len(log))
					w.put(f, log, at, to)
					at = to
				}
				if now := w.check(log); now != before {
					t.Fatalf("%d changes are seen before the commit", now-before)
				}
				must(t, f.Commit())
				if now := w.check(log); now != at || f.Size() != 0 {
					t.Fatalf("%d of %d changes are there after the commit", now, at)
				}
			}
			must(t, f.Close())
			if rnd.IntN(3) == 0 {
				must(t, d.Close())
				d = openSmall(t, fs, 8<<10)
				w = openLogged(t, d)
				if now := w.check(log); now != at {
					t.Fatalf("%d of %d changes are there in another life", now, at)
				}
			}
		}
		must(t, d.Close())
		if names, err := fs.List("state/fill"); err == nil && len(names) > 0 {
			t.Errorf("there are still %v: %v", names, err)
		}
	}
}

// TestFillForgets closes a Fill without a commit, and has a range deleted with one.
func TestFillForgets(t *testing.T) {
	d := openSmall(t, vfs.NewMem(), 4<<10)
	w := openLogged(t, d)
	log := changes(rand.New(rand.NewPCG(1, 2)), 3000, 1000)
	var fs []*state.Fill
	for f := d.Fill(); f != nil; f = d.Fill() {
		fs = append(fs, f)
	}
	if len(fs) != 2 {
		t.Fatalf("there are %d at once", len(fs))
	}
	w.put(fs[0], log, 0, 3000)
	must(t, fs[0].Close(), fs[1].Commit())
	if at := w.check(log); at != 0 {
		t.Errorf("%d changes are there that were not committed", at)
	}
	if err := fs[0].Commit(); !errors.Is(err, state.ErrClosed) {
		t.Errorf("one that is closed commits with %v", err)
	}
	w.put(fs[1], log, 0, 3000)
	for _, id := range w.ids {
		fs[1].DeleteRange(id, state.Range{})
	}
	must(t, fs[1].Commit(), fs[1].Close())
	if rows, at := w.all(); at != 3000 || len(rows[0])+len(rows[1])+len(rows[2])+len(rows[3]) > 0 {
		t.Errorf("after %d changes there are rows that were deleted: %v", at, rows)
	}
	must(t, d.Close())
}

// TestFillCrash has the machine die at any write of a Fill and of the batches before it.
// The DB has what the log says as of some commit, no earlier one than the last of the Fill.
func TestFillCrash(t *testing.T) {
	log := changes(rand.New(rand.NewPCG(3, 4)), 4000, 700)
	for seed := range uint64(60) {
		rnd := rand.New(rand.NewPCG(seed, 5))
		mem := vfs.NewCrashableMem()
		var ops, lasting, least atomic.Int64
		var after *vfs.MemFS
		at := int64(rnd.IntN(400))
		fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && ops.Add(1) == at {
				least.Store(lasting.Load())
				after = mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rnd.IntN(101), RNG: rand.New(rand.NewPCG(seed, 6))})
			}
			return nil
		}))
		d := openSmall(t, fs, 8<<10)
		w := openLogged(t, d)
		f := d.Fill()
		for from := 0; from < len(log); from += 100 {
			if from%1000 == 500 {
				must(t, f.Commit())
				lasting.Store(int64(from))
				b := d.Batch()
				w.put(b, log, from, from+100)
				must(t, b.Commit())
				continue
			}
			w.put(f, log, from, from+100)
		}
		must(t, f.Commit(), f.Close(), d.Close())
		if after == nil {
			after = mem
		}
		d = openSmall(t, after, 8<<10)
		if names, err := after.List("state/fill"); err == nil {
			t.Errorf("a crash leaves %v", names)
		}
		if now := openLogged(t, d).check(log); int64(now) < least.Load() {
			t.Errorf("%d changes are there, of which %d were to last", now, least.Load())
		}
		must(t, d.Close())
	}
}

// TestFillLasts has the machine die right after the commit of a Fill: what was committed
// earlier, to other stores, is there too.
func TestFillLasts(t *testing.T) {
	mem := vfs.NewCrashableMem()
	d := openSmall(t, mem, 8<<10)
	w := openLogged(t, d)
	b := d.Batch()
	b.Put(w.ids[3], []byte("earlier"), nil)
	must(t, b.Commit())
	f := d.Fill()
	f.Put(w.ids[0], []byte("later"), nil)
	must(t, f.Commit())
	after := mem.CrashClone(vfs.CrashCloneCfg{})
	must(t, f.Close(), d.Close())
	d = openSmall(t, after, 8<<10)
	rows, _ := openLogged(t, d).all()
	if len(rows[0]) != 1 || len(rows[3]) != 1 {
		t.Errorf("there is %v", rows)
	}
	must(t, d.Close())
}

// TestFillFull fills stores while the disk is full: it waits, and goes on when there is room.
// When the DB is closed meanwhile, it says so, and the DB is as of the commit before.
func TestFillFull(t *testing.T) {
	log := changes(rand.New(rand.NewPCG(8, 9)), 20_000, 10_000)
	for _, closed := range []bool{false, true} {
		for _, at := range []int{0, 7000, 19_900} {
			fs, full := tight()
			d := openSmall(t, fs, 16<<10)
			w := openLogged(t, d)
			f := d.Fill()
			w.put(f, log, 0, 5000)
			must(t, f.Commit())
			done := make(chan error, 1)
			go func() {
				for from := 5000; from < len(log); from += 100 {
					if from == max(at, 5000) {
						full.Store(true)
					}
					w.put(f, log, from, from+100)
				}
				done <- f.Commit()
			}()
			await(t, "the disk to be full", func() bool { return d.Full() != nil })
			if now := w.check(log); now != 5000 {
				t.Errorf("%d changes are there while the disk is full", now)
			}
			if closed {
				d.Hurry()
				if err := <-done; !errors.Is(err, state.ErrFull) {
					t.Errorf("nothing reached the disk: %v", err)
				}
			} else {
				full.Store(false)
				must(t, <-done)
			}
			must(t, f.Close(), d.Close())
			full.Store(false)
			d = openSmall(t, fs, 16<<10)
			if now := openLogged(t, d).check(log); now != 5000 && closed || now != len(log) && !closed {
				t.Errorf("%d changes are there", now)
			}
			must(t, d.Close())
		}
	}
}

// TestFillFails has the disk fail, and flips bits of the files that are sorted.
func TestFillFails(t *testing.T) {
	log := changes(rand.New(rand.NewPCG(8, 9)), 20_000, 10_000)
	disk := newIll(syscall.EIO)
	d := openSmall(t, disk, 16<<10)
	w := openLogged(t, d)
	f := d.Fill()
	w.put(f, log, 0, 10_000)
	disk.left.Store(20)
	w.put(f, log, 10_000, 20_000)
	if err := f.Commit(); !errors.Is(err, state.ErrFailing) || d.Damage() == nil {
		t.Errorf("the disk fails: %v, %v", err, d.Damage())
	}
	must(t, f.Close(), d.Close())
	disk.well()
	d = openSmall(t, disk, 16<<10)
	if now := openLogged(t, d).check(log); now != 0 {
		t.Errorf("%d changes are there", now)
	}
	must(t, d.Close())

	dir := filepath.Join(t.TempDir(), "state")
	d, err := state.OpenDisk(dir, state.DiskOptions{FillBytes: 16 << 10})
	must(t, err)
	w = openLogged(t, d)
	for _, change := range []func([]byte) []byte{flipped(0.3), flipped(0), func(b []byte) []byte { return b[:len(b)/2] }, func(b []byte) []byte { return b[:len(b)-8] }} {
		f := d.Fill()
		w.put(f, log, 0, 20_000)
		rewrite(t, files(t, dir, "fill/*/*.run")[3], change)
		if err := f.Commit(); err == nil {
			t.Error("rows are taken from a file that is not what it was")
		}
		must(t, f.Close())
		if now := w.check(log); now != 0 || d.Damage() != nil {
			t.Errorf("%d changes are there, and the DB is said to be damaged: %v", now, d.Damage())
		}
	}
	must(t, d.Close())
	if _, err := os.Stat(filepath.Join(dir, "fill", "4")); err == nil {
		t.Error("files are left over")
	}
}

// TestFillMemory fills a store with much more than a Fill has in memory.
func TestFillMemory(t *testing.T) {
	d, err := state.OpenDisk(t.TempDir(), state.DiskOptions{FillBytes: 1 << 20, MemTableBytes: 256 << 10, CacheBytes: -1})
	must(t, err)
	var ids []state.ID
	for p := range 50 {
		id, err := d.Open("s", int32(p))
		must(t, err)
		ids = append(ids, id)
	}
	inUse := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before, most := inUse(), int64(0)
	f, value := d.Fill(), bytes.Repeat([]byte("v"), 200)
	const n = 200_000
	for i := range n {
		f.Put(ids[i%50], binary.BigEndian.AppendUint64(nil, uint64(i)*0x9e3779b97f4a7c15), value)
		if f.Due() {
			t.Fatal("it is too much to be merged at once")
		}
		if i%20_000 == 19_999 {
			most = max(most, inUse())
		}
	}
	must(t, f.Commit())
	most = max(most, inUse())
	if most-before > 8<<20 {
		t.Errorf("%d bytes are in memory for a Fill of 1 MiB", most-before)
	}
	must(t, f.Close())
	found := 0
	for _, id := range ids {
		it := d.Reader(id).Scan(state.Range{})
		for it.Next() {
			found++
		}
		must(t, it.Close())
	}
	if found != n {
		t.Errorf("%d rows of %d", found, n)
	}
	must(t, d.Close())
}
