package query

import (
	"bytes"
	"context"
	"errors"
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
	// Layout says how the rows lie in the store.
	Layout state.Spec
}

// Rows reads one store while it is being written. It sees what has been
// committed, every commit whole. It may be used by any number of goroutines.
type Rows struct{ Source }

// Get returns the row of a key.
func (r *Rows) Get(_ context.Context, key []byte) (row Row, found bool, err error) {
	r.Open.RLock()
	defer r.Open.RUnlock()
	for {
		moves := r.Hub.moves.Load()
		p := r.Place(r.Layout.Inner(key), r.Total())
		if !slices.Contains(r.Here(), p) {
			return Row{}, false, r.elsewhere(p)
		}
		id, err := r.DB.Open(r.Name, p)
		if err != nil {
			return Row{}, false, err
		}
		timed, found, err := r.DB.Reader(id).Get(nil, r.Layout.AppendLocal(nil, key))
		if moves != r.Hub.moves.Load() {
			continue // What was read may be of a store that is being rebuilt.
		}
		if err != nil || !found {
			return Row{}, false, err
		}
		row.Time, row.Value = state.SplitTimed(timed)
		row.Key = key
		return row, true, nil
	}
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
// their bytes within each partition, where rows do not expire, and within each span of
// time where they do. A row's bytes are valid during visit. The
// application cannot stop before visit has returned.
func (r *Rows) Scan(ctx context.Context, lo, hi []byte, visit func(Row) error) error {
	return r.visit(ctx, false, state.Range{Lo: lo, Hi: hi}, visit)
}

// ScanAll is Scan for who needs all partitions there are: when this process does not
// have one of them, it visits no row and returns an error of code
// streams.store.elsewhere.
func (r *Rows) ScanAll(ctx context.Context, lo, hi []byte, visit func(Row) error) error {
	return r.visit(ctx, true, state.Range{Lo: lo, Hi: hi}, visit)
}

func (r *Rows) visit(ctx context.Context, all bool, rg state.Range, visit func(Row) error) error {
	r.Open.RLock()
	defer r.Open.RUnlock()
	snap, here, err := r.snapshot()
	if err != nil {
		return err
	}
	if all {
		err = r.missing(here)
	}
	for i := 0; err == nil && i < len(here); i++ {
		err = r.scan(ctx, snap, here[i], rg, visit)
	}
	if cerr := snap.Close(); err == nil {
		err = cerr
	}
	return err
}

// snapshot returns a snapshot in which the stores of the partitions returned with it
// are whole: one that is being rebuilt is not among them.
func (r *Rows) snapshot() (state.Snapshot, []int32, error) {
	for {
		moves, here := r.Hub.moves.Load(), r.Here()
		snap, err := r.DB.Snapshot()
		if err != nil || moves == r.Hub.moves.Load() {
			return snap, here, err
		}
		if err := snap.Close(); err != nil {
			return nil, nil, err
		}
	}
}

// missing tells which partition is not here, if one is not.
func (r *Rows) missing(here []int32) error {
	for p := range int32(max(r.Total(), 1)) {
		if !slices.Contains(here, p) {
			return r.elsewhere(p)
		}
	}
	return nil
}

func (r *Rows) scan(ctx context.Context, snap state.Snapshot, p int32, rg state.Range, visit func(Row) error) error {
	id, err := r.DB.Open(r.Name, p)
	if err != nil {
		return err
	}
	within := rg
	if r.Layout.Segmented() {
		rg = state.Range{}
	}
	it := snap.Reader(id).Scan(rg)
	for it.Next() {
		row, ok := r.key(it.Key())
		if !ok || bytes.Compare(row.Key, within.Lo) < 0 || within.Hi != nil && bytes.Compare(row.Key, within.Hi) >= 0 {
			continue
		}
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

// key returns a row with the key that is local in the store; ok is false for what is no
// row.
func (r *Rows) key(local []byte) (row Row, ok bool) {
	if r.Layout.IsNote(local) {
		return Row{}, false
	}
	return Row{Key: local[r.Layout.Prefix():]}, true
}

// Span visits the windows of a key of records that start in from…to, in milliseconds,
// both included, and of a store of sessions those that have a moment in from…to, in order
// of time and as of one moment. A nil key stands for all keys of the partitions this
// process has; sessions are those that end in from…to then. A row's bytes are valid during
// visit.
func (r *Rows) Span(ctx context.Context, key []byte, from, to int64, visit func(Row) error) (err error) {
	r.Open.RLock()
	defer r.Open.RUnlock()
	snap, partitions, err := r.snapshot()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, snap.Close()) }()
	if key != nil {
		p := r.Place(r.Layout.Inner(key), r.Total())
		if !slices.Contains(partitions, p) {
			return r.elsewhere(p)
		}
		partitions = []int32{p}
	}
	for _, p := range partitions {
		id, err := r.DB.Open(r.Name, p)
		if err != nil {
			return err
		}
		s := span{key: key, from: from, to: to, visit: func(row Row) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			return visit(row)
		}}
		if err := s.walk(r.Layout, snap.Reader(id)); err != nil {
			return err
		}
	}
	return nil
}
