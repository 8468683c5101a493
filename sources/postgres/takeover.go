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
//	lsn          the position of the last change. A change is known to us by its place
//	             in its transaction, so this is for people, except after a snapshot,
//	             where it is the point of the log that the rows belong to
//	txId         the number of the last transaction, with which a server that was set
//	             back is found out
//	messageType  MESSAGE with lsn = lsn_commit: that message was the last thing sent
//	snapshot     true, INITIAL or BLOCKING, with snapshot_completed (from version 2.6
//	             on) and last_snapshot_record; a first snapshot that is not complete is
//	             taken again. A blocking one happens in the middle of streaming
//
// A transaction of which a part was sent (lsn_events_processed counts the changes of
// one position) is sent again from its start: at least once. The counters of
// transactions (transaction_id and its relatives) begin with it. The progress of an
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
