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
	timeline int32
	slot     string
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
	message  uint64 // The newest logical message outside transactions that was sent.
	micros   int64  // Of the commit, since the epoch.
	xid      uint32
	snapshot uint8
	*lineage
	backlog *backlog // Of tables that are read beside the log; nil for none.
}

// AppendJSON writes the position with Debezium's names (lsn, lsn_commit, lsn_proc,
// txId, ts_usec, snapshot, snapshot_completed, last_snapshot_record), so that it
// can go on from ours, and with our own.
func (p *position) AppendJSON(dst []byte) []byte {
	num := func(name string, v uint64) {
		dst = append(append(append(dst, '"'), name...), `":`...)
		dst = append(strconv.AppendUint(dst, v, 10), ',')
	}
	dst = append(dst, '{')
	num("lsn", p.lsn)
	num("lsn_commit", p.end)
	num("lsn_proc", p.lsn)
	if p.xid != 0 {
		num("txId", uint64(p.xid))
	}
	dst = append(strconv.AppendInt(append(dst, `"ts_usec":`...), p.micros, 10), ',')
	switch p.snapshot {
	case snapshotRunning:
		dst = append(dst, `"snapshot":"INITIAL","snapshot_completed":false,"last_snapshot_record":false,`...)
	case snapshotDone:
		dst = append(dst, `"snapshot":"INITIAL","snapshot_completed":true,"last_snapshot_record":true,`...)
	}
	if p.commit != 0 {
		num("tx_commit_lsn", p.commit)
		num("tx_ordinal", uint64(p.ordinal))
	}
	if p.message != 0 {
		num("lsn_message", p.message)
	}
	if !p.backlog.empty() {
		dst = append(append(append(dst, `"incremental":`...), p.backlog.text...), ',')
	}
	if p.lineage != nil {
		dst = strconv.AppendQuote(append(dst, `"system_id":`...), p.systemID)
		dst = strconv.AppendInt(append(dst, `,"timeline":`...), int64(p.timeline), 10)
		dst = strconv.AppendQuote(append(dst, `,"slot":`...), p.slot)
		return append(dst, '}')
	}
	dst[len(dst)-1] = '}'
	return dst
}

// storedOffset is a position as JSON has it, ours or Debezium's.
type storedOffset struct {
	LSN       *uint64         `json:"lsn"`
	LSNCommit *uint64         `json:"lsn_commit"`
	TxID      *uint64         `json:"txId"`
	Micros    int64           `json:"ts_usec"`
	Snapshot  json.RawMessage `json:"snapshot"`
	Completed bool            `json:"snapshot_completed"`
	Last      bool            `json:"last_snapshot_record"`
	TxCommit  uint64          `json:"tx_commit_lsn"`
	Ordinal   int64           `json:"tx_ordinal"`
	Message   uint64          `json:"lsn_message"`
	SystemID  string          `json:"system_id"`
	Timeline  int32           `json:"timeline"`
	Slot      string          `json:"slot"`
	Backlog   string          `json:"incremental"`
}

// parsePosition reads a stored offset, nil for none. Debezium's offsets before its
// first completed transaction have no lsn_commit: then the position of a completed
// snapshot is lsn, and of a stream it is left to the slot (end is 0).
func parsePosition(text []byte) (*position, error) {
	if len(text) == 0 || string(text) == "null" {
		return nil, nil
	}
	var o storedOffset
	if err := json.Unmarshal(text, &o); err != nil {
		return nil, fatal("pg.offset", "the stored offset cannot be read", fmt.Errorf("%s: %w", text, err),
			"reset the offsets of this connector (DELETE /connectors/<name>/offsets) or put right ones (PATCH)")
	}
	if o.LSN == nil && o.LSNCommit == nil {
		return nil, fatal("pg.offset", "the stored offset has neither lsn nor lsn_commit", fmt.Errorf("%s", text),
			"reset the offsets of this connector (DELETE /connectors/<name>/offsets) or put right ones (PATCH)")
	}
	p := &position{commit: o.TxCommit, ordinal: o.Ordinal, message: o.Message, micros: o.Micros}
	if o.LSN != nil {
		p.lsn = *o.LSN
	}
	if o.TxID != nil {
		p.xid = uint32(*o.TxID)
	}
	inSnapshot := len(o.Snapshot) > 0 && string(o.Snapshot) != "false" && string(o.Snapshot) != "null" && string(o.Snapshot) != `"FALSE"`
	switch {
	case inSnapshot && (o.Completed || o.Last):
		p.snapshot, p.end = snapshotDone, p.lsn
	case inSnapshot:
		p.snapshot = snapshotRunning
	}
	if o.LSNCommit != nil && *o.LSNCommit != 0 {
		p.end = *o.LSNCommit
	}
	var err error
	if p.backlog, err = parseBacklog(o.Backlog); err != nil {
		return nil, err
	}
	if o.SystemID != "" {
		p.lineage = &lineage{systemID: o.SystemID, timeline: o.Timeline, slot: o.Slot}
	}
	return p, nil
}

// partition names the source as Debezium does, so that its offsets are found.
func partition(prefix string) (connect.SourcePartition, error) {
	return connect.NewSourcePartition(map[string]any{"server": prefix})
}

// lsnText writes a position in the log as PostgreSQL does.
func lsnText(lsn uint64) string { return pglogrepl.LSN(lsn).String() }
