package postgres

import (
	"context"
	"encoding/binary"
	"errors"
	"time"

	"github.com/tidemill/tidemill/internal/failpoint"
)

// A large transaction comes while it is still in progress: in blocks, between which
// those of others and whole small transactions stand, and with the changes of
// subtransactions that may yet be rolled back. Its messages are stored, and read again
// when it commits, through the same path as those of any other transaction; so its
// place in the order, the identity of its changes and what is held back until its end
// are the same. Nothing of the store outlives a connection: the server sends what did
// not commit behind the position anew.

// keep stores a message of the block that is open.
func (s *stream) keep(at uint64, m []byte) error {
	e := spillEntry{at: at, message: m, xid: s.block.xid}
	switch m[0] {
	case 'E':
		s.block = nil
		return nil
	case 'O':
	case 'I', 'U', 'D', 'T', 'R', 'Y', 'M':
		if len(m) < 5 {
			return malformed(m[0], errShort)
		}
		e.xid = binary.BigEndian.Uint32(m[1:])
		// The type moves up to the rest, over the number: the buffer is ours.
		m[4] = m[0]
		e.message = m[4:]
	default:
		return malformed(m[0], errors.New("it does not belong into a block of a transaction in progress"))
	}
	switch m[0] {
	case 'I', 'U', 'D', 'T', 'M':
		s.block.changes++
		s.block.messages = s.block.messages || m[0] == 'M'
	}
	return s.spillFault(s.spill.add(s.block, e))
}

// spillFault turns a fault of the store into a connection without one.
func (s *stream) spillFault(err error) error {
	if err == nil {
		return nil
	}
	s.unstreamed = s.received
	s.metrics.Add("transaction_spill_failures_total", 1)
	return &reconnect{
		why: "Transactions in progress cannot be kept here; the server is asked to keep them itself.",
		err: retriable("pg.spill", "a transaction in progress cannot be kept in "+s.spill.dir, err),
	}
}

// blockBegins opens a block of a transaction in progress.
func (s *stream) blockBegins(body []byte) error {
	m, err := decodeStreamStart(body)
	if err != nil {
		return err
	}
	if s.inTx {
		return malformed('S', errors.New("it came within a transaction"))
	}
	failpoint.At("source.spill.block")
	if s.block, err = s.spill.begin(m.xid, m.first); err != nil {
		return malformed('S', err)
	}
	return nil
}

// blocksAbort forgets a transaction in progress, or one of its subtransactions.
func (s *stream) blocksAbort(body []byte) error {
	m, err := decodeStreamAbort(body)
	if err != nil {
		return err
	}
	if m.xid == m.sub {
		// Only changes that were kept here count: the server also tells of transactions in
		// other databases, which have none, and of what it told before.
		if t := s.spill.txs[m.xid]; t != nil && t.changes > 0 {
			s.metrics.Add("transactions_streamed_aborted_total", 1)
		}
		return s.spillFault(s.spill.drop(m.xid))
	}
	if t := s.spill.txs[m.xid]; t != nil {
		t.aborted.add(m.sub)
		// What comes later of the subtransaction the server leaves out by itself.
		t.doubtful = t.doubtful || t.messages
	}
	return nil
}

// blocksCommit replays a transaction that has committed.
func (s *stream) blocksCommit(ctx context.Context, at uint64, body []byte) error {
	m, err := decodeStreamCommit(body)
	if err != nil {
		return err
	}
	if s.inTx {
		return malformed('c', errors.New("it came within a transaction"))
	}
	t := s.spill.take(m.xid)
	if t == nil {
		return malformed('c', errors.New("nothing of the transaction came"))
	}
	commit := binary.BigEndian.Uint64(m.begin())
	if s.holdAt != 0 {
		if err := s.holdBefore(ctx, commit); err != nil {
			return err
		}
	}
	if t.doubtful && commit >= s.em.pos.end {
		return s.doubtful(commit)
	}
	if err := s.begin(m.begin()); err != nil {
		return err
	}
	failpoint.At("source.spill.replay")
	if !s.skipTx {
		if err := s.replay(ctx, t); err != nil {
			return err
		}
	}
	failpoint.At("source.spill.replayed")
	if err := s.change(ctx, at, m.end()); err != nil {
		return err
	}
	s.replayed = 0
	s.metrics.Add("transactions_streamed_total", 1)
	return s.spillFault(s.spill.release(t))
}

// doubtful asks for a transaction again, whole: the server says of a logical message in a
// block which transaction it belongs to, and not which subtransaction, so that of one
// that was rolled back nobody can tell.
func (s *stream) doubtful(commit uint64) error {
	s.unstreamed = commit
	return &reconnect{
		why: "A transaction in progress had logical messages and rolled back in part; the server is asked for it as it was committed.",
		err: retriable("pg.stream.doubtful", "which of its messages were rolled back is not told in the middle of a transaction", nil),
	}
}

// replay gives a transaction's messages to change, but those of subtransactions that
// were rolled back. The server tells the relations of such a one again to what follows it.
func (s *stream) replay(ctx context.Context, t *spilled) error {
	s.replayed = 0
	began := time.Now()
	var own error // Not a fault of the store.
	err := t.each(func(e spillEntry) error {
		if s.replayed++; s.replayed%256 == 0 {
			if own = s.breathe(ctx); own != nil {
				return own
			}
		}
		if t.aborted.has(e.xid) {
			return nil
		}
		if own = s.change(ctx, e.at, e.message); own != nil {
			return own
		}
		own = s.pushIfFull(ctx, s.conn.Load())
		return own
	})
	// The time in here was ours, not the server's silence.
	s.lastHeard = time.Now()
	s.metrics.Set("transaction_replay_seconds", time.Since(began).Seconds())
	if own != nil {
		return own
	}
	return s.spillFault(err)
}

// breathe does within a replay what run does between messages: the clock, reports to
// the server, and the end.
func (s *stream) breathe(ctx context.Context) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	now := time.Now()
	s.em.now = now.UnixMicro()
	s.lastHeard = now
	if c := s.conn.Load(); c != nil && (!now.Before(s.nextTick) || s.confirmable() != s.reported) {
		return s.look(ctx, c, now)
	}
	return nil
}

// pushIfFull hands the batch over when it has reached one of its limits.
func (s *stream) pushIfFull(ctx context.Context, c *replication) error {
	if b := s.em.batch; len(b.records) >= s.set.batchRecords || b.bytes() >= s.set.batchBytes {
		return s.push(ctx, c)
	}
	return nil
}

// newSpill makes the store of the task's transactions in progress.
func (w *work) newSpill() *spillStore {
	w.closeSpill()
	s := newSpillStore(spillDir(w.set, &w.env), w.set.spillMost)
	if err := s.clear(); err != nil {
		w.log.Warn("Files of transactions in progress that an earlier process has left could not be removed.", "error", err)
	}
	s.onSpill = func() { w.metrics.Add("transactions_spilled_total", 1) }
	return s
}

func (w *work) closeSpill() {
	if w.stream == nil {
		return
	}
	if err := w.stream.spill.close(); err != nil {
		w.log.Warn("Files of transactions in progress could not be removed.", "error", err)
	}
}
