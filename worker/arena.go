package worker

// arena is where the bytes of records are put one behind the other. Memory is taken
// in chunks, which live as long as one of their records does; nothing that was put
// is ever moved.
type arena struct{ chunk []byte }

const (
	arenaChunk = 64 << 10
	arenaLow   = 1 << 10 // With less room than this a new chunk is begun.
)

// tail returns an empty slice, never nil, with the room that is left.
func (a *arena) tail() []byte {
	if cap(a.chunk)-len(a.chunk) < arenaLow {
		a.chunk = make([]byte, 0, arenaChunk)
	}
	return a.chunk[len(a.chunk):]
}

// keep takes what was appended to the tail. Appended bytes that found no room there
// have memory of their own, and the chunk stays as it is.
func (a *arena) keep(data []byte) []byte {
	if data == nil {
		return nil
	}
	if len(data) <= cap(a.chunk)-len(a.chunk) {
		a.chunk = a.chunk[:len(a.chunk)+len(data)]
	}
	return data[:len(data):len(data)]
}
