package state

import (
	"bytes"
	"encoding/binary"
	"time"
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

// segments cuts time into spans; everything of one span lies side by side in a
// store under its number, so that what has expired goes in one step.
type segments struct {
	store     Store
	length    int64
	retention int64
	from      int64 // the oldest segment that may hold something
}

func newSegments(s Store, retention time.Duration) segments {
	// Half of the retention: at most half as much again is kept as was asked
	// for, and a fetch over the whole retention touches three segments.
	return segments{store: s, retention: retention.Milliseconds(), length: max(retention.Milliseconds()/2, 60_000)}
}

// appendSegment appends the number of the segment of time t.
func (s *segments) appendSegment(dst []byte, t int64) []byte {
	return binary.BigEndian.AppendUint64(dst, uint64(max(t, 0)/s.length))
}

// expire removes the segments that end before now less the retention.
func (s *segments) expire(now int64) error {
	first := (now - s.retention) / s.length
	if first <= s.from {
		return nil
	}
	lo, hi := binary.BigEndian.AppendUint64(nil, uint64(s.from)), binary.BigEndian.AppendUint64(nil, uint64(first))
	s.from = first
	if d, ok := s.store.(interface{ DeleteRange(Range) }); ok {
		d.DeleteRange(Range{Lo: lo, Hi: hi})
		return nil
	}
	var doomed [][]byte
	it := s.store.Scan(Range{Lo: lo, Hi: hi})
	for it.Next() {
		doomed = append(doomed, bytes.Clone(it.Key()))
	}
	err := it.Close()
	for i := 0; i < len(doomed) && err == nil; i++ {
		err = s.store.Delete(doomed[i])
	}
	return err
}

// SegmentPrefix is how many bytes a local key of a window or session store has
// in front of the key as the changelog has it.
const SegmentPrefix = 8

// Windows is a store of windows over a Store: key and window start to value.
type Windows struct {
	seg segments
	key []byte // scratch
}

// NewWindows returns a window store in s that keeps windows for at least
// retention, counted from their start.
func NewWindows(s Store, retention time.Duration) *Windows {
	return &Windows{seg: newSegments(s, retention)}
}

// LocalKey appends the key under which the store keeps a window key, which is
// the form a changelog has.
func (w *Windows) LocalKey(dst, windowKey []byte) []byte {
	_, start, _, _ := SplitWindowKey(windowKey)
	return append(w.seg.appendSegment(dst, start), windowKey...)
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
		lo := AppendWindowKey(append([]byte{}, segment...), key, max(from, 0), 0)
		hi := AppendWindowKey(append([]byte{}, segment...), key, to+1, 0)
		return walk(w.seg.store, Range{Lo: lo, Hi: hi}, func(local, value []byte) error {
			k, start, seq, ok := SplitWindowKey(local[SegmentPrefix:])
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
			k, start, seq, ok := SplitWindowKey(local[SegmentPrefix:])
			if !ok || start < from || start > to {
				return nil
			}
			return visit(Window{k, start, seq, value})
		})
	})
}

// Expire removes windows that start more than the retention before now.
func (w *Windows) Expire(now int64) error { return w.seg.expire(now) }

// each visits the prefixes of the segments of from…to that hold anything. It
// skips from one used segment to the next, so that an open span costs nothing.
func (s *segments) each(from, to int64, visit func(segment []byte) error) error {
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

// next returns the first used segment in lo…hi.
func (s *segments) next(lo, hi []byte) (segment []byte, err error) {
	it := s.store.Scan(Range{Lo: lo, Hi: hi})
	if it.Next() && len(it.Key()) >= SegmentPrefix {
		segment = bytes.Clone(it.Key()[:SegmentPrefix])
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
