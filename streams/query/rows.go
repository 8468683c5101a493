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
	// Until is the time from which on the key had another row, or none: of the rows that
	// Versions visits, -1 for the row that the key has.
	Until int64
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
	// and Place tells in which of n a key is: a negative number when the key does not tell.
	Here  func() []int32
	Total func() int
	Place func(key []byte, n int) int32
	// Layout says how the rows lie in the store.
	Layout state.Spec
	// Fleet lists the processes of the application with what each has of the store, and
	// gives a channel that is closed once that may have changed. Peers asks them. Without
	// Fleet this process answers alone.
	Fleet func() ([]Instance, <-chan struct{})
	Peers *Peers
	// Copy tells how many records of its changelog the copy lacks that this process keeps
	// of a partition whose task runs elsewhere. ok is false when there is no copy.
	Copy func(p int32) (lag int64, ok bool)
	// Reached tells how far a partition has come in its changelog, and, with inputs, in the
	// topics its task reads, from the DB or a snapshot of it.
	Reached func(from func(state.ID) state.Reader, p int32, inputs bool) (Position, error)
	// LSN reads for which position in the log of the database the rows are true, 0 when
	// that is not known; nil when it never is.
	LSN func(read func(state.ID) state.Reader) (uint64, error)
}

// Rows reads one store while it is being written. It sees what has been
// committed, every commit whole. It may be used by any number of goroutines.
//
// Where the source knows the other processes of the application, it reads the rows of
// all of them: it asks the instance that runs the task of a key's partition, again while
// tasks move, and the instances one after another for the rows of all keys.
type Rows struct {
	Source
	Bounds
}

// Get returns the row of a key.
func (r *Rows) Get(ctx context.Context, key []byte) (row Row, found bool, err error) {
	q := question{Op: opGet, Key: key}
	err = r.askKey(ctx, r.Layout.Inner(key), &q, func(answer Row) error {
		row, found = answer, true
		return nil
	})
	row.Key = key
	return row, found && err == nil, err
}

// getHere reads a row from this process.
func (r *Rows) getHere(q *question, visit func(Row) error) error {
	for {
		moves := r.Hub.moves.Load()
		err := r.has(q)
		if err == nil {
			err = r.reached(q, r.DB.Reader)
		}
		if err != nil {
			return err
		}
		id, err := r.DB.Open(r.Name, q.Partition)
		if err != nil {
			return err
		}
		timed, found, err := r.DB.Reader(id).Get(nil, r.Layout.AppendLocal(nil, q.Key))
		if err == nil {
			err = r.saw(q, r.DB.Reader)
		}
		if moves != r.Hub.moves.Load() {
			continue // What was read may be of a store that is being rebuilt.
		}
		if err != nil || !found {
			return err
		}
		row := Row{Key: q.Key}
		row.Time, row.Value = state.SplitTimed(timed)
		return visit(row)
	}
}

// has tells whether this process has the partition of a question, or a copy that will do.
func (r *Rows) has(q *question) error {
	if slices.Contains(r.Here(), q.Partition) {
		return nil
	}
	if q.MaxLag <= 0 || r.Copy == nil {
		return r.elsewhere(q.Partition)
	}
	switch lag, ok := r.Copy(q.Partition); {
	case !ok:
		return r.elsewhere(q.Partition)
	case lag > q.MaxLag:
		return &connect.Error{
			Code: "streams.store.stale", Class: connect.ClassRetriable, Place: r.place(q.Partition),
			Message: fmt.Sprintf("the copy here lacks %d records, %d are allowed", lag, q.MaxLag),
			Mend:    "allow more, or wait until it has caught up",
		}
	}
	return nil
}

// reached tells whether what this process has of a partition has come far enough for a
// question.
func (r *Rows) reached(q *question, from func(state.ID) state.Reader) error {
	if q.AtLeast == nil || r.Reached == nil {
		return nil
	}
	at, err := r.Reached(from, q.Partition, true)
	if err != nil {
		return err
	}
	topic, known, lacking := at.lacks(q.AtLeast, q.Partition)
	if !lacking {
		return nil
	}
	message := "what is here has not come that far in topic " + topic
	if !known {
		message = "it is not known here how far the store has come in topic " + topic
	}
	return &connect.Error{
		Code: "streams.store.behind", Class: connect.ClassRetriable, Place: r.place(q.Partition), Message: message,
		Mend: "try again in a moment; a store knows the topics its task reads and its changelog, a copy its changelog alone",
	}
}

// saw notes how far the answer is that was read.
func (r *Rows) saw(q *question, from func(state.ID) state.Reader) error {
	if !q.Report || r.Reached == nil {
		return nil
	}
	at, err := r.Reached(from, q.Partition, false)
	q.seen = at
	return err
}

func (r *Rows) place(p int32) string {
	return fmt.Sprintf("store %s of %s, partition %d", r.Store, r.App, p)
}

func (r *Rows) elsewhere(p int32) error {
	return &connect.Error{
		Code: "streams.store.elsewhere", Class: connect.ClassRetriable,
		Place:   r.place(p),
		Message: "this process does not have the partition now",
		Mend:    "ask the instance that has it, or try again when the partitions have settled",
	}
}

// Scan visits the rows with keys from lo, included, to hi, excluded, nil being
// open, of all partitions: those of one process as of one moment, and in order of
// their bytes within each partition, where rows do not expire, and within each span of
// time where they do. A row's bytes are valid during visit. The
// application cannot stop before visit has returned. A process that knows of no others
// visits the partitions it has.
func (r *Rows) Scan(ctx context.Context, lo, hi []byte, visit func(Row) error) error {
	return r.visit(ctx, false, state.Range{Lo: lo, Hi: hi}, visit)
}

// ScanAll is Scan for who needs all partitions there are, also where this process knows
// of no others: when it does not have one of them, it visits no row and returns an error
// of code streams.store.elsewhere.
func (r *Rows) ScanAll(ctx context.Context, lo, hi []byte, visit func(Row) error) error {
	return r.visit(ctx, true, state.Range{Lo: lo, Hi: hi}, visit)
}

func (r *Rows) visit(ctx context.Context, all bool, rg state.Range, visit func(Row) error) error {
	if r.Fleet != nil {
		return r.askAll(ctx, question{Op: opScan, Lo: rg.Lo, Hi: rg.Hi}, visit)
	}
	return r.read(func(snap state.Snapshot, here []int32) error {
		if all {
			if err := r.missing(here); err != nil {
				return err
			}
		}
		for _, p := range here {
			if err := r.scan(ctx, snap, p, rg, visit); err != nil {
				return err
			}
		}
		return nil
	})
}

// scanHere reads the rows of one partition from this process.
func (r *Rows) scanHere(ctx context.Context, q *question, visit func(Row) error) error {
	r.Open.RLock()
	defer r.Open.RUnlock()
	snap, err := r.whole(q)
	if err != nil {
		return err
	}
	if err = r.reached(q, snap.Reader); err == nil {
		err = r.saw(q, snap.Reader)
	}
	switch {
	case err != nil:
	case q.Op == opSpan:
		err = r.span(ctx, snap, q, visit)
	case q.Op == opVersions:
		err = r.versions(ctx, snap, q, visit)
	default:
		err = r.scan(ctx, snap, q.Partition, state.Range{Lo: q.Lo, Hi: q.Hi}, visit)
	}
	return errors.Join(err, snap.Close())
}

// whole returns a snapshot in which the partition of a question is whole.
func (r *Rows) whole(q *question) (state.Snapshot, error) {
	for {
		moves := r.Hub.moves.Load()
		if err := r.has(q); err != nil {
			return nil, err
		}
		snap, err := r.DB.Snapshot()
		if err != nil || moves == r.Hub.moves.Load() {
			return snap, err
		}
		if err := snap.Close(); err != nil {
			return nil, err
		}
	}
}

// read calls do with a snapshot and the partitions that are whole in it.
func (r *Rows) read(do func(state.Snapshot, []int32) error) error {
	r.Open.RLock()
	defer r.Open.RUnlock()
	snap, here, err := r.snapshot()
	if err != nil {
		return err
	}
	return errors.Join(do(snap, here), snap.Close())
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
	if rg = r.Layout.Rows(rg); r.Layout.Segmented() {
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
// of time and as of one moment. A nil key stands for all keys; sessions are those that
// end in from…to then. A row's bytes are valid during visit.
func (r *Rows) Span(ctx context.Context, key []byte, from, to int64, visit func(Row) error) error {
	q := question{Op: opSpan, Key: key, From: from, To: to}
	switch {
	case key != nil:
		// The key is that of the records, without a time.
		return r.askKey(ctx, key, &q, visit)
	case r.Fleet != nil:
		return r.askAll(ctx, q, visit)
	}
	return r.read(func(snap state.Snapshot, here []int32) error {
		for _, q.Partition = range here {
			if err := r.span(ctx, snap, &q, visit); err != nil {
				return err
			}
		}
		return nil
	})
}

// span reads the windows of one partition.
func (r *Rows) span(ctx context.Context, snap state.Snapshot, q *question, visit func(Row) error) error {
	id, err := r.DB.Open(r.Name, q.Partition)
	if err != nil {
		return err
	}
	s := span{key: q.Key, from: q.From, to: q.To, visit: func(row Row) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return visit(row)
	}}
	return s.walk(r.Layout, snap.Reader(id))
}
