package state

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
)

// Stage keeps the changes of one commit that are too many for memory. Caches overflow into
// it and read through it; readers of the DB do not see it. Its Batch applies all that it
// has in one step, however much that is. It is in a database of its own, which is not
// logged: after a crash the changes are made again. A Stage is used by one goroutine, that
// of the caches.
type Stage struct {
	d      *Disk
	dir    string
	limit  int64
	health *health

	db    *pebble.DB // nil while nothing is here
	batch *pebble.Batch
	bytes int64 // of changes that were put since Clear
	piled int64 // of what was put on piles
	seq   uint64
	err   error  // what was in the way of clearing
	table uint64 // about how large the tables are that the DB gets

	used, peak int64  // in memory
	key, value []byte // scratch
}

const (
	// stageBatch is how many bytes are gathered before they are written.
	stageBatch = 256 << 10
	// stageMemory bounds what the database has of the newest changes, and of blocks read.
	stageMemory = 8 << 20
	stageTable  = 32 << 20
)

// pileID has what is on piles, which is not for the DB: it comes after all stores.
var pileID = ID{Store: ^uint32(0)}

// Stage returns an empty Stage in the directory dir, which is its own: what is there is
// removed, now and by Clear. limit is how many bytes the changes of its caches may take in
// memory, all together, before those that hold more than their own bound overflow.
func (d *Disk) Stage(dir string, limit int64) (*Stage, error) {
	if err := d.base.RemoveAll(dir); err != nil {
		return nil, fmt.Errorf("removing staged changes: %w", err)
	}
	return &Stage{d: d, dir: dir, limit: limit, table: stageTable}, nil
}

// Staged tells whether there are changes of stores here, which only a Batch of the Stage
// can commit.
func (s *Stage) Staged() bool { return s.bytes > 0 }

// Bytes is how much was put here since the last Clear, what is on piles included.
func (s *Stage) Bytes() int64 { return s.bytes + s.piled }

// Peak is the most bytes of changes that were in memory at once.
func (s *Stage) Peak() int64 { return s.peak }

// Use accounts for n bytes more in memory, or less, and tells whether there are too many.
func (s *Stage) Use(n int64) (tooMany bool) {
	s.used += n
	s.peak = max(s.peak, s.used)
	return s.used > s.limit
}

func (s *Stage) rowsDir() string { return s.d.base.PathJoin(s.dir, "rows") }

func (s *Stage) open() (err error) {
	if s.db != nil || s.err != nil {
		return s.err
	}
	s.health = &health{hurt: make(chan struct{})}
	o := &pebble.Options{
		CacheSize: stageMemory, MemTableSize: stageMemory, DisableWAL: true, FS: s.d.room,
		FormatMajorVersion: pebble.FormatNewest, Logger: engineLogger{s.d.options.Logger},
	}
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	if err = s.d.room.MkdirAll(s.rowsDir(), 0o750); err == nil {
		s.db, err = pebble.Open(s.rowsDir(), o)
	}
	if err != nil {
		return fmt.Errorf("staging changes: %w", err)
	}
	s.batch = s.db.NewBatch()
	return nil
}

// The value of a change ends with a byte that tells whether the key is set or deleted.
const (
	changeSet    = 1
	changeDelete = 0
)

// put notes the change of one key. It can be read after flush.
func (s *Stage) put(id ID, key, value []byte, has bool) error {
	if err := s.open(); err != nil {
		return err
	}
	mark := byte(changeSet)
	if !has {
		mark, value = changeDelete, nil
	}
	s.key, s.value = appendKey(s.key[:0], id, key), append(append(s.value[:0], value...), mark)
	if err := s.batch.Set(s.key, s.value, nil); err != nil {
		return fmt.Errorf("staging changes: %w", err)
	}
	n := int64(len(s.key) + len(s.value))
	if id.Store == pileID.Store {
		s.piled += n
	} else {
		s.bytes += n
	}
	if s.batch.Len() >= stageBatch {
		return s.flush()
	}
	return nil
}

func (s *Stage) flush() error {
	if s.db == nil || s.batch.Empty() {
		return nil
	}
	err := errors.Join(s.batch.Commit(pebble.NoSync), s.batch.Close())
	s.batch = s.db.NewBatch()
	if err != nil {
		return fmt.Errorf("staging changes: %w", s.health.note(err))
	}
	return nil
}

// reader reads what is staged of a store, with the marks.
func (s *Stage) reader(id ID) Reader { return newDiskReader(s.db, id, s.health) }

// Pile puts b on a pile, from which Unpile takes everything in its order.
func (s *Stage) Pile(pile uint16, b []byte) error {
	s.seq++
	return s.put(ID{pileID.Store, pile}, binary.BigEndian.AppendUint64(nil, s.seq), b, true)
}

// Unpile gives everything on a pile, which is empty afterwards. The bytes are valid during
// the call of take, which may put something on other piles.
func (s *Stage) Unpile(pile uint16, take func([]byte) error) (err error) {
	if s.db == nil {
		return s.err
	}
	if err := s.flush(); err != nil {
		return err
	}
	id := ID{pileID.Store, pile}
	if err := eachOn(s.reader(id).Scan(Range{}), take); err != nil {
		return err
	}
	lo, hi := bounds(id, Range{})
	return s.batch.DeleteRange(lo, hi, nil)
}

// eachOn gives the values of a walk without their marks, and ends it, also when take
// panics.
func eachOn(it Iterator, take func([]byte) error) (err error) {
	defer func() { err = errors.Join(err, it.Close()) }()
	for err == nil && it.Next() {
		v := it.Value()
		err = take(v[:len(v)-1])
	}
	return err
}

// Clear forgets everything. An error is given by what is put next.
func (s *Stage) Clear() {
	if s.db == nil {
		return
	}
	err := errors.Join(s.batch.Close(), s.db.Close(), s.d.room.RemoveAll(s.dir))
	if s.db, s.batch, s.bytes, s.piled = nil, nil, 0, 0; err != nil {
		s.err = fmt.Errorf("removing staged changes: %w", err)
	}
}

// Close forgets everything.
func (s *Stage) Close() error {
	s.Clear()
	return s.err
}

// Batch returns a Batch that applies everything that is staged together with what is put
// into it. It stays here until Clear all the same. What DeleteRange removes goes right
// after the rest: it is for what nobody looks for any more.
func (s *Stage) Batch() Batch { return &stagedBatch{s: s} }

// stagedBatch keeps the first error for Commit.
type stagedBatch struct {
	s     *Stage
	spans []stagedSpan
	err   error
}

type stagedSpan struct {
	id ID
	r  Range
}

func (b *stagedBatch) Put(id ID, key, value []byte) { b.add(id, key, value, true) }
func (b *stagedBatch) Delete(id ID, key []byte)     { b.add(id, key, nil, false) }

func (b *stagedBatch) add(id ID, key, value []byte, has bool) {
	if b.err == nil {
		b.err = b.s.put(id, key, value, has)
	}
}

func (b *stagedBatch) DeleteRange(id ID, r Range) { b.spans = append(b.spans, stagedSpan{id, r}) }
func (b *stagedBatch) Size() int                  { return int(b.s.bytes) }

// Commit writes sorted tables and has the engine take them in: that is one step, like a
// batch of any size, and takes no memory for the rows.
func (b *stagedBatch) Commit() error {
	d := b.s.d
	if b.err == nil {
		b.err = b.s.flush()
	}
	var tables []string
	if b.err == nil {
		tables, b.err = b.s.tables()
	}
	// What is written to a full disk while the DB is closed reaches nothing any more.
	if b.err == nil && len(tables) > 0 && !d.room.lost.Load() {
		b.err = errors.Join(d.health.note(d.db.Ingest(context.Background(), tables)), d.idle.end())
	}
	if b.err != nil {
		return fmt.Errorf("writing state: %w", b.err)
	}
	if len(b.spans) == 0 {
		return nil
	}
	after := d.Batch()
	for _, span := range b.spans {
		after.DeleteRange(span.id, span.r)
	}
	return after.Commit()
}

// tables writes all staged changes into tables as the DB has them, in their order.
func (s *Stage) tables() (paths []string, err error) {
	if s.db == nil {
		return nil, s.err
	}
	hi, _ := bounds(pileID, Range{})
	it, err := s.db.NewIter(&pebble.IterOptions{UpperBound: hi})
	if err != nil {
		return nil, s.health.note(err)
	}
	var w *sstable.Writer
	for it.First(); it.Valid() && err == nil; it.Next() {
		if w != nil && w.Raw().EstimatedSize() > s.table {
			err, w = w.Close(), nil
		}
		if w == nil && err == nil {
			paths = append(paths, s.d.base.PathJoin(s.dir, fmt.Sprintf("%06d.sst", len(paths))))
			w, err = s.d.newTable(paths[len(paths)-1])
		}
		if err == nil {
			err = writeChange(w, it.Key(), it.Value())
		}
	}
	if w != nil {
		err = errors.Join(err, w.Close())
	}
	return paths, errors.Join(err, s.health.note(it.Close()))
}

func writeChange(w *sstable.Writer, key, value []byte) error {
	if last := len(value) - 1; value[last] == changeSet {
		return w.Set(key, value[:last])
	}
	return w.Delete(key)
}
