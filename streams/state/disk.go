package state

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// DiskOptions tunes a DB on disk. The zero value has working defaults.
type DiskOptions struct {
	// CacheBytes bounds the block cache all stores share; 64 MiB when zero.
	CacheBytes int64
	// MemTableBytes bounds the table of newest writes, of which up to two are
	// in memory; 16 MiB when zero.
	MemTableBytes uint64
	// Sync makes every commit wait for the disk. Without it the newest commits
	// are only in the memory of the process: what the engine has not written
	// yet, up to 32 KiB for any length of time, is lost when the process is
	// killed, and what was not flushed to the disk when the machine dies. The
	// DB then stands as of an earlier commit, whole, and the changelog repairs
	// it. Disk.Sync makes what was committed so far lasting; so does Close.
	Sync bool
	// Logger receives what the engine has to say about errors; none when nil.
	Logger *slog.Logger
}

// catalogue is the store that holds the names of the others: name to number.
const catalogue = 0

// Disk is a DB in one Pebble database. A key on disk is the store's number (4
// bytes), the partition (2 bytes) and the user's key, all big-endian, so that a
// store, or one partition of it, is one span that can be dropped in one step.
type Disk struct {
	db    *pebble.DB
	write *pebble.WriteOptions

	mu    sync.Mutex // guards the following
	ids   map[string]uint32
	taken map[uint32]bool
}

// OpenDisk opens the DB in dir, which one process at a time may use, and
// creates it when it is missing.
func OpenDisk(dir string, o DiskOptions) (*Disk, error) { return openDisk(dir, o, vfs.Default) }

func openDisk(dir string, o DiskOptions, fs vfs.FS) (*Disk, error) {
	if o.CacheBytes == 0 {
		o.CacheBytes = 64 << 20
	}
	if o.MemTableBytes == 0 {
		o.MemTableBytes = 16 << 20
	}
	opts := &pebble.Options{
		CacheSize:                   o.CacheBytes,
		MemTableSize:                o.MemTableBytes,
		MemTableStopWritesThreshold: 3,
		FS:                          fs,
		FormatMajorVersion:          pebble.FormatNewest,
		Logger:                      engineLogger{o.Logger},
	}
	for i := range opts.Levels {
		// Most reads of an aggregate ask for keys that are not there yet; the
		// filter answers them without touching a block.
		opts.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	db, err := pebble.Open(dir, opts)
	if err != nil {
		return nil, fmt.Errorf("opening the state directory %s: %w", dir, err)
	}
	d := &Disk{db: db, write: pebble.NoSync, ids: map[string]uint32{}, taken: map[uint32]bool{catalogue: true}}
	if o.Sync {
		d.write = pebble.Sync
	}
	if err := d.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("reading the list of stores in %s: %w", dir, err), db.Close())
	}
	return d, nil
}

// load reads the catalogue.
func (d *Disk) load() error {
	it := d.Reader(ID{Store: catalogue}).Scan(Range{})
	for it.Next() {
		n := binary.BigEndian.Uint32(it.Value())
		d.ids[string(it.Key())] = n
		d.taken[n] = true
	}
	return it.Close()
}

// Open implements DB.
func (d *Disk) Open(name string, partition int32) (ID, error) {
	if partition < 0 || partition > 0xffff {
		return ID{}, fmt.Errorf("state: partition %d of store %q is outside of 0 to 65535", partition, name)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	n, known := d.ids[name]
	if !known {
		for n = 1; d.taken[n]; n++ {
		}
		b := d.Batch()
		b.Put(ID{Store: catalogue}, []byte(name), binary.BigEndian.AppendUint32(nil, n))
		if err := b.Commit(); err != nil {
			return ID{}, fmt.Errorf("naming the store %q: %w", name, err)
		}
		d.ids[name], d.taken[n] = n, true
	}
	return ID{Store: n, Partition: uint16(partition)}, nil
}

// Names lists the stores there are, sorted.
func (d *Disk) Names() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Sorted(maps.Keys(d.ids))
}

// Drop implements Dropper.
func (d *Disk) Drop(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	n, known := d.ids[name]
	if !known {
		return nil
	}
	b := d.db.NewBatch()
	lo, hi := binary.BigEndian.AppendUint32(nil, n), binary.BigEndian.AppendUint32(nil, n+1)
	err := errors.Join(
		b.DeleteRange(lo, hi, nil),
		b.Delete(appendKey(nil, ID{Store: catalogue}, []byte(name)), nil))
	if err = errors.Join(err, b.Commit(d.write)); err != nil {
		return fmt.Errorf("dropping the store %q: %w", name, err)
	}
	delete(d.ids, name)
	delete(d.taken, n)
	return nil
}

// Reader implements DB.
func (d *Disk) Reader(id ID) Reader { return newDiskReader(d.db, id) }

// Batch implements DB.
func (d *Disk) Batch() Batch { return &diskBatch{b: d.db.NewBatch(), write: d.write} }

// Snapshot implements DB.
func (d *Disk) Snapshot() (Snapshot, error) {
	return diskSnapshot{d.db.NewSnapshot()}, nil
}

// Checkpoint implements Checkpointer.
func (d *Disk) Checkpoint(dir string) error {
	if err := d.db.Checkpoint(dir, pebble.WithFlushedWAL()); err != nil {
		return fmt.Errorf("copying the state to %s: %w", dir, err)
	}
	return nil
}

// Sync waits until all that was committed before is on the disk, and is not
// lost when the process is killed or the machine dies.
func (d *Disk) Sync() error {
	// Commits are in the engine's log in the order in which they were made, and
	// this empty entry stands behind them.
	if err := d.db.LogData(nil, pebble.Sync); err != nil {
		return fmt.Errorf("flushing state to the disk: %w", err)
	}
	return nil
}

// Close implements DB.
func (d *Disk) Close() error { return d.db.Close() }

type diskSnapshot struct{ *pebble.Snapshot }

func (s diskSnapshot) Reader(id ID) Reader { return newDiskReader(s.Snapshot, id) }

// prefixLen is the length of a store's and partition's prefix.
const prefixLen = 6

// appendKey appends the key as it is on disk.
func appendKey(dst []byte, id ID, key []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, id.Store)
	dst = binary.BigEndian.AppendUint16(dst, id.Partition)
	return append(dst, key...)
}

// bounds returns the span on disk of r within a store and partition.
func bounds(id ID, r Range) (lo, hi []byte) {
	lo = appendKey(nil, id, r.Lo)
	if r.Hi != nil {
		return lo, appendKey(nil, id, r.Hi)
	}
	return lo, PrefixEnd(appendKey(nil, id, nil))
}

type diskReader struct {
	from pebble.Reader
	id   ID
	key  []byte // scratch
}

func newDiskReader(from pebble.Reader, id ID) *diskReader {
	return &diskReader{from: from, id: id}
}

func (r *diskReader) Get(dst, key []byte) ([]byte, bool, error) {
	r.key = appendKey(r.key[:0], r.id, key)
	v, closer, err := r.from.Get(r.key)
	if errors.Is(err, pebble.ErrNotFound) {
		return dst, false, nil
	}
	if err != nil {
		return dst, false, fmt.Errorf("reading state: %w", err)
	}
	dst = append(dst, v...)
	return dst, true, closer.Close()
}

func (r *diskReader) Scan(rg Range) Iterator {
	lo, hi := bounds(r.id, rg)
	it, err := r.from.NewIter(&pebble.IterOptions{LowerBound: lo, UpperBound: hi})
	return &diskIter{it: it, err: err, reverse: rg.Reverse}
}

type diskIter struct {
	it      *pebble.Iterator
	err     error
	reverse bool
	begun   bool
}

func (i *diskIter) Next() bool {
	if i.err != nil {
		return false
	}
	begun := i.begun
	i.begun = true
	switch {
	case !begun && i.reverse:
		return i.it.Last()
	case !begun:
		return i.it.First()
	case i.reverse:
		return i.it.Prev()
	default:
		return i.it.Next()
	}
}

func (i *diskIter) Key() []byte   { return i.it.Key()[prefixLen:] }
func (i *diskIter) Value() []byte { return i.it.Value() }

func (i *diskIter) Close() error {
	err := i.err
	if i.it != nil {
		err = errors.Join(err, i.it.Close())
		i.it = nil
	}
	if err != nil {
		return fmt.Errorf("scanning state: %w", err)
	}
	return nil
}

// diskBatch keeps the first error for Commit, so that the caller has one place
// to look at.
type diskBatch struct {
	b     *pebble.Batch
	write *pebble.WriteOptions
	key   []byte // scratch
	err   error
}

func (b *diskBatch) Put(id ID, key, value []byte) {
	b.key = appendKey(b.key[:0], id, key)
	b.err = errors.Join(b.err, b.b.Set(b.key, value, nil))
}

func (b *diskBatch) Delete(id ID, key []byte) {
	b.key = appendKey(b.key[:0], id, key)
	b.err = errors.Join(b.err, b.b.Delete(b.key, nil))
}

func (b *diskBatch) DeleteRange(id ID, r Range) {
	lo, hi := bounds(id, r)
	b.err = errors.Join(b.err, b.b.DeleteRange(lo, hi, nil))
}

func (b *diskBatch) Size() int {
	if b.b.Empty() {
		return 0 // The engine counts the head of the batch.
	}
	return b.b.Len()
}

func (b *diskBatch) Commit() error {
	if b.err == nil {
		b.err = b.b.Commit(b.write)
	}
	if err := errors.Join(b.err, b.b.Close()); err != nil {
		return fmt.Errorf("writing state: %w", err)
	}
	return nil
}

// engineLogger passes the engine's errors on and drops its chatter.
type engineLogger struct{ to *slog.Logger }

func (l engineLogger) Infof(string, ...any) {}

func (l engineLogger) Errorf(format string, args ...any) {
	if l.to != nil {
		l.to.Error("state store: " + fmt.Sprintf(format, args...))
	}
}

// Fatalf is called when the engine can no longer keep what it promised, for
// example when the log of writes cannot be written. Going on would lose state
// without a word; the process ends and recovers from what is on disk.
func (l engineLogger) Fatalf(format string, args ...any) {
	l.Errorf(format, args...)
	panic("state store: " + fmt.Sprintf(format, args...))
}
