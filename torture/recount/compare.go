package recount

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// The names of anomalies. Stuck is for who waits for results.
const (
	Lost  = "stream_lost"  // A result is missing.
	Twice = "stream_twice" // A result is there more often than it may be.
	Diff  = "stream_diff"  // A result is another.
	Stuck = "stream_stuck" // No result comes.
)

// Anomaly is one result that is wrong.
type Anomaly struct {
	Name, Topic, Key string
	Expected, Got    string
}

// String writes the anomaly in one line.
func (a Anomaly) String() string {
	return fmt.Sprintf("%s of %q: expected %s, got %s", a.Topic, a.Key, a.Expected, a.Got)
}

// Result is one record that the application has written.
type Result struct {
	Topic, Key, Value string
	Gone              bool // It has no value.
}

// results are what a key has, in order.
type results map[string][]string

// most is the number of anomalies of one topic that are told.
const most = 10

// Compare names what is wrong with the results, which are in the order of their
// partitions.
func (e *Expected) Compare(list []Result) (all []Anomaly) {
	got := map[string]results{}
	for _, topic := range Results() {
		got[topic] = results{}
	}
	for _, r := range list {
		value := r.Value
		if r.Gone {
			value = Gone
		}
		if !isTick(r.Key) {
			got[r.Topic][r.Key] = append(got[r.Topic][r.Key], value)
		}
	}
	add := func(topic string, found []Anomaly) {
		for i := range found {
			found[i].Topic = topic
		}
		slices.SortFunc(found, func(a, b Anomaly) int { return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.Expected, b.Expected)) })
		all = append(all, found[:min(len(found), most)]...)
	}
	counts, closed := results{}, results{}
	for key, n := range e.counts {
		for i := range n {
			counts[key] = append(counts[key], strconv.Itoa(i+1))
		}
	}
	for key, values := range e.windows {
		closed[key] = values[len(values)-1:]
	}
	add(Counts, sequences(counts, got[Counts]))
	add(Windows, sequences(e.windows, got[Windows]))
	add(Closed, sequences(closed, got[Closed]))
	add(Pairs, multiples(e.pairs, got[Pairs]))
	add(Lately, sequences(e.lately, got[Lately]))
	add(Enriched, e.lookups(got[Enriched]))
	add(Total, finals(map[string]string{AllAccounts: e.total}, got[Total]))
	add(Members, finals(e.members, got[Members]))
	add(Beats, e.beats(got[Beats]))
	return all
}

// keys lists those of both.
func keys[V, W any](a map[string]V, b map[string]W) []string {
	all := slices.AppendSeq(slices.Collect(maps.Keys(a)), maps.Keys(b))
	slices.Sort(all)
	return slices.Compact(all)
}

// sequences compares all results of each key, one by one, and tells the first that is wrong.
func sequences(want, got results) (list []Anomaly) {
	for _, key := range keys(want, got) {
		if a, wrong := sequence(want[key], got[key]); wrong {
			a.Key = key
			list = append(list, a)
		}
	}
	return list
}

func sequence(want, got []string) (a Anomaly, wrong bool) {
	for i, g := range got {
		switch {
		case i < len(want) && g == want[i]:
			continue
		case slices.Contains(want[:min(i, len(want))], g):
			a.Name = Twice
		case i < len(want) && slices.Contains(want[i:], g):
			a.Name = Lost
		default:
			a.Name = Diff
		}
		a.Expected, a.Got = "nothing more", fmt.Sprintf("%q as result %d", g, i+1)
		if i < len(want) {
			a.Expected = strconv.Quote(want[i])
		}
		return a, true
	}
	if len(got) < len(want) {
		return Anomaly{Name: Lost, Expected: fmt.Sprintf("%d results, the next one %q", len(want), want[len(got)]), Got: fmt.Sprintf("%d", len(got))}, true
	}
	return a, false
}

// multiples compares how often each result of a key is there, in any order.
func multiples(want map[string]map[string]int, got results) (list []Anomaly) {
	for _, key := range keys(want, got) {
		have := map[string]int{}
		for _, g := range got[key] {
			have[g]++
		}
		for _, value := range keys(want[key], have) {
			if a, wrong := times(want[key][value], have[value]); wrong {
				a.Key, a.Expected = key+" "+value, a.Expected+" times"
				list = append(list, a)
			}
		}
	}
	return list
}

// times compares how often something is there.
func times(want, have int) (a Anomaly, wrong bool) {
	a = Anomaly{Expected: strconv.Itoa(want), Got: strconv.Itoa(have)}
	switch {
	case have == want:
		return a, false
	case have < want:
		a.Name = Lost
	case want == 0:
		a.Name = Diff
	default:
		a.Name = Twice
	}
	return a, true
}

// finals compares the last result of each key.
func finals(want map[string]string, got results) (list []Anomaly) {
	for _, key := range keys(want, got) {
		last := Gone
		if n := len(got[key]); n > 0 {
			last = got[key][n-1]
		}
		switch w, ok := want[key]; {
		case !ok && last == Gone, ok && last == w, ok && w == "" && last == Gone:
		case !ok:
			list = append(list, Anomaly{Name: Diff, Key: key, Expected: "nothing", Got: last})
		case last == Gone:
			list = append(list, Anomaly{Name: Lost, Key: key, Expected: w, Got: "nothing"})
		default:
			list = append(list, Anomaly{Name: Diff, Key: key, Expected: w, Got: last})
		}
	}
	return list
}

// Look is the text of a debit and the account as it was.
func Look(debit, state string) string { return debit + "=" + state }

// lookups compares the debits of each account, in order, and holds what was found with
// each against the states of the account: they never go back.
func (e *Expected) lookups(got results) (list []Anomaly) {
	debits := results{}
	for key, values := range got {
		states, at, astray := e.in.Accounts[key], 0, false
		if states == nil {
			states = []string{Gone}
		}
		for _, v := range values {
			debit, state, _ := strings.Cut(v, "=")
			debits[key] = append(debits[key], debit)
			next := slices.Index(states[at:], state)
			if next >= 0 {
				at += next
			} else if !astray {
				astray = true
				list = append(list, Anomaly{Name: Diff, Key: key, Expected: fmt.Sprintf("a state of the account from %q on", states[at]), Got: strconv.Quote(v)})
			}
		}
	}
	return append(list, sequences(e.enriched, debits)...)
}

// beats looks that every manifest was passed on once. Those that came since the inputs
// were read are not known.
func (e *Expected) beats(got results) (list []Anomaly) {
	for key, n := range e.in.Beats {
		if a, wrong := times(n, len(got[key])); wrong {
			a.Key, a.Expected = key, a.Expected+" times"
			list = append(list, a)
		}
	}
	return list
}
