package streams

import (
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/streams/state"
)

// checkHistory gives a store its history, when it can have one.
func (b *Builder) checkHistory(n *node, history time.Duration, layout *state.Spec) {
	switch {
	case history < time.Millisecond:
		b.fault("streams.history", n.name, "the history of the table is shorter than a millisecond", "set With.History to the time for which rows of the past are asked for")
	case layout.Form != state.Plain:
		b.fault("streams.history", n.name, "the rows are those of windows, which have times of their own and no history", "leave With.History out, and keep windows for longer")
	default:
		layout.History = history
	}
}

// History tells for how long the table keeps the rows that its keys had before, 0 when it
// does not. A table that is made of another row by row has the history of that one, unless
// it is kept in a store of its own.
func (t *Table[K, V]) History() time.Duration {
	for n := t.node; n != nil; n = n.passes {
		for _, s := range n.stores {
			if s.owner == n && n.passes == nil {
				return s.layout.History
			}
		}
	}
	return 0
}

// past is the part of a store that keeps versions; versions is nil for others.
type past struct {
	versions *state.Versions
	unlogged []*kgo.Record // the versions put since the last commit, in that order
	unsaid   int64         // their bytes
}

// undo forgets what was put since the last commit.
func (h *past) undo() {
	if h.versions == nil {
		return
	}
	h.versions.Forget()
	clear(h.unlogged)
	h.unlogged, h.unsaid = h.unlogged[:0], 0
}

// openHistory lets a store keep versions, when its layout says so. As in Kafka Streams the
// changelog has every version that was put, in that order, as a record of its own: the
// key, the row, and as the timestamp the time from which on it holds.
func (t *task) openHistory(st *taskStore) {
	if st.spec.layout.History <= 0 {
		return
	}
	st.versions = st.spec.layout.Versions(st.cache)
	if st.spec.layout.Unlogged {
		return
	}
	st.versions.OnPut(func(key []byte, ms int64, row []byte, has bool) {
		r := t.outgoing(st.changelog, t.slab.copy(key), nil, ms)
		r.Partition = t.id.partition
		if has {
			r.Value = t.slab.copy(row)
		}
		st.unlogged = append(st.unlogged, r)
		st.unsaid += int64(len(r.Key) + len(r.Value) + entryBytes)
	})
}

// entryBytes is what a version that waits to be logged costs beyond its own bytes.
const entryBytes = 200

// logVersions writes the versions that were put since the last commit to the changelog.
func (t *task) logVersions(st *taskStore) {
	for _, r := range st.unlogged {
		t.env.out.produce(r, st.promise)
	}
	clear(st.unlogged)
	st.unlogged, st.unsaid = st.unlogged[:0], 0
}

// replayVersions puts changelog records into a batch as the versions they were. Those of
// one batch are put into a cache of its own, since each depends on those before it.
func (t *task) replayVersions(b state.Batch, st *taskStore, rs []*kgo.Record) error {
	cache := state.NewCache(t.env.db.Reader(st.id), t.env.cacheBytes)
	versions := st.spec.layout.Versions(cache)
	for _, r := range rs {
		// One that came too late is not in the changelog of its own accord: Kafka Streams
		// logs those too, and passes them over here.
		if _, _, err := versions.Put(r.Key, r.Timestamp.UnixMilli(), r.Value, r.Value != nil); err != nil {
			return err
		}
	}
	if err := versions.Settle(); err != nil {
		return err
	}
	cache.Write(b, st.id)
	st.versions.Forget()
	return nil
}

// version puts the new row of a change, or that there is none, into a store that keeps
// versions, and notes whether it is one of the past. One that comes too late is dropped.
func (s *rowStore[K, V]) version(key []byte, c *Change[V], ms int64) (kept bool, err error) {
	s.vbuf = s.vbuf[:0]
	if c.HasNew {
		if s.vbuf, err = s.value.Append(s.vbuf, c.New); err != nil {
			return false, s.t.unwritable(s.st.spec.name, "value", err)
		}
	}
	latest, kept, err := s.st.versions.Put(key[s.st.prefix:], ms, s.vbuf, c.HasNew)
	if err == nil && !kept {
		s.t.env.metrics.Dropped.Add(1)
	}
	c.Past = !latest
	return kept, ofState(err)
}

// AsOf reads the row that a key had at a time, in milliseconds, of a table with a
// History, and since when it had it. What is older than the history, counted from the
// latest time of the table's rows, is not found, unless the key still has the row. A table
// without history has the rows it has.
func (r *Rows[K, V]) AsOf(k K, ms int64) (v V, from int64, found bool, err error) {
	s := r.rows
	if s.st.versions == nil {
		return s.get(k)
	}
	key, err := s.encodeKey(k)
	if err != nil {
		return v, 0, false, err
	}
	s.gbuf, from, found, err = s.st.versions.AsOf(s.gbuf[:0], key[s.st.prefix:], ms)
	if err != nil || !found {
		return v, 0, false, ofState(err)
	}
	if v, err = s.value.Decode(s.gbuf); err != nil {
		return v, 0, false, s.t.damaged(s.st.spec.name, err)
	}
	return v, from, true, nil
}
