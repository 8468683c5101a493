package meter

import (
	"sync"
	"time"
)

// Window keeps mean, extremes and rate of a figure over the last while, as Kafka's
// own metrics do: a number of samples of equal length, of which the oldest is dropped.
// The zero value has two samples of thirty seconds.
type Window struct {
	mu      sync.Mutex // Guards what follows.
	length  time.Duration
	samples []sample
	at      int // The one that is being filled.
}

type sample struct {
	start         time.Time
	count         int64
	sum, max, min float64
}

// The length of a sample and their number, as metrics.sample.window.ms and
// metrics.num.samples have them by default.
const (
	sampleLength = 30 * time.Second
	sampleNumber = 2
)

// Span sets how long a sample is and how many there are. What was measured is forgotten.
func (w *Window) Span(length time.Duration, samples int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.length, w.samples, w.at = max(length, time.Millisecond), make([]sample, max(samples, 1)), 0
}

// Add takes note of one measurement.
func (w *Window) Add(v float64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.roll(time.Now())
	if s.count == 0 || v > s.max {
		s.max = v
	}
	if s.count == 0 || v < s.min {
		s.min = v
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
	if w.samples == nil {
		w.length, w.samples = sampleLength, make([]sample, sampleNumber)
	}
	s := &w.samples[w.at]
	switch {
	case s.start.IsZero():
		s.start = now
	case now.Sub(s.start) >= w.length:
		w.at = (w.at + 1) % len(w.samples)
		s = &w.samples[w.at]
		*s = sample{start: now}
	}
	return s
}

// Figures are what a Window holds: of the values that were added, the mean, the highest
// and lowest, the sum, the sum by second, and how many there were.
type Figures struct {
	Avg, Max, Min, Rate, Sum float64
	Count                    int64
}

// Read returns the figures of the last while.
func (w *Window) Read() Figures {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	w.roll(now)
	var f Figures
	start := now
	for _, s := range w.samples {
		if s.start.IsZero() || now.Sub(s.start) >= w.length*time.Duration(len(w.samples)) {
			continue
		}
		if s.count > 0 && (f.Count == 0 || s.max > f.Max) {
			f.Max = s.max
		}
		if s.count > 0 && (f.Count == 0 || s.min < f.Min) {
			f.Min = s.min
		}
		f.Count += s.count
		f.Sum += s.sum
		if s.start.Before(start) {
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
