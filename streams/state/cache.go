package state

import (
	"bytes"
	"unsafe"
)

// Entry is a change that leaves a Cache at a commit.
type Entry struct {
	// Key is the changed key.
	Key []byte
	// Old is the committed value; HasOld is false when there was none.
	Old    []byte
	HasOld bool
	// New is the value now; HasNew is false when the key was deleted.
	New    []byte
	HasNew bool
}

// entry is a cached key. A clean entry repeats the reader below, absence
// included; a dirty one replaces it until the commit.
type entry struct {
	key        []byte
	val, old   []byte
	has, had   bool
	dirty      bool
	oldKnown   bool
	prev, next *entry // neighbours in order of use, clean entries only
}

// name is the key as the map wants it. It shares the bytes of the key, which
// never change.
func (e *entry) name() string { return unsafe.String(unsafe.SliceData(e.key), len(e.key)) }

// entryOverhead is what an entry costs beyond its bytes, map slot included.
const entryOverhead = 160

// Cache is the write-back layer of one store: it holds the changes since the
// last commit, and as far as its bound allows what was read or written lately.
// Updates of one key replace each other, so that only the last one before the
// commit leaves it.
//
// A commit has three steps, with the caller's own work between them: Flush
// shows the changes, Write puts them into a batch, Committed declares them
// clean once the batch is applied. Discard throws them away instead.
//
// A Cache is a Store and is used by one goroutine.
type Cache struct {
	base  Reader
	limit int64

	entries map[string]*entry
	order   []*entry // the dirty ones, in order of their first change
	lru     entry    // ring of the clean ones; lru.next is the latest used
	index   *tree[*entry]
	scan    cacheIter // of the scan under way, or of the last one
	bytes   int64     // all entries
	dirt    int64     // the dirty ones
	spare   []*entry  // forgotten ones, whose memory is used again
	idle    int64     // what they hold
	read    []byte    // scratch

	reads, misses int64
	overflow
}

// NewCache returns a cache over base that keeps about limit bytes. Dirty
// entries are kept whatever their size: whoever writes looks at DirtyBytes and
// commits early when they are too many.
func NewCache(base Reader, limit int64) *Cache {
	c := &Cache{base: base, limit: limit, entries: map[string]*entry{}}
	c.lru.next, c.lru.prev = &c.lru, &c.lru
	return c
}

// SetLimit changes the bound in bytes.
func (c *Cache) SetLimit(limit int64) {
	c.limit = limit
	c.shrink()
}

// DirtyBytes is the size of what the next commit will write.
func (c *Cache) DirtyBytes() int64 { return c.dirt }

// Bytes is the size of everything cached.
func (c *Cache) Bytes() int64 { return c.bytes }

// Reads is how many keys were asked for, and how many of them were cached.
func (c *Cache) Reads() (all, hits int64) { return c.reads, c.reads - c.misses }

// Get implements Reader.
func (c *Cache) Get(dst, key []byte) (value []byte, found bool, err error) {
	e, err := c.load(key)
	if err != nil {
		return dst, false, err
	}
	if !e.has {
		return dst, false, nil
	}
	return append(dst, e.val...), true, nil
}

// load returns the entry of key and reads it from below when it is not here.
func (c *Cache) load(key []byte) (*entry, error) {
	c.reads++
	if e := c.entries[string(key)]; e != nil {
		if !e.dirty {
			c.touch(e)
		}
		return e, nil
	}
	c.misses++
	val, found, err := c.base.Get(c.read[:0], key)
	if err != nil {
		return nil, err
	}
	c.read = val
	e := c.add(key, len(val))
	e.val, e.has, e.oldKnown = append(e.val[:0], val...), found, true
	c.grow(int64(len(val)), e)
	c.touch(e)
	c.shrink()
	return e, nil
}

// add makes an entry for a new key, with room for a value.
func (c *Cache) add(key []byte, room int) *entry {
	var e *entry
	if n := len(c.spare); n > 0 {
		e, c.spare = c.spare[n-1], c.spare[:n-1]
		c.idle -= e.idle()
		e.key = append(e.key[:0], key...)
	} else {
		// One allocation holds both; the capacity of key ends where value begins.
		kv := append(make([]byte, 0, len(key)+room), key...)
		e = &entry{key: kv[:len(key):len(key)], val: kv[len(key):]}
	}
	c.entries[e.name()] = e
	c.bytes += entryOverhead + int64(len(key))
	return e
}

// grow accounts for n more bytes of e.
func (c *Cache) grow(n int64, e *entry) {
	c.bytes += n
	if e.dirty {
		c.soil(n)
	}
}

// Put implements Store.
func (c *Cache) Put(key, value []byte) error {
	e := c.change(key, len(value))
	c.grow(int64(len(value)-len(e.val)), e)
	e.val, e.has = append(e.val[:0], value...), true
	return c.relieve()
}

// Delete implements Store.
func (c *Cache) Delete(key []byte) error {
	e := c.change(key, 0)
	c.grow(-int64(len(e.val)), e)
	e.val, e.has = e.val[:0], false
	return c.relieve()
}

// change returns the entry of key, made dirty. A key that is not cached is not
// read: its old value is fetched by Flush when it is wanted. room is how long its value
// will be.
func (c *Cache) change(key []byte, room int) *entry {
	e := c.entries[string(key)]
	if e == nil {
		e = c.add(key, room)
	}
	if e.dirty {
		return e
	}
	c.unlink(e)
	e.dirty = true
	c.soil(entryOverhead + int64(len(e.key)+len(e.val)))
	if e.oldKnown {
		e.old, e.val, e.had = e.val, e.old[:0], e.has
	}
	c.order = append(c.order, e)
	if c.index != nil {
		c.index.set(e.key, e)
	}
	return e
}

// Forget drops the clean entries with keys below hi, after they were removed from the
// reader below, of which the Cache has not heard.
func (c *Cache) Forget(hi []byte) {
	for _, e := range c.entries {
		if !e.dirty && bytes.Compare(e.key, hi) < 0 {
			c.drop(e)
		}
	}
}

// drop forgets an entry.
func (c *Cache) drop(e *entry) {
	size := entryOverhead + int64(len(e.key)+len(e.val)+len(e.old))
	c.bytes -= size
	if e.dirty {
		c.soil(-size)
	}
	c.unlink(e)
	delete(c.entries, e.name())
	if size = e.idle(); size <= spareBytes && c.idle+size <= c.limit/4 {
		*e = entry{key: e.key[:0], val: e.val[:0], old: e.old[:0]}
		c.spare = append(c.spare, e)
		c.idle += size
	}
}

// spareBytes is how much memory of a forgotten entry is used again at most. All of them
// together have a quarter of the cache's bound at most.
const spareBytes = 1024

// idle is what a forgotten entry holds.
func (e *entry) idle() int64 {
	return entryOverhead + int64(cap(e.key)+cap(e.val)+cap(e.old))
}

// Flush shows every change since the last commit, in the order in which the
// keys were first changed; withOld asks for the values before. The bytes are
// valid during the call of visit. visit may write to other stores, not to this
// one.
func (c *Cache) Flush(withOld bool, visit func(Entry) error) error {
	if c.below != nil {
		return c.flushStaged(withOld, visit)
	}
	for _, e := range c.order {
		if withOld && !e.oldKnown {
			old, had, err := c.base.Get(nil, e.key)
			if err != nil {
				return err
			}
			e.old, e.had, e.oldKnown = old, had, true
			c.grow(int64(len(old)), e)
		}
		if e.oldKnown && !e.had && !e.has {
			continue // Came and went between two commits.
		}
		err := visit(Entry{Key: e.key, Old: e.old, HasOld: e.had, New: e.val, HasNew: e.has})
		if err != nil {
			return err
		}
	}
	return nil
}

// Write adds the changes since the last commit to b.
func (c *Cache) Write(b Batch, id ID) {
	for _, e := range c.order {
		if e.has {
			b.Put(id, e.key, e.val)
		} else {
			b.Delete(id, e.key)
		}
	}
}

// Committed declares the changes clean: the reader below has them now.
func (c *Cache) Committed() {
	c.clean()
	c.unstage()
}

// clean declares all entries what the reader below has.
func (c *Cache) clean() {
	for _, e := range c.order {
		e.dirty, e.oldKnown, e.had = false, true, false
		c.bytes -= int64(len(e.old))
		if e.old = e.old[:0]; cap(e.old) > spareBytes {
			e.old = nil
		}
		c.touch(e)
	}
	c.settle()
	c.shrink()
}

// Discard throws the changes since the last commit away.
func (c *Cache) Discard() {
	for _, e := range c.order {
		c.drop(e)
	}
	if c.below != nil {
		for _, e := range c.entries {
			c.drop(e) // It may be what was staged.
		}
		c.unstage()
	}
	c.settle()
}

func (c *Cache) settle() {
	clear(c.order)
	c.soil(-c.dirt)
	c.order, c.index = c.order[:0], nil
}

// touch makes a clean entry the latest used.
func (c *Cache) touch(e *entry) {
	c.unlink(e)
	e.next, e.prev = c.lru.next, &c.lru
	e.next.prev, c.lru.next = e, e
}

func (c *Cache) unlink(e *entry) {
	if e.next != nil {
		e.prev.next, e.next.prev = e.next, e.prev
		e.prev, e.next = nil, nil
	}
}

// shrink forgets clean entries, longest unused first, down to the bound. The
// latest is kept: its reader still holds it.
func (c *Cache) shrink() {
	for c.bytes > c.limit && c.lru.prev != c.lru.next {
		e := c.lru.prev
		c.drop(e)
	}
}
