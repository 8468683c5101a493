package state

import "bytes"

// Scan implements Reader: it merges the changes since the last commit with what
// is below. The first scan after a commit orders the changes; caches that are
// never scanned do not pay for it.
func (c *Cache) Scan(r Range) Iterator {
	if c.index == nil {
		c.index = &tree[*entry]{}
		for _, e := range c.order {
			c.index.set(e.key, e)
		}
	}
	it := &c.scan
	if it.open {
		it = &cacheIter{} // A walk within a walk.
	}
	*it = cacheIter{reverse: r.Reverse, dirty: it.dirty, base: c.base.Scan(r), open: true}
	it.dirty.walk(c.index, r)
	it.moreDirty = it.dirty.next()
	it.stepBase()
	return it
}

// cacheIter merges two walks; where both have a key the dirty one counts.
type cacheIter struct {
	reverse             bool
	open                bool // until Close
	dirty               treeIter[*entry]
	base                Iterator
	moreDirty, moreBase bool
	started, fromDirty  bool
}

func (i *cacheIter) stepBase() { i.moreBase = i.base.Next() }

func (i *cacheIter) Next() bool {
	if i.started {
		i.leave()
	}
	i.started = true
	for i.moreDirty || i.moreBase {
		i.choose()
		if !i.fromDirty || i.dirty.value().has {
			return true
		}
		i.leave() // Deleted.
	}
	return false
}

// choose picks the side whose key comes next. An equal key below is hidden by
// the dirty one and skipped.
func (i *cacheIter) choose() {
	switch {
	case !i.moreBase:
		i.fromDirty = true
	case !i.moreDirty:
		i.fromDirty = false
	default:
		order := bytes.Compare(i.dirty.key(), i.base.Key())
		if order == 0 {
			i.stepBase()
		}
		i.fromDirty = order == 0 || (order < 0) != i.reverse
	}
}

// leave steps past the current entry.
func (i *cacheIter) leave() {
	if i.fromDirty {
		i.moreDirty = i.moreDirty && i.dirty.next()
	} else if i.moreBase {
		i.stepBase()
	}
}

func (i *cacheIter) Key() []byte {
	if i.fromDirty {
		return i.dirty.key()
	}
	return i.base.Key()
}

func (i *cacheIter) Value() []byte {
	if i.fromDirty {
		return i.dirty.value().val
	}
	return i.base.Value()
}

func (i *cacheIter) Close() error {
	i.moreDirty, i.moreBase, i.open = false, false, false
	return i.base.Close()
}
