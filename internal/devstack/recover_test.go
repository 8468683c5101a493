package devstack

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
)

// batch returns a record batch with no records, as far as the scan reads it.
func batch(flags uint16, producer int64, epoch int16) []byte {
	b := make([]byte, batchHeader+5)
	binary.BigEndian.PutUint32(b[batchLengthAt:], uint32(len(b)-batchLengthAt-4))
	binary.BigEndian.PutUint16(b[batchAttributes:], flags)
	binary.BigEndian.PutUint64(b[batchProducer:], uint64(producer))
	binary.BigEndian.PutUint16(b[batchProducer+8:], uint16(epoch))
	return b
}

// TestOpenTxns reads logs in which transactions begin, end and stay open, over
// two segments, the last one cut off.
func TestOpenTxns(t *testing.T) {
	dir := t.TempDir()
	part := filepath.Join(dir, "partitions", "a%2Fb-c-3")
	if err := os.MkdirAll(part, 0o755); err != nil {
		t.Fatal(err)
	}
	segments := map[string][][]byte{
		"9.dat":  {batch(transactional, 1, 0), batch(transactional, 2, 7), batch(0, 3, 0)},
		"10.dat": {batch(transactional|control, 1, 0), batch(transactional, 4, 0), batch(transactional|control, 4, 0), batch(transactional, 5, 0)[:40]},
	}
	for name, batches := range segments {
		var text []byte
		for _, b := range batches {
			text = append(text, b...)
		}
		if err := os.WriteFile(filepath.Join(part, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	open, err := openTxns(dir)
	if err != nil || len(open) != 1 || open[0] != (openTxn{"a/b-c", 3, 2, 7}) {
		t.Fatalf("open: %+v, %v", open, err)
	}
}

// FuzzScanSegment wants an end and no panic, whatever a segment holds.
func FuzzScanSegment(f *testing.F) {
	f.Add(append(batch(transactional, 1, 0), batch(transactional|control, 1, 0)...))
	f.Add(batch(0, 0, 0)[:30])
	f.Fuzz(func(t *testing.T, text []byte) {
		name := filepath.Join(t.TempDir(), "0.dat")
		if err := os.WriteFile(name, text, 0o644); err != nil {
			t.Fatal(err)
		}
		open := map[int64]int16{}
		if err := scanSegment(name, open); err != nil {
			t.Fatal(err)
		}
		if len(open) > len(text)/batchHeader {
			t.Fatalf("%d transactions in %d bytes", len(open), len(text))
		}
	})
}
