package postgres

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// The kinds of a tuple's columns, as pgoutput writes them.
const (
	columnNull      = 'n'
	columnUnchanged = 'u' // A TOASTed value that the change left alone.
	columnText      = 't'
	columnBinary    = 'b'
)

// rawColumn is one column of a row as it came: data points into the receive buffer
// and is valid until the next message.
type rawColumn struct {
	data []byte
	kind byte
}

// held tells whether the column has a value here.
func (c rawColumn) held() bool { return c.kind == columnText || c.kind == columnBinary }

// tuple is a row as it came, in the order of its relation's columns.
type tuple []rawColumn

// errShort is what the cursor says of a message that ends too early.
var errShort = errors.New("the message ends too early")

// cursor walks over one message. After a read beyond the end every read gives
// zeros and short is set, so that callers check once.
type cursor struct {
	b     []byte
	short bool
}

func (c *cursor) take(n int) []byte {
	if n < 0 || n > len(c.b) {
		c.short, c.b = true, nil
		return nil
	}
	b := c.b[:n:n]
	c.b = c.b[n:]
	return b
}

func (c *cursor) u8() byte {
	if b := c.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (c *cursor) u16() int {
	if b := c.take(2); b != nil {
		return int(binary.BigEndian.Uint16(b))
	}
	return 0
}

func (c *cursor) u32() uint32 {
	if b := c.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (c *cursor) u64() uint64 {
	if b := c.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// text reads a string that ends with a zero byte.
func (c *cursor) text() string {
	i := bytes.IndexByte(c.b, 0)
	if i < 0 {
		c.short, c.b = true, nil
		return ""
	}
	s := string(c.b[:i])
	c.b = c.b[i+1:]
	return s
}

// tuple reads a row into dst, which is used again.
func (c *cursor) tuple(dst tuple) tuple {
	n := c.u16()
	dst = dst[:0]
	b := c.b
	for range n {
		if len(b) == 0 {
			c.short = true
			return dst[:0]
		}
		kind := b[0]
		b = b[1:]
		switch kind {
		case columnNull, columnUnchanged:
			dst = append(dst, rawColumn{kind: kind})
			continue
		case columnText, columnBinary:
		default:
			c.short = true
			return dst[:0]
		}
		if len(b) < 4 {
			c.short = true
			return dst[:0]
		}
		length := binary.BigEndian.Uint32(b)
		if uint64(length) > uint64(len(b)-4) {
			c.short = true
			return dst[:0]
		}
		size := int(length)
		dst = append(dst, rawColumn{data: b[4 : 4+size : 4+size], kind: kind})
		b = b[4+size:]
	}
	c.b = b
	return dst
}

// done returns the error of a message of the given type that was read to its end.
func (c *cursor) done(typ byte) error {
	if c.short {
		return malformed(typ, errShort)
	}
	return nil
}

func malformed(typ byte, cause error) error {
	return fatal("pg.protocol", "the server sent a malformed message of type "+fmt.Sprintf("%q", typ), cause,
		"report this with the version of the server; nothing after this position was read")
}

// beginMessage opens a transaction. commit is the position of its commit record.
type beginMessage struct {
	commit uint64
	micros int64 // Microseconds since 2000-01-01.
	xid    uint32
}

func decodeBegin(b []byte) (m beginMessage, err error) {
	c := cursor{b: b}
	m.commit, m.micros, m.xid = c.u64(), int64(c.u64()), c.u32()
	return m, c.done('B')
}

// commitMessage closes a transaction. end is the position behind its commit record.
type commitMessage struct {
	commit, end uint64
	micros      int64
}

func decodeCommit(b []byte) (m commitMessage, err error) {
	c := cursor{b: b}
	c.u8()
	m.commit, m.end, m.micros = c.u64(), c.u64(), int64(c.u64())
	return m, c.done('C')
}

// originMessage tells that a transaction was replicated from elsewhere.
type originMessage struct {
	lsn  uint64
	name string
}

func decodeOrigin(b []byte) (m originMessage, err error) {
	c := cursor{b: b}
	m.lsn, m.name = c.u64(), c.text()
	return m, c.done('O')
}

// changeMessage is an insert, update or delete. oldKind tells what old holds: 'K'
// key columns, 'O' the whole row, 0 nothing.
type changeMessage struct {
	relation uint32
	oldKind  byte
	old, new tuple
}

// decodeInsert reads into m, whose tuples are used again.
func (m *changeMessage) decodeInsert(b []byte) error {
	c := cursor{b: b}
	m.relation, m.oldKind, m.old = c.u32(), 0, m.old[:0]
	if c.u8() != 'N' {
		c.short = true
	}
	m.new = c.tuple(m.new)
	return c.done('I')
}

// decodeUpdate reads into m, whose tuples are used again.
func (m *changeMessage) decodeUpdate(b []byte) error {
	c := cursor{b: b}
	m.relation, m.oldKind, m.old = c.u32(), 0, m.old[:0]
	kind := c.u8()
	if kind == 'K' || kind == 'O' {
		m.oldKind = kind
		m.old = c.tuple(m.old)
		kind = c.u8()
	}
	if kind != 'N' {
		c.short = true
	}
	m.new = c.tuple(m.new)
	return c.done('U')
}

// decodeDelete reads into m, whose tuples are used again.
func (m *changeMessage) decodeDelete(b []byte) error {
	c := cursor{b: b}
	m.relation, m.new = c.u32(), m.new[:0]
	m.oldKind = c.u8()
	if m.oldKind != 'K' && m.oldKind != 'O' {
		c.short = true
	}
	m.old = c.tuple(m.old)
	return c.done('D')
}

// truncateMessage empties tables.
type truncateMessage struct {
	relations []uint32
}

func decodeTruncate(b []byte) (m truncateMessage, err error) {
	c := cursor{b: b}
	n := c.u32()
	c.u8()
	if uint64(n)*4 > uint64(len(c.b)) {
		c.short = true
		return m, c.done('T')
	}
	for range n {
		m.relations = append(m.relations, c.u32())
	}
	return m, c.done('T')
}

// logicalMessage was written by pg_logical_emit_message.
type logicalMessage struct {
	transactional bool
	lsn           uint64
	prefix        string
	content       []byte
}

func decodeLogicalMessage(b []byte) (m logicalMessage, err error) {
	c := cursor{b: b}
	m.transactional = c.u8()&1 != 0
	m.lsn, m.prefix = c.u64(), c.text()
	m.content = c.take(int(c.u32()))
	return m, c.done('M')
}

// decodeRelation reads the shape of a table.
func decodeRelation(b []byte) (*relation, error) {
	c := cursor{b: b}
	r := &relation{oid: c.u32(), schema: c.text(), name: c.text(), identity: c.u8()}
	if r.schema == "" {
		r.schema = "pg_catalog" // Which the protocol abbreviates.
	}
	for range c.u16() {
		flags := c.u8()
		r.columns = append(r.columns, relationColumn{key: flags&1 != 0, name: c.text(), typ: c.u32(), mod: int32(c.u32())})
		if c.short {
			break
		}
	}
	return r, c.done('R')
}
