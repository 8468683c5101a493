package streams

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidemill/tidemill/internal/meter"
)

// threadFigures measure what the tasks of an application do together.
type threadFigures struct {
	polls, punctuations, created, closed atomic.Int64
	poll, process, punctuate, commit     meter.Window // in seconds
	pollRecords, processRecords          meter.Window
}

// taskFigures measure one task. The task's goroutine gathers them in a tally, and moves
// them here once a step, where others read them.
type taskFigures struct {
	id                                     taskID
	processed, dropped, enforced, restored atomic.Int64
	busy, records, lateMean, lateMax       meter.Window
	inputs                                 []*inputFigures
	stores                                 []*storeFigures
	operators                              []*operatorFigures
}

type inputFigures struct {
	topic, node         string
	next, end           atomic.Int64
	buffered, processed atomic.Int64
}

type storeFigures struct {
	name                string
	cached, hits, reads atomic.Int64
	rows, bytes         atomic.Int64 // held back by a suppression
	restored, toRestore atomic.Int64
	began, ended        atomic.Int64 // the restoration, in nanoseconds since the epoch
}

// tally is what a task has gathered since it told last.
type tally struct {
	processed, dropped, enforced int64
	late, latest                 int64 // sum and highest, in milliseconds
}

// met notes the lateness of a record.
func (n *tally) met(late int64) {
	n.late += late
	n.latest = max(n.latest, late)
}

// drop counts a record that an operator cannot use.
func (t *task) drop() {
	t.env.metrics.Dropped.Add(1)
	t.tally.dropped++
}

// note moves what the task has gathered to its figures. began is when the step began that
// is over, the zero time when there was none.
func (t *task) note(began time.Time) {
	f, n := t.figures, t.tally
	t.tally = tally{}
	if f == nil {
		return
	}
	t.noteOperators()
	f.dropped.Add(n.dropped)
	f.enforced.Add(n.enforced)
	if n.processed > 0 {
		f.processed.Add(n.processed)
		f.records.Add(float64(n.processed))
		f.lateMean.Add(float64(n.late) / float64(n.processed))
		f.lateMax.Add(float64(n.latest))
		if !began.IsZero() {
			f.busy.Add(time.Since(began).Seconds())
		}
	}
	for i, q := range t.queues {
		in := f.inputs[i]
		in.next.Store(q.next)
		in.end.Store(max(q.end, in.end.Load()))
		in.buffered.Store(int64(q.len()))
		in.processed.Store(q.taken)
	}
}

// noteStores moves what the caches of the task's stores have counted to its figures.
func (t *task) noteStores() {
	if t.figures == nil {
		return
	}
	for _, st := range t.ordered {
		st.figures.cached.Store(st.cache.Bytes())
		reads, hits := st.cache.Reads()
		st.figures.reads.Store(reads)
		st.figures.hits.Store(hits)
	}
}

// measured gives a task figures to tell.
func (t *task) measured() *task {
	t.figures = &taskFigures{id: t.id}
	for _, q := range t.queues {
		in := &inputFigures{topic: q.topic, node: q.node}
		in.next.Store(q.next)
		t.figures.inputs = append(t.figures.inputs, in)
	}
	for _, st := range t.ordered {
		t.figures.stores = append(t.figures.stores, st.figures)
	}
	for _, o := range t.operators {
		t.figures.operators = append(t.figures.operators, &operatorFigures{name: o.node.name})
	}
	return t
}

// board has the figures of the tasks that are here, whether they run or are restored.
type board struct {
	mu    sync.Mutex // guards the following
	tasks map[taskID]*taskFigures
}

func (b *board) put(f *taskFigures) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.tasks == nil {
		b.tasks = map[taskID]*taskFigures{}
	}
	b.tasks[f.id] = f
}

func (b *board) drop(id taskID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.tasks, id)
}

func (b *board) all() (all []*taskFigures) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, f := range b.tasks {
		all = append(all, f)
	}
	return all
}

// Buffered says how many rows, of how many bytes, the operator holds back in its first
// store. It is for those that do, and costs too much to be called for every record.
func (c *Context[K, V]) Buffered(rows, bytes int64) {
	for _, spec := range c.n.stores {
		if spec.owner == c.n {
			f := c.t.stores[spec].figures
			f.rows.Store(rows)
			f.bytes.Store(bytes)
			return
		}
	}
}
