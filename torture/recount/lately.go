package recount

import (
	"cmp"
	"math"
	"slices"
)

// Late is the text of a debit and the last credit before it, which is Gone for none.
func Late(debit, credit string) string { return debit + "<-" + credit }

// ledger are the credits of a partition as a table with a history has them.
type ledger struct {
	newest int64
	of     map[string]map[int64]string // By key and time.
}

// put takes a credit in, unless it comes too late.
func (l *ledger) put(m Move) {
	if m.Time < l.newest-History.Milliseconds() {
		return
	}
	l.newest = max(l.newest, m.Time)
	if l.of[m.Key] == nil {
		l.of[m.Key] = map[int64]string{}
	}
	l.of[m.Key][m.Time] = m.Value
}

// asOf returns the credit that was the last one of a key at a time. What is older than the
// history is not known, but for the last one of all.
func (l *ledger) asOf(key string, at int64) string {
	best, last := int64(-1), int64(-1)
	for ms := range l.of[key] {
		last = max(last, ms)
		if ms <= at {
			best = max(best, ms)
		}
	}
	if best < 0 || best != last && at < l.newest-History.Milliseconds() {
		return Gone
	}
	return l.of[key][best]
}

// late works out, for one partition, which credit each debit was joined with. A debit waits
// until one has come that is later by the time debits wait; what comes later than that does
// not wait. In the end a tick sends the rest.
func (e *Expected) late(moves []Move) {
	credits := ledger{newest: -1, of: map[string]map[int64]string{}}
	var wait []Move // In the order in which they leave.
	out := func(m Move) {
		e.lately[m.Key] = append(e.lately[m.Key], Late(m.Value, credits.asOf(m.Key, m.Time)))
	}
	leave := func(until int64) {
		for len(wait) > 0 && wait[0].Time <= until {
			out(wait[0])
			wait = wait[1:]
		}
	}
	now, patience := int64(-1), Patience.Milliseconds()
	for _, m := range moves {
		switch {
		case m.Value[0] == Credit:
			credits.put(m)
		case m.Time < now-patience:
			out(m)
		default:
			now = max(now, m.Time)
			// Of one time those of the same key leave as they came; others do not meet.
			at, _ := slices.BinarySearchFunc(wait, m.Time, func(w Move, ms int64) int { return cmp.Or(cmp.Compare(w.Time, ms), -1) })
			wait = slices.Insert(wait, at, m)
			leave(now - patience)
		}
	}
	leave(math.MaxInt64)
}
