package state

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// aCache returns a cache on a disk of its own.
func aCache(t *testing.T) (*Disk, ID, *Cache) {
	t.Helper()
	d, err := OpenDisk("db", DiskOptions{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	id, err := d.Open("store", 0)
	if err != nil {
		t.Fatal(err)
	}
	return d, id, NewCache(d.Reader(id), 1<<20)
}

// TestBatchOf commits changes of caches in batches of their size, which do not grow.
func TestBatchOf(t *testing.T) {
	d, id, c := aCache(t)
	for round, length := range []int{10, 1000} {
		for i := range 1000 {
			if err := c.Put(fmt.Appendf(nil, "%06d", i*7), bytes.Repeat([]byte{'v'}, length)); err != nil {
				t.Fatal(err)
			}
		}
		size := c.WriteBytes()
		b := d.BatchOf(size).(*diskBatch)
		b.Delete(id, []byte("first"))
		before := cap(b.b.Repr())
		c.Write(b, id)
		if after := cap(b.b.Repr()); after != before || size > int64(b.Size())*3/2 {
			t.Errorf("round %d: a batch of %d bytes was to have %d, had room for %d, and has for %d", round, b.Size(), size, before, after)
		}
		if err := b.Commit(); err != nil {
			t.Fatal(err)
		}
		c.Committed()
	}
}

// TestChangesUseMemoryAgain changes rows over and over, whose values become somewhat longer:
// they are kept where those before them were.
func TestChangesUseMemoryAgain(t *testing.T) {
	_, _, c := aCache(t)
	const keys = 500
	key, value, length := make([]byte, 0, 8), make([]byte, 200), 150
	round := func() {
		for i := range keys {
			if err := c.Put(binary.BigEndian.AppendUint64(key, uint64(i)), value[:length]); err != nil {
				t.Fatal(err)
			}
		}
		c.Discard()
		length += 4
	}
	// The first round is not counted.
	if n := testing.AllocsPerRun(1, round); n > keys/5 { // The map may want some.
		t.Errorf("%v allocations for %d changes", n, keys)
	}
}
