package streams

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemill/tidemill/connect"
)

// idleRunner is a runner that has one task, of topics a and b, and no group.
func idleRunner(t *testing.T) (*runner, *task) {
	t.Helper()
	tk, _, _ := twoTopics(t)
	cl, err := kgo.NewClient(kgo.ConsumeTopics("a", "b"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	sub := &subTopology{index: tk.id.sub}
	a := newApplication(&Engine{cfg: Config{Logger: slog.New(slog.DiscardHandler)}}, App{ID: "app", Topology: &Topology{subs: []*subTopology{sub}}})
	r := &runner{
		a: a, cl: cl, env: tk.env, tasks: map[taskID]*task{}, fresh: map[taskID]*task{}, starts: map[part]start{},
		bySource: map[string]*subTopology{"a": sub, "b": sub}, looking: make(chan struct{}, 1),
	}
	r.copies = newCopies(a, r.env)
	return r, tk
}

// TestPartitionJoinsATask gives a partition to a task that is yet to be restored, is being
// restored or runs: there is one task then as before, and it reads both partitions. With two
// of them, the second one takes the place of the first, with whose records nothing is done.
func TestPartitionJoinsATask(t *testing.T) {
	for _, where := range []string{"running", "fresh", "restoring"} {
		r, tk := idleRunner(t)
		in := map[taskID]*task{tk.id: tk}
		switch where {
		case "running":
			r.tasks = in
		case "fresh":
			r.fresh = in
		default:
			r.pending = &restoration{tasks: in}
		}
		for _, topic := range []string{"a", "b"} {
			r.assigned(context.Background(), r.cl, map[string][]int32{topic: {0}})
			if q := r.queue(topic, 0); q == nil || !q.here || !slices.Contains(tk.queues, q) {
				t.Errorf("%s: the task does not read topic %s", where, topic)
			}
		}
		if got := len(r.tasks) + len(r.fresh); where == "restoring" && got != 0 || where != "restoring" && got != 1 {
			t.Errorf("%s: there are %d other tasks", where, got)
		}
		if r.broken != nil {
			t.Errorf("%s: %v", where, r.broken)
		}
	}
}

// TestPartOfATaskGoes takes one of two partitions of a task away, and both: a task that is
// left with one of them would miss what is fetched of it.
func TestPartOfATaskGoes(t *testing.T) {
	for taken, split := range map[string]bool{"a": true, "a b": false} {
		r, tk := idleRunner(t)
		r.tasks[tk.id] = tk
		r.assigned(context.Background(), r.cl, map[string][]int32{"a": {0}, "b": {0}})
		parts := map[string][]int32{}
		for _, topic := range strings.Fields(taken) {
			parts[topic] = []int32{0}
		}
		r.drop(parts)
		if got := r.broken != nil && connect.AsError(r.broken).Code == "streams.task.split"; got != split {
			t.Errorf("without %s it goes on with %v", taken, r.broken)
		}
		if len(r.tasks) > 0 {
			t.Errorf("without %s the task is still there", taken)
		}
	}
}

// TestJoinedPartitionBegins has the first records of a partition come to a task that runs:
// they have to be those after what it was restored with.
func TestJoinedPartitionBegins(t *testing.T) {
	for _, c := range []struct {
		saved int64
		from  start
		stale bool
	}{
		{-1, start{at: -1}, false}, {7, start{at: 7}, false}, {-1, start{at: 7, chosen: true}, false},
		{-1, start{at: 7}, true}, {5, start{at: 7}, true},
	} {
		r, tk := idleRunner(t)
		r.tasks[tk.id], r.starts[part{"a", 0}] = tk, c.from
		q := r.queue("a", 0)
		q.saved, q.running = c.saved, true
		err := r.take(kgo.Fetches{{Topics: []kgo.FetchTopic{{Topic: "a", Partitions: []kgo.FetchPartition{{Records: at(1, 7, "x")}}}}}})
		if got := err != nil && connect.AsError(err).Code == "streams.task.stale"; got != c.stale {
			t.Errorf("saved as of %d and read from %+v: %v", c.saved, c.from, err)
		}
	}
}

// alone is a member that says nothing of itself.
type alone struct{}

func (alone) card() []byte                              { return nil }
func (alone) told([]byte)                               {}
func (alone) unread([]string)                           {}
func (alone) extents(context.Context) map[taskID]extent { return nil }

// topicsOf are the topics of the one sub-topology of the tests here.
func topicsOf(known []string) [][]string { return [][]string{known} }

// joining is a member of a group with what it has as of a generation.
func joining(id string, reads []string, generation int32, owned map[string][]int32) kmsg.JoinGroupResponseMember {
	m := kmsg.NewJoinGroupResponseMember()
	m.MemberID, m.ProtocolMetadata = id, taskBalancer{member: alone{}}.JoinGroupMetadata(reads, owned, generation)
	return m
}

// balanced shares partitions out among members.
func balanced(t *testing.T, topics map[string]int32, members ...kmsg.JoinGroupResponseMember) string {
	t.Helper()
	balancer := taskBalancer{reads: topicsOf, stateful: []bool{false}, member: alone{}}
	b, _, err := balancer.MemberBalancer(members)
	if err != nil {
		t.Fatal(err)
	}
	plan := b.(*kgo.ConsumerBalancer)
	given := balancer.Balance(plan, topics).(*informedPlan).AsMemberIDMap()
	var text []string
	for _, m := range slices.Sorted(maps.Keys(given)) {
		for _, topic := range slices.Sorted(maps.Keys(given[m])) {
			slices.Sort(given[m][topic])
			text = append(text, fmt.Sprint(m, " ", topic, given[m][topic]))
		}
	}
	return strings.Join(text, ", ")
}

// TestVersionsMeet has processes of two versions of what members of a group tell each other
// in one group, each of which leads it for some time: all tasks are at work and nothing
// counts twice. With the last one of the other version what processes know of each other
// comes back.
func TestVersionsMeet(t *testing.T) {
	w := newWorld(t)
	topology, counts := keyCount(t, With{Uncached: true})
	app := App{ID: "wc", Topology: topology, ExactlyOnce: true, CommitInterval: 20 * time.Millisecond, Standbys: 1}
	told := &ears{}
	version := func(speaks byte) func(*Engine) {
		return func(e *Engine) {
			e.speaks, e.cfg.Logger = speaks, slog.New(slog.NewTextHandler(told, nil))
		}
	}
	shared := func(a, b *running) func() bool {
		return func() bool {
			w.put(10)
			return a.tasks("wc") == 2 && b.tasks("wc") == 2
		}
	}
	knows := func(r *running) int {
		a := r.apps["wc"]
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.fleet == nil {
			return 0
		}
		return len(a.fleet.members)
	}
	w.put(50)
	older := w.start(t.TempDir(), app, version(fleetVersion-1))
	w.waitOutput()
	newer := w.start(t.TempDir(), app, version(fleetVersion))
	w.wait("the tasks to be shared", shared(older, newer))
	w.waitOutput()
	if n := knows(newer); n != 0 || !told.heard("led by a process of another version") || !told.heard("processes of another version are in the group") {
		t.Errorf("it knows of %d, and of the other version it is told %s", n, told)
	}
	older.end()
	w.wait("the newer process to have all tasks", func() bool {
		w.put(10)
		return newer.tasks("wc") == 4 && knows(newer) == 1
	})
	older = w.start(t.TempDir(), app, version(fleetVersion-1))
	w.wait("the tasks to be shared again", shared(newer, older))
	w.waitOutput()
	older.end()
	other := w.start(t.TempDir(), app, version(fleetVersion))
	w.wait("two processes that know of each other", func() bool {
		w.put(10)
		return shared(newer, other)() && knows(newer) == 2 && knows(other) == 2
	})
	w.waitOutput()
	w.checkExact()
	got := newer.contents(w.ctx, "wc", counts)
	for key, n := range other.contents(w.ctx, "wc", counts) {
		got[key] = n
	}
	if !maps.Equal(got, w.model) {
		t.Errorf("the stores have %v, want %v", got, w.model)
	}
	newer.end()
	other.end()
}

// TestStrangersKeepNothing gives a member of another version no copies and no task to warm
// up for, of which it could not be told; others get them.
func TestStrangersKeepNothing(t *testing.T) {
	id := taskID{0, 0}
	c := &census{
		standbyLimits: standbyLimits{standbys: 1, warmups: 1, acceptable: 10}, stateful: []bool{true},
		members: []string{"a", "b", "stranger"}, strangers: []string{"stranger"},
		tasks: []taskID{id, {0, 1}, {0, 2}}, had: map[taskID]string{id: "a", {0, 1}: "a", {0, 2}: "a"},
		lags: map[string]map[taskID]int64{},
	}
	for _, m := range c.members {
		c.lags[m] = map[taskID]int64{id: 100, {0, 1}: 100, {0, 2}: 100}
	}
	d := c.place()
	if len(d.active["a"]) != 3 || len(d.warm["stranger"])+len(d.standby["stranger"]) > 0 {
		t.Errorf("placed %+v", d)
	}
	if len(d.warm["b"]) != 1 {
		t.Errorf("b, who can be told, is to warm up for %v", d.warm["b"])
	}
}

// TestTaskHasOneMember adds a topic to those that a group reads, of which not all members
// know, or takes one away, while tasks move: at no time do two members have partitions of
// one task, and who has a task gets its new partitions.
func TestTaskHasOneMember(t *testing.T) {
	old, both := []string{"a"}, []string{"a", "b"}
	two := map[string]int32{"a": 2, "b": 2}
	for _, c := range []struct {
		what    string
		topics  map[string]int32
		members []kmsg.JoinGroupResponseMember
		want    string
	}{
		{
			"a topic that one member knows", two,
			[]kmsg.JoinGroupResponseMember{joining("x", old, 1, map[string][]int32{"a": {0}}), joining("y", both, 1, map[string][]int32{"a": {1}})},
			"x a[0], x b[0], y a[1], y b[1]",
		},
		{
			"a task moves, and its new partition waits for it", two,
			[]kmsg.JoinGroupResponseMember{joining("x", both, 1, map[string][]int32{"a": {0, 1}}), joining("y", both, 0, nil)},
			"x a[0], x b[0]",
		},
		{
			"the task has moved", two,
			[]kmsg.JoinGroupResponseMember{joining("x", both, 2, map[string][]int32{"a": {0}, "b": {0}}), joining("y", both, 2, nil)},
			"x a[0], x b[0], y a[1], y b[1]",
		},
		{
			"two members have partitions of a task: one keeps what it has, the other gives its own up", two,
			[]kmsg.JoinGroupResponseMember{joining("x", both, 1, map[string][]int32{"a": {0, 1}}), joining("y", both, 2, map[string][]int32{"b": {1}})},
			"x a[0], x b[0], y b[1]",
		},
		{
			"a member that comes back claims what it had", two,
			[]kmsg.JoinGroupResponseMember{joining("x", both, 3, map[string][]int32{"a": {0}, "b": {0}}), joining("y", both, 1, map[string][]int32{"a": {0, 1}, "b": {0, 1}})},
			"x a[0], x b[0], y a[1], y b[1]",
		},
		{
			"a topic that is gone", map[string]int32{"a": 2},
			[]kmsg.JoinGroupResponseMember{joining("x", old, 1, map[string][]int32{"a": {0}, "b": {0, 1, 2}}), joining("y", old, 1, map[string][]int32{"a": {1}})},
			"x a[0], y a[1]",
		},
	} {
		if got := balanced(t, c.topics, c.members...); got != c.want {
			t.Errorf("%s: %s, want %s", c.what, got, c.want)
		}
	}
}
