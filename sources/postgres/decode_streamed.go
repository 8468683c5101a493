package postgres

import "encoding/binary"

// The messages that come with transactions in progress, as the page "Logical
// Replication Message Formats" of PostgreSQL's manual has them.

// streamStartMessage opens a block; first tells that it is the transaction's first.
type streamStartMessage struct {
	xid   uint32
	first bool
}

func decodeStreamStart(b []byte) (m streamStartMessage, err error) {
	c := cursor{b: b}
	m.xid, m.first = c.u32(), c.u8() == 1
	return m, c.done('S')
}

// streamAbortMessage tells that a transaction was rolled back, or, when the numbers
// differ, one of its subtransactions.
type streamAbortMessage struct {
	xid, sub uint32
}

func decodeStreamAbort(b []byte) (m streamAbortMessage, err error) {
	c := cursor{b: b}
	m.xid, m.sub = c.u32(), c.u32()
	return m, c.done('A')
}

// streamCommitMessage tells that a transaction has committed. rest is what it shares
// with the end of any other: flags, the positions of the commit record and behind it,
// and the time.
type streamCommitMessage struct {
	xid  uint32
	rest []byte
}

func decodeStreamCommit(b []byte) (m streamCommitMessage, err error) {
	c := cursor{b: b}
	m.xid = c.u32()
	m.rest = c.take(1 + 8 + 8 + 8)
	return m, c.done('c')
}

// begin returns the beginning of the transaction as it would have come, had the server
// waited for the commit.
func (m *streamCommitMessage) begin() []byte {
	b := append(make([]byte, 0, 20), m.rest[1:9]...)
	b = append(b, m.rest[17:25]...)
	return binary.BigEndian.AppendUint32(b, m.xid)
}

// end returns the message that would have closed it.
func (m *streamCommitMessage) end() []byte {
	return append([]byte{'C'}, m.rest...)
}
