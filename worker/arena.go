package worker

// arena is where the bytes of records are put one behind the other. Memory is taken
// in chunks; nothing that was put is ever moved.
type arena struct {
	chunk []byte
	full  [][]byte // The chunks before it.
	spare [][]byte // Empty ones.
}

const (
	arenaChunk = 32 << 10
	arenaLow   = 1 << 10 // With less room than this a new chunk is begun.
)

// tail returns an empty slice, never nil, with the room that is left.
func (a *arena) tail() []byte {
	if cap(a.chunk)-len(a.chunk) < arenaLow {
		a.next()
	}
	return a.chunk[len(a.chunk):]
}

func (a *arena) next() {
	if a.chunk != nil {
		a.full = append(a.full, a.chunk)
	}
	if last := len(a.spare) - 1; last >= 0 {
		a.chunk, a.spare = a.spare[last], a.spare[:last]
		return
	}
	a.chunk = make([]byte, 0, arenaChunk)
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

// reset takes back all of the memory.
func (a *arena) reset() {
	for _, c := range a.full {
		a.spare = append(a.spare, c[:0])
	}
	a.full, a.chunk = a.full[:0], a.chunk[:0]
}
