package postgres

import (
	"context"
	"strings"
	"time"

	"github.com/jackc/pglogrepl"
)

// slotInfo is what the server says of a slot.
type slotInfo struct {
	plugin, database string
	logical, active  bool
	pid              string
	restart, safe    uint64 // restart_lsn and confirmed_flush_lsn; 0 when there is none.
	walStatus        string // lost: what it needs has been removed.
	reason           string // Why it was invalidated, from PostgreSQL 16 on.
	temporary        bool
	// From PostgreSQL 17 on: it is copied to standbys, or it is such a copy.
	failover, synced bool
}

func (s *slotInfo) lost() bool { return s.walStatus == "lost" || s.reason != "" || s.restart == 0 }

// slot returns a slot, nil when there is none. Columns that came with later
// versions are asked for through JSON.
func (d *db) slot(ctx context.Context, name string) (*slotInfo, error) {
	r, err := d.row(ctx, `SELECT plugin, slot_type = 'logical', coalesce(database, ''), active, coalesce(active_pid::text, ''),
		coalesce(restart_lsn::text, '0/0'), coalesce(confirmed_flush_lsn::text, '0/0'), temporary,
		coalesce(pg_catalog.to_jsonb(s)->>'wal_status', ''), coalesce(pg_catalog.to_jsonb(s)->>'invalidation_reason', ''),
		coalesce(pg_catalog.to_jsonb(s)->>'synced', '') = 'true', coalesce(pg_catalog.to_jsonb(s)->>'failover', '') = 'true'
		FROM pg_catalog.pg_replication_slots s WHERE slot_name = $1`, name)
	if err != nil || r == nil {
		return nil, explain(err, "reading about the slot")
	}
	info := &slotInfo{
		plugin: string(r[0]), logical: truth(r[1]), database: string(r[2]), active: truth(r[3]), pid: string(r[4]),
		restart: parseLSN(r[5]), safe: parseLSN(r[6]), temporary: truth(r[7]), walStatus: string(r[8]), reason: string(r[9]), synced: truth(r[10]), failover: truth(r[11]),
	}
	return info, nil
}

func parseLSN(text []byte) uint64 {
	lsn, err := pglogrepl.ParseLSN(string(text))
	if err != nil {
		return 0
	}
	return uint64(lsn)
}

// checkSlot tells what is wrong with an existing slot for this configuration.
func (s *settings) checkSlot(info *slotInfo) error {
	if err := s.checkSlotKind(info); err != nil || !info.lost() {
		return err
	}
	reason := info.reason
	if reason == "" {
		reason = info.walStatus
	}
	return slotLost(s.slot, reason, nil)
}

// checkSlotKind tells whether a slot is one of the kind that this configuration needs.
func (s *settings) checkSlotKind(info *slotInfo) error {
	switch {
	case !info.logical || info.plugin != "pgoutput":
		e := fatal("pg.slot.plugin", "the slot was made for another purpose (plugin "+info.plugin+")", nil,
			"choose another slot.name, or drop this one if nobody needs it: SELECT pg_drop_replication_slot('"+s.slot+"')")
		e.Place = s.slot
		return e
	case info.database != s.database:
		e := fatal("pg.slot.database", "the slot belongs to the database "+info.database, nil, "choose another slot.name")
		e.Place = s.slot
		return e
	}
	return nil
}

// failover tells whether new slots are to be copied to standbys, which servers can
// do from PostgreSQL 17 on; a standby's own slots cannot be copied further.
func (s *settings) failover(srv server) bool {
	const first = 170000
	return s.slotFailover && srv.version >= first && !srv.recovery
}

// slotInUse is the error for a slot that another client reads from.
func slotInUse(slot, pid string) error {
	e := retriable("pg.slot.in_use", "another client reads from the slot (server process "+pid+")", nil)
	e.Place = slot
	e.Mend = "stop the other client (SELECT pg_terminate_backend(" + pid + ") ends its connection) or give this connector a slot.name of its own"
	return e
}

// newSlot is a slot just made: where it begins, and the snapshot of that point.
type newSlot struct {
	begin    uint64
	snapshot string
}

// createSlot makes a slot and exports its snapshot, which lives until the next
// command on this connection. It waits for all transactions that run; the context
// ends the wait, and the server then makes no slot.
func (c *replication) createSlot(ctx context.Context, name string, temporary, failover bool) (newSlot, error) {
	var sql strings.Builder
	sql.WriteString("CREATE_REPLICATION_SLOT " + quoteIdent(name))
	if temporary {
		sql.WriteString(" TEMPORARY")
	}
	sql.WriteString(" LOGICAL pgoutput ")
	if failover {
		sql.WriteString("(SNAPSHOT 'export', FAILOVER)")
	} else {
		sql.WriteString("EXPORT_SNAPSHOT")
	}
	r, err := pglogrepl.ParseCreateReplicationSlot(c.pg.Exec(ctx, sql.String()))
	if err != nil {
		return newSlot{}, explain(err, "creating the slot "+name)
	}
	return newSlot{begin: parseLSN([]byte(r.ConsistentPoint)), snapshot: r.SnapshotName}, nil
}

// dropSlot drops a slot, if it is there and nobody reads from it.
func (d *db) dropSlot(ctx context.Context, name string) error {
	_, err := d.rows(ctx, "SELECT pg_catalog.pg_drop_replication_slot(slot_name) FROM pg_catalog.pg_replication_slots WHERE slot_name = $1 AND NOT active", name)
	return explain(err, "dropping the slot "+name)
}

// waitingFor names what the creation of a slot waits for, and how to end that: on a
// primary the oldest transaction that has written, on a standby a record of the
// primary's that tells which transactions run. Empty when nothing is found.
func (d *db) waitingFor(ctx context.Context) (why, mend string) {
	r, err := d.row(ctx, `SELECT pg_catalog.pg_is_in_recovery(), a.pid::text, a.backend_xid::text, coalesce(nullif(a.application_name, ''), a.usename, ''), pg_catalog.date_trunc('second', pg_catalog.now() - a.xact_start)::text
		FROM (SELECT) one LEFT JOIN pg_catalog.pg_stat_activity a ON a.backend_xid IS NOT NULL AND a.pid <> pg_catalog.pg_backend_pid() ORDER BY a.xact_start LIMIT 1`)
	switch {
	case err != nil || r == nil:
		return "", ""
	case truth(r[0]):
		return "a standby can make a slot when its primary tells which transactions run, which an idle one does seldom", "on the primary: SELECT pg_log_standby_snapshot()"
	case r[1] == nil:
		return "", ""
	}
	return "transaction " + string(r[2]) + " has not ended (server process " + string(r[1]) + ", " + string(r[3]) + ", since " + string(r[4]) + ")",
		"end it, or: SELECT pg_terminate_backend(" + string(r[1]) + ")"
}

// senderTimeout is how long the server waits for a sign of life of who reads the log; 0
// without end.
func (d *db) senderTimeout(ctx context.Context) (time.Duration, error) {
	r, err := d.row(ctx, "SELECT setting FROM pg_catalog.pg_settings WHERE name = 'wal_sender_timeout'")
	if err != nil || r == nil {
		return 0, explain(err, "asking the server about itself")
	}
	return time.Duration(number(r[0])) * time.Millisecond, nil
}
