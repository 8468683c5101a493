package postgres

import (
	"context"
	"errors"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tidemill/tidemill/connect"
)

// The SQLSTATEs that are looked at one by one.
const (
	stateUndefinedColumn = "42703"
	stateUndefinedTable  = "42P01"
	stateNoConflictIndex = "42P10"
	stateWrongType       = "42804"
	stateNoPermission    = "42501"
)

func fatal(code, place, message, mend string) *connect.Error {
	return &connect.Error{Code: code, Class: connect.ClassFatal, Place: place, Message: message, Mend: mend}
}

// badRecord says why one record cannot be written.
func badRecord(code, message, mend string) *connect.Error {
	return &connect.Error{Code: code, Class: connect.ClassRecord, Message: message, Mend: mend}
}

// explain turns what the server or the network said into a coded error. place is
// the table, if it is known. Errors with a code keep it.
func explain(err error, place string) error {
	if err == nil {
		return nil
	}
	if known, ok := errors.AsType[*connect.Error](err); ok {
		return known
	}
	pg, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return explainNetwork(err)
	}
	if pg.TableName != "" {
		place = pg.TableName
		if pg.ColumnName != "" {
			place += "." + pg.ColumnName
		}
	}
	e := &connect.Error{Code: "pgsink.sql", Class: connect.ClassFatal, Place: place, Message: "the server refuses", Cause: err}
	switch {
	case isTemporary(pg.Code):
		e.Code, e.Class, e.Message = "pgsink.retry", connect.ClassRetriable, "the server cannot do it now"
	case isData(pg.Code):
		e.Code, e.Class, e.Message = "pgsink.row", connect.ClassRecord, "the row does not fit the table"
		e.Mend = "change the table, or let errors.tolerance=all send such records to a dead letter queue"
	case strings.HasPrefix(pg.Code, "28"):
		e.Code, e.Place, e.Message = "pgsink.auth", keyUser, "the server refuses the login"
		e.Mend = "check " + keyUser + " and " + keyPassword + ", and that pg_hba.conf lets this user in from this host"
	case pg.Code == "3D000":
		e.Code, e.Place, e.Message, e.Mend = "pgsink.database", keyURL, "there is no such database", "create it, or name another in "+keyURL
	case pg.Code == "3F000":
		e.Code, e.Message, e.Mend = "pgsink.schema_missing", "there is no such schema", "CREATE SCHEMA for it, or change "+keyFormat
	case pg.Code == stateNoPermission:
		e.Code, e.Message, e.Mend = "pgsink.permission", "a right is missing", "grant what the message names to the user of "+keyUser
	}
	return e
}

// explainNetwork speaks of what failed before or between the server's answers.
func explainNetwork(err error) error {
	e := &connect.Error{
		Code: "pgsink.unreachable", Class: connect.ClassRetriable, Place: keyURL, Message: "no connection to the database",
		Mend: "check the host and port, and that the server runs and may be reached from here", Cause: err,
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		e.Mend = ""
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		e.Message = "the host name is not known"
	}
	if text := err.Error(); strings.Contains(text, "server refused TLS") || strings.Contains(text, "tls:") || strings.Contains(text, "x509:") {
		e.Code, e.Class, e.Message, e.Mend = "pgsink.tls", connect.ClassFatal, "no encrypted connection can be agreed on", "check sslmode and sslrootcert in "+keyURL
	}
	return e
}

// isTemporary tells whether the same statements may work later: lost connections,
// deadlocks, serialization failures, lock and statement timeouts, a server that
// stops, starts, stands by or has no room.
func isTemporary(state string) bool {
	switch state {
	case "25006", "55P03", "57014", "57P01", "57P02", "57P03", "57P05", "55006":
		return true
	}
	class := state[:min(2, len(state))]
	return class == "40" || class == "08" || class == "53" || class == "58"
}

// isData tells whether a row is at fault: its values, or a constraint they break.
func isData(state string) bool {
	class := state[:min(2, len(state))]
	return class == "22" || class == "23" || class == "54" || state == "44000"
}

// stateOf returns an error's SQLSTATE, "" when it has none.
func stateOf(err error) string {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pg.Code
	}
	return ""
}
