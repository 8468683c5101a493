package join

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/tidemill/tidemill/streams/serde"
)

// instruction tells the side of the foreign key what to do about a subscription.
// The numbers are those of Kafka Streams.
type instruction byte

const (
	// forget ends a subscription without an answer.
	forget instruction = iota
	// forgetAndTell ends it, and the answer is that there is no row.
	forgetAndTell
	// tell subscribes, and the answer is the row or that there is none.
	tell
	// tellIfThere subscribes, and there is only an answer when there is a row. It is
	// understood, and not sent.
	tellIfThere
)

// subscription is what a row of the left table tells the partition of its foreign
// key: that it wants to hear about that key's row, or no longer.
//
// On the topic, as in the second version of Kafka Streams' format, it is one byte,
// of which the highest bit says that there is no hash and the others are the
// version; the instruction; the hash; the primary key; and 4 bytes of the partition
// that the answer goes to.
type subscription[K any] struct {
	// hash is that of the row, by which its answer is known; a deleted row has
	// none.
	hash      hash
	hasHash   bool
	do        instruction
	partition int32
	// key is the row's key on the way out; on the way in it stays bytes.
	key K
	raw []byte
}

const (
	noHash       = 0x80
	emptyAnswer  = 0x40
	formatFirst  = 0
	formatSecond = 1
)

var errSubscription = errors.New("the bytes are no subscription of a foreign-key join")

// appendHash appends the head of a format and the hash.
func appendHash(dst []byte, head byte, do []byte, h hash, has bool) []byte {
	if !has {
		return append(append(dst, head|noHash), do...)
	}
	dst = append(append(dst, head), do...)
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(dst, h[0]), h[1])
}

// cutHash takes the hash off, when head says that there is one.
func cutHash(head byte, b []byte) (h hash, has bool, rest []byte, ok bool) {
	if head&noHash != 0 {
		return h, false, b, true
	}
	if len(b) < 16 {
		return h, false, nil, false
	}
	h = hash{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])}
	return h, true, b[16:], true
}

// subscriptions is the Serde of subscription.
type subscriptions[K any] struct{ key serde.Serde[K] }

// Bind implements serde.Binder.
func (s subscriptions[K]) Bind(topic string, _ bool) serde.Serde[subscription[K]] {
	return subscriptions[K]{serde.Bind(s.key, topic, true)}
}

// Append implements serde.Serde.
func (s subscriptions[K]) Append(dst []byte, sub subscription[K]) ([]byte, error) {
	dst = sub.appendHead(dst)
	dst, err := s.key.Append(dst, sub.key)
	return binary.BigEndian.AppendUint32(dst, uint32(sub.partition)), err
}

// appendHead appends what comes before the key.
func (s *subscription[K]) appendHead(dst []byte) []byte {
	return appendHash(dst, formatSecond, []byte{byte(s.do)}, s.hash, s.hasHash)
}

// appendRaw appends a subscription that came in, as it came.
func (s *subscription[K]) appendRaw(dst []byte) []byte {
	return binary.BigEndian.AppendUint32(append(s.appendHead(dst), s.raw...), uint32(s.partition))
}

// Decode implements serde.Serde. The key stays bytes: who subscribes is only told to
// itself.
func (s subscriptions[K]) Decode(b []byte) (sub subscription[K], err error) {
	err = sub.read(b)
	sub.raw = append([]byte{}, sub.raw...)
	return sub, err
}

// read sets s to what the bytes say; the key points into them.
func (s *subscription[K]) read(b []byte) error {
	if len(b) < 2 || b[0]&^noHash > formatSecond || instruction(b[1]) > tellIfThere {
		return errSubscription
	}
	version, ok := b[0]&^noHash, false
	s.do, s.partition = instruction(b[1]), -1
	if s.hash, s.hasHash, b, ok = cutHash(b[0], b[2:]); !ok {
		return errSubscription
	}
	if version > formatFirst {
		if len(b) < 4 {
			return errSubscription
		}
		s.partition = int32(binary.BigEndian.Uint32(b[len(b)-4:]))
		b = b[:len(b)-4]
	}
	s.raw = b
	return nil
}

// answer is what a subscriber is told: the row of its foreign key, or that there is
// none, and for which of its own rows that was asked.
//
// On the topic, as in Kafka Streams, it is one byte, of which the highest bit says
// that there is no hash; the hash; and the row. Kafka Streams cannot tell a row of
// no bytes from no row. Here one more bit of the first byte marks it.
type answer[W any] struct {
	hash    hash
	hasHash bool
	row     W
	hasRow  bool
	// partition is where the subscriber is, -1 when that is not known. It is not
	// written.
	partition int32
}

// answers is the Serde of answer.
type answers[W any] struct{ row serde.Serde[W] }

// Bind implements serde.Binder.
func (s answers[W]) Bind(topic string, _ bool) serde.Serde[answer[W]] {
	return answers[W]{serde.Bind(s.row, topic, false)}
}

// Append implements serde.Serde.
func (s answers[W]) Append(dst []byte, a answer[W]) (_ []byte, err error) {
	head := len(dst)
	dst = appendHash(dst, formatFirst, nil, a.hash, a.hasHash)
	if !a.hasRow {
		return dst, nil
	}
	body := len(dst)
	if dst, err = s.row.Append(dst, a.row); err == nil && len(dst) == body {
		dst[head] |= emptyAnswer
	}
	return dst, err
}

// Decode implements serde.Serde.
func (s answers[W]) Decode(b []byte) (a answer[W], err error) {
	if len(b) == 0 || b[0]&^(noHash|emptyAnswer) != formatFirst {
		return a, fmt.Errorf("%w: it begins like no answer", errSubscription)
	}
	head, ok := b[0], false
	if a.hash, a.hasHash, b, ok = cutHash(head, b[1:]); !ok {
		return a, errSubscription
	}
	a.partition = -1
	if a.hasRow = len(b) > 0 || head&emptyAnswer != 0; a.hasRow {
		a.row, err = s.row.Decode(b)
	}
	return a, err
}

// appendForeign appends the beginning of the keys of a foreign key's subscriptions in
// their store: 4 bytes of length and the key, after which come the primary keys, as
// in Kafka Streams.
func appendForeign(dst, key []byte) []byte {
	return append(binary.BigEndian.AppendUint32(dst, uint32(len(key))), key...)
}
