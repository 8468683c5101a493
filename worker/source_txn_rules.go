package worker

import (
	"context"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
)

// defaultTransactionTimeout is long enough for big source transactions, and within
// what brokers allow by default (transaction.max.timeout.ms, 15 minutes).
const defaultTransactionTimeout = 5 * time.Minute

// groupMost is how much of what is at hand goes into one Kafka transaction, and how
// much is prepared while another one ends; groupAge is how long its producing may
// take. They keep the wait of a record for those it is grouped with within some
// milliseconds.
var groupMost = amount{records: 8192, bytes: 4 << 20}

const groupAge = 10 * time.Millisecond

// transactionRules say where transactions end. The units of a source are its own
// transactions, or what one poll gave.
type transactionRules struct {
	byPoll   bool          // The units are polls.
	group    bool          // Units that are at hand go into one transaction.
	interval time.Duration // Not 0: all units of that time go into one.
	most     amount        // A unit of more is divided, at a record from which the source can resume.
	longest  time.Duration // So is one that takes longer.
}

// transactionRules reads the settings. Without transaction.boundary the units are the
// source's own when it defines them, and a backlog is written several at a time.
func (t *sourceTask) transactionRules() transactionRules {
	r := transactionRules{
		most:    amount{t.settings.Int("transaction.max.records"), int(t.settings.Int64("transaction.max.bytes"))},
		longest: t.txnTimeout / 2,
	}
	switch strings.ToLower(t.settings.String("transaction.boundary")) {
	case "connector":
	case "poll":
		r.byPoll = true
	case "interval":
		r.byPoll = true
		if r.interval = t.settings.Duration("transaction.boundary.interval.ms"); r.interval <= 0 {
			r.interval = t.rt.settings.Duration("offset.flush.interval.ms")
		}
		r.longest = min(r.longest, r.interval)
	default:
		r.byPoll, r.group = !t.boundaries, true
	}
	return r
}

// after does what follows the record just put: at the end of a unit the transaction
// ends, unless more units are at hand for it.
func (x *transactions) after(life context.Context, b connect.Boundary) error {
	switch {
	case b == connect.BoundaryNone:
		if !x.byPoll && x.unit.reaches(x.most) {
			x.split(life)
		}
		return nil
	case b == connect.BoundaryAbort:
		x.aborts--
		return x.drop(life)
	}
	x.commits--
	divided := x.part > 1
	if divided && x.held != nil {
		x.held.Headers = append(x.held.Headers, kgo.RecordHeader{Key: headerLast, Value: []byte("true")})
	}
	x.produceHeld(life)
	x.over()
	age := time.Since(x.open.began)
	switch {
	case x.interval > 0 && age < x.interval && age < x.longest:
	case x.group && !divided && x.finishBy.IsZero() && x.commits > 0 && x.aborts == 0 && !x.open.reaches(groupMost) && age < groupAge:
	default:
		x.commit()
	}
	return nil
}

// over says that the next record begins a unit.
func (x *transactions) over() {
	x.last, x.previous, x.part, x.unit = nil, nil, 1, amount{}
}

// midway tells whether the open transaction would divide a unit if it ended here.
func (x *transactions) midway() bool { return x.open != nil && x.last != nil }

// divide ends a transaction that has lasted for long enough.
func (x *transactions) divide(life context.Context) error {
	if x.open == nil || time.Since(x.open.began) < x.longest {
		return nil
	}
	if x.midway() {
		x.split(life)
		return nil
	}
	x.commit()
	return nil
}

// gate keeps a paused task waiting. A unit is finished first, as long as that does
// not take long; then it is divided, so that readers are not held up by a transaction
// that is open for as long as the pause lasts.
func (x *transactions) gate(ctx, life context.Context) (context.Context, error) {
	if polling, _ := x.t.gate.state(ctx); polling == nil && x.midway() {
		now := time.Now()
		if x.finishBy.IsZero() {
			x.finishBy = now.Add(x.t.rt.settings.Duration("offset.flush.timeout.ms"))
		}
		if now.Before(x.finishBy) || !x.split(life) {
			return ctx, ctx.Err()
		}
	}
	x.finishBy = time.Time{}
	return x.t.gate.open(ctx, func(state, trace string) {
		if state == statePaused {
			if x.open != nil {
				x.commit()
			}
			_ = x.awaitEnd(ctx) // An error has ended the task already.
		}
		x.t.report(state, trace)
	})
}
