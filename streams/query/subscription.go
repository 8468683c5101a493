package query

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams/state"
)

// Subscription delivers the changes of a store, each commit's in one piece, a key
// that changed several times between two commits once. Next and Close are called
// by one goroutine.
type Subscription struct {
	rows *Rows
	max  int

	mu    sync.Mutex // guards the following; taken under Hub.mu, never the other way
	wait  []Row
	bytes int
	err   error
	news  chan struct{} // one element: something happened

	walk       sync.Mutex // guards the following, taken alone
	snap       state.Snapshot
	it         state.Iterator
	partitions []int32
}

// rowOverhead is what a waiting row costs beyond its bytes.
const rowOverhead = 64

// push appends a change, or cuts the subscriber off when it is too far behind.
func (s *Subscription) push(row Row) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return
	}
	s.bytes += rowOverhead + len(row.Key) + len(row.Value)
	if s.bytes > s.max {
		s.err = &connect.Error{
			Code: "streams.subscription.slow", Class: connect.ClassRetriable,
			Place:   fmt.Sprintf("subscription to store %s of %s", s.rows.Store, s.rows.App),
			Message: fmt.Sprintf("more than %d bytes of changes waited to be read", s.max),
			Mend:    "read faster, raise the bound, or subscribe again with a snapshot",
		}
		s.wait = nil
	} else {
		s.wait = append(s.wait, row)
	}
	s.wake()
}

func (s *Subscription) wake() {
	select {
	case s.news <- struct{}{}:
	default:
	}
}

// Subscribe follows the changes of the store in the partitions this process has.
// No change is missed or repeated between the snapshot and what follows it. When
// a partition comes or goes, or the application ends, the subscription ends with
// an error that says so.
//
// With snapshot the rows there are come first. maxBytes bounds what waits to be
// read, 8 MiB when zero; a subscriber that falls further behind is cut off.
func (r *Rows) Subscribe(snapshot bool, maxBytes int) (*Subscription, error) {
	s := &Subscription{rows: r, max: maxBytes, news: make(chan struct{}, 1)}
	if s.max == 0 {
		s.max = 8 << 20
	}
	r.Hub.mu.Lock()
	defer r.Hub.mu.Unlock()
	if snapshot {
		r.Open.RLock()
		defer r.Open.RUnlock()
		snap, err := r.DB.Snapshot()
		if err != nil {
			return nil, fmt.Errorf("taking a snapshot of store %s: %w", r.Store, err)
		}
		s.snap, s.partitions = snap, slices.Clone(r.Here())
	}
	r.Hub.subs[r.Store] = append(r.Hub.subs[r.Store], s)
	return s, nil
}

// Next returns the next row of the snapshot or the next change, and waits for it
// as long as ctx allows. The row's bytes are the caller's. After an error there
// is nothing more to come, except when it is that of ctx.
func (s *Subscription) Next(ctx context.Context) (Row, error) {
	for {
		row, ok, err := s.fromSnapshot()
		if ok || err != nil {
			return row, err
		}
		s.mu.Lock()
		if len(s.wait) > 0 {
			row = s.wait[0]
			s.wait[0] = Row{}
			s.wait = s.wait[1:]
			s.bytes -= rowOverhead + len(row.Key) + len(row.Value)
			s.mu.Unlock()
			return row, nil
		}
		err = s.err
		s.mu.Unlock()
		if err != nil {
			return Row{}, err
		}
		select {
		case <-s.news:
		case <-ctx.Done():
			return Row{}, ctx.Err()
		}
	}
}

// fromSnapshot returns the next row of the snapshot, if there is one.
func (s *Subscription) fromSnapshot() (row Row, ok bool, err error) {
	s.walk.Lock()
	defer s.walk.Unlock()
	for s.snap != nil {
		if s.it == nil {
			if len(s.partitions) == 0 {
				return Row{}, false, s.closeWalk()
			}
			id, err := s.rows.DB.Open(s.rows.Name, s.partitions[0])
			if err != nil {
				return Row{}, false, err
			}
			s.partitions = s.partitions[1:]
			s.it = s.snap.Reader(id).Scan(state.Range{})
		}
		if s.it.Next() {
			row, ok := s.rows.key(s.it.Key())
			if !ok {
				continue
			}
			ms, value := state.SplitTimed(s.it.Value())
			kv := slices.Concat(row.Key, value)
			n := len(row.Key)
			return Row{Key: kv[:n:n], Value: kv[n:], Time: ms}, true, nil
		}
		err := s.it.Close()
		s.it = nil
		if err != nil {
			return Row{}, false, err
		}
	}
	return Row{}, false, nil
}

// closeWalk releases the snapshot. s.walk is held.
func (s *Subscription) closeWalk() error {
	if s.snap == nil {
		return nil
	}
	var err error
	if s.it != nil {
		err = s.it.Close()
		s.it = nil
	}
	if cerr := s.snap.Close(); err == nil {
		err = cerr
	}
	s.snap = nil
	return err
}

// endWalk releases the snapshot of a subscription that was cut off.
func (s *Subscription) endWalk() {
	s.walk.Lock()
	defer s.walk.Unlock()
	if err := s.closeWalk(); err != nil {
		s.mu.Lock()
		s.err = err
		s.mu.Unlock()
	}
}

// SnapshotDone tells whether all rows of the snapshot have been returned.
func (s *Subscription) SnapshotDone() bool {
	s.walk.Lock()
	defer s.walk.Unlock()
	return s.snap == nil
}

// Close ends the subscription.
func (s *Subscription) Close() error {
	h := s.rows.Hub
	h.mu.Lock()
	h.subs[s.rows.Store] = slices.DeleteFunc(h.subs[s.rows.Store], func(o *Subscription) bool { return o == s })
	h.mu.Unlock()
	s.walk.Lock()
	defer s.walk.Unlock()
	return s.closeWalk()
}
