package postgres

import (
	"context"
	"strconv"
)

// longTransaction is the oldest transaction that runs or is prepared: the log since
// its beginning must be kept by every slot, however far that was read.
type longTransaction struct {
	PID         int64  `json:"pid,omitempty"`
	Prepared    string `json:"prepared,omitempty"` // The name of a prepared one, which has no process.
	XID         string `json:"xid,omitempty"`
	Application string `json:"application,omitempty"`
	User        string `json:"user,omitempty"`
	Database    string `json:"database,omitempty"`
	State       string `json:"state,omitempty"`
	Seconds     int64  `json:"seconds"`
}

// Who holds a transaction open: sessions with a transaction number, and prepared
// transactions. Readers without a number hold no log. What others do is hidden from
// users without pg_read_all_stats.
const queryOldest = `SELECT * FROM (
	SELECT pid::text, ''::text, backend_xid::text, coalesce(application_name, ''), coalesce(usename::text, ''), coalesce(datname::text, ''), coalesce(state, ''),
		extract(epoch FROM pg_catalog.now() - xact_start)::bigint AS age
	FROM pg_catalog.pg_stat_activity WHERE backend_xid IS NOT NULL AND xact_start IS NOT NULL AND pid <> pg_catalog.pg_backend_pid()
	UNION ALL
	SELECT '', gid, transaction::text, '', owner::text, database::text, 'prepared', extract(epoch FROM pg_catalog.now() - prepared)::bigint FROM pg_catalog.pg_prepared_xacts
) t ORDER BY age DESC LIMIT 1`

// oldestTransaction returns the oldest transaction that writes, nil when there is
// none to be seen.
func (d *db) oldestTransaction(ctx context.Context) (*longTransaction, error) {
	r, err := d.row(ctx, queryOldest)
	if err != nil || r == nil {
		return nil, explain(err, "asking for the oldest transaction")
	}
	return &longTransaction{
		PID: number(r[0]), Prepared: string(r[1]), XID: string(r[2]), Application: string(r[3]), User: string(r[4]), Database: string(r[5]),
		State: string(r[6]), Seconds: number(r[7]),
	}, nil
}

func (t *longTransaction) place() string {
	if t.Prepared != "" {
		return "prepared transaction " + t.Prepared
	}
	return "server process " + strconv.FormatInt(t.PID, 10)
}

// describe names the transaction for people.
func (t *longTransaction) describe() string {
	text := t.place() + ", transaction " + t.XID
	for _, part := range []struct{ name, value string }{{"user", t.User}, {"application", t.Application}, {"database", t.Database}, {"state", t.State}} {
		if part.value != "" {
			text += ", " + part.name + " " + part.value
		}
	}
	return text
}

func (t *longTransaction) mend() string {
	if t.Prepared != "" {
		return "finish it: COMMIT PREPARED " + quoteLiteral(t.Prepared) + " or ROLLBACK PREPARED " + quoteLiteral(t.Prepared)
	}
	return "let it end, or end it: SELECT pg_terminate_backend(" + strconv.FormatInt(t.PID, 10) + ")"
}
