package streams

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
)

// The functions here are what a runner does when the group gives it partitions or takes
// them away. The client calls them while the runner waits for records, so that they have
// the tasks to themselves.

// taskOf returns a task that is here, whether it runs, is being restored or is yet to be.
func (r *runner) taskOf(id taskID) *task {
	if t := r.tasks[id]; t != nil {
		return t
	}
	if t := r.fresh[id]; t != nil || r.pending == nil {
		return t
	}
	return r.pending.tasks[id]
}

// assigned opens the tasks of new partitions; they are restored before they run. One that
// is here already reads the partition from now on, as it does the others: all of a task's
// partitions are in one place, so nobody else has read this one since the task was restored.
func (r *runner) assigned(_ context.Context, cl *kgo.Client, parts map[string][]int32) {
	r.joined = true
	member, _ := cl.GroupMetadata()
	if r.member != "" && r.member != member && r.broken == nil {
		r.broken = errForgotten
	}
	r.member = member
	if r.epochs != nil {
		r.assignedEpochs(parts)
		return
	}
	for topic, ps := range parts {
		sub := r.bySource[topic]
		if sub == nil {
			r.look() // Somebody else has met a topic that matches, and this member not yet.
			continue
		}
		for _, p := range ps {
			if r.broken != nil {
				return
			}
			id := taskID{sub.index, p}
			if r.taskOf(id) == nil {
				r.broken = r.open(sub, id)
			}
			if q := r.queue(topic, p); q != nil {
				q.here = true
			}
		}
	}
	r.a.e.cfg.Logger.Debug("partitions assigned", "app", r.a.ID, "partitions", parts)
}

// errForgotten says that the group had given up on this member, which was not told so. The
// client joins again without a word when it learns that while it asks for a new generation,
// and keeps the partitions that it had, as if nobody else could have read on in them.
var errForgotten = &connect.Error{
	Code: "streams.member.forgotten", Class: connect.ClassRetriable,
	Message: "the group was without this instance for a while, and others may have done its work",
	Mend:    "nothing: the application begins anew with what the group gives it",
}

// mine tells whether a commit would be that of the member to which the group has given
// the partitions. One that was given up on and has joined again would be let commit by the
// brokers, between what others have committed since.
func (r *runner) mine(member string) error {
	if member != r.member {
		return kerr.UnknownMemberID
	}
	return nil
}

// open makes a task that is to be restored.
func (r *runner) open(sub *subTopology, id taskID) error {
	r.copies.release(id)
	t, err := openTask(r.env, sub, id.partition)
	if err != nil {
		return err
	}
	r.fresh[id] = t
	r.a.board.put(t.measured().figures)
	return nil
}

// revoked commits and closes the tasks of partitions that go to other members.
// Inside a transaction nothing can be committed here: what was done since the last
// commit will be done again.
func (r *runner) revoked(ctx context.Context, _ *kgo.Client, parts map[string][]int32) {
	if r.closing || len(parts) == 0 {
		return
	}
	r.stopRestoring()
	if r.group != nil {
		r.mustAbort = true
	} else if err := r.a.shield(func() error { return r.commit(ctx) }); err != nil && r.broken == nil {
		r.broken = err
	}
	r.drop(parts)
}

// lost closes tasks without a commit: others have them already.
func (r *runner) lost(_ context.Context, _ *kgo.Client, parts map[string][]int32) {
	if r.closing {
		return
	}
	// Without a place in the group there is nothing to read until it has one again.
	r.joined, r.member = false, ""
	r.a.set(Starting, nil)
	r.stopRestoring()
	r.mustAbort = r.group != nil
	r.drop(parts)
}

// drop closes the tasks of partitions. The others of such a task go with it; they are as a
// rule among parts. When not, because a topic is gone or who leads the group does not know
// of it, the application begins anew: what is fetched of them has no task any more.
func (r *runner) drop(parts map[string][]int32) {
	if r.epochs != nil {
		r.dropEpochs(parts)
		return
	}
	gone := map[taskID]*task{}
	for topic, ps := range parts {
		for _, p := range ps {
			if q := r.queue(topic, p); q != nil {
				q.here = false
				id := taskID{r.bySource[topic].index, p}
				gone[id] = r.taskOf(id)
			}
		}
	}
	for id, t := range gone {
		if r.tasks[id] != nil {
			delete(r.tasks, id)
			r.a.setHere(id, false)
		}
		delete(r.fresh, id)
		r.a.board.drop(id)
		for _, q := range t.queues {
			if q.here && r.broken == nil {
				r.broken = errSplit(id, q.topic)
			}
		}
	}
	// The client remembers what is paused; a task that comes back begins with nothing.
	r.cl.ResumeFetchPartitions(parts)
	r.a.e.cfg.Logger.Debug("partitions revoked", "app", r.a.ID, "partitions", parts)
}

// errSplit says that a member was left with some of a task's partitions.
func errSplit(id taskID, topic string) error {
	return &connect.Error{
		Code: "streams.task.split", Class: connect.ClassRetriable, Place: "task " + id.String() + ", topic " + topic,
		Message: "another of the topics that the task reads was taken away, and not this one",
		Mend:    "nothing: the application begins anew with the topics there are",
	}
}
