package state

import (
	"encoding/binary"
	"math"
	"time"
)

// Form says where the time is in the keys of a store.
type Form int

// The forms: keys without a time; keys as AppendWindowKey and AppendSessionKey make
// them; and keys that begin with 8 bytes of time, big-endian, and go on as they like.
const (
	Plain Form = iota
	WindowKeys
	SessionKeys
	TimeFirst
)

// Spec describes a store.
type Spec struct {
	Name string
	Form Form
	// Retention is how long rows are kept, in the time of the keys: those that are
	// older than the newest by more than it may be removed. Zero keeps them until
	// they are deleted. Keys of the form Plain have no time, and are kept.
	Retention time.Duration
	// Segment is the span of time whose rows lie side by side, half of the
	// retention, but a minute at least, when zero. Short ones make a walk over a
	// span of time exact, long ones a walk over the times of one key.
	Segment time.Duration
	// History keeps, for that long in the time of what is put, the rows that keys had
	// before: the store is read and written by [Versions]. It goes with the form Plain.
	// A Segment is then the span of time of which versions are removed together, a
	// quarter of the history, but ten seconds at least, when zero.
	History time.Duration
	// LogAtOnce has changes go to the changelog as records are processed, and not together
	// at the commit, so that a commit has less to wait for. It is for rows that are put once,
	// which gain nothing from waiting until only the last of several changes is left. Exactly
	// once, results are the same. At least once, who has lost the local database in a crash
	// finds in the changelog what was put since the last commit, as with Kafka Streams where
	// caching is disabled, and processes those records again: one that puts its row puts it
	// again, one that adds to a row would add twice. It says nothing of cached tables, of
	// stores with a History, and in transaction mode.
	LogAtOnce bool
	// Unlogged keeps the store without a changelog: its rows are gone with the
	// local database.
	Unlogged bool
}

// segmentPrefix is how many bytes a local key of a store with segments has in front
// of the key as the changelog has it.
const segmentPrefix = 8

// Segmented tells whether keys have the number of their segment in front. What has
// expired then lies side by side, and goes in one step.
func (s *Spec) Segmented() bool { return s.Retention > 0 && s.Form != Plain }

// Prefix is how many bytes a local key has in front of the key as the changelog has it.
func (s *Spec) Prefix() int {
	switch {
	case s.Segmented():
		return segmentPrefix
	case s.History > 0:
		return 1
	}
	return 0
}

// Rows returns the span of local keys of the rows with keys in r, as the changelog has
// them. It is for stores without segments.
func (s *Spec) Rows(r Range) Range {
	if s.History <= 0 {
		return r
	}
	lo, hi := append([]byte{partRows}, r.Lo...), []byte{partRows + 1}
	if r.Hi != nil {
		hi = append([]byte{partRows}, r.Hi...)
	}
	return Range{Lo: lo, Hi: hi, Reverse: r.Reverse}
}

// Time returns the time of a key as the changelog has it, the latest there is for
// one that has none.
func (s *Spec) Time(key []byte) int64 {
	at := -1
	switch s.Form {
	case WindowKeys:
		at = len(key) - windowSuffix
	case SessionKeys:
		at = len(key) - sessionSuffix
	case TimeFirst:
		if len(key) >= 8 {
			at = 0
		}
	}
	if at < 0 {
		return math.MaxInt64
	}
	return int64(binary.BigEndian.Uint64(key[at:]))
}

// Inner returns the part of a key that is the key of the records it stands for, by
// which they are partitioned.
func (s *Spec) Inner(key []byte) []byte {
	suffix := 0
	switch s.Form {
	case WindowKeys:
		suffix = windowSuffix
	case SessionKeys:
		suffix = sessionSuffix
	}
	return key[:max(len(key)-suffix, 0)]
}

// AppendLocal appends the key under which the store keeps a key of the changelog. The
// empty key is that of the store's note and lies behind all others where there are
// segments.
func (s *Spec) AppendLocal(dst, key []byte) []byte {
	if !s.Segmented() {
		if s.History > 0 {
			dst = append(dst, partRows)
		}
		return append(dst, key...)
	}
	start := len(dst)
	dst = append(append(dst, noSegment...), key...)
	s.Locate(dst[start:])
	return dst
}

// noSegment stands in front of a note.
var noSegment = []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// Locate writes what comes before the key into the first bytes of a local key, of which
// the rest is there.
func (s *Spec) Locate(local []byte) {
	if s.History > 0 {
		local[0] = partRows
		return
	}
	n := uint64(math.MaxUint64)
	if len(local) > segmentPrefix {
		n = uint64(s.segment(s.Time(local[segmentPrefix:])))
	}
	binary.BigEndian.PutUint64(local, n)
}

// IsNote tells whether a local key is that of the store's note, which belongs to the
// operator that keeps the store, or of anything else that is not the row of a key.
func (s *Spec) IsNote(local []byte) bool {
	if s.History > 0 {
		return len(local) == 0 || local[0] != partRows
	}
	return s.Form != Plain && len(local) == s.Prefix()
}

// length is the span of a segment in milliseconds.
func (s *Spec) length() int64 {
	if s.Segment > 0 {
		return max(s.Segment.Milliseconds(), 1)
	}
	// Half of the retention: at most half as much again is kept as was asked
	// for, and a fetch over the whole retention touches three segments.
	return max(s.Retention.Milliseconds()/2, 60_000)
}

func (s *Spec) segment(t int64) int64 { return max(t, 0) / s.length() }

// Live returns the oldest segment that has something to keep when newest is the
// latest time there is, and the first local key of it.
func (s *Spec) Live(newest int64) (segment int64, from []byte) {
	segment = s.segment(newest - s.Retention.Milliseconds())
	return segment, binary.BigEndian.AppendUint64(nil, uint64(segment))
}

// Stride is how many segments are removed together at least: finer steps cost more
// than they free.
func (s *Spec) Stride() int64 {
	return max(s.Retention.Milliseconds()/2/s.length(), 1)
}
