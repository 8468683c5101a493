package postgres

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// TestSpill stores more of several transactions than memory holds, and reads it back.
func TestSpill(t *testing.T) {
	s := newSpillStore(filepath.Join(t.TempDir(), "spill"), 1<<30)
	txs := map[uint32]*spilled{}
	value := func(i int) []byte { return append([]byte("I"), bytes.Repeat([]byte{byte(i)}, i%3000)...) }
	for xid := range uint32(3) {
		tx, err := s.begin(xid, true)
		if err != nil {
			t.Fatal(err)
		}
		txs[xid] = tx
	}
	const messages = 20000
	for i := range messages {
		if err := s.add(txs[uint32(i%3)], spillEntry{xid: uint32(i), at: uint64(2 * i), message: value(i)}); err != nil {
			t.Fatal(err)
		}
	}
	large := append([]byte("I"), make([]byte, 3*blockSize)...)
	if err := s.add(txs[0], spillEntry{xid: 1 << 31, message: large}); err != nil {
		t.Fatal(err)
	}
	if s.inMemory > spillMemory || s.onDisk == 0 {
		t.Errorf("%d bytes in memory, %d on disk", s.inMemory, s.onDisk)
	}
	i := 1
	err := s.take(1).each(func(e spillEntry) error {
		if e.xid != uint32(i) || e.at != uint64(2*i) || !bytes.Equal(e.message, value(i)) {
			return fmt.Errorf("message %d is another: %d %d", i, e.xid, e.at)
		}
		i += 3
		return nil
	})
	if err != nil || i < messages {
		t.Errorf("%v, %d messages", err, i)
	}
	var last spillEntry
	if err := txs[0].each(func(e spillEntry) error { last = e; return nil }); err != nil || len(last.message) != len(large) {
		t.Errorf("%v, the large message has %d bytes", err, len(last.message))
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
	if s.inMemory != 0 || s.onDisk != 0 {
		t.Errorf("%d bytes in memory, %d on disk are left", s.inMemory, s.onDisk)
	}
	if _, err := os.Stat(s.dir); !errors.Is(err, os.ErrNotExist) {
		t.Error("the directory is left")
	}
}

// TestSpillDamaged changes each byte of a file in turn: it is noticed.
func TestSpillDamaged(t *testing.T) {
	s := newSpillStore(t.TempDir(), 1<<20)
	tx, _ := s.begin(5, true)
	for i := range 3 {
		if err := s.add(tx, spillEntry{xid: 5, at: 7, message: []byte("I some row")}); err != nil {
			t.Fatal(err)
		}
		if i < 2 {
			if err := s.spill(tx, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	whole, err := os.ReadFile(tx.file.Name())
	if err != nil {
		t.Fatal(err)
	}
	for i := range whole {
		damaged := bytes.Clone(whole)
		damaged[i] ^= 0x20
		if err := readBlocks(bytes.NewReader(damaged), int64(len(whole)), func(spillEntry) error { return nil }); !errors.Is(err, errSpillCorrupt) {
			t.Errorf("the change of byte %d was not noticed: %v", i, err)
		}
		if err := readBlocks(bytes.NewReader(whole[:i]), int64(len(whole)), func(spillEntry) error { return nil }); !errors.Is(err, errSpillCorrupt) {
			t.Errorf("the end after %d bytes was not noticed: %v", i, err)
		}
	}
	_ = s.close()
}

// TestSpillBounds keeps to the bound, and clears what another process has left.
func TestSpillBounds(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"tx-5-1.spill", "another"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("left"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := newSpillStore(dir, 2*blockSize)
	if err := s.clear(); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) != 1 || filepath.Base(left[0]) != "another" {
		t.Errorf("%v are left", left)
	}
	tx, _ := s.begin(1, true)
	var err error
	for i := 0; err == nil && i < 10000; i++ {
		err = s.add(tx, spillEntry{xid: 1, message: make([]byte, 1000)})
	}
	if !errors.Is(err, errSpillFull) || s.onDisk > s.most {
		t.Errorf("%v with %d bytes on disk", err, s.onDisk)
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
}

func TestXidSet(t *testing.T) {
	var s xidSet
	if s.has(0) {
		t.Error("the empty set has 0")
	}
	for _, xid := range []uint32{0, 63, 64, 4095, 4096, 1<<32 - 1} {
		s.add(xid)
	}
	for _, xid := range []uint32{0, 63, 64, 4095, 4096, 1<<32 - 1} {
		if !s.has(xid) || s.has(xid^1) && xid^1 != 4096 {
			t.Error(xid)
		}
	}
}

func FuzzSpill(f *testing.F) {
	s := newSpillStore(f.TempDir(), 1<<20)
	tx, _ := s.begin(5, true)
	_ = s.add(tx, spillEntry{xid: 5, at: 7, message: []byte("I some row")})
	_ = s.spill(tx, nil)
	whole, _ := os.ReadFile(tx.file.Name())
	f.Add(whole)
	f.Fuzz(func(t *testing.T, b []byte) {
		_ = readEntries(b, func(e spillEntry) error {
			if len(e.message) == 0 {
				t.Error("an entry without a message")
			}
			return nil
		})
		_ = readBlocks(bytes.NewReader(b), int64(len(b)), func(spillEntry) error { return nil })
	})
}
