package streams

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams/topics"
)

// errCrash ends an application at once, as the death of its process would. Only
// tests make it.
var errCrash = errors.New("streams: crash")

// reach passes a point of a commit at which tests may end everything.
func (r *runner) reach(point string) error {
	if r.a.e.crash == nil {
		return nil
	}
	return r.a.e.crash(point)
}

func isOutOfRange(err error) bool { return errors.Is(err, kerr.OffsetOutOfRange) }

// begin opens a transaction before the first record after a commit.
func (r *runner) begin() error {
	if r.group == nil || r.inTxn {
		return nil
	}
	if err := r.group.Begin(); err != nil {
		return fmt.Errorf("beginning a transaction of application %s: %w", r.a.ID, err)
	}
	r.inTxn, r.begun = true, time.Now()
	return nil
}

// overdue names the error of a commit that brokers have aborted for the time it took.
func (r *runner) overdue(err error) error {
	timeout := r.a.transactionTimeout()
	if r.epochs == nil || r.begun.IsZero() || time.Since(r.begun) < timeout {
		return err
	}
	return &connect.Error{
		Code: "streams.transaction.timeout", Class: connect.ClassRetriable, Place: "the transaction at " + r.epochs.at.String(),
		Message: fmt.Sprintf("brokers abort a commit that takes longer than %v, and this one took %v", timeout, time.Since(r.begun).Round(time.Second)),
		Mend:    "raise CommitTimeout of the transactions' Source, up to transaction.max.timeout.ms of the brokers, if it is not only this time", Cause: err,
	}
}

// commitIfDue commits when the interval is over, or earlier when the caches hold
// more than they may. A commit that has begun when the application is stopped goes on:
// cut off between the changelogs and the offsets, it would leave records to the next
// owner that are counted already.
func (r *runner) commitIfDue() error {
	dirty, wanted := false, false
	var bytes int64
	for _, t := range r.tasks {
		dirty, wanted = dirty || t.dirty, wanted || t.wantCommit
		bytes += t.dirtyBytes()
	}
	due := time.Since(r.lastDone) >= r.a.CommitInterval || wanted || r.a.paused.Load()
	if !dirty || !due && bytes < r.a.e.cfg.CacheBytes {
		return nil
	}
	return r.commit(r.sending)
}

// commit makes what was processed since the last one lasting, in this order: the
// caches go to the changelogs and downstream; everything written is acknowledged;
// the consumed offsets are committed, with exactly once together with what was
// written; rows and offsets go to the local DB in one batch. A crash in between
// leaves the DB behind the changelog, from which it catches up. After an error
// nothing here counts any more and the runner ends.
func (r *runner) commit(ctx context.Context) error {
	tasks := make([]*task, 0, len(r.tasks))
	for _, t := range r.tasks {
		if t.dirty {
			tasks = append(tasks, t)
		}
	}
	if len(tasks) == 0 {
		return nil
	}
	began := time.Now()
	if err := r.send(ctx, tasks); err != nil {
		return r.overdue(err)
	}
	done, err := r.commitOffsets(ctx, tasks)
	if err != nil || !done {
		return r.overdue(err)
	}
	r.begun = time.Time{}
	if err := r.reach("offsets committed"); err != nil {
		return err
	}
	b := r.epochs.batch(r.env.db, tasks)
	for _, t := range tasks {
		t.write(b)
	}
	if r.epochs != nil {
		r.epochs.write(b)
	}
	if err := applyBatch(r.a.hub, b, tasks); err != nil {
		return err
	}
	if r.epochs != nil {
		r.epochs.committed()
		r.epochs.measure()
	}
	r.measure()
	r.a.thread.commit.Add(time.Since(began).Seconds())
	r.lastDone = time.Now()
	if r.careful {
		r.careful = false
		r.a.careful.Store(false)
	}
	r.purge(ctx, tasks)
	return r.reach("committed")
}

// measure brings the counters up to date that are taken at commits.
func (r *runner) measure() {
	var cached, lag int64
	for _, t := range r.tasks {
		t.note(time.Time{})
		t.noteStores()
		for _, st := range t.ordered {
			cached += st.cache.Bytes()
		}
		for _, q := range t.queues {
			lag += max(q.end-max(q.next, 0), 0)
		}
	}
	r.a.metrics.CacheBytes.Store(cached)
	r.a.metrics.Lag.Store(lag)
	r.a.metrics.Commits.Add(1)
}

// purgeInterval is how often processed records of repartition topics are removed.
const purgeInterval = 30 * time.Second

// purge removes what has been processed from the repartition topics of tasks: they
// have no other reader, and no limit of age or size. That it fails is no harm but
// to the disk, and it is tried again.
func (r *runner) purge(ctx context.Context, tasks []*task) {
	if r.lastDone.Sub(r.lastPurge) < r.a.e.purgeEvery {
		return
	}
	r.lastPurge = r.lastDone
	before := map[string]map[int32]int64{}
	for _, t := range tasks {
		for _, q := range t.queues {
			if !isRepartition(q) || q.saved <= 0 {
				continue
			}
			if before[q.topic] == nil {
				before[q.topic] = map[int32]int64{}
			}
			// The last one stays: the broker of development, when it starts again, knows
			// the end of a partition by what is in it.
			before[q.topic][t.id.partition] = q.saved - 1
		}
	}
	if len(before) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := r.a.e.client.DeleteBefore(ctx, before); err != nil {
		r.a.e.cfg.Logger.Warn("processed records of repartition topics stay", "app", r.a.ID, "error", err)
	}
}

// send flushes the caches and waits until everything is written.
func (r *runner) send(ctx context.Context, tasks []*task) error {
	if err := r.reach("before flush"); err != nil {
		return err
	}
	if err := r.flush(tasks); err != nil {
		return err
	}
	if err := r.cl.Flush(ctx); err != nil {
		return fmt.Errorf("waiting for what application %s has written: %w", r.a.ID, err)
	}
	if err := r.producerError(); err != nil {
		return err
	}
	return r.reach("written")
}

// flush empties the caches of tasks.
func (r *runner) flush(tasks []*task) error {
	if r.epochs != nil {
		return r.epochs.settle()
	}
	for _, t := range tasks {
		if err := t.flush(); err != nil {
			return err
		}
	}
	return nil
}

// commitOffsets commits how far the inputs of tasks were processed. It returns
// false when a transaction had to be aborted, after which everything since the
// last commit will be done again.
func (r *runner) commitOffsets(ctx context.Context, tasks []*task) (done bool, err error) {
	commits := topics.Commits{}
	for _, t := range tasks {
		for _, q := range t.queues {
			if q.next != q.saved {
				commits.Add(q.topic, t.id.partition, topics.Commit{Offset: q.next, Note: timeNote(q.timer.high)})
			}
		}
	}
	if r.group == nil {
		return true, r.commitPlain(ctx, commits)
	}
	if r.epochs != nil {
		commits.Add(r.epochs.ends.topic, 0, topics.Commit{Offset: r.epochs.ends.next, Note: r.epochs.note()})
		if err := r.begin(); err != nil {
			return false, err
		}
	}
	// The session would commit everything that was fetched; what is fetched but
	// not processed is taken out of its request.
	ctx = kgo.PreTxnCommitFnContext(ctx, func(req *kmsg.TxnOffsetCommitRequest) error {
		onlyProcessed(req, commits)
		return r.mine(req.MemberID)
	})
	ctx, cancel := r.endContext(ctx)
	defer cancel()
	committed, err := r.group.End(ctx, kgo.TryCommit)
	if err != nil {
		return false, fmt.Errorf("ending a transaction of application %s: %w", r.a.ID, errors.Join(context.Cause(ctx), err))
	}
	r.inTxn = false
	if !committed {
		r.rewind()
		return false, nil
	}
	return true, nil
}

func (r *runner) commitPlain(ctx context.Context, commits topics.Commits) error {
	offsets := map[string]map[int32]kgo.EpochOffset{}
	for topic, ps := range commits {
		offsets[topic] = map[int32]kgo.EpochOffset{}
		for p, c := range ps {
			offsets[topic][p] = kgo.EpochOffset{Epoch: -1, Offset: c.Offset}
		}
	}
	ctx = kgo.PreCommitFnContext(ctx, func(req *kmsg.OffsetCommitRequest) error {
		for _, t := range req.Topics {
			for i := range t.Partitions {
				p := &t.Partitions[i]
				p.Metadata = kmsg.StringPtr(commits[t.Topic][p.Partition].Note)
			}
		}
		return r.mine(req.MemberID)
	})
	var failed error
	r.cl.CommitOffsetsSync(ctx, offsets, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
		if err != nil {
			failed = err
			return
		}
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					failed = fmt.Errorf("topic %s, partition %d: %w", t.Topic, p.Partition, err)
				}
			}
		}
	})
	if failed != nil {
		return fmt.Errorf("committing the offsets of application %s: %w", r.a.ID, failed)
	}
	return nil
}

// onlyProcessed makes a request commit exactly commits.
func onlyProcessed(req *kmsg.TxnOffsetCommitRequest, commits topics.Commits) {
	known := map[string]kmsg.TxnOffsetCommitRequestTopic{}
	for _, t := range req.Topics {
		known[t.Topic] = t
	}
	req.Topics = req.Topics[:0:0]
	for topic, ps := range commits {
		t, ok := known[topic]
		if !ok {
			t = kmsg.NewTxnOffsetCommitRequestTopic()
			t.Topic = topic
		}
		t.Partitions = nil
		for p, c := range ps {
			part := kmsg.NewTxnOffsetCommitRequestTopicPartition()
			part.Partition, part.Offset, part.LeaderEpoch = p, c.Offset, -1
			part.Metadata = kmsg.StringPtr(c.Note)
			t.Partitions = append(t.Partitions, part)
		}
		req.Topics = append(req.Topics, t)
	}
}

// abort ends the transaction, if there is one, and goes back to the last commit.
// The session wants an end even without a transaction before it trusts the group
// again after a rebalance.
func (r *runner) abort(ctx context.Context) error {
	ctx, cancel := r.endContext(ctx)
	defer cancel()
	if _, err := r.group.End(ctx, kgo.TryAbort); err != nil {
		return fmt.Errorf("aborting a transaction of application %s: %w", r.a.ID, errors.Join(context.Cause(ctx), err))
	}
	r.inTxn, r.mustAbort = false, false
	r.rewind()
	return nil
}

// endContext bounds the end of a transaction by the time after which brokers abort it.
// Before it commits, the session waits for a heartbeat. When the group has thrown this
// member out meanwhile, nobody is left who sends one: the client wants to tell us first
// that our partitions are lost, and waits with that until we let it, which we do not
// while we wait here. It would be for ever. So once the client waits for us, the end of
// the transaction has less time.
func (r *runner) endContext(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, give := context.WithCancelCause(ctx)
	timer := time.AfterFunc(r.a.transactionTimeout(), func() { give(errEndless) })
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hurry = func() { timer.Reset(blockedPatience) }
	if r.waited {
		r.hurry()
	}
	return ctx, func() {
		r.mu.Lock()
		r.hurry = nil
		r.mu.Unlock()
		timer.Stop()
		give(nil)
	}
}

var errEndless = errors.New("the group or the brokers did not let the transaction end in time")

// awaited is told that the client waits for us to allow a rebalance.
func (r *runner) awaited(context.Context, *kgo.Client) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waited = true
	if r.hurry != nil {
		r.hurry()
	}
}

// allowRebalance lets the client tell us of a rebalance, until the next poll.
func (r *runner) allowRebalance() {
	r.mu.Lock()
	r.waited = false
	r.mu.Unlock()
	r.cl.AllowRebalance()
}

// rewind takes every task back to the last commit and fetches from there again.
func (r *runner) rewind() {
	r.a.metrics.Aborts.Add(1)
	r.stopRestoring()
	r.mu.Lock()
	r.prodErr = nil
	r.unsaid = r.a.FromLatest
	r.mu.Unlock()
	back := map[string]map[int32]kgo.EpochOffset{}
	add := func(t *task, running bool) {
		for _, q := range t.queues {
			if at := q.restart(running); at >= 0 {
				if back[q.topic] == nil {
					back[q.topic] = map[int32]kgo.EpochOffset{}
				}
				back[q.topic][t.id.partition] = kgo.EpochOffset{Epoch: -1, Offset: at}
			}
		}
		t.discard()
	}
	for _, t := range r.tasks {
		add(t, true)
	}
	for _, t := range r.fresh {
		add(t, false)
	}
	if r.epochs != nil {
		r.rewindEpochs(back)
	}
	r.cl.SetOffsets(back)
	r.lastDone = time.Now()
}
