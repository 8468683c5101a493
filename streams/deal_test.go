package streams

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
)

// who returns the member that has a task.
func who(placed map[string][]taskID, id taskID) (m string) {
	for member, ids := range placed {
		if slices.Contains(ids, id) {
			m += member
		}
	}
	return m
}

func tasksOf(sub int, n int32) (ids []taskID) {
	for p := range n {
		ids = append(ids, taskID{sub, p})
	}
	return ids
}

// TestWarmUp has a second member join one with all the state: it warms up as many tasks
// as it may, and takes each over once it is near enough.
func TestWarmUp(t *testing.T) {
	c := &census{
		standbyLimits: standbyLimits{warmups: 2, acceptable: 10}, members: []string{"new", "old"}, tasks: tasksOf(0, 8),
		stateful: []bool{true}, had: map[taskID]string{}, lags: map[string]map[taskID]int64{"new": {}, "old": {}},
	}
	for _, id := range c.tasks {
		c.had[id], c.lags["new"][id], c.lags["old"][id] = "old", 1000, 0
	}
	for round := range 3 {
		d := c.place()
		if n := len(d.active["new"]); n != 2*round {
			t.Fatalf("round %d: the new member runs %v", round, d.active["new"])
		}
		if n := min(2, 4-2*round); len(d.warm["new"]) != n || len(d.warm["old"]) != 0 {
			t.Fatalf("round %d: warm are %v", round, d.warm)
		}
		for _, id := range d.warm["new"] {
			c.lags["new"][id] = 10
		}
		for m, ids := range d.active {
			for _, id := range ids {
				c.had[id] = m
			}
		}
	}
	// Stateless tasks do not wait for anything.
	c.stateful = []bool{false}
	for id := range c.had {
		c.had[id], c.lags["new"][id] = "old", 1000
	}
	if d := c.place(); len(d.active["new"]) != 4 || len(d.warm) != 0 {
		t.Errorf("stateless tasks are placed so: %+v", d)
	}
}

// TestTakeOver loses a member: its tasks go to those who have copies of them.
func TestTakeOver(t *testing.T) {
	c := &census{
		standbyLimits: standbyLimits{standbys: 1, warmups: 2, acceptable: 10}, members: []string{"a", "b", "c"}, tasks: tasksOf(0, 6),
		stateful: []bool{true}, had: map[taskID]string{}, lags: map[string]map[taskID]int64{},
	}
	first := c.place()
	for _, m := range c.members {
		if len(first.active[m]) != 2 || len(first.standby[m]) != 2 {
			t.Fatalf("placed %+v", first)
		}
		c.lags[m] = map[taskID]int64{}
		for _, id := range c.tasks {
			c.lags[m][id] = 1000
		}
		for _, id := range slices.Concat(first.active[m], first.standby[m]) {
			c.lags[m][id] = 3
		}
		for _, id := range first.active[m] {
			c.had[id] = m
		}
	}
	if again := c.place(); !reflect.DeepEqual(again, first) {
		t.Errorf("nothing changed, but %+v became %+v", first, again)
	}
	c.members = []string{"a", "c"}
	d := c.place()
	for _, id := range first.active["b"] {
		if copier := who(first.standby, id); who(d.active, id) != copier {
			t.Errorf("task %s, of which %s has a copy, goes to %s", id, copier, who(d.active, id))
		}
	}
	for _, id := range c.tasks {
		if who(d.standby, id) == "" || who(d.standby, id) == who(d.active, id) {
			t.Errorf("task %s runs at %s and has a copy at %s", id, who(d.active, id), who(d.standby, id))
		}
	}
}

// TestPlacingSettles lets members come and go at random. Every task always runs at one
// member, never at one far behind when another is not, and warming up leads, in a bounded
// number of rounds, to a balance in which nothing moves any more.
func TestPlacingSettles(t *testing.T) {
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		c := &census{
			standbyLimits: standbyLimits{standbys: rnd.IntN(3), warmups: 1 + rnd.IntN(3), acceptable: 5},
			tasks:         slices.Concat(tasksOf(0, 1+rnd.Int32N(9)), tasksOf(1, rnd.Int32N(6))), stateful: []bool{true, false},
			had: map[taskID]string{}, lags: map[string]map[taskID]int64{},
		}
		for range 4 {
			c.members = nil
			for m := range 1 + rnd.IntN(4) {
				c.members = append(c.members, fmt.Sprint("m", m))
			}
			settle(t, seed, c)
		}
	}
}

// settle plays rounds until nothing changes.
func settle(t *testing.T, seed uint64, c *census) {
	for id, m := range c.had {
		if !slices.Contains(c.members, m) {
			delete(c.had, id)
		}
	}
	for _, m := range c.members {
		if c.lags[m] == nil {
			c.lags[m] = map[taskID]int64{}
			for _, id := range c.tasks {
				c.lags[m][id] = 1000
			}
		}
	}
	var last deal
	for round := 0; ; round++ {
		d := c.place()
		for _, id := range c.tasks {
			m := who(d.active, id)
			if !slices.Contains(c.members, m) {
				t.Fatalf("seed %d: task %s runs at %q", seed, id, m)
			}
			if best := c.nearest(id, m); c.stateful[id.sub] && c.lag(m, id) > c.acceptable && c.lag(best, id) < c.lag(m, id) {
				t.Fatalf("seed %d: task %s runs at %s, which lacks %d, not at %s", seed, id, m, c.lag(m, id), best)
			}
		}
		if reflect.DeepEqual(d, last) {
			checkSettled(t, seed, c, d)
			return
		}
		if round > 4*len(c.tasks) {
			t.Fatalf("seed %d: no end of moving: %+v, %+v", seed, last, d)
		}
		last = d
		for _, m := range c.members {
			for _, id := range slices.Concat(d.active[m], d.standby[m], d.warm[m]) {
				c.lags[m][id] = 0
			}
			for _, id := range d.active[m] {
				c.had[id] = m
			}
		}
	}
}

// checkSettled wants a balance, all copies, and nobody who warms up.
func checkSettled(t *testing.T, seed uint64, c *census, d deal) {
	floor := len(c.tasks) / len(c.members)
	for _, m := range c.members {
		if n := len(d.active[m]); n < floor || n > floor+1 || len(d.warm[m]) > 0 {
			t.Fatalf("seed %d: %s of %v runs %d of %d tasks, warms up %v", seed, m, c.members, n, len(c.tasks), d.warm[m])
		}
		all, has := 0, 0
		for _, id := range c.tasks {
			if c.stateful[id.sub] {
				all++
				if slices.Contains(d.active[m], id) {
					has++
				}
			}
		}
		if floor := all / len(c.members); has < floor || has > floor+1 {
			t.Fatalf("seed %d: %s of %v runs %d of %d tasks with stores", seed, m, c.members, has, all)
		}
	}
	for _, id := range c.tasks {
		copies := 0
		for _, m := range c.members {
			if slices.Contains(d.standby[m], id) {
				copies++
			}
		}
		if want := min(c.standbys, len(c.members)-1); c.stateful[id.sub] && copies != want {
			t.Fatalf("seed %d: task %s has %d copies, want %d", seed, id, copies, want)
		}
	}
}

// TestFleetOnTheWire packs and unpacks what members tell each other; what is cut off or
// of another version is nothing.
func TestFleetOnTheWire(t *testing.T) {
	c := card{instance: "one", address: "127.0.0.1:1", asking: 7, stands: []standing{{taskID{0, 3}, 1 << 40}, {taskID{2, 0}, 0}}}
	packed := c.pack(fleetVersion)
	if got, ok := unpackCard(packed, fleetVersion); !ok || !reflect.DeepEqual(got, c) {
		t.Errorf("%+v became %+v", c, got)
	}
	f := &fleet{
		members: []fleetMember{{"one", "a:1", tasksOf(0, 3), nil}, {"two", "", nil, []standing{{taskID{0, 1}, 5}}}},
		self:    1, copies: tasksOf(0, 2), warm: []standing{{taskID{0, 1}, 10}},
	}
	picture := f.pack(fleetVersion)
	if got := unpackFleet(picture, fleetVersion); !reflect.DeepEqual(got, f) {
		t.Errorf("%+v became %+v", f, got)
	}
	for n := range packed {
		if _, ok := unpackCard(packed[:n], fleetVersion); ok {
			t.Errorf("a card was read from %d of %d bytes", n, len(packed))
		}
	}
	for n := range picture {
		if unpackFleet(picture[:n], fleetVersion) != nil {
			t.Errorf("a picture was read from %d of %d bytes", n, len(picture))
		}
	}
	if _, ok := unpackCard(append([]byte{fleetVersion + 1}, packed[1:]...), fleetVersion); ok {
		t.Error("a card of another version was read")
	}
}
