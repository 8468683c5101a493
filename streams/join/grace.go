package join

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/serde"
	"github.com/tidemill/tidemill/streams/state"
)

// graced is the operator of StreamTable with a grace period (KIP-923): records of the
// stream wait until the stream has come by the grace further than their time.
//
// What waits lies in the order in which it leaves: under 8 bytes of time, the record's
// key, and 4 bytes of a number that tells records apart that have both in common.
type graced[K, V, W, R any] struct {
	streamTable[K, V, W, R]
	grace  int64
	store  state.Store
	keys   serde.Serde[K]
	values serde.Serde[V]

	observed int64 // the latest time of a record that has waited
	oldest   int64 // no record that waits is older
	next     uint32

	key, value []byte // scratch
	due        []entry
	bytes      []byte // of what is due
	in         streams.Record[K, V]
}

// entry is where a record that waits lies among the bytes of what is due.
type entry struct{ key, value, end int }

const (
	waitingTime   = 8
	waitingNumber = 4
	// waitingBatch is how many records are taken out of the store in one walk.
	waitingBatch = 256
)

var errWaiting = errors.New("the bytes are no record that waits for a join")

// open declares what the operator keeps.
func (n *graced[K, V, W, R]) open(store string, key serde.Serde[K], value serde.Serde[V]) (err error) {
	topic := n.c.Changelog(store)
	n.keys, n.values = serde.Bind(key, topic, true), serde.Bind(value, topic, false)
	if n.store, err = n.c.Store(store); err != nil {
		return err
	}
	return n.c.Remember(n.recall, n.save)
}

func (n *graced[K, V, W, R]) recall(note []byte) error {
	n.observed, n.oldest, n.next = -1, math.MaxInt64, 0
	switch len(note) {
	case 0:
	case 20:
		n.observed = int64(binary.BigEndian.Uint64(note))
		n.oldest = int64(binary.BigEndian.Uint64(note[8:]))
		n.next = binary.BigEndian.Uint32(note[16:])
	default:
		return fmt.Errorf("the note of a join with grace has %d bytes", len(note))
	}
	return nil
}

func (n *graced[K, V, W, R]) save(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(n.observed))
	dst = binary.BigEndian.AppendUint64(dst, uint64(n.oldest))
	return binary.BigEndian.AppendUint32(dst, n.next)
}

func (n *graced[K, V, W, R]) take(r *streams.Record[K, V]) error {
	switch {
	case r.NoValue || r.NoKey && !n.how.left:
		n.c.Drop()
		return nil
	case r.NoKey || r.Time < n.observed-n.grace:
		// It has no row to wait for, or has none any more.
		return n.join(r)
	}
	if err := n.wait(r); err != nil {
		return err
	}
	n.observed = max(n.observed, r.Time)
	n.oldest = min(n.oldest, r.Time)
	return n.leave()
}

// wait puts a record into the store.
func (n *graced[K, V, W, R]) wait(r *streams.Record[K, V]) (err error) {
	n.key = binary.BigEndian.AppendUint64(n.key[:0], uint64(max(r.Time, 0)))
	if n.key, err = n.keys.Append(n.key, r.Key); err != nil {
		return n.unwritable("key", err)
	}
	n.key = binary.BigEndian.AppendUint32(n.key, n.next)
	n.next++
	// The value goes behind its length, which is known only then: headers follow.
	n.value = append(n.value[:0], make([]byte, binary.MaxVarintLen32)...)
	if n.value, err = n.values.Append(n.value, r.Value); err != nil {
		return n.unwritable("value", err)
	}
	head := n.value[:binary.MaxVarintLen32]
	size := len(n.value) - len(head)
	if size > math.MaxUint32 {
		return n.unwritable("value", errWaiting)
	}
	start := len(head) - sizeOf(uint64(size))
	binary.PutUvarint(head[start:], uint64(size))
	for _, h := range r.Headers {
		n.value = append(binary.AppendUvarint(n.value, uint64(len(h.Key))), h.Key...)
		n.value = append(binary.AppendUvarint(n.value, uint64(len(h.Value))), h.Value...)
	}
	return n.store.Put(n.key, n.value[start:])
}

// sizeOf is how many bytes a uvarint takes.
func sizeOf(x uint64) (n int) {
	for n = 1; x >= 0x80; n++ {
		x >>= 7
	}
	return n
}

func (n *graced[K, V, W, R]) unwritable(part string, cause error) error {
	return &connect.Error{Code: "streams.unwritable", Class: connect.ClassRecord, Place: n.c.Name(), Message: "the " + part + " of a record that has to wait cannot be written", Cause: cause}
}

// leave joins the records that have waited long enough, in the order of their times.
func (n *graced[K, V, W, R]) leave() error {
	for limit := n.observed - n.grace; n.oldest <= limit; {
		if err := n.fetch(limit); err != nil {
			return err
		}
		for _, e := range n.due {
			if err := n.out(n.bytes[e.key:e.value], n.bytes[e.value:e.end]); err != nil {
				return err
			}
		}
	}
	return nil
}

// fetch copies the oldest records that have waited until limit, and notes how old the one
// after them is.
func (n *graced[K, V, W, R]) fetch(limit int64) error {
	n.due, n.bytes, n.oldest = n.due[:0], n.bytes[:0], math.MaxInt64
	it := n.store.Scan(state.Range{Lo: firstTime})
	for it.Next() {
		if len(it.Key()) < waitingTime+waitingNumber {
			return errors.Join(n.unreadable(errWaiting), it.Close())
		}
		if ms := int64(binary.BigEndian.Uint64(it.Key())); ms > limit || len(n.due) == waitingBatch {
			n.oldest = ms
			break
		}
		e := entry{key: len(n.bytes)}
		n.bytes = append(n.bytes, it.Key()...)
		e.value = len(n.bytes)
		n.bytes = append(n.bytes, it.Value()...)
		e.end = len(n.bytes)
		n.due = append(n.due, e)
	}
	return it.Close()
}

// firstTime is before every time; the operator's note lies before it.
var firstTime = []byte{0}

// out takes a record from the store and joins it.
func (n *graced[K, V, W, R]) out(key, value []byte) (err error) {
	if err = n.store.Delete(key); err != nil {
		return err
	}
	n.in = streams.Record[K, V]{Time: int64(binary.BigEndian.Uint64(key))}
	if n.in.Key, err = n.keys.Decode(key[waitingTime : len(key)-waitingNumber]); err == nil {
		err = n.decode(value)
	}
	if err != nil {
		return n.unreadable(err)
	}
	return n.join(&n.in)
}

// decode reads the value and the headers of a record that waits.
func (n *graced[K, V, W, R]) decode(rest []byte) (err error) {
	part := func() (p []byte) {
		size, at := binary.Uvarint(rest)
		if at <= 0 || size > uint64(len(rest)-at) {
			err, rest = errWaiting, nil
			return nil
		}
		p, rest = rest[at:at+int(size):at+int(size)], rest[at+int(size):]
		return p
	}
	value := part()
	if err == nil {
		n.in.Value, err = n.values.Decode(value)
	}
	for err == nil && len(rest) > 0 {
		h := streams.Header{Key: string(part())}
		h.Value = append([]byte{}, part()...)
		n.in.Headers = append(n.in.Headers, h)
	}
	return err
}

func (n *graced[K, V, W, R]) unreadable(cause error) error {
	return &connect.Error{
		Code: "streams.state.unreadable", Class: connect.ClassFatal, Place: n.c.Name(),
		Message: "a record that waits cannot be read back", Cause: cause,
	}
}
