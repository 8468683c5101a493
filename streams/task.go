package streams

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/streams/clock"
	"github.com/tidemill/tidemill/streams/state"
)

// taskID names a task: a sub-topology and a partition.
type taskID struct {
	sub       int
	partition int32
}

// String writes the id as Kafka Streams does.
func (id taskID) String() string { return fmt.Sprintf("%d_%d", id.sub, id.partition) }

// collector takes what tasks send out. promise is called once the record is
// written, or not.
type collector interface {
	produce(r *kgo.Record, promise func(*kgo.Record, error))
	// failed notes that a record could not be written.
	failed(r *kgo.Record, err error)
}

// taskEnv is what a task gets from whoever runs it.
type taskEnv struct {
	app        string
	db         state.DB
	out        collector
	metrics    *Metrics
	judge      *judge
	cacheBytes int64 // for each store of a task
	idle       time.Duration
	globals    map[*storeSpec]*globalStore
	now        func() time.Time
	epochs     *epochs             // nil but in transaction mode
	matched    map[string][]string // the topics that match patterns
	counting   bool                // what each operator takes in is counted
	stage      *state.Stage        // where changes go that are too many for memory; nil where there is none
	guarded    bool                // the panics of each operator are caught there
}

// task runs one partition of one sub-topology. It is used by one goroutine at a
// time.
type task struct {
	id         taskID
	env        *taskEnv
	queues     []*queue
	loops      []*queue // in transaction mode, for what operators send to others
	stores     map[*storeSpec]*taskStore
	ordered    []*taskStore // parents before children, the order of flushing
	instances  map[*node]any
	building   *node                     // the operator whose instance is being made
	codec      any                       // that this operator has given to Held
	holds      map[*node]holder          // in transaction mode
	matching   map[string][]func(*queue) // the sources by pattern, by what nodes call these
	slab       slab
	streamTime int64
	savedTime  int64 // streamTime as of the last commit
	recalled   bool  // what operators have in memory is as of the last record
	flushing   bool
	meta       state.ID
	waiting    time.Time // since when a record is held back for an empty queue
	dirty      bool      // something was processed since the last commit
	wantCommit bool      // a processor asked for one

	figures   *taskFigures // nil where nobody reads them
	tally     tally
	operators []*operatorTally // with counting

	current  *kgo.Record     // the record that is being processed, nil between records
	weight   int             // about the bytes of what is being passed on
	punctual [2]punctuations // by Clock
	due      int64           // the stream time of the next punctuation
}

// openTask opens the stores and makes the operators of a task.
func openTask(env *taskEnv, sub *subTopology, partition int32) (*task, error) {
	t, err := openStores(env, sub, partition)
	if err != nil {
		return nil, err
	}
	for spec, g := range env.globals {
		t.stores[spec] = g.st
	}
	for _, n := range sub.nodes {
		if err := t.buildNode(n); err != nil {
			return nil, err
		}
	}
	return t, t.loadPositions()
}

// openStores makes a task that has its stores and queues, and no operators.
func openStores(env *taskEnv, sub *subTopology, partition int32) (*task, error) {
	t := &task{
		id: taskID{sub.index, partition}, env: env,
		stores: map[*storeSpec]*taskStore{}, instances: map[*node]any{}, streamTime: -1, savedTime: -1, due: never,
	}
	var err error
	if t.meta, err = env.db.Open(metaStore(env.app), partition); err != nil {
		return nil, fmt.Errorf("opening the positions of task %s: %w", t.id, err)
	}
	for _, in := range sub.inputs(env.matched) {
		q := &queue{topic: topicName(env.app, in.topic), name: in.name, first: -1, savedHigh: -1}
		if env.epochs != nil && isRepartition(q) {
			t.loops = append(t.loops, q)
		} else {
			t.queues = append(t.queues, q)
		}
	}
	for _, spec := range sub.stores {
		if err := t.openStore(spec); err != nil {
			return nil, err
		}
	}
	return t, nil
}

func (t *task) openStore(spec *storeSpec) error {
	id, err := t.env.db.Open(storeName(t.env.app, spec.name), t.id.partition)
	if err != nil {
		return fmt.Errorf("opening store %s of task %s: %w", spec.name, t.id, err)
	}
	st := &taskStore{figures: &storeFigures{name: spec.name}, spec: spec, id: id, changelog: changelogName(t.env.app, spec.name), prefix: spec.layout.Prefix(), atOnce: t.logsAtOnce(spec)}
	st.cache = state.NewCache(t.env.db.Reader(id), t.env.cacheBytes)
	if d, ok := t.env.db.(*state.Disk); ok {
		d.Lend(st.cache)
	}
	if t.env.stage != nil {
		st.cache.Overflow(t.env.stage, id)
	}
	st.promise = func(r *kgo.Record, err error) {
		if err != nil {
			t.env.out.failed(r, err)
			return
		}
		st.acked.Store(r.Offset + 1)
	}
	t.openHistory(st)
	t.stores[spec] = st
	t.ordered = append(t.ordered, st)
	return nil
}

// read binds a source operator to its queue.
func (t *task) read(topic string, src sourceNode, tm timer) {
	for _, qs := range [][]*queue{t.queues, t.loops} {
		for _, q := range qs {
			if q.name == topic {
				t.bind(t.building, q, src, tm)
			}
		}
	}
}

// bind has an operator take in the records of a queue.
func (t *task) bind(n *node, q *queue, src sourceNode, tm timer) {
	if t.env.guarded {
		g := &guardedSource{sourceNode: src, t: t, n: n}
		src, tm = g, g.timed(tm)
	}
	q.sources = append(q.sources, src)
	q.timer, q.node = tm, n.name
}

// outgoing returns a record to be sent.
func (t *task) outgoing(topic string, key, value []byte, ms int64) *kgo.Record {
	r := t.slab.record()
	r.Topic, r.Key, r.Value = topic, key, value
	r.Timestamp = time.UnixMilli(max(ms, 0))
	t.env.metrics.Produced.Add(1)
	return r
}

// process takes in up to limit records and returns how many there were. It stops
// early when the next one has to wait for records of another partition that
// could be older.
func (t *task) process(limit int) (n int, err error) {
	if !t.recalled {
		if err := t.recall(); err != nil {
			return 0, err
		}
	}
	for n < limit {
		q, err := t.choose()
		if err != nil {
			return n, err
		}
		if q == nil {
			break
		}
		t.meet(q, q.at)
		if err := t.take(q.pop(), q.sources); err != nil {
			return n, err
		}
		n++
		if t.streamTime >= t.due {
			if err := t.punctuate(clock.StreamTime, t.streamTime); err != nil {
				return n, err
			}
		}
	}
	t.env.metrics.Processed.Add(int64(n))
	t.tally.processed += int64(n)
	return n, t.logNews()
}

// meet moves the time of a partition, and that of the task, by a record that is taken in.
func (t *task) meet(q *queue, ms int64) {
	q.timer.high = max(q.timer.high, ms)
	t.streamTime = max(t.streamTime, ms)
	t.tally.met(t.streamTime - ms)
}

// resume has the time go on from where it was at the last commit.
func (t *task) resume() {
	for _, q := range t.queues {
		q.timer.high = q.savedHigh
		t.savedTime = max(t.savedTime, q.savedHigh)
	}
	t.streamTime = t.savedTime
}

// take hands a record to the operators that read its topic.
func (t *task) take(r *kgo.Record, sources []sourceNode) error {
	before := t.current // In transaction mode, the one that r was made of.
	t.current, t.dirty, t.weight = r, true, recordBytes(r)
	for _, src := range sources {
		if err := src.consume(r); err != nil {
			return err
		}
	}
	t.current = before
	return nil
}

// choose returns the queue with the oldest record, or nil when there is none or
// when it has to wait.
func (t *task) choose() (*queue, error) {
	var oldest, empty *queue
	for _, q := range t.queues {
		switch ready, err := q.ready(t); {
		case err != nil:
			return nil, err
		case !ready:
			if !q.caughtUp() {
				empty = q
			}
		case oldest == nil || q.at < oldest.at:
			oldest = q
		}
	}
	if oldest == nil || empty == nil {
		t.waiting = time.Time{}
		return oldest, nil
	}
	now := t.env.now()
	if t.waiting.IsZero() {
		t.waiting = now
	}
	if now.Sub(t.waiting) < t.env.idle {
		return nil, nil
	}
	t.env.metrics.Enforced.Add(1)
	t.tally.enforced++
	for _, q := range t.queues {
		q.giveUp()
	}
	return oldest, nil
}

// buffered is how many records wait to be processed.
func (t *task) buffered() (n int) {
	for _, q := range t.queues {
		n += q.len()
	}
	return n
}

// flush sends what the caches hold downstream and to the changelogs.
func (t *task) flush() error {
	for _, st := range t.ordered {
		if err := t.flushStore(st); err != nil {
			return err
		}
	}
	return nil
}

// flushStore sends what the cache of one store holds. What flows into the operator of
// the store has: the stores before it are empty.
func (t *task) flushStore(st *taskStore) error {
	t.flushing = true
	defer func() { t.flushing = false }()
	if err := t.remember(st); err != nil {
		return err
	}
	t.logVersions(st)
	if st.atOnce {
		return t.logStore(st)
	}
	return st.cache.Flush(st.withOld, func(e state.Entry) error {
		t.log(st, e)
		if st.emit == nil || st.spec.layout.IsNote(e.Key) {
			return nil
		}
		return st.emit(e)
	})
}

// log writes a change to the store's changelog: the row without its timestamp,
// which becomes that of the record.
func (t *task) log(st *taskStore, e state.Entry) {
	if st.spec.layout.Unlogged || st.versions != nil {
		return
	}
	r := t.slab.record()
	r.Topic, r.Partition = st.changelog, t.id.partition
	r.Key = t.slab.copy(e.Key[st.prefix:])
	ms := t.streamTime
	if e.HasNew {
		var row []byte
		ms, row = state.SplitTimed(e.New)
		r.Value = t.slab.copy(row)
	}
	r.Timestamp = time.UnixMilli(max(ms, 0))
	t.env.metrics.Produced.Add(1)
	t.env.out.produce(r, st.promise)
}

// write adds to b what the DB needs to stand as of this commit: the rows, how
// far the inputs were processed and how far the changelogs reach.
func (t *task) write(b state.Batch) {
	for _, st := range t.ordered {
		st.cache.Write(b, st.id)
		if e := t.env.epochs; e != nil {
			st.newest = max(st.newest, e.latest) // Rows of one time expire in all tasks at once.
		}
		st.expire(b)
		if acked := st.acked.Load(); acked > st.position {
			st.position = acked
			t.setPosition(b, 'c', st.spec.name, acked)
		}
	}
	for _, q := range t.queues {
		if q.next != q.saved {
			t.setPosition(b, 's', q.topic, q.next)
		}
	}
}

// committed says that what write wrote is in the DB.
func (t *task) committed() {
	for _, st := range t.ordered {
		st.cache.Committed()
		st.expired()
	}
	t.savedTime = t.streamTime
	for _, q := range t.queues {
		q.saved, q.savedHigh = q.next, q.timer.high
	}
	t.dirty, t.wantCommit = false, false
}

// discard forgets everything since the last commit.
func (t *task) discard() {
	for _, st := range t.ordered {
		st.cache.Discard()
		st.newest, st.doomed = st.savedNewest, st.live
		st.undo()
	}
	t.streamTime, t.recalled = t.savedTime, false
	for _, q := range t.queues {
		q.reset(q.saved)
	}
	t.dirty, t.wantCommit, t.current = false, false, nil
}

// dirtyBytes is what the next commit has to write.
func (t *task) dirtyBytes() (n int64) {
	for _, st := range t.ordered {
		n += st.cache.DirtyBytes() + st.unsaid
	}
	return n
}

// metaStore names the store that holds an application's positions.
func metaStore(app string) string { return app + "/" }

// storeName names an application's store in the DB of the instance.
func storeName(app, store string) string { return app + "/" + store }

// setPosition notes an offset: of a source topic ('s') or a changelog ('c').
func (t *task) setPosition(b state.Batch, what byte, name string, offset int64) {
	b.Put(t.meta, append([]byte{what}, name...), binary.BigEndian.AppendUint64(nil, uint64(offset)))
}

// loadPositions reads how far the DB is. -1 stands for not at all.
func (t *task) loadPositions() error {
	r := t.env.db.Reader(t.meta)
	var err error
	for _, q := range t.queues {
		if q.saved, _, err = readPosition(r, 's', q.topic); err != nil {
			return fmt.Errorf("reading the positions of task %s: %w", t.id, err)
		}
		q.next = q.saved
	}
	for _, st := range t.ordered {
		if st.position, _, err = readPosition(r, 'c', st.spec.name); err != nil {
			return fmt.Errorf("reading the positions of task %s: %w", t.id, err)
		}
	}
	return nil
}

// ackState is the part of a store that the producer's goroutine writes to.
type ackState struct {
	acked   atomic.Int64
	promise func(*kgo.Record, error)
}
