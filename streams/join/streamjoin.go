package join

import (
	"encoding/binary"
	"errors"
	"math"

	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/serde"
	"github.com/tidemill/tidemill/streams/state"
)

// flank is one side of a join of streams in one task.
type flank struct {
	right         bool
	before, after int64 // where the partners of its records lie, in milliseconds
	reach         int64 // how long after its time a record can be joined
	alone         bool  // records without partner have a result
	windows       *state.Windows
}

func (f *flank) open(store func(string) (state.Store, error), spec state.Spec) error {
	s, err := store(spec.Name)
	f.windows = state.NewWindows(s, spec)
	return err
}

// streamJoin is the operator of Streams in one task.
type streamJoin[K, V, W, R any] struct {
	*windowed[K, V, W, R]
	c           *streams.Context[K, R]
	key         serde.Serde[K]
	lefts       serde.Serde[V]
	rights      serde.Serde[W]
	left, right flank
	lonely      lonely // has a store in left and outer joins

	time int64 // the latest of both sides
	// next is the number of the next record: those of one key and one moment are told
	// apart by it.
	next uint32
	// inEpochs says that it is in transaction mode, where time is that of the transactions
	// before, and first is the number of the first record of the transaction.
	inEpochs bool
	first    uint32

	in                    *streams.Record[K, fact[V, W]] // the record being joined
	met                   bool                           // it has had a partner
	visitLeft, visitRight func(state.Window) error
	out                   streams.Record[K, R]
	kbuf, vbuf            []byte // scratch
}

var errNote = errors.New("the note of a join of streams has 20 bytes")

// recall sets the memory to what it was at the last commit.
func (n *streamJoin[K, V, W, R]) recall(note []byte) error {
	if note == nil {
		n.time, n.next, n.first, n.lonely.oldest = -1, 0, 0, math.MaxInt64
		return nil
	}
	if len(note) != 20 {
		return errNote
	}
	n.time, n.next = int64(binary.BigEndian.Uint64(note)), binary.BigEndian.Uint32(note[8:])
	n.first, n.lonely.oldest = n.next, int64(binary.BigEndian.Uint64(note[12:]))
	return nil
}

func (n *streamJoin[K, V, W, R]) save(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(dst, uint64(n.time)), n.next)
	return binary.BigEndian.AppendUint64(dst, uint64(n.lonely.oldest))
}

// closed tells whether the window of a record of a side has closed.
func (n *streamJoin[K, V, W, R]) closed(f *flank, ms int64) bool { return ms+f.reach < n.time }

// late tells whether a record of a side comes too late to be kept. In transaction mode it
// is kept as long as a partner of the same transaction may not be late: which of them comes
// first must not matter.
func (n *streamJoin[K, V, W, R]) late(this, other *flank, ms int64) bool {
	if !n.closed(this, ms) || n.self && !n.closed(other, ms) {
		return false
	}
	return !n.inEpochs || n.closed(other, ms+this.after)
}

// parted tells whether the record does not meet one of the other side any more.
func (n *streamJoin[K, V, W, R]) parted(this, other *flank, w state.Window) bool {
	if !n.closed(other, w.Start) {
		return false
	}
	together := n.inEpochs && w.Seq-n.first < n.next-n.first
	return !together || n.closed(this, n.in.Time)
}

func (n *streamJoin[K, V, W, R]) take(r *streams.Record[K, fact[V, W]]) (err error) {
	n.time = max(n.time, r.Time)
	if n.inEpochs {
		n.time, _, _ = n.c.EpochTime()
	}
	if r.NoValue || r.NoKey && !n.side(r.Value.isRight).alone {
		n.c.Drop()
		return nil
	}
	if r.NoKey {
		return n.solo(r)
	}
	if n.kbuf, err = n.key.Append(n.kbuf[:0], r.Key); err != nil {
		return err
	}
	if n.lonely.store != nil && r.Time == n.time && !n.inEpochs {
		if err := n.sendDue(r.Headers); err != nil {
			return err
		}
	}
	n.in = r
	if r.Value.isLeft {
		if n.vbuf, err = n.lefts.Append(n.vbuf[:0], r.Value.left); err == nil {
			err = n.join(&n.left, &n.right, n.visitRight)
		}
	}
	if err == nil && r.Value.isRight {
		if !n.self {
			n.vbuf, err = n.rights.Append(n.vbuf[:0], r.Value.right)
		}
		if err == nil {
			err = n.join(&n.right, &n.left, n.visitLeft)
		}
	}
	n.in = nil
	return err
}

func (n *streamJoin[K, V, W, R]) side(right bool) *flank {
	if right {
		return &n.right
	}
	return &n.left
}

// join looks for the partners of the record on the other side and keeps it for those
// that come later.
func (n *streamJoin[K, V, W, R]) join(this, other *flank, visit func(state.Window) error) error {
	r := n.in
	n.met = false
	if to := r.Time + this.after; to >= 0 {
		if err := other.windows.Fetch(n.kbuf, max(r.Time-this.before, 0), to, visit); err != nil {
			return err
		}
	}
	switch {
	case n.self && this.right:
		return nil // It is kept already.
	case !n.late(this, other, r.Time):
		return n.keep(this)
	case n.met:
		return nil
	case this.alone:
		return n.solo(r)
	}
	n.c.Drop()
	return nil
}

// keep stores the record, which kbuf and vbuf have, for those that come later.
func (n *streamJoin[K, V, W, R]) keep(this *flank) error {
	ms, number := n.in.Time, n.next
	n.next++
	err := this.windows.Put(n.kbuf, ms, number, n.vbuf)
	if err != nil || n.met || !this.alone {
		return err
	}
	return n.lonely.put(this.right, ms, n.kbuf, number, n.vbuf)
}

// meetRight joins the record with one of the right side.
func (n *streamJoin[K, V, W, R]) meetRight(w state.Window) (err error) {
	if n.parted(&n.left, &n.right, w) {
		return nil
	}
	p := Pair[V, W]{Left: n.in.Value.left, HasLeft: true, HasRight: true}
	if p.Right, err = n.rights.Decode(w.Value); err != nil {
		return err
	}
	return n.pair(&n.right, w, &p)
}

// meetLeft joins the record with one of the left side.
func (n *streamJoin[K, V, W, R]) meetLeft(w state.Window) (err error) {
	if n.parted(&n.right, &n.left, w) {
		return nil
	}
	p := Pair[V, W]{Right: n.in.Value.right, HasLeft: true, HasRight: true}
	if p.Left, err = n.lefts.Decode(w.Value); err != nil {
		return err
	}
	return n.pair(&n.left, w, &p)
}

// pair sends the result of two records, of which other is the one that was waiting.
func (n *streamJoin[K, V, W, R]) pair(other *flank, w state.Window, p *Pair[V, W]) error {
	n.met = true
	if other.alone {
		if err := n.lonely.remove(other.right, w.Start, n.kbuf, w.Seq); err != nil {
			return err
		}
	}
	r := n.in
	n.out = streams.Record[K, R]{Key: r.Key, Value: n.how.fn(r.Key, *p), Time: max(r.Time, w.Start), Headers: r.Headers}
	return n.c.Forward(&n.out)
}

// solo sends the result of a record alone.
func (n *streamJoin[K, V, W, R]) solo(r *streams.Record[K, fact[V, W]]) error {
	f := &r.Value
	n.out = streams.Record[K, R]{Key: r.Key, NoKey: r.NoKey, Time: r.Time, Headers: r.Headers}
	n.out.Value = n.how.fn(r.Key, Pair[V, W]{Left: f.left, HasLeft: f.isLeft, Right: f.right, HasRight: f.isRight})
	return n.c.Forward(&n.out)
}
