package state

import (
	"errors"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
)

// idle keeps the engine's iterators of walks that have ended for the next walk of the same
// reader: to make one anew takes more work than a short walk. They see the DB as it was when
// they were made, so every commit ends those there are, which also frees the files they hold.
// When the engine has written its newest rows to a file, the next walk begins with a new one,
// and the old one no longer keeps these rows in memory.
type idle struct {
	moment atomic.Uint64 // moves on with each commit, and when newest rows were written
	mu     sync.Mutex    // guards what follows
	of     map[*diskReader]idleIter
}

// idleIter is an iterator and the moment as of which it is.
type idleIter struct {
	it *pebble.Iterator
	at uint64
}

// take returns what was kept for r, nil when there is nothing, and the moment.
func (i *idle) take(r *diskReader) (it *pebble.Iterator, at uint64, err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	at = i.moment.Load()
	k := i.of[r]
	delete(i.of, r)
	if k.it != nil && k.at != at {
		return nil, at, r.health.note(k.it.Close())
	}
	return k.it, at, nil
}

// keep keeps an iterator of the moment at for r, unless that is over.
func (i *idle) keep(r *diskReader, it *pebble.Iterator, at uint64) (kept bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.moment.Load() != at {
		return false
	}
	if i.of == nil {
		i.of = map[*diskReader]idleIter{}
	}
	i.of[r] = idleIter{it, at}
	return true
}

// written says that newest rows are in a file now. The engine calls it, and must not be
// called from here.
func (i *idle) written(pebble.FlushInfo) { i.moment.Add(1) }

// end closes all that are kept, after something was committed.
func (i *idle) end() (err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.moment.Add(1)
	for r, k := range i.of {
		err = errors.Join(err, r.health.note(k.it.Close()))
	}
	clear(i.of)
	return err
}
