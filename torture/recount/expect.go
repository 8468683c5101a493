package recount

import (
	"fmt"
	"strconv"
)

// Inputs are what the application was given, in the order of its topics.
type Inputs struct {
	Moves []Move
	// Accounts has for each the states that it was in, one after the other: Gone before
	// it was opened and after it was closed.
	Accounts map[string][]string
	Beats    map[string]int // How often each manifest came.
}

// Gone is the state of an account that there is not.
const Gone = "-"

// NewInputs are none.
func NewInputs() *Inputs { return &Inputs{Accounts: map[string][]string{}, Beats: map[string]int{}} }

// Account adds a state of an account.
func (in *Inputs) Account(id, state string) {
	if in.Accounts[id] == nil {
		in.Accounts[id] = []string{Gone}
	}
	in.Accounts[id] = append(in.Accounts[id], state)
}

// State is the text of an account's version and balance.
func State(version, balance int64) string {
	return strconv.FormatInt(version, 10) + ":" + strconv.FormatInt(balance, 10)
}

// Expected are the results that must be there.
type Expected struct {
	in       *Inputs
	counts   map[string]int
	windows  map[string][]string       // By key and start.
	pairs    map[string]map[string]int // By key.
	enriched map[string][]string       // The debits of each account, in order.
	lately   map[string][]string       // By key.
	total    string
	members  map[string]string
}

// WindowKey is the name of a window of a key.
func WindowKey(key string, start int64) string { return key + "@" + strconv.FormatInt(start, 10) }

// Aggregate is the text of a window's result.
func Aggregate(n, sum int64) string {
	return strconv.FormatInt(n, 10) + ":" + strconv.FormatInt(sum, 10)
}

// Paired is the text of a pair: of a debit and a credit, which is Gone for one alone.
func Paired(debit, credit string) string { return debit + "+" + credit }

// Expect works the results out.
func (in *Inputs) Expect() *Expected {
	e := &Expected{in: in, counts: map[string]int{}, enriched: map[string][]string{}, lately: map[string][]string{}, windows: map[string][]string{}, pairs: map[string]map[string]int{}}
	var parts [Partitions][]Move
	for _, m := range in.Moves {
		e.counts[m.Key]++
		p := PartitionOf(m.Key)
		parts[p] = append(parts[p], m)
		if m.Value[0] == Debit {
			e.enriched[m.Key] = append(e.enriched[m.Key], m.Value)
		}
	}
	for _, moves := range parts {
		e.aggregate(moves)
		e.join(moves)
		e.late(moves)
	}
	e.accounts()
	return e
}

// aggregate works the windows of one partition out. The partition's time is that of its
// latest move; a window that has closed by it takes nothing in any more.
func (e *Expected) aggregate(moves []Move) {
	size, grace := WindowSize.Milliseconds(), WindowGrace.Milliseconds()
	type sums struct{ n, sum int64 }
	now, open := int64(-1), map[string]sums{}
	for _, m := range moves {
		now = max(now, m.Time)
		start := m.Time / size * size
		if start+size-1+grace < now {
			continue
		}
		key := WindowKey(m.Key, start)
		s := open[key]
		s.n, s.sum = s.n+1, s.sum+Weight(m.Value)
		open[key] = s
		e.windows[key] = append(e.windows[key], Aggregate(s.n, s.sum))
	}
}

// waiting is a move that can still be joined.
type waiting struct {
	Move
	met  bool
	late bool // It was too late to be kept: it can meet only what was there.
}

// join works the pairs of one partition out. A move meets those of the other kind that came
// before it, as long as their windows have not closed.
func (e *Expected) join(moves []Move) {
	reach := JoinReach.Milliseconds()
	wait := reach + JoinGrace.Milliseconds()
	now, kept := int64(-1), map[string][]*waiting{}
	var debits []*waiting
	for _, m := range moves {
		now = max(now, m.Time)
		w := &waiting{Move: m, late: m.Time+wait < now}
		if m.Value[0] == Debit {
			debits = append(debits, w)
		}
		still := kept[m.Key][:0]
		for _, o := range kept[m.Key] {
			if o.Time+wait < now {
				continue
			}
			still = append(still, o)
			if o.Value[0] == m.Value[0] || o.Time < m.Time-reach || o.Time > m.Time+reach {
				continue
			}
			o.met, w.met = true, true
			if m.Value[0] == Debit {
				e.pair(m.Key, Paired(m.Value, o.Value))
			} else {
				e.pair(m.Key, Paired(o.Value, m.Value))
			}
		}
		if !w.late {
			still = append(still, w)
		}
		kept[m.Key] = still
	}
	for _, w := range debits {
		if !w.met {
			e.pair(w.Key, Paired(w.Value, Gone))
		}
	}
}

func (e *Expected) pair(key, value string) {
	if e.pairs[key] == nil {
		e.pairs[key] = map[string]int{}
	}
	e.pairs[key][value]++
}

// accounts works out what comes of the accounts as they are in the end.
func (e *Expected) accounts() {
	sum, n, groups := int64(0), 0, map[string]int{}
	e.members = map[string]string{}
	last := map[string]string{}
	for id, states := range e.in.Accounts {
		state := states[len(states)-1]
		if state == Gone {
			continue
		}
		var version, balance int64
		_, _ = fmt.Sscanf(state, "%d:%d", &version, &balance) // State wrote it.
		sum, n = sum+balance, n+1
		last[id] = state
		groups[groupOf(id)]++
	}
	for id, state := range last {
		e.members[id] = Member(state, int64(groups[groupOf(id)]))
	}
	if n > 0 {
		e.total = Aggregate(int64(n), sum)
	}
}

// Member is the text of an account and the number of accounts in its group.
func Member(state string, n int64) string { return state + ":" + strconv.FormatInt(n, 10) }

func groupOf(id string) string {
	n, _ := strconv.ParseInt(id, 10, 64) // The keys of accounts are numbers.
	return GroupOf(n)
}
