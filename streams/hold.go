package streams

import (
	"fmt"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams/state"
)

// holder keeps records back in transaction mode.
type holder interface {
	release() error
	forget()
}

// hold keeps records from an operator that looks up rows of tables, until these are as of
// the records' transaction. Those that are too many for memory go to the stage.
type hold[K, V any] struct {
	t       *task
	to      receiver[K, V]
	records []Record[K, V]
	bytes   int64
	stage   *state.Stage // nil where there is none, or nothing to write records with
	codec   heldCodec[K, V]
	node    string
	pile    uint16
	piled   int
	buf     []byte // scratch
	rec     Record[K, V]
}

// heldCodec writes records that are held.
type heldCodec[K, V any] interface {
	// AppendHeld appends r to dst.
	AppendHeld(dst []byte, r *Record[K, V]) ([]byte, error)
	// ReadHeld sets r to what AppendHeld has written.
	ReadHeld(b []byte, r *Record[K, V]) error
}

// Held says how records are written that wait for the operator in transaction mode, where
// it looks up rows of tables as of the records' transaction: when there are too many for
// memory, they go to the disk. codec has the methods AppendHeld(dst []byte, r *Record[K,
// V]) ([]byte, error) and ReadHeld(b []byte, r *Record[K, V]) error, for the records that
// the operator takes. It is called when the operator begins.
func (c *Context[K, V]) Held(codec any) { c.t.codec = codec }

// held returns what takes in the records of n: to, or what holds them back for it.
func held[K, V any](t *task, n *node, to receiver[K, V]) receiver[K, V] {
	codec, _ := t.codec.(heldCodec[K, V])
	t.codec = nil
	if t.env.epochs == nil || !n.looksUp() {
		return to
	}
	h := &hold[K, V]{t: t, to: guarded(t, n, to), codec: codec, node: n.name}
	if codec != nil {
		h.stage, h.pile = t.env.stage, t.env.epochs.newPile()
	}
	if t.holds == nil {
		t.holds = map[*node]holder{}
	}
	t.holds[n] = h
	return h
}

// looksUp tells whether the operator reads a store that another one owns, and that may
// not be as of the transaction yet when a record comes. The one before it has all of its
// rows when it passes them on.
func (n *node) looksUp() bool {
	for _, s := range n.stores {
		if s.owner != n && !(len(n.parents) == 1 && n.parents[0] == s.owner && s.cached) {
			return true
		}
	}
	return false
}

const (
	// heldOverhead is about what holding a record costs apart from its bytes, of which
	// there is more once they are read.
	heldOverhead = 256
	// heldLeast is how many bytes one operator may hold in memory whatever others do.
	heldLeast = 64 << 10
)

func (h *hold[K, V]) receive(r *Record[K, V]) error {
	if h.piled > 0 {
		return h.put(r)
	}
	h.records = append(h.records, *r)
	n := int64(2*h.t.weight + heldOverhead)
	h.bytes += n
	if h.stage == nil {
		return h.bounded()
	}
	if h.stage.Use(n) && h.bytes > heldLeast {
		return h.move()
	}
	return nil
}

// bounded refuses a transaction that has too much to be held in memory, of which nothing
// can go to the disk.
func (h *hold[K, V]) bounded() error {
	limit := h.t.env.epochs.source.Limit()
	if h.bytes <= limit {
		return nil
	}
	mend := "give the engine a directory, or raise MaxBytes of the transactions' Source"
	if h.t.env.stage != nil {
		mend = "raise MaxBytes of the transactions' Source, or give join.StreamTable the Serde of the stream's values, with which they go to the disk; those that wait for a global table do not"
	}
	return &connect.Error{
		Code: "streams.transaction.size", Class: connect.ClassFatal, Place: "operator " + h.node + ", the transaction at " + h.t.env.epochs.at.String(),
		Message: fmt.Sprintf("%d bytes of records wait in memory for rows of tables, more than the %d that may", h.bytes, limit), Mend: mend,
	}
}

// move brings the records that are held to the disk, where later ones follow.
func (h *hold[K, V]) move() error {
	for i := range h.records {
		if err := h.put(&h.records[i]); err != nil {
			return err
		}
	}
	h.empty()
	return nil
}

func (h *hold[K, V]) put(r *Record[K, V]) (err error) {
	if h.buf, err = h.codec.AppendHeld(h.buf[:0], r); err != nil {
		return err
	}
	h.piled++
	return ofState(h.stage.Pile(h.pile, h.buf))
}

func (h *hold[K, V]) release() error {
	for i := range h.records {
		if err := h.pass(&h.records[i]); err != nil {
			return err
		}
	}
	if h.piled > 0 {
		err := h.stage.Unpile(h.pile, func(b []byte) error {
			h.rec = Record[K, V]{}
			if err := h.codec.ReadHeld(b, &h.rec); err != nil {
				return err
			}
			h.t.weight = len(b)
			return h.pass(&h.rec)
		})
		if err != nil {
			return ofState(err)
		}
	}
	h.forget()
	return nil
}

func (h *hold[K, V]) pass(r *Record[K, V]) error {
	if err := h.to.receive(r); err != nil {
		return h.t.caught(h.to, err)
	}
	return nil
}

func (h *hold[K, V]) forget() {
	h.empty()
	h.piled = 0
}

// empty forgets what is in memory.
func (h *hold[K, V]) empty() {
	clear(h.records)
	h.records = h.records[:0]
	if h.stage != nil {
		h.stage.Use(-h.bytes)
	}
	h.bytes = 0
}
