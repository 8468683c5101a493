package state

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
	"math"
)

// rows keeps what a Cache has read or written lately, absence included, in few large pieces
// of memory: a row takes its bytes and about a dozen more, and the garbage collector has
// nothing to follow. Rows are written one after another into chunks. When there are as many
// chunks as there may be, the oldest is written anew; of its rows those stay that were asked
// for since, up to half of it, which is the CLOCK algorithm by the chunk.
type rows struct {
	seed  maphash.Seed
	limit int64
	shift uint // a chunk has 1<<shift bytes
	bytes int64

	chunks [][]byte // what is used of each; nil for one that was given back
	queue  []uint32 // the chunks in use, oldest first; the last one is written to
	free   []uint32 // numbers of chunks that were given back

	index []slot // open addressing; at most seven of eight are taken
	count int
	more  func(n int64) bool // asks for so much beyond the limit; nil when there is nobody to ask
}

// slot is where a row is. Its hash is kept so that the index can be changed without a look
// at the rows.
type slot struct {
	hash uint32
	at   uint32 // the row's place plus one; 0 when the slot is empty
}

const (
	slotBytes = 8
	leastRows = 2048 // With less, nothing is kept.
	// A chunk is about so small a part of all, and between these bounds.
	chunkShare         = 32
	minShift, maxShift = 9, 18
	rowHead            = 1 + 2*binary.MaxVarintLen32 // the most bytes before a row's key
)

// The first byte of a row.
const (
	rowHas  = 1 << iota // the key has a value
	rowUsed             // it was asked for
	rowDead             // it is elsewhere, or nowhere
)

func newRows(limit int64) *rows {
	r := &rows{seed: maphash.MakeSeed()}
	r.setLimit(limit)
	return r
}

// setLimit changes the bound in bytes.
func (r *rows) setLimit(limit int64) {
	if limit = min(limit, math.MaxUint32/2); limit < leastRows {
		limit = 0
	}
	shift := uint(minShift)
	for shift < maxShift && int64(2)<<shift <= limit/chunkShare {
		shift++
	}
	// A chunk of another length would have other places; only a change that is large
	// is worth it.
	if len(r.chunks) == 0 || shift > r.shift+2 || shift+2 < r.shift {
		r.reset()
		r.shift = shift
	}
	r.limit = limit
	for r.bytes > limit && len(r.queue) > 0 {
		r.giveBack()
	}
	if len(r.queue) == 0 {
		r.reset()
	}
}

// reset forgets everything.
func (r *rows) reset() {
	r.chunks, r.queue, r.free, r.index = nil, nil, nil, nil
	r.count, r.bytes = 0, 0
}

// get returns the value of a key, which is valid until the next change; has is false where
// the key is known to have none. use counts as use of the row.
func (r *rows) get(key []byte, use bool) (val []byte, has, known bool) {
	if r.count == 0 {
		return nil, false, false
	}
	i, known := r.find(r.hash(key), key)
	if !known {
		return nil, false, false
	}
	row := r.row(r.index[i].at - 1)
	if use {
		row[0] |= rowUsed
	}
	_, val, _ = splitRow(row)
	return val, row[0]&rowHas != 0, true
}

// knows tells whether there is a row of the key.
func (r *rows) knows(key []byte) bool {
	_, _, known := r.get(key, false)
	return known
}

// put sets the row of a key, or, without has, that it has none. One that is too large is
// not kept.
func (r *rows) put(key, val []byte, has bool) {
	hash := r.hash(key)
	if i, known := r.find(hash, key); known {
		row := r.row(r.index[i].at - 1)
		if _, old, _ := splitRow(row); len(old) == len(val) {
			copy(old, val)
			if row[0] &^= rowHas; has {
				row[0] |= rowHas
			}
			return
		}
		row[0] |= rowDead
		r.unlink(i)
	}
	n := rowHead + len(key) + len(val)
	if n > 1<<r.shift/2 || !r.room(n) {
		return
	}
	last := r.queue[len(r.queue)-1]
	c := r.chunks[last]
	at := last<<r.shift + uint32(len(c))
	head := byte(0)
	if has {
		head = rowHas
	}
	c = append(c, head)
	c = binary.AppendUvarint(c, uint64(len(key)))
	c = binary.AppendUvarint(c, uint64(len(val)))
	c = append(append(c, key...), val...)
	r.chunks[last] = c
	r.link(hash, at)
	for r.bytes > r.limit && len(r.queue) > 1 { // The index has grown.
		r.giveBack()
	}
}

// forget drops the rows of keys below hi.
func (r *rows) forget(hi []byte) {
	for _, n := range r.queue {
		for c := r.chunks[n]; len(c) > 0; {
			key, _, size := splitRow(c)
			if c[0]&rowDead == 0 && bytes.Compare(key, hi) < 0 {
				c[0] |= rowDead
				if i, known := r.find(r.hash(key), key); known {
					r.unlink(i)
				}
			}
			c = c[size:]
		}
	}
}

func (r *rows) hash(key []byte) uint32 { return uint32(maphash.Bytes(r.seed, key)) }

// row is the chunk from a row on.
func (r *rows) row(at uint32) []byte { return r.chunks[at>>r.shift][at&(1<<r.shift-1):] }

// splitRow takes the first row of b apart; size is how long it is.
func splitRow(b []byte) (key, val []byte, size int) {
	at := 1
	k, n := binary.Uvarint(b[at:])
	at += n
	v, n := binary.Uvarint(b[at:])
	at += n
	end := at + int(k)
	size = end + int(v)
	return b[at:end:end], b[end:size:size], size
}

// room sees to n bytes in the last chunk, which are at most half of one.
func (r *rows) room(n int) bool {
	size := 1 << r.shift
	if len(r.queue) > 0 && len(r.chunks[r.queue[len(r.queue)-1]])+n <= size {
		return true
	}
	if r.bytes+int64(size) <= r.limit || r.more != nil && r.more(int64(size)) {
		r.addChunk()
		return true
	}
	if len(r.queue) == 0 {
		return false
	}
	first := r.queue[0]
	r.queue = append(append(r.queue[:0], r.queue[1:]...), first)
	r.chunks[first] = r.retain(r.chunks[first], first<<r.shift, size/2)
	return true
}

func (r *rows) addChunk() {
	number := uint32(len(r.chunks))
	if n := len(r.free); n > 0 {
		number, r.free = r.free[n-1], r.free[:n-1]
	} else {
		r.chunks = append(r.chunks, nil)
	}
	r.chunks[number] = make([]byte, 0, 1<<r.shift)
	r.queue = append(r.queue, number)
	r.bytes += 1 << r.shift
}

// giveBack drops the oldest chunk with its rows.
func (r *rows) giveBack() {
	first := r.queue[0]
	r.retain(r.chunks[first], first<<r.shift, 0)
	r.queue = append(r.queue[:0], r.queue[1:]...)
	r.chunks[first] = nil
	r.free = append(r.free, first)
	r.bytes -= 1 << r.shift
}

// retain drops the rows of a chunk but those that were asked for, of these up to most bytes.
// They move to the front and count as not asked for. place is that of the chunk.
func (r *rows) retain(c []byte, place uint32, most int) []byte {
	kept := c[:0]
	for at := 0; at < len(c); {
		row := c[at:]
		key, _, size := splitRow(row)
		at += size
		if row[0]&rowDead != 0 {
			continue
		}
		i, known := r.find(r.hash(key), key)
		switch {
		case !known:
		case row[0]&rowUsed == 0 || len(kept)+size > most:
			r.unlink(i)
		default:
			row[0] &^= rowUsed
			r.index[i].at = place + uint32(len(kept)) + 1
			kept = append(kept, row[:size]...)
		}
	}
	return kept
}

// home is the slot at which the search for a hash begins. It grows with the hash, so that
// rows keep their order when the index grows.
func (r *rows) home(hash uint32) int { return int(uint64(hash) * uint64(len(r.index)) >> 32) }

// find returns the slot of a key, or an empty one at the end of the search for it.
func (r *rows) find(hash uint32, key []byte) (i int, known bool) {
	if len(r.index) == 0 {
		return 0, false
	}
	for i = r.home(hash); ; i++ {
		if i == len(r.index) {
			i = 0
		}
		s := r.index[i]
		if s.at == 0 {
			return i, false
		}
		if s.hash == hash {
			if k, _, _ := splitRow(r.row(s.at - 1)); bytes.Equal(k, key) {
				return i, true
			}
		}
	}
}

// link adds a row that is not in the index.
func (r *rows) link(hash, at uint32) {
	if r.count >= len(r.index)-len(r.index)/8 {
		old := r.index
		r.index = make([]slot, max(64, len(old)+len(old)/2))
		r.bytes += slotBytes * int64(len(r.index)-len(old))
		for _, s := range old {
			if s.at != 0 {
				r.place(s)
			}
		}
	}
	r.count++
	r.place(slot{hash, at + 1})
}

func (r *rows) place(s slot) {
	i := r.home(s.hash)
	for r.index[i].at != 0 {
		if i++; i == len(r.index) {
			i = 0
		}
	}
	r.index[i] = s
}

// unlink empties a slot and moves up those after it that would not be found any more.
func (r *rows) unlink(i int) {
	r.count--
	n := len(r.index)
	for j := i; ; {
		if j++; j == n {
			j = 0
		}
		s := r.index[j]
		if s.at == 0 {
			break
		}
		// s may stay where it is when its home lies after the gap, in the order of the ring.
		if home := r.home(s.hash); (j-home+n)%n < (j-i+n)%n {
			continue
		}
		r.index[i] = s
		i = j
	}
	r.index[i] = slot{}
}
