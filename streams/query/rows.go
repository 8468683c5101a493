package query

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams/state"
)

// Row is one row of a store as bytes, or the news that it was deleted.
type Row struct {
	Key, Value []byte
	// Time is the row's timestamp in milliseconds since the epoch.
	Time    int64
	Deleted bool
}

// Source is where the rows of a store are.
type Source struct {
	// App and Store name the store for people, and Store names it to the Hub.
	App, Store string
	// Name is the store's name in DB.
	Name string
	DB   state.DB
	// Open is held for reading while DB is read, so that it is not closed then.
	Open *sync.RWMutex
	Hub  *Hub
	// Here lists the partitions this process has, Total is how many there are,
	// and Place tells in which of n a key is.
	Here  func() []int32
	Total func() int
	Place func(key []byte, n int) int32
}

// Rows reads one store while it is being written. It sees what has been
// committed, every commit whole. It may be used by any number of goroutines.
type Rows struct{ Source }

// Get returns the row of a key.
func (r *Rows) Get(_ context.Context, key []byte) (row Row, found bool, err error) {
	p := r.Place(key, r.Total())
	if !slices.Contains(r.Here(), p) {
		return Row{}, false, r.elsewhere(p)
	}
	r.Open.RLock()
	defer r.Open.RUnlock()
	id, err := r.DB.Open(r.Name, p)
	if err != nil {
		return Row{}, false, err
	}
	timed, found, err := r.DB.Reader(id).Get(nil, key)
	if err != nil || !found {
		return Row{}, false, err
	}
	row.Time, row.Value = state.SplitTimed(timed)
	row.Key = key
	return row, true, nil
}

func (r *Rows) elsewhere(p int32) error {
	return &connect.Error{
		Code: "streams.store.elsewhere", Class: connect.ClassRetriable,
		Place:   fmt.Sprintf("store %s of %s, partition %d", r.Store, r.App, p),
		Message: "this process does not have the partition now",
		Mend:    "ask the instance that has it, or try again when the partitions have settled",
	}
}

// Scan visits the rows with keys from lo, included, to hi, excluded, nil being
// open, of all partitions this process has: as of one moment, and in order of
// their bytes within each partition. A row's bytes are valid during visit. The
// application cannot stop before visit has returned.
func (r *Rows) Scan(ctx context.Context, lo, hi []byte, visit func(Row) error) error {
	r.Open.RLock()
	defer r.Open.RUnlock()
	snap, err := r.DB.Snapshot()
	if err != nil {
		return err
	}
	for _, p := range r.Here() {
		if err = r.scan(ctx, snap, p, state.Range{Lo: lo, Hi: hi}, visit); err != nil {
			break
		}
	}
	if cerr := snap.Close(); err == nil {
		err = cerr
	}
	return err
}

func (r *Rows) scan(ctx context.Context, snap state.Snapshot, p int32, rg state.Range, visit func(Row) error) error {
	id, err := r.DB.Open(r.Name, p)
	if err != nil {
		return err
	}
	it := snap.Reader(id).Scan(rg)
	for it.Next() {
		row := Row{Key: it.Key()}
		row.Time, row.Value = state.SplitTimed(it.Value())
		if err = ctx.Err(); err == nil {
			err = visit(row)
		}
		if err != nil {
			break
		}
	}
	if cerr := it.Close(); err == nil {
		err = cerr
	}
	return err
}
