package sim

import (
	"fmt"
	"sync"
	"time"
)

// database is the model that the fake server answers from: a log of records, the
// transactions in it, the rows that they leave, one slot and one publication. It
// knows what is true, so the oracle asks it too.
type database struct {
	note func(kind, text string) // Takes an anomaly.

	mu      sync.Mutex // Guards what follows.
	changed *sync.Cond // The log has grown, or the server has died.
	life    int        // Counts the server's lives; sessions of an earlier one are dead.
	started string
	// skew is how far the server's clock is off.
	skew time.Duration

	tables    []*table
	wal       uint64
	log       []walRecord
	committed []*transaction
	byXID     map[uint32]*transaction // The committed ones.
	open      map[*transaction]bool
	nextXID   uint32

	slots     map[string]*slot
	published map[string]map[uint32]bool // Tables by publication.
	snapshots map[string]*view
	nextPID   uint32
	begins    []uint64 // Where slots began, temporary ones too.
}

// table is one of the captured tables; all have the same columns: id, tx, n and note.
type table struct {
	oid      uint32
	name     string
	identity byte // d: changes have the old key, f: the old row.
	rows     map[int64]row
}

// row is what a table holds: the number of the transaction that wrote it and which of
// its changes that was say who it is.
type row struct {
	id, tx, n int64
	note      string
}

// change is one change of a transaction.
type change struct {
	table    *table
	op       byte // As pgoutput has it: I, U or D.
	lsn      uint64
	old, new row
	sub      uint32 // The subtransaction; that of the whole is its xid.
	// undone is where the log says that its subtransaction was rolled back, 0 for never.
	undone uint64
}

// transaction is one that has begun.
type transaction struct {
	xid         uint32
	number      int // Place among the committed ones.
	first       uint64
	commit, end uint64
	at          time.Time
	changes     []change
	locked      map[*table]map[int64]row // Rows as it sees them; those it has deleted have id 0.
	// Marks of its own, so that many of its changes can be rolled back together.
	sub     uint32
	subFrom int
	undo    map[*table]map[int64]row
}

// walRecord is one record of the log: a change, or the end of a transaction or of a
// subtransaction.
type walRecord struct {
	lsn  uint64
	kind byte // c change, C commit, A abort, S abort of a subtransaction.
	tx   *transaction
	at   int // Which of its changes.
	sub  uint32
}

// slot is the place up to which a reader has confirmed the log.
type slot struct {
	name      string
	temporary bool
	begin     uint64
	confirmed uint64
	// kept is what is on disk of confirmed, which is what a crash leaves.
	kept uint64
	pid  uint32 // Who reads from it, 0 for nobody.
}

// view is the tables as they were at one moment.
type view struct {
	rows map[uint32]map[int64]row
	txs  int // How many transactions had committed.
}

const firstLSN = 0x1500000

func newDatabase(note func(kind, text string)) *database {
	d := &database{
		note: note, wal: firstLSN, byXID: map[uint32]*transaction{}, open: map[*transaction]bool{}, nextXID: 740,
		slots: map[string]*slot{}, published: map[string]map[uint32]bool{}, snapshots: map[string]*view{}, nextPID: 100,
	}
	d.changed = sync.NewCond(&d.mu)
	for i, t := range []struct {
		name     string
		identity byte
	}{{"accounts", 'd'}, {"items", 'f'}} {
		d.tables = append(d.tables, &table{oid: 16385 + uint32(i)*5, name: t.name, identity: t.identity, rows: map[int64]row{}})
	}
	d.boot()
	return d
}

// boot begins a life of the server.
func (d *database) boot() { d.started = d.now().UTC().Format("2006-01-02 15:04:05.000000+00") }

// now is the time by the server's clock.
func (d *database) now() time.Time { return time.Now().Add(d.skew) }

// fill puts rows into the tables that were there before everything else.
func (d *database) fill(rows int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, t := range d.tables {
		for id := int64(1); id <= int64(rows); id++ {
			t.rows[id] = row{id: id, note: "before"}
		}
	}
}

// begin opens a transaction.
func (d *database) begin() *transaction {
	d.mu.Lock()
	defer d.mu.Unlock()
	tx := &transaction{xid: d.nextXID, locked: map[*table]map[int64]row{}}
	tx.sub = tx.xid
	d.nextXID++
	for _, t := range d.tables {
		tx.locked[t] = map[int64]row{}
	}
	d.open[tx] = true
	return tx
}

// write makes the next change of a transaction to the row of that id: an insertion if
// there is none, else an update or, if asked for, a deletion. It tells whether it
// could: the row may be locked by another transaction.
func (d *database) write(tx *transaction, t *table, id int64, remove bool, note string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for other := range d.open {
		if _, locked := other.locked[t][id]; locked && other != tx {
			return false
		}
	}
	before, own := tx.locked[t][id]
	if !own {
		before = t.rows[id]
	}
	if tx.undo != nil {
		if _, noted := tx.undo[t][id]; !noted {
			if own {
				tx.undo[t][id] = before
			} else {
				tx.undo[t][id] = row{n: -1}
			}
		}
	}
	c := change{table: t, lsn: d.wal, old: before, sub: tx.sub, op: 'U', new: row{id: id, tx: int64(tx.xid), n: int64(len(tx.changes)), note: note}}
	switch {
	case before.id == 0:
		c.op = 'I'
	case remove:
		c.op, c.new = 'D', row{}
	}
	if tx.first == 0 {
		tx.first = c.lsn
	}
	tx.locked[t][id] = c.new
	tx.changes = append(tx.changes, c)
	d.append(walRecord{lsn: c.lsn, kind: 'c', tx: tx, at: len(tx.changes) - 1}, 64+8*uint64(len(note)/8))
	return true
}

// append adds a record of so many bytes to the log; the caller holds the lock.
func (d *database) append(r walRecord, size uint64) {
	d.wal += size
	d.log = append(d.log, r)
	d.changed.Broadcast()
}

// save begins a subtransaction.
func (d *database) save(tx *transaction) {
	d.mu.Lock()
	defer d.mu.Unlock()
	tx.sub, tx.subFrom, tx.undo = d.nextXID, len(tx.changes), map[*table]map[int64]row{}
	for _, t := range d.tables {
		tx.undo[t] = map[int64]row{}
	}
	d.nextXID++
}

// rollbackTo undoes the subtransaction.
func (d *database) rollbackTo(tx *transaction) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for t, rows := range tx.undo {
		for id, r := range rows {
			if r.n < 0 {
				delete(tx.locked[t], id)
			} else {
				tx.locked[t][id] = r
			}
		}
	}
	for i := tx.subFrom; i < len(tx.changes); i++ {
		tx.changes[i].undone = d.wal
	}
	d.append(walRecord{lsn: d.wal, kind: 'S', tx: tx, sub: tx.sub}, 40)
	tx.sub, tx.undo = tx.xid, nil
}

// end commits a transaction or rolls it back.
func (d *database) end(tx *transaction, commit bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.finish(tx, commit)
}

// finish does so; the caller holds the lock.
func (d *database) finish(tx *transaction, commit bool) {
	delete(d.open, tx)
	if len(tx.changes) == 0 {
		return
	}
	if !commit {
		d.append(walRecord{lsn: d.wal, kind: 'A', tx: tx}, 40)
		return
	}
	for t, rows := range tx.locked {
		for id, r := range rows {
			if r.id == 0 {
				delete(t.rows, id)
			} else {
				t.rows[id] = r
			}
		}
	}
	tx.commit, tx.end, tx.at, tx.number = d.wal, d.wal+48, d.now(), len(d.committed)
	d.committed = append(d.committed, tx)
	d.byXID[tx.xid] = tx
	d.append(walRecord{lsn: tx.commit, kind: 'C', tx: tx}, 48)
}

// other lets the log grow by what concerns nobody here.
func (d *database) other(bytes uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.wal += bytes / 8 * 8
	d.changed.Broadcast()
}

// checkpoint writes the slots down.
func (d *database) checkpoint() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range d.slots {
		s.kept = s.confirmed
	}
}

// crash ends a life of the server: what was not written down of the slots is
// forgotten, and open transactions are rolled back.
func (d *database) crash(orderly bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for name, s := range d.slots {
		if s.temporary {
			delete(d.slots, name)
			continue
		}
		if orderly {
			s.kept = s.confirmed
		}
		s.confirmed, s.pid = s.kept, 0
	}
	for tx := range d.open {
		d.finish(tx, false)
	}
	clear(d.snapshots)
	d.life++
	d.wal += 8 << 10 // The record of the recovery's end, and what stands before it.
	d.changed.Broadcast()
}

// running tells whether a transaction is still open: a crash may have ended it.
func (d *database) running(tx *transaction) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.open[tx]
}

// lsn writes a position as PostgreSQL does.
func lsn(v uint64) string { return fmt.Sprintf("%X/%X", v>>32, uint32(v)) }
