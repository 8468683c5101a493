package streams

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams/txn"
)

// In transaction mode one member of the group has all partitions and runs all tasks, and
// the others stand by. The functions here are what the runner does differently then.

// openEpochs prepares for transaction mode.
func (r *runner) openEpochs(plan *partitionPlan) (err error) {
	dir := r.a.e.cfg.Dir
	if dir != "" {
		if r.env.stage, err = r.a.e.disk.Stage(stageDir(dir, r.a.ID), stageFactor*r.a.e.cfg.CacheBytes); err != nil {
			return err
		}
	}
	if r.epochs, err = newEpochs(r.env, r.a.Topology, r.a.Transactions, plan); err != nil {
		return err
	}
	r.env.epochs, r.env.out = r.epochs, looping{r, r.epochs, r.begin}
	if dir != "" {
		return r.epochs.gate.PutAside(asideDir(dir, r.a.ID), recordCodec{})
	}
	return nil
}

// stageFactor is how many times the write-back cache the changes of one commit may take
// in memory before they go to the disk. What is gathered of several transactions is
// committed at once that size.
const stageFactor = 2

// close removes what is on the disk.
func (e *epochs) close() error {
	err := e.gate.Close()
	if e.stage != nil {
		err = errors.Join(err, e.stage.Close())
	}
	return err
}

// inputs are the topics that are consumed.
func (r *runner) inputs() []string {
	topics := slices.Sorted(maps.Keys(r.bySource))
	if r.epochs != nil {
		topics = append(topics, r.epochs.source.Topic)
	}
	return topics
}

// checkMetadata checks the topic of transaction metadata.
func (a *application) checkMetadata(ctx context.Context) error {
	if a.Transactions == nil {
		return nil
	}
	topic := a.Transactions.Topic
	counts, err := a.e.client.PartitionsOf(ctx, topic)
	switch n := counts[topic]; {
	case err != nil:
		return err
	case n == 0:
		return &connect.Error{
			Code: "streams.topic.missing", Class: connect.ClassRetriable, Place: topic,
			Message: "application " + a.ID + " waits for a topic that does not exist",
			Mend:    "set provide.transaction.metadata=true on the source; the topic has to have one partition",
		}
	case n > 1:
		return &connect.Error{
			Code: "streams.transaction.partitions", Class: connect.ClassConfig, Place: topic,
			Message: fmt.Sprintf("the topic of transaction metadata has %d partitions, in which transactions have no order", n),
			Mend:    "make it anew with one partition before the source writes to it",
		}
	}
	return nil
}

// errMoved has the application begin anew.
func (r *runner) errMoved(what string) error {
	return &connect.Error{
		Code: "streams.transaction.moved", Class: connect.ClassRetriable, Place: r.a.ID,
		Message: what, Mend: "nothing: the application begins anew",
	}
}

// assignedEpochs opens all tasks once all partitions are here, and finds out where the
// application stands.
func (r *runner) assignedEpochs(parts map[string][]int32) {
	e := r.epochs
	for topic, ps := range parts {
		for _, p := range ps {
			if !e.gate.Knows(txn.Part{Topic: topic, Partition: p}) && r.broken == nil {
				r.broken = r.errMoved("topic " + topic + " has got more partitions")
			}
			e.owned[txn.Part{Topic: topic, Partition: p}] = true
		}
	}
	if len(e.owned) < e.gate.Parts() || len(e.tasks) > 0 || r.broken != nil {
		return
	}
	e.tasks = map[taskID]*task{}
	for _, sub := range r.a.Topology.subs {
		for p := range int32(e.counts[sub.index]) {
			id := taskID{sub.index, p}
			t, err := openTask(r.env, sub, p)
			if err != nil {
				r.broken = err
				return
			}
			r.fresh[id], e.tasks[id] = t, t
			r.a.board.put(t.measured().figures)
		}
	}
	r.a.e.cfg.Logger.Debug("all partitions assigned", "app", r.a.ID)
}

// dropEpochs closes all tasks. What is not all of the partitions is nothing to go on with.
func (r *runner) dropEpochs(parts map[string][]int32) {
	e := r.epochs
	for topic, ps := range parts {
		for _, p := range ps {
			delete(e.owned, txn.Part{Topic: topic, Partition: p})
		}
	}
	for id := range r.tasks {
		r.a.setHere(id, false)
	}
	for id := range r.fresh {
		r.a.board.drop(id)
	}
	clear(r.tasks)
	clear(r.fresh)
	e.tasks = nil
	e.ends.reset(-1)
	e.ends.first, e.ends.saved, e.ends.next, e.ends.paused = -1, -1, -1, false
	e.back(0, true)
	if len(e.owned) > 0 && r.broken == nil {
		r.broken = r.errMoved("some of the partitions went to another process")
	}
	r.cl.ResumeFetchPartitions(parts)
	r.a.e.cfg.Logger.Debug("all partitions revoked", "app", r.a.ID)
}

// noteMark begins what is noted with the offset in the topic of transaction metadata: the
// transaction and, after a colon, the time of windows.
const noteMark = "tidemill-epoch:"

// note tells as of which transaction a commit is.
func (e *epochs) note() string {
	return fmt.Sprintf("%s%d:%d", noteMark, uint64(e.at), e.latest)
}

// stance is where an application stands.
type stance struct {
	at    txn.Epoch
	time  int64 // the highest of all records
	based bool
	ends  int64
}

// stance finds out as of which transaction an application is.
func (a *application) stance(ctx context.Context) (s stance, err error) {
	topic := a.Transactions.Topic
	committed, err := a.e.client.Committed(ctx, a.ID, map[string][]int32{topic: {0}})
	if err != nil {
		return s, err
	}
	s.ends = committed[topic][0].Offset
	if s.at, s.time, err = readNote(committed[topic][0].Note); err != nil {
		return s, fmt.Errorf("reading what is noted with the offset of topic %s: %w", topic, err)
	}
	if s.at > 0 {
		s.based = true
		return s, nil
	}
	spans, err := a.e.client.Spans(ctx, topic)
	s.based = spans[topic][0].Start == 0
	return s, err
}

// readNote reads what epochs.note has written. One of an earlier version has no time.
func readNote(note string) (at txn.Epoch, latest int64, err error) {
	text, ok := strings.CutPrefix(note, noteMark)
	if !ok {
		return 0, -1, nil
	}
	text, ms, timed := strings.Cut(text, ":")
	n, err := strconv.ParseUint(text, 10, 64)
	if latest = -1; err == nil && timed {
		latest, err = strconv.ParseInt(ms, 10, 64)
	}
	return txn.Epoch(n), latest, err
}

// stand brings the position to where the restored stores are, for which the group has it.
func (r *runner) stand() error {
	e, s := r.epochs, r.pending.stance
	e.at, e.saved, e.based = s.at, s.at, s.based
	e.before, e.latest = s.time, s.time
	e.ends.saved, e.ends.next = s.ends, s.ends
	e.gate.Begin(s.at, s.based)
	b := r.a.e.db.Batch()
	e.write(b)
	return b.Commit()
}

// workEpochs lets the tasks process whole transactions and commits when it is time.
func (r *runner) workEpochs(ctx context.Context) error {
	e := r.epochs
	whole := len(r.tasks) > 0 && len(r.tasks) == len(e.tasks)
	for more := whole && !r.a.paused.Load(); more && ctx.Err() == nil; {
		began := time.Now()
		var err error
		if more, err = e.step(stepRecords); err != nil {
			return err
		}
		r.a.thread.process.Add(time.Since(began).Seconds())
		if err := r.commitIfDue(); err != nil {
			return err
		}
	}
	e.measure()
	r.pauseAhead(!whole || r.a.paused.Load())
	return r.commitIfDue()
}

// pauseAhead stops fetching partitions of which nothing is waited for, when enough is
// held: all of them when still.
func (r *runner) pauseAhead(still bool) {
	e := r.epochs
	enough := e.gate.Figures().InMemory > e.source.Limit()/2
	set := func(q *queue, partition int32) {
		full := enough && (still || e.gate.Ahead(txn.Part{Topic: q.topic, Partition: partition}))
		if full == q.paused {
			return
		}
		q.paused = full
		which := map[string][]int32{q.topic: {partition}}
		if full {
			r.cl.PauseFetchPartitions(which)
		} else {
			r.cl.ResumeFetchPartitions(which)
		}
	}
	for id, t := range e.tasks {
		for _, q := range t.queues {
			set(q, id.partition)
		}
	}
	set(e.ends, 0)
}

// rewindEpochs adds where to read transaction metadata from again, and forgets what is
// not committed.
func (r *runner) rewindEpochs(back map[string]map[int32]kgo.EpochOffset) {
	e := r.epochs
	if at := e.ends.restart(len(r.tasks) > 0); at >= 0 {
		back[e.ends.topic] = map[int32]kgo.EpochOffset{0: {Epoch: -1, Offset: at}}
	}
	e.ends.next = e.ends.saved
	e.back(e.saved, e.based)
}
