package state_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/streams/state"
)

// memoryStore is a store of a database in memory, written through a cache.
func memoryStore(t *testing.T) state.Store {
	t.Helper()
	db := state.NewMemory()
	id, err := db.Open("s", 0)
	if err != nil {
		t.Fatal(err)
	}
	return state.NewCache(db.Reader(id), 1<<20)
}

func keysOf(t *testing.T, s state.Store) string {
	t.Helper()
	var keys []string
	it := s.Scan(state.Range{})
	for it.Next() {
		keys = append(keys, string(it.Key()))
	}
	if err := it.Close(); err != nil {
		t.Fatal(err)
	}
	return strings.Join(keys, " ")
}

// TestLRU compares with a list that is searched, over random uses and restarts.
func TestLRU(t *testing.T) {
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 3))
		store := memoryStore(t)
		l := state.NewLRU(store, 4)
		var model []string // the key used last at the end
		use := func(key string) {
			model = append(slices.DeleteFunc(model, func(k string) bool { return k == key }), key)
		}
		for range 200 {
			key := fmt.Sprint("k", rnd.IntN(8))
			var err error
			switch rnd.IntN(8) {
			case 0:
				err = l.Delete([]byte(key))
				model = slices.DeleteFunc(model, func(k string) bool { return k == key })
			case 1, 2:
				var found bool
				_, found, err = l.Get(nil, []byte(key))
				if found != slices.Contains(model, key) {
					t.Fatalf("seed %d: %s found %v, with %v", seed, key, found, model)
				}
				if found {
					use(key)
				}
			case 3:
				l = state.NewLRU(store, 4)
				slices.Sort(model)
			default:
				err = l.Put([]byte(key), []byte("v"))
				use(key)
				model = model[max(len(model)-4, 0):]
			}
			if err != nil {
				t.Fatal(err)
			}
			sorted := slices.Sorted(slices.Values(model))
			if got := keysOf(t, l); got != strings.Join(sorted, " ") {
				t.Fatalf("seed %d: the store has %s, want %v", seed, got, sorted)
			}
		}
	}
}

// TestLRUShrinksWhatItFinds opens a store that has more than it may keep.
func TestLRUShrinksWhatItFinds(t *testing.T) {
	store := memoryStore(t)
	for _, key := range []string{"a", "b", "c", "d"} {
		if err := store.Put([]byte(key), []byte("v")); err != nil {
			t.Fatal(err)
		}
	}
	l := state.NewLRU(store, 2)
	if got := keysOf(t, l); got != "c d" {
		t.Errorf("left are %s", got)
	}
}
