package postgres

import (
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/jackc/pglogrepl"

	"github.com/tidemill/tidemill/connect"
)

// The states of a snapshot in a position.
const (
	snapshotNone = iota
	snapshotRunning
	snapshotDone
)

// lineage names the history that positions belong to: a position means nothing on
// another server or slot.
type lineage struct {
	systemID string
	timeline int32 // 0: not known.
	slot     string
	// The gap in this history that was accepted last, and when (microseconds).
	gapFrom, gapTo uint64
	gapAt          int64
}

// of returns the lineage for another server, or the same one after a promotion, that
// goes on where l ends.
func (l *lineage) of(srv server) *lineage {
	next := srv.lineage
	if srv.recovery {
		// A standby goes over to another timeline while it is read from.
		next.timeline = 0
	}
	if l != nil {
		next.gapFrom, next.gapTo, next.gapAt = l.gapFrom, l.gapTo, l.gapAt
	}
	return &next
}

// position is from where to resume: behind all transactions that end at or before
// end, and, if commit is set, behind the first ordinal changes of the transaction
// whose commit record stands there. It is the offset of a record.
//
// Invariant 2: the identity of a change is (commit LSN, ordinal), never its own
// LSN, which is kept for people and for Debezium only.
type position struct {
	lsn      uint64 // Of the change itself.
	end      uint64
	commit   uint64
	ordinal  int64
	counts   uint32 // By what ordinals are counted, see counting; 0: not known.
	message  uint64 // The newest logical message outside transactions that was sent.
	micros   int64  // Of the commit, since the epoch.
	xid      uint32
	snapshot uint8
	closing  bool // It is that of a transaction's last record.
	// forced asks for a snapshot whatever snapshot.mode says, until it is complete.
	forced bool
	// foreign tells that Debezium wrote it: see takeover.go.
	foreign bool
	// part is what Debezium has sent of the transaction behind end; nil for nothing.
	part *sentPart
	*lineage
	backlog *backlog // Of tables that are read beside the log; nil for none.
}

// line is the position's lineage, nil for no position.
func (p *position) line() *lineage {
	if p == nil {
		return nil
	}
	return p.lineage
}

// partial tells whether the position is one of a snapshot that is not over: what is
// stored then is no place to go on from.
func (p *position) partial() bool { return p != nil && p.snapshot == snapshotRunning }

// CommittedAt tells, of the last record of a transaction, when that was committed.
func (p *position) CommittedAt() int64 {
	if !p.closing {
		return 0
	}
	return p.micros
}

// AppendJSON writes the position with Debezium's names (lsn, lsn_commit, lsn_proc,
// messageType, txId, ts_usec, snapshot, snapshot_completed, last_snapshot_record), so
// that it can go on from ours, and with our own, which it passes over. Its position
// is lsn_proc, which names the end of the last complete transaction, not the change:
// so Debezium reads a transaction of which a part was sent again from its start, and
// never mistakes one change of a COPY for another.
func (p *position) AppendJSON(dst []byte) []byte {
	num := func(name string, v uint64) {
		dst = append(append(append(dst, '"'), name...), `":`...)
		dst = append(strconv.AppendUint(dst, v, 10), ',')
	}
	dst = append(dst, '{')
	num("lsn", p.lsn)
	num("lsn_commit", p.end)
	num("lsn_proc", p.end)
	if p.xid != 0 {
		num("txId", uint64(p.xid))
	}
	dst = append(strconv.AppendInt(append(dst, `"ts_usec":`...), p.micros, 10), ',')
	switch p.snapshot {
	case snapshotRunning:
		dst = append(dst, `"snapshot":"INITIAL","snapshot_completed":false,"last_snapshot_record":false,`...)
		if p.forced {
			dst = append(dst, `"resnapshot":true,`...)
		}
	case snapshotDone:
		dst = append(dst, `"snapshot":"INITIAL","snapshot_completed":true,"last_snapshot_record":true,`...)
	default:
		dst = append(dst, `"messageType":"COMMIT",`...)
	}
	if p.commit != 0 {
		num("tx_commit_lsn", p.commit)
		num("tx_ordinal", uint64(p.ordinal))
		if p.counts != 0 {
			num("tx_counts", uint64(p.counts))
		}
	}
	if p.message != 0 {
		num("lsn_message", p.message)
	}
	if !p.backlog.empty() {
		dst = append(p.backlog.appendJSON(append(dst, `"incremental":`...)), ',')
	}
	if p.lineage != nil {
		dst = p.lineage.appendJSON(dst)
	}
	dst[len(dst)-1] = '}'
	return dst
}

func (l *lineage) appendJSON(dst []byte) []byte {
	dst = strconv.AppendQuote(append(dst, `"system_id":`...), l.systemID)
	dst = strconv.AppendInt(append(dst, `,"timeline":`...), int64(l.timeline), 10)
	dst = strconv.AppendQuote(append(dst, `,"slot":`...), l.slot)
	if l.gapAt != 0 {
		dst = strconv.AppendUint(append(dst, `,"gap_from":`...), l.gapFrom, 10)
		dst = strconv.AppendUint(append(dst, `,"gap_to":`...), l.gapTo, 10)
		dst = strconv.AppendInt(append(dst, `,"gap_accepted_usec":`...), l.gapAt, 10)
	}
	return append(dst, ',')
}

// storedOffset is a position as JSON has it, ours or Debezium's.
type storedOffset struct {
	LSN       *uint64         `json:"lsn"`
	LSNProc   *uint64         `json:"lsn_proc"`
	LSNCommit *uint64         `json:"lsn_commit"`
	TxID      *uint64         `json:"txId"`
	Kind      string          `json:"messageType"`
	Micros    int64           `json:"ts_usec"`
	Snapshot  json.RawMessage `json:"snapshot"`
	Completed bool            `json:"snapshot_completed"`
	Last      bool            `json:"last_snapshot_record"`
	Forced    bool            `json:"resnapshot"`
	TxCommit  uint64          `json:"tx_commit_lsn"`
	Ordinal   int64           `json:"tx_ordinal"`
	Counts    uint32          `json:"tx_counts"`
	Events    int64           `json:"lsn_events_processed"`
	Message   uint64          `json:"lsn_message"`
	SystemID  string          `json:"system_id"`
	Timeline  int32           `json:"timeline"`
	Slot      string          `json:"slot"`
	Backlog   string          `json:"incremental"`
	GapFrom   uint64          `json:"gap_from"`
	GapTo     uint64          `json:"gap_to"`
	GapAt     int64           `json:"gap_accepted_usec"`
}

// parsePosition reads a stored offset, nil for none.
func parsePosition(text []byte) (*position, error) {
	if len(text) == 0 || string(text) == "null" {
		return nil, nil
	}
	const mend = "POST /connectors/<name>/remedies/resnapshot takes a new snapshot; or put right offsets (PATCH /connectors/<name>/offsets)"
	var o storedOffset
	if err := json.Unmarshal(text, &o); err != nil {
		return nil, fatal("pg.offset", "the stored offset cannot be read", fmt.Errorf("%s: %w", text, err), mend)
	}
	if o.LSN == nil && o.LSNCommit == nil && o.LSNProc == nil {
		return nil, fatal("pg.offset", "the stored offset has none of lsn, lsn_proc and lsn_commit", fmt.Errorf("%s", text), mend)
	}
	if o.SystemID == "" {
		return o.takeOver(), nil
	}
	p := &position{commit: o.TxCommit, ordinal: o.Ordinal, counts: o.Counts, message: o.Message, micros: o.Micros, forced: o.Forced,
		lsn: value(o.LSN), end: value(o.LSNCommit), xid: uint32(value(o.TxID)),
		lineage: &lineage{systemID: o.SystemID, timeline: o.Timeline, slot: o.Slot, gapFrom: o.GapFrom, gapTo: o.GapTo, gapAt: o.GapAt}}
	switch {
	case o.inSnapshot() && (o.Completed || o.Last):
		p.snapshot = snapshotDone
	case o.inSnapshot():
		p.snapshot = snapshotRunning
	}
	var err error
	if p.backlog, err = parseBacklog(o.Backlog); err != nil {
		return nil, err
	}
	if p.end == 0 {
		p.end = p.lsn
	}
	return p, nil
}

// inSnapshot tells whether the offset is of a snapshot: Debezium writes true up to
// version 2, and then the kind of the snapshot.
func (o *storedOffset) inSnapshot() bool {
	switch string(o.Snapshot) {
	case "", "false", "null", `"FALSE"`, `"false"`:
		return false
	}
	return true
}

// value returns what a field of JSON holds, 0 when it is not there.
func value(v *uint64) uint64 {
	if v == nil {
		return 0
	}
	return *v
}

// partition names the source as Debezium does, so that its offsets are found.
func partition(prefix string) (connect.SourcePartition, error) {
	return connect.NewSourcePartition(map[string]any{"server": prefix})
}

// lsnText writes a position in the log as PostgreSQL does.
func lsnText(lsn uint64) string { return pglogrepl.LSN(lsn).String() }
