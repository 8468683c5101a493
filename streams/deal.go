package streams

import (
	"cmp"
	"slices"
)

// census is what the leader of a group knows when it places tasks.
type census struct {
	standbyLimits
	members []string // sorted
	// strangers are those of them of whom it is not known what they have, and who could not
	// be told of copies.
	strangers []string
	tasks     []taskID
	stateful  []bool            // by sub-topology
	had       map[taskID]string // who runs a task
	lags      map[string]map[taskID]int64
}

// deal is who gets what: tasks to run, to keep copies of, and to warm up until the
// member can take them over.
type deal struct{ active, standby, warm map[string][]taskID }

func (id taskID) compare(o taskID) int {
	return cmp.Or(cmp.Compare(id.sub, o.sub), cmp.Compare(id.partition, o.partition))
}

// lag is how many changelog records a member would have to read before it could run a
// task. Who runs it lacks nothing.
func (c *census) lag(member string, id taskID) int64 {
	if c.had[id] == member {
		return 0
	}
	return c.lags[member][id]
}

// place gives every task to a member. Each member is to run as many as any other, give or
// take one. But a task with stores whose member-to-be is not ready stays with, or goes
// to, the one who is nearest to that, while the other warms up; as KIP-441 has it.
func (c *census) place() deal {
	d := deal{active: map[string][]taskID{}, standby: map[string][]taskID{}, warm: map[string][]taskID{}}
	target := c.balance()
	warmups := c.warmups
	for _, m := range c.members {
		for _, id := range target[m] {
			runs := m
			if c.stateful[id.sub] && c.lag(m, id) > c.acceptable {
				runs = c.nearest(id, m)
			}
			d.active[runs] = append(d.active[runs], id)
			if runs != m && warmups > 0 && !slices.Contains(c.strangers, m) {
				warmups--
				d.warm[m] = append(d.warm[m], id)
			}
		}
	}
	c.placeStandbys(&d)
	return d
}

// nearest returns the member with the least lag: m when no other has less.
func (c *census) nearest(id taskID, m string) string {
	for _, o := range c.members {
		if c.lag(o, id) < c.lag(m, id) {
			m = o
		}
	}
	return m
}

// balance shares the tasks out, first those with stores, whose rows and work are then
// everywhere as much as can be, and then the others.
func (c *census) balance() map[string][]taskID {
	placed := map[string][]taskID{}
	if len(c.members) == 0 {
		return placed
	}
	var keeping, others []taskID
	for _, id := range c.tasks {
		if c.stateful[id.sub] {
			keeping = append(keeping, id)
		} else {
			others = append(others, id)
		}
	}
	c.share(keeping, len(keeping), placed)
	c.share(others, len(c.tasks), placed)
	return placed
}

// share places tasks, the last of all so many. Each member keeps as many of those it has
// as it may, and the others go to who has room and the least to catch up on.
func (c *census) share(tasks []taskID, all int, placed map[string][]taskID) {
	floor, extra := all/len(c.members), all%len(c.members)
	for _, m := range c.members {
		if len(placed[m]) > floor {
			extra--
		}
	}
	var homeless []taskID
	give := func(m string, id taskID) bool {
		switch {
		case len(placed[m]) < floor:
		case len(placed[m]) == floor && extra > 0:
			extra--
		default:
			return false
		}
		placed[m] = append(placed[m], id)
		return true
	}
	for _, id := range tasks {
		m, known := c.had[id]
		if !known || !slices.Contains(c.members, m) || !give(m, id) {
			homeless = append(homeless, id)
		}
	}
	for _, id := range homeless {
		order := slices.Clone(c.members)
		slices.SortStableFunc(order, func(a, b string) int {
			return cmp.Or(cmp.Compare(c.lag(a, id), c.lag(b, id)), cmp.Compare(len(placed[a]), len(placed[b])))
		})
		for _, m := range order {
			if give(m, id) {
				break
			}
		}
	}
}

// placeStandbys chooses who keeps copies: those who have the most of a store already, as
// long as no member keeps many more than others.
func (c *census) placeStandbys(d *deal) {
	copies := min(c.standbys, len(c.members)-1)
	if copies <= 0 {
		return
	}
	busy := map[taskID][]string{}
	all := 0
	for _, m := range c.members {
		for _, id := range slices.Concat(d.active[m], d.warm[m]) {
			busy[id] = append(busy[id], m)
		}
	}
	for _, id := range c.tasks {
		if c.stateful[id.sub] {
			all += copies
		}
	}
	most := (all + len(c.members) - 1) / len(c.members)
	for _, id := range c.tasks {
		for n := 0; c.stateful[id.sub] && n < copies; n++ {
			m := c.keeper(id, busy[id], d.standby, most)
			if m == "" {
				break
			}
			busy[id] = append(busy[id], m)
			d.standby[m] = append(d.standby[m], id)
		}
	}
}

// keeper returns who is to keep a copy of a task that the busy ones have already, empty
// when there is nobody.
func (c *census) keeper(id taskID, busy []string, kept map[string][]taskID, most int) (best string) {
	full := func(m string) int {
		if len(kept[m]) >= most {
			return 1
		}
		return 0
	}
	for _, m := range c.members {
		if slices.Contains(busy, m) || slices.Contains(c.strangers, m) {
			continue
		}
		if best == "" || cmp.Or(cmp.Compare(full(m), full(best)), cmp.Compare(c.lag(m, id), c.lag(best, id)), cmp.Compare(len(kept[m]), len(kept[best]))) < 0 {
			best = m
		}
	}
	return best
}
