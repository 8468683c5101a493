package window

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/serde"
	"github.com/tidemill/tidemill/streams/state"
)

// buffer holds the last change of every row that waits, in the order of the times from
// which they do: under 8 bytes of time and the row's key. Where the time does not follow
// from the key, a second entry behind all times has it.
type buffer[K, V any] struct {
	rows   *streams.Rows[K, V]
	how    *waiting[K, V]
	store  state.Store
	keys   serde.Serde[K]
	values serde.Serde[V]

	observed     int64
	oldest       int64 // the first time from which a row waits; MaxInt64 when none does
	count, bytes int64

	inEpochs          bool   // in transaction mode
	key, at, val, enc []byte // scratch
	some              []held
	rec               streams.Record[K, streams.Change[V]]
}

// held is an entry on its way out.
type held struct{ key, value []byte }

// noTime stands where the time is in the keys of the entries that have the times.
const noTime = math.MaxUint64

// evictions is how many entries are taken out of the store in one walk.
const evictions = 256

var errEntry = errors.New("the bytes are no change of a row")

// recall takes what is in memory from a note.
func (b *buffer[K, V]) recall(note []byte) error {
	b.observed, b.oldest, b.count, b.bytes = -1, math.MaxInt64, 0, 0
	if note == nil {
		return nil
	}
	if len(note) != 32 {
		return fmt.Errorf("the note of the buffer has %d bytes", len(note))
	}
	for i, n := range []*int64{&b.observed, &b.oldest, &b.count, &b.bytes} {
		*n = int64(binary.BigEndian.Uint64(note[8*i:]))
	}
	return nil
}

// save appends a note.
func (b *buffer[K, V]) save(dst []byte) []byte {
	b.rows.Buffered(b.count, b.bytes)
	for _, n := range [...]int64{b.observed, b.oldest, b.count, b.bytes} {
		dst = binary.BigEndian.AppendUint64(dst, uint64(n))
	}
	return dst
}

// put lets a change wait, in the place of the one that waits for its row, from the same
// time on.
func (b *buffer[K, V]) put(r *streams.Record[K, streams.Change[V]]) error {
	since, err := b.since(r)
	if err != nil {
		return err
	}
	b.val = b.val[:0]
	var waits bool
	if b.val, waits, err = b.store.Get(b.val, b.key); err != nil {
		return err
	}
	old, hadOld := r.Value.Old, r.Value.HasOld
	if waits {
		// Those downstream have the row as it was before the first change that waits.
		prior, err := b.decode(b.val)
		if err != nil {
			return err
		}
		old, hadOld = prior.Value.Old, prior.Value.HasOld
		b.bytes -= int64(len(b.val))
	} else {
		b.count++
		b.bytes += int64(len(b.key))
		b.oldest = min(b.oldest, since)
	}
	c := streams.Change[V]{Old: old, HasOld: hadOld, New: r.Value.New, HasNew: r.Value.HasNew}
	if b.val, err = b.encode(b.val[:0], r, &c); err != nil {
		return err
	}
	b.bytes += int64(len(b.val))
	return b.store.Put(b.key, b.val)
}

// since finds the time from which r's row waits, and writes the entry's key to b.key.
func (b *buffer[K, V]) since(r *streams.Record[K, streams.Change[V]]) (int64, error) {
	var err error
	if b.key, err = b.keys.Append(append(b.key[:0], 0, 0, 0, 0, 0, 0, 0, 0), r.Key); err != nil {
		return 0, b.unwritable("key", err)
	}
	if b.how.at != nil {
		since := b.how.at(r)
		binary.BigEndian.PutUint64(b.key, uint64(since))
		return since, nil
	}
	binary.BigEndian.PutUint64(b.key, noTime)
	at, waits, err := b.store.Get(b.at[:0], b.key)
	if err != nil {
		return 0, err
	}
	if b.at = at; !waits {
		b.at = binary.BigEndian.AppendUint64(b.at[:0], uint64(r.Time))
		if err := b.store.Put(b.key, b.at); err != nil {
			return 0, err
		}
	}
	copy(b.key, b.at)
	return int64(binary.BigEndian.Uint64(b.at)), nil
}

// evict passes on what has waited longest while more says so and there is some.
func (b *buffer[K, V]) evict(more func() bool) error {
	for b.count > 0 && more() {
		if err := b.fetch(); err != nil {
			return err
		}
		for i := range b.some {
			b.oldest = int64(binary.BigEndian.Uint64(b.some[i].key))
			if !more() {
				break
			}
			if err := b.out(b.some[i]); err != nil {
				return err
			}
			if b.count == 0 {
				b.oldest = math.MaxInt64
			}
		}
		if len(b.some) == 0 {
			return errEntry // What waits is counted, and so it is there.
		}
	}
	return nil
}

// fetch copies the entries that have waited longest, and the one after them.
func (b *buffer[K, V]) fetch() error {
	clear(b.some)
	b.some = b.some[:0]
	it := b.store.Scan(state.Range{Lo: []byte{0}, Hi: bytes.Repeat([]byte{0xff}, 8)})
	for len(b.some) < evictions && it.Next() {
		kv := append(bytes.Clone(it.Key()), it.Value()...)
		n := len(it.Key())
		b.some = append(b.some, held{kv[:n:n], kv[n:]})
	}
	return it.Close()
}

// out removes an entry and passes its change on.
func (b *buffer[K, V]) out(h held) error {
	rec, err := b.decode(h.value)
	if err == nil {
		rec.Key, err = b.keys.Decode(h.key[8:])
	}
	if err != nil {
		return &connect.Error{
			Code: "streams.state.unreadable", Class: connect.ClassFatal, Place: b.rows.Name(),
			Message: "a row that waits cannot be read back", Cause: err,
		}
	}
	if err := b.store.Delete(h.key); err != nil {
		return err
	}
	b.count--
	b.bytes -= int64(len(h.key) + len(h.value))
	if b.how.at == nil {
		binary.BigEndian.PutUint64(h.key, noTime)
		if err := b.store.Delete(h.key); err != nil {
			return err
		}
	}
	if b.how.final && !rec.Value.HasNew {
		return nil
	}
	b.rec = rec
	return b.rows.Forward(&b.rec)
}

func (b *buffer[K, V]) unwritable(part string, cause error) error {
	return &connect.Error{Code: "streams.unwritable", Class: connect.ClassRecord, Place: b.rows.Name(), Message: "the " + part + " cannot be written", Cause: cause}
}

// The entry of a change has a byte for what it has, the time of its record, the length
// and bytes of the old row and of the new one, and the record's headers.
const (
	entryOld = 1 << iota
	entryNew
)

func (b *buffer[K, V]) encode(dst []byte, r *streams.Record[K, streams.Change[V]], c *streams.Change[V]) ([]byte, error) {
	form := byte(0)
	if c.HasOld {
		form |= entryOld
	}
	if c.HasNew {
		form |= entryNew
	}
	dst = binary.BigEndian.AppendUint64(append(dst, form), uint64(r.Time))
	row := func(has bool, v V) (err error) {
		if !has {
			return nil
		}
		if b.enc, err = b.values.Append(b.enc[:0], v); err != nil {
			return b.unwritable("value", err)
		}
		dst = append(binary.AppendUvarint(dst, uint64(len(b.enc))), b.enc...)
		return nil
	}
	if err := errors.Join(row(c.HasOld, c.Old), row(c.HasNew, c.New)); err != nil {
		return nil, err
	}
	for _, h := range r.Headers {
		dst = append(binary.AppendUvarint(dst, uint64(len(h.Key))), h.Key...)
		dst = append(binary.AppendUvarint(dst, uint64(len(h.Value))), h.Value...)
	}
	return dst, nil
}

// decode reads an entry; the key of its record is not in it.
func (b *buffer[K, V]) decode(e []byte) (rec streams.Record[K, streams.Change[V]], err error) {
	if len(e) < 9 {
		return rec, errEntry
	}
	form, rest := e[0], e[9:]
	rec.Time = int64(binary.BigEndian.Uint64(e[1:]))
	part := func() (p []byte) {
		n, size := binary.Uvarint(rest)
		if size <= 0 || n > uint64(len(rest)-size) {
			err = errEntry
			rest = nil
			return nil
		}
		p, rest = rest[size:size+int(n)], rest[size+int(n):]
		return p
	}
	row := func(bit byte) (v V, has bool) {
		if form&bit == 0 || err != nil {
			return v, false
		}
		if p := part(); err == nil {
			v, err = b.values.Decode(p)
		}
		return v, true
	}
	rec.Value.Old, rec.Value.HasOld = row(entryOld)
	rec.Value.New, rec.Value.HasNew = row(entryNew)
	for len(rest) > 0 {
		name := string(part())
		rec.Headers = append(rec.Headers, streams.Header{Key: name, Value: bytes.Clone(part())})
	}
	return rec, err
}
