package postgres

import (
	"context"
	"fmt"
	"strconv"

	"github.com/tidemill/tidemill/connect"
)

// checkSlots looks at the slot.
func (p *preflight) checkSlots(ctx context.Context) error {
	info, err := p.db.slot(ctx, p.set.slot)
	if err != nil || info == nil {
		return err
	}
	p.slot = info
	if err := p.set.checkSlot(info); err != nil && !(info.lost() && p.set.when.needed) {
		p.add("slot.name", err)
	}
	if p.ours = info.active && p.ownSlot(ctx, info.pid); info.active && !p.ours {
		p.add("slot.name", slotInUse(p.set.slot, info.pid))
	}
	if info.walStatus == "unreserved" {
		p.warn(Finding{Setting: "slot.name", Code: "pg.slot.unreserved", Place: p.set.slot, What: "the server will remove log that the slot needs at its next checkpoint", Why: "the slot is then lost, and a new snapshot needed",
			SQL: []string{"ALTER SYSTEM SET max_slot_wal_keep_size = -1", reload}, Mend: "at once, and let the connector run; set a limit again afterwards"})
	}
	return nil
}

// ownSlot tells whether it is this connector that reads from the slot: a running
// one is validated too, when its configuration changes.
func (p *preflight) ownSlot(ctx context.Context, pid string) bool {
	r, err := p.db.row(ctx, "SELECT application_name FROM pg_catalog.pg_stat_activity WHERE pid = $1::int", pid)
	return err == nil && r != nil && string(r[0]) == p.app
}

// checkReplication opens a connection as the stream will: what the server says to
// that, such as pg_hba.conf, cannot be known otherwise.
func (p *preflight) checkReplication(ctx context.Context) error {
	for _, pr := range p.problems {
		if pr.err.Code == "pg.role.replication" || pr.err.Code == "pg.limit" {
			return nil // It would fail, as was said.
		}
	}
	if p.facts.senders >= p.facts.settings["max_wal_senders"].number() {
		return nil // The one that there is room for is the connector's own.
	}
	c, err := p.set.openReplication(ctx, p.app+" (validation)")
	if err != nil {
		e := *connect.AsError(err)
		e.Message = "a connection in replication mode: " + e.Message
		p.add(connectionKey(err), &e)
		return nil
	}
	c.close(context.WithoutCancel(ctx))
	return nil
}

// Slots that nobody reads from: those of the connector's own kind and database, which a
// connector that was deleted may have left, and others that hold much log. They keep the
// log of this connector's server from being removed.
const (
	queryOtherSlots = `SELECT slot_name, held, kin FROM (SELECT slot_name,
		pg_catalog.pg_wal_lsn_diff(CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() ELSE pg_catalog.pg_current_wal_lsn() END, restart_lsn)::bigint AS held,
		coalesce(plugin = 'pgoutput' AND database = pg_catalog.current_database(), false) AS kin
		FROM pg_catalog.pg_replication_slots WHERE NOT active AND NOT temporary AND restart_lsn IS NOT NULL AND slot_name <> $1) s
	WHERE kin OR held > $2::bigint ORDER BY held DESC`
	muchLog = 1 << 30
)

// checkIdleSlots tells of slots that nobody reads from.
func (p *preflight) checkIdleSlots(ctx context.Context) error {
	rows, err := p.db.rows(ctx, queryOtherSlots, p.set.slot, strconv.Itoa(muchLog))
	if err != nil {
		return explain(err, "asking for the slots")
	}
	for _, r := range rows {
		name, held := string(r[0]), number(r[1])
		f := Finding{Setting: "slot.name", Code: "pg.slot.orphan", Place: name, What: "nobody reads from this slot, and it holds back " + strconv.FormatInt(held>>20, 10) + " MB of log",
			Why: "what it holds back grows, and fills the disk of the server", Mend: "if nobody needs it any more: SELECT pg_drop_replication_slot(" + quoteLiteral(name) + ")"}
		if truth(r[2]) {
			f.Mend += "; a connector that is paused or stopped does, one that was deleted does not"
		}
		p.note(f)
	}
	return nil
}

// checkSurroundings looks for what is no part of the connector and will hinder it.
func (p *preflight) checkSurroundings(ctx context.Context) error {
	if err := p.checkIdleSlots(ctx); err != nil {
		return err
	}
	if !p.role.super && !p.role.statistics {
		p.note(Finding{Setting: "database.user", Code: "pg.role.statistics", What: "the user may not see what other sessions do", Why: "when a long transaction holds the log back, it cannot be named",
			SQL: []string{"GRANT pg_read_all_stats TO " + quoteIdent(p.role.name)}})
	}
	old, err := p.db.oldestTransaction(ctx)
	if err != nil {
		return err
	}
	const long = 600
	if old != nil && old.Seconds > long {
		p.warn(Finding{Setting: "slot.name", Code: "pg.transaction.old", Place: old.place(), What: fmt.Sprintf("a transaction is open for %d s: %s", old.Seconds, old.describe()),
			Why: "a new slot waits for its end, and an existing one keeps all log since its beginning", Mend: old.mend()})
	}
	p.checkFailover()
	return nil
}

// checkFailover looks at what a copy of the slot on standbys needs.
func (p *preflight) checkFailover() {
	if !p.set.slotFailover {
		return
	}
	if p.server.version < 170000 {
		p.warn(Finding{Setting: "slot.failover", Code: "pg.failover.version", What: fmt.Sprintf("the server has version %d, and standbys keep copies of slots from 17 on", p.server.version/versionUnit),
			Why: "after a failover the slot is missing, and a new snapshot is needed", Mend: "upgrade the server, or set slot.failover=false"})
		return
	}
	if names, known := p.facts.settings["synchronized_standby_slots"]; known && names.value == "" && !p.server.recovery {
		p.note(Finding{Setting: "slot.failover", Code: "pg.failover.order", What: "synchronized_standby_slots names no standby", Why: "the connector may get ahead of the standbys, and after a failover have read what they never got",
			Mend: "ALTER SYSTEM SET synchronized_standby_slots = '<slot of the standby>' on the primary; and on each standby sync_replication_slots = on, hot_standby_feedback = on, and dbname in primary_conninfo"})
	}
	if p.server.recovery {
		for _, name := range []string{"sync_replication_slots", "hot_standby_feedback"} {
			if p.facts.settings[name].value != "on" {
				p.warn(Finding{Setting: "slot.failover", Code: "pg.failover.standby", Place: name, What: name + " is off on this standby", Why: "the slot is not copied to it",
					SQL: []string{"ALTER SYSTEM SET " + name + " = on", reload}})
			}
		}
	}
}
