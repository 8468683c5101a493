package streams

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams/serde"
	"github.com/tidemill/tidemill/streams/state"
)

// taskStore is one store of one task: a write-back cache over the store's part
// of the instance's DB, and the changelog partition that repeats it.
type taskStore struct {
	figures   *storeFigures
	spec      *storeSpec
	id        state.ID
	cache     *state.Cache
	changelog string
	prefix    int  // the bytes of a key in the cache before the key in the changelog
	atOnce    bool // changes are logged as records are processed
	expiry
	memory
	past
	// emit sends a change that leaves the cache downstream; withOld says
	// whether it needs the old row.
	emit    func(state.Entry) error
	withOld bool
	ackState
	// position is the changelog offset up to which the DB has everything once
	// the current commit is through.
	position int64
}

// rowStore is the typed side of a taskStore and the output of the operator that
// owns it. Rows are kept as 8 bytes of timestamp and the row's own bytes.
type rowStore[K, V any] struct {
	fan[K, Change[V]]
	t     *task
	st    *taskStore
	key   serde.Serde[K]
	value serde.Serde[V]

	kbuf, vbuf, tbuf, gbuf []byte // scratch; kbuf begins with the place of the prefix
	rec                    Record[K, Change[V]]
}

// openRows gives a task the store of spec. A nil spec gives a rowStore that keeps
// nothing and passes everything on.
func openRows[K, V any](t *task, spec *storeSpec, key serde.Serde[K], value serde.Serde[V]) *rowStore[K, V] {
	s := &rowStore[K, V]{t: t, key: key, value: value}
	if spec == nil {
		return s
	}
	s.st = t.stores[spec]
	s.kbuf = make([]byte, s.st.prefix, 64)
	s.key, s.value = serde.Bind(key, s.st.changelog, true), serde.Bind(value, s.st.changelog, false)
	if spec.cached {
		s.st.emit, s.st.withOld = t.guardedEmit(spec.owner, s.emit), spec.owner.wantOld
	}
	return s
}

// view reads a store that another operator of the task owns.
func viewRows[K, V any](t *task, spec *storeSpec, key serde.Serde[K], value serde.Serde[V]) *rowStore[K, V] {
	st := t.stores[spec]
	return &rowStore[K, V]{
		t: t, st: st, kbuf: make([]byte, st.prefix, 64),
		key: serde.Bind(key, st.changelog, true), value: serde.Bind(value, st.changelog, false),
	}
}

// everyRow reads a global table of change events, of which other tasks have a part each.
func everyRow[K, V any](t *task, spec *storeSpec, key serde.Serde[K], value serde.Serde[V]) *rowStore[K, V] {
	st := &taskStore{spec: spec, changelog: changelogName(t.env.app, spec.name), prefix: spec.layout.Prefix()}
	return &rowStore[K, V]{
		t: t, st: st, kbuf: make([]byte, st.prefix, 64),
		key: serde.Bind(key, st.changelog, true), value: serde.Bind(value, st.changelog, false),
	}
}

// find reads the bytes of a row to gbuf.
func (s *rowStore[K, V]) find(key []byte) (found bool, err error) {
	if s.st.cache != nil {
		s.gbuf, found, err = s.st.cache.Get(s.gbuf[:0], key)
		return found, err
	}
	e, spec := s.t.env.epochs, s.st.spec
	if e == nil {
		return false, recordsGlobal(spec)
	}
	// Which partition a row is in is up to those who write the topic.
	for p := int32(0); !found && err == nil && int(p) < e.counts[spec.owner.sub]; p++ {
		s.gbuf, found, err = e.tasks[taskID{spec.owner.sub, p}].stores[spec].cache.Get(s.gbuf[:0], key)
	}
	return found, err
}

// encodeKey returns the key's bytes in the store, valid until the next call.
func (s *rowStore[K, V]) encodeKey(k K) (key []byte, err error) {
	if key, err = s.key.Append(s.kbuf[:s.st.prefix], k); err != nil {
		return nil, s.t.unwritable(s.st.spec.name, "key", err)
	}
	s.kbuf = key
	if s.st.prefix > 0 {
		s.st.spec.layout.Locate(key)
	}
	return key, nil
}

// load reads the row of an encoded key.
func (s *rowStore[K, V]) load(key []byte) (v V, ms int64, found bool, err error) {
	found, err = s.find(key)
	if err != nil || !found {
		return v, 0, false, ofState(err)
	}
	ms, raw := state.SplitTimed(s.gbuf)
	v, err = s.value.Decode(raw)
	if err != nil {
		return v, 0, false, s.t.damaged(s.st.spec.name, err)
	}
	return v, ms, true, nil
}

// get reads the row of a key.
func (s *rowStore[K, V]) get(k K) (v V, ms int64, found bool, err error) {
	key, err := s.encodeKey(k)
	if err != nil {
		return v, 0, false, err
	}
	return s.load(key)
}

// write sets or, without a new row, deletes the row of an encoded key.
func (s *rowStore[K, V]) write(key []byte, c *Change[V], ms int64) (err error) {
	if s.st.versions != nil {
		_, err = s.version(key, c, ms)
		return err
	}
	s.st.met(key)
	if !c.HasNew {
		return s.st.cache.Delete(key)
	}
	if s.vbuf, err = s.value.Append(s.vbuf[:0], c.New); err != nil {
		return s.t.unwritable(s.st.spec.name, "value", err)
	}
	s.tbuf = state.AppendTimed(s.tbuf[:0], ms, s.vbuf)
	return s.st.cache.Put(key, s.tbuf)
}

// update stores what r says and passes it on: at once, or, from a cached store,
// when the cache is flushed. key is r's key as encodeKey gave it. When oldKnown,
// r carries the old row as the store has it.
func (s *rowStore[K, V]) update(key []byte, r *Record[K, Change[V]], oldKnown bool) error {
	if s.st.spec.cached {
		s.caused(r)
		return s.write(key, &r.Value, r.Time)
	}
	s.rec = *r
	c := &s.rec.Value
	c.Past = false // It is the row there is, unless the store has a later one.
	if !oldKnown && s.st.spec.owner.wantOld {
		old, _, had, err := s.load(key)
		if err != nil {
			return err
		}
		c.Old, c.HasOld = old, had
	}
	if s.st.versions != nil {
		if kept, err := s.version(key, c, r.Time); err != nil || !kept {
			return err
		}
	} else if err := s.write(key, c, r.Time); err != nil {
		return err
	}
	return s.forward(&s.rec)
}

// cause is what a change in a cache has of the record that it comes from. A row has a time
// of its own; that there is none any more has not.
type cause struct {
	ms      int64
	headers []Header
}

// causeBytes is what a cause costs, or a header of it, beyond its bytes.
const causeBytes = 48

// caused gives the next change in the cache what it needs of the record. In transaction
// mode a change comes from a transaction, and not from a record.
func (s *rowStore[K, V]) caused(r *Record[K, Change[V]]) {
	if s.t.env.epochs != nil || r.Value.HasNew && len(r.Headers) == 0 {
		s.st.cache.By(nil, 0)
		return
	}
	c, size := &cause{ms: r.Time}, int64(causeBytes)
	for _, h := range r.Headers {
		// What was fetched is not kept until the commit for the sake of some headers.
		c.headers = append(c.headers, Header{Key: strings.Clone(h.Key), Value: bytes.Clone(h.Value)})
		size += causeBytes + int64(len(h.Key)+len(h.Value))
	}
	s.st.cache.By(c, size)
}

// emit sends a change that leaves the cache downstream.
func (s *rowStore[K, V]) emit(e state.Entry) (err error) {
	s.rec = Record[K, Change[V]]{Time: s.t.streamTime}
	if by, ok := e.Cause.(*cause); ok {
		s.rec.Time, s.rec.Headers = by.ms, by.headers
	}
	s.t.weight = len(e.Key) + len(e.Old) + len(e.New)
	if s.rec.Key, err = s.key.Decode(e.Key[s.st.prefix:]); err != nil {
		return s.t.damaged(s.st.spec.name, err)
	}
	c := &s.rec.Value
	if e.HasNew {
		ms, raw := state.SplitTimed(e.New)
		s.rec.Time, c.HasNew = ms, true
		if c.New, err = s.value.Decode(raw); err != nil {
			return s.t.damaged(s.st.spec.name, err)
		}
	}
	if e.HasOld && s.st.withOld {
		_, raw := state.SplitTimed(e.Old)
		c.HasOld = true
		if c.Old, err = s.value.Decode(raw); err != nil {
			return s.t.damaged(s.st.spec.name, err)
		}
	}
	return s.forward(&s.rec)
}

const unwritableCode = "streams.unwritable"

// unwritable is the error for a key or value its Serde refuses.
func (t *task) unwritable(where, part string, cause error) error {
	return &connect.Error{
		Code: unwritableCode, Class: connect.ClassRecord,
		Place: fmt.Sprintf("%s, task %s", where, t.id), Message: "the " + part + " cannot be written", Cause: cause,
	}
}

// damaged is the error for stored bytes that cannot be read back.
func (t *task) damaged(store string, cause error) error {
	return &connect.Error{
		Code: "streams.state.unreadable", Class: connect.ClassFatal,
		Place: fmt.Sprintf("store %s, task %s", store, t.id), Message: "a row of the store cannot be read back",
		Mend:  "if its format was changed, give the store a new name or reset the application",
		Cause: cause,
	}
}
