package statetest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"sort"
	"sync"
	"testing"

	"github.com/tidemill/tidemill/streams/state"
)

// Open opens the DB in dir. An implementation in memory ignores dir.
type Open func(dir string) (state.DB, error)

// Run checks what every DB promises.
func Run(t *testing.T, open Open) {
	t.Helper()
	for name, check := range map[string]func(*testing.T, state.DB){
		"stores are apart":              storesApart,
		"a batch is seen whole":         batchWhole,
		"scans follow the model":        scansFollowModel,
		"a snapshot stands still":       snapshotStands,
		"dropping forgets":              droppingForgets,
		"readers run beside the writer": readersBeside,
		"a cache equals its store":      cacheEqualsStore,
	} {
		t.Run(name, func(t *testing.T) {
			db := must(open(t.TempDir()))(t)
			check(t, db)
			no(t, db.Close())
		})
	}
}

// RunDurable checks what a DB that survives its process promises.
func RunDurable(t *testing.T, open Open) {
	t.Helper()
	dir := t.TempDir()
	db := must(open(dir))(t)
	a, b := must(db.Open("a", 3))(t), must(db.Open("b", 0))(t)
	batch := db.Batch()
	batch.Put(a, []byte("k"), []byte("1"))
	batch.Put(b, []byte("k"), []byte("2"))
	no(t, batch.Commit())
	no(t, db.Close())

	db = must(open(dir))(t)
	if again := must(db.Open("b", 0))(t); again != b {
		t.Errorf("store b is %v after reopening, was %v", again, b)
	}
	want(t, db.Reader(a), "k", "1")
	want(t, db.Reader(b), "k", "2")
	c := must(db.Open("c", 0))(t)
	if c.Store == a.Store || c.Store == b.Store {
		t.Errorf("the new store c shares the number %d", c.Store)
	}
	no(t, db.Close())
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		no(t, err)
		return v
	}
}

func no(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// want checks one key; an empty value means absent.
func want(t *testing.T, r state.Reader, key, value string) {
	t.Helper()
	got, found, err := r.Get([]byte("pre"), []byte(key))
	no(t, err)
	if found != (value != "") || string(got) != "pre"+value {
		t.Errorf("%s is %q (found %v), want %q", key, got, found, value)
	}
}

func put(t *testing.T, db state.DB, id state.ID, kv ...string) {
	t.Helper()
	b := db.Batch()
	for i := 0; i < len(kv); i += 2 {
		b.Put(id, []byte(kv[i]), []byte(kv[i+1]))
	}
	no(t, b.Commit())
}

func storesApart(t *testing.T, db state.DB) {
	a0, a1, b0 := must(db.Open("a", 0))(t), must(db.Open("a", 1))(t), must(db.Open("b", 0))(t)
	put(t, db, a0, "k", "a0", "\xff\xff", "end")
	put(t, db, a1, "k", "a1")
	put(t, db, b0, "k", "b0")
	want(t, db.Reader(a0), "k", "a0")
	want(t, db.Reader(a1), "k", "a1")
	want(t, db.Reader(b0), "k", "b0")
	want(t, db.Reader(b0), "\xff\xff", "")
	if got := list(t, db.Reader(a0), state.Range{}); got != "k=a0 \xff\xff=end " {
		t.Errorf("store a, partition 0, has %q", got)
	}
	b := db.Batch()
	b.DeleteRange(a0, state.Range{})
	no(t, b.Commit())
	want(t, db.Reader(a0), "k", "")
	want(t, db.Reader(a1), "k", "a1")
}

func batchWhole(t *testing.T, db state.DB) {
	id := must(db.Open("s", 0))(t)
	put(t, db, id, "x", "old", "y", "old")
	b := db.Batch()
	key, value := []byte("x"), []byte("new")
	b.Put(id, key, value)
	key[0], value[0] = '?', '?' // The batch has copied them.
	b.Delete(id, []byte("y"))
	b.Put(id, []byte("z"), nil)
	want(t, db.Reader(id), "x", "old")
	if b.Size() == 0 {
		t.Error("the batch says it is empty")
	}
	no(t, b.Commit())
	want(t, db.Reader(id), "x", "new")
	want(t, db.Reader(id), "y", "")
	if _, found, err := db.Reader(id).Get(nil, []byte("z")); !found || err != nil {
		t.Errorf("an empty value is kept as a value: found %v, %v", found, err)
	}
}

// list writes a range as text.
func list(t *testing.T, r state.Reader, rg state.Range) string {
	t.Helper()
	var out bytes.Buffer
	it := r.Scan(rg)
	for it.Next() {
		fmt.Fprintf(&out, "%s=%s ", it.Key(), it.Value())
	}
	no(t, it.Close())
	return out.String()
}

// model lists a range of a map the slow way.
func model(m map[string]string, rg state.Range) string {
	var keys []string
	for k := range m {
		if (rg.Lo == nil || k >= string(rg.Lo)) && (rg.Hi == nil || k < string(rg.Hi)) {
			keys = append(keys, k)
		}
	}
	sort.Strings(keys)
	if rg.Reverse {
		sort.Sort(sort.Reverse(sort.StringSlice(keys)))
	}
	out := ""
	for _, k := range keys {
		out += k + "=" + m[k] + " "
	}
	return out
}

func randomRange(rnd *rand.Rand) state.Range {
	r := state.Range{Reverse: rnd.IntN(2) == 0}
	if rnd.IntN(4) > 0 {
		r.Lo = fmt.Appendf(nil, "%03d", rnd.IntN(1000))
	}
	if rnd.IntN(4) > 0 {
		r.Hi = fmt.Appendf(nil, "%03d", rnd.IntN(1000))
	}
	if r.Lo != nil && r.Hi != nil && bytes.Compare(r.Lo, r.Hi) > 0 {
		r.Lo, r.Hi = r.Hi, r.Lo
	}
	return r
}

func scansFollowModel(t *testing.T, db state.DB) {
	id := must(db.Open("s", 0))(t)
	rnd, m := rand.New(rand.NewPCG(1, 2)), map[string]string{}
	for range 60 {
		b := db.Batch()
		for range rnd.IntN(120) {
			change(rnd, m, func(k, v string) { b.Put(id, []byte(k), []byte(v)) }, func(k string) { b.Delete(id, []byte(k)) })
		}
		if rnd.IntN(8) == 0 {
			r := randomRange(rnd)
			b.DeleteRange(id, r)
			forget(m, r)
		}
		no(t, b.Commit())
		r := randomRange(rnd)
		if got, exp := list(t, db.Reader(id), r), model(m, r); got != exp {
			t.Fatalf("range %q…%q, reverse %v:\n got %s\nwant %s", r.Lo, r.Hi, r.Reverse, got, exp)
		}
	}
}

// change puts or deletes a random key in the model and through put and del.
func change(rnd *rand.Rand, m map[string]string, put func(k, v string), del func(k string)) {
	k, v := fmt.Sprintf("%03d", rnd.IntN(1000)), fmt.Sprint(rnd.IntN(1e6))
	if rnd.IntN(3) == 0 {
		delete(m, k)
		del(k)
		return
	}
	m[k] = v
	put(k, v)
}

func forget(m map[string]string, r state.Range) {
	for k := range m {
		if (r.Lo == nil || k >= string(r.Lo)) && (r.Hi == nil || k < string(r.Hi)) {
			delete(m, k)
		}
	}
}

func snapshotStands(t *testing.T, db state.DB) {
	id := must(db.Open("s", 0))(t)
	put(t, db, id, "a", "1", "b", "2")
	snap := must(db.Snapshot())(t)
	put(t, db, id, "a", "9", "c", "3")
	if got := list(t, snap.Reader(id), state.Range{}); got != "a=1 b=2 " {
		t.Errorf("the snapshot has %q", got)
	}
	want(t, snap.Reader(id), "a", "1")
	want(t, db.Reader(id), "a", "9")
	no(t, snap.Close())
}

func droppingForgets(t *testing.T, db state.DB) {
	d, ok := db.(interface{ Drop(name string) error })
	if !ok {
		return
	}
	id := must(db.Open("s", 7))(t)
	other := must(db.Open("o", 7))(t)
	put(t, db, id, "a", "1")
	put(t, db, other, "a", "2")
	no(t, d.Drop("s"))
	no(t, d.Drop("never"))
	want(t, db.Reader(must(db.Open("s", 7))(t)), "a", "")
	want(t, db.Reader(other), "a", "2")
}

// readersBeside has readers walk while a writer moves one unit between two keys
// in each batch: the sum is the same at every moment.
func readersBeside(t *testing.T, db state.DB) {
	id := must(db.Open("s", 0))(t)
	put(t, db, id, "a", "\x64", "b", "\x64")
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			r := db.Reader(id)
			for range 200 {
				sum := 0
				it := r.Scan(state.Range{})
				for it.Next() {
					sum += int(it.Value()[0])
				}
				if err := it.Close(); err != nil || sum != 200 {
					t.Errorf("a reader saw the sum %d, %v", sum, err)
					return
				}
			}
		})
	}
	for i := range 90 {
		put(t, db, id, "a", string([]byte{100 - byte(i)}), "b", string([]byte{100 + byte(i)}))
	}
	wg.Wait()
}

// cacheEqualsStore runs random changes through caches of several sizes.
func cacheEqualsStore(t *testing.T, db state.DB) {
	for _, limit := range []int64{0, 4 << 10, 1 << 20} {
		id := must(db.Open(fmt.Sprint("s", limit), 0))(t)
		c := state.NewCache(db.Reader(id), limit)
		rnd, m := rand.New(rand.NewPCG(3, uint64(limit))), map[string]string{}
		committed := map[string]string{}
		for round := range 40 {
			for range rnd.IntN(100) {
				change(rnd, m, func(k, v string) { no(t, c.Put([]byte(k), []byte(v))) }, func(k string) { no(t, c.Delete([]byte(k))) })
				k := fmt.Sprintf("%03d", rnd.IntN(1000))
				want(t, c, k, m[k])
			}
			r := randomRange(rnd)
			if got, exp := list(t, c, r), model(m, r); got != exp {
				t.Fatalf("round %d, range %q…%q, reverse %v:\n got %s\nwant %s", round, r.Lo, r.Hi, r.Reverse, got, exp)
			}
			commit(t, db, id, c, committed)
			if got, exp := list(t, db.Reader(id), state.Range{}), model(m, state.Range{}); got != exp {
				t.Fatalf("round %d: after the commit\n got %s\nwant %s", round, got, exp)
			}
			if rnd.IntN(5) == 0 {
				hi := fmt.Appendf(nil, "%03d", rnd.IntN(300))
				b := db.Batch()
				b.DeleteRange(id, state.Range{Hi: hi})
				no(t, b.Commit())
				c.Forget(hi)
				forget(m, state.Range{Hi: hi})
				forget(committed, state.Range{Hi: hi})
			}
		}
	}
}

// commit flushes c and checks that each entry carries the value before.
func commit(t *testing.T, db state.DB, id state.ID, c *state.Cache, committed map[string]string) {
	t.Helper()
	no(t, c.Flush(true, func(e state.Entry) error {
		old, had := committed[string(e.Key)]
		if had != e.HasOld || old != string(e.Old) {
			t.Errorf("key %s: old value %q (%v), want %q (%v)", e.Key, e.Old, e.HasOld, old, had)
		}
		if delete(committed, string(e.Key)); e.HasNew {
			committed[string(e.Key)] = string(e.New)
		}
		return nil
	}))
	b := db.Batch()
	c.Write(b, id)
	no(t, b.Commit())
	c.Committed()
	if c.DirtyBytes() != 0 {
		t.Errorf("%d dirty bytes after the commit", c.DirtyBytes())
	}
}
