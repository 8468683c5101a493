package fleet

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"
)

// round is what a leader divides at one time.
type round struct {
	generation int32
	// completed is the generation of the last round this member has taken part in.
	completed  int32
	configured []Work
	members    []runner
	now        time.Time
}

// runner is a member of the group: its id, the URL of its worker, and what it runs.
type runner struct {
	id, url string
	runs    []Work
	// guest is a worker of Kafka Connect. It stops what it runs and is given nothing.
	guest bool
}

// outcome is how a round ends: by member id, all that each is to run and what it is to
// stop. After the delay, unless it is 0, everybody joins again.
type outcome struct {
	assigned, revoked map[string][]Work
	delay             time.Duration
}

// ledger is what a leader remembers between rounds. It is a value: divide returns the
// next one.
type ledger struct {
	// maxDelay is how long the work of a member that is gone waits for it.
	maxDelay   time.Duration
	generation int32
	// owners are the URLs of those that were given each work, also of what is lost and
	// waits for its owner.
	owners  map[Work]string
	members []string // The ids of the former round.
	// due is when lost work waits no more, zero when none waits. Then it goes to the
	// candidates, which have come with nothing while it was waiting.
	due        time.Time
	candidates []string
	// uneven says that members have come or gone since the work was last even.
	uneven bool
	// streak counts the rounds in a row that have revoked work to make it even.
	streak int
}

// divide gives all that is configured to members, as KIP-415 has it:
//
//   - What runs and is configured no more is stopped. What runs twice is stopped
//     everywhere, and given out in the next round.
//   - What a member ran that is gone waits for it for maxDelay. It gets it back when it
//     is there again.
//   - What is new goes to the members that have the least, and among them to those that
//     have the least of the same connector.
//   - When members have come or gone, what some have too much of is stopped, and given to
//     others in the next round. That is left for later while anything waits, and, with a
//     maxDelay, put off for longer and longer when one such round follows another.
//
// Unlike KIP-415, work is not moved for the sake of evenness when only the configurations
// have changed: a change of one connector must not stop another.
func (l ledger) divide(r round) (outcome, ledger) {
	d := newDivision(l, r)
	lost, fresh := d.unowned()
	fresh = append(fresh, d.recover(lost)...)
	if d.delay == 0 && d.next.uneven {
		d.level()
	}
	d.give(fresh, d.ids)
	d.remember()
	return outcome{assigned: d.loads.all(), revoked: d.revoked, delay: d.delay}, d.next
}

// division is one round under way.
type division struct {
	round
	former     ledger
	next       ledger
	ids        []string // Of the members, sorted.
	urls       map[string]string
	configured map[Work]bool
	runs       map[Work]int // How many run it.
	loads      loads
	revoked    map[string][]Work
	waiting    []Work // Lost work that waits on.
	delay      time.Duration
}

func newDivision(l ledger, r round) *division {
	if l.generation != r.completed {
		// Others have led meanwhile. What they have given to whom is not known.
		l = ledger{maxDelay: l.maxDelay, uneven: true}
	}
	d := &division{
		round: r, former: l, next: l, urls: map[string]string{}, configured: map[Work]bool{}, runs: map[Work]int{},
		loads: loads{}, revoked: map[string][]Work{},
	}
	for _, w := range r.configured {
		d.configured[w] = true
	}
	for _, m := range r.members {
		if d.urls[m.id] = m.url; !m.guest {
			d.ids = append(d.ids, m.id)
		}
		for _, w := range m.runs {
			d.runs[w]++
		}
	}
	slices.Sort(d.ids)
	if !slices.Equal(d.ids, l.members) {
		d.next.uneven = true
	}
	for _, m := range r.members {
		if m.guest {
			d.revoked[m.id] = m.runs
			continue
		}
		d.loads[m.id] = &load{kinds: map[string]int{}}
		for _, w := range m.runs {
			if d.configured[w] && d.runs[w] == 1 {
				d.loads[m.id].add(w)
			} else {
				d.revoked[m.id] = append(d.revoked[m.id], w)
			}
		}
	}
	return d
}

// unowned returns what nobody runs: what was given to somebody, and what is new.
func (d *division) unowned() (lost, fresh []Work) {
	for w := range d.configured {
		if d.runs[w] > 0 {
			continue
		}
		if _, given := d.former.owners[w]; given {
			lost = append(lost, w)
		} else {
			fresh = append(fresh, w)
		}
	}
	slices.SortFunc(lost, compare)
	slices.SortFunc(fresh, compare)
	return lost, fresh
}

// recover gives lost work back to owners that are there again, and returns what is to be
// given to anybody. The rest waits.
func (d *division) recover(lost []Work) []Work {
	byURL := map[string]string{}
	for _, id := range d.ids {
		byURL[d.urls[id]] = id
	}
	var rest []Work
	for _, w := range lost {
		if id, back := byURL[d.former.owners[w]]; back {
			d.loads[id].add(w)
		} else {
			rest = append(rest, w)
		}
	}
	gone := slices.ContainsFunc(d.former.members, func(id string) bool { return d.loads[id] == nil })
	due := d.former.due
	switch {
	case len(rest) == 0, d.former.maxDelay == 0, due.IsZero() && !gone:
		d.next.due, d.next.candidates = time.Time{}, nil
		return rest
	case !due.IsZero() && !d.now.Before(due):
		candidates := slices.DeleteFunc(slices.Clone(d.former.candidates), func(id string) bool { return d.loads[id] == nil })
		d.next.due, d.next.candidates, d.next.streak = time.Time{}, nil, 0
		if len(candidates) == 0 {
			return rest
		}
		d.give(rest, candidates)
		return nil
	}
	if due.IsZero() {
		d.next.due = d.now.Add(d.former.maxDelay)
	}
	for _, id := range d.ids {
		if d.loads[id].connectors+d.loads[id].tasks == 0 && !slices.Contains(d.next.candidates, id) {
			d.next.candidates = append(slices.Clone(d.next.candidates), id)
		}
	}
	d.delay = d.next.due.Sub(d.now)
	d.waiting = rest
	return nil
}

// level revokes what members have too much of.
func (d *division) level() {
	surplus := map[string][]Work{}
	for _, connectors := range []bool{true, false} {
		d.surplus(connectors, surplus)
	}
	if len(surplus) == 0 {
		d.next.uneven, d.next.streak = false, 0
		return
	}
	if wait := d.patience(); wait > 0 {
		d.delay, d.next.streak = wait, d.former.streak+1
		d.next.due = d.now.Add(wait)
		return
	}
	d.next.streak++
	for id, list := range surplus {
		for _, w := range list {
			d.loads[id].remove(w)
			d.revoked[id] = append(d.revoked[id], w)
		}
	}
}

// patience is how long to wait before work is moved again: with the second round in a
// row 40 milliseconds, with each further one 40 times as long, up to maxDelay.
func (d *division) patience() time.Duration {
	if d.former.streak == 0 || !d.former.due.IsZero() {
		return 0 // What was put off until now is not put off again.
	}
	wait := time.Millisecond
	for range min(d.former.streak, 5) {
		wait *= 40
	}
	return min(wait, d.former.maxDelay)
}

// surplus adds what each member has more of, connectors or tasks, than is even.
func (d *division) surplus(connectors bool, surplus map[string][]Work) {
	total := 0
	for w := range d.configured {
		if (w.Task == Itself) == connectors {
			total++
		}
	}
	least, extra := total/len(d.ids), total%len(d.ids)
	// Those that have the most may keep one more.
	ids := slices.SortedStableFunc(slices.Values(d.ids), func(a, b string) int {
		return cmp.Compare(d.loads[b].count(connectors), d.loads[a].count(connectors))
	})
	for _, id := range ids {
		allowed := least
		if extra > 0 && d.loads[id].count(connectors) > least {
			allowed++
			extra--
		}
		if over := d.loads[id].count(connectors) - allowed; over > 0 {
			surplus[id] = append(surplus[id], d.loads[id].dispensable(connectors, over)...)
		}
	}
}

// give gives work to those of the members that have the least.
func (d *division) give(list []Work, ids []string) {
	for _, w := range list {
		id := slices.MinFunc(ids, func(a, b string) int {
			x, y := d.loads[a], d.loads[b]
			return cmp.Or(
				cmp.Compare(x.count(w.Task == Itself), y.count(w.Task == Itself)),
				cmp.Compare(x.kinds[w.Connector], y.kinds[w.Connector]),
				cmp.Compare(x.connectors+x.tasks, y.connectors+y.tasks),
				strings.Compare(a, b),
			)
		})
		d.loads[id].add(w)
	}
}

// remember writes down who has been given what.
func (d *division) remember() {
	d.next.generation, d.next.members = d.generation, d.ids
	d.next.owners = map[Work]string{}
	for id, l := range d.loads {
		for _, w := range l.work {
			d.next.owners[w] = d.urls[id]
		}
	}
	for _, w := range d.waiting {
		d.next.owners[w] = d.former.owners[w]
	}
}

// load is what one member is to run.
type load struct {
	work              []Work
	connectors, tasks int
	kinds             map[string]int // Tasks of each connector.
}

func (l *load) count(connectors bool) int {
	if connectors {
		return l.connectors
	}
	return l.tasks
}

func (l *load) add(w Work) {
	l.work = append(l.work, w)
	l.tally(w, 1)
}

func (l *load) remove(w Work) {
	l.work = slices.DeleteFunc(l.work, func(x Work) bool { return x == w })
	l.tally(w, -1)
}

func (l *load) tally(w Work, n int) {
	if w.Task == Itself {
		l.connectors += n
		return
	}
	l.tasks += n
	l.kinds[w.Connector] += n
}

// dispensable chooses work to be run by others: tasks of the connectors that have the most
// here first, and of one connector those with the highest numbers.
func (l *load) dispensable(connectors bool, n int) []Work {
	kinds := maps.Clone(l.kinds)
	list := slices.SortedFunc(slices.Values(l.work), compare)
	list = slices.DeleteFunc(list, func(w Work) bool { return (w.Task == Itself) != connectors })
	var chosen []Work
	for len(chosen) < n {
		most := 0
		for i, w := range list {
			if kinds[w.Connector] >= kinds[list[most].Connector] {
				most = i
			}
		}
		w := list[most]
		kinds[w.Connector]--
		list = slices.Delete(list, most, most+1)
		chosen = append(chosen, w)
	}
	return chosen
}

// loads are those of the members, by id.
type loads map[string]*load

func (all loads) all() map[string][]Work {
	assigned := map[string][]Work{}
	for id, l := range all {
		assigned[id] = slices.SortedFunc(slices.Values(l.work), compare)
	}
	return assigned
}

// divideEagerly gives everything anew, one after another, as the protocol's first version
// does: all members have stopped all they ran.
func divideEagerly(configured []Work, ids []string) map[string][]Work {
	ids = slices.Sorted(slices.Values(ids))
	list := slices.SortedFunc(slices.Values(configured), func(a, b Work) int {
		if (a.Task == Itself) != (b.Task == Itself) {
			return cmp.Compare(min(a.Task, 0), min(b.Task, 0))
		}
		return compare(a, b)
	})
	assigned := make(map[string][]Work, len(ids))
	for i, w := range list {
		id := ids[i%len(ids)]
		assigned[id] = append(assigned[id], w)
	}
	return assigned
}
