package state

import (
	"container/list"
	"errors"
)

// LRU is a Store of a bounded number of entries: when there are more, the one that was
// not read or written for the longest time is deleted. What has been used when is in
// memory; after a restart the entries count as used in the order of their keys. It is
// used by one goroutine, and nobody else writes to the store under it.
type LRU struct {
	Store
	max   int
	order *list.List // the keys, the one used last in front; nil before the first use
	at    map[string]*list.Element
}

// NewLRU bounds a store to max entries, one at least. The store is looked at with the
// first use: an operator makes its LRU before its store is restored.
func NewLRU(s Store, max int) *LRU { return &LRU{Store: s, max: max} }

// open finds what the store has, and deletes what is too much.
func (l *LRU) open() error {
	if l.order != nil {
		return nil
	}
	l.order, l.at = list.New(), map[string]*list.Element{}
	it := l.Store.Scan(Range{})
	for it.Next() {
		l.use(it.Key())
	}
	if err := it.Close(); err != nil {
		return err
	}
	return l.shrink()
}

// use moves a key to the front.
func (l *LRU) use(key []byte) {
	if e := l.at[string(key)]; e != nil {
		l.order.MoveToFront(e)
		return
	}
	l.at[string(key)] = l.order.PushFront(string(key))
}

func (l *LRU) forget(key string) {
	if e := l.at[key]; e != nil {
		l.order.Remove(e)
		delete(l.at, key)
	}
}

// shrink deletes what is too much.
func (l *LRU) shrink() error {
	for l.order.Len() > max(l.max, 1) {
		oldest, _ := l.order.Back().Value.(string)
		if err := l.Store.Delete([]byte(oldest)); err != nil {
			return err
		}
		l.forget(oldest)
	}
	return nil
}

// Get implements Store, and uses the key.
func (l *LRU) Get(dst, key []byte) (value []byte, found bool, err error) {
	if err := l.open(); err != nil {
		return dst, false, err
	}
	value, found, err = l.Store.Get(dst, key)
	switch {
	case err != nil:
		return value, found, err
	case found:
		l.use(key)
	default:
		// What came after the last commit may have been undone.
		l.forget(string(key))
	}
	return value, found, l.shrink()
}

// Put implements Store, and uses the key.
func (l *LRU) Put(key, value []byte) error {
	if err := errors.Join(l.open(), l.Store.Put(key, value)); err != nil {
		return err
	}
	l.use(key)
	return l.shrink()
}

// Delete implements Store.
func (l *LRU) Delete(key []byte) error {
	if err := l.open(); err != nil {
		return err
	}
	l.forget(string(key))
	return l.Store.Delete(key)
}

// Scan implements Store, and uses nothing.
func (l *LRU) Scan(r Range) Iterator {
	if err := l.open(); err != nil {
		return brokenScan{err}
	}
	return l.Store.Scan(r)
}

// brokenScan is a walk that did not begin.
type brokenScan struct{ err error }

func (brokenScan) Next() bool     { return false }
func (brokenScan) Key() []byte    { return nil }
func (brokenScan) Value() []byte  { return nil }
func (s brokenScan) Close() error { return s.err }
