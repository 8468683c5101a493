package state_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"

	"github.com/tidemill/tidemill/streams/state"
)

// TestCacheNews keeps a copy of a store by the news of its cache alone, taken at any time:
// after each time it is as the store is, with no change shown twice, none of a key that came
// and went in between, and none that was discarded and not shown.
func TestCacheNews(t *testing.T) {
	db := state.NewMemory()
	id, err := db.Open("s", 0)
	if err != nil {
		t.Fatal(err)
	}
	no := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	rnd := rand.New(rand.NewPCG(3, 4))
	c := state.NewCache(db.Reader(id), 4<<10)
	now, committed, told := map[string]string{}, map[string]string{}, map[string]string{}
	changed := map[string]bool{}
	since := map[string]bool{} // shown since the last commit
	news := func() {
		t.Helper()
		seen := map[string]bool{}
		no(c.News(func(e state.Entry) error {
			key := string(e.Key)
			if seen[key] || !changed[key] {
				t.Errorf("%s is shown, and was shown as it is", key)
			}
			if _, had := told[key]; !had && !e.HasNew && !since[key] {
				t.Errorf("%s came and went, and is shown", key)
			}
			seen[key], since[key] = true, true
			if delete(told, key); e.HasNew {
				told[key] = string(e.New)
			}
			return nil
		}))
		clear(changed)
		if !maps.Equal(told, now) {
			t.Fatalf("by the news the store is %v, and it is %v", told, now)
		}
	}
	for i := range 3000 {
		key := fmt.Sprint(rnd.IntN(30))
		changed[key] = true
		if rnd.IntN(3) == 0 {
			no(c.Delete([]byte(key)))
			delete(now, key)
		} else {
			no(c.Put([]byte(key), fmt.Append(nil, i)))
			now[key] = fmt.Sprint(i)
		}
		switch rnd.IntN(60) {
		case 0, 1, 2, 3, 4, 5:
			news()
		case 6, 7, 8:
			news()
			b := db.Batch()
			c.Write(b, id)
			no(c.Flush(false, func(e state.Entry) error { // As those see it who are told of commits.
				if now[string(e.Key)] != string(e.New) {
					t.Errorf("%s=%s is committed, and not %s", e.Key, e.New, now[string(e.Key)])
				}
				return nil
			}))
			no(b.Commit())
			c.Committed()
			committed = maps.Clone(now)
			clear(since)
		case 9:
			c.Discard()
			now, told = maps.Clone(committed), maps.Clone(committed)
			clear(changed)
			clear(since)
		}
	}
}
