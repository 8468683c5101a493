package streams

import (
	"context"
	"encoding/binary"
	"maps"
	"slices"
	"time"

	"github.com/tidemill/tidemill/streams/state"
)

// balancer returns what places the tasks when this member leads the group.
func (r *runner) balancer() taskBalancer {
	b := taskBalancer{
		reads: r.groups, member: r, speaks: r.a.e.speaks,
		standbys: standbyLimits{standbys: r.a.Standbys, warmups: r.a.MaxWarmups, acceptable: r.a.AcceptableLag},
	}
	for _, sub := range r.a.Topology.subs {
		b.stateful = append(b.stateful, sub.logged())
	}
	return b
}

// reads lists the topics of which the tasks of a sub-topology have partitions.
func (r *runner) reads(sub *subTopology, matched map[string][]string) (topics []string) {
	for _, in := range sub.inputs(matched) {
		if r.a.Transactions == nil || !r.a.Topology.internalTopic(in.topic) {
			topics = append(topics, topicName(r.a.ID, in.topic))
		}
	}
	return topics
}

// groups lists the topics that the tasks of each sub-topology read when the members of the
// group know those topics. One of them may have met a topic that this member has not, and
// has it in its tasks.
func (r *runner) groups(known []string) (all [][]string) {
	matched, err := r.a.match(known)
	if err != nil {
		matched = r.plan.matched // Whoever reads it tells what is wrong.
	}
	for _, sub := range r.a.Topology.subs {
		all = append(all, r.reads(sub, matched))
	}
	return all
}

// startCopies starts keeping copies, and returns what ends that.
func (r *runner) startCopies(ctx context.Context) (end func()) {
	ctx, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	r.a.copies.Store(r.copies)
	go func() {
		defer close(done)
		r.copies.run(ctx)
	}()
	return func() {
		stop()
		<-done
		r.a.copies.Store(nil)
	}
}

// card implements groupMember.
func (r *runner) card() []byte {
	c := card{instance: r.a.e.instance, address: r.a.e.address, asking: r.asking.Load()}
	for _, sub := range r.a.Topology.subs {
		if !sub.logged() {
			continue
		}
		for p := range int32(r.plan.tasks[sub.index]) {
			at, some, err := r.a.storesAt(sub, p)
			if err != nil {
				// The leader places tasks without it then.
				r.a.e.cfg.Logger.Warn("it is not known how far the stores of a task are", "app", r.a.ID, "task", taskID{sub.index, p}, "error", err)
			}
			if some {
				c.stands = append(c.stands, standing{taskID{sub.index, p}, at})
			}
		}
	}
	return c.pack(r.a.e.speaks)
}

// logged tells whether a task of the sub-topology has stores that are restored.
func (s *subTopology) logged() bool {
	return slices.ContainsFunc(s.stores, func(spec *storeSpec) bool { return !spec.layout.Unlogged })
}

// storesAt returns the sum of the changelog offsets to which this instance has the stores
// of a task.
func (a *application) storesAt(sub *subTopology, p int32) (sum int64, some bool, err error) {
	meta, err := a.e.db.Open(metaStore(a.ID), p)
	if err != nil {
		return 0, false, err
	}
	r := a.e.db.Reader(meta)
	for _, spec := range sub.stores {
		if spec.layout.Unlogged {
			continue
		}
		at, known, err := readPosition(r, 'c', spec.name)
		if err != nil {
			return 0, false, err
		}
		if known && at > 0 {
			sum, some = sum+at, true
		}
	}
	return sum, some, nil
}

// readPosition reads an offset that task.setPosition noted.
func readPosition(r state.Reader, what byte, name string) (at int64, known bool, err error) {
	b, found, err := r.Get(nil, append([]byte{what}, name...))
	if err != nil || !found || len(b) != 8 {
		return -1, false, err
	}
	at = int64(binary.BigEndian.Uint64(b))
	return at, at >= 0, nil
}

// told implements groupMember.
func (r *runner) told(data []byte) {
	if len(data) == 0 {
		return
	}
	f := unpackFleet(data, r.a.e.speaks)
	if f == nil {
		r.a.e.cfg.Logger.Warn("the group is led by a process of another version: until all are of one, this one keeps no copies and does not know where rows of others are",
			"app", r.a.ID, "version", data[0], "own", r.a.e.speaks)
	}
	r.mu.Lock()
	r.fleet = f
	r.mu.Unlock()
	r.a.setFleet(f)
}

// unread implements groupMember.
func (r *runner) unread(members []string) {
	r.a.e.cfg.Logger.Warn("processes of another version are in the group: tasks are placed without knowing their stores, and they are given no copies to keep",
		"app", r.a.ID, "members", members, "own", r.a.e.speaks)
}

// extentPatience is how long a leader waits for the ends of changelogs while the group
// waits for it.
const extentPatience = 5 * time.Second

// extents implements groupMember. Without an answer tasks are placed as if all stores
// were up to date.
func (r *runner) extents(ctx context.Context) map[taskID]extent {
	ctx, cancel := context.WithTimeout(ctx, extentPatience)
	defer cancel()
	of := map[string]int{}
	for _, sub := range r.a.Topology.subs {
		for _, spec := range sub.stores {
			if !spec.layout.Unlogged {
				of[changelogName(r.a.ID, spec.name)] = sub.index
			}
		}
	}
	spans, err := r.a.e.client.Spans(ctx, slices.Collect(maps.Keys(of))...)
	if err != nil {
		r.a.e.cfg.Logger.Warn("tasks are placed without knowing who is behind", "app", r.a.ID, "error", err)
		return nil
	}
	all := map[taskID]extent{}
	for topic, ps := range spans {
		for p, span := range ps {
			id := taskID{of[topic], p}
			e := all[id]
			all[id] = extent{e.start + span.Start, e.end + span.End}
		}
	}
	return all
}

// askEvery is how long after having asked the group to look again a member does so anew
// if nothing came of it: at first and at most.
const (
	askEvery   = 500 * time.Millisecond
	askSeldom  = 30 * time.Second
	askDoubled = 2
)

// keepUp brings the copies in line with what the group wants, and asks the group to look
// again when a task can be taken over or the group has a wrong address of this member.
func (r *runner) keepUp() {
	r.mu.Lock()
	f := r.fleet
	r.mu.Unlock()
	if f == nil || !r.joined {
		return
	}
	var ids []taskID
	for _, id := range f.copies {
		if r.tasks[id] == nil && r.fresh[id] == nil && (r.pending == nil || r.pending.tasks[id] == nil) {
			ids = append(ids, id)
		}
	}
	r.copies.want(ids)
	if f.shows(r.a.e.instance, r.a.e.address) && !r.copies.warmedUp(f.warm) {
		r.askAgain = 0
		return
	}
	if time.Since(r.asked) < r.askAgain {
		return
	}
	r.asked = time.Now()
	r.askAgain = min(max(askDoubled*r.askAgain, askEvery), askSeldom)
	r.asking.Add(1)
	r.cl.ForceRebalance()
}
