package state

import (
	"bytes"
	"encoding/binary"
	"math"
)

// sessionSuffix is the length of what follows the key in a session key.
const sessionSuffix = 16

// AppendSessionKey appends the key of one session: the key, 8 bytes of its end,
// 8 bytes of its start, in milliseconds, big-endian, as in Kafka Streams.
func AppendSessionKey(dst, key []byte, start, end int64) []byte {
	dst = append(dst, key...)
	dst = binary.BigEndian.AppendUint64(dst, uint64(end))
	return binary.BigEndian.AppendUint64(dst, uint64(start))
}

// SplitSessionKey takes a session key apart; ok is false when it is too short.
func SplitSessionKey(b []byte) (key []byte, start, end int64, ok bool) {
	n := len(b) - sessionSuffix
	if n < 0 {
		return nil, 0, 0, false
	}
	return b[:n], int64(binary.BigEndian.Uint64(b[n+8:])), int64(binary.BigEndian.Uint64(b[n:])), true
}

// Session is one entry of a session store; both ends belong to it.
type Session struct {
	Key        []byte
	Start, End int64
	Value      []byte
}

// Sessions is a store of sessions over a Store.
type Sessions struct {
	seg         segments
	key, lo, hi []byte // scratch
	last        int64
}

// NewSessions returns the sessions in a store that spec, of the form SessionKeys and
// with a retention, describes. The retention counts from their end.
func NewSessions(s Store, spec Spec) *Sessions {
	return &Sessions{seg: segments{store: s, spec: spec}, last: math.MaxInt64}
}

// EndBy says that no session ends after the time last, so that Find need not look
// whether one does. Without it, one may end at any time.
func (s *Sessions) EndBy(last int64) { s.last = last }

// Latest returns a time after which no session ends, as far as the store has them: -1
// when there are none.
func (s *Sessions) Latest() (last int64, err error) {
	it := s.seg.store.Scan(Range{Hi: noSegment, Reverse: true})
	last = -1
	if it.Next() && len(it.Key()) > segmentPrefix {
		n, length := int64(binary.BigEndian.Uint64(it.Key())), s.seg.spec.length()
		if last = math.MaxInt64; n < last/length {
			last = (n+1)*length - 1
		}
	}
	return last, it.Close()
}

func (s *Sessions) local(key []byte, start, end int64) []byte {
	s.key = AppendSessionKey(s.seg.appendSegment(s.key[:0], end), key, start, end)
	return s.key
}

// Put sets the value of a session.
func (s *Sessions) Put(key []byte, start, end int64, value []byte) error {
	return s.seg.store.Put(s.local(key, start, end), value)
}

// Delete removes a session.
func (s *Sessions) Delete(key []byte, start, end int64) error {
	return s.seg.store.Delete(s.local(key, start, end))
}

// Get appends the value of exactly this session to dst.
func (s *Sessions) Get(dst, key []byte, start, end int64) (value []byte, found bool, err error) {
	return s.seg.store.Get(dst, s.local(key, start, end))
}

// Find visits the sessions of key that overlap from…to, both included, in order
// of their ends. The bytes are valid during visit, which must not write to the
// store.
func (s *Sessions) Find(key []byte, from, to int64, visit func(Session) error) error {
	return s.seg.each(from, max(s.last, to), func(segment []byte) error {
		s.lo = AppendSessionKey(append(s.lo[:0], segment...), key, 0, max(from, 0))
		s.hi = append(AppendSessionKey(append(s.hi[:0], segment...), key, math.MaxInt64, math.MaxInt64), 0)
		return walk(s.seg.store, Range{Lo: s.lo, Hi: s.hi}, func(local, value []byte) error {
			k, start, end, ok := SplitSessionKey(local[segmentPrefix:])
			if !ok || start > to || !bytes.Equal(k, key) {
				return nil
			}
			return visit(Session{k, start, end, value})
		})
	})
}

// FindAll visits the sessions of all keys that end in from…to, both included, ordered
// by segment, key and time. The bytes are valid during visit, which must not write to
// the store.
func (s *Sessions) FindAll(from, to int64, visit func(Session) error) error {
	return s.seg.each(from, to, func(segment []byte) error {
		return walk(s.seg.store, Range{Lo: segment, Hi: PrefixEnd(segment)}, func(local, value []byte) error {
			k, start, end, ok := SplitSessionKey(local[segmentPrefix:])
			if !ok || end < from || end > to {
				return nil
			}
			return visit(Session{k, start, end, value})
		})
	})
}
