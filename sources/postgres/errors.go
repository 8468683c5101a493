package postgres

import (
	"context"
	"errors"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tidemill/tidemill/connect"
)

// fatal returns an error that a person must mend.
func fatal(code, message string, cause error, mend string) *connect.Error {
	return &connect.Error{Code: code, Class: connect.ClassFatal, Message: message, Cause: cause, Mend: mend}
}

// retriable returns an error that may go away by itself.
func retriable(code, message string, cause error) *connect.Error {
	return &connect.Error{Code: code, Class: connect.ClassRetriable, Message: message, Cause: cause}
}

// explain turns what the server or the network said into a coded error; doing says
// what we were about. An error that has a code already keeps it.
func explain(err error, doing string) error {
	if err == nil {
		return nil
	}
	if known, ok := errors.AsType[*connect.Error](err); ok {
		return known
	}
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return explainServer(pg, err, doing)
	}
	if errors.Is(err, context.Canceled) {
		return err
	}
	if text := err.Error(); strings.Contains(text, "server refused TLS") || strings.Contains(text, "tls:") || strings.Contains(text, "x509:") {
		return fatal("pg.tls", "cannot agree with the server on an encrypted connection, "+doing, err,
			"check database.sslmode, database.sslrootcert, database.sslcert and database.sslkey")
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		e := retriable("pg.unreachable", "the host name is not known, "+doing, err)
		e.Mend = "check database.hostname"
		return e
	}
	e := retriable("pg.unreachable", "no connection to the server, "+doing, err)
	e.Mend = "check database.hostname and database.port, and that the server runs and may be reached from here"
	return e
}

// explainServer classifies what the server said, by its SQLSTATE.
func explainServer(pg *pgconn.PgError, err error, doing string) error {
	switch {
	case strings.HasPrefix(pg.Code, "28"):
		return fatal("pg.auth", "the server refuses the login, "+doing, err,
			"check database.user and database.password, and that pg_hba.conf lets this user in from this host (also for replication)")
	case pg.Code == "3D000":
		return fatal("pg.database.missing", "there is no such database, "+doing, err, "check database.dbname")
	case pg.Code == "55006" && strings.Contains(pg.Message, "slot"):
		e := retriable("pg.slot.in_use", "another client reads from the slot, "+doing, err)
		e.Mend = "stop the other client or give this connector a slot.name of its own"
		return e
	case pg.Code == "55000" && strings.Contains(pg.Message, "slot"):
		return slotLost("", "", err)
	case pg.Code == "42704" && strings.Contains(pg.Message, "publication"):
		return publicationGap(doing, err)
	case pg.Code == "42704" && strings.Contains(pg.Message, "replication slot"):
		return fatal("pg.slot.missing", "the replication slot is gone, "+doing, err, mendSlotGone)
	case pg.Code == "0A000" && strings.Contains(pg.Message, "column list"):
		return fatal("pg.publication.columns", "the publication has different column lists for one table and its partitions, "+doing, err,
			"give them the same columns: ALTER PUBLICATION … SET TABLE … (…)")
	case pg.Code == "53400" || pg.Code == "53300":
		e := retriable("pg.limit", "the server has no room for another slot or connection, "+doing, err)
		e.Mend = "raise max_replication_slots, max_wal_senders or max_connections, or drop what is not needed: SELECT slot_name, active FROM pg_replication_slots"
		return e
	case pg.Code == "42501" && strings.Contains(pg.Message, "walsender"):
		return fatal("pg.role.replication", "the user may not read the log, "+doing, err, "ALTER ROLE … REPLICATION")
	case pg.Code == "42501":
		return fatal("pg.permission", "a right is missing, "+doing, err, "grant what the message names to the user of database.user")
	case pg.Code == "XX000" && strings.Contains(pg.Message, "could not map file"): // …node, …number since PostgreSQL 16.
		e := retriable("pg.decoding", "the server cannot decode its own log, "+doing, err)
		e.Mend = "this is a defect of the server, and it is tried again; if it lasts, POST /connectors/<name>/remedies/resnapshot moves the slot past that place and reads the tables anew"
		return e
	case temporary(pg.Code):
		return retriable("pg.server", "the server broke off, "+doing, err)
	}
	return fatal("pg.server", "the server refused, "+doing, err, "")
}

// publicationGap is the error for a publication that did not exist where the log is
// read. It is tried a few times, because another session may just be making it.
func publicationGap(doing string, cause error) *connect.Error {
	e := retriable("pg.publication.missing_at_lsn", "the publication did not exist at this position of the log, "+doing, cause)
	e.Mend = "the changes made while it did not exist cannot be read: drop the slot (SELECT pg_drop_replication_slot('<slot.name>')) and take a new snapshot with snapshot.mode=when_needed"
	return e
}

// temporary tells whether a SQLSTATE speaks of a state that passes: connections,
// resources, locks, interventions by an operator and internal faults.
func temporary(code string) bool {
	for _, class := range []string{"08", "53", "40", "57P", "58", "XX", "55P03", "57014", "72"} {
		if strings.HasPrefix(code, class) {
			return true
		}
	}
	return false
}

const mendSlotGone = "changes since the stored offset are lost to this connector: take a new snapshot with snapshot.mode=when_needed, or reset the offsets (DELETE /connectors/<name>/offsets) and restart"

func slotLost(slot, reason string, cause error) *connect.Error {
	message := "the server has removed log that the slot still needed"
	if reason != "" {
		message += " (" + reason + ")"
	}
	e := fatal("pg.slot.lost", message, cause, mendSlotGone+"; drop the slot first: SELECT pg_drop_replication_slot('"+slot+"'); raise max_slot_wal_keep_size to prevent it")
	e.Place = slot
	return e
}

func isRetriable(err error) bool { return connect.AsError(err).Class == connect.ClassRetriable }

// backoff gives the waits between attempts: doubling, with a fifth of jitter from
// the clock, up to a limit.
type backoff struct {
	wait, first, most time.Duration
}

func (b *backoff) next() time.Duration {
	b.wait = min(max(b.wait*2, b.first), b.most)
	jitter := time.Duration(time.Now().UnixNano() % int64(b.wait/5+1))
	return b.wait - jitter
}

// pause waits for d and tells whether ctx is still alive.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// sqlState returns the SQLSTATE of a server's error, "" for other errors.
func sqlState(err error) string {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pg.Code
	}
	return ""
}
