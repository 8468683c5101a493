package worker

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidemill/tidemill/internal/meter"
)

// taskMetrics are one task's figures. Counters are atomic: they are moved by the
// task's goroutines and read when somebody scrapes.
type taskMetrics struct {
	id     TaskID
	source bool

	polled, written, read, sent      atomic.Int64
	active                           atomic.Int64 // Source: records on their way; sink: records not committed.
	partitions                       atomic.Int64
	failures, errors, skipped        atomic.Int64
	retries, logged                  atomic.Int64
	letters, letterFailures          atomic.Int64
	lastError                        atomic.Int64 // Milliseconds since the epoch.
	commits, commitFailures          atomic.Int64
	commitSkips, commitSeq, restarts atomic.Int64

	pollTime, putTime, commitTime, batchSize, txnSize meter.Window
	runningTime, pausedTime                           meter.Window

	holds      holding
	memoryMost atomic.Int64

	// plugin holds the figures of the plugin's own, by name.
	plugin sync.Map // string → *pluginFigure
}

// pluginFigure is a counter or a gauge: the bits of a float.
type pluginFigure struct {
	counter atomic.Int64
	gauge   atomic.Uint64
	isGauge bool
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
	f, _ := m.plugin.LoadOrStore(name, &pluginFigure{isGauge: gauge})
	return f.(*pluginFigure)
}

// fail counts an error.
func (m *taskMetrics) fail() {
	m.errors.Add(1)
	m.lastError.Store(time.Now().UnixMilli())
}

// workerMetrics are the figures of a worker and of its tasks.
type workerMetrics struct {
	attempts, failures struct{ connector, task atomic.Int64 }

	mu    sync.Mutex // Guards what follows.
	tasks byTask[*taskMetrics]
}

func newWorkerMetrics() *workerMetrics { return &workerMetrics{tasks: byTask[*taskMetrics]{}} }

// task returns a task's figures, which go on over its restarts.
func (m *workerMetrics) task(id TaskID, source bool) *taskMetrics {
	m.mu.Lock()
	defer m.mu.Unlock()
	t, ok := m.tasks.of(id)
	if !ok {
		t = &taskMetrics{id: id, source: source}
		m.tasks.put(id, t)
	}
	return t
}

// forget drops the figures of a connector's tasks from the given number on.
func (m *workerMetrics) forget(name string, from int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tasks.forget(name, from)
}
