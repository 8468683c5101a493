package query

import (
	"context"
	"slices"

	"github.com/tidemill/tidemill/streams/state"
)

// Moment is a state of all stores of one application, between two of its commits. In
// transaction mode it is what the database was, or made of that, at one position of its
// log: whatever is read in it fits together. It is used by one goroutine.
type Moment struct {
	rows *Rows
	snap state.Snapshot
	here []int32
}

// Moment freezes the stores as they are now. The application cannot stop before Close.
func (r *Rows) Moment() (*Moment, error) {
	r.Open.RLock()
	snap, here, err := r.snapshot()
	if err != nil {
		r.Open.RUnlock()
		return nil, err
	}
	return &Moment{rows: r, snap: snap, here: here}, nil
}

// Close lets the moment go.
func (m *Moment) Close() error {
	err := m.snap.Close()
	m.rows.Open.RUnlock()
	return err
}

// LSN is the position in the log of the database that the rows are true for; 0 outside of
// transaction mode, and before the first transaction or snapshot is whole.
func (m *Moment) LSN() (uint64, error) {
	if m.rows.LSN == nil {
		return 0, nil
	}
	return m.rows.LSN(m.snap.Reader)
}

// Get returns the row of a key in a store of the application.
func (m *Moment) Get(r *Rows, key []byte) (row Row, found bool, err error) {
	p := r.Place(r.Layout.Inner(key), r.Total())
	if !slices.Contains(r.Here(), p) {
		return Row{}, false, r.elsewhere(p)
	}
	id, err := r.DB.Open(r.Name, p)
	if err != nil {
		return Row{}, false, err
	}
	timed, found, err := m.snap.Reader(id).Get(nil, r.Layout.AppendLocal(nil, key))
	if err != nil || !found {
		return Row{}, false, err
	}
	row.Time, row.Value = state.SplitTimed(timed)
	row.Key = key
	return row, true, nil
}

// Scan visits the rows of a store of the application, as [Rows.ScanAll] does.
func (m *Moment) Scan(ctx context.Context, r *Rows, lo, hi []byte, visit func(Row) error) error {
	here := r.Here()
	if err := r.missing(here); err != nil {
		return err
	}
	for _, p := range here {
		if err := r.scan(ctx, m.snap, p, state.Range{Lo: lo, Hi: hi}, visit); err != nil {
			return err
		}
	}
	return nil
}
