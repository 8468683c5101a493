package state

import (
	"encoding/binary"
	"errors"
	"math"
)

// Versions is a store that keeps, besides the row that each key has, those it had before,
// for as long as Spec.History says (KIP-889). Each version has a time, that from which on
// it holds; it holds until the time of the next one. One without a row says that the key
// had none. The last row of a key is kept until another takes its place, however old it is.
//
// Time is the latest one that was put. A version that is older than it by more than the
// history comes too late, and is not kept; what ended before that is removed.
//
// The row that a key has lies where a store without history has it, so that whoever asks
// for no time finds it there:
//
//	0, the key                                     8 bytes of time, the row
//	1, 8 bytes of a span of time, the key          nothing: the key has something to remove
//	2, uvarint length of the key, the key, time    1 and the row before, or 0 for none
//	3                                              8 bytes: the latest time that was put
//
// Versions is used by one goroutine.
type Versions struct {
	store  Store
	spec   Spec
	newest int64 // the latest time that was put, -1 before the first
	saved  int64 // what the store has of it
	known  bool  // newest is as the store has it
	swept  int64 // the spans of time before it have nothing to remove
	onPut  func(key []byte, ms int64, row []byte, has bool)

	row, old, hi, timed []byte // scratch
	doomed              marks
}

// The parts of a store with history.
const (
	partRows = iota
	partMarks
	partOld
	partNewest
)

const (
	oldNone = iota
	oldRow
)

// sweepKeys is how many keys are cleared of what is too old in one step.
const sweepKeys = 8192

var errVersion = errors.New("state: the bytes are no version of a row")

// Versions returns the versions in a store that the spec, which has a History, describes.
func (s *Spec) Versions(store Store) *Versions {
	return &Versions{store: store, spec: *s}
}

// OnPut has fn called with every version that is kept, as it was put. The bytes are valid
// during the call.
func (v *Versions) OnPut(fn func(key []byte, ms int64, row []byte, has bool)) { v.onPut = fn }

// Forget has the store asked anew for what is in memory, after it has changed from
// elsewhere or changes were undone.
func (v *Versions) Forget() { v.known = false }

// Newest returns the latest time that was put, in milliseconds, -1 when nothing was.
func (v *Versions) Newest() (ms int64, err error) {
	if v.known {
		return v.newest, nil
	}
	v.newest, v.swept = -1, 0
	v.timed, _, err = v.store.Get(v.timed[:0], []byte{partNewest})
	switch {
	case err != nil:
		return -1, err
	case len(v.timed) == 8:
		v.newest = int64(binary.BigEndian.Uint64(v.timed))
	case len(v.timed) > 0:
		return -1, errVersion
	}
	v.saved, v.known = v.newest, true
	return v.newest, nil
}

// horizon is the time before which nothing is kept but last rows.
func (v *Versions) horizon() int64 { return v.newest - v.spec.History.Milliseconds() }

func (v *Versions) rowKey(key []byte) []byte {
	v.row = append(append(v.row[:0], partRows), key...)
	return v.row
}

func appendOldKey(dst, key []byte, ms int64) []byte {
	dst = binary.AppendUvarint(append(dst, partOld), uint64(len(key)))
	return binary.BigEndian.AppendUint64(append(dst, key...), uint64(ms))
}

// oldTime returns the time of the key of an old version.
func oldTime(local []byte) int64 { return int64(binary.BigEndian.Uint64(local[len(local)-8:])) }

// Put puts the version of a key that holds from ms on: a row or, without has, that there
// is none. One that the key has of the same time is replaced. latest says that the key has
// no later version. One that comes too late is not kept.
func (v *Versions) Put(key []byte, ms int64, row []byte, has bool) (latest, kept bool, err error) {
	if _, err = v.Newest(); err != nil {
		return false, false, err
	}
	ms = max(ms, 0)
	if ms < v.horizon() {
		return false, false, nil
	}
	v.newest = max(v.newest, ms)
	last, isRow, err := v.last(key)
	if err != nil {
		return false, false, err
	}
	switch {
	case last > ms:
		err = errors.Join(v.putOld(key, ms, row, has), v.mark(key, last))
	case isRow && last < ms:
		// timed has the row that is one of the past from now on.
		err = v.putOld(key, last, v.timed[8:], true)
		if err == nil && has {
			err = v.mark(key, ms)
		}
	case last == ms && !isRow && has:
		err = v.store.Delete(v.oldKey(key, ms))
	}
	if err == nil && last <= ms {
		err = v.putLast(key, ms, row, has)
	}
	if err == nil && v.onPut != nil {
		v.onPut(key, ms, row, has)
	}
	return last <= ms, err == nil, err
}

// last finds the time of a key's last version, math.MinInt64 when it has none, and whether
// it is a row, which timed has then.
func (v *Versions) last(key []byte) (ms int64, isRow bool, err error) {
	if v.timed, isRow, err = v.store.Get(v.timed[:0], v.rowKey(key)); err != nil {
		return 0, false, err
	}
	if isRow {
		if len(v.timed) < 8 {
			return 0, false, errVersion
		}
		ms, _ = SplitTimed(v.timed)
		return ms, true, nil
	}
	it := v.store.Scan(v.olds(key, 0, math.MaxInt64))
	ms = math.MinInt64
	if it.Next() {
		ms = oldTime(it.Key())
	}
	return ms, false, it.Close()
}

// olds is the span of a key's old versions from a time until before another, the last
// ones first.
func (v *Versions) olds(key []byte, from, to int64) Range {
	v.old, v.hi = appendOldKey(v.old[:0], key, from), appendOldKey(v.hi[:0], key, to)
	return Range{Lo: v.old, Hi: v.hi, Reverse: true}
}

func (v *Versions) oldKey(key []byte, ms int64) []byte {
	v.old = appendOldKey(v.old[:0], key, ms)
	return v.old
}

// putLast makes a version the last one of its key.
func (v *Versions) putLast(key []byte, ms int64, row []byte, has bool) error {
	if has {
		v.timed = AppendTimed(v.timed[:0], ms, row)
		return v.store.Put(v.rowKey(key), v.timed)
	}
	return errors.Join(v.store.Delete(v.rowKey(key)), v.putOld(key, ms, nil, false), v.mark(key, ms))
}

// putOld puts a version that is not the row a key has.
func (v *Versions) putOld(key []byte, ms int64, row []byte, has bool) error {
	kind := byte(oldNone)
	if has {
		kind = oldRow
	}
	v.hi = append(append(v.hi[:0], kind), row...)
	return v.store.Put(v.oldKey(key, ms), v.hi)
}

// mark notes that the key has something to remove once nothing from before the end of the
// span of ms is kept any more.
func (v *Versions) mark(key []byte, ms int64) error {
	v.old = append(v.appendMark(v.old[:0], ms), key...)
	return v.store.Put(v.old, nil)
}

func (v *Versions) appendMark(dst []byte, ms int64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, partMarks), uint64(v.span(ms)))
}

// stride is the length of the spans of time in milliseconds.
func (v *Versions) stride() int64 {
	if v.spec.Segment > 0 {
		return max(v.spec.Segment.Milliseconds(), 1)
	}
	return max(v.spec.History.Milliseconds()/4, 10_000)
}

func (v *Versions) span(ms int64) int64 { return max(ms, 0) / v.stride() }

// Get appends the row that a key has to dst.
func (v *Versions) Get(dst, key []byte) (row []byte, ms int64, found bool, err error) {
	if v.timed, found, err = v.store.Get(v.timed[:0], v.rowKey(key)); err != nil || !found {
		return dst, 0, false, err
	}
	ms, row = SplitTimed(v.timed)
	return append(dst, row...), ms, true, nil
}

// AsOf appends the row that a key had at a time to dst, and tells since when it had it.
// What is older than the history is not known, unless the key still has the row it had.
func (v *Versions) AsOf(dst, key []byte, at int64) (row []byte, from int64, found bool, err error) {
	if _, err = v.Newest(); err != nil {
		return dst, 0, false, err
	}
	if row, from, found, err = v.Get(dst, key); err != nil || found && from <= at {
		return row, from, found, err
	}
	row, from, found = row[:len(dst)], 0, false
	if at < v.horizon() || at < 0 {
		return row, 0, false, nil
	}
	until := at
	if at < math.MaxInt64 {
		until++
	}
	it := v.store.Scan(v.olds(key, 0, until))
	if it.Next() {
		value := it.Value()
		switch {
		case len(value) == 0:
			err = errVersion
		case value[0] == oldRow:
			row, from, found = append(row, value[1:]...), oldTime(it.Key()), true
		}
	}
	return row, from, found, errors.Join(err, it.Close())
}

// Between visits the rows that a key had at some time in from…to, both included, in order
// of their times: each with the time from which on it held, and that from which on it did
// not, which is -1 for the row that the key has. What is older than the history is left
// out. The bytes are valid during visit, which must not write to the store.
func (v *Versions) Between(key []byte, from, to int64, visit func(from, until int64, row []byte) error) error {
	if _, err := v.Newest(); err != nil {
		return err
	}
	last, since, found, err := v.Get(nil, key)
	if err != nil {
		return err
	}
	end := int64(math.MaxInt64)
	if found {
		end = since
	}
	if to >= v.horizon() {
		if err := v.between(key, max(from, v.horizon(), 0), to, end, visit); err != nil {
			return err
		}
	}
	if !found || since > to || from > to {
		return nil
	}
	return visit(since, -1, last)
}

// between visits the rows before the last one, which holds from end on.
func (v *Versions) between(key []byte, from, to, end int64, visit func(from, until int64, row []byte) error) (err error) {
	it := v.store.Scan(Range{Lo: appendOldKey(nil, key, 0), Hi: appendOldKey(nil, key, math.MaxInt64)})
	var row []byte
	since, is := int64(0), false
	pass := func(until int64) error {
		if !is || until <= from || since > to {
			return nil
		}
		return visit(since, until, row)
	}
	for err == nil && since <= to && it.Next() {
		ms, value := oldTime(it.Key()), it.Value()
		if len(value) == 0 {
			err = errVersion
			break
		}
		err = pass(ms)
		since, is, row = ms, value[0] == oldRow, append(row[:0], value[1:]...)
	}
	if err == nil {
		err = pass(end)
	}
	return errors.Join(err, it.Close())
}

// Settle writes down the time and removes some of what is too old. It belongs to a
// commit.
func (v *Versions) Settle() error {
	newest, err := v.Newest()
	if err != nil || newest < 0 {
		return err
	}
	if newest != v.saved {
		v.timed = binary.BigEndian.AppendUint64(v.timed[:0], uint64(newest))
		if err := v.store.Put([]byte{partNewest}, v.timed); err != nil {
			return err
		}
		v.saved = newest
	}
	if v.span(v.horizon()) <= v.swept {
		return nil
	}
	return v.sweep()
}
