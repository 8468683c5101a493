package streams

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/streams/clock"
	"github.com/tidemill/tidemill/streams/fault"
	"github.com/tidemill/tidemill/streams/query"
	"github.com/tidemill/tidemill/streams/state"
	"github.com/tidemill/tidemill/streams/txn"
)

// Local runs a topology in one process without a broker, one partition of each
// topic, for tests: package streamstest puts types around it. Records run to
// completion, repartition topics are looped back, and time stands still unless
// it is moved. It is used by one goroutine.
type Local struct {
	topology *Topology
	env      *taskEnv
	tasks    []*task
	now      time.Time
	offsets  map[string]int64
	pending  []*kgo.Record
	out      map[string][]*kgo.Record
	met      map[string]bool // the topics that were compared with patterns
	err      error
	hub      *query.Hub
	open     sync.RWMutex
	history  *history // nil unless it is kept
	// globalLog has the records of the topics of global tables.
	globalLog []*kgo.Record
}

// NewLocal opens a topology with empty stores in memory. app is the application
// id, from which internal topics are named. The wall clock stands at the start of
// the year 2000, UTC.
func NewLocal(t *Topology, app string) (*Local, error) {
	l := &Local{topology: t, now: time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC), offsets: map[string]int64{}, out: map[string][]*kgo.Record{}, hub: query.NewHub()}
	l.env = &taskEnv{
		app: app, db: state.NewMemory(), out: l, metrics: &Metrics{},
		cacheBytes: 1 << 20, now: func() time.Time { return l.now }, guarded: true,
	}
	l.env.judge = &judge{
		app: app, metrics: l.env.metrics, logger: slog.New(slog.DiscardHandler), now: l.env.now,
		send: func(r *kgo.Record, _ bool) { l.produce(r, nil) },
	}
	return l, l.openTasks()
}

func (l *Local) openTasks() error {
	l.tasks = nil
	if err := l.openGlobals(); err != nil {
		return err
	}
	byID := map[taskID]*task{}
	for _, sub := range l.topology.subs {
		tk, err := openTask(l.env, sub, 0)
		if err != nil {
			return err
		}
		l.tasks, byID[tk.id] = append(l.tasks, tk), tk
	}
	if e := l.env.epochs; e != nil {
		e.tasks = byID
		e.back(e.saved, true)
	}
	return nil
}

// InTransactions runs the topology in transaction mode from now on. It is called before
// anything is put in.
func (l *Local) InTransactions(s *txn.Source) error {
	if err := checkTransactions(&App{ID: l.env.app, Topology: l.topology, ExactlyOnce: true, Transactions: s}); err != nil {
		return err
	}
	one := map[string]int{}
	for _, n := range l.topology.nodes {
		one[n.topic] = 1
	}
	plan := &partitionPlan{topics: one, tasks: make([]int, len(l.topology.subs))}
	for i := range plan.tasks {
		plan.tasks[i] = 1
	}
	var err error
	if l.env.epochs, err = newEpochs(l.env, l.topology, s, plan); err != nil {
		return err
	}
	l.env.out = looping{l, l.env.epochs, nil}
	return l.openTasks()
}

// produce implements collector.
func (l *Local) produce(r *kgo.Record, promise func(*kgo.Record, error)) {
	r.Offset = l.offsets[r.Topic]
	l.offsets[r.Topic]++
	if by, ok := r.Context.(*placed); ok && !l.reads(r.Topic) {
		r.Partition = int32(max(by.choose(1), 0))
	}
	if promise != nil {
		promise(r, nil)
		l.history.logged(r)
	}
	l.out[r.Topic] = append(l.out[r.Topic], r)
	if l.reads(r.Topic) {
		l.pending = append(l.pending, r)
	}
}

// failed implements collector; nothing fails here.
func (l *Local) failed(_ *kgo.Record, err error) { l.err = err }

func (l *Local) reads(topic string) bool {
	l.learn(topic)
	if l.env.epochs != nil && topic == l.env.epochs.source.Topic {
		return true
	}
	for _, t := range l.tasks {
		for _, q := range t.queues {
			if q.topic == topic {
				return true
			}
		}
	}
	return slices.ContainsFunc(l.topology.globals, func(s *storeSpec) bool { return s.topic == topic })
}

// learn has the tasks read a topic that matches a pattern, when it is first met.
func (l *Local) learn(topic string) {
	patterns := l.topology.patterns()
	if len(patterns) == 0 || l.met[topic] {
		return
	}
	if l.met == nil {
		l.met, l.env.matched = map[string]bool{}, map[string][]string{}
	}
	l.met[topic] = true
	matched, err := l.topology.match(l.env.app, []string{topic})
	if err != nil {
		l.err = err
		return
	}
	for pattern := range matched {
		l.env.matched[pattern] = append(l.env.matched[pattern], topic)
		for _, t := range l.tasks {
			t.reads(pattern, topic)
		}
	}
}

// Put appends a record to a topic; a nil key or value is null. Nothing is
// processed yet.
func (l *Local) Put(topic string, key, value []byte, ms int64, headers ...Header) error {
	if !l.reads(topic) {
		if l.err != nil {
			return l.err // It matches two patterns.
		}
		return fmt.Errorf("streams: the topology does not read topic %q, only %s", topic, strings.Join(l.topology.Sources(), ", "))
	}
	r := &kgo.Record{Topic: topic, Key: key, Value: value, Timestamp: time.UnixMilli(ms), Headers: headers, Offset: l.offsets[topic]}
	l.offsets[topic]++
	l.pending = append(l.pending, r)
	l.history.input(r)
	return nil
}

// Run processes everything there is, without a commit unless a processor asks for one:
// cached tables keep their updates to themselves.
func (l *Local) Run() error {
	if err := l.process(); err != nil {
		return err
	}
	for _, t := range l.tasks {
		if t.wantCommit {
			return l.Commit()
		}
	}
	return nil
}

func (l *Local) process() error {
	for len(l.pending) > 0 {
		rs := l.pending
		l.pending = nil
		for _, r := range rs {
			if err := l.hand(r); err != nil {
				return err
			}
		}
		for _, t := range l.tasks {
			if _, err := t.process(len(rs) + 1<<20); err != nil {
				return err
			}
		}
	}
	return l.err
}

// hand gives a record to the global tables and the task that read it.
func (l *Local) hand(r *kgo.Record) error {
	if l.env.epochs != nil {
		return l.env.epochs.push(r.Topic, 0, []*kgo.Record{r}, r.Offset+1)
	}
	if err := l.applyGlobal(r); err != nil {
		return err
	}
	for _, t := range l.tasks {
		for _, q := range t.queues {
			if q.topic == r.Topic {
				q.push([]*kgo.Record{r}, r.Offset+1)
				return nil
			}
		}
	}
	return nil
}

// Commit processes everything, flushes the caches until nothing moves any more
// and commits.
func (l *Local) Commit() error {
	for {
		if err := l.process(); err != nil {
			return err
		}
		more, err := l.flush()
		if err != nil {
			return err
		}
		b := l.env.db.Batch()
		for _, t := range l.tasks {
			t.write(b)
		}
		if l.env.epochs != nil {
			l.env.epochs.write(b)
		}
		if err := applyBatch(l.hub, b, l.tasks); err != nil {
			return err
		}
		if l.env.epochs != nil {
			l.env.epochs.committed()
		}
		l.env.metrics.Commits.Add(1)
		if len(l.pending) == 0 && !more {
			l.history.mark(l.out, l.env.epochs)
			return l.err
		}
	}
}

// flush empties the caches. In transaction mode it takes in what is to be committed
// before that, and more tells that there is more of it.
func (l *Local) flush() (more bool, err error) {
	if e := l.env.epochs; e != nil {
		if more, err = e.step(1 << 20); err != nil {
			return false, err
		}
		return more, e.settle()
	}
	for _, t := range l.tasks {
		if err := t.flush(); err != nil {
			return false, err
		}
	}
	return false, nil
}

// Advance moves the wall clock, does what is due by it, once, and processes what
// comes of that.
func (l *Local) Advance(d time.Duration) error {
	l.now = l.now.Add(d)
	for _, t := range l.tasks {
		if err := t.punctuate(clock.WallClock, l.now.UnixMilli()); err != nil {
			return err
		}
	}
	return l.Run()
}

// Now is the wall clock.
func (l *Local) Now() time.Time { return l.now }

// Take returns the records written to a topic since the last call, internal
// topics included.
func (l *Local) Take(topic string) []*kgo.Record {
	rs := l.out[topic]
	l.out[topic] = nil
	l.history.taken(topic)
	return rs
}

// Metrics returns the counters.
func (l *Local) Metrics() *Metrics { return l.env.metrics }

// OnFault decides from now on what becomes of records at fault, and deadLetters is the
// topic of those that are passed over, as in an App.
func (l *Local) OnFault(decide func(*fault.Fault) fault.Verdict, deadLetters string) {
	l.env.judge.onFault, l.env.judge.deadLetters = decide, deadLetters
}

// Rows reads the committed rows of a store.
func (l *Local) Rows(store string) (*query.Rows, error) {
	if err := l.topology.knows(l.env.app, store); err != nil {
		return nil, err
	}
	return &query.Rows{Source: query.Source{
		App: l.env.app, Store: store, Name: storeName(l.env.app, store), DB: l.env.db, Open: &l.open, Hub: l.hub,
		Here: func() []int32 { return []int32{0} }, Total: func() int { return 1 }, Place: l.topology.place(store), Layout: l.topology.layout(store),
		LSN: func(read func(state.ID) state.Reader) (uint64, error) {
			at, err := epochOf(l.env.db, l.env.app, read)
			return at.LSN(), err
		},
	}}, nil
}
