package state

import (
	"bytes"
	"slices"
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
	// Cause is what the last change of the key was caused by, as By has said.
	Cause any
}

// entry is a changed key, until the commit.
type entry struct {
	key      []byte
	val, old []byte
	has, had bool
	oldKnown bool
	due      bool // News has not shown it as it is
	told     bool // it was shown

	cause     any
	causeSize int64
}

// name is the key as the map wants it. It shares the bytes of the key, which
// never change.
func (e *entry) name() string { return unsafe.String(unsafe.SliceData(e.key), len(e.key)) }

// size is what an entry takes.
func (e *entry) size() int64 {
	return entryOverhead + int64(len(e.key)+len(e.val)+len(e.old))
}

// entryOverhead is what an entry costs beyond its bytes, map slot included.
const entryOverhead = 160

// Cache is the write-back layer of one store: it holds the changes since the
// last commit, and as far as its bound allows what was read or written lately.
// Updates of one key replace each other, so that only the last one before the
// commit leaves it.
//
// A commit has three steps, with the caller's own work between them: Flush
// shows the changes, Write puts them into a batch, Committed declares them
// clean once the batch is applied. Discard throws them away instead. Whoever
// wants changes before the commit asks for News.
//
// A Cache is a Store and is used by one goroutine.
type Cache struct {
	base  Reader
	limit int64

	entries map[string]*entry // the changes
	order   []*entry          // of their first, until Write
	news    int               // how many of them News has been through
	again   []*entry          // of those the ones that have changed since
	rows    *rows             // what the reader below has
	index   *tree[*entry]
	scan    cacheIter // of the scan under way, or of the last one
	dirt    int64     // the bytes of the changes
	peak    int64     // about the most of them before a commit, lately
	spare   []*entry  // forgotten ones, whose memory is used again
	idle    int64     // what they hold

	cause     any // of the next change
	causeSize int64

	plain         bool // the last Flush did not ask for the values before
	reads, misses int64
	readThen      int64 // reads as of the last commit
	overflow
	loan *loan // nil where nobody lends
}

// NewCache returns a cache over base that keeps about limit bytes. Changes
// are kept whatever their size: whoever writes looks at DirtyBytes and
// commits early when they are too many.
func NewCache(base Reader, limit int64) *Cache {
	if r, ok := base.(*diskReader); ok {
		r.walks = r.idle != nil
	}
	return &Cache{base: base, limit: limit, entries: map[string]*entry{}, rows: newRows(limit)}
}

// SetLimit changes the bound in bytes.
func (c *Cache) SetLimit(limit int64) {
	c.limit = limit
	c.fit()
}

// fit gives what is not needed for changes, and a quarter of the bound in any case, to
// the rows that did not change.
func (c *Cache) fit() {
	own := max(c.limit-c.peak, c.limit/4)
	if c.loan != nil {
		own += c.loan.settle()
	}
	c.rows.setLimit(own)
}

// DirtyBytes is the size of what the next commit will write.
func (c *Cache) DirtyBytes() int64 { return c.dirt }

// Bytes is the size of everything cached.
func (c *Cache) Bytes() int64 { return c.dirt + c.rows.bytes }

// Reads is how many keys were asked for, and how many of them were cached.
func (c *Cache) Reads() (all, hits int64) { return c.reads, c.reads - c.misses }

// Get implements Reader.
func (c *Cache) Get(dst, key []byte) (value []byte, found bool, err error) {
	c.reads++
	if e := c.entries[string(key)]; e != nil {
		if !e.has {
			return dst, false, nil
		}
		return append(dst, e.val...), true, nil
	}
	if val, has, known := c.rows.get(key, true); known {
		if !has {
			return dst, false, nil
		}
		return append(dst, val...), true, nil
	}
	c.misses++
	if value, found, err = c.base.Get(dst, key); err == nil {
		c.rows.put(key, value[len(dst):], found)
	}
	return value, found, err
}

// fixedBytes is how long a value is that may be a number or some, which has one length.
const fixedBytes = 64

// add makes an entry for a new key, with room for a value.
func (c *Cache) add(key []byte, room int) *entry {
	var e *entry
	if n := len(c.spare); n > 0 {
		e, c.spare = c.spare[n-1], c.spare[:n-1]
		c.idle -= e.idle()
		e.key = append(e.key[:0], key...)
	} else {
		// One allocation holds both; the capacity of key ends where value begins. When it is
		// used again the next value may be somewhat longer, but for those of a fixed length.
		if room > fixedBytes {
			room += room / 8
		}
		kv := append(slices.Grow([]byte(nil), len(key)+room), key...)
		e = &entry{key: kv[:len(key):len(key)], val: kv[len(key):]}
	}
	e.due = true
	c.entries[e.name()] = e
	c.order = append(c.order, e)
	if c.index != nil {
		c.index.set(e.key, e)
	}
	return e
}

// Put implements Store.
func (c *Cache) Put(key, value []byte) error {
	e := c.change(key, len(value))
	c.soil(int64(len(value)-len(e.val)) + c.caused(e))
	e.val, e.has = append(e.val[:0], value...), true
	return c.relieve()
}

// Delete implements Store.
func (c *Cache) Delete(key []byte) error {
	e := c.change(key, 0)
	c.soil(c.caused(e) - int64(len(e.val)))
	e.val, e.has = e.val[:0], false
	return c.relieve()
}

// By says what causes the next change, to be told when the change leaves the cache, and what
// it takes in memory. Changes that are staged have lost it.
func (c *Cache) By(cause any, size int64) { c.cause, c.causeSize = cause, size }

// caused notes the cause of a change, and returns how many bytes more it takes than the one
// before.
func (c *Cache) caused(e *entry) (more int64) {
	more = c.causeSize - e.causeSize
	e.cause, e.causeSize = c.cause, c.causeSize
	c.cause, c.causeSize = nil, 0
	return more
}

// change returns the entry of key. A key that is not cached is not
// read: its old value is fetched by Flush when it is wanted. room is how long its value
// will be.
func (c *Cache) change(key []byte, room int) *entry {
	e := c.entries[string(key)]
	if e != nil {
		if !e.due {
			e.due, c.again = true, append(c.again, e)
		}
		return e
	}
	e = c.add(key, room)
	// That there was none is always good to know: such a key may come and go.
	if old, had, known := c.rows.get(key, false); known && !(had && c.plain) {
		e.old, e.had, e.oldKnown = append(e.old, old...), had, true
	}
	c.soil(e.size())
	return e
}

// Forget drops what is cached of keys below hi that did not change, after they were removed
// from the reader below, of which the Cache has not heard.
func (c *Cache) Forget(hi []byte) { c.rows.forget(hi) }

// recycle keeps a forgotten entry for its memory, as far as changes have needed it lately.
func (c *Cache) recycle(e *entry) {
	if size := e.idle(); size <= spareBytes && c.idle+size <= max(min(c.peak, c.limit), c.limit/4) {
		*e = entry{key: e.key[:0], val: e.val[:0], old: e.old[:0]}
		c.spare = append(c.spare, e)
		c.idle += size
	}
}

// spareBytes is how much memory of a forgotten entry is used again at most.
const spareBytes = 1024

// idle is what a forgotten entry holds.
func (e *entry) idle() int64 {
	return entryOverhead + int64(cap(e.key)+cap(e.val)+cap(e.old))
}

// Flush shows every change since the last commit, in the order in which the
// keys were first changed; withOld asks for the values before. A key that came and went
// between two commits is not shown. The bytes are valid during the call of visit. visit may
// write to other stores, not to this one.
func (c *Cache) Flush(withOld bool, visit func(Entry) error) error {
	if c.below != nil {
		return c.flushStaged(withOld, visit)
	}
	c.plain = !withOld
	for _, e := range c.order {
		if err := c.show(e, withOld, visit); err != nil {
			return err
		}
	}
	return nil
}

// show shows one change.
func (c *Cache) show(e *entry, withOld bool, visit func(Entry) error) error {
	if !e.oldKnown && (withOld || !e.has) {
		old, had, err := c.base.Get(e.old[:0], e.key)
		if err != nil {
			return err
		}
		e.old, e.had, e.oldKnown = old, had, true
		c.soil(int64(len(old)))
	}
	if e.oldKnown && !e.had && !e.has && !e.told {
		return nil // Came and went between two commits.
	}
	e.told = true
	return visit(Entry{Key: e.key, Old: e.old, HasOld: e.had, New: e.val, HasNew: e.has, Cause: e.cause})
}

// News shows the changes that it has not shown yet, before the commit or for it: those of
// keys that are new among the changes in the order in which Flush has them, and after them
// the keys it has shown that were changed again. It is for those who want changes early,
// and no values before, of a Cache without a Stage.
func (c *Cache) News(visit func(Entry) error) error {
	c.plain = true
	for ; c.news < len(c.order); c.news++ {
		e := c.order[c.news]
		if err := c.show(e, false, visit); err != nil {
			return err
		}
		e.due = false
	}
	for _, e := range c.again {
		if err := c.show(e, false, visit); err != nil {
			return err
		}
		e.due = false
	}
	clear(c.again)
	c.again = c.again[:0]
	return nil
}

// Write adds the changes since the last commit to b, in the order of their keys, in which
// a DB takes them with the least work.
func (c *Cache) Write(b Batch, id ID) {
	slices.SortFunc(c.order, func(a, b *entry) int { return bytes.Compare(a.key, b.key) })
	for _, e := range c.order {
		if e.has {
			b.Put(id, e.key, e.val)
		} else {
			b.Delete(id, e.key)
		}
	}
}

// WriteBytes is about how many bytes Write will add to a batch.
func (c *Cache) WriteBytes() int64 {
	const head = 16 // of the change and the key
	return c.dirt - int64(len(c.order))*(entryOverhead-head)
}

// Committed declares the changes clean: the reader below has them now.
func (c *Cache) Committed() {
	c.clean()
	c.unstage()
}

// clean declares all changes what the reader below has.
func (c *Cache) clean() {
	c.peak = max(c.dirt, c.peak-c.peak/8)
	c.fit()
	// Of a store that is only walked, rows are of no use.
	const seldom = 8
	looked := !c.plain || (c.reads-c.readThen)*seldom >= int64(len(c.order))
	c.readThen = c.reads
	for _, e := range c.order {
		if looked || c.rows.knows(e.key) {
			c.rows.put(e.key, e.val, e.has)
		}
	}
	c.settle()
}

// Discard throws the changes since the last commit away.
func (c *Cache) Discard() {
	if c.below != nil {
		c.rows.reset() // Some of them may be what was staged.
		c.unstage()
	}
	c.settle()
}

// settle forgets the changes.
func (c *Cache) settle() {
	clear(c.entries)
	for _, e := range c.order {
		c.recycle(e)
	}
	clear(c.order)
	clear(c.again)
	c.soil(-c.dirt)
	c.order, c.index = c.order[:0], nil
	c.again, c.news = c.again[:0], 0
}
