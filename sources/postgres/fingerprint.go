package postgres

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pglogrepl"

	"github.com/tidemill/tidemill/connect"
)

// A stored position is compared with the server before anything is read. Invariant
// 5: the server itself accepts any position; behind its end it says nothing until
// its log gets there, and before the slot's it goes on from the slot.
//
// What a position has to fit: the system identifier, the timeline (a promotion or a
// recovery begins a new one, whose history file tells where it left the former), the
// end of the log, the next transaction number, and the slot. A slot carries no
// number of its own, but one that was dropped and made again begins behind the end
// of the log of that moment, hence behind everything that was read before; so does
// one that somebody has moved on. Both show as a slot ahead of the position. A slot
// behind it is nothing unusual: the server writes its place down only now and then,
// and after a crash the slot stands where it was then.
//
// What cannot be told: a server that was set back to an earlier state of its files
// without a new timeline (a restored disk image) and has then written as much log
// and as many transactions as before. Debezium's offsets do not name the server and
// the timeline, so for them only the end of the log, the transaction number and the
// slot are compared; and so for offsets of a standby the timeline is not, since a
// standby that is promoted goes on to another one while it is read from.

// gap is what keeps reading from simply going on from a position.
type gap struct {
	code, message string
	cause         error
	// from and to are the log that is affected: what cannot be read any more, or what
	// was read and is not on this server. Both are 0 when the two cannot be compared.
	from, to uint64
	remedies []string
}

// The remedies, as they are called over REST.
const (
	remedySnapshot = "resnapshot"
	remedyAccept   = "accept-gap"
	remedyAdopt    = "adopt"
)

// remedyText tells what each does.
func remedyText(name string) string {
	switch name {
	case remedySnapshot:
		return "reads the captured tables anew"
	case remedyAccept:
		return "goes on without what is missing and records that"
	case remedyAdopt:
		return "takes the stored position over for this server, when it is known to hold the same log"
	}
	return ""
}

// err returns the gap as an error that names the one call which mends it.
func (g *gap) err(connector, place string) *connect.Error {
	message := g.message
	if g.to > g.from {
		message += fmt.Sprintf("; this concerns the log from %s to %s (%d bytes)", lsnText(g.from), lsnText(g.to), g.to-g.from)
	}
	e := fatal(g.code, message, g.cause, mendWith(connector, g.remedies...))
	e.Place = place
	return e
}

// mendWith names the calls of remedies, the first as the advice.
func mendWith(connector string, remedies ...string) string {
	if connector == "" {
		connector = "<name>"
	}
	list := make([]string, len(remedies))
	for i, r := range remedies {
		list[i] = "POST /connectors/" + connector + "/remedies/" + r + " " + remedyText(r)
	}
	return strings.Join(list, "; ")
}

// branch is how the server's timeline came out of the one that a position belongs to.
type branch struct {
	changed bool
	// known tells that the history could be read, related that the position's timeline
	// is part of it; at is then where that timeline was left.
	known, related bool
	at             uint64
	cause          error
}

// fork finds out where the server's timeline left that of a position. An error is
// one of the connection.
func (c *replication) fork(ctx context.Context, from *lineage, srv server) (branch, error) {
	if from == nil || from.timeline == 0 || srv.timeline == from.timeline || from.systemID != srv.systemID {
		return branch{}, nil
	}
	if srv.timeline < from.timeline {
		return branch{changed: true, known: true}, nil
	}
	history, err := pglogrepl.TimelineHistory(ctx, c.pg, srv.timeline)
	if err != nil {
		if sqlState(err) == "" {
			return branch{}, explain(err, "reading the history of the timelines")
		}
		return branch{changed: true, cause: err}, nil
	}
	at, related := leftAt(history.Content, from.timeline)
	return branch{changed: true, known: true, related: related, at: at}, nil
}

// leftAt reads a timeline history file, whose lines have a timeline, the position at
// which it was left and the reason, and returns where a timeline was left:
// https://www.postgresql.org/docs/current/continuous-archiving.html#BACKUP-TIMELINES.
func leftAt(history []byte, timeline int32) (uint64, bool) {
	for line := range bytes.Lines(history) {
		fields := bytes.Fields(line)
		if len(fields) < 2 || number(fields[0]) != int64(timeline) {
			continue
		}
		at := parseLSN(fields[1])
		return at, at != 0
	}
	return 0, false
}

// inFlight bounds how many transactions can have taken numbers and not ended: one may
// be in the log, and so have been sent, while it waits for a synchronous standby.
const inFlight = 1 << 16

// reach is how far a position goes: behind the last change that was sent.
func (p *position) reach() uint64 {
	if p.commit != 0 {
		// The commit record stands there, so the log must go beyond.
		return max(p.end, p.commit+1)
	}
	return p.end
}

// compareHistory tells whether a position lies in the server's log.
func compareHistory(p *position, srv server, b branch) *gap {
	if l := p.lineage; l != nil && l.systemID != "" && l.systemID != srv.systemID {
		return &gap{code: "pg.history.system", remedies: []string{remedySnapshot, remedyAdopt, remedyAccept},
			message: "the stored offset belongs to another server (system " + l.systemID + ", this is " + srv.systemID + ")"}
	}
	reach := p.reach()
	switch {
	case b.changed && !b.known:
		return &gap{code: "pg.history.unknown", cause: b.cause, remedies: []string{remedySnapshot, remedyAdopt},
			message: fmt.Sprintf("the server is on timeline %d, the stored offset on %d, and where they parted cannot be read", srv.timeline, p.timeline)}
	case b.changed && !b.related:
		return &gap{code: "pg.history.branched", remedies: []string{remedySnapshot, remedyAccept},
			message: fmt.Sprintf("the stored offset belongs to timeline %d, which is not part of the history of this server (timeline %d): the server was restored from a backup, or was left behind by a promotion", p.timeline, srv.timeline)}
	case b.changed && reach > b.at:
		return &gap{code: "pg.history.branched", from: b.at, to: reach, remedies: []string{remedySnapshot, remedyAccept},
			message: fmt.Sprintf("the server went on to timeline %d at %s, before the stored offset: it lacks changes that were sent, and has others instead", srv.timeline, lsnText(b.at))}
	case reach > srv.wal:
		return &gap{code: "pg.history.ahead", from: srv.wal, to: reach, remedies: []string{remedySnapshot, remedyAccept},
			message: "the stored offset is ahead of the server's log, which ends at " + lsnText(srv.wal) + ": the server was restored from a backup or is another one"}
	case p.xid != 0 && srv.nextXID != 0 && int32(srv.nextXID-p.xid) < -inFlight:
		return &gap{code: "pg.history.ahead", remedies: []string{remedySnapshot, remedyAccept},
			message: fmt.Sprintf("transaction %d, to which the stored offset belongs, has not happened on this server, whose next one is %d: it was restored from a backup or is another one", p.xid, srv.nextXID)}
	}
	return nil
}

// compareSlot tells whether the slot still has everything from a position on. The
// position is one of this server's history.
func compareSlot(p *position, srv server, info *slotInfo) *gap {
	remedies := []string{remedySnapshot, remedyAccept}
	switch {
	case info == nil && srv.timeline != 0 && p.lineage != nil && p.timeline != 0 && p.timeline != srv.timeline:
		return &gap{code: "pg.slot.missing", from: p.end, to: srv.wal, remedies: remedies,
			message: "the replication slot is not on this server, which was promoted; before PostgreSQL 17 standbys have no copy of it, from then on with slot.failover=true and sync_replication_slots=on"}
	case info == nil:
		return &gap{code: "pg.slot.missing", from: p.end, to: srv.wal, remedies: remedies, message: "the replication slot is gone, but an offset is stored"}
	case info.lost():
		reason := info.reason
		if reason == "" {
			reason = info.walStatus
		}
		return &gap{code: "pg.slot.lost", from: p.end, to: srv.wal, remedies: remedies,
			message: "the server has given up the slot (" + reason + "), and with it log that was still needed; max_slot_wal_keep_size and, from PostgreSQL 18 on, idle_replication_slot_timeout bound what it keeps"}
	case info.safe > p.end && p.end != 0:
		return &gap{code: "pg.slot.ahead", from: p.end, to: info.safe, remedies: remedies,
			message: "the slot is ahead of the stored offset: it was dropped and made again, or moved on by somebody else, and what is between cannot be read any more"}
	}
	return nil
}

// compare tells what keeps reading from going on at a position.
func compare(p *position, srv server, info *slotInfo, b branch) *gap {
	if g := compareHistory(p, srv, b); g != nil {
		return g
	}
	return compareSlot(p, srv, info)
}

// accept moves a position over a gap and notes that in its lineage, which every
// offset from there on carries.
func (p *position) accept(g *gap, to uint64, srv server, slot string, micros int64) {
	line := (*lineage)(nil).of(srv)
	line.slot = slot
	line.gapFrom, line.gapTo, line.gapAt = p.reach(), to, micros
	if g != nil && g.to > g.from {
		line.gapFrom = min(g.from, line.gapFrom)
		line.gapTo = max(g.to, to)
	}
	*p = position{lsn: to, end: to, micros: p.micros, xid: p.xid, lineage: line, backlog: p.backlog}
	if g != nil && (g.code == "pg.history.ahead" || g.code == "pg.history.branched" || g.code == "pg.history.system") {
		p.xid = 0 // It belongs to the other history.
	}
}
