package state

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"hash/crc32"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// sorter has rows in memory in the order in which they came, and writes them to a file in
// the order of their keys.
type sorter struct {
	limit int64
	bytes []byte // the rows as they are in files
	rows  []rowAt
	ids   []ID
	of    map[ID]uint32 // their numbers in ids
	block []byte        // scratch
}

// rowAt is one of the rows. Most are told apart by what is here, without a look at the key.
type rowAt struct {
	first, second uint64 // the first bytes of the key within the store
	of            uint32 // the store and partition: its number, and in the end its place
	at            uint32 // where the row begins
}

// rowAtBytes is the size of a rowAt.
const rowAtBytes = 24

// A row in a file is the length of the key on disk, that of the value and one more, 0 for a
// key that is deleted, the key and the value.

func (s *sorter) add(id ID, key, value []byte, has bool) (n int) {
	at := len(s.bytes)
	if s.bytes == nil {
		s.bytes = make([]byte, 0, s.limit)
	}
	row := rowAt{of: s.number(id), at: uint32(at)}
	row.first, row.second = leading(key), 0
	if len(key) > 8 {
		row.second = leading(key[8:])
	}
	size := 0
	if has {
		size = len(value) + 1
	}
	b := binary.AppendUvarint(s.bytes, uint64(prefixLen+len(key)))
	b = binary.AppendUvarint(b, uint64(size))
	s.bytes = append(appendKey(b, id, key), value...)
	s.rows = append(s.rows, row)
	return len(s.bytes) - at
}

// leading is the first 8 bytes as a number.
func leading(b []byte) uint64 {
	if len(b) >= 8 {
		return binary.BigEndian.Uint64(b)
	}
	var head [8]byte
	copy(head[:], b)
	return binary.BigEndian.Uint64(head[:])
}

func (s *sorter) number(id ID) uint32 {
	if len(s.rows) > 0 {
		if last := s.rows[len(s.rows)-1].of; s.ids[last] == id {
			return last
		}
	}
	n, known := s.of[id]
	if !known {
		if s.of == nil {
			s.of = map[ID]uint32{}
		}
		n = uint32(len(s.ids))
		s.ids, s.of[id] = append(s.ids, id), n
	}
	return n
}

func (s *sorter) empty() bool { return len(s.rows) == 0 }

func (s *sorter) full() bool {
	return int64(len(s.bytes))+rowAtBytes*int64(len(s.rows)) >= s.limit
}

// sort orders the rows, the newest of a key first.
func (s *sorter) sort() {
	sorted := slices.SortedFunc(slices.Values(s.ids), func(a, b ID) int {
		return cmp.Or(cmp.Compare(a.Store, b.Store), cmp.Compare(a.Partition, b.Partition))
	})
	place := make([]uint32, len(s.ids))
	for i, id := range sorted {
		place[s.of[id]] = uint32(i)
	}
	for i := range s.rows {
		s.rows[i].of = place[s.rows[i].of]
	}
	slices.SortFunc(s.rows, func(a, b rowAt) int {
		switch {
		case a.of != b.of:
			return cmp.Compare(a.of, b.of)
		case a.first != b.first:
			return cmp.Compare(a.first, b.first)
		case a.second != b.second:
			return cmp.Compare(a.second, b.second)
		}
		if c := bytes.Compare(s.key(a), s.key(b)); c != 0 {
			return c
		}
		return cmp.Compare(b.at, a.at)
	})
}

func (s *sorter) key(r rowAt) []byte {
	_, key, _ := s.row(r)
	return key
}

// row returns a row as it is in files, its key, and all that comes after it.
func (s *sorter) row(r rowAt) (row, key, rest []byte) {
	b := s.bytes[r.at:]
	key, value, _, n := readRow(b)
	return b[:n], key, value
}

// readRow reads the row at the start of b, and how long it is.
func readRow(b []byte) (key, value []byte, has bool, n int) {
	length, n := binary.Uvarint(b)
	size, m := binary.Uvarint(b[n:])
	n += m
	key = b[n : n+int(length)]
	n += int(length)
	if size == 0 {
		return key, nil, false, n
	}
	return key, b[n : n+int(size)-1], true, n + int(size) - 1
}

const (
	// runBlock is about how much of a file is read at once.
	runBlock = 64 << 10
	// runHead comes before a block: its length and its checksum.
	runHead = 8
)

// checksums is what blocks are checked by.
var checksums = crc32.MakeTable(crc32.Castagnoli)

// write writes the rows to a file, of each key the last, and forgets them.
func (s *sorter) write(fs vfs.FS, name string) error {
	s.sort()
	f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	var before []byte
	s.block = append(s.block[:0], make([]byte, runHead)...)
	for _, r := range s.rows {
		row, key, _ := s.row(r)
		if bytes.Equal(key, before) {
			continue
		}
		before = key
		if len(s.block)+len(row) > runBlock && len(s.block) > runHead && err == nil {
			err = s.writeBlock(f)
		}
		s.block = append(s.block, row...)
	}
	for len(s.block) > runHead && err == nil {
		err = s.writeBlock(f)
	}
	if err == nil {
		err = s.writeBlock(f) // That is the end.
	}
	s.bytes, s.rows, s.ids = s.bytes[:0], s.rows[:0], s.ids[:0]
	clear(s.of)
	if closed := f.Close(); err == nil {
		err = closed
	}
	return err
}

// writeBlock writes what is gathered.
func (s *sorter) writeBlock(f vfs.File) error {
	binary.BigEndian.PutUint32(s.block, uint32(len(s.block)-runHead))
	binary.BigEndian.PutUint32(s.block[4:], crc32.Checksum(s.block[runHead:], checksums))
	_, err := f.Write(s.block)
	s.block = s.block[:runHead]
	return err
}
