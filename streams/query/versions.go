package query

import (
	"context"
	"fmt"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams/state"
)

// Versions visits the rows that a key had at some time in from…to, in milliseconds, both
// included, of a store with a history, in order of their times and as of one moment
// (KIP-968). Row.Time is the time from which on the key had the row, and Row.Until that
// from which on it did not. What is older than the history, counted from the latest time
// of the store's partition, is left out, but for a row that the key still has. A row's
// bytes are valid during visit.
func (r *Rows) Versions(ctx context.Context, key []byte, from, to int64, visit func(Row) error) error {
	if r.Layout.History <= 0 {
		return &connect.Error{
			Code: "streams.store.history", Class: connect.ClassConfig, Place: fmt.Sprintf("store %s of %s", r.Store, r.App),
			Message: "the store has only the rows there are", Mend: "give its table a With.History",
		}
	}
	q := question{Op: opVersions, Key: key, From: from, To: to}
	return r.askKey(ctx, key, &q, visit)
}

// versions reads the rows that a key had from this process.
func (r *Rows) versions(ctx context.Context, snap state.Snapshot, q *question, visit func(Row) error) error {
	id, err := r.DB.Open(r.Name, q.Partition)
	if err != nil {
		return err
	}
	return r.Layout.Versions(frozen{snap.Reader(id)}).Between(q.Key, q.From, q.To, func(from, until int64, row []byte) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return visit(Row{Key: q.Key, Value: row, Time: from, Until: until})
	})
}
