package query

import (
	"context"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/tidemill/tidemill/streams/state"
)

// TestVersionsOfAnother asks another instance which rows a key had.
func TestVersionsOfAnother(t *testing.T) {
	there := storeOf(t, 0, -1)
	there.Layout = state.Spec{History: time.Second}
	id, err := there.DB.Open("s", 0)
	if err != nil {
		t.Fatal(err)
	}
	cache := state.NewCache(there.DB.Reader(id), 1<<20)
	versions := there.Layout.Versions(cache)
	for _, ms := range []int64{10, 30, 20, 40} {
		if _, _, err := versions.Put([]byte("k"), ms, fmt.Append(nil, "row", ms), ms != 30); err != nil {
			t.Fatal(err)
		}
	}
	b := there.DB.Batch()
	cache.Write(b, id)
	if err := b.Commit(); err != nil {
		t.Fatal(err)
	}
	r := served(t, &Remote{Secret: "s"}, there, false)
	r.Layout = there.Layout
	var got string
	err = r.Versions(context.Background(), []byte("k"), 15, math.MaxInt64, func(row Row) error {
		got += fmt.Sprintf("%s=%s@%d-%d ", row.Key, row.Value, row.Time, row.Until)
		return nil
	})
	if err != nil || got != "k=row10@10-20 k=row20@20-30 k=row40@40--1 " {
		t.Errorf("there were %s, %v", got, err)
	}
	if row, found, err := r.Get(context.Background(), []byte("k")); err != nil || !found || string(row.Value) != "row40" || row.Time != 40 {
		t.Errorf("there is %v %v %v", row, found, err)
	}
	n := 0
	if err := r.Scan(context.Background(), nil, nil, func(Row) error { n++; return nil }); err != nil || n != 1 {
		t.Errorf("there are %d rows, %v", n, err)
	}
	err = served(t, &Remote{Secret: "s"}, storeOf(t, 1, -1), false).Versions(context.Background(), []byte("k"), 0, 1, nil)
	if code(err) != "streams.store.history" {
		t.Errorf("versions of a store without history: %v", err)
	}
}
