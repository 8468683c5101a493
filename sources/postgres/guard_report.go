package postgres

import (
	"context"
	"fmt"
	"time"
)

// slotReport is what one look at the slot found: the document "slot" of a running
// connector. Sizes are in bytes, times in milliseconds.
type slotReport struct {
	Slot      string `json:"slot"`
	Active    bool   `json:"active"`    // Somebody reads from it.
	Connected bool   `json:"connected"` // We do.
	Status    string `json:"wal_status,omitempty"`
	// SafeSize is how much may be written before log that the slot needs is removed;
	// absent without a limit.
	SafeSize *int64 `json:"safe_wal_bytes,omitempty"`
	// Retained is what the server keeps for the slot, Lag what is not confirmed yet.
	Retained  int64  `json:"retained_bytes"`
	Lag       int64  `json:"lag_bytes"`
	Behind    int64  `json:"lag_ms"` // How old what is read now is.
	Current   string `json:"current_lsn"`
	Received  string `json:"received_lsn"`
	Confirmed string `json:"confirmed_flush_lsn"`
	Restart   string `json:"restart_lsn"`
	// The ages tell how long these positions have stood still while others moved.
	ConfirmedAge    int64            `json:"confirmed_age_ms"`
	RestartAge      int64            `json:"restart_age_ms"`
	CatalogXmin     int64            `json:"catalog_xmin"`
	XminAge         int64            `json:"catalog_xmin_age"` // In transactions.
	LastTransaction uint32           `json:"last_transaction"`
	HeldBy          string           `json:"held_by,omitempty"`
	Oldest          *longTransaction `json:"oldest_transaction,omitempty"`
	Growth          int64            `json:"growth_bytes_per_second"`
	UntilLost       *int64           `json:"until_lost_ms,omitempty"` // At this pace; absent when it does not come near.
	Limit           int64            `json:"limit_bytes,omitempty"`
	Action          string           `json:"action"`

	current, confirmed, restart, position uint64
	pace                                  float64
	clock                                 int64 // The server's, in microseconds since the epoch.
	at, confirmedSince, restartSince      time.Time
}

// On a standby the log ends where it was replayed.
const querySlot = `SELECT s.active, coalesce(pg_catalog.to_jsonb(s)->>'wal_status', ''), pg_catalog.to_jsonb(s)->>'safe_wal_size',
	coalesce(s.restart_lsn, '0/0'), coalesce(s.confirmed_flush_lsn, '0/0'), coalesce(s.catalog_xmin::text, '0'), coalesce(pg_catalog.age(s.catalog_xmin), 0), n.lsn,
	(extract(epoch FROM pg_catalog.clock_timestamp()) * 1000000)::bigint
	FROM pg_catalog.pg_replication_slots s, (SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() ELSE pg_catalog.pg_current_wal_lsn() END AS lsn) n
	WHERE s.slot_name = $1`

// slotReport asks for the slot, nil when there is none.
func (d *db) slotReport(ctx context.Context, name string) (*slotReport, error) {
	r, err := d.row(ctx, querySlot, name)
	if err != nil || r == nil {
		return nil, err
	}
	report := &slotReport{
		Slot: name, Active: truth(r[0]), Status: string(r[1]), restart: parseLSN(r[3]), confirmed: parseLSN(r[4]), CatalogXmin: number(r[5]), XminAge: number(r[6]),
		current: parseLSN(r[7]), clock: number(r[8]), at: time.Now(),
	}
	if r[2] != nil {
		size := number(r[2])
		report.SafeSize = &size
	}
	report.Retained, report.Lag = distance(report.restart, report.current), distance(report.confirmed, report.current)
	if report.restart == 0 {
		report.Retained = 0 // It was invalidated, and holds nothing.
	}
	report.Current, report.Confirmed, report.Restart = lsnText(report.current), lsnText(report.confirmed), lsnText(report.restart)
	return report, nil
}

func distance(from, to uint64) int64 { return int64(to - min(from, to)) }

// since compares with an earlier report: how long positions have stood still, and how
// fast the log grows.
func (r *slotReport) since(last *slotReport) {
	r.confirmedSince, r.restartSince = r.at, r.at
	if last.at.IsZero() {
		return
	}
	if r.confirmed == last.confirmed && r.confirmed < r.current {
		r.confirmedSince = last.confirmedSince
	}
	if r.restart == last.restart && r.restart < r.current {
		r.restartSince = last.restartSince
	}
	r.ConfirmedAge, r.RestartAge = r.at.Sub(r.confirmedSince).Milliseconds(), r.at.Sub(r.restartSince).Milliseconds()
	// The pace is evened out, so that one large transaction is no reason for alarm.
	const even = time.Minute
	if took := r.at.Sub(last.at); took > 0 {
		now := float64(distance(last.current, r.current)) / took.Seconds()
		r.pace = last.pace + (now-last.pace)*min(1, float64(took)/float64(even))
	}
	r.Growth = int64(r.pace)
	// What is left is used up at the pace of the server, while the slot stands still.
	const near = 24 * time.Hour
	if r.SafeSize != nil && r.Growth > 0 && r.restart == last.restart {
		left := time.Duration(float64(*r.SafeSize) / float64(r.Growth) * float64(time.Second))
		if left >= 0 && left < near {
			ms := left.Milliseconds()
			r.UntilLost = &ms
		}
	}
}

// behind tells how far behind the server's clock the reading is: nothing, when all
// that was written before the last look has been read.
func (r *slotReport) behind(committed int64, before uint64) {
	if committed == 0 || before == 0 || r.position >= before {
		return
	}
	r.Behind = max(0, (r.clock-committed)/1000)
}

// What holds the log back.
const (
	heldByLoss        = "lost"        // Nothing is held any more: the slot is lost.
	heldByManual      = "manual"      // lsn.flush.mode=manual confirms nothing.
	heldByAbsence     = "reader"      // Nobody reads from the slot, as during a snapshot.
	heldByReading     = "reading"     // We have not read it yet.
	heldByConsumer    = "consumer"    // It was read, and is not safe in Kafka yet.
	heldByTransaction = "transaction" // It is confirmed, and a transaction that still runs began there.
	heldByCheckpoint  = "checkpoint"  // It is confirmed; the server moves on by itself soon.
)

// littleLog is what a slot always holds: the server lets go of whole files.
const littleLog = 32 << 20

// cause tells what holds the log, "" when it is not much.
func (r *slotReport) cause(confirms bool, safe uint64) string {
	switch {
	case r.Status == "lost":
		return heldByLoss
	case r.Retained <= littleLog:
		return ""
	case r.Lag <= r.Retained/2:
		if r.Oldest != nil && r.oldestSeconds()*1000 >= r.RestartAge/2 {
			return heldByTransaction
		}
		return heldByCheckpoint
	case !confirms:
		return heldByManual
	case !r.Connected:
		return heldByAbsence
	case distance(safe, r.position) > r.Lag/2:
		return heldByConsumer
	}
	return heldByReading
}

// explanation says for people what holds the log and what helps.
func (r *slotReport) explanation() string {
	switch r.HeldBy {
	case heldByLoss:
		return "the slot is lost already"
	case heldByManual:
		return "lsn.flush.mode=manual confirms nothing: whoever moves the slot does not"
	case heldByAbsence:
		return "the log is not being read, as it is while a snapshot is taken or the connection is made"
	case heldByConsumer:
		return fmt.Sprintf("what was read is not yet safe in Kafka (%s of %s): look at the brokers and at the worker", megabytes(distance(r.confirmed, r.position)), megabytes(r.Lag))
	case heldByTransaction:
		return "a transaction that began there still runs: " + r.Oldest.describe() + ", since " + (time.Duration(r.oldestSeconds()) * time.Second).String() + "; " + r.Oldest.mend()
	case heldByCheckpoint:
		return "all of it is confirmed; the server lets go of it at one of its next checkpoints"
	case heldByReading:
		return fmt.Sprintf("the connector reads slower than the server writes (%s behind)", megabytes(distance(r.position, r.current)))
	}
	return "it is not much"
}

func (r *slotReport) oldestSeconds() int64 {
	if r.Oldest == nil {
		return 0
	}
	return r.Oldest.Seconds
}

// statusNumber is wal_status as a figure: the higher, the worse.
func (r *slotReport) statusNumber() float64 {
	for i, word := range []string{"reserved", "extended", "unreserved", "lost"} {
		if r.Status == word {
			return float64(i)
		}
	}
	return 0
}

// The alarms, the gravest first.
const (
	alarmUnreserved = "unreserved"
	alarmSoon       = "soon"
	alarmLimit      = "limit"
)

var alarms = map[string]string{
	alarmUnreserved: "the server removes what the slot needs at its next checkpoint, and the slot is then lost.",
	alarmSoon:       "at this pace the server removes what the slot needs within a few minutes.",
	alarmLimit:      "it is more than wal.guard.max.bytes allows.",
}

// alarm tells what is alarming, "" for nothing.
func (r *slotReport) alarm() string {
	const soon = 10 * 60 * 1000
	switch {
	case r.Status == "unreserved":
		return alarmUnreserved
	case r.UntilLost != nil && *r.UntilLost < soon:
		return alarmSoon
	case r.Limit > 0 && r.Retained > r.Limit:
		return alarmLimit
	}
	return ""
}
