package streams

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"

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

// Rows reads one store of a running application while it is being written. It
// sees what has been committed, every commit whole. It may be used by any number
// of goroutines.
type Rows struct {
	app, store string
	db         state.DB
	hub        *hub
	// here lists the partitions this process has, and total how many there are.
	here  func() []int32
	total func() int
	open  *sync.RWMutex // held for reading while the DB is read
}

// openRowsOf finds a store of a topology.
func openRowsOf(t *Topology, app, store string, db state.DB, h *hub, here func() []int32) (*Rows, error) {
	names := t.Stores()
	if !slices.Contains(names, store) {
		return nil, &connect.Error{
			Code: "streams.store.unknown", Class: connect.ClassConfig, Place: store,
			Message: fmt.Sprintf("%s has no such store, only %q", app, names),
			Mend:    "name the store of a table with Materialized",
		}
	}
	r := &Rows{app: app, store: store, db: db, hub: h, here: here, open: &sync.RWMutex{}}
	r.total = func() int { return len(here()) }
	return r, nil
}

// partitionOf returns the partition of a key among n, as Kafka's producers place
// it.
func partitionOf(key []byte, n int) int32 {
	if n <= 1 {
		return 0
	}
	return int32(kgo.StickyKeyPartitioner(nil).ForTopic("").Partition(&kgo.Record{Key: key}, n))
}

// Get returns the row of a key.
func (r *Rows) Get(_ context.Context, key []byte) (row Row, found bool, err error) {
	p := partitionOf(key, r.total())
	if !slices.Contains(r.here(), p) {
		return Row{}, false, r.elsewhere(p)
	}
	r.open.RLock()
	defer r.open.RUnlock()
	id, err := r.db.Open(storeName(r.app, r.store), p)
	if err != nil {
		return Row{}, false, err
	}
	timed, found, err := r.db.Reader(id).Get(nil, key)
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
		Place:   fmt.Sprintf("store %s of %s, partition %d", r.store, r.app, p),
		Message: "this process does not have the partition now",
		Mend:    "ask the instance that has it, or try again when the partitions have settled",
	}
}

// Scan visits the rows with keys from lo, included, to hi, excluded, nil being
// open, of all partitions this process has: as of one moment, and in order of
// their bytes within each partition. A row's bytes are valid during visit. The
// application cannot stop before visit has returned.
func (r *Rows) Scan(ctx context.Context, lo, hi []byte, visit func(Row) error) error {
	r.open.RLock()
	defer r.open.RUnlock()
	snap, err := r.db.Snapshot()
	if err != nil {
		return err
	}
	for _, p := range r.here() {
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
	id, err := r.db.Open(storeName(r.app, r.store), p)
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

// View reads the rows of a table with its types.
type View[K, V any] struct {
	rows  *Rows
	key   Serde[K]
	value Serde[V]
}

// ViewOf puts the types of the table that keeps the rows on them. The View is
// used by one goroutine at a time.
func ViewOf[K, V any](r *Rows, t *Table[K, V]) *View[K, V] {
	topic := changelogName(r.app, r.store)
	return &View[K, V]{rows: r, key: bind(t.key, topic, true), value: bind(t.value, topic, false)}
}

// Get returns the row of a key.
func (v *View[K, V]) Get(ctx context.Context, k K) (rec Record[K, V], found bool, err error) {
	key, err := v.key.Append(nil, k)
	if err != nil {
		return rec, false, fmt.Errorf("writing the key to look up: %w", err)
	}
	row, found, err := v.rows.Get(ctx, key)
	if err != nil || !found {
		return rec, false, err
	}
	rec, err = v.Decode(row)
	return rec, err == nil, err
}

// All visits every row.
func (v *View[K, V]) All(ctx context.Context, visit func(Record[K, V]) error) error {
	return v.scan(ctx, nil, nil, visit)
}

// Range visits the rows from key lo, included, to key hi, excluded, in the order
// of the keys' bytes: that of the keys only where their Serde keeps it.
func (v *View[K, V]) Range(ctx context.Context, lo, hi K, visit func(Record[K, V]) error) error {
	from, err := v.key.Append(nil, lo)
	if err != nil {
		return fmt.Errorf("writing the lower key: %w", err)
	}
	to, err := v.key.Append(nil, hi)
	if err != nil {
		return fmt.Errorf("writing the upper key: %w", err)
	}
	if bytes.Compare(from, to) >= 0 {
		return nil
	}
	return v.scan(ctx, from, to, visit)
}

func (v *View[K, V]) scan(ctx context.Context, lo, hi []byte, visit func(Record[K, V]) error) error {
	return v.rows.Scan(ctx, lo, hi, func(row Row) error {
		rec, err := v.Decode(row)
		if err != nil {
			return err
		}
		return visit(rec)
	})
}

// Decode puts types on a row.
func (v *View[K, V]) Decode(row Row) (rec Record[K, V], err error) {
	rec = Record[K, V]{Time: row.Time, NoValue: row.Deleted}
	if rec.Key, err = v.key.Decode(row.Key); err != nil {
		return rec, fmt.Errorf("reading a key of store %s: %w", v.rows.store, err)
	}
	if !row.Deleted {
		if rec.Value, err = v.value.Decode(row.Value); err != nil {
			return rec, fmt.Errorf("reading a row of store %s: %w", v.rows.store, err)
		}
	}
	return rec, nil
}

// Subscribe follows the store's changes; see Rows.Subscribe.
func (v *View[K, V]) Subscribe(s Subscribe) (*Subscription, error) { return v.rows.Subscribe(s) }
