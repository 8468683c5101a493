package worker

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
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

	pollTime, putTime, commitTime, batchSize, txnSize window
	runningTime, pausedTime                           window

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

// window keeps mean, maximum and rate of a figure over the last while, as Kafka's
// own metrics do: two samples of thirty seconds, of which the older is dropped.
type window struct {
	mu      sync.Mutex
	samples [2]sample
}

type sample struct {
	start    time.Time
	count    int64
	sum, max float64
}

// sampleLength is metrics.sample.window.ms by default.
const sampleLength = 30 * time.Second

// add takes note of one measurement.
func (w *window) add(v float64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.roll(time.Now())
	if s.count == 0 || v > s.max {
		s.max = v
	}
	s.count++
	s.sum += v
}

// since adds the milliseconds since start.
func (w *window) since(start time.Time) {
	w.add(float64(time.Since(start)) / float64(time.Millisecond))
}

// roll returns the current sample. The caller holds mu.
func (w *window) roll(now time.Time) *sample {
	if now.Sub(w.samples[0].start) >= sampleLength {
		w.samples[1] = w.samples[0]
		if now.Sub(w.samples[0].start) >= 2*sampleLength {
			w.samples[1] = sample{start: now}
		}
		w.samples[0] = sample{start: now}
	}
	return &w.samples[0]
}

// figures are what a window holds.
type figures struct {
	avg, max, rate, sum float64
	count               int64
}

func (w *window) read() figures {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	w.roll(now)
	var f figures
	start := now
	for i, s := range w.samples {
		if s.start.IsZero() {
			continue
		}
		if s.count > 0 && (f.count == 0 || s.max > f.max) {
			f.max = s.max
		}
		f.count += s.count
		f.sum += s.sum
		if i == 0 || s.start.Before(start) {
			start = s.start
		}
	}
	if f.count > 0 {
		f.avg = f.sum / float64(f.count)
	}
	if elapsed := now.Sub(start).Seconds(); elapsed > 0 {
		f.rate = f.sum / max(elapsed, 1)
	}
	return f
}

// workerMetrics are the figures of a worker and of its tasks.
type workerMetrics struct {
	attempts, failures struct{ connector, task atomic.Int64 }

	mu    sync.Mutex // Guards what follows.
	tasks map[TaskID]*taskMetrics
}

func newWorkerMetrics() *workerMetrics { return &workerMetrics{tasks: map[TaskID]*taskMetrics{}} }

// task returns a task's figures, which go on over its restarts.
func (m *workerMetrics) task(id TaskID, source bool) *taskMetrics {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.tasks[id]
	if t == nil {
		t = &taskMetrics{id: id, source: source}
		m.tasks[id] = t
	}
	return t
}

// forget drops the figures of a connector that was deleted.
func (m *workerMetrics) forget(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id := range m.tasks {
		if id.Connector == name {
			delete(m.tasks, id)
		}
	}
}
