package state

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// staged is a DB with two stores of which the caches overflow, and what is to be in them.
type staged struct {
	t         *testing.T
	rnd       *rand.Rand
	db        *Disk
	s         *Stage
	ids       [2]ID
	caches    [2]*Cache
	now, then [2]map[string]string // with the changes, and as of the last commit
}

func openStaged(t *testing.T, fs vfs.FS, now [2]map[string]string) *staged {
	t.Helper()
	w := &staged{t: t, rnd: rand.New(rand.NewPCG(1, 2)), now: now}
	var err error
	if w.db, err = OpenDisk("db", DiskOptions{FS: fs}); err != nil {
		t.Fatal(err)
	}
	if w.s, err = w.db.Stage("stage", 4<<10); err != nil {
		t.Fatal(err)
	}
	w.s.table = 8 << 10 // Several tables for one commit.
	for i := range w.ids {
		if w.ids[i], err = w.db.Open("s", int32(i)); err != nil {
			t.Fatal(err)
		}
		w.caches[i] = NewCache(w.db.Reader(w.ids[i]), 2<<10)
		w.caches[i].Overflow(w.s, w.ids[i])
		w.then[i] = maps.Clone(now[i])
	}
	return w
}

func (w *staged) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// change changes some keys.
func (w *staged) change(n int) {
	w.t.Helper()
	for range n {
		i, key := w.rnd.IntN(2), fmt.Sprintf("%03d", w.rnd.IntN(500))
		if w.rnd.IntN(4) == 0 {
			w.must(w.caches[i].Delete([]byte(key)))
			delete(w.now[i], key)
			continue
		}
		value := fmt.Sprintf("%0*d", w.rnd.IntN(100), w.rnd.Int())
		w.must(w.caches[i].Put([]byte(key), []byte(value)))
		w.now[i][key] = value
	}
}

// check compares what r has.
func (w *staged) check(what string, r Reader, want map[string]string) {
	w.t.Helper()
	for n := range 500 {
		key := fmt.Sprintf("%03d", n)
		got, found, err := r.Get([]byte("before"), []byte(key))
		w.must(err)
		if v, ok := want[key]; ok != found || string(got) != "before"+v {
			w.t.Fatalf("%s: %s is %q, %v, and not %q", what, key, got, found, v)
		}
	}
	for range 3 {
		rg := Range{Lo: fmt.Appendf(nil, "%03d", w.rnd.IntN(300)), Hi: fmt.Appendf(nil, "%03d", 200+w.rnd.IntN(300)), Reverse: w.rnd.IntN(2) == 0}
		n, last := 0, []byte(nil)
		it := r.Scan(rg)
		for ; it.Next(); n++ {
			if last != nil && (bytes.Compare(last, it.Key()) < 0) == rg.Reverse {
				w.t.Fatalf("%s: %s comes after %s", what, it.Key(), last)
			}
			last = append(last[:0], it.Key()...)
			if v, ok := want[string(last)]; !ok || v != string(it.Value()) {
				w.t.Fatalf("%s: %s is %q in a walk, and not %q", what, last, it.Value(), v)
			}
		}
		w.must(it.Close())
		for key := range want {
			if key >= string(rg.Lo) && key < string(rg.Hi) {
				n--
			}
		}
		if n != 0 {
			w.t.Fatalf("%s: a walk has %d rows too many", what, n)
		}
	}
}

// flush looks at the changes as they leave.
func (w *staged) flush() {
	w.t.Helper()
	for i, c := range w.caches {
		seen := map[string]bool{}
		w.must(c.Flush(true, func(e Entry) error {
			key := string(e.Key)
			old, had := w.then[i][key]
			v, has := w.now[i][key]
			if had != e.HasOld || has != e.HasNew || old != string(e.Old) || v != string(e.New) || seen[key] {
				return fmt.Errorf("the change of %s is %q, %v to %q, %v", key, e.Old, e.HasOld, e.New, e.HasNew)
			}
			seen[key] = true
			return nil
		}))
		for _, m := range []map[string]string{w.then[i], w.now[i]} {
			for key := range m {
				was, had := w.then[i][key]
				is, has := w.now[i][key]
				if (was != is || had != has) && !seen[key] {
					w.t.Fatalf("the change of %s is missing", key)
				}
			}
		}
	}
}

func (w *staged) commit() {
	w.t.Helper()
	b := w.db.Batch()
	if w.s.Staged() {
		b = w.s.Batch()
	}
	for i, c := range w.caches {
		c.Write(b, w.ids[i])
	}
	w.must(b.Commit())
	for i, c := range w.caches {
		c.Committed()
		w.then[i] = maps.Clone(w.now[i])
	}
	w.s.Clear()
}

// TestStage compares caches that overflow with maps, over commits and changes that are
// taken back; the DB shows nothing before a commit, and after one has all of it, also when
// it is opened again.
func TestStage(t *testing.T) {
	fs := vfs.NewMem()
	w := openStaged(t, fs, [2]map[string]string{{}, {}})
	spilled := 0
	for round := range 60 {
		for range 1 + w.rnd.IntN(3) {
			w.change(w.rnd.IntN(400))
			for i, c := range w.caches {
				w.check("with the changes", c, w.now[i])
				w.check("before the commit", w.db.Reader(w.ids[i]), w.then[i])
				if c.Bytes() > 10<<10 {
					t.Fatalf("a cache of 2 KiB holds %d bytes", c.Bytes())
				}
			}
		}
		if w.s.Staged() {
			spilled++
		}
		if w.rnd.IntN(4) == 0 {
			for i, c := range w.caches {
				c.Discard()
				w.now[i] = maps.Clone(w.then[i])
			}
			w.s.Clear()
			continue
		}
		w.flush()
		w.commit()
		for i := range w.caches {
			w.check("after the commit", w.db.Reader(w.ids[i]), w.now[i])
		}
		if round%10 == 9 {
			w.must(errors.Join(w.s.Close(), w.db.Close()))
			seed := w.rnd
			w = openStaged(t, fs, w.now)
			w.rnd = seed
		}
	}
	if spilled < 20 {
		t.Errorf("only %d of 60 rounds overflowed", spilled)
	}
	if w.s.Peak() > 8<<10 {
		t.Errorf("%d bytes of changes were in memory at once", w.s.Peak())
	}
	w.must(errors.Join(w.s.Close(), w.db.Close()))
}

// TestPiles takes what was put on piles from them, in its order, while something is put on
// others; the DB gets nothing of it.
func TestPiles(t *testing.T) {
	w := openStaged(t, vfs.NewMem(), [2]map[string]string{{}, {}})
	const n = 50_000
	for i := range n {
		w.must(w.s.Pile(uint16(i%3), binary.BigEndian.AppendUint32(nil, uint32(i))))
	}
	if w.s.Staged() || w.s.Bytes() == 0 {
		t.Errorf("%d bytes are on piles, and staged: %v", w.s.Bytes(), w.s.Staged())
	}
	take := func(pile uint16, then func(i int) error) (taken int) {
		last := -1
		w.must(w.s.Unpile(pile, func(b []byte) error {
			i := int(binary.BigEndian.Uint32(b))
			if i <= last || i%3 != int(pile%3) {
				return fmt.Errorf("%d comes after %d from pile %d", i, last, pile)
			}
			last = i
			taken++
			return then(i)
		}))
		return taken
	}
	move := func(i int) error { return w.s.Pile(3, binary.BigEndian.AppendUint32(nil, uint32(i))) }
	none := func(int) error { return nil }
	if got := take(0, move); got != (n+2)/3 {
		t.Errorf("%d were on the first pile", got)
	}
	if got := take(0, none); got != 0 {
		t.Errorf("%d are still on it", got)
	}
	if got := take(3, none) + take(1, none) + take(2, none); got != n {
		t.Errorf("%d were on all piles", got)
	}
	w.change(500)
	w.commit()
	it := w.db.Reader(pileID).Scan(Range{})
	if it.Next() {
		t.Errorf("the DB has %x of a pile", it.Key())
	}
	w.must(errors.Join(it.Close(), w.s.Close(), w.db.Close()))
}
