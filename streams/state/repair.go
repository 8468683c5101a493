package state

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// ErrDamaged says that files of a DB are missing or not what they were.
var ErrDamaged = errors.New("state: the database is damaged")

// asideSuffix ends the name of the directory that a damaged DB is moved to.
const asideSuffix = ".damaged"

// health is what is known of the files of a DB.
type health struct {
	once sync.Once
	hurt chan struct{} // closed when there is an error
	err  error         // set before that
}

// note takes down damage and that the disk fails, and says so in the error.
func (h *health) note(err error) error {
	switch {
	case err == nil:
		return nil
	case isFailing(err):
		err = failing(err)
	case damage(err):
		err = fmt.Errorf("%w: %w", ErrDamaged, err)
	default:
		return err
	}
	h.once.Do(func() {
		h.err = err
		close(h.hurt)
	})
	return err
}

// damage tells whether an error of an open DB says that its files are not what they were.
func damage(err error) bool {
	return pebble.IsCorruptionError(err) || errors.Is(err, fs.ErrNotExist)
}

// headless tells of a directory with tables or logs, and nothing that says which of them
// belong to the DB: the engine would begin a new one with what is in the logs.
func headless(names []string) error {
	some := false
	for _, name := range names {
		if strings.HasPrefix(name, "marker.manifest.") {
			return nil
		}
		some = some || strings.HasSuffix(name, ".sst") || strings.HasSuffix(name, ".log")
	}
	if some {
		return fmt.Errorf("%w: the list of its files is missing", ErrDamaged)
	}
	return nil
}

// refused tells whether it was the operating system that kept a DB from being opened,
// such as for want of rights, and not what is in its files.
func refused(err error) bool {
	number, is := errors.AsType[syscall.Errno](err)
	return is && number != syscall.ENOENT || isFull(err)
}

// Damaged is closed when files of the DB turn out to be missing or not what they were, or
// when the disk fails. Reads may give errors from then on, which are ErrDamaged or
// ErrFailing, and nothing is written to a disk that fails; Renew makes the DB usable.
func (d *Disk) Damaged() <-chan struct{} { return d.health.hurt }

// Damage is what is wrong with the files of the DB or with the disk, nil when nothing is.
func (d *Disk) Damage() error {
	select {
	case <-d.health.hurt:
		return d.health.err
	default:
		return nil
	}
}

// Renew sets a damaged DB aside, where the one before it is removed, and goes on with an
// empty one. Nobody uses the DB meanwhile, and nothing that it gave out is used after
// that: IDs, Readers, Batches and Snapshots. After an error it can be called again.
//
// Where the disk fails, the empty one is in memory, and the one on the disk is left as it
// is, for a process that opens it when the disk does its work again.
func (d *Disk) Renew() (aside string, err error) {
	if errors.Is(d.Damage(), ErrFailing) {
		return "", d.renewInMemory()
	}
	if d.db != nil {
		// It is not known what state the engine is in; what it has to say about its end
		// is of no use.
		_ = d.closeEngine()
		d.db = nil
	}
	if d.aside == "" {
		if d.aside, err = d.setAside(); err != nil {
			return "", err
		}
	}
	if err = d.unlock(); err != nil {
		return "", err
	}
	if err = d.open(); err != nil {
		return "", errors.Join(err, d.unlock())
	}
	aside, d.aside = d.aside, ""
	return aside, nil
}

// renewInMemory leaves the disk alone from now on.
func (d *Disk) renewInMemory() error {
	d.room.lost.Store(true)
	d.room.end()
	// What a failing disk says about the end of its use changes nothing.
	_, _ = d.closeEngine(), d.unlock()
	d.db, d.aside, d.base = nil, "", vfs.NewMem()
	return d.open()
}

// closeEngine closes the engine, whatever state it is in.
func (d *Disk) closeEngine() (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("closing the state directory %s: %v", d.dir, p)
		}
	}()
	if d.db == nil {
		return nil // It could not be renewed.
	}
	return errors.Join(d.idle.end(), d.db.Close())
}

// setAside moves the directory.
func (d *Disk) setAside() (aside string, err error) {
	aside = d.dir + asideSuffix
	if err = d.base.RemoveAll(aside); err == nil {
		err = d.base.Rename(d.dir, aside)
	}
	if err != nil {
		return "", fmt.Errorf("setting the damaged state in %s aside: %w", d.dir, err)
	}
	return aside, nil
}

func (d *Disk) unlock() (err error) {
	if d.lock != nil {
		err = d.lock.Close()
		d.lock = nil
	}
	return err
}
