package postgres

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
)

// A spilled transaction is a file of blocks, each a length (4 bytes), the CRC-32C of
// what follows (4 bytes) and entries. An entry is a length (4 bytes, of the message),
// the number of the transaction or subtransaction the message belongs to (4 bytes), its
// position in the log (8 bytes) and the message without that number. All numbers have
// the most significant byte first. The file is never read after the process that wrote
// it has ended.
const (
	blockHead, entryHead = 8, 16
	// blockSize is how much of a transaction is gathered before it is written.
	blockSize = 256 << 10
)

// Faults of the store of spilled transactions. All are mended by reading without it.
var (
	errSpillFull    = errors.New("the transactions in progress take more room than transaction.spill.max.bytes allows")
	errSpillCorrupt = errors.New("a file of a transaction in progress is damaged")
)

// spillEntry is one message of a transaction in progress. message is valid until the
// next one is read.
type spillEntry struct {
	xid     uint32
	at      uint64
	message []byte
}

// appendHead adds all of an entry but its message.
func appendHead(dst []byte, e spillEntry) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(e.message)))
	dst = binary.BigEndian.AppendUint32(dst, e.xid)
	return binary.BigEndian.AppendUint64(dst, e.at)
}

// cutEntry takes the first entry off a block.
func cutEntry(b []byte) (e spillEntry, rest []byte, err error) {
	c := cursor{b: b}
	size := c.u32()
	e.xid, e.at = c.u32(), c.u64()
	e.message = c.take(int(size))
	if c.short || len(e.message) == 0 {
		return spillEntry{}, nil, errSpillCorrupt
	}
	return e, c.b, nil
}

// spilled is a transaction in progress: the newest of its messages are in memory, and
// those before in a file, once there are many.
type spilled struct {
	xid     uint32 // Of the whole transaction.
	changes int64
	bytes   int64 // Of all its messages.
	aborted xidSet
	// messages tells that there are logical messages among the changes, doubtful that a
	// subtransaction was rolled back when there were.
	messages, doubtful bool
	file               *os.File
	written            int64
	buf                []byte // One block, its head included.
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// flush writes what is in memory to the file, and behind it large, which is the rest of
// the last entry, or nil.
func (t *spilled) flush(large []byte) error {
	body := t.buf[blockHead:]
	binary.BigEndian.PutUint32(t.buf, uint32(len(body)+len(large)))
	binary.BigEndian.PutUint32(t.buf[4:], crc32.Update(crc32.Checksum(body, castagnoli), castagnoli, large))
	for _, part := range [][]byte{t.buf, large} {
		if len(part) == 0 {
			continue
		}
		if _, err := t.file.Write(part); err != nil {
			return err
		}
		t.written += int64(len(part))
	}
	t.buf = t.buf[:blockHead]
	return nil
}

// close removes the file.
func (t *spilled) close() error {
	if t.file == nil {
		return nil
	}
	name := t.file.Name()
	err := errors.Join(t.file.Close(), os.Remove(name))
	t.file = nil
	return err
}

// each gives the messages one after another, in the order in which they came, until
// give fails.
func (t *spilled) each(give func(e spillEntry) error) error {
	if t.file != nil {
		if _, err := t.file.Seek(0, io.SeekStart); err != nil {
			return err
		}
		if err := readBlocks(bufio.NewReaderSize(t.file, blockSize), t.written, give); err != nil {
			return err
		}
	}
	return readEntries(t.buf[min(blockHead, len(t.buf)):], give)
}

func readEntries(block []byte, give func(e spillEntry) error) error {
	for len(block) > 0 {
		e, rest, err := cutEntry(block)
		if err != nil {
			return err
		}
		if err := give(e); err != nil {
			return err
		}
		block = rest
	}
	return nil
}

// readBlocks reads size bytes of blocks. A block's length is believed only as far as
// the file reaches.
func readBlocks(r io.Reader, size int64, give func(e spillEntry) error) error {
	var block []byte
	for size > 0 {
		var head [blockHead]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return fmt.Errorf("%w: %w", errSpillCorrupt, err)
		}
		n := int64(binary.BigEndian.Uint32(head[:]))
		if size -= blockHead + n; n == 0 || size < 0 {
			return errSpillCorrupt
		}
		if int64(cap(block)) < n || cap(block) > 4*blockSize {
			block = make([]byte, n)
		}
		block = block[:n]
		if _, err := io.ReadFull(r, block); err != nil {
			return fmt.Errorf("%w: %w", errSpillCorrupt, err)
		}
		if crc32.Checksum(block, castagnoli) != binary.BigEndian.Uint32(head[4:]) {
			return errSpillCorrupt
		}
		if err := readEntries(block, give); err != nil {
			return err
		}
	}
	return nil
}

// xidSet is a set of numbers of transactions. Those of one transaction's
// subtransactions lie close together, so 4096 neighbours share a bitmap.
type xidSet map[uint32]*[64]uint64

func (s *xidSet) add(xid uint32) {
	if *s == nil {
		*s = xidSet{}
	}
	page := (*s)[xid>>12]
	if page == nil {
		page = new([64]uint64)
		(*s)[xid>>12] = page
	}
	page[xid>>6&63] |= 1 << (xid & 63)
}

func (s xidSet) has(xid uint32) bool {
	page := s[xid>>12]
	return page != nil && page[xid>>6&63]&(1<<(xid&63)) != 0
}
