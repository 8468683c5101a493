package join

import (
	"encoding/binary"
	"errors"

	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/serde"
)

// waiting writes records that wait in transaction mode, for the time of a commit: a byte
// of marks, the time (8 bytes), the number of headers and the headers, the key and the
// value. What is not the last has its length before it, as a varint.
type waiting[K, V any] struct {
	key   serde.Serde[K]
	value serde.Serde[V]
	buf   []byte // scratch
}

const (
	waitingNoKey   = 1
	waitingNoValue = 2
)

var errHeld = errors.New("the bytes are no record that waits for a join")

// AppendHeld appends r to dst.
func (w *waiting[K, V]) AppendHeld(dst []byte, r *streams.Record[K, V]) (_ []byte, err error) {
	marks := byte(0)
	if r.NoKey {
		marks |= waitingNoKey
	}
	if r.NoValue {
		marks |= waitingNoValue
	}
	dst = binary.BigEndian.AppendUint64(append(dst, marks), uint64(r.Time))
	dst = binary.AppendUvarint(dst, uint64(len(r.Headers)))
	for _, h := range r.Headers {
		dst = appendPiece(appendPiece(dst, []byte(h.Key)), h.Value)
	}
	if !r.NoKey {
		if w.buf, err = w.key.Append(w.buf[:0], r.Key); err != nil {
			return dst, err
		}
		dst = appendPiece(dst, w.buf)
	}
	if r.NoValue {
		return dst, nil
	}
	return w.value.Append(dst, r.Value)
}

func appendPiece(dst, b []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
}

// cutPiece takes a piece off b.
func cutPiece(b []byte) (piece, rest []byte, ok bool) {
	n, head := binary.Uvarint(b)
	if head <= 0 || n > uint64(len(b)-head) {
		return nil, nil, false
	}
	end := head + int(n)
	return b[head:end:end], b[end:], true
}

// ReadHeld sets r to what AppendHeld has written.
func (w *waiting[K, V]) ReadHeld(b []byte, r *streams.Record[K, V]) (err error) {
	if len(b) < 9 {
		return errHeld
	}
	r.NoKey, r.NoValue, r.Time = b[0]&waitingNoKey != 0, b[0]&waitingNoValue != 0, int64(binary.BigEndian.Uint64(b[1:]))
	n, head := binary.Uvarint(b[9:])
	if head <= 0 {
		return errHeld
	}
	b = b[9+head:]
	for range n {
		key, value, rest, ok := cutHeader(b)
		if !ok {
			return errHeld
		}
		// A producer keeps headers for longer than this call.
		r.Headers, b = append(r.Headers, streams.Header{Key: string(key), Value: append([]byte{}, value...)}), rest
	}
	if !r.NoKey {
		key, rest, ok := cutPiece(b)
		if !ok {
			return errHeld
		}
		if r.Key, err = w.key.Decode(key); err != nil {
			return err
		}
		b = rest
	}
	if !r.NoValue {
		r.Value, err = w.value.Decode(b)
	}
	return err
}

func cutHeader(b []byte) (key, value, rest []byte, ok bool) {
	if key, rest, ok = cutPiece(b); ok {
		value, rest, ok = cutPiece(rest)
	}
	return key, value, rest, ok
}

// updates is the Serde of the sides of a join of tables: a byte of marks and the row.
type updates[V, W any] struct {
	left  serde.Serde[V]
	right serde.Serde[W]
}

const (
	updateRight = 1
	updatePast  = 2
	updateRow   = 4
)

// Append implements serde.Serde.
func (s updates[V, W]) Append(dst []byte, u update[V, W]) ([]byte, error) {
	marks := byte(0)
	if u.right {
		marks |= updateRight
	}
	if u.past {
		marks |= updatePast
	}
	switch {
	case u.pair.HasLeft:
		return s.left.Append(append(dst, marks|updateRow), u.pair.Left)
	case u.pair.HasRight:
		return s.right.Append(append(dst, marks|updateRow), u.pair.Right)
	}
	return append(dst, marks), nil
}

// Decode implements serde.Serde.
func (s updates[V, W]) Decode(b []byte) (u update[V, W], err error) {
	if len(b) == 0 {
		return u, errHeld
	}
	u.right, u.past = b[0]&updateRight != 0, b[0]&updatePast != 0
	switch has := b[0]&updateRow != 0; {
	case has && u.right:
		u.pair.HasRight = true
		u.pair.Right, err = s.right.Decode(b[1:])
	case has:
		u.pair.HasLeft = true
		u.pair.Left, err = s.left.Decode(b[1:])
	}
	return u, err
}

// arrivals is the Serde of what meets at the side of a foreign key: a byte of marks, and
// the subscription or the change, the old row with its length before it.
type arrivals[K, W any] struct{ row serde.Serde[W] }

const (
	arrivalAsks = 1
	arrivalOld  = 2
	arrivalNew  = 4
	arrivalPast = 8
)

// Append implements serde.Serde.
func (s arrivals[K, W]) Append(dst []byte, a arrival[K, W]) (_ []byte, err error) {
	if a.asks {
		return a.sub.appendRaw(append(dst, arrivalAsks)), nil
	}
	marks, old := byte(0), []byte(nil)
	if a.change.Past {
		marks |= arrivalPast
	}
	if a.change.HasOld {
		marks |= arrivalOld
		if old, err = s.row.Append(nil, a.change.Old); err != nil {
			return dst, err
		}
	}
	if a.change.HasNew {
		marks |= arrivalNew
	}
	if dst = append(dst, marks); a.change.HasOld {
		dst = appendPiece(dst, old)
	}
	if !a.change.HasNew {
		return dst, nil
	}
	return s.row.Append(dst, a.change.New)
}

// Decode implements serde.Serde.
func (s arrivals[K, W]) Decode(b []byte) (a arrival[K, W], err error) {
	if len(b) == 0 {
		return a, errHeld
	}
	marks, b := b[0], b[1:]
	if a.asks = marks&arrivalAsks != 0; a.asks {
		return a, a.sub.read(b)
	}
	c := &a.change
	c.HasOld, c.HasNew, c.Past = marks&arrivalOld != 0, marks&arrivalNew != 0, marks&arrivalPast != 0
	if c.HasOld {
		old, rest, ok := cutPiece(b)
		if !ok {
			return a, errHeld
		}
		if c.Old, err = s.row.Decode(old); err != nil {
			return a, err
		}
		b = rest
	}
	if c.HasNew {
		c.New, err = s.row.Decode(b)
	}
	return a, err
}
