package postgres

import "context"

// begin finds where to read on from, without a snapshot.
func (w *work) begin(ctx context.Context, side *db, rep *replication, info *slotInfo, srv server) error {
	pos := position{lineage: w.line}
	switch {
	case w.stored != nil && w.stored.snapshot != snapshotRunning:
		pos = *w.stored
		pos.lineage = w.line
		if err := w.checkHistory(srv); err != nil {
			return err
		}
		if info == nil {
			e := fatal("pg.slot.missing", "the replication slot is gone, but an offset is stored ("+lsnText(w.stored.end)+")", nil, mendSlotGone)
			e.Place = w.set.slot
			return e
		}
		// It is stored, hence safe. After a new snapshot it says nothing: it may belong
		// to another history.
		w.safe.Store(pos.end)
	case info == nil:
		slot, err := w.createSlot(ctx, side, rep, false)
		if err != nil {
			return err
		}
		pos.end, pos.lsn = slot.begin, slot.begin
	default:
		pos.end, pos.lsn = info.safe, info.safe
	}
	return w.newStream(pos, srv)
}

// checkHistory compares the stored position with the server's log. Invariant 5: a
// position of another history would be accepted by the server, which would then say
// nothing until its log gets there.
func (w *work) checkHistory(srv server) error {
	if w.fresh() {
		return nil
	}
	mend := "point the connector at the server it read from, or take a new snapshot: snapshot.mode=when_needed, or reset the offsets (DELETE /connectors/<name>/offsets)"
	if l := w.stored.lineage; l != nil && l.systemID != "" && l.systemID != srv.systemID {
		return fatal("pg.history.system", "the stored offset belongs to another server (system "+l.systemID+", this is "+srv.systemID+")", nil, mend)
	}
	if w.stored.end > srv.wal {
		return fatal("pg.history.ahead", "the stored offset "+lsnText(w.stored.end)+" is ahead of the server's log, which ends at "+lsnText(srv.wal)+
			": the server was restored from a backup or is another one", nil, mend)
	}
	return nil
}

// usable tells whether the slot still has everything from where we stand.
func (w *work) usable(info *slotInfo, srv server) error {
	pos := &w.stream.em.pos
	if err := w.set.checkSlot(info); err != nil {
		return err
	}
	if w.line.systemID != srv.systemID && w.line.systemID != "" {
		return fatal("pg.history.system", "the server is another one than before (system "+w.line.systemID+", now "+srv.systemID+")", nil,
			"point the connector at the server it read from, or take a new snapshot with snapshot.mode=when_needed")
	}
	if pos.end > srv.wal {
		return fatal("pg.history.ahead", "the position "+lsnText(pos.end)+" is ahead of the server's log, which ends at "+lsnText(srv.wal), nil,
			"the server lost what it had sent: take a new snapshot with snapshot.mode=when_needed")
	}
	if info.safe > pos.end && pos.end != 0 {
		gap := fatal("pg.slot.ahead", "the slot is ahead of the stored offset: changes from "+lsnText(pos.end)+" to "+lsnText(info.safe)+" cannot be read any more", nil,
			mendSlotGone+"; or accept the gap with offset.mismatch.strategy=trust_slot")
		gap.Place = w.set.slot
		if !w.set.acceptGap {
			return gap
		}
		w.log.Error("A gap is accepted, as offset.mismatch.strategy says.", "error", gap)
		pos.end, pos.lsn, pos.commit, pos.ordinal = info.safe, info.safe, 0, 0
	}
	if info.active {
		return slotInUse(w.set.slot, info.pid)
	}
	return nil
}
