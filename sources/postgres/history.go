package postgres

import (
	"context"
	"strings"
	"time"

	"github.com/tidemill/tidemill/connect"
)

// begin finds where to read on from, without a snapshot. What the server has to say
// about a stored position is found out before reading begins: see checkPlace.
func (w *work) begin(ctx context.Context, side *db, rep *replication, info *slotInfo, srv server) error {
	pos := position{lineage: w.line}
	switch {
	case !w.fresh():
		pos = *w.stored
		if pos.lineage == nil {
			pos.lineage = &lineage{slot: w.set.slot} // Debezium's: it names no server.
		}
		w.warnFormerSlot(ctx, side)
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

// checkPlace compares where the stream stands with the server, before every START.
// Invariant 5: a position that is not this server's, or that its slot has left
// behind, is an error or, when the configuration accepts it, a gap on record.
func (w *work) checkPlace(ctx context.Context, rep *replication, info *slotInfo, srv server) error {
	pos := &w.stream.em.pos
	if info != nil {
		if err := w.set.checkSlotKind(info); err != nil {
			return err
		}
		pos.fit(info)
	}
	b, err := rep.fork(ctx, pos.lineage, srv)
	if err != nil {
		return err
	}
	g := compare(pos, srv, info, b)
	switch {
	case g != nil && g.code == "pg.history.ahead" && srv.recovery:
		// A standby that has just started may not be where it was.
		e := retriable("pg.standby.behind", "the standby has not come to where it was read before: "+g.err("", "").Message, nil)
		e.Mend = "wait until it has caught up with its primary, or connect to a server that has"
		return e
	case g != nil && g.code == "pg.slot.ahead" && w.set.acceptGap:
		w.log.Error("A gap is accepted, as offset.mismatch.strategy says.", "error", g.err(w.env.Connector, w.set.slot))
		pos.accept(g, info.safe, srv, w.set.slot, time.Now().UnixMicro())
		w.line = pos.lineage
		w.stream.pending = true
		if err := w.checkFill(w.stream, pos); err != nil {
			return err
		}
	case g != nil:
		return w.told(g)
	}
	if info.synced && srv.recovery {
		e := retriable("pg.slot.synced", "the slot is a copy of the primary's, which can be read once this standby is promoted", nil)
		e.Place, e.Mend = w.set.slot, "connect to the primary"
		return e
	}
	if info.active {
		return slotInUse(w.set.slot, info.pid)
	}
	w.adoptLine(srv, b)
	return nil
}

// adoptLine makes the server's lineage that of all offsets from here on. It is a new
// one when something has changed: records on their way point at the old.
func (w *work) adoptLine(srv server, b branch) {
	pos := &w.stream.em.pos
	if b.changed {
		w.log.Warn("The server was promoted: it is on another timeline, which holds all that was read.",
			"before", pos.timeline, "now", srv.timeline, "parted", lsnText(b.at), "position", lsnText(pos.end))
	}
	if l := pos.lineage; l == nil || l.systemID != srv.systemID || l.timeline != srv.timeline || l.slot != w.set.slot {
		w.line = pos.lineage.of(srv)
		w.line.slot = w.set.slot
		pos.lineage = w.line
	}
	pos.foreign = false
}

// warnFormerSlot tells of the slot that the stored offset belongs to, when another is
// configured now: nobody reads from it any more, and it keeps the log for ever.
func (w *work) warnFormerSlot(ctx context.Context, side *db) {
	l := w.stored.lineage
	if l == nil || l.slot == "" || l.slot == w.set.slot {
		return
	}
	former, err := side.slot(ctx, l.slot)
	if err == nil && former != nil && !former.active {
		w.log.Warn("The slot that this connector used before is still there and makes the server keep its log. Drop it when nobody needs it: SELECT pg_drop_replication_slot("+quoteLiteral(l.slot)+")", "slot", l.slot)
	}
}

// needsSnapshot tells, for snapshot.mode=when_needed, whether reading cannot go on
// from what is stored.
func (w *work) needsSnapshot(ctx context.Context, rep *replication, info *slotInfo, srv server) (bool, error) {
	if w.fresh() {
		return true, nil
	}
	p := *w.stored
	p.fit(info)
	b, err := rep.fork(ctx, p.lineage, srv)
	if err != nil {
		return false, err
	}
	g := compare(&p, srv, info, b)
	if g == nil || g.code == "pg.history.ahead" && srv.recovery {
		return false, nil
	}
	w.log.Warn("A new snapshot is taken, as snapshot.mode=when_needed says.", "error", g.err(w.env.Connector, w.set.slot))
	return true, nil
}

// remedied adds to an error of the session what mends it for this connector: what
// the server says in the middle of reading knows neither the connector nor where it
// stands.
func (w *work) remedied(err error) error {
	known := connect.AsError(err)
	if known == nil || strings.HasPrefix(known.Mend, "POST ") {
		return err
	}
	remedies := []string{remedySnapshot}
	switch known.Code {
	case "pg.slot.lost", "pg.slot.missing":
		remedies = append(remedies, remedyAccept)
	case "pg.publication.missing_at_lsn": // The slot cannot get past this place but by a new snapshot.
	default:
		return err
	}
	g := gap{code: known.Code, message: known.Message, cause: known.Cause, remedies: remedies}
	if w.stream != nil {
		g.from, g.to = w.stream.em.pos.end, max(w.stream.received, w.wal, w.stream.em.pos.end)
	}
	e := w.told(&g)
	e.Class = known.Class
	return e
}

// told returns a gap that ends the task as an error. What was handed over and is not
// known to be stored may never come, so that the log it concerns begins there.
func (w *work) told(g *gap) *connect.Error {
	safe := w.safe.Load()
	if w.stream != nil { // There is none before the log is read for the first time.
		safe = max(safe, w.stream.floor)
	}
	if safe != 0 && g.to != 0 {
		g.from = min(g.from, safe)
	}
	return g.err(w.env.Connector, w.set.slot)
}

// identify asks both connections who the server is, and makes sure that it is one:
// behind a name, or in a list of hosts, there may be several.
func identify(ctx context.Context, set *settings, side *db, rep *replication) (server, error) {
	srv, err := side.server(ctx)
	if err != nil {
		return srv, err
	}
	started, err := rep.started(ctx)
	if err != nil {
		return srv, err
	}
	if started != srv.started {
		return srv, retriable("pg.server.two", "the two connections have come to different servers (one started at "+srv.started+", the other at "+started+")", nil)
	}
	id, err := rep.identify(ctx)
	if err != nil {
		return srv, err
	}
	srv.wal, srv.lineage = id.wal, id.lineage
	srv.slot = set.slot
	return srv, nil
}
