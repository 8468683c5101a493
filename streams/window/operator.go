package window

import (
	"bytes"
	"cmp"
	"errors"
	"slices"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/serde"
	"github.com/tidemill/tidemill/streams/state"
)

// operator aggregates over tumbling, hopping and unlimited windows, and has what those of
// other windows share.
type operator[K, V, A any] struct {
	clock
	rows *streams.Rows[Windowed[K], A]
	w    Windows
	fold fold[K, V, A]

	inner   serde.Serde[K]
	windows *state.Windows
	slack   int64
	rec     streams.Record[Windowed[K], streams.Change[A]]
	trigger *streams.Record[K, V] // the record that lets windows close
	shut    []shut                // windows of one segment that have closed
	kbuf    []byte                // scratch
	closing func(state.Window) error
}

func (o *operator[K, V, A]) open() error {
	keys, _ := o.rows.Serdes()
	o.inner = keys.(storeKeys[K]).inner
	o.slack = o.w.slack()
	o.windows = state.NewWindows(reading{o.rows.Bytes()}, o.rows.Layout())
	o.closing = o.emitWindow
	return o.rows.Remember(o.recall, o.save)
}

// encode returns the bytes of a record's key, valid until the next call.
func (o *operator[K, V, A]) encode(r *streams.Record[K, V]) (key []byte, err error) {
	if o.kbuf, err = o.inner.Append(o.kbuf[:0], r.Key); err != nil {
		return nil, &connect.Error{
			Code: "streams.unwritable", Class: connect.ClassRecord,
			Place: o.rows.Name(), Message: "the key cannot be written", Cause: err,
		}
	}
	return o.kbuf, nil
}

// meet moves the time of a record's stream and returns the one by which windows with all
// their moments before have closed for it.
//
// In transaction mode it is the time of the transactions before, of all partitions: what
// one transaction has written is late as a whole, or not at all.
func (o *operator[K, V, A]) meet(r *streams.Record[K, V]) (closed int64) {
	if o.fold.input == nil {
		closed = o.observe(r.Time, o.w.wait())
	} else {
		closed = o.observeOf(o.fold.input(r.Value), r.Time, o.w.wait())
	}
	if before, _, ok := o.rows.EpochTime(); ok {
		return before - o.w.wait()
	}
	return closed
}

// take is the way of a record through fixed and unlimited windows.
func (o *operator[K, V, A]) take(r *streams.Record[K, V]) error {
	if !o.usable(r) {
		return nil
	}
	closed := o.meet(r)
	if o.w.kind == unlimited {
		if r.Time < o.w.from {
			return nil // It is in no window.
		}
		return o.add(r, o.w.from)
	}
	for start := o.w.first(r.Time); start <= r.Time; start += o.w.advance {
		if start+o.w.span() < closed {
			o.rows.Drop()
			continue
		}
		if err := o.add(r, start); err != nil {
			return err
		}
	}
	return o.emitClosed(r, closed)
}

// usable tells whether r can be aggregated, and counts it when not.
func (o *operator[K, V, A]) usable(r *streams.Record[K, V]) bool {
	if r.NoKey || r.NoValue && !o.fold.noValue || r.Time < 0 {
		o.rows.Drop()
		return false
	}
	return true
}

// add adds a record to the window that starts at start.
func (o *operator[K, V, A]) add(r *streams.Record[K, V], start int64) error {
	key, err := o.key(r, start)
	if err != nil {
		return err
	}
	agg, ms, had, err := o.rows.Load(key)
	if err != nil {
		return err
	}
	o.rec.Time = r.Time
	if had {
		o.rec.Time = max(r.Time, ms)
	}
	o.rec.Value = streams.Change[A]{Old: agg, HasOld: had, New: o.fold.add(r.Key, r.Value, agg, had), HasNew: true}
	return o.update(key)
}

// key begins the change of the window of r's key that starts at start.
func (o *operator[K, V, A]) key(r *streams.Record[K, V], start int64) ([]byte, error) {
	o.rec.Key = Windowed[K]{Key: r.Key, Start: start, End: o.w.end(start)}
	o.rec.Headers = r.Headers
	return o.rows.Key(o.rec.Key)
}

// update stores the change, and passes it on unless that waits for the window to close.
func (o *operator[K, V, A]) update(key []byte) error {
	if o.w.onClose {
		return o.rows.Put(key, &o.rec)
	}
	return o.rows.Update(key, &o.rec, true)
}

// emitClosed passes on the windows that have closed since it last did: of all keys, in
// the order of their starts.
func (o *operator[K, V, A]) emitClosed(r *streams.Record[K, V], closed int64) error {
	if !o.w.onClose || !o.due(closed, o.slack, o.w.every, o.rows.Now) {
		return nil
	}
	o.trigger = r
	from, to := max(o.emitted-o.w.span(), 0), closed-1-o.w.span()
	if o.w.kind == fixed {
		from = (from + o.w.advance - 1) / o.w.advance * o.w.advance
	}
	if from <= to {
		err := o.windows.FetchAll(from, to, o.closing)
		if err == nil {
			err = o.emitShut()
		}
		if err != nil {
			return err
		}
	}
	o.emitted = closed
	return nil
}

func (o *operator[K, V, A]) emitWindow(w state.Window) error {
	if o.w.kind == fixed {
		return o.emit(w.Key, w.Start, o.w.end(w.Start), w.Value) // They lie in order.
	}
	return o.hold(shut{at: w.Start, start: w.Start, end: o.w.end(w.Start)}, w.Key, w.Value)
}

// shut is a window that has closed.
type shut struct {
	at, start, end int64
	key, timed     []byte
}

// hold keeps a closed window until all of its segment are there, to be put in order.
func (o *operator[K, V, A]) hold(s shut, key, timed []byte) error {
	if n := len(o.shut); n > 0 && s.at/o.w.segment() != o.shut[n-1].at/o.w.segment() {
		if err := o.emitShut(); err != nil {
			return err
		}
	}
	kv := append(append(make([]byte, 0, len(key)+len(timed)), key...), timed...)
	s.key, s.timed = kv[:len(key):len(key)], kv[len(key):]
	o.shut = append(o.shut, s)
	return nil
}

// emitShut passes on what is held.
func (o *operator[K, V, A]) emitShut() error {
	slices.SortFunc(o.shut, func(a, b shut) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.start, b.start), bytes.Compare(a.key, b.key))
	})
	for _, s := range o.shut {
		if err := o.emit(s.key, s.start, s.end, s.timed); err != nil {
			return err
		}
	}
	clear(o.shut)
	o.shut = o.shut[:0]
	return nil
}

// emit passes a closed window on.
func (o *operator[K, V, A]) emit(key []byte, start, end int64, timed []byte) error {
	agg, ms, err := o.rows.Value(timed)
	if err != nil {
		return err
	}
	k, err := o.inner.Decode(key)
	if err != nil {
		return &connect.Error{
			Code: "streams.state.unreadable", Class: connect.ClassFatal,
			Place: o.rows.Name(), Message: "the key of a window cannot be read back", Cause: err,
		}
	}
	o.rec = streams.Record[Windowed[K], streams.Change[A]]{Key: Windowed[K]{k, start, end}, Time: ms, Headers: o.trigger.Headers}
	o.rec.Value = streams.Change[A]{New: agg, HasNew: true}
	return o.rows.Forward(&o.rec)
}

var errReading = errors.New("window: the store is only read here")

// reading makes a store that is only read.
type reading struct{ state.Reader }

func (reading) Put([]byte, []byte) error { return errReading }
func (reading) Delete([]byte) error      { return errReading }
