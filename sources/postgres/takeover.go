package postgres

import "strings"

// Debezium's offsets, as its versions 1 to 3 write them, and what they are worth to
// us. Both sides number the log alike, and both confirm to the slot only what is
// stored, so a live slot of Debezium's is taken over as it is:
//
//	lsn_commit   the end of the last complete transaction, or the position of the last
//	             logical message outside transactions: where we begin
//	lsn_proc     the position of the last change that was sent whole; the same as
//	             lsn_commit between transactions. Without lsn_commit (the first
//	             transaction of a slot) it is where we begin: what committed before the
//	             transaction of a change had been sent before the change was
//	lsn          the position of the last change; after a snapshot, the point of the log
//	             that the rows belong to
//	txId         the number of the last transaction, with which a server that was set
//	             back is found out
//	lsn_events_processed  how many changes at that position were sent: rows of a COPY
//	             share one
//	messageType  MESSAGE with lsn = lsn_commit: that message was the last thing sent
//	snapshot     true, INITIAL or BLOCKING, with snapshot_completed (from version 2.6
//	             on) and last_snapshot_record; a first snapshot that is not complete is
//	             taken again. A blocking one happens in the middle of streaming
//
// Debezium stores nothing behind the end of a transaction until there is something to
// send, so the last offset is usually that of a transaction's last change. That
// transaction, known by txId, is read again, and its changes up to lsn are passed over:
// they were sent. Versions before 3.7 do not tell how many changes at lsn were sent, so
// those are sent again. The counters of transactions (transaction_id and its relatives)
// begin with it. The progress of an
// incremental snapshot (incremental_snapshot_…) is in Java's serialisation; that
// snapshot has to be asked for again.

// takeOver returns the position that an offset of Debezium's stands for.
func (o *storedOffset) takeOver() *position {
	p := &position{lsn: value(o.LSN), xid: uint32(value(o.TxID)), micros: o.Micros, foreign: true, forced: o.Forced}
	initial := o.inSnapshot() && !strings.EqualFold(strings.Trim(string(o.Snapshot), `"`), "BLOCKING")
	switch {
	case initial && (o.Completed || o.Last):
		p.snapshot = snapshotDone
	case initial:
		p.snapshot = snapshotRunning
	}
	for _, v := range []*uint64{o.LSNCommit, o.LSNProc, o.LSN} {
		if value(v) != 0 {
			p.end = *v
			break
		}
	}
	if p.lsn == 0 {
		p.lsn = p.end
	}
	if o.Kind == "MESSAGE" && p.lsn == value(o.LSNCommit) {
		p.message = p.lsn
	}
	switch o.Kind {
	case "INSERT", "UPDATE", "DELETE":
		if o.Snapshot == nil && o.TxID != nil && o.LSN != nil {
			p.part = &sentPart{xid: p.xid, lsn: *o.LSN, events: o.Events}
		}
	}
	// Our own offset without a server's name, as a person may write it.
	p.commit, p.ordinal = o.TxCommit, o.Ordinal
	return p
}

// fit adapts a position taken over to the slot that goes with it. Debezium's
// snapshot over a slot that was there before says where the log stood when the
// snapshot had begun; what committed in between is in neither. The slot stands
// before that, so it is read from there: a few changes come again.
func (p *position) fit(info *slotInfo) {
	if p.foreign && p.snapshot == snapshotDone && info != nil && info.safe != 0 && !info.lost() {
		p.end = min(p.end, info.safe)
	}
}

// sentPart says which changes of a transaction Debezium has sent: those before a position,
// and so many at it.
type sentPart struct {
	xid    uint32
	lsn    uint64
	events int64
}

// sentSoFar is a transaction of which a part was sent, while it is read; the zero value is
// none.
type sentSoFar struct {
	*sentPart
	seen int64 // Changes at the position.
}

// over tells whether a change, which the caller asks about once each, was sent.
func (p *sentSoFar) over(at uint64) bool {
	if p.sentPart == nil || at > p.lsn {
		return false
	}
	if at == p.lsn {
		p.seen++
		return p.seen <= p.events
	}
	return true
}
