package postgres

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/tidemill/tidemill/connect"
)

// remedy works out new offsets for a connector that is stopped.
type remedy struct {
	set    *settings
	side   *db
	rep    *replication
	srv    server
	info   *slotInfo
	stored *position // Nil: nothing is stored, or it cannot be read.
}

// remedyTime bounds a remedy; the worker's own limit is a little longer.
const remedyTime = 50 * time.Second

// Remedy works out the offset that a named remedy asks for. It implements
// connect.OffsetAlterer: resnapshot forces a new snapshot, accept-gap goes on without
// what is missing, adopt takes the stored position over for the server as it is now.
func (c *connector) Remedy(ctx context.Context, config connect.Config, name string, offsets map[connect.SourcePartition][]byte) (map[connect.SourcePartition][]byte, string, error) {
	apply := map[string]func(*remedy, context.Context) (*position, string, error){
		remedySnapshot: (*remedy).resnapshot, remedyAccept: (*remedy).acceptGap, remedyAdopt: (*remedy).adopt,
	}[name]
	if apply == nil {
		e := &connect.Error{Code: "remedy.unknown", Class: connect.ClassConfig, Place: name, Message: "there is no such remedy", Mend: "these are the remedies:"}
		for _, r := range []string{remedySnapshot, remedyAccept, remedyAdopt} {
			e.Mend += " " + r + " " + remedyText(r) + ";"
		}
		e.Mend = e.Mend[:len(e.Mend)-1]
		return nil, "", e
	}
	set, err := newSettings(config)
	if err != nil {
		return nil, "", err
	}
	set.over(c.dial)
	own, err := partition(set.prefix)
	if err != nil {
		return nil, "", err
	}
	stored, err := parsePosition(offsets[own])
	if err != nil && name != remedySnapshot {
		return nil, "", err
	}
	if stored.partial() {
		apply = (*remedy).startOver
	}
	ctx, cancel := context.WithTimeout(ctx, remedyTime)
	defer cancel()
	r := &remedy{set: set, stored: stored}
	defer r.close(ctx)
	if err := r.look(ctx, application(config["name"])+" (remedy)"); err != nil {
		return nil, "", err
	}
	pos, done, err := apply(r, ctx)
	if err != nil {
		return nil, "", err
	}
	return map[connect.SourcePartition][]byte{own: pos.AppendJSON(nil)}, done, nil
}

// CanRewind tells whether the slot still has everything from an earlier position on. The
// worker asks before it rewinds. A snapshot that was not done begins anew in any case.
func (c *connector) CanRewind(ctx context.Context, config connect.Config, offsets map[connect.SourcePartition][]byte) error {
	set, err := newSettings(config)
	if err != nil {
		return err
	}
	set.over(c.dial)
	own, err := partition(set.prefix)
	if err != nil {
		return err
	}
	earlier, err := parsePosition(offsets[own])
	if err != nil || earlier == nil || earlier.partial() {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, remedyTime)
	defer cancel()
	r := &remedy{set: set, stored: earlier}
	defer r.close(ctx)
	if err := r.look(ctx, application(config["name"])+" (rewind)"); err != nil {
		return err
	}
	_, g, _, err := r.known(ctx)
	if err != nil || g == nil {
		return err
	}
	g.message, g.remedies = "reading cannot go on at the earlier position: "+g.message, []string{remedySnapshot}
	e := g.err(set.connector, set.slot)
	e.Class = connect.ClassConfig // What is asked for is at fault, and nothing else.
	return e
}

func (r *remedy) close(ctx context.Context) {
	r.rep.close(context.WithoutCancel(ctx))
	r.side.close(context.WithoutCancel(ctx))
}

// look connects and finds out how things stand.
func (r *remedy) look(ctx context.Context, app string) (err error) {
	if r.side, err = r.set.open(ctx, app); err != nil {
		return err
	}
	if r.rep, err = r.set.openReplication(ctx, app); err != nil {
		return err
	}
	if r.srv, err = identify(ctx, r.set, r.side, r.rep); err != nil {
		return err
	}
	r.info, err = r.set.awaitFreeSlot(ctx, r.side)
	return err
}

// resnapshot returns a position that asks for a snapshot. A slot that is lost is of
// no use to anybody and is dropped; another one is kept and, if that is quickly
// done, moved to the end of the log, past any place that cannot be read.
func (r *remedy) resnapshot(ctx context.Context) (*position, string, error) {
	now := time.Now().UnixMicro()
	p := &position{lsn: r.srv.wal, end: r.srv.wal, micros: now, snapshot: snapshotRunning, forced: true, lineage: r.stored.line().of(r.srv)}
	p.slot = r.set.slot
	const done = "A new snapshot is taken at the next start, whatever snapshot.mode says; "
	switch {
	case r.info == nil:
		return p, done + "the slot " + r.set.slot + " is made anew then.", nil
	case r.info.lost():
		if err := r.side.dropSlot(ctx, r.set.slot); err != nil {
			return nil, "", err
		}
		return p, done + "the slot " + r.set.slot + ", which was lost, was dropped and is made anew then.", nil
	}
	if err := r.advance(ctx); err != nil {
		return p, done + "the slot " + r.set.slot + " is kept and makes the server keep its log from " + lsnText(r.info.restart) + " until then.", nil
	}
	return p, done + "the slot " + r.set.slot + " was moved to the end of the log.", nil
}

// startOver is what every remedy does as long as the tables have not been read in full.
func (r *remedy) startOver(ctx context.Context) (*position, string, error) {
	p, done, err := r.resnapshot(ctx)
	return p, "The tables have not been read in full yet, so there is no position to go on from. " + done, err
}

// advance moves the slot to the end of the log, unless that takes long: the server
// reads all the log in between.
func (r *remedy) advance(ctx context.Context) error {
	const most = "20s"
	if err := r.side.exec(ctx, "SET statement_timeout = '"+most+"'"); err != nil {
		return err
	}
	_, err := r.side.rows(ctx, `SELECT pg_catalog.pg_replication_slot_advance($1, CASE WHEN pg_catalog.pg_is_in_recovery()
		THEN pg_catalog.pg_last_wal_replay_lsn() ELSE pg_catalog.pg_current_wal_flush_lsn() END)`, r.set.slot)
	return err
}

// known returns the stored position, and what keeps reading from going on there.
func (r *remedy) known(ctx context.Context) (*position, *gap, branch, error) {
	if r.stored == nil {
		return nil, nil, branch{}, &connect.Error{Code: "remedy.nothing_stored", Class: connect.ClassConfig,
			Message: "no position is stored, so there is nothing to go on from", Mend: "start the connector, or call the remedy " + remedySnapshot}
	}
	p := *r.stored
	p.fit(r.info)
	b, err := r.rep.fork(ctx, p.lineage, r.srv)
	if err != nil {
		return nil, nil, b, err
	}
	return &p, compare(&p, r.srv, r.info, b), b, nil
}

// acceptGap goes on from the first position that can be read: that of the slot, the
// place where the server's timeline left the one that was read, or, when there is no
// slot to read from, the present, for which it makes a slot.
func (r *remedy) acceptGap(ctx context.Context) (*position, string, error) {
	p, g, b, err := r.known(ctx)
	if err != nil {
		return nil, "", err
	}
	if g == nil {
		return p, "There is no gap: the slot " + r.set.slot + " still has everything from " + lsnText(p.end) + " on. Nothing was changed.", nil
	}
	if r.info != nil && r.info.lost() {
		if err := r.side.dropSlot(ctx, r.set.slot); err != nil {
			return nil, "", err
		}
		r.info = nil
	}
	var to uint64
	how := "the slot " + r.set.slot
	if r.info == nil {
		slot, err := r.set.soundSlot(ctx, r.side, r.set.slot, slog.New(slog.DiscardHandler), func() (newSlot, error) {
			return r.rep.createSlot(ctx, r.set.slot, false, r.set.failover(r.srv))
		})
		if err != nil {
			return nil, "", err
		}
		to, how = slot.begin, "a new slot "+r.set.slot
	} else if to = r.info.safe; b.related {
		to = max(to, b.at)
	}
	from := p.end
	p.accept(g, to, r.srv, r.set.slot, time.Now().UnixMicro())
	return p, fmt.Sprintf("Reading goes on at %s, from %s (it stood at %s). Accepted: %s", lsnText(to), how, lsnText(from), g.err("", "").Message), nil
}

// adopt takes the stored position over for this server.
func (r *remedy) adopt(ctx context.Context) (*position, string, error) {
	p, _, b, err := r.known(ctx)
	if err != nil {
		return nil, "", err
	}
	refused := func(g *gap) error {
		g.message = "the stored position cannot be adopted: " + g.message
		return g.err(r.set.connector, r.set.slot)
	}
	// Whoever asks for this vouches for the server, not for its log having the position.
	own := *p
	own.lineage = &lineage{systemID: r.srv.systemID, timeline: r.srv.timeline, slot: r.set.slot}
	if b.known {
		own.timeline = p.timeline
	}
	g := compare(&own, r.srv, r.info, b)
	if g != nil && g.code != "pg.slot.ahead" {
		return nil, "", refused(g)
	}
	if g == nil {
		p.lineage = p.lineage.of(r.srv)
		p.slot = r.set.slot
		p.foreign = false
		return p, fmt.Sprintf("The position %s now belongs to this server (system %s, timeline %d) and the slot %s.", lsnText(p.end), r.srv.systemID, r.srv.timeline, r.set.slot), nil
	}
	from := p.end
	p.accept(g, r.info.safe, r.srv, r.set.slot, time.Now().UnixMicro())
	return p, fmt.Sprintf("Reading goes on at %s, where the slot %s of this server (system %s, timeline %d) begins; it stood at %s. pg_upgrade makes slots so, and nothing is missing then; otherwise what was written in between is.",
		lsnText(p.end), r.set.slot, r.srv.systemID, r.srv.timeline, lsnText(from)), nil
}
