package join

import (
	"bytes"
	"encoding/binary"
	"math"
	"time"

	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/state"
)

// lonely keeps the records that have had no partner yet, in order of their time, until
// their windows close (KIP-633). The key of one is 8 bytes of its time, 1 for the left
// side or 0 for the right one, its key, and 4 bytes of its number in the side's store;
// Kafka Streams' has no number and keeps lists of values.
type lonely struct {
	store state.Store
	least int64 // the shortest time after which a window can be closed

	oldest int64     // no record is older; part of the operator's note
	again  time.Time // when to look next
	due    []leaver

	key, value []byte // scratch
}

// leaver is a record whose window has closed.
type leaver struct{ key, value []byte }

const (
	lonelyHead  = 9 // the bytes before the key
	lonelyTail  = 4 // and after it
	lonelyBatch = 256
	// lonelyPause is how long at least is between two looks for what is due. Looking
	// takes a walk over the store.
	lonelyPause = time.Second
)

func (l *lonely) place(right bool, ms int64, key []byte, number uint32) []byte {
	l.key = binary.BigEndian.AppendUint64(l.key[:0], uint64(ms))
	side := byte(1)
	if right {
		side = 0
	}
	l.key = append(append(l.key, side), key...)
	l.key = binary.BigEndian.AppendUint32(l.key, number)
	return l.key
}

func (l *lonely) put(right bool, ms int64, key []byte, number uint32, value []byte) error {
	l.oldest = min(l.oldest, ms)
	return l.store.Put(l.place(right, ms, key, number), value)
}

// remove is for a record that has found a partner, maybe not its first.
func (l *lonely) remove(right bool, ms int64, key []byte, number uint32) error {
	if ms < l.oldest {
		return nil
	}
	place := l.place(right, ms, key, number)
	value, there, err := l.store.Get(l.value[:0], place)
	l.value = value
	if err != nil || !there {
		return err
	}
	return l.store.Delete(place)
}

// leastReach is how long the window of a record that has a result alone is open at
// least.
func (n *streamJoin[K, V, W, R]) leastReach() int64 {
	least := int64(math.MaxInt64)
	for _, f := range []*flank{&n.left, &n.right} {
		if f.alone {
			least = min(least, f.reach)
		}
	}
	return least
}

// sendDue sends the results alone of records whose windows have closed, if it is time to
// look for some. Their headers are those of the record that moved time on.
func (n *streamJoin[K, V, W, R]) sendDue(headers []streams.Header) error {
	l, now := &n.lonely, n.c.Now()
	if !n.anyDue() || now.Before(l.again) {
		return nil
	}
	l.again = now.Add(lonelyPause)
	return n.sendAlone(headers)
}

// settle does so at the end of a transaction, which moves time on for those after it.
func (n *streamJoin[K, V, W, R]) settle() (err error) {
	if _, n.time, _ = n.c.EpochTime(); n.anyDue() {
		err = n.sendAlone(nil)
	}
	n.time, n.first = -1, n.next // Time is known to all operators together.
	return err
}

// anyDue tells whether the window of a record that is alone may have closed.
func (n *streamJoin[K, V, W, R]) anyDue() bool {
	return n.lonely.oldest != math.MaxInt64 && n.lonely.oldest+n.lonely.least < n.time
}

func (n *streamJoin[K, V, W, R]) sendAlone(headers []streams.Header) error {
	l := &n.lonely
	end := n.time - l.least // What is not older is not due.
	l.oldest = end
	span := state.Range{Lo: make([]byte, 8), Hi: binary.BigEndian.AppendUint64(nil, uint64(end))}
	for more := true; more; {
		var err error
		if more, err = n.collect(&span); err != nil {
			return err
		}
		for _, x := range l.due {
			if err := n.leave(headers, x); err != nil {
				return err
			}
		}
	}
	return nil
}

// collect finds the next records in span that are due, some at a time, and shortens
// span to what is left.
func (n *streamJoin[K, V, W, R]) collect(span *state.Range) (more bool, err error) {
	l := &n.lonely
	l.due = l.due[:0]
	it := l.store.Scan(*span)
	for len(l.due) < lonelyBatch && it.Next() {
		key := it.Key()
		if len(key) < lonelyHead+lonelyTail {
			continue
		}
		if ms := int64(binary.BigEndian.Uint64(key)); !n.closed(n.side(key[8] == 0), ms) {
			l.oldest = min(l.oldest, ms)
			continue
		}
		l.due = append(l.due, leaver{bytes.Clone(key), bytes.Clone(it.Value())})
	}
	more = len(l.due) == lonelyBatch
	if more {
		span.Lo = append(bytes.Clone(l.due[lonelyBatch-1].key), 0)
	}
	return more, it.Close()
}

// leave removes a record and sends its result.
func (n *streamJoin[K, V, W, R]) leave(headers []streams.Header, x leaver) (err error) {
	var p Pair[V, W]
	if x.key[8] == 0 {
		p.HasRight = true
		p.Right, err = n.rights.Decode(x.value)
	} else {
		p.HasLeft = true
		p.Left, err = n.lefts.Decode(x.value)
	}
	if err != nil {
		return err
	}
	n.out = streams.Record[K, R]{Time: int64(binary.BigEndian.Uint64(x.key)), Headers: headers}
	if n.out.Key, err = n.key.Decode(x.key[lonelyHead : len(x.key)-lonelyTail]); err != nil {
		return err
	}
	n.out.Value = n.how.fn(n.out.Key, p)
	if err := n.lonely.store.Delete(x.key); err != nil {
		return err
	}
	return n.c.Forward(&n.out)
}
