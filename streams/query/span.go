package query

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/tidemill/tidemill/streams/state"
)

// span is a walk over the windows of one partition.
type span struct {
	key      []byte // nil for all
	from, to int64
	visit    func(Row) error
	buf      []byte // scratch
}

var errSnapshot = errors.New("query: a snapshot cannot be changed")

// frozen makes a store of a snapshot.
type frozen struct{ state.Reader }

func (frozen) Put([]byte, []byte) error { return errSnapshot }
func (frozen) Delete([]byte) error      { return errSnapshot }

// walk visits the windows in a store that lies as layout says.
func (s *span) walk(layout state.Spec, r state.Reader) error {
	switch {
	case layout.Form != state.WindowKeys && layout.Form != state.SessionKeys:
		return fmt.Errorf("query: the store has no windows")
	case !layout.Segmented():
		return s.walkAll(layout, r)
	case layout.Form == state.SessionKeys && s.key == nil:
		return state.NewSessions(frozen{r}, layout).FindAll(s.from, s.to, s.session)
	case layout.Form == state.SessionKeys:
		return state.NewSessions(frozen{r}, layout).Find(s.key, s.from, s.to, s.session)
	case s.key == nil:
		return state.NewWindows(frozen{r}, layout).FetchAll(s.from, s.to, s.window)
	}
	return state.NewWindows(frozen{r}, layout).Fetch(s.key, s.from, s.to, s.window)
}

func (s *span) window(w state.Window) error {
	s.buf = state.AppendWindowKey(s.buf[:0], w.Key, w.Start, w.Seq)
	return s.row(w.Value)
}

func (s *span) session(w state.Session) error {
	s.buf = state.AppendSessionKey(s.buf[:0], w.Key, w.Start, w.End)
	return s.row(w.Value)
}

func (s *span) row(timed []byte) error {
	row := Row{Key: s.buf}
	row.Time, row.Value = state.SplitTimed(timed)
	return s.visit(row)
}

// walkAll visits windows that are kept for ever, and so lie in the order of their keys.
func (s *span) walkAll(layout state.Spec, r state.Reader) (err error) {
	it := r.Scan(state.Range{Lo: s.key, Hi: state.PrefixEnd(s.key)})
	for err == nil && it.Next() {
		if layout.IsNote(it.Key()) {
			continue
		}
		t := layout.Time(it.Key())
		if t < s.from || t > s.to || s.key != nil && !bytes.Equal(layout.Inner(it.Key()), s.key) {
			continue
		}
		s.buf = append(s.buf[:0], it.Key()...)
		err = s.row(it.Value())
	}
	return errors.Join(err, it.Close())
}
