package streams

import (
	"errors"

	"github.com/tidemill/tidemill/streams/state"
)

// farBehind is from how many changelog records on it is worth it to fill stores, rather
// than to write batches to them.
const farBehind = 100_000

// filling writes what changelogs have to the DB: in batches, or, where there is much, by a
// Fill, which is nil otherwise. Rows and positions come into the DB together either way.
type filling struct {
	e    *Engine
	fill *state.Fill
}

// fillFor begins to write about so many records.
func (e *Engine) fillFor(records int64) *filling {
	f := &filling{e: e}
	if records >= e.farBehind && e.disk != nil {
		f.fill = e.disk.Fill()
	}
	return f
}

// batch takes records of a store. Each version depends on those before it, which have to
// be in the DB.
func (f *filling) batch(st *taskStore) state.Batch {
	if f.fill == nil || st.versions != nil {
		return f.e.db.Batch()
	}
	return f.fill
}

// commit commits a batch, a Fill when it is time.
func (f *filling) commit(b state.Batch) error {
	if b != state.Batch(f.fill) {
		return b.Commit()
	}
	if f.due() {
		return f.settle()
	}
	return nil
}

// due tells whether there is as much as is committed at once.
func (f *filling) due() bool { return f.fill != nil && f.fill.Due() }

// settle commits what is not in the DB yet.
func (f *filling) settle() error {
	if f.fill == nil {
		return nil
	}
	if f.e.crash != nil {
		if err := f.e.crash("filled"); err != nil {
			return err
		}
	}
	return f.fill.Commit()
}

// end settles what was written before err, and returns the error that counts: when it
// cannot be settled the stores are not where they are said to be.
func (f *filling) end(err error) error {
	if f.fill == nil || errors.Is(err, errCrash) {
		return err
	}
	if failed := f.settle(); failed != nil {
		return failed
	}
	return err
}

// close lets go of the Fill, in any case.
func (f *filling) close() error {
	if f.fill == nil {
		return nil
	}
	fill := f.fill
	f.fill = nil
	return fill.Close()
}
