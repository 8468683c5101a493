package window

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/query"
	"github.com/tidemill/tidemill/streams/serde"
)

// View reads the windows of a table with its types, as of the last commit. It is used by
// one goroutine at a time. Windows that have expired may still be there for a while.
type View[K, V any] struct {
	*streams.View[Windowed[K], V]
	inner serde.Serde[K]
	w     Windows
}

// ViewOf puts the table's types on the rows of its store, as an Engine or a Local gives
// them. The table is one of windows, or made of one without new keys.
func ViewOf[K, V any](t *streams.Table[Windowed[K], V], r *query.Rows) (*View[K, V], error) {
	keys, _ := t.Serdes()
	of, ok := keys.(storeKeys[K])
	if !ok {
		return nil, fmt.Errorf("window: the keys of store %s are not those of windows", r.Store)
	}
	return &View[K, V]{View: t.View(r), inner: of.inner, w: of.w}, nil
}

// Fetch visits the windows of a key that start in from…to, both included, and, of
// sessions, those that have a moment in from…to, in order of time. A zero time is open.
func (v *View[K, V]) Fetch(ctx context.Context, k K, from, to time.Time, visit func(streams.Record[Windowed[K], V]) error) error {
	key, err := v.inner.Append([]byte{}, k)
	if err != nil {
		return fmt.Errorf("writing the key to look up: %w", err)
	}
	return v.span(ctx, key, from, to, visit)
}

// FetchAll visits the windows of all keys as Fetch does those of one; sessions are those that end in from…to. They come in no certain
// order.
func (v *View[K, V]) FetchAll(ctx context.Context, from, to time.Time, visit func(streams.Record[Windowed[K], V]) error) error {
	return v.span(ctx, nil, from, to, visit)
}

func (v *View[K, V]) span(ctx context.Context, key []byte, from, to time.Time, visit func(streams.Record[Windowed[K], V]) error) error {
	lo, hi := int64(0), int64(math.MaxInt64)
	if !from.IsZero() {
		lo = from.UnixMilli()
	}
	if !to.IsZero() {
		hi = to.UnixMilli()
	}
	return v.Span(ctx, key, lo, hi, func(row query.Row) error {
		rec, err := v.Decode(row)
		if err != nil {
			return err
		}
		return visit(rec)
	})
}
