package postgres

import (
	"encoding/binary"
	"math"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams/state"
)

// What rows that are gone have left is dropped once no restart comes before that. Until
// then it is noted on the disk as well, since one transaction may delete any number of
// rows: under commit LSN and ordinal, whether it is all of a table, and where the values
// stand.

// dropAtOnce bounds how many rows are dropped between two batches.
const dropAtOnce = 4096

// nothingToDrop is where the oldest note stands when there is none.
const nothingToDrop = math.MaxUint64

// toDrop notes that what stands under a prefix is gone from a place of the log on. The
// caller holds mu.
func (f *fill) toDrop(commit uint64, ordinal int64, prefix []byte, table bool) {
	note := []byte{0}
	if table {
		note[0] = 1
	}
	f.batch.Put(f.drops, append(appendVersion(nil, commit, ordinal), prefix...), note)
	f.oldest = min(f.oldest, commit)
}

// drop drops what may be dropped by now. The caller holds mu.
func (f *fill) drop() error {
	safe := f.safe.Load()
	if f.oldest >= safe {
		return nil
	}
	if err := f.commit(); err != nil { // So that all notes can be read.
		return err
	}
	f.oldest = nothingToDrop
	it := f.db.Reader(f.drops).Scan(state.Range{})
	var err error
	for n := 0; err == nil && it.Next(); n++ {
		const place = 16
		key := it.Key()
		if len(key) < place {
			f.batch.Delete(f.drops, key)
			continue
		}
		commit, ordinal, prefix := binary.BigEndian.Uint64(key), int64(binary.BigEndian.Uint64(key[8:])), key[place:]
		if commit >= safe || n >= dropAtOnce {
			f.oldest = commit
			break
		}
		if len(it.Value()) > 0 && it.Value()[0] == 1 {
			err = f.dropTable(commit, prefix)
		} else {
			f.batch.DeleteRange(f.values, state.Range{Lo: prefix, Hi: appendVersion(append([]byte(nil), prefix...), commit, ordinal+1)})
		}
		f.batch.Delete(f.drops, key)
	}
	if failed := it.Close(); err == nil && failed != nil {
		err = fillFault("large values cannot be read", failed)
	}
	return err
}

// dropTable drops the values of a table's rows as of a transaction.
func (f *fill) dropTable(commit uint64, prefix []byte) error {
	it := f.db.Reader(f.values).Scan(state.Range{Lo: prefix, Hi: state.PrefixEnd(prefix)})
	var err error
	for err == nil && it.Next() {
		if c, _, _, ok := splitVersion(it.Key(), len(prefix)); ok && c <= commit {
			f.batch.Delete(f.values, it.Key())
		}
		if f.batch.Size() >= fillBatch {
			err = f.commit()
		}
	}
	if failed := it.Close(); err == nil && failed != nil {
		err = fillFault("large values cannot be read", failed)
	}
	return err
}

// gone notes that a row was deleted, or left what is published: what it had is not what
// it has when it comes back.
func (f *fill) gone(p *plan, key connect.Value, pos *position) error {
	if key.IsNull() {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	commit, ordinal := pos.version()
	prefix := f.row(p, key)
	f.toDrop(commit, ordinal, prefix, false)
	f.batch.Put(f.values, appendVersion(prefix, commit, ordinal), []byte{0, 0})
	return f.commitIfLarge()
}

// emptied notes that all rows of a table are gone.
func (f *fill) emptied(p *plan, pos *position) {
	f.mu.Lock()
	defer f.mu.Unlock()
	commit, ordinal := pos.version()
	f.toDrop(commit, ordinal, binary.BigEndian.AppendUint32(nil, p.relation.oid), true)
}

// recount forgets what was kept of a transaction whose changes are counted otherwise from
// now on, from its first. It is safe on nil.
func (f *fill) recount(commit uint64, begin *position) error {
	if f == nil {
		return nil
	}
	// What is complete goes back first: should this end in the middle, nobody relies on
	// what is left.
	if err := f.reached(begin); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	const table = 4
	it := f.db.Reader(f.values).Scan(state.Range{})
	var err error
	for err == nil && it.Next() {
		if key := it.Key(); len(key) > table {
			if c, _, _, ok := splitVersion(key, table); ok && c == commit {
				f.batch.Delete(f.values, key)
			}
		}
		err = f.commitIfLarge()
	}
	if failed := it.Close(); err == nil && failed != nil {
		err = fillFault("large values cannot be read", failed)
	}
	f.batch.DeleteRange(f.drops, state.Range{Lo: appendVersion(nil, commit, 0), Hi: appendVersion(nil, commit+1, 0)})
	if err != nil {
		return err
	}
	return f.commit()
}
