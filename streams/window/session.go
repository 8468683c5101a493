package window

import (
	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/state"
)

// sessionOp aggregates over sessions.
type sessionOp[K, V, A any] struct {
	*operator[K, V, A]
	sessions *state.Sessions
	found    []span[A] // the open sessions near a record
	closed   int64
	// latest is the latest end of a session that was there when the operator began, -1
	// when there was none; known says that the store was asked.
	latest   int64
	known    bool
	visit    func(state.Session) error
	shutting func(state.Session) error
}

// span is a session.
type span[A any] struct {
	start, end int64
	agg        A
}

func (s *sessionOp[K, V, A]) begin() (func(*streams.Record[K, V]) error, error) {
	s.sessions = state.NewSessions(reading{s.rows.Bytes()}, s.rows.Layout())
	s.visit, s.shutting = s.gather, s.emitSession
	return s.take, s.rows.Remember(s.recall, s.save)
}

// recall begins with the sessions there are: of some, the note may not know.
func (s *sessionOp[K, V, A]) recall(note []byte) error {
	s.known = false
	return s.operator.recall(note)
}

// bound says when the last session ends at the latest: at the time of a record, or with
// those that were there before.
func (s *sessionOp[K, V, A]) bound() (err error) {
	if !s.known {
		if s.latest, err = s.sessions.Latest(); err != nil {
			return err
		}
		s.known = true
	}
	s.sessions.EndBy(max(s.observed, s.latest))
	return nil
}

func (s *sessionOp[K, V, A]) take(r *streams.Record[K, V]) error {
	if !s.usable(r) {
		return nil
	}
	s.closed = s.meet(r)
	if _, _, ok := s.rows.EpochTime(); ok && r.Time < s.closed {
		// Whether the key has a session that it would be part of must not matter: what
		// else the transaction has written is of other keys.
		s.rows.Drop()
		return nil
	}
	key, err := s.encode(r)
	if err != nil {
		return err
	}
	if err := s.bound(); err != nil {
		return err
	}
	clear(s.found)
	s.found = s.found[:0]
	if err := s.sessions.Find(key, r.Time-s.w.size, r.Time+s.w.size, s.visit); err != nil {
		return err
	}
	whole := span[A]{start: r.Time, end: r.Time}
	for i, f := range s.found {
		whole.start, whole.end = min(whole.start, f.start), max(whole.end, f.end)
		whole.agg = s.fold.merge(r.Key, whole.agg, f.agg, i > 0)
	}
	if whole.end < s.closed {
		s.rows.Drop()
	} else if err := s.grow(r, whole); err != nil {
		return err
	}
	return s.emitSessions(r)
}

// gather notes a session that has not closed; one that has stays as it is.
func (s *sessionOp[K, V, A]) gather(f state.Session) error {
	if f.End < s.closed {
		return nil
	}
	agg, _, err := s.rows.Value(f.Value)
	s.found = append(s.found, span[A]{start: f.Start, end: f.End, agg: agg})
	return err
}

// grow puts a session with r in the place of those found.
func (s *sessionOp[K, V, A]) grow(r *streams.Record[K, V], whole span[A]) error {
	// One of a single moment, that of r, stays; every other is deleted, also when what
	// takes its place has its bounds.
	old := streams.Change[A]{}
	for i := range s.found {
		f := &s.found[i]
		if whole.start == whole.end {
			old.Old, old.HasOld = f.agg, true
			continue
		}
		key, err := s.session(r, f.start, f.end)
		if err != nil {
			return err
		}
		s.rec.Value = streams.Change[A]{Old: f.agg, HasOld: true}
		if err := s.update(key); err != nil {
			return err
		}
	}
	key, err := s.session(r, whole.start, whole.end)
	if err != nil {
		return err
	}
	old.New, old.HasNew = s.fold.add(r.Key, r.Value, whole.agg, len(s.found) > 0), true
	s.rec.Value = old
	return s.update(key)
}

// session begins the change of a session of r's key. Its time is its end.
func (s *sessionOp[K, V, A]) session(r *streams.Record[K, V], start, end int64) ([]byte, error) {
	s.rec.Key = Windowed[K]{Key: r.Key, Start: start, End: end}
	s.rec.Headers, s.rec.Time = r.Headers, end
	return s.rows.Key(s.rec.Key)
}

// emitSessions passes on the sessions that have closed since it last did, in the order
// of their ends.
func (s *sessionOp[K, V, A]) emitSessions(r *streams.Record[K, V]) error {
	if !s.w.onClose || !s.due(s.closed, s.slack, s.w.every, s.rows.Now) {
		return nil
	}
	s.trigger = r
	if err := s.sessions.FindAll(max(s.emitted, 0), s.closed-1, s.shutting); err != nil {
		return err
	}
	if err := s.emitShut(); err != nil {
		return err
	}
	s.emitted = s.closed
	return nil
}

func (s *sessionOp[K, V, A]) emitSession(f state.Session) error {
	return s.hold(shut{at: f.End, start: f.Start, end: f.End}, f.Key, f.Value)
}
