package recount

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// given are inputs of some minutes: moves of few accounts, in every order of time, and
// accounts that change and go.
func given() *Inputs {
	in := NewInputs()
	for id := range int64(2000) {
		from, to := id%7, id*3%11
		in.Moves = append(in.Moves, MovesOf(id, &from, &to, 1_700_000_000_000+id*17)...)
		in.Beats[strconv.FormatInt(id, 10)]++
	}
	for v := range int64(30) {
		for id := range int64(25) {
			in.Account(strconv.FormatInt(id, 10), State(v, 1000+v*id))
		}
	}
	in.Account("3", Gone)
	return in
}

// faithful are the results of an application that does all as it must.
func faithful(in *Inputs) (list []Result) {
	e := in.Expect()
	add := func(topic, key, value string) { list = append(list, Result{Topic: topic, Key: key, Value: value}) }
	for key, n := range e.counts {
		for i := range n {
			add(Counts, key, strconv.Itoa(i+1))
		}
	}
	for key, values := range e.windows {
		for _, v := range values {
			add(Windows, key, v)
		}
		add(Closed, key, values[len(values)-1])
	}
	for key, values := range e.pairs {
		for v, n := range values {
			for range n {
				add(Pairs, key, v)
			}
		}
	}
	for key, values := range e.lately {
		for _, v := range values {
			add(Lately, key, v)
		}
	}
	for key, debits := range e.enriched {
		states := in.Accounts[key]
		for i, d := range debits {
			add(Enriched, key, Look(d, states[i*len(states)/len(debits)]))
		}
	}
	add(Total, AllAccounts, "1:17")
	add(Total, AllAccounts, e.total)
	for key, v := range e.members {
		add(Members, key, v)
	}
	for key := range in.Beats {
		add(Beats, key, "")
	}
	add(Beats, "later", "")
	add(Counts, TickKeys()[0], "1")
	return list
}

// TestFaithful finds nothing wrong with what is right, and the inputs lead everywhere.
func TestFaithful(t *testing.T) {
	in := given()
	list := faithful(in)
	if found := in.Expect().Compare(list); len(found) > 0 {
		t.Errorf("%v", found)
	}
	if !in.Expect().Counted(list) || in.Expect().Counted(list[1:]) && list[0].Topic == Counts {
		t.Error("what has been counted is told wrongly")
	}
	late, alone, together := 0, 0, 0
	e := in.Expect()
	for key := range e.counts {
		late += e.counts[key]
	}
	for _, values := range e.windows {
		late -= len(values)
	}
	for _, values := range e.pairs {
		for v := range values {
			if strings.HasSuffix(v, "+"+Gone) {
				alone++
			} else {
				together++
			}
		}
	}
	early, met, waited := 0, 0, 0
	for key, values := range e.lately {
		for i, v := range values {
			debit, credit, _ := strings.Cut(v, "<-")
			switch {
			case credit == Gone:
				early++
			default:
				met++
			}
			if i < len(e.enriched[key]) && e.enriched[key][i] != debit {
				waited++ // They leave in another order than they came in.
			}
		}
		if len(values) != len(e.enriched[key]) {
			t.Errorf("%d of %d debits of %s leave", len(values), len(e.enriched[key]), key)
		}
	}
	if early == 0 || met == 0 || waited == 0 {
		t.Errorf("%d debits find nothing, %d a credit, and %d are in another order", early, met, waited)
	}
	if late == 0 || alone == 0 || together == 0 || e.members["3"] != "" {
		t.Errorf("%d are late, %d alone, %d together", late, alone, together)
	}
}

// TestMeddle drops, doubles and changes one result of each topic: each is found, under
// the name that it has.
func TestMeddle(t *testing.T) {
	in := given()
	right := faithful(in)
	for _, topic := range Results() {
		at := slices.IndexFunc(right, func(r Result) bool {
			return r.Topic == topic && r.Value != "1:17"
		})
		dropped := slices.Delete(slices.Clone(right), at, at+1)
		doubled := slices.Insert(slices.Clone(right), at, right[at])
		changed := slices.Clone(right)
		changed[at].Value += "x"
		names := map[string][]Result{Lost: dropped, Twice: doubled, Diff: changed}
		switch topic {
		case Total:
			names = map[string][]Result{Diff: changed}
		case Members:
			names = map[string][]Result{Lost: dropped, Diff: changed}
		case Beats:
			delete(names, Diff) // It has no value.
		}
		for name, list := range names {
			found := in.Expect().Compare(list)
			if len(found) == 0 || !slices.ContainsFunc(found, func(a Anomaly) bool { return a.Name == name && a.Topic == topic }) {
				t.Errorf("%s of %s: %v", name, topic, found)
			}
		}
	}
}

// TestMeddleTime puts results in places where they do not belong: an account that goes
// back, a count before the one before it, a window of nobody.
func TestMeddleTime(t *testing.T) {
	in := given()
	for name, meddle := range map[string]func([]Result) []Result{
		"an account goes back": func(list []Result) []Result {
			var of []int
			for i, r := range list {
				if r.Topic == Enriched && r.Key == "1" {
					of = append(of, i)
				}
			}
			first, last := of[0], of[len(of)-1]
			debit, _, _ := strings.Cut(list[last].Value, "=")
			_, state, _ := strings.Cut(list[first].Value, "=")
			list[last].Value = Look(debit, state)
			return list
		},
		"a count before the one before it": func(list []Result) []Result {
			at := slices.IndexFunc(list, func(r Result) bool { return r.Topic == Counts })
			list[at], list[at+1] = list[at+1], list[at]
			return list
		},
		"a window of nobody": func(list []Result) []Result {
			return append(list, Result{Topic: Closed, Key: WindowKey("nobody", 0), Value: "1:1"})
		},
		"an account that was closed": func(list []Result) []Result {
			return append(list, Result{Topic: Members, Key: "3", Value: "1:1:1"})
		},
	} {
		if found := in.Expect().Compare(meddle(slices.Clone(faithful(in)))); len(found) == 0 {
			t.Error(name + " was not found")
		}
	}
}

// TestNames writes an anomaly as people read it.
func TestNames(t *testing.T) {
	a := Anomaly{Name: Lost, Topic: Counts, Key: "7", Expected: "3", Got: "2"}
	if got := fmt.Sprint(a); got != `fleet.counts of "7": expected 3, got 2` {
		t.Error(got)
	}
}

// TestTickKeys has one key for each partition.
func TestTickKeys(t *testing.T) {
	for p, key := range TickKeys() {
		if PartitionOf(key) != int32(p) {
			t.Errorf("%s is in partition %d and not in %d", key, PartitionOf(key), p)
		}
	}
}
