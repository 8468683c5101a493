package streams

import (
	"bytes"

	"github.com/tidemill/tidemill/streams/state"
)

// expiry is the part of a store that knows what is too old to be kept. It goes by the
// newest time of the store's own keys, so that rows are there as long as an operator
// can ask for them, however far the task has come.
//
// What has expired is removed at a commit, after it has left the cache, so that the last
// change of a row is always passed on.
type expiry struct {
	newest, savedNewest int64
	live, doomed        int64 // the first segment that is kept: in the DB, and after the commit
	bound               []byte
}

// met notes the time of a key that is written.
func (st *taskStore) met(key []byte) {
	if st.spec.layout.Segmented() && len(key) > st.prefix {
		st.newest = max(st.newest, st.spec.layout.Time(key[st.prefix:]))
	}
}

// expire adds to b the removal of what is too old.
func (st *taskStore) expire(b state.Batch) {
	if !st.spec.layout.Segmented() {
		return
	}
	live, from := st.spec.layout.Live(st.newest)
	if live < st.live+st.spec.layout.Stride() {
		return
	}
	st.doomed, st.bound = live, from
	b.DeleteRange(st.id, state.Range{Hi: from})
}

// expired says that what expire added to a batch is in the DB.
func (st *taskStore) expired() {
	st.savedNewest = st.newest
	if st.doomed > st.live {
		st.cache.Forget(st.bound)
		st.live = st.doomed
	}
}

// memory is what the operator of a store has in memory beside it. It is kept in the
// store's note, which is committed, logged and restored with the rows.
type memory struct {
	recall func(note []byte) error
	save   func(dst []byte) []byte
	settle func() error
	noted  []byte // the note as the store has it
	buf    []byte
}

// noteKey is the key of a store's note in its changelog.
var noteKey = []byte{}

// recall hands every operator the note of the last commit.
func (t *task) recall() error {
	for _, st := range t.ordered {
		if st.recall == nil {
			continue
		}
		timed, found, err := st.cache.Get(st.noted[:0], st.spec.layout.AppendLocal(nil, noteKey))
		if err != nil {
			return err
		}
		st.noted = timed
		var note []byte
		if found {
			_, note = state.SplitTimed(timed)
		}
		if err := t.recallStore(st, note); err != nil {
			return err
		}
	}
	t.recalled = true
	return nil
}

// recallStore hands the operator of one store its note.
func (t *task) recallStore(st *taskStore, note []byte) (err error) {
	defer t.rescueAll(st.spec.owner, &err)
	if err := st.memory.recall(note); err != nil {
		return t.damaged(st.spec.name, err)
	}
	return nil
}

// remember lets the operator of a store do what it does at commits, and writes its note
// when that has changed.
func (t *task) remember(st *taskStore) (err error) {
	if st.versions != nil {
		if err := st.versions.Settle(); err != nil {
			return err
		}
	}
	if t.env.guarded {
		defer t.rescueAll(st.spec.owner, &err)
	}
	if st.settle != nil && t.recalled {
		if err := st.settle(); err != nil {
			return err
		}
	}
	if st.save == nil || !t.recalled {
		return nil
	}
	st.buf = st.save(append(st.buf[:0], 0, 0, 0, 0, 0, 0, 0, 0))
	if len(st.noted) >= 8 && bytes.Equal(st.buf[8:], st.noted[8:]) {
		return nil
	}
	state.AppendTimed(st.buf[:0], max(t.streamTime, 0), st.buf[8:])
	st.noted = append(st.noted[:0], st.buf...)
	return st.cache.Put(st.spec.layout.AppendLocal(nil, noteKey), st.buf)
}
