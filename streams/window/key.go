package window

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/tidemill/tidemill/streams/serde"
	"github.com/tidemill/tidemill/streams/state"
)

// Windowed is the key of a row that is about a window of a key's records. Start and End
// are in milliseconds since the epoch. The end of a tumbling or hopping window does not
// belong to it, that of any other does.
type Windowed[K any] struct {
	Key        K
	Start, End int64
}

// storeKeys writes the keys of a store of windows, as Kafka Streams' stores have them.
type storeKeys[K any] struct {
	inner serde.Serde[K]
	w     Windows
}

// Bind implements serde.Binder.
func (s storeKeys[K]) Bind(topic string, key bool) serde.Serde[Windowed[K]] {
	return storeKeys[K]{inner: serde.Bind(s.inner, topic, key), w: s.w}
}

// StoreLayout says how windows are kept.
func (s storeKeys[K]) StoreLayout() state.Spec { return s.w.layout() }

// InnerKeys is the Serde of the keys that the windows are of.
func (s storeKeys[K]) InnerKeys() any { return s.inner }

// Append implements Serde.
func (s storeKeys[K]) Append(dst []byte, k Windowed[K]) ([]byte, error) {
	dst, err := s.inner.Append(dst, k.Key)
	if err != nil {
		return nil, err
	}
	if s.w.kind == session {
		return state.AppendSessionKey(dst, nil, k.Start, k.End), nil
	}
	return state.AppendWindowKey(dst, nil, k.Start, 0), nil
}

// Decode implements Serde.
func (s storeKeys[K]) Decode(b []byte) (k Windowed[K], err error) {
	var inner []byte
	var ok bool
	if s.w.kind == session {
		inner, k.Start, k.End, ok = state.SplitSessionKey(b)
	} else {
		inner, k.Start, _, ok = state.SplitWindowKey(b)
		k.End = s.w.end(k.Start)
	}
	if !ok {
		return k, fmt.Errorf("%d bytes are too few for the key of a window", len(b))
	}
	k.Key, err = s.inner.Decode(inner)
	return k, err
}

// TimeKeys is the Serde of windowed keys in topics, for windows of a size: the key's own
// bytes and 8 bytes of the window's start, as Kafka Streams' TimeWindowedSerializer
// writes them. The size is what End is told from; for sliding windows it is their
// difference.
func TimeKeys[K any](inner serde.Serde[K], size time.Duration) serde.Serde[Windowed[K]] {
	return timeKeys[K]{inner, size.Milliseconds()}
}

type timeKeys[K any] struct {
	inner serde.Serde[K]
	size  int64
}

// Bind implements serde.Binder.
func (s timeKeys[K]) Bind(topic string, key bool) serde.Serde[Windowed[K]] {
	return timeKeys[K]{serde.Bind(s.inner, topic, key), s.size}
}

// Append implements Serde.
func (s timeKeys[K]) Append(dst []byte, k Windowed[K]) ([]byte, error) {
	dst, err := s.inner.Append(dst, k.Key)
	if err != nil {
		return nil, err
	}
	return binary.BigEndian.AppendUint64(dst, uint64(k.Start)), nil
}

// Decode implements Serde.
func (s timeKeys[K]) Decode(b []byte) (k Windowed[K], err error) {
	n := len(b) - 8
	if n < 0 {
		return k, fmt.Errorf("%d bytes are too few for the key of a window", len(b))
	}
	k.Start = int64(binary.BigEndian.Uint64(b[n:]))
	k.End = Windows{size: s.size}.end(k.Start)
	k.Key, err = s.inner.Decode(b[:n])
	return k, err
}

// SessionKeys is the Serde of the keys of sessions in topics: the key's own bytes and 8
// bytes each of the session's end and start, as Kafka Streams' SessionWindowedSerializer
// writes them.
func SessionKeys[K any](inner serde.Serde[K]) serde.Serde[Windowed[K]] {
	return sessionKeys[K]{storeKeys[K]{inner: inner, w: Windows{kind: session}}}
}

// sessionKeys are storeKeys that say nothing of a store.
type sessionKeys[K any] struct{ keys storeKeys[K] }

// Bind implements serde.Binder.
func (s sessionKeys[K]) Bind(topic string, key bool) serde.Serde[Windowed[K]] {
	return sessionKeys[K]{storeKeys[K]{inner: serde.Bind(s.keys.inner, topic, key), w: s.keys.w}}
}

// Append implements Serde.
func (s sessionKeys[K]) Append(dst []byte, k Windowed[K]) ([]byte, error) {
	return s.keys.Append(dst, k)
}

// Decode implements Serde.
func (s sessionKeys[K]) Decode(b []byte) (Windowed[K], error) { return s.keys.Decode(b) }
