package state

import "errors"

// ErrClosed is returned by operations on a DB after Close.
var ErrClosed = errors.New("state: the database is closed")

// ID addresses one store of one partition inside a DB. It is given out by
// DB.Open, stays the same across restarts of a durable DB and is only
// meaningful to the DB that gave it.
type ID struct {
	Store     uint32
	Partition uint16
}

// Range is a span of keys in byte order: from Lo, included, to Hi, excluded. A
// nil bound is open.
type Range struct {
	Lo, Hi []byte
	// Reverse walks from the highest key down.
	Reverse bool
}

// Reader reads one store. A Reader keeps scratch space and is used by one
// goroutine at a time; make one for each, they are cheap.
type Reader interface {
	// Get appends the value of key to dst and returns the longer slice, or
	// reports found = false and returns dst as it was. The bytes belong to the
	// caller.
	Get(dst, key []byte) (value []byte, found bool, err error)
	// Scan walks the keys of r in order. The caller closes the iterator and
	// does not write to the store it came from until then.
	Scan(r Range) Iterator
}

// Store is a Reader that can be changed. Changes are seen by the Store's own
// Get and Scan at once.
type Store interface {
	Reader
	// Put sets key to value. Both are copied.
	Put(key, value []byte) error
	// Delete removes key; an absent key is no error.
	Delete(key []byte) error
}

// Iterator walks entries. It starts before the first one:
//
//	for it.Next() { use(it.Key(), it.Value()) }
//	err := it.Close()
type Iterator interface {
	// Next steps to the next entry and reports whether there is one.
	Next() bool
	// Key is valid until the next call of Next or Close.
	Key() []byte
	// Value is valid until the next call of Next or Close.
	Value() []byte
	// Close ends the walk and returns the error that cut it short, if any.
	Close() error
}

// Batch gathers changes to any stores of one DB. Commit makes all of them
// visible, and for a durable DB lasting, together or not at all; DiskOptions
// says when they last. A Batch is used by one goroutine and is spent after
// Commit.
type Batch interface {
	// Put sets key to value; both are copied.
	Put(id ID, key, value []byte)
	// Delete removes key.
	Delete(id ID, key []byte)
	// DeleteRange removes the keys of r, whatever its direction.
	DeleteRange(id ID, r Range)
	// Size is an estimate of the gathered bytes.
	Size() int
	// Commit applies the changes.
	Commit() error
}

// DB holds all stores of one instance. It is safe for concurrent use; the
// Readers, Batches and Snapshots it hands out are each used by one goroutine.
//
// One that has Drop(name string) error forgets a store for good with it: its content in
// every partition and its name. A name that was never opened is no error.
type DB interface {
	// Open returns the ID of the named store of a partition (0…65535) and
	// creates the store when it is new.
	Open(name string, partition int32) (ID, error)
	// Reader reads what has been committed to id, always the latest.
	Reader(id ID) Reader
	// Batch starts an empty batch.
	Batch() Batch
	// Snapshot freezes all stores as they are now.
	Snapshot() (Snapshot, error)
	// Close releases everything. Snapshots and iterators are closed before.
	Close() error
}

// Snapshot reads all stores as of the moment it was taken.
type Snapshot interface {
	// Reader reads one store of the snapshot.
	Reader(id ID) Reader
	// Close releases the snapshot.
	Close() error
}

// PrefixEnd returns the first key after all keys that start with prefix, or nil
// when there is none, which as an upper bound means open.
func PrefixEnd(prefix []byte) []byte {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] != 0xff {
			end := append([]byte(nil), prefix[:i+1]...)
			end[i]++
			return end
		}
	}
	return nil
}
