package state_test

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/tidemill/tidemill/streams/state"
)

// benchKeys is how many keys the stores hold that are measured.
const benchKeys = 200_000

// BenchmarkStore measures the stores at the work of a derived table: keys of 16 bytes
// and values of 100, written a thousand at a time, read at random and in order.
func BenchmarkStore(b *testing.B) {
	for _, s := range []struct {
		name string
		open func(dir string) (state.DB, error)
	}{{"memory", openMemory}, {"disk", openDisk}} {
		b.Run("store="+s.name, func(b *testing.B) {
			db, err := s.open(b.TempDir())
			if err != nil {
				b.Fatal(err)
			}
			defer db.Close()
			id, err := db.Open("bench", 0)
			if err != nil {
				b.Fatal(err)
			}
			fillStore(b, db, id)
			b.Run("op=put", func(b *testing.B) { benchPut(b, db, id) })
			b.Run("op=get", func(b *testing.B) { benchGet(b, db.Reader(id)) })
			b.Run("op=scan", func(b *testing.B) { benchScan(b, db.Reader(id)) })
			b.Run("op=fetch", func(b *testing.B) { benchFetch(b, db) })
		})
	}
}

// benchKey writes the key of number n to dst; neighbours in number are none in order.
func benchKey(dst []byte, n int) []byte {
	dst = binary.BigEndian.AppendUint64(dst[:0], uint64(n%benchKeys)*0x9e3779b97f4a7c15)
	return binary.BigEndian.AppendUint64(dst, uint64(n%benchKeys))
}

func fillStore(b *testing.B, db state.DB, id state.ID) {
	b.Helper()
	value, key := make([]byte, 100), []byte(nil)
	batch := db.Batch()
	for n := range benchKeys {
		key = benchKey(key, n)
		batch.Put(id, key, value)
	}
	if err := batch.Commit(); err != nil {
		b.Fatal(err)
	}
}

func benchPut(b *testing.B, db state.DB, id state.ID) {
	value, key := make([]byte, 100), []byte(nil)
	batch, n := db.Batch(), 0
	b.ReportAllocs()
	for b.Loop() {
		key = benchKey(key, n*7919)
		batch.Put(id, key, value)
		if n++; n%1000 == 0 {
			if err := batch.Commit(); err != nil {
				b.Fatal(err)
			}
			batch = db.Batch()
		}
	}
}

func benchGet(b *testing.B, r state.Reader) {
	var value, key []byte
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		key = benchKey(key, n*7919)
		v, found, err := r.Get(value[:0], key)
		if err != nil || !found {
			b.Fatal(n, found, err)
		}
		value = v
		n++
	}
}

// benchScan steps through the store; a step is what is measured.
func benchScan(b *testing.B, r state.Reader) {
	it := r.Scan(state.Range{})
	b.ReportAllocs()
	for b.Loop() {
		if it.Next() {
			continue
		}
		if err := it.Close(); err != nil {
			b.Fatal(err)
		}
		it = r.Scan(state.Range{})
	}
	if err := it.Close(); err != nil {
		b.Fatal(err)
	}
}

// benchFetch looks for the windows of a key around a time and changes one, through a cache,
// as sessions and sliding windows do with every record.
func benchFetch(b *testing.B, db state.DB) {
	id, err := db.Open("windows", 0)
	if err != nil {
		b.Fatal(err)
	}
	cache := state.NewCache(db.Reader(id), 1<<20)
	windows := state.NewWindows(cache, state.Spec{Form: state.WindowKeys, Retention: time.Hour})
	var key []byte
	value, n, found := make([]byte, 16), 0, 0
	visit := func(state.Window) error { found++; return nil }
	b.ReportAllocs()
	for b.Loop() {
		key = benchKey(key, n%1000)
		ms := int64(n / 1000 * 10)
		err := windows.Fetch(key, ms-100, ms, visit)
		if err == nil {
			err = windows.Put(key, ms/50*50, 0, value)
		}
		if n++; err == nil && n%10_000 == 0 {
			batch := db.Batch()
			cache.Write(batch, id)
			err = batch.Commit()
			cache.Committed()
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	if found == 0 && n > 1000 {
		b.Fatal("nothing was found")
	}
}
