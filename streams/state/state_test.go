package state_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/tidemill/tidemill/streams/state"
	"github.com/tidemill/tidemill/streams/state/statetest"
)

func openMemory(string) (state.DB, error)   { return state.NewMemory(), nil }
func openDisk(dir string) (state.DB, error) { return state.OpenDisk(dir, state.DiskOptions{}) }

func TestMemory(t *testing.T) { statetest.Run(t, openMemory) }

func TestDisk(t *testing.T) {
	statetest.Run(t, openDisk)
	t.Run("durable", func(t *testing.T) { statetest.RunDurable(t, openDisk) })
}

// TestDiskCheckpoint copies a DB while it is open, with all that was committed.
func TestDiskCheckpoint(t *testing.T) {
	dir := t.TempDir()
	db, err := state.OpenDisk(dir, state.DiskOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	id, _ := db.Open("s", 0)
	for i := range 100 {
		b := db.Batch()
		b.Put(id, fmt.Append(nil, i), []byte("v"))
		b.Put(id, []byte("last"), fmt.Append(nil, i))
		if err := b.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	copied := filepath.Join(t.TempDir(), "copy")
	if err := db.Checkpoint(copied); err != nil {
		t.Fatal(err)
	}
	again, err := state.OpenDisk(copied, state.DiskOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if v, _, err := again.Reader(id).Get(nil, []byte("last")); string(v) != "99" || err != nil {
		t.Errorf("last is %q, %v", v, err)
	}
	if _, err := state.OpenDisk(dir, state.DiskOptions{}); err == nil {
		t.Error("two DBs share one directory")
	}
}

func TestMemoryClosed(t *testing.T) {
	db := state.NewMemory()
	id, _ := db.Open("s", 0)
	b := db.Batch()
	db.Close()
	if _, _, err := db.Reader(id).Get(nil, nil); !errors.Is(err, state.ErrClosed) {
		t.Errorf("reading gives %v", err)
	}
	if err := b.Commit(); !errors.Is(err, state.ErrClosed) {
		t.Errorf("committing gives %v", err)
	}
}

func TestCacheDiscard(t *testing.T) {
	db := state.NewMemory()
	id, _ := db.Open("s", 0)
	c := state.NewCache(db.Reader(id), 1<<20)
	c.Put([]byte("a"), []byte("1"))
	b := db.Batch()
	c.Write(b, id)
	b.Commit()
	c.Committed()
	c.Put([]byte("a"), []byte("2"))
	c.Put([]byte("b"), []byte("2"))
	c.Discard()
	if v, _, _ := c.Get(nil, []byte("a")); string(v) != "1" {
		t.Errorf("a is %q after the discard", v)
	}
	if _, found, _ := c.Get(nil, []byte("b")); found {
		t.Error("b outlived the discard")
	}
}

// TestCacheBound checks that what did not change leaves at the bound, and only that, and
// that what was asked for stays before the rest.
func TestCacheBound(t *testing.T) {
	db := state.NewMemory()
	id, _ := db.Open("s", 0)
	c := state.NewCache(db.Reader(id), 10_000)
	commit := func() {
		b := db.Batch()
		c.Write(b, id)
		b.Commit()
		c.Committed()
	}
	for i := range 1000 {
		c.Put(fmt.Append(nil, i), []byte("0123456789"))
	}
	if c.DirtyBytes() < 100_000 || c.Bytes() != c.DirtyBytes() {
		t.Fatalf("%d bytes, %d dirty", c.Bytes(), c.DirtyBytes())
	}
	commit()
	if c.Bytes() > 2500 || c.Bytes() < 1500 {
		t.Errorf("%d bytes clean with a quarter of 10000", c.Bytes())
	}
	for range 40 {
		commit() // There are no changes that need the room any more.
	}
	hot := []byte("500")
	for i := range 1000 {
		c.Get(nil, fmt.Append(nil, i))
		c.Get(nil, hot)
	}
	if c.Bytes() > 10_000 || c.Bytes() < 8_000 {
		t.Errorf("%d bytes clean with a bound of 10000", c.Bytes())
	}
	_, before := c.Reads()
	c.Get(nil, hot)
	if _, hits := c.Reads(); hits != before+1 {
		t.Error("what is asked for all the time was forgotten")
	}
	c.SetLimit(0)
	if c.Bytes() > 0 {
		t.Errorf("%d bytes left with no bound at all", c.Bytes())
	}
}

func stores(t *testing.T) map[string]state.Store {
	db := state.NewMemory()
	id, _ := db.Open("s", 0)
	return map[string]state.Store{"cache": state.NewCache(db.Reader(id), 1<<20)}
}

func TestWindows(t *testing.T) {
	for name, s := range stores(t) {
		t.Run(name, func(t *testing.T) {
			w := state.NewWindows(s, state.Spec{Form: state.WindowKeys, Retention: 10 * time.Minute})
			minute := time.Minute.Milliseconds()
			for i := range int64(20) {
				w.Put([]byte("a"), i*minute, 0, fmt.Append(nil, i))
				w.Put([]byte("ab"), i*minute, 0, []byte("other"))
			}
			fetch := func(from, to int64) (got string) {
				w.Fetch([]byte("a"), from*minute, to*minute, func(x state.Window) error {
					got += string(x.Value) + " "
					return nil
				})
				return got
			}
			if got := fetch(3, 12); got != "3 4 5 6 7 8 9 10 11 12 " {
				t.Errorf("fetched %q", got)
			}
			if v, found, _ := w.Get(nil, []byte("a"), 7*minute); !found || string(v) != "7" {
				t.Errorf("got %q", v)
			}
			n := 0
			w.FetchAll(5*minute, 100*minute, func(state.Window) error { n++; return nil })
			if n != 30 {
				t.Errorf("%d windows of all keys, want 30", n)
			}
		})
	}
}

func TestSessions(t *testing.T) {
	for name, st := range stores(t) {
		t.Run(name, func(t *testing.T) {
			s := state.NewSessions(st, state.Spec{Form: state.SessionKeys, Retention: time.Hour})
			for _, x := range [][2]int64{{0, 5}, {10, 20}, {30, 30}, {40, 7_200_000}} {
				s.Put([]byte("k"), x[0], x[1], fmt.Append(nil, x))
				s.Put([]byte("kk"), x[0], x[1], []byte("other"))
			}
			find := func(from, to int64) (got string) {
				s.Find([]byte("k"), from, to, func(x state.Session) error { got += string(x.Value); return nil })
				return got
			}
			for _, c := range []struct {
				from, to int64
				want     string
			}{{6, 9, ""}, {5, 10, "[0 5][10 20]"}, {15, 35, "[10 20][30 30]"}, {50, 60, "[40 7200000]"}} {
				if got := find(c.from, c.to); got != c.want {
					t.Errorf("sessions in %d…%d: %s, want %s", c.from, c.to, got, c.want)
				}
			}
			s.Delete([]byte("k"), 10, 20)
			if got := find(0, 100); got != "[0 5][30 30][40 7200000]" {
				t.Errorf("after the delete: %s", got)
			}
			n := 0
			s.FindAll(20, 40, func(state.Session) error { n++; return nil })
			if n != 3 {
				t.Errorf("%d sessions of all keys end in 20…40, want 3", n)
			}
		})
	}
}

func TestKeyForms(t *testing.T) {
	wk := state.AppendWindowKey(nil, []byte("k"), 258, 3)
	if string(wk) != "k\x00\x00\x00\x00\x00\x00\x01\x02\x00\x00\x00\x03" {
		t.Errorf("window key %x", wk)
	}
	sk := state.AppendSessionKey(nil, []byte("k"), 1, 2)
	if string(sk) != "k\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x01" {
		t.Errorf("session key %x", sk)
	}
	ms, v := state.SplitTimed(state.AppendTimed(nil, 7, []byte("v")))
	if ms != 7 || string(v) != "v" {
		t.Errorf("timed value %d %q", ms, v)
	}
	if _, _, _, ok := state.SplitWindowKey([]byte("short")); ok {
		t.Error("a short window key was accepted")
	}
}

func BenchmarkCacheCount(b *testing.B) {
	db := state.NewMemory()
	id, _ := db.Open("s", 0)
	c := state.NewCache(db.Reader(id), 64<<20)
	keys := make([][]byte, 100_000)
	for i := range keys {
		keys[i] = fmt.Appendf(nil, "key-%09d", i)
	}
	var buf []byte
	for i := 0; b.Loop(); i++ {
		k := keys[i%len(keys)]
		buf, _, _ = c.Get(buf[:0], k)
		c.Put(k, append(buf[:0], "12345678"...))
	}
}

// TestSpec locates keys of every form in their segments, and knows which are live.
func TestSpec(t *testing.T) {
	minute := time.Minute.Milliseconds()
	forms := map[state.Form][]byte{
		state.WindowKeys:  state.AppendWindowKey(nil, []byte("k"), 7*minute, 1),
		state.SessionKeys: state.AppendSessionKey(nil, []byte("k"), 0, 7*minute),
		state.TimeFirst:   binary.BigEndian.AppendUint64(nil, uint64(7*minute)),
	}
	for form, key := range forms {
		spec := state.Spec{Form: form, Retention: 10 * time.Minute}
		if ms := spec.Time(key); ms != 7*minute {
			t.Errorf("form %d: the time is %d", form, ms)
		}
		want := "\x00\x00\x00\x00\x00\x00\x00\x01" + string(key)
		if local := spec.AppendLocal(nil, key); string(local) != want || spec.IsNote(local) {
			t.Errorf("form %d: local key %x", form, local)
		}
		note := spec.AppendLocal(nil, nil)
		if !spec.IsNote(note) || string(note) < want {
			t.Errorf("form %d: the note is at %x", form, note)
		}
		for newest, live := range map[int64]int64{0: 0, 14: 0, 15: 1, 24: 2} {
			if got, _ := spec.Live(newest * minute); got != live {
				t.Errorf("at minute %d the first live segment is %d, want %d", newest, got, live)
			}
		}
	}
	plain := state.Spec{Retention: time.Hour}
	if local := plain.AppendLocal(nil, []byte("k")); string(local) != "k" || plain.IsNote(nil) {
		t.Errorf("a plain key became %q", local)
	}
	window := state.Spec{Form: state.WindowKeys}
	if k := window.Inner(forms[state.WindowKeys]); string(k) != "k" {
		t.Errorf("the inner key is %q", k)
	}
}
