package state

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// ErrFull says that there is no room on the disk, and ErrFailing that the disk does not do
// what it is asked any more, or is read-only all at once.
var (
	ErrFull    = errors.New("state: the disk is full")
	ErrFailing = errors.New("state: the disk fails")
)

// tryRoomEvery is how often a write that found no room is tried again.
const tryRoomEvery = 250 * time.Millisecond

// room is a file system whose writes wait, when the disk is full, until there is room: the
// engine above would take an error of its log for the end of the world. Reads go on.
//
// A DB that is closed while the disk is full does not wait. From then on nothing reaches
// the disk any more, neither writes nor removals, as if the process had been killed at
// that moment, and the engine is told that all went well. What it finds when it is opened
// again is the state as of an earlier commit, whole. So it is too from the first write on
// that a failing disk refuses.
type room struct {
	vfs.FS
	told   func(err error) // of a full disk, and with nil of room again
	failed func(err error) // of a failing one

	waits  atomic.Bool   // writes may wait
	over   chan struct{} // closed: nobody waits any more
	ending sync.Once
	lost   atomic.Bool // nothing reaches the disk any more
	void   vfs.FS      // has the files that are made after that

	mu      sync.Mutex // guards the following
	waiting int        // writes that wait
	err     error      // what they met
}

func newRoom(fs vfs.FS, told, failed func(error)) *room {
	return &room{FS: fs, told: told, failed: failed, over: make(chan struct{}), void: vfs.NewMem()}
}

func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// isFailing tells whether an error is one of the disk, or of what lies between: nothing
// that the one who asked has done. A file system whose disk fails becomes read-only.
func isFailing(err error) bool {
	for _, number := range []syscall.Errno{syscall.EIO, syscall.EROFS, syscall.ENXIO, syscall.ENODEV, syscall.ESTALE} {
		if errors.Is(err, number) {
			return true
		}
	}
	return false
}

// failing says in an error that the disk fails, if that is it.
func failing(err error) error {
	if isFailing(err) {
		err = fmt.Errorf("%w: %w", ErrFailing, err)
	}
	return err
}

// full tells what writes wait for, nil when none does.
func (s *room) full() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// end lets nobody wait any more.
func (s *room) end() { s.ending.Do(func() { close(s.over) }) }

// try does something that needs room.
func (s *room) try(do func() error) error {
	if s.lost.Load() {
		return nil
	}
	err := s.once(do)
	if !isFull(err) || !s.waits.Load() {
		return err
	}
	s.begin(err)
	defer s.done()
	tick := time.NewTicker(tryRoomEvery)
	defer tick.Stop()
	for isFull(err) {
		select {
		case <-tick.C:
			err = s.once(do)
		case <-s.over:
			s.lost.Store(true)
			return nil
		}
	}
	return err
}

// once does something that needs a disk. Of an open DB whose disk fails nothing reaches it
// from then on.
func (s *room) once(do func() error) error {
	err := do()
	if err == nil || !isFailing(err) || !s.waits.Load() {
		return err
	}
	s.lost.Store(true)
	s.failed(err)
	return nil
}

func (s *room) begin(err error) {
	s.mu.Lock()
	s.waiting++
	first := s.waiting == 1
	if first {
		s.err = fmt.Errorf("%w: %w", ErrFull, err)
		err = s.err
	}
	s.mu.Unlock()
	if first {
		s.told(err)
	}
}

func (s *room) done() {
	s.mu.Lock()
	s.waiting--
	last := s.waiting == 0
	if last {
		s.err = nil
	}
	s.mu.Unlock()
	if last {
		s.told(nil)
	}
}

// open makes a file that needs room.
func (s *room) open(name string, do func() (vfs.File, error)) (f vfs.File, err error) {
	err = s.try(func() (err error) {
		f, err = do()
		return err
	})
	if err == nil && f == nil { // Nothing reaches the disk any more.
		if err = s.void.MkdirAll(s.PathDir(name), 0o750); err == nil {
			return s.void.Create(name, vfs.WriteCategoryUnspecified)
		}
	}
	if err != nil {
		return nil, err
	}
	return &roomFile{File: f, s: s}, nil
}

// Create implements vfs.FS.
func (s *room) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return s.open(name, func() (vfs.File, error) { return s.FS.Create(name, c) })
}

// OpenReadWrite implements vfs.FS.
func (s *room) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return s.open(name, func() (vfs.File, error) { return s.FS.OpenReadWrite(name, c, opts...) })
}

// ReuseForWrite implements vfs.FS.
func (s *room) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return s.open(to, func() (vfs.File, error) { return s.FS.ReuseForWrite(from, to, c) })
}

// Open implements vfs.FS.
func (s *room) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	if s.lost.Load() {
		if f, err := s.void.Open(name, opts...); err == nil {
			return f, nil
		}
	}
	return s.FS.Open(name, opts...)
}

// OpenDir implements vfs.FS.
func (s *room) OpenDir(name string) (vfs.File, error) {
	f, err := s.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &roomFile{File: f, s: s}, nil
}

// Link implements vfs.FS.
func (s *room) Link(from, to string) error {
	return s.try(func() error { return s.FS.Link(from, to) })
}

// Rename implements vfs.FS.
func (s *room) Rename(from, to string) error {
	return s.try(func() error { return s.FS.Rename(from, to) })
}

// MkdirAll implements vfs.FS.
func (s *room) MkdirAll(dir string, perm os.FileMode) error {
	return s.try(func() error { return s.FS.MkdirAll(dir, perm) })
}

// Remove implements vfs.FS.
func (s *room) Remove(name string) error {
	return s.try(func() error { return s.FS.Remove(name) })
}

// RemoveAll implements vfs.FS.
func (s *room) RemoveAll(name string) error {
	return s.try(func() error { return s.FS.RemoveAll(name) })
}

// Unwrap implements vfs.FS.
func (s *room) Unwrap() vfs.FS { return s.FS }

// roomFile is a file of a room.
type roomFile struct {
	vfs.File
	s *room
}

// Write implements vfs.File. What was written before the disk was full is not written
// again.
func (f *roomFile) Write(p []byte) (n int, err error) {
	err = f.s.try(func() error {
		m, err := f.File.Write(p[n:])
		n += m
		return err
	})
	if err == nil {
		n = len(p)
	}
	return n, err
}

// WriteAt implements vfs.File.
func (f *roomFile) WriteAt(p []byte, at int64) (n int, err error) {
	err = f.s.try(func() error {
		n, err = f.File.WriteAt(p, at)
		return err
	})
	if err == nil {
		n = len(p)
	}
	return n, err
}

// Preallocate implements vfs.File.
func (f *roomFile) Preallocate(at, length int64) error {
	return f.s.try(func() error { return f.File.Preallocate(at, length) })
}

// Sync implements vfs.File.
func (f *roomFile) Sync() error { return f.s.try(f.File.Sync) }

// SyncData implements vfs.File.
func (f *roomFile) SyncData() error { return f.s.try(f.File.SyncData) }

// SyncTo implements vfs.File.
func (f *roomFile) SyncTo(length int64) (whole bool, err error) {
	err = f.s.try(func() error {
		whole, err = f.File.SyncTo(length)
		return err
	})
	return whole, err
}
