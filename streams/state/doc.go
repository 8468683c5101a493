// Package state keeps the state of stream processing: ordered maps of bytes to
// bytes, many of them in one database, changed together in one atomic step.
//
// There are few types. A [DB] holds every store of one instance; [NewMemory]
// keeps it in memory, [OpenDisk] in one Pebble database. A store is one named
// map of one partition and is addressed by an [ID]. A [Reader] reads what has
// been committed, a [Batch] changes any number of stores at once, and a
// [Snapshot] reads them all as of one moment while others write on.
//
// Processing does not write to the DB record by record. It works on a [Cache],
// a write-back layer over one Reader: an update of a key replaces the update
// before it, and only what is left at the commit leaves the cache, each entry
// with the value it replaces. The consumed offsets are written into the same
// Batch as the state they led to. A crash therefore finds the DB exactly as of
// some commit, never between two, and nothing has to be wiped.
//
//	db, err := state.OpenDisk("/var/lib/app", state.DiskOptions{})
//	id, err := db.Open("orders/count", 0)
//	counts := state.NewCache(db.Reader(id), 16<<20)
//	err = counts.Put([]byte("basel"), []byte{1})
//	batch := db.Batch()
//	counts.Write(batch, id)
//	err = batch.Commit()
//	counts.Committed()
//
// A full disk is no error of a DB on disk: commits wait until there is room, and [Disk.Full]
// tells so. Every block is read with its checksum, so a file that is not what it was gives
// [ErrDamaged] and never another value; [Disk.Renew], and DiskOptions.Damaged when it is
// opened, set the DB aside and go on with an empty one, to be filled from elsewhere. Of a
// disk that fails, which is [ErrFailing], nothing is asked any more.
//
// Window and session stores are wrappers ([Windows], [Sessions]) that order
// time after the key, so that the windows of one key lie side by side.
package state
