package state

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"
)

// TestRowsFollowModel makes random changes: what rows know is what was put last, and they take
// no more than they may.
func TestRowsFollowModel(t *testing.T) {
	for _, limit := range []int64{2_100, 5_000, 100_000, 10 << 20} {
		random, model := rand.New(rand.NewPCG(7, uint64(limit))), map[string]string{}
		r := newRows(limit)
		found := 0
		for range 30_000 {
			key := fmt.Sprintf("%0*d", 1+random.IntN(4), random.IntN(1000))
			switch n := random.IntN(1000); {
			case n < 500:
				value := fmt.Sprintf("+%0*d", random.IntN(30), random.IntN(1000))
				if n < 100 {
					value = "" // It has none.
				}
				r.put([]byte(key), []byte(value), value != "")
				model[key] = value
			case n == 500:
				hi := fmt.Sprintf("%03d", random.IntN(100))
				r.forget([]byte(hi))
				for key := range model {
					if key < hi {
						delete(model, key)
					}
				}
			case n == 501:
				r.setLimit(limit / int64(1+random.IntN(20)))
			case n == 502:
				r.setLimit(limit)
			case n == 503 && random.IntN(10) == 0:
				r.reset()
			default:
				value, has, known := r.get([]byte(key), n%2 == 0)
				want, there := model[key]
				if known && (!there || string(value) != want || has != (want != "")) {
					t.Fatalf("limit %d: %s is %q (%v), want %q (%v)", limit, key, value, has, want, there)
				}
				if known {
					found++
				}
			}
			if r.bytes > limit {
				t.Fatalf("%d bytes, more than %d", r.bytes, limit)
			}
		}
		if found < 100 || limit == 10<<20 && found < 2000 {
			t.Errorf("limit %d: only %d rows were found", limit, found)
		}
	}
}

// TestRowsKeepWhatIsAskedFor checks that rows that are asked for outlive others, and that one
// that is too large is not kept.
func TestRowsKeepWhatIsAskedFor(t *testing.T) {
	r := newRows(64 << 10)
	forgotten := 0
	for i := range 20_000 {
		r.put(fmt.Append(nil, i), []byte("0123456789"), true)
		if _, _, known := r.get([]byte("7"), true); !known {
			forgotten++
			r.put([]byte("7"), []byte("9876543210"), true)
		}
	}
	if forgotten > 10 { // When the index grows, a chunk is given up as it is.
		t.Errorf("the row that is asked for all the time was forgotten %d times", forgotten)
	}
	r.put([]byte("7"), make([]byte, 64<<10), true)
	if _, _, known := r.get([]byte("7"), false); known {
		t.Error("a row as large as all of the memory is there, or what it was before")
	}
}

// TestLend lets caches share what a DB lends, which they give back when there are more of
// them, and when they are gone.
func TestLend(t *testing.T) {
	d, err := OpenDisk(t.TempDir(), DiskOptions{CacheBytes: 8 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	id, _ := d.Open("s", 0)
	value := make([]byte, 100)
	use := func(c *Cache) {
		for i := range 50_000 {
			if err := c.Put(fmt.Append(nil, i), value); err != nil {
				t.Fatal(err)
			}
			if c.DirtyBytes() > 100_000 {
				b := d.Batch()
				c.Write(b, id)
				if err := b.Commit(); err != nil {
					t.Fatal(err)
				}
				c.Committed()
			}
		}
	}
	first, second := NewCache(d.Reader(id), 100_000), NewCache(d.Reader(id), 100_000)
	d.Lend(first)
	d.Lend(second)
	use(first)
	if have := first.loan.bytes.Load(); have < 3<<20 || have > 4<<20 || first.rows.bytes > have+100_000 {
		t.Errorf("the first cache has borrowed %d of %d and keeps %d", have, d.rows.limit, first.rows.bytes)
	}
	use(second)
	use(first)
	use(second)
	for i, c := range []*Cache{first, second} {
		if have := c.loan.bytes.Load(); have < 3<<20/2 || have > 2<<20 || c.rows.bytes > have+100_000 {
			t.Errorf("cache %d of two has borrowed %d of %d and keeps %d", i, have, d.rows.limit, c.rows.bytes)
		}
	}
	runtime.KeepAlive(first)
	runtime.KeepAlive(second)
	first, second = nil, nil
	for deadline := time.Now().Add(time.Minute); d.rows.lent.Load() != 0 || d.rows.borrowers.Load() != 0; {
		if runtime.GC(); time.Now().After(deadline) {
			t.Fatalf("%d bytes are lent to caches that are gone", d.rows.lent.Load())
		}
	}
}
