package state

import (
	"encoding/binary"
	"errors"
)

// marks are the keys that were found to have something to remove, one after another.
type marks struct {
	bytes []byte // of local keys
	ends  []int
}

func (m *marks) reset() { m.bytes, m.ends = m.bytes[:0], m.ends[:0] }

func (m *marks) add(local []byte) {
	m.bytes = append(m.bytes, local...)
	m.ends = append(m.ends, len(m.bytes))
}

func (m *marks) at(i int) []byte {
	start := 0
	if i > 0 {
		start = m.ends[i-1]
	}
	return m.bytes[start:m.ends[i]:m.ends[i]]
}

// sweep removes what is too old of the keys whose marks are from before the horizon, or of
// the first of them.
func (v *Versions) sweep() error {
	upTo := v.span(v.horizon())
	lo := v.appendMark(nil, v.swept*v.stride())
	hi := binary.BigEndian.AppendUint64([]byte{partMarks}, uint64(upTo))
	v.doomed.reset()
	it := v.store.Scan(Range{Lo: lo, Hi: hi})
	for len(v.doomed.ends) < sweepKeys && it.Next() {
		v.doomed.add(it.Key())
	}
	if err := it.Close(); err != nil {
		return err
	}
	var olds marks
	for i := range v.doomed.ends {
		mark := v.doomed.at(i)
		if len(mark) < 9 {
			return errVersion
		}
		span := int64(binary.BigEndian.Uint64(mark[1:]))
		if err := v.clear(mark[9:], (span+1)*v.stride(), &olds); err != nil {
			return err
		}
		if err := v.store.Delete(mark); err != nil {
			return err
		}
	}
	if len(v.doomed.ends) < sweepKeys {
		v.swept = upTo
	}
	return nil
}

// clear removes the versions of a key that ended before a time: all but the last one from
// before it, and that too where it is no row.
func (v *Versions) clear(key []byte, before int64, olds *marks) error {
	ms, isRow, err := v.lastRow(key)
	if err != nil {
		return err
	}
	olds.reset()
	it := v.store.Scan(v.olds(key, 0, before))
	for first := true; it.Next(); first = false {
		keeps := first && len(it.Value()) > 0 && it.Value()[0] == oldRow && !(isRow && ms < before)
		if !keeps {
			olds.add(it.Key())
		}
	}
	err = it.Close()
	for i := range olds.ends {
		err = errors.Join(err, v.store.Delete(olds.at(i)))
	}
	return err
}

// lastRow finds the time of the row that a key has.
func (v *Versions) lastRow(key []byte) (ms int64, has bool, err error) {
	if v.timed, has, err = v.store.Get(v.timed[:0], v.rowKey(key)); err == nil && has {
		ms, _ = SplitTimed(v.timed)
	}
	return ms, has, err
}
