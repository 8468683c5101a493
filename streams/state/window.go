package state

import (
	"bytes"
	"encoding/binary"
	"math"
)

// windowSuffix is the length of what follows the key in a window key.
const windowSuffix = 12

// AppendWindowKey appends the key of one window: the key, 8 bytes of its start
// in milliseconds, 4 bytes of a sequence number that tells records of one
// instant apart where duplicates are kept, big-endian, as in Kafka Streams.
func AppendWindowKey(dst, key []byte, start int64, seq uint32) []byte {
	dst = append(dst, key...)
	dst = binary.BigEndian.AppendUint64(dst, uint64(start))
	return binary.BigEndian.AppendUint32(dst, seq)
}

// SplitWindowKey takes a window key apart; ok is false when it is too short.
func SplitWindowKey(b []byte) (key []byte, start int64, seq uint32, ok bool) {
	n := len(b) - windowSuffix
	if n < 0 {
		return nil, 0, 0, false
	}
	return b[:n], int64(binary.BigEndian.Uint64(b[n:])), binary.BigEndian.Uint32(b[n+8:]), true
}

// segments walks a store that is cut into spans of time.
type segments struct {
	store   Store
	spec    Spec
	at      []byte // scratch of the walk under way
	walking bool
}

// appendSegment appends the number of the segment of time t.
func (s *segments) appendSegment(dst []byte, t int64) []byte {
	return binary.BigEndian.AppendUint64(dst, uint64(s.spec.segment(t)))
}

// Windows is a store of windows over a Store: key and window start to value.
type Windows struct {
	seg         segments
	key, lo, hi []byte // scratch
}

// NewWindows returns the windows in a store that spec, of the form WindowKeys and
// with a retention, describes. The retention counts from their start.
func NewWindows(s Store, spec Spec) *Windows {
	return &Windows{seg: segments{store: s, spec: spec}}
}

func (w *Windows) local(key []byte, start int64, seq uint32) []byte {
	w.key = AppendWindowKey(w.seg.appendSegment(w.key[:0], start), key, start, seq)
	return w.key
}

// Put sets the value of the window of key that starts at start.
func (w *Windows) Put(key []byte, start int64, seq uint32, value []byte) error {
	return w.seg.store.Put(w.local(key, start, seq), value)
}

// Delete removes one window.
func (w *Windows) Delete(key []byte, start int64, seq uint32) error {
	return w.seg.store.Delete(w.local(key, start, seq))
}

// Get appends the value of one window to dst.
func (w *Windows) Get(dst, key []byte, start int64) (value []byte, found bool, err error) {
	return w.seg.store.Get(dst, w.local(key, start, 0))
}

// Window is one entry of a window store.
type Window struct {
	Key   []byte
	Start int64
	Seq   uint32
	Value []byte
}

// Fetch visits the windows of key that start in from…to, both included, in
// order of time. The bytes are valid during visit, which must not write to the
// store.
func (w *Windows) Fetch(key []byte, from, to int64, visit func(Window) error) error {
	return w.seg.each(from, to, func(segment []byte) error {
		w.lo = AppendWindowKey(append(w.lo[:0], segment...), key, max(from, 0), 0)
		w.hi = append(AppendWindowKey(append(w.hi[:0], segment...), key, to, math.MaxUint32), 0)
		return walk(w.seg.store, Range{Lo: w.lo, Hi: w.hi}, func(local, value []byte) error {
			k, start, seq, ok := SplitWindowKey(local[segmentPrefix:])
			// A longer key that begins like this one can lie between.
			if !ok || !bytes.Equal(k, key) {
				return nil
			}
			return visit(Window{k, start, seq, value})
		})
	})
}

// FetchAll visits the windows of all keys that start in from…to, both included,
// ordered by segment, key and time.
func (w *Windows) FetchAll(from, to int64, visit func(Window) error) error {
	return w.seg.each(from, to, func(segment []byte) error {
		return walk(w.seg.store, Range{Lo: segment, Hi: PrefixEnd(segment)}, func(local, value []byte) error {
			k, start, seq, ok := SplitWindowKey(local[segmentPrefix:])
			if !ok || start < from || start > to {
				return nil
			}
			return visit(Window{k, start, seq, value})
		})
	})
}

// fewSegments is how many segments are visited without looking for used ones.
const fewSegments = 4

// each visits the prefixes of the segments of from…to. When there are many it skips
// from one used segment to the next, so that an open span costs nothing.
func (s *segments) each(from, to int64, visit func(segment []byte) error) error {
	if to < max(from, 0) {
		return nil
	}
	first, end := s.spec.segment(from), s.spec.segment(to)
	if end-first < fewSegments {
		return s.eachOf(first, end, visit)
	}
	last := s.appendSegment(nil, to)
	at := s.appendSegment(nil, from)
	for {
		segment, err := s.next(at, PrefixEnd(last))
		if segment == nil || err != nil {
			return err
		}
		if err := visit(segment); err != nil {
			return err
		}
		if at = PrefixEnd(segment); at == nil {
			return nil
		}
	}
}

// eachOf visits the prefixes of the segments of these numbers.
func (s *segments) eachOf(first, last int64, visit func(segment []byte) error) error {
	at := s.at
	if s.walking || at == nil {
		at = make([]byte, segmentPrefix) // The scratch is that of a walk around this one.
	}
	if !s.walking {
		s.at, s.walking = at, true
		defer func() { s.walking = false }()
	}
	for ; first <= last; first++ {
		binary.BigEndian.PutUint64(at, uint64(first))
		if err := visit(at); err != nil {
			return err
		}
	}
	return nil
}

// next returns the first used segment in lo…hi.
func (s *segments) next(lo, hi []byte) (segment []byte, err error) {
	it := s.store.Scan(Range{Lo: lo, Hi: hi})
	if it.Next() && len(it.Key()) >= segmentPrefix {
		segment = bytes.Clone(it.Key()[:segmentPrefix])
	}
	return segment, it.Close()
}

// walk visits a range.
func walk(s Reader, r Range, visit func(key, value []byte) error) error {
	it := s.Scan(r)
	for it.Next() {
		if err := visit(it.Key(), it.Value()); err != nil {
			it.Close()
			return err
		}
	}
	return it.Close()
}
