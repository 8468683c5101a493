package streams

import (
	"encoding/binary"
	"fmt"
	"strconv"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams/clock"
	"github.com/tidemill/tidemill/streams/serde"
	"github.com/tidemill/tidemill/streams/state"
	"github.com/tidemill/tidemill/streams/txn"
)

// epochs runs the tasks of an application in transaction mode. All of them are in this
// process. Events wait in a gate until their transaction is whole; those of one
// transaction, or of several, are then taken in by all tasks. What operators send to
// others through repartition topics stays in the process, in loops. When the transactions
// are to be committed, the operators are gone through once, those before others first, over
// the borders of tasks: each gets what the ones before have sent, and then sends what its
// rows have become, one change for each row that is another now. So nothing leaves an
// operator before it has everything of these transactions, and all that leaves, with all
// rows and positions, is committed in one step.
//
// A transaction may be larger than memory. Rows that it changes go to the stage when there
// are too many of them, and so do records that wait for an operator that looks up rows;
// loops that get long are emptied early, because operators behind them that keep rows pass
// on nothing before their turn.
type epochs struct {
	source   *txn.Source
	topology *Topology
	gate     *txn.Gate[*kgo.Record]
	reader   txn.Reader
	value    serde.Serde[connect.Value]
	ends     *queue // of the topic of transaction metadata
	bySource map[string]*subTopology
	loopOf   map[string]*subTopology // by the name of a repartition topic in Kafka
	counts   []int                   // tasks of each sub-topology
	tasks    map[taskID]*task        // all of them, or nil
	meta     state.ID
	single   bool  // one transaction is committed at a time
	fed      bool  // a transaction was taken in since the last commit
	taken    int64 // transactions, since the last commit

	owned map[txn.Part]bool // the partitions that are here, for a runner
	based bool              // nothing is missing of what follows saved

	at, saved txn.Epoch // taken in, and committed
	// latest is the highest time of a record, and before what it was as of the last commit.
	latest, before int64
	metrics        *transactionMetrics
	spilled        int64 // what the figures have of it
	headers        []kgo.RecordHeader
	stage          *state.Stage // nil where there is none
	piles          uint16       // that were given out
}

func newEpochs(env *taskEnv, t *Topology, s *txn.Source, plan *partitionPlan) (*epochs, error) {
	e := &epochs{
		source: s, topology: t, value: serde.Bind(s.Value, s.Topic, false), ends: &queue{topic: s.Topic, name: s.Topic, first: -1, savedHigh: -1},
		stage: env.stage, latest: -1, before: -1, bySource: map[string]*subTopology{}, loopOf: map[string]*subTopology{}, counts: plan.tasks, owned: map[txn.Part]bool{}, based: true, metrics: &env.metrics.Transactions,
	}
	var parts []txn.Part
	for _, sub := range t.subs {
		for _, topic := range sub.sources {
			if t.internalTopic(topic) {
				e.loopOf[topicName(env.app, topic)] = sub
				continue
			}
			e.bySource[topic] = sub
			for p := range int32(plan.topics[topic]) {
				parts = append(parts, txn.Part{Topic: topic, Partition: p})
			}
		}
	}
	for _, n := range t.nodes {
		e.single = e.single || single[n.op]
	}
	e.gate = txn.NewGate[*kgo.Record](s, parts)
	var err error
	if e.meta, err = env.db.Open(metaStore(env.app), 0); err != nil {
		return nil, fmt.Errorf("opening the position of application %s: %w", env.app, err)
	}
	return e, nil
}

// push takes in fetched records of one partition.
func (e *epochs) push(topic string, partition int32, rs []*kgo.Record, end int64) error {
	q := e.queue(topic, partition)
	if q == nil {
		return nil
	}
	if len(rs) > 0 {
		if q.first < 0 {
			q.first = rs[0].Offset
		}
		q.last = rs[len(rs)-1].Offset + 1
	}
	q.end = max(end, q.end)
	for _, r := range rs {
		if r.Attrs.IsControl() {
			continue
		}
		if err := e.arrive(q, r); err != nil {
			return err
		}
	}
	return nil
}

func (e *epochs) queue(topic string, partition int32) *queue {
	if topic == e.source.Topic {
		return e.ends
	}
	sub := e.bySource[topic]
	if sub == nil {
		return nil
	}
	t := e.tasks[taskID{sub.index, partition}]
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

// arrive puts one record where it has to wait.
func (e *epochs) arrive(q *queue, r *kgo.Record) error {
	part := txn.Part{Topic: q.topic, Partition: r.Partition}
	if r.Value == nil {
		// It follows a delete, which has said it.
		return e.gate.Pass(part, r.Offset)
	}
	if q == e.ends {
		return e.end(part, r)
	}
	v, err := q.sources[0].envelope(r)
	if err != nil {
		return err
	}
	ev, err := e.reader.Event(v, func() string { return recordPlace(r) })
	if err != nil {
		return err
	}
	return e.gate.Arrive(txn.Held[*kgo.Record]{Event: ev, Part: part, Offset: r.Offset, Record: r}, r.Key, recordBytes(r))
}

func recordPlace(r *kgo.Record) string {
	return fmt.Sprintf("topic %s, partition %d, offset %d", r.Topic, r.Partition, r.Offset)
}

func (e *epochs) end(part txn.Part, r *kgo.Record) error {
	v, err := e.value.Decode(r.Value)
	var end txn.End
	ok := false
	if err == nil {
		end, ok, err = e.reader.End(v)
	}
	switch {
	case err != nil:
		return &connect.Error{
			Code: "streams.transaction.metadata", Class: connect.ClassFatal, Place: recordPlace(r),
			Message: "the transaction metadata cannot be read", Mend: "name the topic that the source of the captured tables writes with provide.transaction.metadata, and its format", Cause: err,
		}
	case !ok:
		return e.gate.Pass(part, r.Offset)
	}
	return e.gate.End(end, r.Offset)
}

// step takes in whole transactions, about limit events at most, and tells whether there
// may be more. In single mode it takes in none before the last one is committed.
func (e *epochs) step(limit int) (more bool, err error) {
	for n := 0; n < limit; {
		if e.fed && e.single {
			return true, nil
		}
		at, events, ok := e.gate.Next()
		if !ok {
			return false, e.gate.Check()
		}
		e.at, e.headers = at, nil
		if err := e.gate.Each(e.feed); err != nil {
			return false, err
		}
		n += int(events) + 1
		e.taken++
		e.fed = e.fed || events > 0
		// The position counts for all.
		for _, t := range e.tasks {
			t.dirty, t.wantCommit = true, t.wantCommit || e.single && e.fed || e.staged()
		}
	}
	return true, nil
}

// feed hands an event to its task. The end of all rows is one for every task.
func (e *epochs) feed(h *txn.Held[*kgo.Record]) error {
	sub := e.bySource[h.Topic]
	// One that was put aside does not know where it was.
	h.Record.Topic, h.Record.Partition, h.Record.Offset = h.Topic, h.Partition, h.Offset
	for p := range int32(e.counts[sub.index]) {
		if p != h.Partition && !h.Truncate {
			continue
		}
		t := e.tasks[taskID{sub.index, p}]
		for _, q := range t.queues {
			if q.topic != h.Topic {
				continue
			}
			if err := t.accept(q, h.Record); err != nil {
				return err
			}
		}
	}
	return nil
}

// accept takes in a record whose turn it is.
func (t *task) accept(q *queue, r *kgo.Record) error {
	if !t.recalled {
		if err := t.recall(); err != nil {
			return err
		}
	}
	ms, ok, err := q.timer.settle(t, r)
	if err != nil || !ok {
		return err
	}
	t.meet(q, ms)
	t.env.epochs.latest = max(t.env.epochs.latest, ms)
	t.tally.processed++
	t.env.metrics.Processed.Add(1)
	if err := t.take(r, q.sources); err != nil || t.streamTime < t.due {
		return err
	}
	return t.punctuate(clock.StreamTime, t.streamTime)
}

// settle lets everything that was taken in run through all operators, and notes how far
// the inputs are processed. It is the first half of a commit.
func (e *epochs) settle() error {
	for _, t := range e.tasks {
		if !t.recalled { // What it holds back may be due by what came to others.
			if err := t.recall(); err != nil {
				return err
			}
		}
	}
	for _, n := range e.topology.nodes {
		for p := range int32(e.counts[n.sub]) {
			if err := e.tasks[taskID{n.sub, p}].settleNode(n); err != nil {
				return err
			}
		}
	}
	for id, t := range e.tasks {
		for _, q := range t.queues {
			q.next = max(q.next, e.gate.Position(txn.Part{Topic: q.topic, Partition: id.partition}))
		}
	}
	e.ends.next = max(e.ends.next, e.gate.Position(txn.Part{Topic: e.ends.topic}))
	return nil
}

// settleNode lets one operator do what it has left.
func (t *task) settleNode(n *node) error {
	if n.isSource && n.internal {
		for _, q := range t.loops {
			if q.name == n.topic {
				if err := t.drain(q); err != nil {
					return err
				}
			}
		}
	}
	if h := t.holds[n]; h != nil {
		if err := h.release(); err != nil {
			return err
		}
	}
	for _, s := range n.stores {
		if s.owner != n {
			continue
		}
		if err := t.flushStore(t.stores[s]); err != nil {
			return err
		}
	}
	return nil
}

// drain takes in everything that is in a loop.
func (t *task) drain(q *queue) error {
	for q.len() > 0 {
		if err := t.accept(q, q.pop()); err != nil {
			return err
		}
	}
	return nil
}

// loopRecords and loopBytes are how much is in a loop before it is emptied early.
const (
	loopRecords = 1024
	loopBytes   = 256 << 10
)

// loop keeps a record for a repartition topic and tells whether it is one.
func (e *epochs) loop(r *kgo.Record) (bool, error) {
	sub := e.loopOf[r.Topic]
	if sub == nil {
		return false, nil
	}
	n := e.counts[sub.index]
	r.Partition = partitionOf(r.Key, n)
	if by, ok := r.Context.(*placed); ok {
		at := by.among(r.Topic, n)
		if by.wrong != nil {
			return true, by.wrong
		}
		if at >= 0 {
			r.Partition = int32(at)
		}
	}
	t := e.tasks[taskID{sub.index, r.Partition}]
	for _, q := range t.loops {
		if q.topic != r.Topic {
			continue
		}
		r.Offset = max(q.last, 0)
		q.push([]*kgo.Record{r}, r.Offset+1)
		if q.len() >= loopRecords || q.bytes >= loopBytes {
			if err := t.drain(q); err != nil {
				return true, err
			}
		}
	}
	return true, nil
}

// newPile returns a number for what an operator holds.
func (e *epochs) newPile() uint16 {
	e.piles++
	return e.piles
}

// staged tells whether rows are staged, which are better committed soon.
func (e *epochs) staged() bool { return e.stage != nil && e.stage.Staged() }

// batch starts what commits all changes of tasks in one step.
func (e *epochs) batch(db state.DB, tasks []*task) state.Batch {
	if e != nil && e.staged() {
		return e.stage.Batch()
	}
	d, ok := db.(*state.Disk)
	if !ok {
		return db.Batch()
	}
	size := int64(1 << 10) // of positions
	for _, t := range tasks {
		for _, st := range t.ordered {
			size += st.cache.WriteBytes()
		}
	}
	return d.BatchOf(size)
}

// headerLSN is the header of outgoing records that has the position of the transaction
// they are true for.
const headerLSN = "__tidemill.lsn"

// marked returns the headers of a record for a topic, which tell what it is true for.
func (e *epochs) marked(topic string, headers []kgo.RecordHeader) []kgo.RecordHeader {
	if e.loopOf[topic] != nil {
		return headers
	}
	if e.headers == nil {
		e.headers = []kgo.RecordHeader{{Key: headerLSN, Value: strconv.AppendUint(nil, e.at.LSN(), 10)}}
	}
	if len(headers) == 0 {
		return e.headers
	}
	marked := make([]kgo.RecordHeader, 0, len(headers)+1)
	for _, h := range headers {
		if h.Key != headerLSN {
			marked = append(marked, h)
		}
	}
	return append(marked, e.headers[0])
}

// epochKey is where the DB has the transaction that all stores are as of.
var epochKey = []byte{'l'}

// write adds to b as of which transaction the stores are.
func (e *epochs) write(b state.Batch) {
	b.Put(e.meta, epochKey, binary.BigEndian.AppendUint64(nil, uint64(e.at)))
}

// EpochTime is the time by which windows close in transaction mode; ok is false outside
// of it. before is the highest time of all records, of all partitions, as of the last
// commit: by it, the records of one transaction are all late, or none of them. now is the
// same with what is to be committed.
func (c *Context[K, V]) EpochTime() (before, now int64, ok bool) {
	e := c.t.env.epochs
	if e == nil {
		return 0, 0, false
	}
	return e.before, e.latest, true
}

// committed says that what was taken in is committed.
func (e *epochs) committed() {
	e.metrics.Committed.Add(e.taken)
	e.fed, e.taken, e.saved, e.ends.saved = false, 0, e.at, e.ends.next
	e.before = e.latest
	e.unstage()
}

// unstage forgets what is staged. The caches read through it no more.
func (e *epochs) unstage() {
	if e.stage != nil {
		e.metrics.StagedBytes.Add(e.stage.Bytes())
		e.metrics.PeakBytes.Store(e.stage.Peak())
		e.stage.Clear()
	}
}

// back forgets what is not committed. based says that nothing is missing of what comes
// after that.
func (e *epochs) back(at txn.Epoch, based bool) {
	e.at, e.saved, e.based, e.fed, e.taken, e.headers = at, at, based, false, 0, nil
	e.latest = e.before
	e.gate.Reset(at, based)
	for _, t := range e.tasks {
		for _, q := range t.loops {
			q.reset(-1)
		}
		for _, h := range t.holds {
			h.forget()
		}
	}
	e.unstage()
}

// epochOf reads as of which transaction the stores of an application are; 0 when it has
// none.
func epochOf(db state.DB, app string, read func(state.ID) state.Reader) (txn.Epoch, error) {
	id, err := db.Open(metaStore(app), 0)
	if err != nil {
		return 0, err
	}
	b, found, err := read(id).Get(nil, epochKey)
	if err != nil || !found || len(b) != 8 {
		return 0, err
	}
	return txn.Epoch(binary.BigEndian.Uint64(b)), nil
}
