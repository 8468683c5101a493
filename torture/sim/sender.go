package sim

import (
	"encoding/binary"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// sender sends the log to one client, from START_REPLICATION to the end of the
// connection.
type sender struct {
	*session
	slot    *slot
	from    uint64 // What committed before is not sent.
	form    shape
	streams bool
	tables  map[uint32]bool
	told    map[uint32]bool // Relations that were sent.
	next    int             // The next record of the log to look at.
	sent    uint64          // How far the log was read.
	before  uint64          // How far it was before the record at hand.
	partial map[*transaction]*inProgress

	heard    time.Time // When the client last said something; under the database's lock.
	asked    bool      // It was asked to say something.
	answered bool      // It wants an answer.
	idle     bool      // It was told that there is nothing more.
	gone     bool
}

// inProgress is a transaction that is sent before its end.
type inProgress struct {
	next  int // The next of its changes to send.
	told  map[uint32]bool
	subs  map[uint32]bool
	begun bool
}

// largeChanges is from how many changes on a transaction is sent before it ends.
const largeChanges = 12

// replicate answers START_REPLICATION. It returns at the connection's end.
func (ss *session) replicate(sql string) error {
	words := strings.Fields(sql)
	name := strings.Trim(words[2], `"`)
	d := ss.db
	d.mu.Lock()
	s := d.slots[name]
	switch {
	case s == nil:
		ss.fail("42704", fmt.Sprintf("replication slot %q does not exist", name))
	case s.pid != 0:
		ss.fail("55006", fmt.Sprintf("replication slot %q is active for PID %d", name, s.pid))
	case !ss.alive():
		d.mu.Unlock()
		return net.ErrClosed
	default:
		s.pid = ss.pid
	}
	if s == nil || s.pid != ss.pid {
		d.mu.Unlock()
		ss.ready()
		return ss.pg.Flush()
	}
	w := &sender{
		session: ss, slot: s, from: max(parse(words[4]), s.confirmed), streams: strings.Contains(sql, "streaming 'on'"),
		form: shape{binary: strings.Contains(sql, "binary 'true'")}, told: map[uint32]bool{}, tables: map[uint32]bool{}, partial: map[*transaction]*inProgress{}, heard: time.Now(),
	}
	for publication, tables := range d.published {
		if strings.Contains(sql, publication) {
			w.tables = tables
		}
	}
	w.sent = w.from
	d.mu.Unlock()
	ss.pg.Send(&pgproto3.CopyBothResponse{})
	if err := ss.pg.Flush(); err != nil {
		return err
	}
	return w.run()
}

// parse reads a position as PostgreSQL writes it.
func parse(text string) uint64 {
	var high, low uint64
	if _, err := fmt.Sscanf(text, "%X/%X", &high, &low); err != nil {
		return 0
	}
	return high<<32 | low
}

// run sends what there is and waits for more, while another goroutine hears what the
// client says.
func (w *sender) run() error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for w.listen() == nil {
		}
		w.db.mu.Lock()
		w.gone = true
		w.db.changed.Broadcast()
		w.db.mu.Unlock()
	}()
	defer func() {
		_ = w.conn.Close()
		<-done
	}()
	ticker := time.AfterFunc(senderTimeout/4, w.tick)
	defer ticker.Stop()
	for {
		w.db.mu.Lock()
		for !w.due() {
			w.db.changed.Wait()
		}
		if w.gone || !w.alive() || time.Since(w.heard) >= senderTimeout {
			w.db.mu.Unlock()
			return net.ErrClosed
		}
		messages, dead := w.collect(), w.heard.Add(senderTimeout)
		w.db.mu.Unlock()
		ticker.Reset(min(senderTimeout/4, time.Until(dead)))
		var out []byte
		for _, m := range messages {
			out = binary.BigEndian.AppendUint32(append(out, 'd'), uint32(len(m)+4))
			out = append(out, m...)
		}
		_ = w.conn.SetWriteDeadline(time.Now().Add(senderTimeout))
		if _, err := w.conn.Write(out); err != nil {
			return err
		}
	}
}

// tick has the loop look at the time.
func (w *sender) tick() {
	w.db.mu.Lock()
	defer w.db.mu.Unlock()
	w.idle = false
	w.db.changed.Broadcast()
}

// due tells whether there is something to do; the caller holds the lock.
func (w *sender) due() bool {
	return w.gone || !w.alive() || w.next < len(w.db.log) || w.sent < w.db.wal || w.answered || !w.idle
}

// collect returns what is to be sent now; the caller holds the lock.
func (w *sender) collect() (messages [][]byte) {
	const most = 64 // Records at once.
	now := w.db.now()
	for n := 0; w.next < len(w.db.log) && n < most; n++ {
		r := &w.db.log[w.next]
		w.next++
		w.before, w.sent = w.sent, max(w.sent, r.lsn)
		messages = w.record(messages, r, now)
	}
	if w.next < len(w.db.log) {
		return messages
	}
	quiet := len(messages) == 0
	w.sent = max(w.sent, w.db.wal)
	w.before = w.sent
	silent := time.Since(w.heard)
	ask := silent >= senderTimeout/2 && !w.asked
	if quiet || w.answered || ask {
		messages = append(messages, keepalive(w.sent, now, ask))
	}
	w.asked = w.asked || ask
	w.answered, w.idle = false, true
	return messages
}

// record adds the messages that follow from a record of the log.
func (w *sender) record(messages [][]byte, r *walRecord, now time.Time) [][]byte {
	tx := r.tx
	add := func(at, end uint64, m []byte) { messages = append(messages, xlogData(at, end, now, m)) }
	p := w.partial[tx]
	switch r.kind {
	case 'c':
		if p == nil && w.streams && r.lsn >= w.from && r.at+1 >= largeChanges {
			p = &inProgress{told: map[uint32]bool{}, subs: map[uint32]bool{}}
			w.partial[tx] = p
		}
		const block = 5
		if p != nil && r.at+1-p.next >= block {
			w.block(add, tx, p, span{r.at + 1, r.lsn})
		}
	case 'S':
		if p != nil && p.subs[r.sub] {
			add(r.lsn, r.lsn, streamAbort(tx, r.sub))
		}
	case 'A':
		if p != nil && p.begun {
			add(r.lsn, r.lsn, streamAbort(tx, tx.xid))
		}
		delete(w.partial, tx)
	case 'C':
		delete(w.partial, tx)
		if tx.commit < w.from {
			return messages
		}
		if p != nil {
			w.block(add, tx, p, span{len(tx.changes), r.lsn})
			add(tx.commit, tx.end, streamCommit(tx))
			return messages
		}
		w.whole(add, func(m []byte) { messages = append(messages, m) }, tx)
	}
	return messages
}

// whole sends a transaction that has committed.
func (w *sender) whole(add func(at, end uint64, m []byte), alone func(m []byte), tx *transaction) {
	began := false
	for i := range tx.changes {
		c := &tx.changes[i]
		if c.undone != 0 || !w.tables[c.table.oid] {
			continue
		}
		if !began {
			add(tx.first, tx.first, beginMessage(tx))
			began = true
		}
		if !w.told[c.table.oid] {
			w.told[c.table.oid] = true
			add(0, 0, w.form.relation(c.table))
		}
		add(c.lsn, c.lsn, w.form.change(c))
		if i%8 == 7 {
			alone(keepalive(w.before, w.db.now(), false)) // A long transaction takes its time.
		}
	}
	if began {
		add(tx.commit, tx.end, commitMessage(tx))
	}
}

// span is a part of a transaction: up to which change, and where in the log that is.
type span struct {
	to int
	at uint64
}

// block sends a part of a transaction that is still open. Changes of a subtransaction
// that is rolled back later in the log are among them, as with the real server; those
// that are undone already are left out.
func (w *sender) block(add func(at, end uint64, m []byte), tx *transaction, p *inProgress, s span) {
	to, at := s.to, s.at
	form := w.form
	form.xid = tx.xid
	began := false
	for ; p.next < to; p.next++ {
		c := &tx.changes[p.next]
		if c.undone != 0 && c.undone < at || !w.tables[c.table.oid] {
			continue
		}
		if !began {
			add(c.lsn, c.lsn, streamStart(tx, !p.begun))
			began, p.begun = true, true
		}
		if !p.told[c.table.oid] {
			p.told[c.table.oid] = true
			add(0, 0, form.relation(c.table))
		}
		p.subs[c.sub] = true
		add(c.lsn, c.lsn, form.change(c))
	}
	if began {
		add(at, at, []byte{'E'})
	}
}

// listen takes one message of the client.
func (w *sender) listen() error {
	msg, err := w.pg.Receive()
	if err != nil {
		return err
	}
	data, ok := msg.(*pgproto3.CopyData)
	if !ok || len(data.Data) == 0 {
		return net.ErrClosed
	}
	if data.Data[0] != 'r' || len(data.Data) < 34 {
		return nil
	}
	flushed, reply := be.Uint64(data.Data[9:]), data.Data[33] != 0
	w.db.mu.Lock()
	before := w.slot.confirmed
	w.report(flushed, reply)
	alive := w.alive()
	w.db.mu.Unlock()
	switch {
	case !alive:
		return net.ErrClosed
	case flushed > before:
		w.oracle(flushed)
	}
	return nil
}

// report takes in what the client says; the caller holds the lock.
func (w *sender) report(flushed uint64, reply bool) {
	if !w.alive() {
		return
	}
	w.heard, w.asked = time.Now(), false
	if reply {
		w.answered = true
		w.db.changed.Broadcast()
	}
	if flushed > w.db.wal {
		w.db.note("confirmed", fmt.Sprintf("%s was confirmed, and the log ends at %s", lsn(flushed), lsn(w.db.wal)))
	}
	w.slot.confirmed = max(w.slot.confirmed, flushed)
}
