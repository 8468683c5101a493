package worker

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/internal/meter"
)

// taskMetrics are one task's figures. Counters are atomic: they are moved by the
// task's goroutines and read when somebody scrapes.
type taskMetrics struct {
	id     TaskID
	source bool

	polled, written, read, sent atomic.Int64
	active                      atomic.Int64 // Source: records on their way; sink: records not committed.
	partitions, lagMax          atomic.Int64
	failures, errors, skipped   atomic.Int64
	retries, logged             atomic.Int64
	letters, letterFailures     atomic.Int64
	lastError                   atomic.Int64 // Milliseconds since the epoch.
	commits, commitFailures     atomic.Int64
	commitSkips, commitSeq      atomic.Int64
	restarts                    [4]atomic.Int64 // By the class of the failure.

	pollTime, putTime, commitTime, batchSize, txnSize meter.Window
	writes, reads, activity, skips                    meter.Window
	rated                                             atomic.Int64 // How many of written are in writes.

	// lag is, of the last record of each batch, the time from its commit in the source to
	// its acknowledgement by Kafka.
	lag    meter.Histogram
	states states

	holds      holding
	memoryMost atomic.Int64

	// plugin holds the figures of the plugin's own, by name; most bounds those with labels.
	plugin sync.Map // string → *pluginFigure
	most   int
	mu     sync.Mutex // Guards labelled.
	// labelled counts the figures of a name that have labels.
	labelled map[string]int
}

// pluginFigure is a counter or a gauge: the bits of a float.
type pluginFigure struct {
	counter atomic.Int64
	gauge   atomic.Uint64
	isGauge bool
	key     string // Its own place: names that are too many have the one of others.
	name    string
	labels  []string // Names and values by turns.
}

func (f *pluginFigure) value() float64 {
	if f.isGauge {
		return math.Float64frombits(f.gauge.Load())
	}
	return float64(f.counter.Load())
}

// Add implements connect.Metrics.
func (m *taskMetrics) Add(name string, delta int64) { m.figure(name, false).counter.Add(delta) }

// Set implements connect.Metrics.
func (m *taskMetrics) Set(name string, value float64) {
	m.figure(name, true).gauge.Store(math.Float64bits(value))
}

func (m *taskMetrics) figure(name string, gauge bool) *pluginFigure {
	if f, ok := m.plugin.Load(name); ok {
		return f.(*pluginFigure)
	}
	f := &pluginFigure{isGauge: gauge, key: name}
	f.name, f.labels = parseFigure(name)
	if len(f.labels) > 0 && !m.room(f.name) {
		// Of counters that are too many the rest is counted together. Gauges have no sum.
		if gauge {
			return f
		}
		f.key = f.name + "\x00"
		for i := 1; i < len(f.labels); i += 2 {
			f.labels[i] = "(others)"
		}
		shared, _ := m.plugin.LoadOrStore(f.key, f)
		f = shared.(*pluginFigure)
	}
	stored, _ := m.plugin.LoadOrStore(name, f)
	return stored.(*pluginFigure)
}

// room tells whether one more figure of a name may have labels of its own.
func (m *taskMetrics) room(name string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.labelled == nil {
		m.labelled = map[string]int{}
	}
	if m.labelled[name] >= m.most {
		return false
	}
	m.labelled[name]++
	return true
}

// each calls f for every figure of the plugin's.
func (m *taskMetrics) each(f func(*pluginFigure)) {
	m.plugin.Range(func(key, value any) bool {
		if p := value.(*pluginFigure); p.key == key {
			f(p)
		}
		return true
	})
}

// own returns the value of a figure of the plugin's.
func (m *taskMetrics) own(name string) (float64, bool) {
	f, ok := m.plugin.Load(name)
	if !ok {
		return 0, false
	}
	return f.(*pluginFigure).value(), true
}

// fail counts an error.
func (m *taskMetrics) fail() {
	m.errors.Add(1)
	m.lastError.Store(time.Now().UnixMilli())
}

// rate takes what was written since the last call into the rate of writing.
func (m *taskMetrics) rate() {
	n := m.written.Load()
	m.writes.Add(float64(n - m.rated.Swap(n)))
}

// acknowledged takes note of a record that is durable, by when its transaction committed:
// microseconds since the epoch, 0 when that is not known or the record does not count.
func (m *taskMetrics) acknowledged(committed int64) {
	if committed != 0 {
		m.lag.Add(time.Since(time.UnixMicro(committed)))
	}
}

// committedAt is when the source's transaction with an offset committed, 0 if it is not
// known.
func committedAt(o connect.Offset) int64 {
	if d, ok := o.(interface{ CommittedAt() int64 }); ok {
		return d.CommittedAt()
	}
	return 0
}

// states keeps how long a task was in which state.
type states struct {
	mu    sync.Mutex // Guards what follows.
	now   string
	since time.Time
	spent map[string]time.Duration
}

// enter says that the task is in a state from now on.
func (s *states) enter(state string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settle(time.Now())
	s.now = state
}

func (s *states) settle(now time.Time) {
	if s.spent == nil {
		s.spent = map[string]time.Duration{}
	}
	if s.now != "" {
		s.spent[s.now] += now.Sub(s.since)
	}
	s.since = now
}

// share returns which part of its time the task was in a state.
func (s *states) share(state string) float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settle(time.Now())
	var all time.Duration
	for _, d := range s.spent {
		all += d
	}
	if all == 0 {
		return 0
	}
	return float64(s.spent[state]) / float64(all)
}

// workerMetrics are the figures of a worker and of its tasks.
type workerMetrics struct {
	attempts, failures struct{ connector, task atomic.Int64 }
	rebalanceTime      meter.Window
	traffic            map[clientKind]*traffic
	dividing           func() bool // Tells whether work is being divided; nil outside of a group.
	span               func(*meter.Window)
	labels             int // How many figures of a name may have labels of their own.

	mu    sync.Mutex // Guards what follows.
	tasks byTask[*taskMetrics]
}

func newWorkerMetrics(s connect.Settings) *workerMetrics {
	m := &workerMetrics{
		tasks: byTask[*taskMetrics]{}, labels: s.Int("metrics.table.labels.max"), traffic: map[clientKind]*traffic{},
		span: func(w *meter.Window) { w.Span(s.Duration("metrics.sample.window.ms"), s.Int("metrics.num.samples")) },
	}
	m.span(&m.rebalanceTime)
	for _, kind := range []clientKind{producerClient, consumerClient, adminClient} {
		t := &traffic{}
		for _, w := range []*meter.Window{&t.making, &t.reading, &t.writing, &t.busy} {
			m.span(w)
		}
		m.traffic[kind] = t
	}
	return m
}

// task returns a task's figures, which go on over its restarts.
func (m *workerMetrics) task(id TaskID, source bool) *taskMetrics {
	m.mu.Lock()
	defer m.mu.Unlock()
	t, ok := m.tasks.of(id)
	if !ok {
		t = &taskMetrics{id: id, source: source, most: m.labels}
		for _, w := range []*meter.Window{&t.pollTime, &t.putTime, &t.commitTime, &t.batchSize, &t.txnSize, &t.writes, &t.reads, &t.activity, &t.skips} {
			m.span(w)
		}
		m.tasks.put(id, t)
	}
	return t
}

// all returns the figures of all tasks, sorted.
func (m *workerMetrics) all() []*taskMetrics {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := make([]*taskMetrics, 0, len(m.tasks))
	for _, t := range m.tasks.all() {
		list = append(list, t)
	}
	slices.SortFunc(list, func(a, b *taskMetrics) int {
		return cmp.Or(strings.Compare(a.id.Connector, b.id.Connector), a.id.Task-b.id.Task)
	})
	return list
}

// drop drops the figures of a task that others run from now on.
func (m *workerMetrics) drop(id TaskID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tasks.drop(id)
}

// forget drops the figures of a connector's tasks from the given number on.
func (m *workerMetrics) forget(name string, from int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tasks.forget(name, from)
}

// parseFigure takes the name of a figure apart that a plugin has given, as in
// events_total{table="public.orders",op="c"}: labels are names and values by turns.
func parseFigure(text string) (name string, labels []string) {
	name, rest, ok := strings.Cut(text, "{")
	for ok {
		label, after, more := strings.Cut(strings.TrimLeft(rest, ", "), "=")
		quoted, err := strconv.QuotedPrefix(after)
		if !more || err != nil {
			break
		}
		value, _ := strconv.Unquote(quoted)
		labels = append(labels, label, value)
		rest = after[len(quoted):]
	}
	return name, labels
}
