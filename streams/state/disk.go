package state

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// DiskOptions tunes a DB on disk. The zero value has working defaults.
type DiskOptions struct {
	// CacheBytes bounds what all stores share to keep what was read of the files: one half
	// is for blocks, the other for single rows, of those Caches that Disk.Lend was called
	// with. 64 MiB when zero, nothing when negative.
	CacheBytes int64
	// MemTableBytes bounds the table of newest writes, of which up to two are
	// in memory; 16 MiB when zero.
	MemTableBytes uint64
	// FillBytes bounds the rows that a Fill has in memory; 16 MiB when zero.
	FillBytes int64
	// Sync makes every commit wait for the disk. Without it the newest commits
	// are only in the memory of the process: what the engine has not written
	// yet, up to 32 KiB for any length of time, is lost when the process is
	// killed, and what was not flushed to the disk when the machine dies. The
	// DB then stands as of an earlier commit, whole, and the changelog repairs
	// it. Disk.Sync makes what was committed so far lasting; so does Close.
	Sync bool
	// Logger receives what the engine has to say about errors; none when nil.
	Logger *slog.Logger
	// FS is the file system; that of the operating system when nil.
	FS vfs.FS
	// Damaged, when it is set, is told of a DB that cannot be opened for what is in its
	// files: it was set aside, to the directory that is named, and an empty one is opened
	// in its place. Without it opening such a DB is an error.
	Damaged func(err error, aside string)
}

// catalogue is the store that holds the names of the others: name to number.
const catalogue = 0

// Disk is a DB in one Pebble database. A key on disk is the store's number (4
// bytes), the partition (2 bytes) and the user's key, all big-endian, so that a
// store, or one partition of it, is one span that can be dropped in one step.
type Disk struct {
	dir     string
	options DiskOptions
	base    vfs.FS
	room    *room
	lock    *pebble.Lock
	aside   string // where a DB was moved that is not replaced yet
	db      *pebble.DB
	engine  *pebble.Options
	write   *pebble.WriteOptions
	health  *health
	rows    lender
	idle    idle
	fills   atomic.Int32 // that are in use
	filled  atomic.Int64 // that there were

	mu    sync.Mutex // guards the following
	ids   map[string]uint32
	taken map[uint32]bool
}

// OpenDisk opens the DB in dir, which one process at a time may use, and
// creates it when it is missing.
//
// A full disk is no error of an open DB: commits wait until there is room, and Full tells
// so meanwhile. Neither is one that fails: what is committed from then on is in memory, and
// Damaged tells so.
func OpenDisk(dir string, o DiskOptions) (*Disk, error) {
	if o.CacheBytes == 0 {
		o.CacheBytes = 64 << 20
	}
	if o.MemTableBytes == 0 {
		o.MemTableBytes = 16 << 20
	}
	if o.FillBytes == 0 {
		o.FillBytes = fillBytes
	}
	d := &Disk{dir: dir, options: o, base: o.FS, write: pebble.NoSync}
	if d.base == nil {
		d.base = vfs.Default
	}
	if o.Sync {
		d.write = pebble.Sync
	}
	d.rows.limit = max(o.CacheBytes/2, 0) // A row of a few bytes is found there with a tenth of the work that a block takes.
	err := d.open()
	if err != nil && errors.Is(err, ErrDamaged) && o.Damaged != nil {
		aside, failed := d.setAside()
		if failed = errors.Join(failed, d.unlock()); failed != nil {
			return nil, failed
		}
		o.Damaged(err, aside)
		err = d.open()
	}
	if err != nil {
		return nil, errors.Join(err, d.unlock())
	}
	return d, nil
}

// open opens the engine. After an error the directory may still be locked.
func (d *Disk) open() (err error) {
	d.health = &health{hurt: make(chan struct{})}
	d.ids, d.taken = map[string]uint32{}, map[uint32]bool{catalogue: true}
	health := d.health
	d.room = newRoom(d.base, d.tellRoom, func(err error) { d.tellFailing(health.note(err)) })
	if err := d.base.MkdirAll(d.dir, 0o755); err != nil {
		return failing(fmt.Errorf("making the state directory %s: %w", d.dir, err))
	}
	if d.lock, err = pebble.LockDirectory(d.dir, d.base); err != nil {
		return failing(fmt.Errorf("opening the state directory %s, which one process at a time may use: %w", d.dir, err))
	}
	if err = d.openEngine(); err == nil {
		if err = d.load(); err != nil {
			err = errors.Join(fmt.Errorf("reading the list of stores in %s: %w", d.dir, err), d.closeEngine())
		}
	}
	switch {
	case err == nil:
		d.room.waits.Store(true)
	case isFull(err):
		err = fmt.Errorf("%w: %w", ErrFull, err)
	case isFailing(err):
		err = failing(err)
	case !refused(err) && !errors.Is(err, ErrDamaged):
		err = fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return err
}

// heldTables is how many tables of newest writes the engine holds room for in its cache: the
// one that is written to, and one that is being flushed, or kept to be written to next.
const heldTables = 2

// blockCache is the size of the engine's cache, of which its tables of newest writes take
// their part.
func (d *Disk) blockCache() int64 {
	if d.options.CacheBytes < 0 {
		return 1
	}
	return d.options.CacheBytes - d.rows.limit + heldTables*int64(d.options.MemTableBytes)
}

// indexBlock is how large the index of a table may become before it is split, in bytes.
const indexBlock = 256 << 10

// openEngine opens the Pebble database, which panics about some of what it meets.
func (d *Disk) openEngine() (err error) {
	health := d.health
	opts := &pebble.Options{
		CacheSize:                   d.blockCache(),
		MemTableSize:                d.options.MemTableBytes,
		MemTableStopWritesThreshold: 3,
		FS:                          d.room,
		Lock:                        d.lock,
		FormatMajorVersion:          pebble.FormatNewest,
		Logger:                      engineLogger{d.options.Logger},
		EventListener: &pebble.EventListener{
			BackgroundError: func(err error) {
				if health.note(err); d.options.Logger != nil {
					d.options.Logger.Error("state store: something failed in the background", "error", err.Error())
				}
			},
			DataCorruption: func(info pebble.DataCorruptionInfo) { health.note(info.Details) },
			FlushEnd:       d.idle.written,
		},
	}
	// To read one row of a compressed block is to unpack all of it, and to move blocks is most
	// of what the engine does: Kafka Streams has RocksDB write them as they are too.
	opts.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionNone })
	for i := range opts.Levels {
		// Most reads of an aggregate ask for keys that are not there yet; the
		// filter answers them without touching a block.
		opts.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
		// One level of index for a table: a second one is one more search for each read.
		opts.Levels[i].IndexBlockSize = indexBlock
	}
	defer func() {
		if p := recover(); p != nil {
			cause, is := p.(error)
			if !is {
				cause = fmt.Errorf("%v", p)
			}
			err = fmt.Errorf("opening the state directory %s: %w", d.dir, cause)
		}
	}()
	err = d.base.RemoveAll(d.base.PathJoin(d.dir, fillFolder)) // Of one that was not finished.
	if err != nil {
		return fmt.Errorf("removing rows that were sorted: %w", err)
	}
	names, err := d.base.List(d.dir)
	if err == nil {
		err = headless(names)
	}
	if err != nil {
		return fmt.Errorf("opening the state directory %s: %w", d.dir, err)
	}
	d.engine = opts
	if d.db, err = pebble.Open(d.dir, opts); err != nil {
		return fmt.Errorf("opening the state directory %s: %w", d.dir, err)
	}
	return nil
}

// tellRoom logs that the disk is full, or is so no more.
func (d *Disk) tellRoom(err error) {
	switch {
	case d.options.Logger == nil:
	case err != nil:
		d.options.Logger.Error("state store: nothing is committed until there is room on the disk", "dir", d.dir, "error", err)
	default:
		d.options.Logger.Info("state store: there is room on the disk again", "dir", d.dir)
	}
}

func (d *Disk) tellFailing(err error) {
	if d.options.Logger != nil {
		d.options.Logger.Error("state store: the disk fails, and nothing is written to it any more", "dir", d.dir, "error", err)
	}
}

// Full is what commits wait for when there is no room on the disk, and nil when there is.
func (d *Disk) Full() error { return d.room.full() }

// Hurry has no commit wait for room any more, because the DB is about to be closed. When
// the disk is full, what is committed from then on is lost, and the DB stands as of an
// earlier commit when it is opened again.
func (d *Disk) Hurry() { d.room.end() }

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

// Drop forgets a store for good.
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
	if err = errors.Join(err, b.Commit(d.write), d.idle.end()); err != nil {
		return fmt.Errorf("dropping the store %q: %w", name, err)
	}
	delete(d.ids, name)
	delete(d.taken, n)
	return nil
}

// Reader implements DB.
func (d *Disk) Reader(id ID) Reader {
	r := newDiskReader(d.db, id, d.health)
	r.idle = &d.idle
	return r
}

// Batch implements DB.
func (d *Disk) Batch() Batch { return d.BatchOf(0) }

// BatchOf starts an empty batch that has room for about size bytes from the start: one that
// grows with what is put into it takes twice the memory, and time to move it.
func (d *Disk) BatchOf(size int64) Batch {
	return &diskBatch{b: d.db.NewBatchWithSize(int(size)), write: d.write, idle: &d.idle}
}

// Snapshot implements DB.
func (d *Disk) Snapshot() (Snapshot, error) {
	return diskSnapshot{d.db.NewSnapshot(), d.health}, nil
}

// Checkpoint writes a complete copy to dir, which must not exist, while the DB is in use.
// Files are shared by hard links where the file system allows it.
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
func (d *Disk) Close() error {
	d.Hurry()
	return errors.Join(d.closeEngine(), d.unlock())
}

// Size returns about how many bytes a partition of a store takes on disk. What was
// written last may not be there yet.
func (d *Disk) Size(id ID) (bytes uint64, err error) {
	lo, hi := bounds(id, Range{})
	if bytes, err = d.db.EstimateDiskUsage(lo, hi); err != nil {
		return 0, fmt.Errorf("measuring state: %w", d.health.note(err))
	}
	return bytes, nil
}

// Total returns how many bytes all files of the DB take.
func (d *Disk) Total() uint64 { return d.db.Metrics().DiskSpaceUsage() }

type diskSnapshot struct {
	*pebble.Snapshot
	health *health
}

func (s diskSnapshot) Reader(id ID) Reader { return newDiskReader(s.Snapshot, id, s.health) }

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
	from   pebble.Reader
	id     ID
	health *health
	key    []byte             // scratch
	bounds pebble.IterOptions // of the last walk; the engine copies them
	scan   diskIter           // of the walk under way, or of the last one
	idle   *idle              // nil for a snapshot
	walks  bool               // its iterators are worth keeping: it has one owner, who walks often
}

func newDiskReader(from pebble.Reader, id ID, h *health) *diskReader {
	return &diskReader{from: from, id: id, health: h}
}

func (r *diskReader) Get(dst, key []byte) ([]byte, bool, error) {
	r.key = appendKey(r.key[:0], r.id, key)
	v, closer, err := r.from.Get(r.key)
	if errors.Is(err, pebble.ErrNotFound) {
		return dst, false, nil
	}
	if err != nil {
		return dst, false, fmt.Errorf("reading state: %w", r.health.note(err))
	}
	dst = append(dst, v...)
	return dst, true, closer.Close()
}

func (r *diskReader) Scan(rg Range) Iterator {
	it, o := &r.scan, &r.bounds
	if it.open {
		it = &diskIter{} // A walk within a walk.
	}
	o.LowerBound = appendKey(o.LowerBound[:0], r.id, rg.Lo)
	if rg.Hi != nil {
		o.UpperBound = appendKey(o.UpperBound[:0], r.id, rg.Hi)
	} else {
		o.UpperBound = PrefixEnd(appendKey(nil, r.id, nil))
	}
	*it = diskIter{open: true, reverse: rg.Reverse, health: r.health}
	if o.UpperBound != nil && bytes.Compare(o.LowerBound, o.UpperBound) >= 0 {
		return it // Nothing is there. The engine would not know its place afterwards.
	}
	if r.walks && it == &r.scan {
		it.of = r
		it.it, it.at, it.err = r.idle.take(r)
		if it.it != nil {
			it.it.SetBounds(o.LowerBound, o.UpperBound)
		}
		if it.it != nil || it.err != nil {
			return it
		}
	}
	it.it, it.err = r.from.NewIter(o)
	return it
}

type diskIter struct {
	it      *pebble.Iterator
	of      *diskReader // where the iterator is kept when the walk is over; nil for nowhere
	at      uint64      // when it was made
	health  *health
	open    bool // until Close
	err     error
	reverse bool
	begun   bool
}

func (i *diskIter) Next() bool {
	if i.err != nil || i.it == nil {
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
	i.open = false
	switch {
	case i.it == nil:
	case i.of != nil && err == nil && i.it.Error() == nil && i.of.idle.keep(i.of, i.it, i.at):
		i.it = nil
	default:
		err = errors.Join(i.health.note(err), i.health.note(i.it.Close()))
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
	idle  *idle
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
	if err := errors.Join(b.err, b.b.Close(), b.idle.end()); err != nil {
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
// example when its log cannot be written for a reason that is neither a full nor a failing
// disk. Going on would lose state without a word; the process ends and recovers from what is
// on disk.
func (l engineLogger) Fatalf(format string, args ...any) {
	l.Errorf(format, args...)
	panic("state store: " + fmt.Sprintf(format, args...))
}
