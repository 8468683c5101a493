package streams

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams/clock"
)

const (
	pollRecords = 10_000 // fetched at once
	pollWait    = 250 * time.Millisecond
	// fetchWait is how long brokers wait for records, as long as those of Java's clients do. A
	// fetch that is given up, since partitions came or went or are read from elsewhere, holds
	// up the next one on its connection for that long.
	fetchWait    = 500 * time.Millisecond
	stepRecords  = 1_000  // processed by a task before others and the clock are looked at
	queueRecords = 20_000 // waiting in one partition before it is paused
	queueBytes   = 4 << 20

	lastCommit = 10 * time.Second // the most a commit may take at the end

	// transactionTimeout is when brokers abort a transaction by themselves. In transaction
	// mode, where as much is written in one as a transaction of the database has changed,
	// the transactions' Source says it.
	transactionTimeout = 10 * time.Second
	// blockedPatience is how long a transaction may take to end while the client waits
	// to tell of a change in the group.
	blockedPatience = 2 * time.Second
)

// runner is a member of an application's group: it fetches, runs the tasks of the
// partitions it was given and commits. Everything but produce promises and
// restoring happens either in its own goroutine between a poll and AllowRebalance,
// or in rebalance callbacks, which the client runs only outside of that span; so
// tasks need no lock.
type runner struct {
	a      *application
	plan   *partitionPlan
	tables *globals
	copies *copies
	env    *taskEnv
	cl     *kgo.Client
	hangUp context.CancelFunc        // has cl wait for nobody any more
	group  *kgo.GroupTransactSession // only with exactly once

	tasks    map[taskID]*task // running
	fresh    map[taskID]*task // to be restored
	pending  *restoration     // under way
	bySource map[string]*subTopology

	inTxn     bool
	begun     time.Time // the transaction
	mustAbort bool      // tasks were taken away inside a transaction
	joined    bool      // the group has given out its partitions
	member    string    // who this was when it did; empty while there is no place
	closing   bool
	careful   bool    // records are sent one by one
	epochs    *epochs // nil but in transaction mode
	broken    error   // what went wrong inside a callback
	lastDone  time.Time
	lastPurge time.Time

	// rematched says that other topics match the patterns, and renewed that this runner is
	// here because of that and the group has not been asked to look again. looking has the
	// topics looked at now.
	rematched atomic.Bool
	renewed   bool
	looking   chan struct{}

	// asking is told to the group when this member wants it to look again, asked is when
	// it last did, and askAgain after which time it may do so again.
	asking   atomic.Uint64
	asked    time.Time
	askAgain time.Duration

	// sending outlives the end of the runner by the time of a last commit, and is
	// over then even when the brokers do not answer.
	sending context.Context

	mu      sync.Mutex // guards the following, which goroutines of the client set
	prodErr error
	fleet   *fleet // as the last assignment has it
	starts  map[part]start
	unsaid  bool   // the group has not been told of all starts that were chosen
	waited  bool   // the client waits for us to allow a rebalance
	hurry   func() // leaves the transaction that is being ended less time; nil when none is
}

func newRunner(ctx context.Context, a *application, plan *partitionPlan, tables *globals) (*runner, error) {
	r := &runner{
		a: a, plan: plan, tables: tables, tasks: map[taskID]*task{}, fresh: map[taskID]*task{}, bySource: map[string]*subTopology{},
		starts: map[part]start{}, looking: make(chan struct{}, 1),
		lastDone: time.Now(), lastPurge: time.Now(), careful: a.careful.Load(),
	}
	stores := len(tables.stores)
	for _, sub := range a.Topology.subs {
		stores += len(sub.stores) * plan.tasks[sub.index]
		for _, topic := range r.reads(sub, plan.matched) {
			r.bySource[topic] = sub
		}
	}
	r.env = &taskEnv{
		app: a.ID, db: a.e.db, out: r, metrics: &a.metrics,
		cacheBytes: a.e.cfg.CacheBytes / int64(max(stores, 1)), idle: a.MaxIdle, now: time.Now,
		globals: tables.stores, guarded: a.guarded.Load(), matched: plan.matched, counting: a.e.cfg.CountOperators,
	}
	for _, g := range tables.stores {
		g.st.cache.SetLimit(r.env.cacheBytes)
	}
	r.env.judge = &judge{
		app: a.ID, onFault: a.OnFault, deadLetters: a.DeadLetters, metrics: &a.metrics, logger: a.e.cfg.Logger, now: time.Now,
		send: r.bury,
	}
	r.copies = newCopies(a, r.env)
	if a.Transactions != nil {
		if err := r.openEpochs(plan); err != nil {
			return nil, err
		}
		return r, r.connect(ctx, wholeBalancer{})
	}
	return r, r.connect(ctx, r.balancer())
}

// connect opens the client, which joins the group.
func (r *runner) connect(ctx context.Context, balancer kgo.GroupBalancer) (err error) {
	start := kgo.NewOffset().AtStart()
	if r.a.FromLatest {
		start = kgo.NewOffset().AtEnd()
	}
	var life context.Context
	life, r.hangUp = context.WithCancel(context.Background())
	opts := []kgo.Opt{
		kgo.SeedBrokers(r.a.e.cfg.Brokers...), kgo.WithContext(life),
		kgo.ConsumerGroup(r.a.ID), kgo.ConsumeTopics(r.inputs()...),
		kgo.Balancers(balancer), kgo.BlockRebalanceOnPoll(), kgo.DisableAutoCommit(),
		kgo.OnPartitionsAssigned(r.assigned), kgo.OnPartitionsRevoked(r.revoked), kgo.OnPartitionsLost(r.lost),
		kgo.OnPartitionsCallbackBlocked(r.awaited),
		kgo.AdjustFetchOffsetsFn(r.adjust),
		// An offset that is gone is an error: going on elsewhere would skip or
		// repeat records without a word.
		kgo.ConsumeStartOffset(start), kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		// The marks of transactions say that a partition has been read to its end.
		kgo.KeepControlRecords(),
		kgo.RecordPartitioner(placement{}), kgo.MaxBufferedBytes(64 << 20), kgo.MaxBufferedRecords(1 << 18),
		kgo.HeartbeatInterval(time.Second), kgo.FetchMaxWait(fetchWait),
		// A process that was killed and comes back takes its place again at once,
		// instead of waiting until the group has given up on who it was.
		kgo.InstanceID(r.a.e.instance),
	}
	if r.epochs != nil {
		// A rebalance waits for a commit.
		opts = append(opts, kgo.RebalanceTimeout(max(time.Minute, r.a.transactionTimeout())))
	}
	opts = append(opts, r.a.e.cfg.Client...)
	if !r.a.ExactlyOnce {
		r.cl, err = kgo.NewClient(opts...)
	} else {
		opts = append(opts, kgo.TransactionalID(r.a.ID+"-"+r.a.e.instance), kgo.TransactionTimeout(r.a.transactionTimeout()))
		if r.group, err = kgo.NewGroupTransactSession(opts...); err == nil {
			r.cl = r.group.Client()
		}
	}
	if err != nil {
		r.hangUp()
		return fmt.Errorf("opening a client for application %s: %w", r.a.ID, err)
	}
	if r.group == nil {
		return nil
	}
	// Asking for the producer's identity ends a transaction that this instance
	// left open when it died; restoring would wait for that one to time out.
	if _, _, err := r.cl.ProducerID(ctx); err != nil {
		r.hangUp()
		r.cl.Close()
		return fmt.Errorf("starting the transactions of application %s: %w", r.a.ID, err)
	}
	return nil
}

// produce implements collector.
func (r *runner) produce(rec *kgo.Record, promise func(*kgo.Record, error)) {
	if promise == nil {
		promise = r.written
	}
	if by, ok := rec.Context.(*placed); ok {
		by.Context = r.sending
	}
	if !r.careful {
		r.cl.Produce(r.sending, rec, promise)
		return
	}
	done := make(chan struct{})
	r.cl.Produce(r.sending, rec, func(rec *kgo.Record, err error) {
		defer close(done)
		promise(rec, err)
	})
	<-done
}

// written is told what became of a record. A broker refuses whole batches, and the
// client gives up whatever waits for the same partition with them: when somebody else
// than the application's end is to decide about a refused record, all since the last
// commit is done again with one record at a time, until the next commit, so that it is
// known which one it is and the others arrive, in their order.
func (r *runner) written(rec *kgo.Record, err error) {
	if err == nil {
		return
	}
	switch err = writeError(rec, err); {
	case !stops(err):
	case r.a.OnFault == nil || r.careful:
		err = r.env.judge.refused(rec, err)
	default:
		r.a.careful.Store(true)
		err = connect.Retry(err, 0)
	}
	if err != nil {
		r.fail(err)
	}
}

// bury writes a dead letter. There is no topic for those that are refused in turn.
func (r *runner) bury(rec *kgo.Record, wait bool) {
	promise := func(rec *kgo.Record, err error) {
		if err != nil {
			r.failed(rec, err)
		}
	}
	if wait {
		r.cl.Produce(r.sending, rec, promise)
	} else {
		r.cl.TryProduce(r.sending, rec, promise)
	}
}

// failed implements collector: the next commit must not go through.
func (r *runner) failed(rec *kgo.Record, err error) { r.fail(writeError(rec, err)) }

func (r *runner) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.prodErr == nil {
		r.prodErr = err
	}
}

// writeError tells apart what may go away by itself from what will not.
func writeError(rec *kgo.Record, err error) error {
	for _, lasting := range []error{
		kerr.MessageTooLarge, kerr.RecordListTooLarge, kerr.InvalidRecord, kerr.PolicyViolation,
		kerr.TopicAuthorizationFailed, kerr.TransactionalIDAuthorizationFailed,
	} {
		if errors.Is(err, lasting) {
			return &connect.Error{
				Code: "streams.write", Class: connect.ClassFatal, Place: "topic " + rec.Topic,
				Message: fmt.Sprintf("the broker refuses a record of %d bytes", len(rec.Key)+len(rec.Value)),
				Mend:    "grant the right, or raise max.message.bytes of the topic, and resume the application",
				Cause:   err,
			}
		}
	}
	if by, ok := rec.Context.(*placed); ok && by.wrong != nil {
		return by.wrong
	}
	return fmt.Errorf("writing to topic %s: %w", rec.Topic, err)
}

func (r *runner) producerError() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.prodErr
}

// run processes until ctx is done, when it commits, or something is wrong, when
// what was not committed is left to be done again.
func (r *runner) run(ctx context.Context) error {
	sending, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	r.sending = sending
	defer context.AfterFunc(ctx, func() { time.AfterFunc(lastCommit, stop) })()
	defer r.startCopies(ctx)()
	defer r.watchTopics(ctx)()
	err := r.a.shield(func() error { return r.loop(ctx) })
	if ctx.Err() != nil && err == nil && !r.mustAbort {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastCommit)
		err = r.a.shield(func() error { return r.commit(last) })
		cancel()
	}
	r.closing = true
	r.stopRestoring()
	for id := range r.tasks {
		r.a.setHere(id, false)
	}
	for id := range r.fresh {
		r.a.board.drop(id)
	}
	// One that starts anew at once keeps its place meanwhile.
	if (ctx.Err() != nil || stops(err)) && !errors.Is(err, errCrash) {
		err = errors.Join(err, r.leave(context.WithoutCancel(ctx)))
	}
	// Everything that was to be said has been. A request to join the group that is still
	// on its way is answered when all other members have sent theirs, and the client would
	// wait for that.
	r.hangUp()
	r.cl.CloseAllowingRebalance()
	if r.epochs != nil {
		err = errors.Join(err, r.epochs.close())
	}
	return err
}

// leave gives the member's place up, so that others need not wait for it. A member
// with an instance id does not do so by itself.
func (r *runner) leave(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_, err := kadm.NewClient(r.cl).LeaveGroup(ctx, kadm.LeaveGroup(r.a.ID).InstanceIDs(r.a.e.instance).Reason("the application stops"))
	if err != nil {
		return fmt.Errorf("leaving the group of application %s: %w", r.a.ID, err)
	}
	return nil
}

// loop ends while rebalances are held up, so that the tasks stay what they are.
func (r *runner) loop(ctx context.Context) error {
	wait := pollWait
	for {
		fetches := r.poll(ctx, wait)
		if len(fetches) == 0 {
			continue // An empty poll does not hold rebalances up.
		}
		if err := r.take(fetches); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return r.broken
		}
		if err := r.work(ctx); err != nil {
			return err
		}
		wait = r.leisure()
		r.allowRebalance()
	}
}

// poll waits for records. Tasks come and go while it does.
func (r *runner) poll(ctx context.Context, wait time.Duration) kgo.Fetches {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	began := time.Now()
	fetches := r.cl.PollRecords(ctx, pollRecords)
	f := &r.a.thread
	f.polls.Add(1)
	f.poll.Add(time.Since(began).Seconds())
	f.pollRecords.Add(float64(fetches.NumRecords()))
	return fetches
}

// leisure is how long there is nothing to do but to wait for records.
func (r *runner) leisure() time.Duration {
	wait := pollWait
	for _, t := range r.tasks {
		if due := t.wallDue(); due != never {
			wait = min(wait, max(time.Until(time.UnixMilli(due)), time.Millisecond))
		}
		if t.dirty {
			wait = min(wait, max(time.Until(r.lastDone.Add(r.a.CommitInterval)), time.Millisecond))
		}
		if t.buffered() > 0 {
			wait = min(wait, 5*time.Millisecond)
		}
	}
	if r.pending != nil {
		wait = min(wait, 5*time.Millisecond)
	}
	if len(r.tables.stores) > 0 {
		wait = min(wait, 20*time.Millisecond)
	}
	return wait
}

// take puts fetched records into the queues of their tasks.
func (r *runner) take(fetches kgo.Fetches) (err error) {
	fetches.EachPartition(func(p kgo.FetchTopicPartition) {
		if p.Err != nil {
			if err == nil {
				err = fetchError(p)
			}
			return
		}
		if r.epochs != nil {
			if r.epochs.tasks == nil && len(p.Records) > 0 && err == nil {
				err = r.errMoved("records came before all partitions were here")
			}
			if err == nil {
				err = r.epochs.push(p.Topic, p.Partition, p.Records, p.LastStableOffset)
			}
		} else if q := r.queue(p.Topic, p.Partition); q != nil {
			if err == nil {
				err = r.begins(q, p.Partition, len(p.Records))
			}
			q.push(p.Records, p.LastStableOffset)
		}
	})
	return err
}

// fetchError tells what to do about an error of a partition. The end of a wait is
// none.
func fetchError(p kgo.FetchTopicPartition) error {
	var lost *kgo.ErrDataLoss
	switch {
	case errors.Is(p.Err, context.DeadlineExceeded) || errors.Is(p.Err, context.Canceled):
		return nil
	case errors.As(p.Err, &lost) || isOutOfRange(p.Err):
		return &connect.Error{
			Code: "streams.source.lost", Class: connect.ClassFatal, Place: fmt.Sprintf("topic %s, partition %d", p.Topic, p.Partition),
			Message: "records that were not processed yet are gone from the topic",
			Mend:    "keep records longer than the application may stand still; reset the application to go on from what is left",
			Cause:   p.Err,
		}
	case p.Topic == "": // The client reports so what becomes of its place.
		return fmt.Errorf("keeping a place in the group: %w", p.Err)
	}
	return fmt.Errorf("reading topic %s, partition %d: %w", p.Topic, p.Partition, p.Err)
}

// queue returns where records of a partition go, nil when its task is not here.
func (r *runner) queue(topic string, partition int32) *queue {
	sub := r.bySource[topic]
	if sub == nil {
		return nil
	}
	t := r.taskOf(taskID{sub.index, partition})
	if t == nil {
		return nil
	}
	for _, q := range t.queues {
		if q.topic == topic {
			return q
		}
	}
	return nil
}

// work lets the tasks process what they have and commits when it is time.
func (r *runner) work(ctx context.Context) error {
	if r.broken != nil {
		return r.broken
	}
	if err := r.a.e.intact(); err != nil {
		return err
	}
	if err := r.tables.takeIn(); err != nil {
		return err
	}
	if r.mustAbort {
		if err := r.abort(ctx); err != nil {
			return err
		}
	}
	if err := r.restore(ctx); err != nil {
		return err
	}
	if r.epochs != nil {
		return r.workEpochs(ctx)
	}
	r.keepUp()
	if err := r.say(); err != nil {
		return err
	}
	if err := r.rematch(); err != nil {
		return err
	}
	for more := !r.a.paused.Load(); more && ctx.Err() == nil; {
		more = false
		if err := r.punctuate(); err != nil {
			return err
		}
		for _, t := range r.tasks {
			if t.buffered() == 0 {
				continue
			}
			if err := r.begin(); err != nil {
				return err
			}
			began := time.Now()
			n, err := t.process(stepRecords)
			t.note(began)
			if err != nil {
				return err
			}
			r.a.thread.process.Add(time.Since(began).Seconds())
			r.a.thread.processRecords.Add(float64(n))
			more = more || n == stepRecords
		}
		if err := r.commitIfDue(); err != nil {
			return err
		}
	}
	r.pauseFull()
	return r.commitIfDue()
}

// punctuate does what is due by the wall clock.
func (r *runner) punctuate() error {
	now := r.env.now().UnixMilli()
	for _, t := range r.tasks {
		if t.wallDue() > now {
			continue
		}
		if err := r.begin(); err != nil {
			return err
		}
		began := time.Now()
		if err := t.punctuate(clock.WallClock, now); err != nil {
			return err
		}
		r.a.thread.punctuations.Add(1)
		r.a.thread.punctuate.Add(time.Since(began).Seconds())
	}
	return nil
}

// pauseFull stops fetching partitions that have enough waiting, also those of tasks
// that do not run yet: restoring takes its time, and memory is bounded meanwhile.
func (r *runner) pauseFull() {
	r.pauseQueues(r.tasks)
	r.pauseQueues(r.fresh)
	if r.pending != nil {
		r.pauseQueues(r.pending.tasks)
	}
}

func (r *runner) pauseQueues(tasks map[taskID]*task) {
	for _, t := range tasks {
		for _, q := range t.queues {
			full := q.len() > queueRecords || q.bytes > queueBytes
			if full == q.paused {
				continue
			}
			q.paused = full
			which := map[string][]int32{q.topic: {t.id.partition}}
			if full {
				r.cl.PauseFetchPartitions(which)
			} else {
				r.cl.ResumeFetchPartitions(which)
			}
		}
	}
}
