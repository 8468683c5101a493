package sim

import (
	"encoding/binary"
	"strconv"
	"time"
)

// The messages of pgoutput and of the replication protocol, as the pages "Logical
// Replication Message Formats" and "Streaming Replication Protocol" of PostgreSQL's
// manual have them.

var be = binary.BigEndian

// postgresTime is microseconds since 2000-01-01.
func postgresTime(t time.Time) uint64 { return uint64(t.UnixMicro() - 946684800*1_000_000) }

// columns are those of every table.
var columns = []struct {
	name string
	oid  uint32
}{{"id", 20}, {"tx", 20}, {"n", 20}, {"note", 25}}

func (r row) texts() [4]string {
	return [4]string{strconv.FormatInt(r.id, 10), strconv.FormatInt(r.tx, 10), strconv.FormatInt(r.n, 10), r.note}
}

func (r row) binaries() [4][]byte {
	number := func(v int64) []byte { return be.AppendUint64(nil, uint64(v)) }
	return [4][]byte{number(r.id), number(r.tx), number(r.n), []byte(r.note)}
}

// shape is how a connection wants its messages.
type shape struct {
	binary bool
	xid    uint32 // Of the transaction whose block is open; 0 for none.
}

func (s shape) head(typ byte, oid uint32) []byte {
	b := []byte{typ}
	if s.xid != 0 {
		b = be.AppendUint32(b, s.xid)
	}
	return be.AppendUint32(b, oid)
}

// tuple appends a row; keyOnly leaves out all but the key.
func (s shape) tuple(b []byte, r row, keyOnly bool) []byte {
	b = be.AppendUint16(b, uint16(len(columns)))
	binaries, texts := r.binaries(), r.texts()
	for i := range columns {
		if keyOnly && i > 0 {
			b = append(b, 'n')
			continue
		}
		data, kind := []byte(texts[i]), byte('t')
		if s.binary {
			data, kind = binaries[i], 'b'
		}
		b = be.AppendUint32(append(b, kind), uint32(len(data)))
		b = append(b, data...)
	}
	return b
}

func (s shape) relation(t *table) []byte {
	b := s.head('R', t.oid)
	b = append(append(b, "public\x00"...), t.name...)
	b = append(b, 0, t.identity)
	b = be.AppendUint16(b, uint16(len(columns)))
	for i, c := range columns {
		flags := byte(0)
		if i == 0 || t.identity == 'f' {
			flags = 1
		}
		b = append(append(append(b, flags), c.name...), 0)
		b = be.AppendUint32(b, c.oid)
		b = be.AppendUint32(b, 0xFFFFFFFF)
	}
	return b
}

func (s shape) change(c *change) []byte {
	xid := s
	if s.xid != 0 {
		xid.xid = c.sub
	}
	b := xid.head(c.op, c.table.oid)
	full := c.table.identity == 'f'
	switch c.op {
	case 'I':
		return s.tuple(append(b, 'N'), c.new, false)
	case 'U':
		if full {
			b = s.tuple(append(b, 'O'), c.old, false)
		}
		return s.tuple(append(b, 'N'), c.new, false)
	}
	if full {
		return s.tuple(append(b, 'O'), c.old, false)
	}
	return s.tuple(append(b, 'K'), c.old, true)
}

func beginMessage(tx *transaction) []byte {
	b := be.AppendUint64([]byte{'B'}, tx.commit)
	b = be.AppendUint64(b, postgresTime(tx.at))
	return be.AppendUint32(b, tx.xid)
}

// commitTail is what the messages of both kinds of commits end with.
func commitTail(b []byte, tx *transaction) []byte {
	b = be.AppendUint64(append(b, 0), tx.commit)
	b = be.AppendUint64(b, tx.end)
	return be.AppendUint64(b, postgresTime(tx.at))
}

func commitMessage(tx *transaction) []byte { return commitTail([]byte{'C'}, tx) }

func streamStart(tx *transaction, first bool) []byte {
	b := append(be.AppendUint32([]byte{'S'}, tx.xid), 0)
	if first {
		b[len(b)-1] = 1
	}
	return b
}

func streamAbort(tx *transaction, sub uint32) []byte {
	return be.AppendUint32(be.AppendUint32([]byte{'A'}, tx.xid), sub)
}

func streamCommit(tx *transaction) []byte {
	return commitTail(be.AppendUint32([]byte{'c'}, tx.xid), tx)
}

// xlogData wraps a message for the way.
func xlogData(at, end uint64, now time.Time, message []byte) []byte {
	b := be.AppendUint64([]byte{'w'}, at)
	b = be.AppendUint64(b, end)
	b = be.AppendUint64(b, postgresTime(now))
	return append(b, message...)
}

func keepalive(end uint64, now time.Time, reply bool) []byte {
	b := be.AppendUint64([]byte{'k'}, end)
	b = append(be.AppendUint64(b, postgresTime(now)), 0)
	if reply {
		b[len(b)-1] = 1
	}
	return b
}
