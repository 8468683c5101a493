package postgres

import (
	"strconv"
	"time"
)

// progressWait is the least time between two looks at transactions in progress, and
// progressMost how many of them are shown.
const (
	progressWait = 2 * time.Second
	progressMost = 20
)

// progress tells of transactions in progress: in metrics, and one by one beside the
// task's status.
type progress struct {
	show  func(name string, document []byte)
	last  time.Time
	shown bool
}

// tell tells it, if it is time.
func (p *progress) tell(s *stream, now time.Time) {
	if now.Sub(p.last) < progressWait {
		return
	}
	p.last = now
	store := s.spill
	s.metrics.Set("transactions_in_progress", float64(len(store.txs)))
	s.metrics.Set("transaction_spill_bytes", float64(store.onDisk))
	s.metrics.Set("transaction_replay_changes", float64(s.replayed))
	if p.show == nil {
		return
	}
	if store.replaying == nil && len(store.txs) == 0 {
		if p.shown {
			p.show("transactions", nil)
			p.shown = false
		}
		return
	}
	p.show("transactions", s.transactionsDocument())
	p.shown = true
}

// transactionsDocument lists the transactions in progress that take the most room,
// after the one that is replayed.
func (s *stream) transactionsDocument() []byte {
	store := s.spill
	b := strconv.AppendInt([]byte(`{"count":`), int64(len(store.txs)), 10)
	b = strconv.AppendInt(append(b, `,"bytes_on_disk":`...), store.onDisk, 10)
	b = strconv.AppendInt(append(b, `,"most_bytes_on_disk":`...), store.most, 10)
	b = append(b, `,"transactions":[`...)
	add := func(t *spilled, state string, sent int64) {
		b = strconv.AppendUint(append(b, `{"xid":`...), uint64(t.xid), 10)
		b = append(append(append(b, `,"state":"`...), state...), '"')
		b = strconv.AppendInt(append(b, `,"changes":`...), t.changes, 10)
		b = strconv.AppendInt(append(b, `,"bytes":`...), t.bytes, 10)
		if sent > 0 {
			b = strconv.AppendInt(append(b, `,"replayed":`...), sent, 10)
		}
		b = append(b, "},"...)
	}
	if t := store.replaying; t != nil {
		add(t, "committed", s.replayed)
	}
	for _, t := range store.heaviest(progressMost) {
		add(t, "in progress", 0)
	}
	if b[len(b)-1] == ',' {
		b = b[:len(b)-1]
	}
	return append(b, "]}"...)
}
