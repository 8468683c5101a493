package streams

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams/query"
	"github.com/tidemill/tidemill/streams/serde"
	"github.com/tidemill/tidemill/streams/state"
)

// knows tells whether the topology has a store.
func (t *Topology) knows(app, store string) error {
	names := t.Stores()
	if slices.Contains(names, store) {
		return nil
	}
	return &connect.Error{
		Code: "streams.store.unknown", Class: connect.ClassConfig, Place: store,
		Message: fmt.Sprintf("%s has no such store, only %q", app, names),
		Mend:    "give a table a store with With{Store: …}",
	}
}

// partitionOf returns the partition of a key among n, as Kafka's producers place
// it.
func partitionOf(key []byte, n int) int32 {
	if n <= 1 {
		return 0
	}
	return int32(kgo.StickyKeyPartitioner(nil).ForTopic("").Partition(&kgo.Record{Key: key}, n))
}

// place returns what tells the partition of a key in a store.
func (t *Topology) place(store string) func(key []byte, n int) int32 {
	for _, sub := range t.subs {
		for _, s := range sub.stores {
			if s.name == store && s.owner.otherKeys() {
				return anywhere
			}
		}
	}
	return partitionOf
}

// anywhere is what a key tells about its partition where rows lie by something else.
func anywhere(_ []byte, n int) int32 {
	if n <= 1 {
		return 0
	}
	return -1
}

// applyBatch commits b, which has the writes of tasks, and tells subscribers.
func applyBatch(h *query.Hub, b state.Batch, tasks []*task) error {
	return h.Step(func(f *query.Feed) error {
		if err := b.Commit(); err != nil {
			return err
		}
		for _, t := range tasks {
			for _, st := range t.ordered {
				if err := t.tell(f, st); err != nil {
					return err
				}
			}
			t.committed()
		}
		return nil
	})
}

// tell passes what the current commit changed in a store on to its subscribers.
func (t *task) tell(f *query.Feed, st *taskStore) error {
	if !f.Wanted(st.spec.name) {
		return nil
	}
	return st.cache.Flush(false, func(e state.Entry) error {
		if st.spec.layout.IsNote(e.Key) {
			return nil
		}
		row := query.Row{Key: t.slab.copy(e.Key[st.prefix:]), Deleted: !e.HasNew, Time: t.streamTime}
		if e.HasNew {
			ms, value := state.SplitTimed(e.New)
			row.Time, row.Value = ms, t.slab.copy(value)
		}
		f.Push(st.spec.name, row)
		return nil
	})
}

// View reads the rows of a table with its types, wherever it runs. It is used by
// one goroutine at a time.
type View[K, V any] struct {
	*query.Rows
	key   serde.Serde[K]
	value serde.Serde[V]
}

// View puts the table's types on the rows of its store, as an Engine or a Local
// gives them.
func (t *Table[K, V]) View(r *query.Rows) *View[K, V] {
	topic := changelogName(r.App, r.Store)
	return &View[K, V]{Rows: r, key: serde.Bind(t.key, topic, true), value: serde.Bind(t.value, topic, false)}
}

// Lookup returns the row of a key. It is asked of the partition that the key is in, which
// the bytes of the key tell where rows lie as Kafka's own producers cut topics. Where keys
// are stored by another Serde than the one their topic is read with, such as a
// CDC.StoredKey, or PartitionBy has chosen the partitions, all are asked one after another.
func (v *View[K, V]) Lookup(ctx context.Context, k K) (rec Record[K, V], found bool, err error) {
	key, err := v.key.Append([]byte{}, k)
	if err != nil {
		return rec, false, fmt.Errorf("writing the key to look up: %w", err)
	}
	row, found, err := v.Get(ctx, key)
	if err != nil || !found {
		return rec, false, err
	}
	rec, err = v.Decode(row)
	return rec, err == nil, err
}

// LookupAsOf returns the row that a key had at a time, and as its time that since when it
// had it, of a table with a History (KIP-960). A row older than the history is not found,
// unless the key still has it. At a zero time it is the row that the key has.
func (v *View[K, V]) LookupAsOf(ctx context.Context, k K, at time.Time) (rec Record[K, V], found bool, err error) {
	if at.IsZero() {
		return v.Lookup(ctx, k)
	}
	err = v.Versions(ctx, k, at, at, func(r Record[K, V], _ time.Time) error {
		rec, found = r, true
		return nil
	})
	return rec, found && err == nil, err
}

// Versions visits the rows that a key of a table with a History had at some time in
// from…to, both included, in order of their times, which are those from which on the key
// had them; until is when it ceased to, zero for the row that it has (KIP-968). A zero from
// or to is open. Rows older than the history are left out.
func (v *View[K, V]) Versions(ctx context.Context, k K, from, to time.Time, visit func(rec Record[K, V], until time.Time) error) error {
	key, err := v.key.Append([]byte{}, k)
	if err != nil {
		return fmt.Errorf("writing the key to look up: %w", err)
	}
	lo, hi := int64(math.MinInt64), int64(math.MaxInt64)
	if !from.IsZero() {
		lo = from.UnixMilli()
	}
	if !to.IsZero() {
		hi = to.UnixMilli()
	}
	return v.Rows.Versions(ctx, key, lo, hi, func(row query.Row) error {
		row.Key, row.Value = key, bytes.Clone(row.Value)
		rec, err := v.Decode(row)
		if err != nil {
			return err
		}
		var until time.Time
		if row.Until >= 0 {
			until = time.UnixMilli(row.Until)
		}
		return visit(rec, until)
	})
}

// All visits every row.
func (v *View[K, V]) All(ctx context.Context, visit func(Record[K, V]) error) error {
	return v.scan(ctx, nil, nil, visit)
}

// Range visits the rows from key lo, included, to key hi, excluded, in the order
// of the keys' bytes: that of the keys only where their Serde keeps it.
func (v *View[K, V]) Range(ctx context.Context, lo, hi K, visit func(Record[K, V]) error) error {
	from, err := v.key.Append([]byte{}, lo)
	if err != nil {
		return fmt.Errorf("writing the lower key: %w", err)
	}
	to, err := v.key.Append([]byte{}, hi)
	if err != nil {
		return fmt.Errorf("writing the upper key: %w", err)
	}
	if bytes.Compare(from, to) >= 0 {
		return nil
	}
	return v.scan(ctx, from, to, visit)
}

func (v *View[K, V]) scan(ctx context.Context, lo, hi []byte, visit func(Record[K, V]) error) error {
	return v.Scan(ctx, lo, hi, func(row query.Row) error {
		rec, err := v.Decode(row)
		if err != nil {
			return err
		}
		return visit(rec)
	})
}

// Decode puts types on a row, such as a Subscription returns.
func (v *View[K, V]) Decode(row query.Row) (rec Record[K, V], err error) {
	rec = Record[K, V]{Time: row.Time, NoValue: row.Deleted}
	if rec.Key, err = v.key.Decode(row.Key); err != nil {
		return rec, fmt.Errorf("reading a key of store %s: %w", v.Store, err)
	}
	if !row.Deleted {
		if rec.Value, err = v.value.Decode(row.Value); err != nil {
			return rec, fmt.Errorf("reading a row of store %s: %w", v.Store, err)
		}
	}
	return rec, nil
}
