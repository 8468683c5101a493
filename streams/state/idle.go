package state

import (
	"errors"
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// idle keeps the engine's iterators of walks that have ended for the next walk of the same
// reader: to make one anew takes more work than a short walk. They see the DB as it was when
// they were made, so every commit ends those there are, which also frees the files they hold.
type idle struct {
	mu      sync.Mutex // guards what follows
	commits uint64
	of      map[*diskReader]*pebble.Iterator
}

// take returns what was kept for r, nil when there is nothing.
func (i *idle) take(r *diskReader) (it *pebble.Iterator, at uint64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	it = i.of[r]
	delete(i.of, r)
	return it, i.commits
}

// keep keeps an iterator of the moment at for r, unless there was a commit since.
func (i *idle) keep(r *diskReader, it *pebble.Iterator, at uint64) (kept bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.commits != at {
		return false
	}
	if i.of == nil {
		i.of = map[*diskReader]*pebble.Iterator{}
	}
	i.of[r] = it
	return true
}

// end closes all that are kept, after something was committed.
func (i *idle) end() (err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.commits++
	for r, it := range i.of {
		err = errors.Join(err, r.health.note(it.Close()))
	}
	clear(i.of)
	return err
}
