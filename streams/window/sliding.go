package window

import (
	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/state"
)

// slidingOp aggregates over sliding windows, as Kafka Streams does (KIP-450): a window
// is made when it first has records that no other has, from the aggregate of the window
// that has all of its other records.
type slidingOp[K, V, A any] struct {
	*operator[K, V, A]
	found []slide[A] // the windows around a record, in order of their starts
	visit func(state.Window) error
}

// slide is a sliding window: its aggregate and the time of its latest record.
type slide[A any] struct {
	start, latest int64
	agg           A
	some          bool // it is in the store, or has an aggregate to go on from
}

func (s *slidingOp[K, V, A]) begin() func(*streams.Record[K, V]) error {
	s.visit = s.gather
	return s.take
}

func (s *slidingOp[K, V, A]) take(r *streams.Record[K, V]) error {
	if !s.usable(r) {
		return nil
	}
	closed := s.meet(r)
	if r.Time+1+s.w.size <= closed {
		s.rows.Drop()
		return nil
	}
	from := max(0, r.Time-2*s.w.size, closed-2*s.w.size-1)
	early := r.Time < s.w.size
	if early {
		from = 0
	}
	key, err := s.encode(r)
	if err != nil {
		return err
	}
	clear(s.found)
	s.found = s.found[:0]
	// One more than its time: there its right window starts, if there is one.
	if err := s.windows.Fetch(key, from, r.Time+1, s.visit); err != nil {
		return err
	}
	if early {
		err = s.early(r, closed)
	} else {
		err = s.usual(r, closed)
	}
	if err != nil {
		return err
	}
	return s.emitClosed(r, closed)
}

func (s *slidingOp[K, V, A]) gather(w state.Window) error {
	agg, ms, err := s.rows.Value(w.Value)
	s.found = append(s.found, slide[A]{start: w.Start, latest: ms, agg: agg, some: true})
	return err
}

// usual adds a record to the windows it is in, and makes those it brings: the one that
// ends with it, the one after it, and the one after the record before it.
func (s *slidingOp[K, V, A]) usual(r *streams.Record[K, V], closed int64) error {
	t, d := r.Time, s.w.size
	var left, right slide[A]
	previous := int64(-1) // the time of the record before
	leftDone, rightDone := false, false
	for _, w := range s.found {
		end := w.start + d
		switch {
		case end < t:
			left, previous = w, w.latest
			continue
		case w.start == t+1:
			rightDone = true
			continue
		case end == t:
			leftDone = true
			if w.latest < t {
				previous = w.latest
			}
		default:
			right = w
		}
		if err := s.slide(r, w, true, closed); err != nil {
			return err
		}
	}
	if previous >= 0 && previous+1+d >= t && !s.has(previous+1) {
		if err := s.slide(r, slide[A]{start: previous + 1}, false, closed); err != nil {
			return err
		}
		leftDone = leftDone || previous+1 == t-d // They are one window.
	}
	if !leftDone {
		made := slide[A]{start: t - d, latest: t}
		if previous >= t-d {
			made.agg, made.some = left.agg, left.some
		}
		if err := s.slide(r, made, false, closed); err != nil {
			return err
		}
	}
	if !rightDone && right.some && right.latest > t {
		return s.after(r, right)
	}
	return nil
}

// early adds a record that is so early that the window that ends with it would start
// before the epoch. All such records are in the window that starts there.
func (s *slidingOp[K, V, A]) early(r *streams.Record[K, V], closed int64) error {
	t := r.Time
	var first, right slide[A]
	previous := int64(-1)
	rightDone := false
	for _, w := range s.found {
		switch {
		case w.start == 0:
			first = w
			if w.latest < t {
				previous = w.latest
			}
		case w.start == t+1:
			rightDone = true
		default:
			right = w
			if err := s.slide(r, w, true, closed); err != nil {
				return err
			}
		}
	}
	if !right.some && first.some && first.latest > t {
		right = first
	}
	if !rightDone && right.some && right.latest > t {
		if err := s.after(r, right); err != nil {
			return err
		}
	}
	if previous >= 0 && !s.has(previous+1) {
		if err := s.slide(r, slide[A]{start: previous + 1}, false, closed); err != nil {
			return err
		}
	}
	return s.slide(r, first, first.some, closed)
}

// has tells whether there is a window that starts at start.
func (s *slidingOp[K, V, A]) has(start int64) bool {
	for i := range s.found {
		if s.found[i].start == start {
			return true
		}
	}
	return false
}

// slide adds r to a window; stored says that the window is in the store.
func (s *slidingOp[K, V, A]) slide(r *streams.Record[K, V], w slide[A], stored bool, closed int64) error {
	if w.start+s.w.size < closed {
		s.rows.Drop()
		return nil
	}
	key, err := s.key(r, w.start)
	if err != nil {
		return err
	}
	s.rec.Time = r.Time
	if w.some {
		s.rec.Time = max(r.Time, w.latest)
	}
	s.rec.Value = streams.Change[A]{New: s.fold.add(r.Key, r.Value, w.agg, w.some), HasNew: true}
	if stored {
		s.rec.Value.Old, s.rec.Value.HasOld = w.agg, true
	}
	return s.update(key)
}

// after makes the window that starts right after r, which has the records of w that are
// later.
func (s *slidingOp[K, V, A]) after(r *streams.Record[K, V], w slide[A]) error {
	key, err := s.key(r, r.Time+1)
	if err != nil {
		return err
	}
	s.rec.Time = w.latest
	s.rec.Value = streams.Change[A]{New: w.agg, HasNew: true}
	return s.update(key)
}
