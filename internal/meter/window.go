package meter

import (
	"sync"
	"time"
)

// Window keeps mean, maximum and rate of a figure over the last while, as Kafka's
// own metrics do: two samples of thirty seconds, of which the older is dropped.
type Window struct {
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

// Add takes note of one measurement.
func (w *Window) Add(v float64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.roll(time.Now())
	if s.count == 0 || v > s.max {
		s.max = v
	}
	s.count++
	s.sum += v
}

// Since adds the milliseconds since start.
func (w *Window) Since(start time.Time) {
	w.Add(float64(time.Since(start)) / float64(time.Millisecond))
}

// roll returns the current sample. The caller holds mu.
func (w *Window) roll(now time.Time) *sample {
	if now.Sub(w.samples[0].start) >= sampleLength {
		w.samples[1] = w.samples[0]
		if now.Sub(w.samples[0].start) >= 2*sampleLength {
			w.samples[1] = sample{start: now}
		}
		w.samples[0] = sample{start: now}
	}
	return &w.samples[0]
}

// Figures are what a Window holds: of the values that were added, the mean, the highest,
// the sum, the sum by second, and how many there were.
type Figures struct {
	Avg, Max, Rate, Sum float64
	Count               int64
}

// Read returns the figures of the last while.
func (w *Window) Read() Figures {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	w.roll(now)
	var f Figures
	start := now
	for i, s := range w.samples {
		if s.start.IsZero() {
			continue
		}
		if s.count > 0 && (f.Count == 0 || s.max > f.Max) {
			f.Max = s.max
		}
		f.Count += s.count
		f.Sum += s.sum
		if i == 0 || s.start.Before(start) {
			start = s.start
		}
	}
	if f.Count > 0 {
		f.Avg = f.Sum / float64(f.Count)
	}
	if elapsed := now.Sub(start).Seconds(); elapsed > 0 {
		f.Rate = f.Sum / max(elapsed, 1)
	}
	return f
}
