package streams

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams/state"
)

// openDisk opens the database of an Engine.
func (e *Engine) openDisk(tune func(*state.DiskOptions)) (err error) {
	o := state.DiskOptions{CacheBytes: e.cfg.BlockCacheBytes, Logger: e.cfg.Logger, Damaged: e.setAside}
	if tune != nil {
		tune(&o)
	}
	if e.disk, err = state.OpenDisk(filepath.Join(e.cfg.Dir, "state"), o); err == nil {
		e.db = e.disk
		return nil
	}
	switch {
	case errors.Is(err, state.ErrFull):
		return e.errFull(err)
	case errors.Is(err, state.ErrFailing):
		return e.errFailing(err, connect.ClassFatal)
	}
	return &connect.Error{
		Code: "streams.dir", Class: connect.ClassConfig, Place: e.cfg.Dir,
		Message: "the state directory cannot be opened", Cause: err,
		Mend: "give each process a state directory of its own",
	}
}

func (e *Engine) errFull(cause error) error {
	return &connect.Error{
		Code: "streams.state.full", Class: connect.ClassRetriable, Place: e.cfg.Dir,
		Message: "there is no room on the disk for the state, and nothing is committed", Cause: cause,
		Mend: "make room; processing goes on by itself then",
	}
}

func (e *Engine) errDamaged(cause error) error {
	return &connect.Error{
		Code: "streams.state.damaged", Class: connect.ClassRetriable, Place: e.cfg.Dir,
		Message: "the database with the state is damaged, and is replaced by what the changelogs have", Cause: cause,
		Mend: "nothing now; check the disk",
	}
}

const failingCode = "streams.state.failing"

func (e *Engine) errFailing(cause error, class connect.Class) error {
	return &connect.Error{
		Code: failingCode, Class: class, Place: e.cfg.Dir,
		Message: "the disk with the state cannot be read or written, and nothing that is kept there is processed", Cause: cause,
		Mend: "see what the system's log says about the disk, mend or replace it, and start the process again: what its state lacks then is restored from changelogs",
	}
}

// kept is an error for an application with stores whose disk fails. It holds using.
func (e *Engine) kept(t *Topology) error {
	if e.failing == nil || len(t.Stores()) == 0 {
		return nil
	}
	return e.errFailing(e.failing, connect.ClassFatal)
}

// setAside tells of a damaged database that was moved away.
func (e *Engine) setAside(cause error, aside string) {
	e.repairs.Add(1)
	e.cfg.Logger.Error("the database with the state is damaged: it was set aside, and the stores are restored from their changelogs",
		"code", "streams.state.damaged", "dir", e.cfg.Dir, "aside", aside, "error", cause)
}

// full is the error of a full disk, nil when there is room.
func (e *Engine) full() error {
	if e.disk == nil || !e.open.TryRLock() {
		return nil
	}
	defer e.open.RUnlock()
	if e.shut {
		return nil
	}
	if err := e.disk.Full(); err != nil {
		return e.errFull(err)
	}
	return nil
}

// intact returns an error once the database has turned out to be damaged, so that all who
// use it let go of it.
func (e *Engine) intact() error {
	if e.disk == nil {
		return nil
	}
	switch err := e.disk.Damage(); {
	case errors.Is(err, state.ErrFailing):
		return e.errFailing(err, connect.ClassRetriable) // Once all have let go it is settled who can go on.
	case err != nil:
		return e.errDamaged(err)
	}
	return nil
}

// renewEvery is how often an attempt to replace the database is repeated.
const renewEvery = 5 * time.Second

// watchDisk replaces the database when it turns out to be damaged, until ctx is done. From
// then on nobody waits for room on the disk.
func (e *Engine) watchDisk(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-e.disk.Damaged():
			e.renew(ctx)
		}
	}
	e.disk.Hurry()
}

// renew replaces the database once all applications and readers have let go of it. The
// applications start anew then and restore their stores. Where the disk fails, those fail
// that have some, and the others go on: the few positions they keep are in memory.
func (e *Engine) renew(ctx context.Context) {
	cause := e.disk.Damage()
	e.using.Lock()
	defer e.using.Unlock()
	e.open.Lock()
	defer e.open.Unlock()
	for ctx.Err() == nil {
		aside, err := e.disk.Renew()
		if err == nil && errors.Is(cause, state.ErrFailing) {
			e.failing = cause
			return
		}
		if err == nil {
			e.setAside(cause, aside)
			return
		}
		e.cfg.Logger.Error("the damaged database cannot be replaced, trying again", "dir", e.cfg.Dir, "error", fmt.Errorf("%w, after %w", err, cause))
		select {
		case <-ctx.Done():
		case <-time.After(renewEvery):
		}
	}
}
