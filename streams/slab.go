package streams

import "github.com/twmb/franz-go/pkg/kgo"

// slab hands out memory for outgoing records in large pieces. A producer holds
// records until they are acknowledged, so scratch cannot be used for them; a
// slab is left to the garbage collector when all cut from it are gone.
type slab struct {
	bytes   []byte
	records []kgo.Record
}

const (
	slabBytes   = 64 << 10
	slabRecords = 256
)

// copy returns a copy of b, never nil, that is not written to again.
func (s *slab) copy(b []byte) []byte {
	if len(b) > slabBytes/4 {
		return append([]byte{}, b...)
	}
	// Empty is not null: even nothing is cut from a slab.
	if s.bytes == nil || cap(s.bytes)-len(s.bytes) < len(b) {
		s.bytes = make([]byte, 0, slabBytes)
	}
	start := len(s.bytes)
	s.bytes = append(s.bytes, b...)
	return s.bytes[start:len(s.bytes):len(s.bytes)]
}

// record returns a fresh record.
func (s *slab) record() *kgo.Record {
	if len(s.records) == 0 {
		s.records = make([]kgo.Record, slabRecords)
	}
	r := &s.records[0]
	s.records = s.records[1:]
	return r
}
