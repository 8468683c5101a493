package state

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestCacheWalks walks caches over and over while others commit to their stores: a walk sees
// what was committed before it began, and nothing of what is committed meanwhile. The DB
// closes with what is kept of them.
func TestCacheWalks(t *testing.T) {
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	d, err := OpenDisk("db", DiskOptions{FS: vfs.NewMem(), MemTableBytes: 256 << 10})
	must(err)
	var caches [2]*Cache
	var ids [2]ID
	var have [2]map[string]string
	for i := range caches {
		ids[i], err = d.Open(fmt.Sprint("store", i), 0)
		must(err)
		caches[i], have[i] = NewCache(d.Reader(ids[i]), 1<<10), map[string]string{}
	}
	commit := func() {
		b := d.Batch()
		for range 1 + rnd.IntN(20) {
			i, key := rnd.IntN(2), fmt.Sprintf("%03d", rnd.IntN(300))
			if rnd.IntN(3) == 0 {
				b.Delete(ids[i], []byte(key))
				delete(have[i], key)
				continue
			}
			value := fmt.Sprint(rnd.Int())
			b.Put(ids[i], []byte(key), []byte(value))
			have[i][key] = value
		}
		must(b.Commit())
	}
	kept := 0
	for range 3000 {
		if rnd.IntN(3) == 0 {
			commit()
		}
		i := rnd.IntN(2)
		rg := Range{Lo: fmt.Appendf(nil, "%03d", rnd.IntN(300)), Hi: fmt.Appendf(nil, "%03d", rnd.IntN(300)), Reverse: rnd.IntN(2) == 0}
		if rnd.IntN(5) == 0 {
			rg.Hi = nil
		}
		keys := slices.Sorted(maps.Keys(have[i]))
		keys = slices.DeleteFunc(keys, func(key string) bool { return key < string(rg.Lo) || rg.Hi != nil && key >= string(rg.Hi) })
		if rg.Reverse {
			slices.Reverse(keys)
		}
		then := maps.Clone(have[i])
		if kept += len(d.idle.of); kept > 0 && rnd.IntN(50) == 0 {
			must(d.idle.end()) // As at a commit of something else.
		}
		if rnd.IntN(50) == 0 {
			must(d.db.Flush())
		}
		it, n, most := caches[i].Scan(rg), 0, rnd.IntN(400)
		for ; n < most && it.Next(); n++ {
			if n >= len(keys) || keys[n] != string(it.Key()) || then[keys[n]] != string(it.Value()) {
				t.Fatalf("%v has %s=%s in place %d, and not one of %v", rg, it.Key(), it.Value(), n, keys)
			}
			if rnd.IntN(100) == 0 {
				commit()
			}
		}
		must(it.Close())
		if n != min(len(keys), most) {
			t.Fatalf("%v has %d keys, and not %d", rg, n, min(len(keys), most))
		}
	}
	if kept == 0 {
		t.Error("nothing was ever kept of a walk")
	}
	must(d.Close())
}

// TestWalksLetWrittenRowsGo has the newest rows written to a file between two walks: the
// second one does not use the iterator of the first, which has them in memory.
func TestWalksLetWrittenRowsGo(t *testing.T) {
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	d, id, c := aCache(t)
	b := d.Batch()
	b.Put(id, []byte("key"), []byte("value"))
	must(b.Commit())
	walk := func() idleIter {
		t.Helper()
		it := c.Scan(Range{})
		if !it.Next() || string(it.Value()) != "value" {
			t.Error("the row is not there")
		}
		must(it.Close())
		for _, kept := range d.idle.of {
			return kept
		}
		return idleIter{}
	}
	first := walk()
	if first.it == nil || walk() != first {
		t.Error("nothing is kept of a walk")
	}
	must(d.db.Flush())
	if after := walk(); after.it == nil || after.at == first.at {
		t.Error("what is kept of a walk is from before the rows were written")
	}
}

// TestCacheKeepsRowsThatAreAskedFor has a store that is walked alone cache no rows, and one
// that is asked for rows cache those that changed. A row that is cached never grows old, and
// the deletion of a key that was never there is shown in neither.
func TestCacheKeepsRowsThatAreAskedFor(t *testing.T) {
	for _, asked := range []bool{false, true} {
		d, err := OpenDisk("db", DiskOptions{FS: vfs.NewMem()})
		if err != nil {
			t.Fatal(err)
		}
		id, err := d.Open("store", 0)
		if err != nil {
			t.Fatal(err)
		}
		c := NewCache(d.Reader(id), 1<<20)
		get := func(key string) string {
			v, _, err := c.Get(nil, []byte(key))
			if err != nil {
				t.Fatal(err)
			}
			return string(v)
		}
		get("first") // Known to be absent from now on.
		for round := range 3 {
			for key := range 100 {
				if asked {
					get(fmt.Sprint(key))
				}
				if err := c.Put(fmt.Append(nil, key), fmt.Append(nil, round)); err != nil {
					t.Fatal(err)
				}
			}
			if err := errors.Join(c.Put([]byte("first"), fmt.Append(nil, round)), c.Delete([]byte("never"))); err != nil {
				t.Fatal(err)
			}
			shown := 0
			if err := c.Flush(false, func(Entry) error { shown++; return nil }); err != nil {
				t.Fatal(err)
			}
			if shown != 101 {
				t.Errorf("asked: %v; %d changes are shown, and not 101", asked, shown)
			}
			b := d.Batch()
			c.Write(b, id)
			if err := b.Commit(); err != nil {
				t.Fatal(err)
			}
			c.Committed()
			if got := c.rows.knows([]byte("50")); got != asked {
				t.Errorf("asked: %v; cached: %v", asked, got)
			}
			if got := get("first"); got != fmt.Sprint(round) {
				t.Errorf("asked: %v; the row is %q after commit %d", asked, got, round)
			}
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
